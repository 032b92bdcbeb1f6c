"""Read chains, events and transactions from the store into the index."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled, together
from tclog.chain.fold import state_of
from tclog.chain.junk import check_ended
from tclog.chain.read import full_name
from tclog.chain.remembered import Remembered
from tclog.chain.seal import EVENT_AGE_MAX_S
from tclog.chain.slots import Junk, decode_slot, newest_slot, read_present
from tclog.chain.trust import check
from tclog.clock import (
    AHEAD_TRUSTED_US,
    ARRIVES_US,
    SECOND_US,
    TRIED_US,
    Hlc,
    Stamp,
    format_us,
    last_of,
    parse_us,
)
from tclog.domain import MODULES
from tclog.errors import Damaged, Forked, RolledBack
from tclog.event import (
    ALL,
    ChainId,
    Event,
    EventId,
    Version,
    chain_folder,
    chain_id,
    chain_kind,
    decode_event,
    event_key_parts,
    slot_key,
)
from tclog.event.bodies import RESERVED_KINDS
from tclog.event.names import (
    CHAINS,
    EVENTS,
    chain_of_folder,
    chain_parts,
    event_of,
    events_begin,
    kind_folder,
)
from tclog.index import Filter, Index, NotLinked
from tclog.store.base import Entry, Found, Get, List
from tclog.sync.objects import Progress

# The clocks of two agents may each be off by what is trusted, and stores stamp whole seconds.
WINDOW_US = round(EVENT_AGE_MAX_S * SECOND_US) + 2 * AHEAD_TRUSTED_US + 60 * SECOND_US
# The slot of an event is tried while the event is young, and that request may arrive late.
UNDECIDED_US = WINDOW_US + TRIED_US + ARRIVES_US
PARTIAL_US = 7 * 86_400 * SECOND_US
PAGE = 4000
AT_ONCE = 512
CHAINS_AT_ONCE = 512
NEVER = Stamp("9999")
STEPS_FORWARD_MAX = 2
PASSES_MAX = 1_000
PAGES_MAX = 10_000_000


class _Slot(NamedTuple):
    """A slot that the index lacks, with what it holds where that was read already."""

    chain: ChainId
    seq: int
    found: Found | None = None


class ChainSync:
    """Reads from the store into the index; counts what was new.

    A chain with damage ends before it in the index, and the client takes note that it does.
    """

    def __init__(self, client: Client, index: Index, progress: Progress) -> None:
        self.client = client
        self.index = index
        self.progress = progress
        self.versions = 0
        self.attempts = 0
        # The slots of transactions that were met: all of them, or none, is in the index.
        self._slots: dict[ChainId, int] = {}
        # Whether an event that was listed was removed before it could be read.
        self.gone = False
        # The chains that end before damage, as found now, and slots with junk that may be ended.
        self.damaged: dict[ChainId, Damaged] = {}
        self._junk: dict[ChainId, list[Junk]] = {}

    # -- every chain --------------------------------------------------------------------------

    def read_every_chain(self) -> Protocol[None]:
        """Find every chain by its folder, and read what the index lacks of it."""
        kinds: Sequence[Entry] = yield List(CHAINS, limit=PAGES_MAX, folders=True)
        for kind in kinds:
            folders: Sequence[Entry] = yield List(kind.key[:-1], limit=PAGES_MAX, folders=True)
            chains = []
            for folder in folders:
                chain = yield from self._chain_of(folder.key[:-1])
                if chain is not None:
                    chains.append(chain)
            yield from self.catch_up(chains, check=True)

    def _chain_of(self, folder: str) -> Protocol[ChainId | None]:
        """Return the chain of a folder; None, and a warning, if it is none of ours."""
        try:
            chain = chain_of_folder(folder)
            if chain is None:
                # The name was cut short to make the folder's: a record holds it in full.
                name = yield from full_name(folder)
                chain = None if name is None else chain_id(chain_parts(folder)[0], name)
        except Damaged:
            self.client.warn(f"{folder} is not a chain, and was left out; tclog fsck looks at all")
            return None
        return chain

    # -- new events ---------------------------------------------------------------------------

    def read_events(self, start: str) -> Protocol[Stamp | None]:
        """List events from a stamp on, or all, and read the chains that they name.

        Returns:
            The newest of the stamps that the store gave them.
        """
        after = events_begin(start) if start else ""
        newest = ""
        for _ in range(PAGES_MAX):
            entries: Sequence[Entry] = yield List(EVENTS, after, PAGE)
            newest = max([newest, *(entry.stored or "" for entry in entries)])
            yield from self._read_named(entries)
            if len(entries) < PAGE:
                break
            after = entries[-1].key
        if not newest:
            return None
        yield from self._read_open(newest)
        return Stamp(newest)

    def _read_named(self, entries: Sequence[Entry]) -> Protocol[None]:
        """Read what a page of events names and the index lacks."""
        listed = {event: row for row in entries if (event := event_of(row.key)) is not None}
        strange = [row.key for row in entries if event_of(row.key) is None]
        new = self.index.unknown_events(list(listed))
        named = {i: _parts_of(listed[i].key) for i in new}
        strange += [listed[i].key for i in new if named[i] is None]
        if strange:
            self.client.warn(
                f"{strange[0]} is not an event and was left out; tclog fsck looks at all of them"
            )
        yield from self.catch_up([p[1] for p in named.values() if p is not None and p[1]])
        # What its first chain does not hold lost its race, is on its way, or stands in another.
        left = [listed[i] for i in self.index.unknown_events(new) if named[i] is not None]
        for start in range(0, len(left), AT_ONCE):
            yield from self._read_attempts(left[start : start + AT_ONCE])

    def _read_attempts(self, entries: Sequence[Entry]) -> Protocol[None]:
        replies = settled((yield tuple(Get(entry.key) for entry in entries)))
        found: list[tuple[Event, bytes, Stamp]] = []
        for entry, reply in zip(entries, replies, strict=True):
            if reply is None:
                self.gone = True  # gc may remove what a pack holds between the listing and now
                continue
            expect = event_of(entry.key)
            try:
                event = decode_event(reply.data, expect=expect, what=entry.key)
            except Damaged as error:
                self.client.leave_out(entry.key, error)
                continue
            found.append((event, reply.data, reply.stored))
        # What looks like an attempt may stand where the index holds another version.
        named = [chain for event, _, _ in found for chain in event.chains]
        yield from self.catch_up(named, check=True)
        with self.index.writing():
            count = self.index.add_attempts(found)
        self.attempts += count
        self.progress("attempts", count)

    def _read_open(self, newest: str) -> Protocol[None]:
        """Look again at chains that may get an event late, until none gets one more."""
        now_us = min(parse_us(newest), self.client.clock.now_us())
        # What was open when the last sync ended is asked once more, however long ago that was.
        asked_us = min(now_us, parse_us(self.index.meta("horizon") or newest))
        asked = Stamp(format_us(asked_us - UNDECIDED_US)), Stamp(format_us(asked_us - PARTIAL_US))
        since = Stamp(format_us(now_us - UNDECIDED_US)), Stamp(format_us(now_us - PARTIAL_US))
        for _ in range(PASSES_MAX):
            before = self.versions
            yield from self.catch_up(self.index.open_chains(*asked))
            if self.versions == before:
                break
        with self.index.writing():
            self.index.forget_open(*since)

    def read_packed_open(self, packed_us: int) -> Protocol[None]:
        """Look at chains that may hold an event since which was packed without its slot.

        An event of the last packed hour may stand in a version of the next one, which is in no pack
        yet; no listing names it again, for it is known by now or ``gc`` has removed its object. And
        what one inbox has and another lacked may have come any time since.
        """
        wanted = Filter(since=last_of(packed_us - UNDECIDED_US), until=last_of(packed_us))
        late = [chain for lost in self.index.attempts(wanted) for chain in lost.event.chains]
        yield from self.catch_up([*late, *self.index.open_chains(NEVER, Stamp(""))])

    def read_lagging_inboxes(self) -> Protocol[None]:
        """Look for versions without events: an inbox's that took in broadcasts."""
        through = self.index.head(ALL)
        if through == 0:
            return
        known = {head.chain: state_of(head.chain, head) for head in self.index.heads_of("inbox")}
        folders: Sequence[Entry] = yield List(kind_folder("inbox"), limit=PAGES_MAX, folders=True)
        segments = {folder.key[:-1] for folder in folders} - {chain_folder(ALL)}
        names = {chain_folder(chain) for chain in known}
        lagging = [chain for chain in known if chain != ALL and known[chain].all_version < through]
        for folder in sorted(segments - names):
            chain = yield from self._chain_of(folder)
            lagging += [] if chain is None else [chain]
        yield from self.catch_up(lagging)

    def read_transactions(self) -> Protocol[None]:
        """Read the other slots of the transactions that were met.

        Those of a committed one are all there by now. One of an aborted one may hold a version
        without events, which no event names.
        """
        for _ in range(PASSES_MAX):
            slots, self._slots = self._slots, {}
            late = [chain for chain, seq in slots.items() if self.index.head(chain) < seq]
            if not late:
                return
            yield from self.catch_up(late)

    # -- one chain ----------------------------------------------------------------------------

    def catch_up(self, chains: Iterable[ChainId], *, check: bool = False) -> Protocol[None]:
        """Read chains from the version after the newest in the index.

        With ``check`` the newest that is known is compared with the store, beside that.
        """
        wanted = (chain for chain in dict.fromkeys(chains) if chain not in self.damaged)
        while part := list(islice(wanted, CHAINS_AT_ONCE)):
            found = yield from together(*(self._news(chain, check=check) for chain in part))
            news: Iterator[_Slot] = (one for many in found for one in many)
            while some := list(islice(news, AT_ONCE)):
                yield from self._read_slots(some)
            for chain, junk in self._junk.items():
                self._end(chain, junk[0])
            self._junk.clear()

    def _end(self, chain: ChainId, error: Damaged) -> None:
        """Take note that a chain ends before damage."""
        self.damaged[chain] = error
        self.client.leave_out(chain, error)

    def _news(self, chain: ChainId, *, check: bool) -> Protocol[Iterable[_Slot]]:
        """Return the slots that are new in a chain, the first of them read already."""
        head = self.index.head(chain)
        if not (check and head):
            return (yield from self._after(chain, head))
        looking = self._look(chain, head)
        _, news = yield from together(looking, self._after(chain, head))
        return () if chain in self.damaged else news

    def _look(self, chain: ChainId, seq: int) -> Protocol[None]:
        known = remembered(self.index.kept(chain, seq))
        if known is None:
            return
        try:
            yield from check(known, local=self.client.heads.local)
        except (Forked, RolledBack):
            raise
        except Damaged as error:
            self._end(chain, error)

    def _after(self, chain: ChainId, head: int) -> Protocol[Iterable[_Slot]]:
        news: list[_Slot] = []
        for _ in range(STEPS_FORWARD_MAX if head else 0):
            found = yield Get(slot_key(chain, head + 1))
            if found is None:
                return news
            head += 1
            news.append(_Slot(chain, head, found))
        newest = yield from newest_slot(chain_folder(chain))
        # Not a list: a chain may have a million.
        return itertools.chain(news, (_Slot(chain, seq) for seq in range(head + 1, newest + 1)))

    def _read_slots(self, news: Sequence[_Slot]) -> Protocol[None]:
        versions = yield from self._whole((yield from self._read_sound(news)))
        for kind in {chain_kind(one.chain) for one in versions}.difference(MODULES, RESERVED_KINDS):
            self.client.warn(
                f"chains of the kind {kind!r} are of a later release; they are kept, not understood"
            )
        while True:
            try:
                with self.index.writing():
                    count = self.index.add_versions(versions)
                break
            except NotLinked as broken:
                chain, seq = broken.chain, broken.seq
                try:
                    yield from self.explain(chain, seq)
                except (Forked, RolledBack):
                    raise
                except Damaged as error:
                    self._end(chain, error)
                versions = [v for v in versions if v.chain != chain or v.seq < seq]
        self.versions += count
        self.progress("versions", count)

    def _read_sound(self, slots: Sequence[_Slot]) -> Protocol[list[Version]]:
        """Read slots, of each chain from its first that the index lacks, up to what is damaged."""
        asked = [one for one in slots if one.found is None]
        replies = iter(settled((yield tuple(Get(slot_key(one.chain, one.seq)) for one in asked))))
        versions: list[Version] = []
        for chain, seq, here in slots:
            found = here or next(replies)
            if chain in self.damaged:
                continue
            try:
                # It stands below the newest of its chain, so it is there.
                found = found or (yield from read_present(slot_key(chain, seq)))
                if found is None:
                    raise _missing(chain, seq)
                version = decode_slot(self.client, chain, seq, found)
                junk = self._junk.pop(chain, [])
                if junk or version.voids:
                    check_ended(version, 1, junk)
                versions.append(version)
            except Junk as junk_here:
                self._junk.setdefault(chain, []).append(junk_here)
            except Damaged as error:
                self._end(chain, error)
        return versions

    def _whole(self, versions: Sequence[Version]) -> Protocol[list[Version]]:
        """Judge versions, and add what their transactions did to other chains.

        All of it is written at once, so that whoever shares the index never reads half of one. What
        is far behind is left to ``read_transactions``: it is there already for whoever has synced.
        """
        found = new = yield from self.judged(versions)
        for _ in range(PASSES_MAX):
            known = {version.chain: version.seq for version in found}
            slots: dict[tuple[ChainId, int], None] = {}
            for version in new:
                for chain, seq in _slots_of(version).items():
                    first = 1 + max(self.index.head(chain), known.get(chain, 0))
                    if seq < first + AT_ONCE and chain not in self.damaged:
                        slots |= dict.fromkeys((chain, n) for n in range(first, seq + 1))
            if not slots:
                break
            more = yield from self._read_sound([_Slot(*slot) for slot in slots])
            new = yield from self.judged(more)
            found = [*found, *new]
        return found

    def judged(self, versions: Sequence[Version]) -> Protocol[list[Version]]:
        """Judge transactions; what is undecided is left out, and asked for by the next sync."""
        if all(version.settled for version in versions):
            return list(versions)
        judged = yield from self._judged(versions)
        open_ = {v.chain: v.seq for v, one in zip(versions, judged, strict=True) if one is None}
        for version in judged:
            slots = () if version is None or version.txn is None else version.txn["slots"].items()
            for chain, seq in slots:
                self._slots[chain] = max(seq, self._slots.get(chain, 0))
        return [v for v in judged if v is not None and v.seq < open_.get(v.chain, v.seq + 1)]

    def _judged(self, versions: Sequence[Version]) -> Protocol[list[Version | None]]:
        """Judge transactions; the chain of one that names a damaged slot ends before it."""
        from tclog.chain.judge import judge

        try:
            return (yield from judge(self.client, versions))
        except Damaged as error:
            if len(versions) == 1:
                self._end(versions[0].chain, error)
                return [None]
        judged: list[Version | None] = []
        for version in versions:
            ended = version.chain in self.damaged
            judged += [None] if ended else (yield from self._judged([version]))
        return judged

    def explain(self, chain: ChainId, seq: int) -> Protocol[None]:
        """Raise what is wrong about a version that does not follow the one in the index."""
        if self.index.head(chain) == seq - 1:
            known = remembered(self.index.kept(chain, seq - 1))
            if known is not None:
                yield from check(known, local=self.client.heads.local)
        raise Damaged(
            f"version {seq} of {chain} does not follow version {seq - 1}", hint="tclog fsck"
        )


def _slots_of(version: Version) -> Mapping[ChainId, int]:
    """Return the slots of a version's transaction, none if it has none or it was aborted."""
    return {} if version.txn is None or version.aborted else version.txn["slots"]


def _parts_of(key: str) -> tuple[Hlc, ChainId | None, EventId] | None:
    try:
        return event_key_parts(key)
    except Damaged:
        return None


def _missing(chain: ChainId, seq: int) -> Damaged:
    return Damaged(f"version {seq} of {chain} is missing", hint="tclog fsck")


def remembered(row: tuple[ChainId, int, bytes, Stamp] | None) -> Remembered | None:
    """Return a row of the index as what is remembered of a version."""
    return None if row is None else Remembered(*row)
