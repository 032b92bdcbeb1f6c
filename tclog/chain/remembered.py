"""A version that this machine remembers, compared with what the store holds in its slot."""

from __future__ import annotations

from typing import Any, NamedTuple

from tclog.clock import Stamp, rfc3339
from tclog.errors import Damaged, Forked, RolledBack
from tclog.event import ChainId, Version, decode_version, slot_key
from tclog.store.base import Entry, Found

ACCEPT = "tclog trust accept --help"


class Remembered(NamedTuple):
    """A version that was read or written before; ``stored`` is its slot's stamp, if known."""

    chain: ChainId
    seq: int
    raw: bytes
    stored: Stamp | None

    @classmethod
    def of(cls, version: Version) -> Remembered:
        """Return what to remember of a version."""
        return cls(version.chain, version.seq, version.raw, version.stored)


def is_same(known: Remembered, entry: Entry | None) -> bool:
    """Whether the store's answer, without the bytes, shows that they are the remembered ones.

    The ETag of an object that was put in one piece is the MD5 of its bytes, unless the bucket
    encrypts with its own keys (SSE-KMS, SSE-C). Otherwise stamp and size must be equal.
    """
    if entry is None or entry.size != len(known.raw):
        return False
    if entry.tag and entry.tag == _md5(known.raw):
        return True
    return known.stored is not None and entry.stored == known.stored


def _md5(data: bytes) -> str:
    from hashlib import md5  # not on the way of most commands

    return md5(data, usedforsecurity=False).hexdigest()


def difference(known: Remembered, found: Found | None) -> Damaged | None:
    """Return the error if a slot does not hold the remembered version."""
    if found is not None and found.data == known.raw:
        return None
    chain, seq = known.chain, known.seq
    mine = decode_version(known.raw, chain=chain, seq=seq)
    remembered = described(mine)
    told = f"this machine has seen version {seq} of {chain} {words_of(remembered)}"
    if found is None:
        return RolledBack(f"{told}; the store no longer has it", hint=ACCEPT, remembered=remembered)
    try:
        theirs = described(decode_version(found.data, chain=chain, seq=seq))
    except Damaged as error:  # bytes that are not a version
        key = slot_key(chain, seq)
        raise Damaged(
            f"{error.message} ({key}); this machine has seen an intact version there",
            hint=error.hint,
            object=key,
            chain=chain,
            version=seq,
        ) from None
    return Forked(
        f"{told}; the store has a different one, {words_of(theirs)}",
        hint=ACCEPT,
        remembered=remembered,
        found=theirs,
    )


def described(version: Version) -> dict[str, Any]:
    """Return what tells one version from another, for errors and for ``tclog trust accept``."""
    return {
        "chain": version.chain,
        "version": version.seq,
        "id": version.id,
        "agent": version.by,
        "at": rfc3339(version.at),
    }


def words_of(one: dict[str, Any]) -> str:
    """Return the words for a version, from the details that ``described`` returns."""
    return f"by {one['agent']} ({one['at']}, id {one['id'][:12]})"
