"""Combining: many senders to one inbox share slots instead of fighting for them.

A sender that has lost a slot announces its event under ``pending/``, and from then on either finds
it in a version that somebody else made, or commits all that is pending in one version itself. In a
crowd a few see to the next version, by the luck of their events' ids, the oldest of them first; the
others ask for nothing until it should be there. This saves requests and decides nothing.
(Helping, Herlihy 1991; flat combining, Hendler et al. 2010.) What makes it safe:

* An announcement says which version its sender had read when it was made: the event stands in
  none up to there. Whoever includes it has read every version after that one, up to the very
  version that it builds upon, and leaves out what one of them holds. So no event is committed
  twice.
* The same is done for idempotency keys, so that a command which is repeated while its first
  announcement lingers is not applied by both.
* An announced event may be committed by anybody at any later time. So once it is announced, only
  finding it committed ends the append well, and every failure is an unknown outcome.

Listings are never trusted for safety: what a listing lacks is committed later. An announcement that
has been there for ``LINGERS_US`` was left by a sender that died, and is included no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tclog.chain.drive import Protocol, Sleep, settled
from tclog.chain.fold import place_after, rules_of, state_of
from tclog.chain.once import is_same, resume_key
from tclog.chain.read import (
    CHASE_MAX,
    accept,
    admit,
    read_newest,
    read_next,
    read_on,
    read_range,
)
from tclog.clock import SECOND_US, parse_us
from tclog.errors import OutcomeUnknown, StoreError, StoreUnreachable, TclogError, quote
from tclog.event import (
    ALL,
    ChainId,
    Event,
    Version,
    decode,
    decode_event,
    encode,
    pending_folder,
    pending_key,
    slot_key,
)
from tclog.store.base import Delete, Entry, Found, Get, List, Put

if TYPE_CHECKING:
    from tclog.chain.append import Race
    from tclog.chain.client import Client

BATCH_MAX = 256
BATCH_BYTES_MAX = 1 << 20
# How far back an announcement may have been made; one that is older was left by a sender that died.
LOOK_BACK_MAX = 64
LINGERS_US = 15 * 60 * SECOND_US
WAIT_MAX_S = 2.0
GIVE_UP_S = 60.0
ROUNDS_MAX = 10_000
# From so many events in one version on, the next one is taken to be in the making.
CROWD = 8
# Of a crowd so many, by the luck of their events' ids, see at once whether it is for them to make
# the next version. The others ask for nothing until it should be there.
LEADERS = 4
TRIES_MAX = 8
# Waits, in round trips. Who leads lets the others announce themselves, and does so once more if
# fewer than this share have; a version is then made in about five: a listing, the slowest of many
# reads, the create.
GATHER = 0.6
GATHERED = 0.6
FIRST_LOOK = 5.0
LOOK_AFTER_LIST = 3.0
LOOK_AGAIN = 1.5
# Each further look comes later by this factor; so many are in vain before one sees to it oneself.
SPACED = 1.5
LOOKS_FIRST = 4
LOOKS = 1


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


def combine(race: Race, head: Version | None, event: Event) -> Protocol[Joined]:
    """Announce a sealed event that stands in no version up to ``head``, and see it committed.

    Raises:
        OutcomeUnknown: not within ``GIVE_UP_S``, or the store failed meanwhile.
        StoreError: the announcement was refused for good, so nothing was or will be committed.
    """
    client, chain = race.client, race.chain
    began_s = client.monotonic_s()
    mine = pending_key(chain, event.at, event.id)
    after = 0 if head is None else head.seq
    raw = encode({"after": after, "chain": chain, "event": event.record, "format": 1})
    try:
        yield Put(mine, raw)
    except StoreUnreachable as error:
        raise _unknown(race, event, after, error.message) from error
    client.learn_round(client.monotonic_s() - began_s)
    seen = _Seen(client, Announcement(mine, after, event, len(raw)), head)
    try:
        for _ in range(ROUNDS_MAX):
            if seen.pause_s:
                yield Sleep(min(seen.pause_s * (0.8 + 0.4 * client.jitter()), WAIT_MAX_S))
            joined = yield from (_look if seen.looks else _try)(race, seen)
            if joined is not None:
                return joined
            if client.monotonic_s() - began_s > GIVE_UP_S:
                break
    except (StoreError, OutcomeUnknown) as error:
        raise _unknown(race, event, after, error.message) from error
    raise _unknown(race, event, after, "too many others write to it")


def _leads(key: str, crowd: int) -> bool:
    """Whether the sender of an announcement is one of the few in a crowd that go first.

    Ids are random, so everybody knows this of everybody without asking.
    """
    try:
        return int(key[-69:-61], 16) * crowd < LEADERS << 32
    except ValueError:
        return False  # no announcement of this format


class _Seen:
    """What one that waits has read: the versions after ``base``, without a gap, and what is next.

    ``pause_s`` is how long to wait before the next act; ``looks`` how often to look whether others
    have made the next version, before one sees to it.
    """

    def __init__(self, client: Client, mine: Announcement, head: Version | None) -> None:
        self.client = client
        self.mine = mine
        self.base = mine.after
        self.head = head
        self.versions: list[Version] = []
        # Whether the last look found a version, so that there may be more.
        self.behind = False
        # How many waited when they were listed.
        self.listed = 0
        # Whether it gave the others more time to announce themselves.
        self.gathered = False
        self._wait()

    @property
    def crowd(self) -> int:
        """How many wait, about: as many as did before, or as share the newest version."""
        return max(self.listed, 1 if self.head is None else len(self.head.events))

    def _wait(self) -> None:
        """Begin to wait for the version after the newest one."""
        # How often others were let go first since, and how many looks were in vain.
        self.stalls, self.vain = 0, 0
        self.looks, self.pause_s = 0, 0.0
        if self.crowd < CROWD:
            return
        if _leads(self.mine.key, self.crowd):
            self.pause_s = GATHER * self.client.round_s
            return
        self.looks, self.pause_s = LOOKS_FIRST, FIRST_LOOK * self.client.round_s

    def add(self, versions: Sequence[Version]) -> None:
        """Take in the versions that follow."""
        self.versions += versions
        self.head = versions[-1]
        self._wait()

    def look_again(self) -> None:
        """Wait on after a look that was in vain."""
        self.behind = False
        self.looks = max(0, self.looks - 1)
        self.pause_s = LOOK_AGAIN * self.client.round_s * SPACED**self.vain
        self.vain += 1

    def yields(self, keys: Sequence[str]) -> bool:
        """Whether others of those that wait go first.

        Of those that lead the oldest does, then of all; and twice as many each time it does not,
        since it may be dead.
        """
        if len(keys) < GATHERED * self.crowd and not self.gathered:
            # The others have seen the newest version as late as one sees such: they are coming.
            self.gathered = True
            self.pause_s = GATHER * self.client.round_s
            return True
        self.listed = len(keys)
        order = sorted(keys, key=lambda key: (not _leads(key, self.crowd), key))
        if order.index(self.mine.key) < 2 ** max(0, self.stalls - 1):
            return False
        self.stalls += 1
        self.looks, self.pause_s = LOOKS, LOOK_AFTER_LIST * self.client.round_s
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
    seen.add([version])
    joined = _find(event, seen.versions[-1:])
    if joined is not None:
        return joined
    if seen.crowd >= CROWD and not seen.behind:
        # It has just come without the event: the next will be a while.
        seen.behind = True
        return None
    seen.behind = False
    news = yield from read_next(client, chain, seen.head)
    if len(news) > CHASE_MAX:
        newest = yield from read_newest(client, chain)
        if newest is not None and newest.seq > news[-1].seq:
            news += yield from read_range(client, chain, news[-1].seq + 1, newest.seq)
    if news:
        seen.add(news)
    return _find(event, news)


def _find(event: Event, versions: Sequence[Version]) -> Joined | None:
    for version in versions:
        for other in version.events:
            if is_same(event, other):
                return Joined(version, other)
    return None


def _try(race: Race, seen: _Seen) -> Protocol[Joined | None]:
    """Commit all that is pending, unless it is for somebody else to do so."""
    from tclog.chain.append import end_transaction, settle

    client, mine = race.client, seen.mine
    entries: Sequence[Entry] = yield List(pending_folder(race.chain), limit=BATCH_MAX)
    keys = _living(entries)
    if mine.key not in keys:
        # Most likely it is committed, and removed since. A listing proves nothing, though.
        seen.behind = True
        joined = yield from _look(race, seen)
        if joined is not None:
            return joined
        keys.append(mine.key)
    if seen.yields(keys):
        return None
    waiting, broadcasts = yield from _read_pending(race, [key for key in keys if key != mine.key])
    batch, done = yield from _look_back(race, seen, [mine, *waiting])
    for _ in range(TRIES_MAX):
        batch = [one for one in batch if one is mine or not seen.holds(one)]
        chosen = _batch(mine, batch)
        events = [one.event for one in sorted(chosen, key=lambda one: (one.event.at, one.event.id))]
        version = _version(race, seen.head, events, broadcasts)
        lost_to = yield from settle(client, version)
        if lost_to is None:
            client.heads.put(version)
            yield from _remove(client, [one.key for one in (*chosen, *done)])
            return Joined(version, mine.event)
        # At once again: who races without helping is as quick, and must not win for ever.
        winner = accept(client, race.chain, seen.head, lost_to)
        if not winner.settled:
            winner = yield from end_transaction(client, winner)
        seen.add([winner])
        joined = _find(mine.event, [winner])
        seen.behind = True
        joined = _find(mine.event, [winner]) or (yield from _look(race, seen))
        if joined is not None:
            return joined
    return None


def _living(entries: Sequence[Entry]) -> list[str]:
    """Return the keys of announcements, the oldest first, but those of senders that have died."""
    newest_us = max((parse_us(entry.stored) for entry in entries if entry.stored), default=0)
    return [
        entry.key
        for entry in entries
        if entry.stored is None or newest_us - parse_us(entry.stored) < LINGERS_US
    ]


def _remove(client: Client, keys: Sequence[str]) -> Protocol[None]:
    """Remove announcements of what is committed."""
    try:
        yield Delete(tuple(keys))
    except StoreError:
        client.warn("announcements could not be removed; they do no harm")


def _read_pending(
    race: Race, keys: Sequence[str]
) -> Protocol[tuple[list[Announcement], Version | None]]:
    """Read the announcements of others, and after they were listed how far broadcasts have come."""
    client, chain = race.client, race.chain
    known = client.known(ALL)
    gets = [Get(key) for key in keys]
    if race.merges:
        gets.append(Get(slot_key(ALL, 1 if known is None else known.seq + 1)))
    replies = settled((yield tuple(gets))) if gets else []
    if race.merges:
        known = yield from read_on(client, ALL, known, replies[-1])
    waiting = [
        one
        for key, found in zip(keys, replies, strict=False)
        if (one := _decode(client, chain, key, found)) is not None
    ]
    return waiting, known if race.merges else None


def _decode(client: Client, chain: ChainId, key: str, found: Found | None) -> Announcement | None:
    """Read an announcement; one that is gone or makes no sense is left alone."""
    if found is None:
        return None
    try:
        record = decode(found.data, key)
        event = decode_event(encode(record["event"]), what=key)
        after = record["after"]
        fits = (
            record["chain"] == chain and chain in event.chains and key.endswith(f"{event.id}.json")
        )
        known = event.op in rules_of(chain).ops
        if type(after) is int and after >= 0 and fits and known:
            return Announcement(key, after, event, len(found.data))
    except (TclogError, KeyError, TypeError):
        pass
    client.warn(f"{key} is no announcement that makes sense")
    return None


def _batch(mine: Announcement, waiting: Sequence[Announcement]) -> list[Announcement]:
    """Choose what goes into one version: one's own, and of the others the oldest first."""
    batch, size = [mine], mine.size
    for one in waiting:
        size += one.size
        if size > BATCH_BYTES_MAX:
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
    oldest = min(one.after for one in usable)
    if oldest < seen.base:
        older = yield from read_range(race.client, race.chain, oldest + 1, seen.base)
        seen.versions = [*older, *seen.versions]
        seen.base = oldest
    done = [one for one in usable if seen.holds(one)]
    return [one for one in usable if one not in done], done


def _version(
    race: Race, head: Version | None, events: Sequence[Event], broadcasts: Version | None
) -> Version:
    from tclog.chain.append import merge_of, seal_next

    client, chain = race.client, race.chain
    for event in events:
        client.clock.observe(event.at)
    merge = merge_of(state_of(chain, head), broadcasts)
    return seal_next(client, chain, head, place_after(head), events, merge)


def _unknown(race: Race, event: Event, after: int, cause: str) -> OutcomeUnknown:
    again = resume_key(event, after + 1)
    return OutcomeUnknown(
        f"it is not known whether the event was or will be committed to {race.chain} ({cause})",
        hint=f"run the same command again with --id {quote(again)}: it cannot apply twice",
        event=event.id,
        chain=race.chain,
        version=after + 1,
        id_key=again,
    )
