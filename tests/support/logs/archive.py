"""A generated log as ``tclog pack`` and then ``tclog gc --delete`` leave it, made so at once.

Every slot is there, and the packs of all closed hours. Of the objects of events only those of the
last day are: no others are ever written, so that a big log takes half as many files and no second
pass over them. Invariant: the packs are byte for byte those that packing the same log makes, and
the objects of events those that gc leaves. A test compares them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from support.logs.growing import Growing, Writer
from tclog.clock import SECOND_US, Hlc, format_us, stamp
from tclog.domain.content import Blob
from tclog.domain.packs import AddPacks, Command, Pack, RaiseFloor, decide
from tclog.event import (
    PACKS,
    BlobHash,
    ChainId,
    Event,
    EventId,
    digest,
    event_key,
    pack_key,
    slot_key,
)
from tclog.event.packs import PackWriter, Row, encode_seen
from tclog.maintenance.gc import AGE_US
from tclog.maintenance.pack import CLOSED_AFTER_US
from tclog.store.base import Store
from tclog.sync.packfiles import HOUR_US, after, hour_of

# What is a day and a second old is dropped as it comes, and gc would remove it in any case.
_DROPPED_AFTER_US = AGE_US + SECOND_US


class _Offered(NamedTuple):
    """The object of an event, and the moment when the store is said to have got it."""

    event: EventId
    key: str
    data: bytes
    us: int

    @property
    def hour(self) -> str:
        return self.key.split("/")[1]


class Archive(Writer):
    """Writes slots and blobs as they come, and holds events back; packs them at the end."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        # The events of the last day, and of those the first version's stamp that holds them.
        self._recent: deque[_Offered] = deque()
        self._held: dict[EventId, Hlc] = {}
        # Older ones that no version holds.
        self._attempts: list[_Offered] = []
        # The last hour of which an object is not there.
        self._floor = ""
        self._seen: dict[str, tuple[str, str, str]] = {}
        self._packs: list[tuple[str, int, int, int]] = []
        self._writer = PackWriter()

    def offer(self, event: Event, data: bytes, us: int) -> None:
        """Take an event that no slot holds yet."""
        key = event_key(event.at, event.chains[0], event.id)
        self._recent.append(_Offered(event.id, key, data, us))
        while self._recent[0].us < us - _DROPPED_AFTER_US:
            old = self._recent.popleft()
            self._floor = max(self._floor, old.hour)
            # Whether a slot holds an event is decided within seconds, never a day later.
            if self._held.pop(old.event, None) is None:
                self._attempts.append(old)

    def hold(self, event: Event, at: Hlc) -> None:
        """Take note that a version with a stamp holds an event."""
        self._held.setdefault(event.id, at)

    # -- packing ------------------------------------------------------------------------------

    def finish(self, log: Growing) -> None:
        """Pack what is closed and name the packs; write the events that gc leaves."""
        self.flush()
        log.wanted += 2
        # As ``closed_hour`` reckons, whose newest stamp is that of the newest event.
        through = hour_of(self._recent[-1].us - CLOSED_AFTER_US - HOUR_US)
        agent = orjson.loads(self._recent[-1].data)["agent"]
        for chain in sorted(log.heads, key=str.encode):
            for seq, row in self._closed(chain, log.heads[chain].seq, through):
                self._writer.add_version(chain, seq, row)
                self._finish_pack(whole=False)
        loose = [one for one in (*self._attempts, *self._recent) if self._is_loose(one, through)]
        for one in sorted(loose):
            self._see(orjson.loads(one.data))
            self._writer.add_event(one.event, Row(one.data, stamp(one.us)))
            self._finish_pack(whole=False)
        self._finish_pack(whole=True)
        self._name(log, agent, through)

    def _closed(self, chain: ChainId, head: int, through: str) -> Iterator[tuple[int, Row]]:
        """Yield the versions of a chain in closed hours, as they stand in their slots."""
        for seq in range(1, head + 1):
            found = self.store.get(slot_key(chain, seq))
            assert found is not None
            record = orjson.loads(found.data)
            if record["at"] >= after(through):
                return
            for event in record["events"]:
                self._see(event)
            yield seq, Row(found.data, found.stored)

    def _is_loose(self, one: _Offered, through: str) -> bool:
        """Whether an event of a closed hour stands in no version of a closed hour."""
        held = self._held.get(one.event)
        return one.hour <= through and (held is None or held >= after(through))

    def _see(self, record: Mapping[str, Any]) -> None:
        known = self._seen.get(record["agent"])
        if known is None or known[0] < record["at"]:
            self._seen[record["agent"]] = record["at"], record["host"], record["session"]

    def _finish_pack(self, *, whole: bool) -> None:
        header = self._writer.header
        if not (self._writer.full or whole) or not (header.chains or header.events):
            return
        data = self._writer.finish()
        name = digest(data)
        self.store.put(pack_key(name), data)
        self._packs.append((name, len(data), header.versions, len(header.events)))
        self._writer = PackWriter()

    def _name(self, log: Growing, agent: str, through: str) -> None:
        """Name the packs, raise the floor over what is removed, and write the other events."""
        data = encode_seen((name, *row) for name, row in self._seen.items())
        blob = Blob(BlobHash(digest(data)), data)
        log.blob(blob)
        packs = tuple(Pack(*one, through) for one in self._packs)
        command = AddPacks(0, packs, 0, through, {"blob": blob.hash, "size": len(data)})
        self._act(log, agent, command)
        before = format_us(self._recent[-1].us - AGE_US)
        while stamp(self._recent[0].us) < before:
            self._floor = max(self._floor, self._recent.popleft().hour)
        kept = list(self._recent)
        self._recent.clear()
        if self._floor:
            self._act(log, agent, RaiseFloor(1, self._floor))
        for _, key, data, us in (*kept, *self._recent):
            self.write(key, data, us)

    def _act(self, log: Growing, agent: str, command: Command) -> None:
        done = log.act(agent, PACKS, lambda state, place: decide(state, command, place))
        assert done is not None
