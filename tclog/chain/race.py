"""A race: one operation that tries slot after slot of a chain, and the event that it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled
from tclog.chain.fold import takes_in
from tclog.chain.once import Once
from tclog.chain.read import known_broadcasts, read_broadcasts, read_on
from tclog.chain.seal import EVENT_AGE_MAX_S, is_old, misleads, seal_draft
from tclog.chain.trust import stamp_of_put
from tclog.clock import Stamp
from tclog.domain.content import Blob
from tclog.domain.decision import Decision, Draft, Place, Unchanged
from tclog.event import ALL, ChainId, Event, Version, blob_key, event_key, slot_key
from tclog.store.base import Get, Keep, Stat

Decide = Callable[[Any, Place], Decision]


class Sealed(NamedTuple):
    """An event whose object is in the store, with the draft that it was made from."""

    draft: Draft
    event: Event
    now: Stamp | None = None


class Race:
    """What stays the same while one append races for slots."""

    def __init__(
        self,
        client: Client,
        chain: ChainId,
        decide: Decide,
        blobs: Sequence[Blob],
        chains: Sequence[ChainId],
        once: Once | None,
        sealed: Sealed | None,
    ) -> None:
        self.client = client
        self.chain = chain
        self.decide = decide
        self.blobs = list(blobs)
        self.chains = chains
        self.once = once
        self.sealed = sealed
        self.broadcasts: Version | None = None
        self.merges = takes_in(chain)
        self.looked = not self.merges
        self.placed = sealed is not None
        # Whether the proposal changes the state; if not, it only binds the idempotency key.
        self.changes = True
        # The replies to the requests that went out beside the read of the last race's winner.
        self.beside: Sequence[Any] = ()

    @property
    def key(self) -> str | None:
        """The idempotency key that its events carry."""
        return None if self.once is None else self.once.key

    def bind(self, decision: Decision) -> Decision:
        """Return what to write for a decision: with a key, also a decision that changes nothing.

        Otherwise the same command could apply later, under a key that looks unused.
        """
        self.changes = not isinstance(decision, Unchanged)
        if isinstance(decision, Unchanged) and self.once is not None:
            return decision.draft or decision
        return decision

    def is_old(self, age_max_s: float = EVENT_AGE_MAX_S) -> bool:
        """Whether the event is so old that it must be made again.

        An event that another chain already holds stays the same.
        """
        if self.sealed is None or self.placed:
            return False
        return is_old(self.client, self.sealed.event, age_max_s)

    def asks_beside(self, seq: int) -> tuple[Get | Stat, ...]:
        """Return what the loser of slot ``seq`` asks beside the winner, if only one can win."""
        exclusive = self.sealed is not None and self.sealed.draft.exclusive
        return self.asks_of_loser(seq) if exclusive else ()

    def asks_of_loser(self, seq: int) -> tuple[Get | Stat, ...]:
        """Return the requests by which the loser of slot ``seq`` learns whether it is refused.

        The store's clock decides. So these ask for the slot after the winner's, and for the stamp
        of the loser's own event if the store has not told it.
        """
        sealed = self.sealed
        onward = Get(slot_key(self.chain, seq + 1))
        if sealed is None or sealed.now is not None:
            return (onward,)
        return (onward, Stat(event_key(sealed.event.at, self.chains[0], sealed.event.id)))


def write_event(race: Race, draft: Draft) -> Protocol[None]:
    """Write the event's object after its blobs; read its stamp if something depends on it."""
    client = race.client
    if race.blobs:
        settled((yield tuple(Keep(blob_key(blob.hash), blob.data) for blob in race.blobs)))
        race.blobs = []
    for _ in range(2):
        known = client.knows_offset()
        wall_us = client.clock.wall_us()
        event, raw = seal_draft(client, draft, race.chains, key=race.key)
        key = event_key(event.at, race.chains[0], event.id)
        stored = yield from _put_event(race, key, raw)
        took_us = client.clock.wall_us() - wall_us
        if stored is None and (draft.judged or not known):
            stored = yield from stamp_of_put(key)
        race.sealed = Sealed(draft, event, stored)
        if stored is None or not misleads(client, event, wall_us, stored, took_us):
            return


def _put_event(race: Race, key: str, raw: bytes) -> Protocol[Stamp | None]:
    """Put the event, and meanwhile look for broadcasts that the inbox lacks."""
    client = race.client
    stored: Stamp | None
    if race.looked:
        stored = yield Keep(key, raw)
        return stored
    race.looked = True
    known = known_broadcasts(client)
    seq = 1 if known is None else known.seq + 1
    stored, found = settled((yield (Keep(key, raw), Get(slot_key(ALL, seq)))))
    race.broadcasts = yield from read_broadcasts(client, read_on(client, ALL, known, found))
    return stored
