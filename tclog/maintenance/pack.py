"""``tclog pack``: fold closed hours of history into packs.

An hour is closed when nothing can come to it any more: an hour after its end by the store's clock,
which is more than all bounds of docs/sync.md together. What comes later even so (a
process that was stopped for hours) is not lost: a later pack takes in whatever no pack holds.

Nothing is changed by packing but that more is there. Packs are put first, then named in one version
of ``pack/log``; who dies before leaves an object that nobody reads. Two who pack at once make the
same bytes, and the second finds it done.

The bytes come from the index. The newest version of each run is compared with its slot, byte by
byte, and each version names the one before it by its hash: so all of them are those of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tclog.chain.append import append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled
from tclog.chain.slots import read_present
from tclog.clock import SECOND_US, Stamp, parse_us
from tclog.domain.content import Blob
from tclog.domain.packs import AddPacks, Pack, State, decide
from tclog.errors import Damaged, Refused
from tclog.event import (
    PACKS,
    BlobHash,
    ChainId,
    Event,
    EventId,
    Version,
    blob_key,
    decode_event,
    digest,
    pack_key,
    slot_key,
)
from tclog.event.names import EVENTS, event_of, hour_folder
from tclog.event.packs import PackWriter, Row, decode_seen, encode_seen
from tclog.index import Index
from tclog.index.packed import held_before, newest_before
from tclog.store.base import Entry, Found, Get, Keep
from tclog.sync.objects import AT_ONCE, PAGES_MAX, Listing, Progress, unseen
from tclog.sync.packfiles import HOUR_US, after, hour_of, need_pack, read_packs_head
from tclog.sync.sync import sync

CLOSED_AFTER_US = 3600 * SECOND_US
TRIES_MAX = 8
# A pack with so many versions is not made anew when more come; smaller ones at the end are.
WHOLE_VERSIONS = 20_000

Seen = dict[str, tuple[str, str, str]]


class Packed(NamedTuple):
    """What was packed: how many packs were made, what is in them, up to which hour all is packed.

    ``replaced`` counts earlier packs whose contents went into the new ones.
    """

    packs: int = 0
    versions: int = 0
    events: int = 0
    bytes: int = 0
    replaced: int = 0
    through: str = ""


class _Run(NamedTuple):
    chain: ChainId
    first: int
    last: int


def pack(client: Client, index: Index, *, progress: Progress | None = None) -> Protocol[Packed]:
    """Pack what is closed and in no pack yet.

    Raises:
        Damaged: an object does not hold what it should; nothing is packed then.
        Refused: others pack again and again.
    """
    for nth in range(TRIES_MAX):
        yield from sync(client, index)
        version, state = yield from read_packs_head(client)
        through = closed_hour(index, client)
        if through <= state.through:
            return Packed(through=state.through)
        packing = _Packing(client, index, version, state, through, progress or unseen)
        try:
            return (yield from packing.make())
        except Refused as refused:
            if refused.code != "packs-changed" or nth == TRIES_MAX - 1:
                raise
    raise AssertionError


def closed_hour(index: Index, client: Client) -> str:
    """Return the last hour that is closed; "" where nothing is known of the store's clock.

    The store's clock is at least where the newest stamp says that sync has seen, unless that one
    is from the future.
    """
    horizon = index.meta("horizon")
    if horizon is None:
        return ""
    now_us = min(parse_us(horizon), client.clock.now_us())
    return hour_of(now_us - CLOSED_AFTER_US - HOUR_US)


class _Packing:
    """Makes the packs that are to follow one version of the chain of packs."""

    def __init__(
        self,
        client: Client,
        index: Index,
        version: int,
        state: State,
        through: str,
        progress: Progress,
    ) -> None:
        self.client = client
        self.index = index
        self.version = version
        self.state = state
        self.through = through
        self.progress = progress
        self.kept = list(state.packs)
        self.packed: dict[ChainId, int] = {}
        self.seen: Seen = {}
        self.made: list[Pack] = []
        self.writer = PackWriter()
        self.bytes = 0

    def make(self) -> Protocol[Packed]:
        """Make the packs, put them, and name them in the chain."""
        known, events = yield from self._read_headers()
        newest = newest_before(self.index, after(self.through))
        new = [_Run(c, self._first(c, known), last) for c, last in newest]
        fresh = [run for run in new if run.first <= run.last]
        loose = yield from self._unheld(events)
        if not loose and all(run.chain == PACKS for run in fresh):
            return Packed(through=self.state.through)
        yield from self._read_seen()
        old = yield from self._choose_replaced(sum(r.last - r.first + 1 for r in fresh))
        # Anew: another process may have synced meanwhile, and what is held by now has to go in.
        newest = newest_before(self.index, after(self.through))
        runs = [_Run(c, self._first(c, self.packed), last) for c, last in newest]
        for start in range(0, len(runs), AT_ONCE):
            part = [run for run in runs[start : start + AT_ONCE] if run.first <= run.last]
            yield from self._write_runs(part)
        yield from self._write_events(old, loose)
        yield from self._finish_pack()
        return (yield from self._name())

    @staticmethod
    def _first(chain: ChainId, packed: Mapping[ChainId, int]) -> int:
        return packed.get(chain, 0) + 1

    # -- what is packed already ---------------------------------------------------------------

    def _read_headers(self) -> Protocol[tuple[dict[ChainId, int], set[EventId]]]:
        """Return how far each chain is packed, and which events stand in packs by themselves."""
        known: dict[ChainId, int] = {}
        events: set[EventId] = set()
        self.headers = []
        for one in self.state.packs:
            reader = yield from need_pack(self.client, self.version, one.pack)
            self.headers.append(reader.header)
            known.update((run.chain, run.last) for run in reader.header.chains)
            events.update(reader.header.events)
        return known, events

    def _unheld(self, packed: set[EventId]) -> Protocol[list[Entry]]:
        """List the events of closed hours that neither a pack nor a closed version holds."""
        bound = after(self.through)
        listing = Listing(EVENTS)
        loose: list[Entry] = []
        for _ in range(PAGES_MAX):
            page = yield from listing.until(hour_folder(bound), pages=1)
            rows = {event: row for row in page if (event := event_of(row.key)) is not None}
            ids = [event for event in rows if event not in packed]
            held = held_before(self.index, ids, bound)
            loose += [rows[event] for event in ids if event not in held]
            self.progress("objects", len(page))
            if not page:
                break
        return loose

    def _choose_replaced(self, fresh: int) -> Protocol[dict[str, Row]]:
        """Choose the small packs at the end that go into the new ones; return their own events."""
        while self.kept and self.kept[-1].versions < min(WHOLE_VERSIONS, 2 * fresh + 1):
            fresh += self.kept.pop().versions
        for header in self.headers[: len(self.kept)]:
            self.packed.update((run.chain, run.last) for run in header.chains)
        events: dict[str, Row] = {}
        for one in self.state.packs[len(self.kept) :]:
            reader = yield from need_pack(self.client, self.version, one.pack)
            for _ in reader.versions():
                pass
            for event, row in reader.events():
                if not held_before(self.index, [event.id], after(self.through)):
                    events[event.id] = row
        return events

    # -- what goes in -------------------------------------------------------------------------

    def _write_runs(self, runs: Sequence[_Run]) -> Protocol[None]:
        replies = settled((yield tuple(Get(slot_key(run.chain, run.last)) for run in runs)))
        for run, found in zip(runs, replies, strict=True):
            for version in self._linked(run, found):
                yield from self._write_junk(version)
                row = Row(version.raw, version.stored or Stamp(version.at[:27]))
                self.writer.add_version(run.chain, version.seq, row)
                for event in version.events:
                    self._see(event)
                if self.writer.full:
                    yield from self._finish_pack()
            self.progress("versions", run.last - run.first + 1)

    def _write_junk(self, version: Version) -> Protocol[None]:
        """Add what the slots hold that a version ends."""
        for one in reversed(version.voids):
            key = slot_key(version.chain, one["seq"])
            found = yield Get(key)
            if found is None or digest(found.data) != one["hash"]:
                raise Damaged(f"{key} does not hold the junk that was ended", hint="tclog fsck")
            self.writer.add_version(version.chain, one["seq"], Row(found.data, found.stored, True))

    def _linked(self, run: _Run, found: Found | None) -> Iterator[Version]:
        """Yield the versions of a run, the newest of which has to be what its slot holds."""
        before: Version | None = None
        for version in self.index.versions(run.chain, run.first, run.last):
            if before is not None and version.prev != before.id and not version.voids:
                raise self._parted(version)
            before = version
            yield version
        if found is None or before is None or before.seq != run.last or found.data != before.raw:
            raise self._parted(before)

    def _parted(self, version: Version | None) -> Damaged:
        what = "a version" if version is None else f"version {version.seq} of {version.chain}"
        return Damaged(
            f"{what} is not the same in the store and in the local index; nothing was packed",
            hint="tclog fsck",
        )

    def _write_events(self, old: Mapping[str, Row], loose: Sequence[Entry]) -> Protocol[None]:
        rows = dict(old)
        for start in range(0, len(loose), AT_ONCE):
            part = loose[start : start + AT_ONCE]
            replies = settled((yield tuple(Get(entry.key) for entry in part)))
            for entry, found in zip(part, replies, strict=True):
                if found is None:
                    # Only gc removes events, and only what a pack holds that was not there before.
                    raise Refused("events were removed meanwhile", code="packs-changed")
                rows[entry.key[-69:-5]] = Row(found.data, found.stored)
        for name in sorted(rows):
            event = decode_event(rows[name].raw, expect=EventId(name), what=f"event {name[:16]}")
            self._see(event)
            self.writer.add_event(event.id, rows[name])
            if self.writer.full:
                yield from self._finish_pack()

    def _see(self, event: Event) -> None:
        known = self.seen.get(event.agent)
        if known is None or known[0] < event.at:
            self.seen[event.agent] = event.at, event.record["host"], event.session

    def _read_seen(self) -> Protocol[None]:
        """Begin with what earlier packs say of agents."""
        if self.state.agents is not None:
            blob = BlobHash(self.state.agents["blob"])
            found = yield from read_present(blob_key(blob))
            if found is None or digest(found.data) != blob:
                raise Damaged(f"the blob {blob_key(blob)} is missing or damaged", hint="tclog fsck")
            self.seen = decode_seen(found.data)

    # -- the packs ----------------------------------------------------------------------------

    def _finish_pack(self) -> Protocol[None]:
        writer, self.writer = self.writer, PackWriter()
        header = writer.header
        if not header.chains and not header.events:
            return
        data = writer.finish()
        name = digest(data)
        yield Keep(pack_key(name), data)
        self.bytes += len(data)
        self.made.append(Pack(name, len(data), header.versions, len(header.events), self.through))

    def _name(self) -> Protocol[Packed]:
        """Name the packs in the chain: from then on they are there."""
        data = encode_seen((name, *row) for name, row in self.seen.items())
        blob = Blob(BlobHash(digest(data)), data)
        replaced = len(self.state.packs) - len(self.kept)
        command = AddPacks(
            self.version,
            tuple(self.made),
            replaced,
            self.through,
            {"blob": blob.hash, "size": len(data)},
        )
        yield from append(
            self.client, PACKS, lambda state, place: decide(state, command, place), blobs=[blob]
        )
        versions = sum(one.versions for one in self.made)
        events = sum(one.events for one in self.made)
        return Packed(len(self.made), versions, events, self.bytes, replaced, self.through)
