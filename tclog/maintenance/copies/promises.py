"""What the key of an object promises, and whether its bytes keep it."""

from __future__ import annotations

from tclog.errors import Damaged, FormatNewer
from tclog.event import (
    ChainId,
    decode_event,
    decode_record,
    digest,
    event_key,
    event_key_parts,
    once_key,
)
from tclog.event.names import (
    BLOBS,
    EVENTS,
    ONCE,
    PACK_OBJECTS,
    REDACTED,
    blob_of,
    is_once_key,
    is_redacted_key,
    kind_of,
    pack_of,
)


def promise(key: str) -> str | None:
    """Return the hash that a key promises, "" where it promises none; None for a foreign name."""
    kind = kind_of(key)
    if kind == BLOBS:
        return blob_of(key)
    if kind == PACK_OBJECTS:
        return pack_of(key)
    if kind in (ONCE, REDACTED):
        return "" if is_once_key(key) or is_redacted_key(key) else None
    try:
        parts = event_key_parts(key) if kind == EVENTS else None
    except Damaged:
        return None
    return None if parts is None else parts[2]


def broken(key: str, raw: bytes) -> str:
    """Say why an object that is no slot is not what its key promises; empty if it is."""
    promised = promise(key)
    if promised is None:
        return "is not the name of an object"
    if promised and digest(raw) != promised:
        return "does not hold what its name says"
    if kind_of(key) == ONCE and not binds(key, raw):
        return "does not bind an idempotency key"
    if kind_of(key) == EVENTS and not _is_named(key, raw):
        return "is not named as its event says"
    return ""


def _is_named(key: str, raw: bytes) -> bool:
    """Whether an event's whole key follows from it: nothing else may become a path."""
    try:
        event = decode_event(raw)
        return key == event_key(event.at, event.chains[0], event.id)
    except Exception:  # noqa: BLE001 - whatever bytes there are
        return False


def binds(key: str, raw: bytes) -> bool:
    """Whether an object binds the idempotency key that it is named for."""
    try:
        record = decode_record(raw, "once", key)
    except (Damaged, FormatNewer):
        return False
    return key == once_key(record["agent"], record["key"], ChainId(record["chain"]))
