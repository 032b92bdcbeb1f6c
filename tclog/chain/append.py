"""Appending to a chain: the commit protocol of docs/guarantees.md.

    read the head, let the domain decide
    put the blobs, then the event object         (objects first, then the reference)
    create slot head + 1 with the version        (the only commit)
    won: done.   lost: read the winner, decide again, next slot, same event

A create's answer proves something only if it is a plain success. Everything else is *read back*:
my own bytes in the slot mean won, other bytes mean lost, and an absent slot means that the same
bytes go to the same slot again. No other slot is tried while one is undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, settled
from tclog.chain.fold import fold, is_ignored, last_txn_after, place_after, rules_of, state_of
from tclog.chain.once import Once, bind_once, find_once, resume_key
from tclog.chain.read import (
    accept,
    known_broadcasts,
    read_broadcasts,
    read_head,
    read_newest,
    read_on,
    read_onward,
)
from tclog.chain.trust import Remembered, look, stamp_of_put
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, Hlc, Stamp, parse_us
from tclog.domain.content import Blob
from tclog.domain.decision import Decision, Draft, Place, Unchanged
from tclog.errors import (
    BadValue,
    NotFound,
    OutcomeUnknown,
    Refused,
    StoreError,
    StoreUnreachable,
    quote,
)
from tclog.event import (
    ALL,
    ChainId,
    Event,
    Version,
    blob_key,
    chain_kind,
    event_key,
    seal_event,
    seal_version,
    slot_key,
)
from tclog.event.bodies import misfit_body
from tclog.store.base import Create, Created, Found, Get, Keep, Outcome, Stat

RACES_MAX = 10_000
# For so long after a version that several senders share, others are taken to be at work.
HOT_US = 2 * SECOND_US
# Sync looks for an event among those named by times not long before it was committed.
EVENT_AGE_MAX_S = 300
CREATE_TRIES_MAX = 40
_UNDECIDED_WAIT_S = 0.05


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


class Sealed(NamedTuple):
    """An event whose object is in the store, with the draft that it was made from."""

    draft: Draft
    event: Event
    now: Stamp | None = None


Decide = Callable[[Any, Place], Decision]


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
    race = Race(client, chain, decide, blobs, chains or (chain,), once, sealed)
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
            yield from seal(race, draft)
        else:
            event, unput = seal_draft(race.client, draft, race.chains, key=race.key)
            race.sealed = Sealed(draft, event)
    assert race.sealed is not None  # noqa: S101 - sealed above
    joined = yield from combine(race, head, race.sealed.event, unput)
    return Appended(joined.version, state_of(race.chain, joined.version), joined.event)


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
        self.merges = chain_kind(chain) == "inbox" and chain != ALL
        self.looked = not self.merges
        self.placed = sealed is not None
        # Whether what is proposed changes the state; if not, it binds the idempotency key.
        self.changes = True
        # The replies to what was asked beside the winner of the last race.
        self.beside: Sequence[Any] = ()

    @property
    def key(self) -> str | None:
        """The idempotency key that its events carry."""
        return None if self.once is None else self.once.key

    def bind(self, decision: Decision) -> Decision:
        """Return what is to be written for a decision: under a key also what changes nothing.

        Otherwise the same command could apply later, under a key that looks unused.
        """
        self.changes = not isinstance(decision, Unchanged)
        if isinstance(decision, Unchanged) and self.once is not None:
            return decision.draft or decision
        return decision

    def is_old(self, age_max_s: float = EVENT_AGE_MAX_S) -> bool:
        """Whether the event was made so long ago that it is to be made anew.

        One that stands in another chain already stays what it is.
        """
        if self.sealed is None or self.placed:
            return False
        made_us = parse_us(self.sealed.event.at)
        return self.client.clock.now_us() - made_us > age_max_s * SECOND_US

    def asks_of_loser(self, seq: int) -> tuple[Get | Stat, ...]:
        """Return what tells one who lost slot ``seq`` whether it is refused: judged by the clock.

        That is what follows the winner, and the stamp of one's own event if it was not told.
        """
        sealed = self.sealed
        onward = Get(slot_key(self.chain, seq + 1))
        if sealed is None or sealed.now is not None:
            return (onward,)
        return (onward, Stat(event_key(sealed.event.at, self.chains[0], sealed.event.id)))


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
            yield from seal(race, decision)
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


def seal(race: Race, draft: Draft) -> Protocol[None]:
    """Write the event's object, blobs before it; read its stamp where something rests on that."""
    client = race.client
    if race.blobs:
        settled((yield tuple(Keep(blob_key(blob.hash), blob.data) for blob in race.blobs)))
        race.blobs = []
    known = client.knows_offset()
    for _ in range(2):
        wall_us = client.clock.wall_us()
        event, raw = seal_draft(client, draft, race.chains, key=race.key)
        key = event_key(event.at, race.chains[0], event.id)
        stored = yield from _put_event(race, key, raw)
        took_us = client.clock.wall_us() - wall_us
        if stored is None and (draft.judged or not known):
            stored = yield from stamp_of_put(key)
        race.sealed = Sealed(draft, event, stored)
        if stored is None:
            return
        off = abs(parse_us(stored) - parse_us(event.at)) >= AHEAD_TRUSTED_US
        if off or not known:
            client.learn_offset(wall_us, stored, took_us)
        # The first event of a clock that is minutes off is left behind as an attempt: its stamp
        # would mislead every merged view.
        if not off:
            return
        known = True


def seal_draft(
    client: Client,
    draft: Draft,
    chains: Sequence[ChainId],
    *,
    key: str | None = None,
    txn: str | None = None,
) -> tuple[Event, bytes]:
    """Make the event that a draft becomes where this client acts now.

    Raises:
        BadValue: the fold would ignore it, so nothing is written.
    """
    why = misfit_body(draft.op, draft.body)
    if why is not None:
        raise BadValue(f"{draft.op} cannot be written: {why.lstrip('.')}")
    return seal_event(
        op=draft.op,
        chains=chains,
        agent=client.agent,
        session=client.session,
        host=client.host,
        client=client.software,
        at=client.clock.tick(),
        nonce=client.nonce(),
        body=draft.body,
        expect=draft.expect,
        key=key,
        txn=txn,
    )


def _put_event(race: Race, key: str, raw: bytes) -> Protocol[Stamp | None]:
    """Put the event; beside it look whether broadcasts have come that the inbox lacks."""
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


def stamp_of(client: Client, chain: ChainId, head: Version | None) -> Protocol[Stamp | None]:
    """Return the store's stamp of the head, asking for it where the chain's rules rest on it."""
    if head is None or head.stored is not None or not rules_of(chain).stamped:
        return None if head is None else head.stored
    entry = yield Stat(slot_key(chain, head.seq))
    stored: Stamp | None = None if entry is None else entry.stored
    if stored is None:
        # It was read or written before, so it is there, or the store was set back.
        stored = (yield from look(Remembered.of(head))).stored
    client.heads.put(head._replace(stored=stored))
    return stored


def _version(race: Race, head: Version | None, state: Any, place: Place) -> Protocol[Version]:
    """Seal the version that commits the event; blobs that only the fold needs go first."""
    client, chain = race.client, race.chain
    assert race.sealed is not None  # noqa: S101 - the caller has sealed
    events = (race.sealed.event,)
    if race.changes:
        check_effect(chain, state, events[0], place)
    if chain_kind(chain) == "memory":
        from tclog.domain.memory import blobs_of

        spilled = blobs_of(state, events[0])
        if spilled:
            settled((yield tuple(Keep(blob_key(blob.hash), blob.data) for blob in spilled)))
    at = Hlc(place.at) if place.at else None
    merge = merge_of(state, race.broadcasts)
    return seal_next(client, chain, head, place, events, merge, at=at)


def check_effect(chain: ChainId, state: Any, event: Event, place: Place) -> None:
    """Refuse to write an event that the fold would ignore at its place.

    The bytes that are checked are those that the slot gets. So an answer that is given after a win
    is what every reader finds: no agent is told of a step that it does not hold.

    Raises:
        Refused: the decision and the fold disagree.
    """
    if is_ignored(chain, state, event, place):
        raise Refused(
            f"{event.op} was not committed: readers would ignore it as version {place.seq}"
            f" of {chain}",
            code="no-effect",
            hint="run the same command again",
        )


def check_stamped(head: Version, place: Place) -> None:
    """Refuse to follow a version whose stamp is not known: without it a lease would never end."""
    if place.prev_stored is None:
        raise StoreUnreachable(
            f"the store gives no last-modified time for version {head.seq} of {head.chain}",
            hint="tclog doctor",
        )


def seal_next(
    client: Client,
    chain: ChainId,
    head: Version | None,
    place: Place,
    events: Sequence[Event],
    merge: Mapping[str, Any] | None,
    *,
    at: Hlc | None = None,
    txn: Mapping[str, Any] | None = None,
    fills: Mapping[str, Any] | None = None,
    voids: Sequence[Mapping[str, Any]] = (),
) -> Version:
    """Seal the version that follows ``head``, with the state that its merge and events give."""
    rules, before = rules_of(chain), state_of(chain, head)
    if rules.stamped and head is not None:
        check_stamped(head, place)
    at = at or client.clock.tick(after=None if head is None else head.at)
    place = place._replace(at=at)
    # Should its transaction be aborted, it is as if it were empty.
    alone = txn is None or len(txn["slots"]) == 1
    otherwise = None if alone else rules.pack(fold(chain, before, (), place), ())
    return seal_version(
        chain=chain,
        seq=place.seq,
        prev=voids[0]["hash"] if voids else None if head is None else head.id,
        prev_stored=place.prev_stored,
        at=at,
        by=client.agent,
        events=events,
        state=rules.pack(fold(chain, before, events, place, merge), events),
        now=place.now,
        merge=merge,
        stands=place.stands,
        txn=txn,
        otherwise=otherwise,
        fills=fills,
        last_txn=last_txn_after(head),
        voids=voids,
    )


def seal_void(
    client: Client, chain: ChainId, head: Version | None, fills: Mapping[str, Any]
) -> Protocol[Version]:
    """Seal a version that changes nothing; ``fills`` says whose transaction it ends."""
    stored = yield from stamp_of(client, chain, head)
    place = place_after(head)._replace(prev_stored=stored)
    return seal_next(client, chain, head, place, (), None, fills=fills)


def merge_of(state: Any, broadcasts: Version | None) -> Mapping[str, Any] | None:
    """Return the merge that a version of an inbox has to carry, or None."""
    if broadcasts is None or broadcasts.seq <= state.all_version:
        return None
    count = state_of(ALL, broadcasts).count
    return {
        "after": state.all_version,
        "chain": ALL,
        "count": count,
        "taken": max(0, count - state.all_count),
        "through": broadcasts.seq,
    }


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


def settle(client: Client, version: Version, race: Race | None = None) -> Protocol[Found | None]:
    """Create the version's slot and find out what became of it.

    Args:
        client: who acts.
        version: what to put there.
        race: in which a loser asks more, beside what it lost to.

    Returns:
        None: this version is in the slot. Otherwise what somebody else put there.

    Raises:
        StoreError: the first request was refused for good, so nothing was stored.
        OutcomeUnknown: no decision within ``client.decide_timeout_s``.
    """
    key = slot_key(version.chain, version.seq)
    begun_s = client.monotonic_s()
    cause, undecided = "", False
    for nth in range(CREATE_TRIES_MAX):
        try:
            created: Created = yield Create(key, version.raw)
            if created.outcome is Outcome.WON:
                return None
            cause = created.cause or cause
            undecided = undecided or created.outcome is Outcome.UNKNOWN
            found = yield from _read_back(version, race, created)
        except StoreError as error:
            # A refusal proves that nothing was stored only if nothing was sent before it.
            if not undecided and nth == 0 and not cause:
                raise
            cause, found, undecided = error.message, None, True
        if found is not None:
            return None if found.data == version.raw else found
        if client.monotonic_s() - begun_s > client.decide_timeout_s:
            break
        yield Sleep(_UNDECIDED_WAIT_S * (0.5 + client.jitter()) * min(2**nth, 16))
    raise _unknown(version, cause)


def _read_back(version: Version, race: Race | None, created: Created) -> Protocol[Found | None]:
    """Read what a version's slot holds; who has lost what only one can have asks more with it."""
    read = Get(slot_key(version.chain, version.seq))
    if race is not None:
        race.beside = ()
        lost = created.outcome is Outcome.EXISTS
        if lost and race.sealed is not None and race.sealed.draft.exclusive:
            found, *race.beside = yield (read, *race.asks_of_loser(version.seq))
            if isinstance(found, StoreError):
                raise found
            return found  # type: ignore[no-any-return]
    return (yield read)  # type: ignore[no-any-return]


def _unknown(version: Version, cause: str) -> OutcomeUnknown:
    event = version.events[-1] if version.events else None
    again = None if event is None else resume_key(event, version.seq)
    return OutcomeUnknown(
        f"it is not known whether version {version.seq} of {version.chain} was written ({cause})",
        hint=f"run the same command again with --id {quote(again)}"
        if again
        else "run the same command again",
        event=None if event is None else event.id,
        chain=version.chain,
        version=version.seq,
        id_key=again,
    )


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
        winner = yield from end_transaction(client, winner)
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


def end_transaction(client: Client, version: Version) -> Protocol[Version]:
    """Return a version as it is once its transaction has ended; nothing follows it before."""
    from tclog.chain.verdict import resolve

    return (yield from resolve(client, version))
