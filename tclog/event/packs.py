"""Packs: the bytes of versions and events of closed hours, together in one compressed object.

    {"type":"pack","format":1,"chains":[[chain,first,last],...],"events":[id,...]}
    {"stored":"2026-11-23T19:01:28.826867Z","version":{...}}        runs of versions, in that order
    {"stored":"2026-11-23T19:01:28.826867Z","junk":"<base64>"}      in place of one: an ended slot
    {"stored":"2026-11-23T19:01:28.811999Z","event":{...}}          events that none of them holds

Lines of JSON in zstd frames; an object is named by the BLAKE3-256 of its bytes. Invariant: a record
stands in its line as the very bytes of its object, so every id is checked as if it were read there,
and the same history gives the same bytes. Only what packs and reads packs imports this module.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import orjson
import zstandard
from blake3 import blake3

from tclog.clock import Stamp
from tclog.errors import UPGRADE, Damaged, FormatNewer
from tclog.event.canonical import decode, digest, encode
from tclog.event.envelopes import check_of
from tclog.event.ids import ChainId, EventId
from tclog.event.records import Event, check_version, decode_event, decode_version
from tclog.event.summary import EventSummary, Summary

FORMAT = 1
LEVEL = 6
# A pack is read whole, so it is cut before it comes to more than this, uncompressed.
LINES_BYTES_MAX = 32 << 20
_LINE_BYTES_MAX = 65 << 20
_BUFFER_BYTES = 1 << 20
_VERSION = b'{"stored":"%s","version":'
_EVENT = b'{"stored":"%s","event":'
_JUNK = b'{"stored":"%s","junk":"'
_STORED = slice(11, 38)
_VERSION_AT, _EVENT_AT, _JUNK_AT = 50, 48, 48
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
    """The bytes of one object in a pack, and the stamp that the store had given it.

    ``junk`` are the bytes of a slot that a later version in the pack ends.
    """

    raw: bytes
    stored: Stamp
    junk: bool = False


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
        """Add a version, or the junk that a slot holds."""
        last = self._runs[-1] if self._runs else None
        if last is not None and last.chain == chain and last.last == seq - 1:
            self._runs[-1] = last._replace(last=seq)
        else:
            self._runs.append(Run(chain, seq, seq))
        if row.junk:
            self._line(_JUNK, row._replace(raw=b64encode(row.raw) + b'"'))
        else:
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
        self._lines = self._split(data)
        self.header = self._read_header()

    def _split(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines, without their ends; the last has to have one too."""
        source = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        rest = b""
        while len(rest) <= _LINE_BYTES_MAX:
            try:
                more = source.read(_BUFFER_BYTES)
            except zstandard.ZstdError:
                break
            if not more:
                if rest:
                    break
                return
            *lines, rest = (rest + more).split(b"\n")
            yield from lines
        raise self._wrong()

    def _read_header(self) -> Header:
        try:
            record = orjson.loads(self._line())
        except ValueError:
            raise self._wrong() from None
        number = record.get("format") if isinstance(record, dict) else None
        if type(number) is int and number > FORMAT:
            raise FormatNewer(
                f"{self.what} has format {number}; this client reads {FORMAT}",
                hint=UPGRADE,
            )
        if check_of("pack")(record) is not None:
            raise self._wrong()
        runs = tuple(Run(*run) for run in record["chains"])
        if any(run.first > run.last for run in runs):
            raise self._wrong()
        return Header(runs, tuple(record["events"]))

    def _line(self) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise self._wrong()
        return line

    def _wrong(self) -> Damaged:
        return Damaged(f"{self.what} does not hold what a pack holds", hint="tclog fsck")

    def _rows(self, head: bytes, at: int, count: int) -> Iterator[Row]:
        """Yield the next rows, each of which has to look like one."""
        begin, middle = head[:11], head[13:]
        # The range comes first: it ends before a line is taken that is not wanted.
        for _, line in zip(range(count), self._lines, strict=False):
            junk = head is _VERSION and line[38:_JUNK_AT] == _JUNK[13:]
            if line[:11] != begin or line[-1:] != b"}" or not (junk or line[38:at] == middle):
                raise self._wrong()
            try:
                stored = Stamp(line[_STORED].decode())
                raw = b64decode(line[_JUNK_AT:-2], validate=True) if junk else line[at:-1]
            except ValueError:
                raise self._wrong() from None
            count -= 1
            yield Row(raw, stored, junk)
        if count:
            raise self._wrong()

    def versions(
        self, wanted: Callable[[Run], int] = lambda run: run.first
    ) -> Iterator[tuple[ChainId, int, Row]]:
        """Yield the versions, in order; of each run from the one on that ``wanted`` returns.

        Slots with junk are passed over: the version after them names it by its hash.
        """
        for run in self.header.chains:
            chain, first, last = run
            from_ = wanted(run)
            rows = self._rows(_VERSION, _VERSION_AT, last - first + 1)
            for seq, row in enumerate(rows, first):
                if seq >= from_ and not row.junk:
                    yield chain, seq, row

    def events(self) -> Iterator[tuple[Event, Row]]:
        """Yield the events that no version here holds, checked; the versions were all read."""
        events = self.header.events
        for event, row in zip(events, self._rows(_EVENT, _EVENT_AT, len(events)), strict=True):
            yield decode_event(row.raw, expect=event, what=f"event {event[:16]}"), row
        if next(self._lines, None) is not None:
            raise self._wrong()


def summarize_packed(chain: ChainId, seq: int, row: Row) -> Summary | None:
    """Read a version out of a pack: its sum, its place, and the ids of it and of its events.

    Unlike ``decode_version`` it takes the bytes for canonical: the ids are of these very bytes, and
    ``fsck`` compares them with the slot's.

    Returns:
        None for what is not the usual: what is part of a transaction, which somebody has to judge,
        ends junk, or was written by a client that knows more fields.

    Raises:
        Damaged: it is not a version of this place.
    """
    raw, stored, _ = row
    try:
        record = orjson.loads(raw)
        if raw[-_SUM_BYTES:-66] != b',"sum":"' or "txn" in record or "voids" in record:
            return None
        if record["sum"] != blake3(raw[:-_SUM_BYTES] + b"}").hexdigest():
            raise _wrong(chain, seq)
        check_version(record, f"version {seq} of {chain} in a pack")
        prev, at = record["prev"], record["at"]
        if record["chain"] != chain or record["seq"] != seq or (prev is None) != (seq == 1):
            raise _wrong(chain, seq)
        events = [
            EventSummary(blake3(encode(one)).digest(), one["agent"], one["op"], one["chains"])
            for one in record["events"]
        ]
        before = None if prev is None else bytes.fromhex(prev)
    except (ValueError, KeyError, TypeError):
        raise _wrong(chain, seq) from None
    return Summary(chain, seq, blake3(raw).digest(), before, at, stored, raw, False, 0, events)


def _wrong(chain: ChainId, seq: int) -> Damaged:
    return Damaged(f"a pack holds no sound version {seq} of {chain}", hint="tclog fsck")


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
