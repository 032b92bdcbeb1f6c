"""A view: the chains as one try of a transaction finds them, and as its operations leave them.

Each operation is given the view and reads and changes chains through it; nothing is written here.
What is read is guarded: the transaction takes a slot in every chain of its view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import evolve, merged, place_after, rules_of, state_of, takes_in
from tclog.chain.read import read_broadcasts, read_head, read_newest
from tclog.chain.seal import check_effect, merge_of, refusing, seal_draft
from tclog.domain.content import Blob
from tclog.domain.decision import Decision, Draft, Place
from tclog.errors import NotFound, Refused, UsageError
from tclog.event import ChainId, Event, Version

Decide = Callable[[Any, Place], Decision]


class Act(NamedTuple):
    """One operation: ``chain`` is the one that it is about, ``work`` what it does in a view."""

    chain: ChainId
    work: Callable[[View], Protocol[None]]


class Sealed(NamedTuple):
    """The event of an operation; it stays the same for as long as the operation decides alike."""

    draft: Draft
    chains: Sequence[ChainId]
    event: Event
    raw: bytes


class Chain:
    """One chain in a view: the head that was read, and what was made of it."""

    def __init__(self, head: Version | None, state: Any, merge: Mapping[str, Any] | None) -> None:
        self.head = head
        self.state = state
        self.merge = merge
        self.place = place_after(head)
        self.events: list[Event] = []


class View:
    """The chains as one try of a transaction finds them, and as its operations leave them."""

    def __init__(
        self,
        client: Client,
        sealed: dict[int, Sealed],
        given: Mapping[ChainId, Version | None],
        txn: str,
        *,
        fresh: bool,
    ) -> None:
        self.client = client
        self.fresh = fresh
        self._given = given
        self._txn = txn
        self.chains: dict[ChainId, Chain] = {}
        self.blobs: list[Blob] = []
        self.events: list[Event | None] = []
        self._sealed = sealed
        self._nth = 0

    def begin(self, nth: int) -> None:
        """Go on with the next operation."""
        self._nth = nth
        self.events.append(None)

    def read(self, chain: ChainId) -> Protocol[tuple[Any, Place]]:
        """Return a chain's state and next place; the transaction commits only where they stand."""
        known = self.chains.get(chain)
        if known is None:
            head = yield from self._head(chain)
            state = state_of(chain, head)
            merge = None
            if takes_in(chain):
                merge = merge_of(state, (yield from read_broadcasts(self.client)))
                if merge is not None:
                    state = merged(chain, state, merge)
            known = self.chains[chain] = Chain(head, state, merge)
        return known.state, known.place._replace(index=len(known.events))

    def _head(self, chain: ChainId) -> Protocol[Version | None]:
        if chain in self._given:
            return self._given[chain]
        if self.fresh:
            return (yield from read_head(self.client, chain))
        known = self.client.known(chain)
        return known if known is not None else (yield from read_newest(self.client, chain))

    def apply(
        self, chains: Sequence[ChainId], decide: Decide, blobs: Sequence[Blob] = ()
    ) -> Protocol[None]:
        """Change chains by one event, as ``decide`` makes it; a refusal ends the transaction."""
        for chain in chains:
            state, place = yield from self.read(chain)
            decision = refusing(chain, decide)(state, place)
            if isinstance(decision, Refused | NotFound):
                raise decision
            if not isinstance(decision, Draft):
                continue
            assert not decision.judged  # noqa: S101 - the store's time is not asked for here
            if decision.expect and "version" in decision.expect and place.index:
                raise UsageError(
                    "what is expected of a key is said in the first operation that changes it",
                    field="if_version",
                )
            event = self._seal(decision, chains)
            self.events[-1] = event
            self._fold(chain, event)
        self.blobs += blobs

    def _seal(self, draft: Draft, chains: Sequence[ChainId]) -> Event:
        known = self._sealed.get(self._nth)
        if known is None or known.draft != draft or known.chains != chains:
            event, raw = seal_draft(self.client, draft, chains, txn=self._txn)
            known = self._sealed[self._nth] = Sealed(draft, chains, event, raw)
        return known.event

    def _fold(self, chain: ChainId, event: Event) -> None:
        found = self.chains[chain]
        self.blobs += rules_of(chain).spilled(found.state, event)
        place = found.place._replace(index=len(found.events))
        check_effect(chain, found.state, event, place)
        found.state = evolve(chain, found.state, event, place)
        found.events.append(event)
