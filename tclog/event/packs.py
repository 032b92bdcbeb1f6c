"""Packs: the bytes of versions and events of closed hours, together in one compressed object.

    {"type":"pack","format":1,"chains":[[chain,first,last],...],"events":[id,...]}
    {"stored":"2026-11-23T19:01:28.826867Z","version":{...}}        runs of versions, in that order
    {"stored":"2026-11-23T19:01:28.811999Z","event":{...}}          events that none of them holds

Lines of JSON in zstd frames; an object is named by the BLAKE3-256 of its bytes. Invariant: a record
stands in its line as the very bytes of its object, so every id is checked as if it were read there,
and the same history gives the same bytes. Only what packs and reads packs imports this module.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import orjson
import zstandard

from tclog.clock import Stamp
from tclog.errors import Damaged, FormatNewer
from tclog.event.canonical import decode, digest, encode
from tclog.event.ids import ChainId, EventId, VersionId
from tclog.event.records import Event, Version, decode_event, decode_version

FORMAT = 1
LEVEL = 6
# A pack is read whole, so it is cut before it comes to more than this, uncompressed.
LINES_BYTES_MAX = 32 << 20
_LINE_BYTES_MAX = 65 << 20
_BUFFER_BYTES = 1 << 20
_VERSION = b'{"stored":"%s","version":'
_EVENT = b'{"stored":"%s","event":'
_STORED = slice(11, 38)
_VERSION_AT, _EVENT_AT = 50, 48
_SUM_BYTES = 74  # ,"sum":"<64 digits>"}


class Run(NamedTuple):
    """Versions of one chain that follow each other."""

    chain: ChainId
    first: int
    last: int


class Header(NamedTuple):
    """The first line of a pack: what is in it."""

    chains: tuple[Run, ...]
    events: tuple[EventId, ...]

    @property
    def versions(self) -> int:
        """How many versions there are in all runs."""
        return sum(run.last - run.first + 1 for run in self.chains)


class Row(NamedTuple):
    """The bytes of one object in a pack, and the stamp that the store had given it."""

    raw: bytes
    stored: Stamp


class PackWriter:
    """Makes one pack: versions first, each chain's in order, then events."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=False)
        self._body = self._compressor.compressobj()
        self._parts: list[bytes] = []
        self._runs: list[Run] = []
        self._events: list[EventId] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no more should be added."""
        return self._bytes >= LINES_BYTES_MAX

    @property
    def header(self) -> Header:
        """What is in it so far."""
        return Header(tuple(self._runs), tuple(self._events))

    def add_version(self, chain: ChainId, seq: int, row: Row) -> None:
        """Add a version."""
        last = self._runs[-1] if self._runs else None
        if last is not None and last.chain == chain and last.last == seq - 1:
            self._runs[-1] = last._replace(last=seq)
        else:
            self._runs.append(Run(chain, seq, seq))
        self._line(_VERSION, row)

    def add_event(self, event: EventId, row: Row) -> None:
        """Add an event that no version in a pack holds."""
        self._events.append(event)
        self._line(_EVENT, row)

    def _line(self, head: bytes, row: Row) -> None:
        line = head % row.stored.encode() + row.raw + b"}\n"
        self._bytes += len(line)
        self._parts.append(self._body.compress(line))

    def finish(self) -> bytes:
        """Return the bytes of the pack."""
        first = {
            "type": "pack",
            "format": FORMAT,
            "chains": [list(run) for run in self._runs],
            "events": self._events,
        }
        self._parts.append(self._body.flush())
        head = self._compressor.compress(orjson.dumps(first) + b"\n")
        return head + b"".join(self._parts)


class PackReader:
    """Reads a pack of which the hash was found right.

    Raises:
        Damaged: it is not what its name or its header says.
        FormatNewer: a later release wrote it.
    """

    def __init__(self, data: bytes, pack: str) -> None:
        self.what = f"the pack {pack[:16]}"
        if digest(data) != pack:
            raise Damaged(f"{self.what} does not hold what its name says", hint="tclog fsck")
        source = zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(data), read_across_frames=True, closefd=True
        )
        self._lines = io.BufferedReader(source, _BUFFER_BYTES)
        self.header = self._read_header()

    def _read_header(self) -> Header:
        try:
            record = orjson.loads(self._line())
            if record["type"] != "pack" or type(record["format"]) is not int:
                raise self._wrong()
            if record["format"] > FORMAT:
                raise FormatNewer(
                    f"{self.what} has format {record['format']}; this client reads {FORMAT}",
                    hint="pip install --upgrade tclog",
                )
            runs = tuple(Run(*run) for run in record["chains"])
            if any(type(r.first) is not int or not 1 <= r.first <= r.last for r in runs):
                raise self._wrong()
            return Header(runs, tuple(record["events"]))
        except (ValueError, KeyError, TypeError):
            raise self._wrong() from None

    def _line(self) -> bytes:
        try:
            return self._lines.readline(_LINE_BYTES_MAX)
        except zstandard.ZstdError:
            raise self._wrong() from None

    def _wrong(self) -> Damaged:
        return Damaged(f"{self.what} does not hold what a pack holds", hint="tclog fsck")

    def _row(self, head: bytes, at: int) -> Row:
        line = self._line()
        if line[:10] != head[:10] or line[38:at] != head[13:] or line[-2:] != b"}\n":
            raise self._wrong()
        try:
            return Row(line[at:-2], Stamp(line[_STORED].decode()))
        except ValueError:
            raise self._wrong() from None

    def versions(
        self, wanted: Callable[[Run], int] = lambda run: run.first
    ) -> Iterator[tuple[ChainId, int, Row]]:
        """Yield the versions, in order; of each run from the one on that ``wanted`` returns."""
        for run in self.header.chains:
            first = wanted(run)
            for seq in range(run.first, run.last + 1):
                row = self._row(_VERSION, _VERSION_AT)
                if seq >= first:
                    yield run.chain, seq, row

    def events(self) -> Iterator[tuple[Event, Row]]:
        """Yield the events that no version here holds, checked; the versions were all read."""
        for event in self.header.events:
            row = self._row(_EVENT, _EVENT_AT)
            yield decode_event(row.raw, expect=event, what=f"event {event[:16]}"), row
        if self._line():
            raise self._wrong()


def decode_packed(chain: ChainId, seq: int, row: Row) -> Version:
    """Read a version out of a pack: its sum, its place, and the ids of it and of its events.

    Not looked at again, unlike in ``decode_version``: that each field has its type, and that the
    bytes are canonical. Whoever made the pack has, and the ids are of these very bytes; ``fsck``
    compares them with the slot's. A quarter of the time.
    """
    raw = row.raw
    if raw[-_SUM_BYTES:-66] != b',"sum":"' or b'"txn":' in raw:
        return decode_version(raw, chain=chain, seq=seq, stored=row.stored)
    try:
        record = orjson.loads(raw)
        sound = record["sum"] == digest(raw[:-_SUM_BYTES] + b"}")
        placed = record["chain"] == chain and record["seq"] == seq
        if not sound or not placed or (record["prev"] is None) != (seq == 1):
            raise Damaged(f"a pack holds a wrong version {seq} of {chain}", hint="tclog fsck")
        events = tuple(Event(EventId(digest(encode(one))), one) for one in record["events"])
    except (ValueError, KeyError, TypeError):
        raise Damaged(f"a pack holds no version {seq} of {chain}", hint="tclog fsck") from None
    return Version(VersionId(digest(raw)), raw, record, events, row.stored)


def events_of(pack: PackReader) -> Iterator[tuple[EventId, bytes]]:
    """Yield the id and the bytes of every event in a pack, read and checked from end to end."""
    for chain, seq, row in pack.versions():
        for event in decode_version(row.raw, chain=chain, seq=seq).events:
            yield event.id, encode(event.record)
    for event, row in pack.events():
        yield event.id, row.raw


def encode_seen(seen: Iterable[tuple[str, str, str, str]]) -> bytes:
    """Write who was last seen when: agent, stamp of the newest event, host, session."""
    return encode({name: [at, host, session] for name, at, host, session in seen})


def decode_seen(raw: bytes) -> dict[str, tuple[str, str, str]]:
    """Read what ``encode_seen`` wrote."""
    return {name: tuple(row) for name, row in decode(raw, "the packed agents").items()}
