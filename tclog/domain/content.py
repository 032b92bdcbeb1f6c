"""Texts and JSON values inside bodies and states: inline when small, by content hash when large.

A content is ``{"type": "text"|"json", "value": ...}`` or ``{"type": ..., "blob": hash, "size":
n}``. A text that grows by appends is ``{"type": "text", "parts": [{"blob", "size"}, ...], "value":
tail}``: whenever the tail outgrows the inline limit it becomes a blob, so a state stays small.

A JSON value with a float in it stands as text, ``{"type": "json", "text": "[1e+16]"}``: encoders
differ in how they write floats, even from one release to the next, so no record holds one. That
text is written once, by what writes floats alike everywhere, and never encoded again: what is
appended to an array is spliced into its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tclog.event.canonical import decode_json, digest, encode
from tclog.event.ids import BlobHash

INLINE_BYTES_MAX = 16 * 1024
_JSON_SPACE = " \t\n\r"

Content = Mapping[str, Any]


class Blob(NamedTuple):
    """Bytes that must be in the store before the record that names them."""

    hash: BlobHash
    data: bytes


def make_content(kind: str, value: Any) -> tuple[Content, list[Blob]]:
    """Make the content of a text or JSON value, and the blobs it needs."""
    as_text = kind == "text" or _has_float(value)
    text = value if kind == "text" else _write_floats(value) if as_text else ""
    raw = text.encode() if as_text else encode(value)
    if len(raw) <= INLINE_BYTES_MAX:
        if kind == "json" and as_text:
            return {"type": kind, "text": text}, []
        return {"type": kind, "value": value}, []
    blob = Blob(BlobHash(digest(raw)), raw)
    return {"type": kind, "blob": blob.hash, "size": len(raw)}, [blob]


def _write_floats(value: Any) -> str:
    """Write JSON with floats in it: Python writes these alike in every release, orjson does not."""
    # Loaded here: hardly any command has to.
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def append_element(content: Content, text: str) -> Content:
    """Return an inline JSON array with a text as its last element; the others keep their bytes."""
    if "text" not in content:
        return {"type": "json", "value": [*content["value"], text]}
    head = content["text"].rstrip(_JSON_SPACE)[:-1].rstrip(_JSON_SPACE)
    comma = "" if head.endswith("[") else ","
    return {"type": "json", "text": f"{head}{comma}{encode(text).decode()}]"}


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_float(child) for child in value.values())
    if isinstance(value, list | tuple):
        return any(_has_float(child) for child in value)
    return isinstance(value, float)


def inline_value(content: Content) -> Any:
    """Return a value as far as it stands in the content itself; None if a blob holds it."""
    if "text" in content:
        return decode_json(content["text"].encode())
    return content.get("value")


def content_blobs(content: Content) -> list[tuple[BlobHash, int]]:
    """Name the blobs, with sizes, whose bytes in this order begin the value."""
    if "blob" in content:
        return [(content["blob"], content["size"])]
    return [(part["blob"], part["size"]) for part in content.get("parts", [])]


def append_text(
    content: Content | None, added: Content, separator: str
) -> tuple[Content, list[Blob]]:
    """Append a text to a text; ``separator`` goes between, unless nothing is there yet.

    What is inline joins the tail; a tail that outgrows the inline limit becomes one more part, as
    does an added text that is itself a blob. The blobs that this makes are derived from the state
    and the event alone, so every writer derives the same.
    """
    parts = _parts(content)
    tail = "" if content is None else content.get("value", "")
    if parts or tail:
        tail += separator
    if "blob" not in added:
        return _text(parts, tail + added["value"])
    if not parts and not tail:
        return added, []
    parts, blobs = _spilled(parts, tail)
    return _text([*parts, {"blob": added["blob"], "size": added["size"]}], "", blobs)


def _parts(content: Content | None) -> list[Mapping[str, Any]]:
    return [] if content is None else [{"blob": b, "size": n} for b, n in content_blobs(content)]


def _spilled(
    parts: list[Mapping[str, Any]], tail: str
) -> tuple[list[Mapping[str, Any]], list[Blob]]:
    if not tail:
        return parts, []
    raw = tail.encode()
    blob = Blob(BlobHash(digest(raw)), raw)
    return [*parts, {"blob": blob.hash, "size": len(raw)}], [blob]


def _text(
    parts: list[Mapping[str, Any]], tail: str, blobs: list[Blob] | None = None
) -> tuple[Content, list[Blob]]:
    blobs = blobs or []
    if len(tail.encode()) > INLINE_BYTES_MAX:
        parts, spilled = _spilled(parts, tail)
        tail, blobs = "", [*blobs, *spilled]
    content: dict[str, Any] = {"type": "text", "value": tail}
    if parts:
        content["parts"] = parts
    return content, blobs


def content_size(content: Content) -> int:
    """Return the size of a value in bytes, as far as it is known without reading blobs."""
    blobs = sum(size for _, size in content_blobs(content))
    if "text" in content:
        return len(content["text"].encode())
    if "value" not in content:
        return blobs
    value = content["value"]
    return blobs + len(value.encode() if content["type"] == "text" else encode(value))


def words_of(content: Content) -> str:
    """Return a value as text for people; of one in a blob only its size."""
    if "blob" in content:
        return f"({content_size(content)} bytes)"
    value = inline_value(content)
    if isinstance(value, str):
        return value
    import orjson

    return orjson.dumps(value).decode()
