"""Blobs: large contents by their hash, checked whenever they are read."""

from __future__ import annotations

from typing import Any

from tclog.chain.drive import Protocol, settled
from tclog.chain.slots import read_present
from tclog.domain.content import Content, content_blobs, inline_value
from tclog.errors import Damaged
from tclog.event import BlobHash, blob_key, digest
from tclog.event.canonical import decode_json
from tclog.store.base import Get


def read_content(content: Content) -> Protocol[Any]:
    """Return the text or JSON value that a content stands for.

    Raises:
        Damaged: a blob is missing or does not have its hash.
    """
    pieces = content_blobs(content)
    if not pieces:
        return inline_value(content)
    replies = settled((yield tuple(Get(blob_key(blob)) for blob, _ in pieces)))
    parts = []
    for (blob, _), reply in zip(pieces, replies, strict=True):
        found = reply or (yield from read_present(blob_key(blob)))
        parts.append(check_blob(blob, None if found is None else found.data))
    raw = b"".join(parts)
    if content["type"] == "json":
        try:
            return decode_json(raw)
        except ValueError:
            raise Damaged(f"blob {pieces[0][0][:12]} is not JSON", hint="tclog fsck") from None
    try:
        return raw.decode() + content.get("value", "")
    except UnicodeDecodeError:
        raise Damaged(f"blob {pieces[0][0][:12]} is not UTF-8", hint="tclog fsck") from None


def check_blob(blob: BlobHash, data: bytes | None) -> bytes:
    """Return a blob's bytes if they are what its name says."""
    if data is None:
        raise Damaged(f"blob {blob[:12]} is missing", hint="tclog fsck")
    if digest(data) != blob:
        raise Damaged(f"blob {blob[:12]} does not hold what its name says", hint="tclog fsck")
    return data
