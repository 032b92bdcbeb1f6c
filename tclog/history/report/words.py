"""What a content says, also where another client has written one that makes no sense."""

from __future__ import annotations

from typing import Any

import orjson

from tclog.domain.content import content_size, inline_value

_ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def text_of(content: Any, chars: int) -> str:
    """Return what a content says, cut; of one in a blob only its size."""
    try:
        if "blob" in content or content.get("parts"):
            return f"({content_size(content)} bytes)"
        value = inline_value(content)
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except _ODD:
        return ""
    return text if len(text) <= chars else f"{text[:chars]}… ({len(text)} characters)"
