"""``tclog gc``: remove event objects that packs hold. The only thing that ever removes history.

Removed is an object below ``events/`` only if a pack that the chain names was read back, its hash
was right, and it holds an event with that id, byte for byte; and if the store's stamp of the object
is older than a day. Before the first one is removed the floor is raised, in a version that follows
the very one whose packs were read. Versions, blobs and idempotency keys are never removed.

Two more things may go, a day old too: announcements of combining whose senders have died, which
nobody includes any more; and packs that were folded into a later one which was read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tclog.chain.append import append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.clock import format_us, parse_us
from tclog.domain.packs import RaiseFloor, State, decide
from tclog.errors import Refused
from tclog.event import PACKS, EventId
from tclog.event.names import EVENTS, PACK_OBJECTS, PENDING, event_of, hour_folder, hour_of, pack_of
from tclog.event.packs import events_of
from tclog.maintenance.scratch import Scratch
from tclog.store.base import Delete
from tclog.sync.objects import Listing, Progress, unseen
from tclog.sync.packfiles import HOUR_US, after, need_pack, read_pack, read_packs_head

AGE_US = 24 * HOUR_US
TRIES_MAX = 8
DELETES_AT_ONCE = 1_000


class Collected(NamedTuple):
    """What was removed, or would be.

    ``events`` and ``bytes`` are those of event objects; ``unpacked`` counts event objects as old
    which no pack holds, so that they stay. ``through`` is the last hour of which objects may be
    missing.
    """

    events: int = 0
    bytes: int = 0
    announcements: int = 0
    packs: int = 0
    unpacked: int = 0
    through: str = ""
    removed: bool = False


def collect(
    client: Client, *, remove: bool = False, progress: Progress | None = None
) -> Protocol[Collected]:
    """Find what may be removed, and remove it if that is asked for.

    Raises:
        Damaged: a pack is; nothing is removed then.
        Refused: others pack again and again.
    """
    for nth in range(TRIES_MAX):
        with _Held() as held:
            collecting = _Collecting(client, held, progress or unseen)
            try:
                return (yield from collecting.collect(remove=remove))
            except Refused as refused:
                if refused.code != "packs-changed" or nth == TRIES_MAX - 1:
                    raise
    raise AssertionError


class _Held(Scratch):
    """The events that packs hold, and the objects that may go."""

    TABLES = """
CREATE TABLE held(event BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE old(key TEXT PRIMARY KEY, size INTEGER, stored TEXT, held INTEGER) WITHOUT ROWID;
"""

    def hold(self, event: EventId) -> None:
        self._insert("held", bytes.fromhex(event))

    def holds(self, event: EventId) -> bool:
        return self._one("SELECT 1 FROM held WHERE event=?", bytes.fromhex(event)) is not None

    def mark(self, key: str, size: int, stored: str, *, held: bool) -> None:
        self._insert("old", key, size, stored, held)

    def unmark_since(self, before: str) -> None:
        """Forget the objects that are not before a stamp: they are too young."""
        self._db.execute("DELETE FROM old WHERE stored>=?", (before,))

    def unheld(self) -> int:
        """Count the old objects that no pack holds, and forget them: they stay."""
        return self._db.execute("DELETE FROM old WHERE NOT held").rowcount

    def marked(self) -> tuple[int, int, str]:
        """Return how many objects may go, their bytes, and the last of their keys."""
        find = "SELECT count(*), coalesce(sum(size), 0), coalesce(max(key), '') FROM old"
        count, size, last = self._one(find)
        return int(count), int(size), str(last)

    def page(self, behind: str) -> list[str]:
        find = "SELECT key FROM old WHERE key>? ORDER BY key LIMIT ?"
        return [key for (key,) in self._db.execute(find, (behind, DELETES_AT_ONCE))]


class _Collecting:
    """One try, upon one version of the chain of packs."""

    def __init__(self, client: Client, held: _Held, progress: Progress) -> None:
        self.client = client
        self.held = held
        self.progress = progress

    def collect(self, *, remove: bool) -> Protocol[Collected]:
        """Read the packs back, find what is old and in them, raise the floor, remove."""
        version, state = yield from read_packs_head(self.client)
        yield from self._read_back(version, state)
        before = yield from self._judge_events(state)
        unpacked = self.held.unheld()
        count, size, last = self.held.marked()
        floor = max(state.floor, hour_of(last) if last else "")
        announcements = yield from self._old(PENDING, before)
        packs = yield from self._replaced(state, before)
        if remove:
            if floor > state.floor:
                command = RaiseFloor(version, floor)
                yield from append(
                    self.client, PACKS, lambda state, place: decide(state, command, place)
                )
            behind = ""
            while page := self.held.page(behind):
                yield Delete(tuple(page))
                behind = page[-1]
                self.progress("objects", len(page))
            yield from _delete([*announcements, *packs])
        return Collected(count, size, len(announcements), len(packs), unpacked, floor, remove)

    def _read_back(self, version: int, state: State) -> Protocol[None]:
        """Read every pack from end to end, and note which events it holds."""
        for one in state.packs:
            reader = yield from need_pack(self.client, version, one.pack)
            for event, _ in events_of(reader):
                self.held.hold(event)
            self.progress("packs", 1)

    def _judge_events(self, state: State) -> Protocol[str]:
        """Mark the objects that are old; return the stamp that they are before."""
        newest = ""
        bound = hour_folder(after(state.through)) if state.through else ""
        listing = Listing(EVENTS)
        while page := (yield from listing.page()):
            newest = max([newest, *(row.stored or "" for row in page)])
            for row in page:
                event = event_of(row.key)
                if event is not None and row.stored is not None:
                    held = row.key < bound and self.held.holds(event)
                    self.held.mark(row.key, row.size, row.stored, held=held)
        # The store's clock is at least there; one stamp from the future must not let more go.
        now_us = min(parse_us(newest or format_us(0)), self.client.clock.now_us())
        before = format_us(max(0, now_us - AGE_US))
        self.held.unmark_since(before)
        return before

    def _old(self, folder: str, before: str) -> Protocol[list[str]]:
        """List what is older than a day below a folder."""
        found: list[str] = []
        listing = Listing(folder)
        while page := (yield from listing.page()):
            found += [row.key for row in page if row.stored is not None and row.stored < before]
        return found

    def _replaced(self, state: State, before: str) -> Protocol[list[str]]:
        """List the old packs that the chain once named and names no more.

        One that it never named may still be named by a packer that was stopped for a day.
        """
        old = yield from self._old(PACK_OBJECTS, before)
        named = {one.pack for one in state.packs}
        spare = [key for key in old if pack_of(key) is not None and pack_of(key) not in named]
        once = (yield from self._ever_named()) if spare else set()
        found: list[str] = []
        for key in spare:
            pack = pack_of(key)
            if pack is not None and pack in once and (yield from self._is_held(pack)):
                found.append(key)
        return found

    def _is_held(self, pack: str) -> Protocol[bool]:
        """Whether the packs that were read back hold every event of another one."""
        reader = yield from read_pack(pack)
        return reader is not None and all(self.held.holds(event) for event, _ in events_of(reader))

    def _ever_named(self) -> Protocol[set[str | None]]:
        from tclog.chain.read import read_range

        version, _ = yield from read_packs_head(self.client)
        versions = yield from read_range(self.client, PACKS, 1, version)
        return {
            one["pack"]
            for v in versions
            for event in v.events
            if event.op == "pack.add"
            for one in event.body["packs"]
        }


def _delete(keys: Sequence[str]) -> Protocol[None]:
    for start in range(0, len(keys), DELETES_AT_ONCE):
        yield Delete(tuple(keys[start : start + DELETES_AT_ONCE]))
