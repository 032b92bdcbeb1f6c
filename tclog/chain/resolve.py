"""Ending a transaction that is in the way of a writer.

A writer that is stopped by an undecided transaction waits for ``GRACE_S`` at most. Then it fills an
empty slot with a version that changes nothing. So a transaction whose writer died stops the next
writer for about that long, and readers not at all.

A writer has read the slot before each of its transaction's slots, so those exist and are decided.
If no empty slot of a transaction has such a predecessor, the transaction is forged. Filling its
slots would write versions into other chains, one after the other. So the chain goes on as if the
transaction were aborted. For readers it is aborted, because a version follows it.
"""

from __future__ import annotations

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, settled
from tclog.chain.judge import judge, mark_of, other_slots
from tclog.chain.read import accept, read_head
from tclog.chain.seal import seal_void
from tclog.chain.settle import settle
from tclog.clock import SECOND_US, parse_us
from tclog.errors import OutcomeUnknown, StoreUnreachable
from tclog.event import ChainId, Version, slot_key
from tclog.store.base import Get

# How long a stopped writer waits for one that may be alive.
GRACE_S = 2.0
_PAUSE_S = 0.05
_FILLS_MAX = 100


def resolve(client: Client, version: Version) -> Protocol[Version]:
    """Return a version after its transaction has ended; ends the transaction if need be.

    Raises:
        StoreError: the store failed meanwhile; the caller has written nothing.
    """
    yield from _await(client, version)
    for _ in range(_FILLS_MAX):
        (judged,) = yield from judge(client, [version])
        if judged is not None:
            client.heads.put(judged)
            return judged
        yield from _fill(client, version)
    raise StoreUnreachable(
        f"the transaction at version {version.seq} of {version.chain} stays open"
    )


def _await(client: Client, version: Version) -> Protocol[None]:
    """Give the writer of an undecided transaction the time that it needs, if it is alive.

    The clocks only decide how long to wait, never the outcome.
    """
    begun_us = parse_us(version.stored or version.at)
    age_s = max(0.0, (client.clock.now_us() - begun_us) / SECOND_US)
    ends_s = client.monotonic_s() + max(0.0, GRACE_S - age_s)
    while client.monotonic_s() < ends_s:
        (judged,) = yield from judge(client, [version])
        if judged is not None:
            return
        yield Sleep(_PAUSE_S * (0.5 + client.jitter()))


def _fill(client: Client, version: Version) -> Protocol[None]:
    """Put a version that changes nothing into one of the slots that are empty."""
    slots = other_slots(version)
    replies = settled((yield tuple(Get(slot_key(*slot)) for slot in slots)))
    empty = [slot for slot, found in zip(slots, replies, strict=True) if found is None]
    if not empty:
        return
    for chain, seq in reversed(empty):
        # The last: a writer that is alive goes through them from the first.
        head = yield from read_head(client, chain)
        before = 0 if head is None else head.seq
        if before >= seq:
            return
        if before == seq - 1:
            yield from _put_filler(client, version, chain, head)
            return
    # No writer can have read the slots before these.
    client.verdicts[mark_of(version)] = True


def _put_filler(
    client: Client, version: Version, chain: ChainId, head: Version | None
) -> Protocol[None]:
    fills = {"chain": version.chain, "seq": version.seq}
    filler = yield from seal_void(client, chain, head, fills)
    try:
        lost_to = yield from settle(client, filler)
    except OutcomeUnknown as unknown:
        # The caller's own write was not tried yet, so nothing of it can have been written.
        raise StoreUnreachable(unknown.message) from unknown
    if lost_to is None:
        client.heads.put(filler)
        return
    yield from accept(client, chain, head, lost_to)
