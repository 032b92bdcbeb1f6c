"""Sync: bring the local index up to the store, reading only what is new.

Every commit was preceded by its event's object, whose name begins with its time. So listing
``events/`` from a little before the last listing names every chain that may have changed, and the
chains are read from the version after the last one known. docs/architecture.md has the argument why
nothing is missed; in short, what could be:

* an object put late, or named by a clock that is off: the window covers both, since no client
  commits an event that it made longer than ``EVENT_AGE_MAX_S`` ago, nor with a clock known to be
  more than two minutes off;
* a slot created long after its event was put: chains named by young events without a slot are
  looked at again, as are those that lack an event which another of its chains holds;
* a version without events: only inboxes have such (they take in broadcasts), so inboxes that lag
  behind ``inbox/@all`` are looked at again;
* anything else (a process stopped for hours between two lines, a foreign client): every chain is
  listed once a day, and by ``tclog sync --full``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tclog.chain.append import EVENT_AGE_MAX_S
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled, together
from tclog.chain.fold import state_of
from tclog.clock import AHEAD_TRUSTED_US, Stamp, format_us, parse_us
from tclog.errors import Damaged, StoreError
from tclog.event import (
    ALL,
    ChainId,
    Event,
    EventId,
    Version,
    chain_folder,
    chain_id,
    chain_of_slot,
    decode,
    decode_event,
    decode_version,
    encode_name,
    event_key_parts,
    slot_key,
    slot_seq,
)
from tclog.index import Index
from tclog.store.base import Entry, Found, Get, List

SECOND_US = 1_000_000
# The clocks of two agents may each be off by what is trusted, and stores stamp whole seconds.
WINDOW_US = round(EVENT_AGE_MAX_S * SECOND_US) + 2 * AHEAD_TRUSTED_US + 60 * SECOND_US
# A request signed for S3 cannot begin later than 15 minutes after signing.
UNDECIDED_US = WINDOW_US + 15 * 60 * SECOND_US
PARTIAL_US = 7 * 86_400 * SECOND_US
FULL_EVERY_US = 86_400 * SECOND_US
PAGE = 1000
AT_ONCE = 256
CHAINS_AT_ONCE = 64
STEPS_FORWARD_MAX = 2
PASSES_MAX = 1_000
PAGES_MAX = 10_000_000

Progress = Callable[[str, int], None]


def _unseen(what: str, count: int) -> None:
    del what, count


class Synced(NamedTuple):
    """What a sync found: how many versions and attempts were new, and whether it listed all."""

    versions: int
    attempts: int
    full: bool


def sync(
    client: Client, index: Index, *, full: bool = False, progress: Progress | None = None
) -> Protocol[Synced]:
    """Bring the index up to everything that was committed before the call.

    Args:
        client: whose clock judges how long the listing took.
        index: where to.
        full: list every chain, not only what the newest events name.
        progress: told what is being read, and how many more of it.

    Raises:
        Damaged: an object does not hold what it should; ``tclog fsck`` finds all such.
    """
    reader = _Reader(index, progress or _unseen)
    begun_s = client.monotonic_s()
    numbered = index.last_row()
    horizon = index.meta("horizon")
    full = full or horizon is None or _is_old(index.meta("full"), horizon)
    if full:
        yield from reader.read_every_chain()
    newest = yield from reader.read_events("" if full or horizon is None else horizon)
    yield from reader.read_lagging_inboxes()
    took_us = round((client.monotonic_s() - begun_s) * SECOND_US)
    with index.writing():
        if newest is not None:
            # What was put while the listing ran may stand before where it had got to.
            moved = format_us(parse_us(newest) - took_us)
            index.set_meta("horizon", max(horizon or "", moved))
            if full:
                index.set_meta("full", moved)
        index.number(numbered)
    return Synced(reader.versions, reader.attempts, full)


def _is_old(full: str | None, horizon: str) -> bool:
    return full is None or parse_us(horizon) - parse_us(full) > FULL_EVERY_US


class _Reader:
    """Reads from the store into the index; counts what was new."""

    def __init__(self, index: Index, progress: Progress) -> None:
        self.index = index
        self.progress = progress
        self.versions = 0
        self.attempts = 0

    # -- every chain --------------------------------------------------------------------------

    def read_every_chain(self) -> Protocol[None]:
        """List all slots and read those that the index lacks."""
        folder, chain = "", None
        missing: list[tuple[ChainId, int]] = []
        after = ""
        for _ in range(PAGES_MAX):
            entries: Sequence[Entry] = yield List("chains", after, PAGE)
            if not entries:
                break
            after = entries[-1].key
            for entry in entries:
                seq = slot_seq(entry.key)
                if seq is None:
                    raise Damaged(f"{entry.key} is no slot of a chain", hint="tclog fsck")
                if entry.key.rpartition("/")[0] != folder:
                    folder = entry.key.rpartition("/")[0]
                    chain = chain_of_slot(entry.key) or (yield from _named_in(entry.key))
                assert chain is not None  # noqa: S101 - set with the first folder
                if not self.index.has_version(chain, seq):
                    missing.append((chain, seq))
            while len(missing) >= AT_ONCE:
                yield from self._read_slots(missing[:AT_ONCE])
                del missing[:AT_ONCE]
        yield from self._read_slots(missing)

    def _read_slots(self, slots: Sequence[tuple[ChainId, int]]) -> Protocol[None]:
        if not slots:
            return
        keys = [slot_key(chain, seq) for chain, seq in slots]
        replies = settled((yield tuple(Get(key) for key in keys)))
        self._keep(
            _decode(chain, seq, found) for (chain, seq), found in zip(slots, replies, strict=True)
        )

    def _keep(self, versions: Iterable[Version]) -> None:
        kept = list(versions)
        with self.index.writing():
            self.index.add_versions(kept)
        self.versions += len(kept)
        self.progress("versions", len(kept))

    # -- new events ---------------------------------------------------------------------------

    def read_events(self, horizon: str) -> Protocol[Stamp | None]:
        """List events from a window before ``horizon``, and read the chains that they name.

        Returns:
            The newest of the stamps that the store gave them.
        """
        start = "" if not horizon else format_us(parse_us(horizon) - WINDOW_US)
        after = f"events/{start[:13]}/{start[11:26].replace(':', '')}" if start else ""
        newest: Stamp | None = None
        for _ in range(PAGES_MAX):
            entries: Sequence[Entry] = yield List("events", after, PAGE)
            if not entries:
                break
            after = entries[-1].key
            newest = max([newest or "", *(entry.stored or "" for entry in entries)])  # type: ignore[assignment]
            yield from self._read_named(entries)
        if newest is not None:
            yield from self._read_open(newest)
        return newest or None

    def _read_named(self, entries: Sequence[Entry]) -> Protocol[None]:
        """Read what a page of events names and the index lacks."""
        new: dict[EventId, tuple[Entry, ChainId | None]] = {}
        for entry in entries:
            parts = event_key_parts(entry.key)
            if parts is None:
                raise Damaged(f"{entry.key} is no event's name", hint="tclog fsck")
            new[parts[2]] = entry, parts[1]
        unknown = self.index.unknown_events(list(new))
        yield from self.catch_up([chain for i in unknown if (chain := new[i][1])])
        # What its first chain does not hold lost its race, is on its way, or stands in another.
        left = [new[i][0] for i in self.index.unknown_events(unknown)]
        for start in range(0, len(left), AT_ONCE):
            yield from self._read_attempts(left[start : start + AT_ONCE])

    def _read_attempts(self, entries: Sequence[Entry]) -> Protocol[None]:
        replies = settled((yield tuple(Get(entry.key) for entry in entries)))
        found: list[tuple[Event, bytes, Stamp]] = []
        for entry, reply in zip(entries, replies, strict=True):
            if reply is None:
                continue  # gc may delete what a pack holds between the listing and now
            expect = EventId(entry.key[-69:-5])
            event = decode_event(reply.data, expect=expect, what=entry.key)
            found.append((event, reply.data, reply.stored))
        yield from self.catch_up([chain for event, _, _ in found for chain in event.chains])
        with self.index.writing():
            self.index.add_attempts(found)
        ids = [event.id for event, _, _ in found]
        self.attempts += sum(1 for i in ids if self.index.attempt(i) is not None)
        self.progress("attempts", len(found))

    def _read_open(self, newest: Stamp) -> Protocol[None]:
        """Look again at chains that may get an event late, until none gets one more."""
        now_us = parse_us(newest)
        attempts_since = Stamp(format_us(now_us - UNDECIDED_US))
        partial_since = Stamp(format_us(now_us - PARTIAL_US))
        for _ in range(PASSES_MAX):
            before = self.versions
            yield from self.catch_up(self.index.open_chains(attempts_since, partial_since))
            if self.versions == before:
                return

    def read_lagging_inboxes(self) -> Protocol[None]:
        """Look for versions without events: an inbox's that took in broadcasts."""
        known = {head.chain: state_of(head.chain, head) for head in self.index.inbox_heads()}
        through = self.index.head(ALL)
        if through == 0:
            return
        folders: Sequence[Entry] = yield List("chains/inbox", limit=PAGES_MAX, folders=True)
        segments = {folder.key.rstrip("/").rpartition("/")[2] for folder in folders} - {"@all"}
        names = {encode_name(chain.partition("/")[2]): chain for chain in known}
        lagging = [chain for chain in known if chain != ALL and known[chain].all_version < through]
        for segment in sorted(segments - names.keys()):
            entries = yield List(f"chains/inbox/{segment}", limit=1)
            for entry in entries:
                chain = chain_of_slot(entry.key) or (yield from _named_in(entry.key))
                lagging.append(chain)
        yield from self.catch_up(lagging)

    # -- one chain ----------------------------------------------------------------------------

    def catch_up(self, chains: Iterable[ChainId]) -> Protocol[None]:
        """Read chains from the version after the newest in the index."""
        wanted = list(dict.fromkeys(chains))
        for start in range(0, len(wanted), CHAINS_AT_ONCE):
            part = wanted[start : start + CHAINS_AT_ONCE]
            lists = yield from together(*(self._news(chain) for chain in part))
            for versions in lists:
                for first in range(0, len(versions), AT_ONCE):
                    yield from self._read_slots(versions[first : first + AT_ONCE])

    def _news(self, chain: ChainId) -> Protocol[list[tuple[ChainId, int]]]:
        """Return the slots of a chain that are new, after keeping the first of them itself."""
        head = self.index.head(chain)
        kept: list[Version] = []
        for _ in range(STEPS_FORWARD_MAX if head else 0):
            found = yield Get(slot_key(chain, head + 1))
            if found is None:
                self._keep_some(kept)
                return []
            head += 1
            kept.append(_decode(chain, head, found))
        self._keep_some(kept)
        entries = yield List(chain_folder(chain), limit=1)
        newest = slot_seq(entries[0].key) if entries else 0
        return [(chain, seq) for seq in range(head + 1, (newest or 0) + 1)]

    def _keep_some(self, versions: Sequence[Version]) -> None:
        if versions:
            self._keep(versions)


def _decode(chain: ChainId, seq: int, found: Found | StoreError | None) -> Version:
    if not isinstance(found, Found):
        raise Damaged(f"version {seq} of {chain} is missing", hint="tclog fsck")
    return decode_version(found.data, chain=chain, seq=seq, stored=found.stored)


def _named_in(key: str) -> Protocol[ChainId]:
    """Return the chain of a slot by its record: its folder's name was cut short."""
    found = yield Get(key)
    record = None if found is None else decode(found.data, key)
    if not isinstance(record, dict) or not isinstance(record.get("chain"), str):
        raise Damaged(f"{key} is no slot of a chain", hint="tclog fsck")
    kind, _, name = record["chain"].partition("/")
    if chain_folder(chain_id(kind, name)) != key.rpartition("/")[0]:
        raise Damaged(f"{key} stands in another chain's folder", hint="tclog fsck")
    return chain_id(kind, name)
