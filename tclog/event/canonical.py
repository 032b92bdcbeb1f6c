"""Canonical JSON: the one way in which records become bytes.

UTF-8, no white space, object keys sorted by their UTF-8 bytes, integers within 64 bits, no floats
(``tclog.event.schema`` refuses these in each record). Invariant: for bytes that ``decode`` accepts,
``encode(decode(b)) == b``. That is what makes the bytes of an event that stands inside a version
the very bytes of its own object, so its id can be checked there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from blake3 import blake3

from tclog.errors import Damaged

_SORTED = orjson.OPT_SORT_KEYS


def encode(record: Any) -> bytes:
    """Write a record as canonical bytes.

    Raises:
        TypeError: the record holds something that JSON has no form for, an integer beyond 64 bits
            or text with lone surrogates.
    """
    return orjson.dumps(record, None, _SORTED)


def decode(raw: bytes, what: str) -> Any:
    """Read canonical bytes; ``what`` names the object in the error.

    Raises:
        Damaged: not JSON, or not in the canonical form.
    """
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Damaged(f"{what} is not JSON: {error}", hint="tclog fsck") from None
    try:
        canonical = encode(record) == raw
    except TypeError:
        canonical = False  # nested deeper than anything that could have been encoded
    if not canonical:
        raise Damaged(f"{what} is not in canonical form", hint="tclog fsck")
    return record


# Below this many brackets no value is too deep to be written again.
_BRACKETS_SAFE = 200


def decode_json(raw: bytes) -> Any:
    """Read JSON that need not be in canonical form: values that users chose, never records.

    Raises:
        ValueError: not JSON, or nested so deep that it could not be written again.
    """
    value = orjson.loads(raw)
    if raw.count(b"[") + raw.count(b"{") > _BRACKETS_SAFE:
        try:
            encode(value)
        except TypeError as error:
            raise ValueError(str(error)) from None
    return value


def digest(raw: bytes) -> str:
    """Return the BLAKE3-256 of bytes as 64 lower-case hex digits."""
    return blake3(raw).digest().hex()


def digest_pieces(pieces: Iterable[bytes]) -> str:
    """Return the digest of bytes that come in pieces."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()


def verified(pieces: Iterable[bytes], expected: str | None, wrong: Exception) -> Iterator[bytes]:
    """Pass pieces on; raise ``wrong`` at the end if their digest is another one."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
        yield piece
    if hasher.hexdigest() != expected:
        raise wrong
