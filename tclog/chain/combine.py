"""Combining: many senders to one inbox share slots instead of fighting for them.

A sender that has lost a slot announces its event under ``pending/``, and from then on either finds
it in a version that somebody else made, or commits all that is pending in one version itself. Each
version that several share also says who makes the next one: one of those whose events it holds,
in turn, who does so once it has found its own event. So in a crowd one reads what is announced, and
the others ask for nothing until the next version should be there. This saves requests and decides
nothing: who waits in vain makes the version itself. (Helping, Herlihy 1991; flat combining, Hendler
et al. 2010.) What makes it safe:

* An announcement says which version its sender had read when it was made: the event stands in
  none up to there. Whoever includes it has read every version after that one, up to the very
  version that it builds upon, and leaves out what one of them holds. So no event is committed
  twice.
* The same is done for idempotency keys, so that a command which is repeated while its first
  announcement lingers is not applied by both.
* An announcement may be there before its event's object is, since both are put at once. Whoever
  includes the event has read it from that object, so no version names an event that is not there.
* An announced event may be committed by anybody at any later time. So once it is announced, only
  finding it committed ends the append well, and every failure is an unknown outcome.

Listings are never trusted for safety: what a listing lacks is committed later. An announcement that
has been there for ``LINGERS_US`` was left by a sender that died, and is included no more.

Who may not remove announcements makes none, once that is known: all would read again and again what
was committed long ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tclog.chain.client import Client, Crowd
from tclog.chain.drive import Protocol, Sleep, settled
from tclog.chain.fold import place_after, rules_of, state_of
from tclog.chain.once import is_same, resume_key
from tclog.chain.race import Race
from tclog.chain.read import (
    accept,
    admit,
    known_broadcasts,
    read_broadcasts,
    read_newest,
    read_next,
    read_on,
    read_range,
)
from tclog.chain.resolve import resolve
from tclog.chain.seal import EVENT_AGE_MAX_S, is_old, merge_of, seal_next
from tclog.chain.settle import settle
from tclog.clock import SECOND_US, Hlc, parse_us, stamp
from tclog.domain import misfit
from tclog.errors import (
    OutcomeUnknown,
    StoreDenied,
    StoreError,
    StoreUnreachable,
    TclogError,
    quote,
)
from tclog.event import (
    ALL,
    ChainId,
    Event,
    EventId,
    Version,
    decode_event,
    encode,
    event_key,
    pending_begin,
    pending_folder,
    pending_key,
    pending_key_parts,
    slot_key,
)
from tclog.store.base import Delete, Entry, Found, Get, Keep, List, Put

BATCH_MAX = 256
BATCH_BYTES_MAX = 1 << 20
# How far back an announcement may have been made; one that is older was left by a sender that died.
LOOK_BACK_MAX = 64
# Like any event, an announced one stands in no version that is made when it is older than this.
LINGERS_US = EVENT_AGE_MAX_S * SECOND_US
WAIT_MAX_S = 2.0
GIVE_UP_S = 60.0
ROUNDS_MAX = 10_000
# From so many events in one version on, the next one is taken to be in the making.
CROWD = 8
# From so many on, a version says who makes the next one.
SUCCEEDED = 4
TRIES_MAX = 8
# So many versions may come without one's event before one no longer lets others go first.
PASSED = 8
# So many slots beyond the newest known one are asked for by who is about to make the next: those
# who race without helping take a slot every two round trips.
AHEAD = 3
# Waits, in round trips. Who makes the next version lets the others find the last one and announce
# themselves, and does so once more if fewer than this share of the crowd have.
GATHER = 1.5
GATHERED = 0.9
GATHER_AGAIN = 1.0
# A version is then made in about five: a listing, the slowest of many reads, the create.
FIRST_LOOK = 4.0
LOOK_AFTER_LIST = 3.0
LOOK_AGAIN = 1.5
# Where a version takes longer than its requests, because the machine or the store is busy, that is
# learnt, and looks wait for these shares of it. They are small: what is learnt lasts until a look.
FIRST_PACE = 0.5
AGAIN_PACE = 0.1
# Each further look comes later by this factor.
SPACED = 1.5
# For so many round trips one looks, or for so many times what a version took lately, before one
# sees to it oneself.
PATIENCE = 16.0
PATIENCE_PACES = 2.0


class Announcement(NamedTuple):
    """An event that waits for a version: it stands in none up to ``after``."""

    key: str
    after: int
    event: Event
    size: int


class Joined(NamedTuple):
    """The version that holds the event, which is the caller's or one under the same key."""

    version: Version
    event: Event


def combine(
    race: Race, head: Version | None, event: Event, unput: bytes | None = None
) -> Protocol[Joined]:
    """Announce a sealed event that stands in no version up to ``head``, and see it committed.

    Args:
        race: the append that has lost, or would lose.
        head: the newest version known.
        event: what to commit.
        unput: the bytes of the event's object, where that is still to be put.

    Raises:
        OutcomeUnknown: not within ``GIVE_UP_S``, or the store failed meanwhile or is damaged.
        StoreError: the announcement was refused for good, so nothing was or will be committed.
    """
    try:
        return (yield from _combine(race, head, event, unput))
    except KeyboardInterrupt:
        after = 0 if head is None else head.seq
        # Others may have read it already. Spare the rest a commit for a sender that is gone.
        with suppress(TclogError):
            yield Delete((pending_key(race.chain, event.at, after, event.id),))
        raise


def _combine(
    race: Race, head: Version | None, event: Event, unput: bytes | None
) -> Protocol[Joined]:
    client = race.client
    began_s = client.monotonic_s()
    after = 0 if head is None else head.seq
    mine = yield from _announce(race, event, after, unput)
    seen = _Seen(client, race.chain, mine, head)
    joined = None
    try:
        for _ in range(ROUNDS_MAX):
            if seen.pause_s:
                yield Sleep(min(seen.pause_s * (0.8 + 0.4 * client.jitter()), WAIT_MAX_S))
            joined = yield from (_look if seen.waits() else _try)(race, seen)
            if joined is not None or client.monotonic_s() - began_s > GIVE_UP_S:
                break
    except TclogError as error:
        raise _unknown(race, event, after, error.message) from error
    if joined is None:
        raise _unknown(race, event, after, "too many others write to it")
    if _succeeds(joined):
        yield from _serve(race, seen)
    if seen.spent:
        yield from _remove(client, sorted(seen.spent))
    return joined


def _announce(race: Race, event: Event, after: int, unput: bytes | None) -> Protocol[Announcement]:
    """Put the announcement, and beside it the event's object where that is still to be put.

    An announcement is empty where its name says which object holds the event; one to a further
    inbox of the same message holds the event itself.
    """
    client, chain = race.client, race.chain
    raw = unput or encode(event.record)
    mine = Announcement(pending_key(chain, event.at, after, event.id), after, event, len(raw))
    puts = [Put(mine.key, b"" if event.chains[0] == chain else raw)]
    if unput is not None:
        puts.insert(0, Keep(event_key(event.at, chain, event.id), unput))
    began_s = client.monotonic_s()
    failures = [reply for reply in (yield tuple(puts)) if isinstance(reply, StoreError)]
    for failure in failures:
        # Both may be there, so the event may be committed.
        if isinstance(failure, StoreUnreachable):
            raise _unknown(race, event, after, failure.message) from failure
    if failures:
        raise failures[0]
    client.learn_round(client.monotonic_s() - began_s)
    return mine


class _Seen:
    """What one that waits has read: the versions after ``base``, without a gap, and what is next.

    ``pause_s`` is how long to wait before the next act. Until ``patient_s`` that is to look whether
    others have made the next version; after that one sees to it.
    """

    def __init__(
        self, client: Client, chain: ChainId, mine: Announcement, head: Version | None
    ) -> None:
        self.client = client
        self.chain = chain
        self.mine = mine
        self.base = mine.after
        self.head = head
        self.versions: list[Version] = []
        # Whether the last look found a version, so that there may be more.
        self.behind = False
        # Announcements of what is committed, to be removed.
        self.spent: set[str] = set()
        self._wait()

    def crowd(self) -> Crowd:
        """Return how many wait, about: as many as share the newest version, or did lately."""
        lately = self.client.crowd(self.chain)
        share = 0 if self.head is None else len(self.head.events)
        return lately._replace(size=max(lately.size, share))

    def waits(self) -> bool:
        """Whether others are still expected to make the next version."""
        return self.client.monotonic_s() < self.patient_s

    def _wait(self) -> None:
        """Begin to wait for the version after the newest one."""
        # How often others were let go first since, and how many looks were in vain.
        self.stalls, self.vain = 0, 0
        self.patient_s, self.pause_s = 0.0, 0.0
        crowd = self.crowd()
        if crowd.size >= CROWD:
            patience_s = max(PATIENCE * self.client.round_s, PATIENCE_PACES * crowd.pace_s)
            self.patient_s = self.client.monotonic_s() + patience_s
            self.pause_s = max(FIRST_LOOK * self.client.round_s, FIRST_PACE * crowd.pace_s)

    def add(self, version: Version) -> None:
        """Take in the version that follows."""
        self.versions.append(version)
        self.head = version
        self.client.learn_crowd(version)
        self._wait()

    def look_again(self) -> None:
        """Wait on after a look that was in vain."""
        self.behind = False
        unit_s = max(LOOK_AGAIN * self.client.round_s, AGAIN_PACE * self.crowd().pace_s)
        self.pause_s = unit_s * SPACED**self.vain
        self.vain += 1

    def yields(self, keys: Sequence[str]) -> bool:
        """Whether others of those that wait go first: the oldest does.

        Twice as many do each time it does not, since it may be dead; and with each version after
        the first few that lacks one's event, for those who make them help nobody.
        """
        passed = 0 if self.head is None else self.head.seq - self.mine.after
        turns = max(0, self.stalls - 1, passed - PASSED)
        if sorted(keys).index(self.mine.key) < 2**turns:
            return False
        self.stalls += 1
        self.pause_s = LOOK_AFTER_LIST * self.client.round_s
        # For one look, however that pause is drawn.
        self.patient_s = self.client.monotonic_s() + 1.5 * self.pause_s
        return True

    def holds(self, announced: Announcement) -> bool:
        """Whether a version after the announcement was made holds its event."""
        return any(
            is_same(announced.event, event)
            for version in self.versions
            if version.seq > announced.after
            for event in version.events
        )


def _look(race: Race, seen: _Seen) -> Protocol[Joined | None]:
    """Read the versions that have come; return the one that holds the event."""
    client, chain, event = race.client, race.chain, seen.mine.event
    asked_s = client.monotonic_s()
    found = yield Get(slot_key(chain, 1 if seen.head is None else seen.head.seq + 1))
    client.learn_round(client.monotonic_s() - asked_s)
    version = yield from admit(client, chain, seen.head, found)
    if version is None:
        seen.look_again()
        return None
    seen.add(version)
    joined = _find(event, [version])
    if joined is not None:
        return joined
    if seen.crowd().size >= CROWD and not seen.behind:
        # It has just come without the event: the next will be a while.
        seen.behind = True
        return None
    seen.behind = False
    news, more = yield from read_next(client, chain, seen.head)
    if more:
        newest = yield from read_newest(client, chain)
        if newest is not None and newest.seq > news[-1].seq:
            news += yield from read_range(client, chain, news[-1].seq + 1, newest.seq)
    for version in news:
        seen.add(version)
    return _find(event, news)


def _find(event: Event, versions: Sequence[Version]) -> Joined | None:
    for version in versions:
        for other in version.events:
            if is_same(event, other):
                return Joined(version, other)
    return None


def _try(race: Race, seen: _Seen) -> Protocol[Joined | None]:
    """Commit all that is pending, unless it is for somebody else to do so."""
    mine = seen.mine
    waiting = yield from _list_pending(race)
    keys = [entry.key for entry in waiting]
    if mine.key not in keys:
        # Most likely it is committed, and removed since. A listing proves nothing, though.
        seen.behind = True
        joined = yield from _look(race, seen)
        if joined is not None:
            return joined
        keys.append(mine.key)
    if seen.yields(keys):
        return None
    yield from _commit(race, seen, [entry for entry in waiting if entry.key != mine.key], [mine])
    return _find(mine.event, [one for one in seen.versions if one.seq > mine.after])


def _succeeds(joined: Joined) -> bool:
    """Whether the sender of an event in a version is the one to make the next version.

    By the version alone, so all agree; and another agent with each version, so none is held up much
    longer than the others.
    """
    version = joined.version
    if len(version.events) < SUCCEEDED:
        return False
    turns = sorted((event.agent, event.id) for event in version.events)
    return turns[version.seq % len(turns)][1] == joined.event.id


def _serve(race: Race, seen: _Seen) -> Protocol[None]:
    """Make the next version for those who wait, now that one's own event is committed.

    Nothing that fails here changes that it is.
    """
    client, crowd = race.client, seen.crowd()
    waiting: Sequence[Entry] = ()
    try:
        for rounds in (GATHER, GATHER_AGAIN):
            yield Sleep(rounds * client.round_s)
            waiting = [
                entry
                for entry in (yield from _list_pending(race))
                if entry.key != seen.mine.key and entry.key not in seen.spent
            ]
            if len(waiting) >= GATHERED * crowd.size:
                break
        if waiting:
            yield from _commit(race, seen, waiting, [])
    except TclogError:
        client.warn("what others announced could not be committed for them; they see to it")


def _list_pending(race: Race) -> Protocol[list[Entry]]:
    """Return the announcements, the oldest first, but those of senders that have died.

    Nor are those listed, however many they are: they would hide who lives.
    """
    begin = stamp(race.client.clock.now_us() - LINGERS_US)
    entries: Sequence[Entry] = yield List(
        pending_folder(race.chain), pending_begin(race.chain, begin), BATCH_MAX
    )
    newest_us = max((parse_us(entry.stored) for entry in entries if entry.stored), default=0)
    return [
        entry
        for entry in entries
        if entry.stored is None or newest_us - parse_us(entry.stored) < LINGERS_US
    ]


def _commit(
    race: Race, seen: _Seen, waiting: Sequence[Entry], mine: Sequence[Announcement]
) -> Protocol[None]:
    """Commit one's own announcement and those listed, unless others are found to have done so."""
    client = race.client
    announced, broadcasts = yield from _read_pending(race, seen, waiting)
    batch, done = yield from _look_back(race, seen, [*mine, *announced])
    seen.spent.update(one.key for one in done)
    for _ in range(TRIES_MAX):
        # Looked at each time: a client may have been stopped since it listed them.
        batch = [one for one in batch if not (seen.holds(one) or _lingers(race, one))]
        if not batch or (mine and mine[0] not in batch):
            return
        chosen = _batch(batch)
        events = [one.event for one in sorted(chosen, key=lambda one: (one.event.at, one.event.id))]
        version = _version(race, seen.head, events, broadcasts)
        lost_to = yield from settle(client, version)
        if lost_to is None:
            client.heads.put(version)
            seen.add(version)
            seen.spent.update(one.key for one in chosen)
            return
        # At once again: who races without helping is as quick, and must not win for ever.
        winner = yield from accept(client, race.chain, seen.head, lost_to)
        if not winner.settled:
            winner = yield from resolve(client, winner)
        seen.add(winner)
        yield from _take_in(race, seen, settled((yield tuple(_ahead(race, seen)))))


def _lingers(race: Race, announced: Announcement) -> bool:
    """Whether an event is too old to be committed, unless it stands in another chain already."""
    if race.placed and race.sealed is not None and race.sealed.event == announced.event:
        return False
    return is_old(race.client, announced.event)


def _ahead(race: Race, seen: _Seen) -> list[Get]:
    """Return requests for the slots that follow the newest version known."""
    first = 1 if seen.head is None else seen.head.seq + 1
    return [Get(slot_key(race.chain, seq)) for seq in range(first, first + AHEAD)]


def _take_in(race: Race, seen: _Seen, replies: Sequence[Found | None]) -> Protocol[None]:
    """Take in the versions that these slots hold, up to the first empty one."""
    first = 1 if seen.head is None else seen.head.seq + 1
    for seq, found in enumerate(replies, first):
        if seen.head is not None and seen.head.seq >= seq:
            continue  # it was passed over with junk
        version = yield from admit(race.client, race.chain, seen.head, found)
        if version is None:
            return
        seen.add(version)


def _remove(client: Client, keys: Sequence[str]) -> Protocol[None]:
    """Remove announcements of what is committed."""
    try:
        yield Delete(tuple(keys))
    except StoreDenied:
        client.heads.deny_removal()
        client.warn(
            "announcements may not be removed here, so messages to a busy inbox are sent one by one"
            " from now on; allow s3:DeleteObject under pending/ and they share versions"
        )
    except StoreError:
        client.warn("announcements could not be removed; they do no harm")


def _read_pending(
    race: Race, seen: _Seen, waiting: Sequence[Entry]
) -> Protocol[tuple[list[Announcement], Version | None]]:
    """Read what others announced, and after it was listed how far broadcasts have come.

    Beside that look for versions that came meanwhile.
    """
    client, chain = race.client, race.chain
    names = [name for entry in waiting if (name := _named(race, entry)) is not None]
    gets = _ahead(race, seen)
    known = known_broadcasts(client)
    if race.merges:
        gets.append(Get(slot_key(ALL, 1 if known is None else known.seq + 1)))
    beside = len(gets)
    replies = settled((yield (*gets, *(Get(name.source) for name in names))))
    yield from _take_in(race, seen, replies[:AHEAD])
    if race.merges:
        known = yield from read_broadcasts(client, read_on(client, ALL, known, replies[AHEAD]))
    announced = [
        one
        for name, found in zip(names, replies[beside:], strict=True)
        if (one := _decode(client, chain, name, found)) is not None
    ]
    return announced, known if race.merges else None


class _Named(NamedTuple):
    """What the name of an announcement says, and which object holds the event: ``source``."""

    key: str
    at: Hlc
    after: int
    event: EventId
    source: str


def _named(race: Race, entry: Entry) -> _Named | None:
    """Read an announcement's name; the event is in the announcement, unless that is empty."""
    parts = pending_key_parts(entry.key)
    if parts is None:
        race.client.warn(f"{entry.key} is not a valid announcement")
        return None
    at, after, event = parts
    source = entry.key if entry.size else event_key(at, race.chain, event)
    return _Named(entry.key, at, after, event, source)


def _decode(
    client: Client, chain: ChainId, name: _Named, found: Found | None
) -> Announcement | None:
    """Read an announced event; one that is gone, or not there yet, is left alone."""
    if found is None:
        return None
    try:
        event = decode_event(found.data, expect=name.event, what=name.source)
        known = event.op in rules_of(chain).ops
        if event.at == name.at and known and misfit(event, chain) is None:
            return Announcement(name.key, name.after, event, len(found.data))
    except TclogError:
        pass
    client.warn(f"{name.key} is not a valid announcement")
    return None


def _batch(waiting: Sequence[Announcement]) -> list[Announcement]:
    """Choose what goes into one version: the first ones, each command once."""
    batch: list[Announcement] = []
    size = 0
    for one in waiting:
        size += one.size
        if batch and size > BATCH_BYTES_MAX:
            break
        if not any(is_same(one.event, other.event) for other in batch):
            batch.append(one)
    return batch


def _look_back(
    race: Race, seen: _Seen, batch: Sequence[Announcement]
) -> Protocol[tuple[list[Announcement], list[Announcement]]]:
    """Read what came between an announcement and the versions that were read already.

    Returns:
        What may be included, and what was found committed.
    """
    floor = seen.base - LOOK_BACK_MAX
    usable = [one for one in batch if one.after >= floor]
    oldest = min((one.after for one in usable), default=seen.base)
    if oldest < seen.base:
        older = yield from read_range(race.client, race.chain, oldest + 1, seen.base)
        seen.versions = [*older, *seen.versions]
        seen.base = oldest
    done = [one for one in usable if seen.holds(one)]
    return [one for one in usable if one not in done], done


def _version(
    race: Race, head: Version | None, events: Sequence[Event], broadcasts: Version | None
) -> Version:
    client, chain = race.client, race.chain
    for event in events:
        client.clock.observe(event.at)
    merge = merge_of(state_of(chain, head), broadcasts)
    return seal_next(client, chain, head, place_after(head), events, merge)


def _unknown(race: Race, event: Event, after: int, cause: str) -> OutcomeUnknown:
    again = resume_key(event, after + 1)
    return OutcomeUnknown(
        f"it is not known whether the event was or will be committed to {race.chain} ({cause})",
        hint=f"run the same command again with --id {quote(again)}",
        event=event.id,
        chain=race.chain,
        version=after + 1,
        id_key=again,
    )
