"""Appending to a chain: the commit protocol of docs/guarantees.md.

    read the head, let the domain decide
    put the blobs, then the event object         (objects first, then the reference)
    create slot head + 1 with the version        (the only commit)
    won: done.   lost: read the winner, decide again, next slot, same event

``tclog.chain.settle`` finds the outcome of a create. No other slot is tried while one is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, settled
from tclog.chain.fold import place_after, rules_of, state_of
from tclog.chain.once import Once, bind_once, find_once
from tclog.chain.race import Decide, Race, Sealed, write_event
from tclog.chain.read import accept, read_broadcasts, read_head, read_newest, read_on, read_onward
from tclog.chain.seal import (
    EVENT_AGE_MAX_S,
    check_effect,
    merge_of,
    refusing,
    seal_draft,
    seal_next,
    stamp_of,
)
from tclog.chain.settle import settle
from tclog.clock import SECOND_US, Hlc, parse_us
from tclog.domain.content import Blob
from tclog.domain.decision import Decision, Draft, Place
from tclog.errors import NotFound, Refused, StoreUnreachable
from tclog.event import ChainId, Event, Version, blob_key
from tclog.store.base import Found, Keep

RACES_MAX = 10_000
# For so long after a version that several senders share, others are taken to be at work.
HOT_US = 2 * SECOND_US


class Appended(NamedTuple):
    """The head after an append: ``event`` is None when nothing was written.

    ``state`` is the unpacked state at ``version``, which is None for a chain without versions.
    ``changed`` is false where the state was what had been asked for already. Where an event was
    found by its idempotency key, ``head`` is the newest version, and ``version`` that of the event.
    """

    version: Version | None
    state: Any
    event: Event | None
    changed: bool = True
    head: Version | None = None


def append(
    client: Client,
    chain: ChainId,
    decide: Decide,
    *,
    blobs: Sequence[Blob] = (),
    chains: Sequence[ChainId] = (),
    once: Once | None = None,
    sealed: Sealed | None = None,
    optimistic: bool = False,
    joinable: bool = False,
) -> Protocol[Appended]:
    """Append what ``decide`` makes of the chain's state; the one way in which state changes.

    Args:
        client: who acts.
        chain: where to.
        decide: called with the state and the place of the next version, again after a lost race.
        blobs: what the event's body points at.
        chains: all chains that the event is made for, when it is committed to several.
        once: the idempotency key and what it stands for.
        sealed: an event that was already written for another of its chains.
        optimistic: take a chain that is not known for empty instead of listing it first.
        joinable: ``decide`` always makes the same draft, so the event may be committed together
            with those of others, and by them, once a race is lost.

    Raises:
        Refused: the domain said no, on a state that was read after the call began.
        OutcomeUnknown: the create could not be decided in time.
        StoreError: nothing was committed.
    """
    safe = refusing(chain, decide)
    # A chain whose name looks like another may exist already.
    optimistic = optimistic and safe is decide
    race = Race(client, chain, safe, blobs, chains or (chain,), once, sealed)
    joinable = joinable and client.heads.may_remove()
    after = 0
    head = client.known(chain)
    fresh = False
    if once is not None:
        after = yield from bind_once(client, chain, once)
        head, fresh = (yield from read_head(client, chain)), True
    elif head is None and not optimistic:
        head, fresh = (yield from read_newest(client, chain)), True
    for nth in range(RACES_MAX):
        if once is not None:
            applied = yield from find_once(client, chain, once, after, head)
            if applied is not None:
                version, event = applied
                return Appended(version, state_of(chain, version), event, head=head)
            after = after if head is None else max(after, head.seq)
        if joinable and (nth or _is_hot(client, chain, head)):
            return (yield from _join(race, head))
        proposal = yield from _propose(race, head, fresh)
        if isinstance(proposal, Appended):
            return proposal
        if isinstance(proposal, _Stale):
            head, fresh = (yield from read_head(client, chain)), True
            continue
        lost_to = yield from settle(client, proposal, race)
        if lost_to is None:
            client.heads.put(proposal)
            state, event = state_of(chain, proposal), proposal.events[-1]
            return Appended(proposal, state, event, race.changes)
        head = yield from _after_loss(client, chain, head, lost_to, nth, race, joins=joinable)
        fresh = True
    raise Refused(
        f"{chain} is so contended that {RACES_MAX} races were lost; nothing was written",
        code="contended",
        hint="run the same command again",
    )


def _is_hot(client: Client, chain: ChainId, head: Version | None) -> bool:
    """Whether a young version that several share says that the next slot will be fought for."""
    if head is None or len(head.events) < 2:
        return client.crowd(chain).size >= 2
    return client.clock.now_us() - parse_us(head.at) < HOT_US


def _join(race: Race, head: Version | None) -> Protocol[Appended]:
    """Have the event committed together with those of others."""
    from tclog.chain.combine import combine

    unput = None
    # Once it was announced it stays what it is, and has to be young until it is committed.
    if race.sealed is None or race.is_old(EVENT_AGE_MAX_S / 2):
        # Whoever commits it looks at the broadcasts after it was announced.
        race.looked = True
        draft = race.decide(state_of(race.chain, head), place_after(head))
        assert isinstance(draft, Draft)  # noqa: S101 - as ``joinable`` says
        if race.blobs or not race.client.knows_offset():
            yield from write_event(race, draft)
        else:
            event, unput = seal_draft(race.client, draft, race.chains, key=race.key)
            race.sealed = Sealed(draft, event)
    assert race.sealed is not None  # noqa: S101 - sealed above
    joined = yield from combine(race, head, race.sealed.event, unput)
    return Appended(joined.version, state_of(race.chain, joined.version), joined.event)


class _Stale(NamedTuple):
    """A verdict that rests on a remembered state; it must not be given before it is checked."""


def _propose(
    race: Race, head: Version | None, fresh: bool
) -> Protocol[Version | Appended | _Stale]:
    """Make the next version of the chain, or end: nothing to change, or refused."""
    client, chain = race.client, race.chain
    state = state_of(chain, head)
    place = place_after(head)
    decision = race.bind(race.decide(state, place))
    if fresh and isinstance(decision, Draft) and decision.judged:
        decision = yield from _foreseen(race, head, decision)
    if isinstance(decision, Draft):
        if race.sealed is None or race.sealed.draft != decision or race.is_old():
            yield from write_event(race, decision)
        head_stored = yield from stamp_of(client, chain, head)
        assert race.sealed is not None  # noqa: S101 - seal has set it
        if head_stored != place.prev_stored:
            place = place._replace(prev_stored=head_stored)
        if decision.judged:
            at = client.clock.tick(after=None if head is None else head.at)
            place = _judged_at(race.sealed, place)._replace(at=at)
            decision = race.decide(state, place)
    if not isinstance(decision, Draft):
        if not fresh:
            return _Stale()
        if isinstance(decision, Refused | NotFound):
            raise decision
        return Appended(head, state, None, changed=False)
    if not race.looked:
        # The event was written for another inbox before; what was broadcast since goes first.
        race.looked, race.broadcasts = True, (yield from read_broadcasts(client))
    proposal = yield from _version(race, head, state, place)
    # What grew old while it was made is sealed anew, for the same slot.
    return _Stale() if race.is_old() else proposal


def _judged_at(sealed: Sealed, place: Place) -> Place:
    """Return the place with the store's time, by which a lease is judged; never without."""
    if sealed.now is None:
        raise StoreUnreachable(
            "the store gives its objects no last-modified time", hint="tclog doctor"
        )
    return place._replace(now=sealed.now)


def _foreseen(race: Race, head: Version | None, draft: Draft) -> Protocol[Decision]:
    """Judge a draft by the stamp of another event of this call; only a refusal is final.

    That event was put after the call began, so whoever is refused as of its stamp was not too late
    when it asked. To go on, a draft needs the stamp of its own event.
    """
    sealed = race.sealed
    if sealed is None or sealed.now is None or sealed.draft == draft:
        return draft
    stored = yield from stamp_of(race.client, race.chain, head)
    place = place_after(head)._replace(prev_stored=stored, now=sealed.now)
    decision = race.decide(state_of(race.chain, head), place)
    return decision if isinstance(decision, Refused | NotFound) else draft


def _version(race: Race, head: Version | None, state: Any, place: Place) -> Protocol[Version]:
    """Seal the version that commits the event; blobs that only the fold needs go first."""
    client, chain = race.client, race.chain
    assert race.sealed is not None  # noqa: S101 - the caller has sealed
    events = (race.sealed.event,)
    if race.changes:
        check_effect(chain, state, events[0], place)
    spilled = rules_of(chain).spilled(state, events[0])
    if spilled:
        settled((yield tuple(Keep(blob_key(blob.hash), blob.data) for blob in spilled)))
    at = Hlc(place.at) if place.at else None
    merge = merge_of(state, race.broadcasts)
    return seal_next(client, chain, head, place, events, merge, at=at)


def take_in(
    client: Client, chain: ChainId, head: Version | None, broadcasts: Version
) -> Protocol[Version]:
    """Give the broadcasts that an inbox lacks their place, by a version without events."""
    for nth in range(RACES_MAX):
        state = state_of(chain, head)
        merge = merge_of(state, broadcasts)
        if merge is None and head is not None:
            return head
        proposal = seal_next(client, chain, head, place_after(head), (), merge)
        lost_to = yield from settle(client, proposal)
        if lost_to is None:
            client.heads.put(proposal)
            return proposal
        head = yield from _after_loss(client, chain, head, lost_to, nth)
    raise Refused(f"{chain} is too contended to be read", code="contended")


def _after_loss(
    client: Client,
    chain: ChainId,
    head: Version | None,
    found: Found,
    nth: int,
    race: Race | None = None,
    *,
    joins: bool = False,
) -> Protocol[Version]:
    """Learn what won, and go on from the newest version; who would race again waits a little.

    Whoever can only be refused now does not wait: all who lost the same claim end here. Who
    ``joins`` the others does not race again, and goes on from the winner.
    """
    winner, old = (yield from accept(client, chain, head, found)), False
    if not winner.settled:
        # Most processes never meet a transaction.
        from tclog.chain.resolve import resolve

        winner = yield from resolve(client, winner)
        old = True
    if race is not None and (old or winner.voids):
        race.beside = ()  # it was asked before that ended, or of a slot that holds junk
    if joins:
        return winner
    decision = race and race.decide(state_of(chain, winner), place_after(winner))
    if race is not None and isinstance(decision, Draft) and decision.judged:
        return (yield from _look_on(race, winner))
    if decision is None or isinstance(decision, Draft):
        yield Sleep(client.backoff(nth))
    return (yield from read_onward(client, winner))


def _look_on(race: Race, winner: Version) -> Protocol[Version]:
    """Go on from a winner, and learn the stamp by which the loser may be refused."""
    replies = race.beside or (yield race.asks_of_loser(winner.seq))
    found, *entries = settled(replies)
    if race.sealed is not None and entries and entries[0] is not None:
        race.sealed = race.sealed._replace(now=entries[0].stored)
    newest = yield from read_on(race.client, race.chain, winner, found)
    return winner if newest is None else newest
