"""Slots that hold junk, which is any bytes but the version of their place, and what ends them.

A version with ``voids`` ends the slots right below it. It counts only while their bytes are those
whose hashes it names, and are no versions. Only readers that meet junk load this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled
from tclog.chain.slots import Junk, decode_slot
from tclog.errors import Damaged, NotFound, to_run
from tclog.event import VOIDS_MAX, Version, digest, slot_key
from tclog.event.names import SEQ_MAX
from tclog.store.base import Get


def read_voiding(client: Client, junk: Junk) -> Protocol[Version]:
    """Return the version that ends a slot with junk; it stands in one of the next slots.

    Raises:
        Junk: none does.
    """
    seqs = range(junk.seq + 1, min(junk.seq + 1 + VOIDS_MAX, SEQ_MAX))
    replies = settled((yield tuple(Get(slot_key(junk.chain, seq)) for seq in seqs)))
    for seq, found in zip(seqs, replies, strict=True):
        if found is None:
            break
        try:
            version = decode_slot(client, junk.chain, seq, found)
        except Junk:
            continue
        if version.after >= junk.seq:
            junk.hint = "tclog fsck"  # others went on from a version that was sound
            break
        yield from confirm(client, version)
        return version
    raise junk


def confirm(client: Client, version: Version) -> Protocol[None]:
    """Check that the slots that a version ends hold the very junk that it names.

    Raises:
        Damaged: one of them does not.
    """
    keys = [slot_key(version.chain, one["seq"]) for one in version.voids]
    replies = settled((yield tuple(map(Get, keys))))
    for one, key, found in zip(version.voids, keys, replies, strict=True):
        if found is None:
            raise Damaged(f"version {one['seq']} of {version.chain} is missing", hint="tclog fsck")
        try:
            decode_slot(client, version.chain, one["seq"], found)
        except Junk:
            if digest(found.data) == one["hash"]:
                continue
            what = f"{key} has changed since version {version.seq} of {version.chain} ended it"
            raise Damaged(what, hint="tclog fsck", object=key) from None
        raise _sound(version, one["seq"])


def check_ended(version: Version, first: int, junk: Sequence[Junk]) -> None:
    """Check that a version ends the very junk that was read below it, from slot ``first`` on.

    Raises:
        Damaged: it does not.
    """
    named = {one["seq"]: one["hash"] for one in version.voids if one["seq"] >= first}
    if named == {one.seq: digest(one.raw) for one in junk}:
        return
    if junk:
        junk[0].hint = "tclog fsck"
        raise junk[0]
    raise _sound(version, max(named))


def _sound(version: Version, seq: int) -> Damaged:
    key = slot_key(version.chain, seq)
    return Damaged(
        f"version {version.seq} of {version.chain} ends version {seq} as junk, but version {seq}"
        f" is sound ({key})",
        hint="tclog fsck",
        object=key,
        chain=version.chain,
        version=seq,
    )


def ended_by(junk: Junk, version: Version) -> NotFound:
    """Return the answer to a request for the version in a slot that was ended.

    ``before`` of its details is the number of the version before.
    """
    return NotFound(
        f"version {junk.seq} of {junk.chain} was junk, which version {version.seq} ended",
        code="version-missing",
        hint=to_run("tclog show", version.id[:16]),
        before=version.after,
    )
