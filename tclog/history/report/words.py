"""What an event says, also where another client has written a body that makes no sense.

An attempt's body was never folded, so nothing has checked it; and one odd event must not keep
anybody from seeing the others.
"""

from __future__ import annotations

from typing import Any

import orjson

from tclog.domain.content import content_size, inline_value
from tclog.event import Event
from tclog.history.shapes import words

_ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def words_of(event: Event) -> str:
    """Say in a few words what an event did; nothing where that cannot be told."""
    try:
        return words(event)
    except _ODD:
        return ""


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
