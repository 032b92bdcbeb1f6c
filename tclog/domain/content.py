"""Texts and JSON values inside bodies and states: inline when small, by content hash when large.

A content is ``{"type": "text"|"json", "value": ...}`` or ``{"type": ..., "blob": hash, "size":
n}``. A text that grows by appends is ``{"type": "text", "parts": [{"blob", "size"}, ...], "value":
tail}``: whenever the tail outgrows the inline limit it becomes a blob, so a state stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tclog.event.canonical import digest, encode
from tclog.event.ids import BlobHash

INLINE_BYTES_MAX = 16 * 1024

Content = Mapping[str, Any]


class Blob(NamedTuple):
    """Bytes that must be in the store before the record that names them."""

    hash: BlobHash
    data: bytes


def make_content(kind: str, value: Any) -> tuple[Content, list[Blob]]:
    """Make the content of a text or JSON value, and the blobs it needs."""
    raw = value.encode() if kind == "text" else encode(value)
    if len(raw) <= INLINE_BYTES_MAX:
        return {"type": kind, "value": value}, []
    blob = Blob(BlobHash(digest(raw)), raw)
    return {"type": kind, "blob": blob.hash, "size": len(raw)}, [blob]


def content_blobs(content: Content) -> list[tuple[BlobHash, int]]:
    """Name the blobs, with sizes, whose bytes in this order begin the value."""
    if "blob" in content:
        return [(content["blob"], content["size"])]
    return [(part["blob"], part["size"]) for part in content.get("parts", [])]


def append_text(content: Content | None, text: str, separator: str) -> tuple[Content, list[Blob]]:
    """Append to a text content; ``separator`` goes between, unless nothing is there yet.

    A tail that outgrows the inline limit becomes one more part. The blob that this needs is
    derived from the state and the event alone, so every writer derives the same.
    """
    if content is None or (content.get("value") == "" and not content_blobs(content)):
        return _spilled([], text)
    tail = content.get("value", "")
    parts = list(content.get("parts", []))
    if "blob" in content:
        parts = [{"blob": content["blob"], "size": content["size"]}]
    return _spilled(parts, tail + separator + text)


def _spilled(parts: list[Mapping[str, Any]], tail: str) -> tuple[Content, list[Blob]]:
    raw = tail.encode()
    if len(raw) <= INLINE_BYTES_MAX:
        kept: dict[str, Any] = {"type": "text", "value": tail}
        if parts:
            kept["parts"] = parts
        return kept, []
    blob = Blob(BlobHash(digest(raw)), raw)
    return (
        {"type": "text", "parts": [*parts, {"blob": blob.hash, "size": len(raw)}], "value": ""},
        [blob],
    )


def content_size(content: Content) -> int:
    """Return the size of a value in bytes, as far as it is known without reading blobs."""
    blobs = sum(size for _, size in content_blobs(content))
    if "value" not in content:
        return blobs
    value = content["value"]
    return blobs + len(value.encode() if content["type"] == "text" else encode(value))
