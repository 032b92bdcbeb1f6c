"""The outcome of a transaction.

The version in each slot of a transaction names all of its slots. It is

    committed   when every one of them holds its version,
    aborted     when one of them holds anything else,
    undecided   while one of them is empty and none holds anything else.

The first two last forever, because slots never change; there is no other authority. A writer that
meets an undecided transaction ends it (``tclog.chain.resolve``).

A reader must not see an undecided version. It answers with the state before, which is the true one
as long as a slot is empty. For this, no slot is ever read before the version that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled
from tclog.chain.slots import Junk, decode_slot
from tclog.event import ChainId, Version, digest, encode, slot_key
from tclog.store.base import Get

Slot = tuple[ChainId, int]


def judge(client: Client, versions: Sequence[Version]) -> Protocol[list[Version | None]]:
    """Return the versions as they are after their transactions; None where one is undecided."""
    verdicts = yield from _verdicts(client, versions)
    return [
        version
        if version.settled
        else None
        if (aborted := verdicts[mark_of(version)]) is None
        else version.judged(aborted=aborted)
        for version in versions
    ]


def _verdicts(client: Client, versions: Sequence[Version]) -> Protocol[dict[str, bool | None]]:
    """Say of each transaction whether it was aborted; None while it is undecided."""
    known = yield from _look(client, versions)
    open_ = [one for one in versions if not one.settled and known[mark_of(one)] is None]
    if not open_:
        return known
    # No writer goes on after an undecided one; where one has, the slots are decided by now.
    followed = yield from _followed(client, open_)
    again = yield from _look(client, followed)
    for version in followed:
        mark = mark_of(version)
        known[mark] = client.verdicts[mark] = again[mark] is not False
    return known


def _followed(client: Client, versions: Sequence[Version]) -> Protocol[list[Version]]:
    """Return those versions that others follow."""
    gets = tuple(Get(slot_key(one.chain, one.seq + 1)) for one in versions)
    followed = []
    for version, found in zip(versions, settled((yield gets)), strict=True):
        try:
            after = found and decode_slot(client, version.chain, version.seq + 1, found)
        except Junk:
            continue
        if after is not None and after.prev == version.id:
            followed.append(version)
    return followed


def _look(client: Client, versions: Sequence[Version]) -> Protocol[dict[str, bool | None]]:
    """Read the other slots of the transactions side by side."""
    known: dict[str, bool | None] = {}
    asked: list[tuple[str, Version, Slot]] = []
    for version in (one for one in versions if not one.settled):
        mark = mark_of(version)
        if mark in client.verdicts or mark in known:
            known.setdefault(mark, client.verdicts.get(mark))
            continue
        known[mark] = False
        asked += [(mark, version, slot) for slot in other_slots(version)]
    if not asked:
        return known
    replies = settled((yield tuple(Get(slot_key(*slot)) for _, _, slot in asked)))
    junk: dict[str, tuple[Version, Junk]] = {}
    for (mark, version, slot), found in zip(asked, replies, strict=True):
        try:
            other = None if found is None else decode_slot(client, *slot, found)
        except Junk as here:
            junk[mark] = version, here
            continue
        if other is not None and other.txn != version.txn:
            known[mark] = True
        elif other is None and known[mark] is False:
            known[mark] = None
    for mark, (version, one) in junk.items():
        if known[mark] is not True:
            known[mark] = yield from _despite_junk(client, version, one)
    client.verdicts |= {mark: aborted for mark, aborted in known.items() if aborted is not None}
    return known


def _despite_junk(client: Client, version: Version, junk: Junk) -> Protocol[bool]:
    """Return whether a transaction was aborted of which one slot holds junk.

    A later version of one of its chains knew, and tells by its ``stands``. Otherwise the version
    that ended the junk has ended the transaction.

    Raises:
        Junk: nobody has.
    """
    slots = [(version.chain, version.seq), *other_slots(version)]
    asked = [Get(slot_key(chain, n)) for chain, seq in slots for n in (seq, seq + 1)]
    replies = settled((yield tuple(asked)))
    for (chain, seq), found, later in zip(slots, replies[::2], replies[1::2], strict=True):
        try:
            if found is None or later is None:
                continue
            part = decode_slot(client, chain, seq, found)
            following = decode_slot(client, chain, seq + 1, later)
        except Junk:
            continue
        if part.txn == version.txn and not part.void and following.prev == part.id:
            return "stands" in following.record
    from tclog.chain.junk import read_voiding

    yield from read_voiding(client, junk)
    return True


def mark_of(version: Version) -> str:
    """Return what verdicts are remembered by: the same for all versions of one transaction."""
    return digest(encode(version.txn))


def other_slots(version: Version) -> list[Slot]:
    """Return the other slots of a version's transaction, in the order of their chains' names."""
    slots: Mapping[ChainId, int] = (version.txn or {})["slots"]
    return [slot for slot in sorted(slots.items()) if slot[0] != version.chain]
