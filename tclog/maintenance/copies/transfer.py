"""``export`` and ``import``: a log as lines of JSON, and back to the very same bytes.

The first line says what it is and holds the project's mark; the last one says how many objects
there were, and the BLAKE3 of all lines before it, so that a file that was cut off is noticed. A
record stands in its line as the JSON that it is, which canonical encoding turns back into its
bytes; a blob or a pack as base64, a large one on several lines. The order is the one in which an
import writes: blobs, idempotency keys, events, packs, then each chain from its oldest version. The
mark is written when the last line was found right.
"""

from __future__ import annotations

import codecs
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import orjson
from blake3 import blake3

from tclog.chain.drive import Protocol, together
from tclog.errors import UPGRADE, BadValue, Damaged, FormatNewer, TclogError
from tclog.event import MARK, VersionId, decode, decode_version, digest, encode, slot_seq
from tclog.event.canonical import verified
from tclog.event.names import (
    BLOBS,
    CHAINS,
    EVENTS,
    ONCE,
    PACK_OBJECTS,
    REDACTED,
    blob_of,
    folder_of,
    is_chain_folder,
    kind_of,
)
from tclog.maintenance.copies.copy import copy_log
from tclog.maintenance.copies.destination import Target
from tclog.maintenance.copies.job import Copied, Tell, unseen_junk
from tclog.maintenance.copies.promises import broken
from tclog.maintenance.tempfiles import write_temporary
from tclog.store.base import Entry
from tclog.sync.objects import (
    ALL_FOLDER,
    AT_ONCE,
    BATCH_BYTES,
    WHOLE_BYTES_MAX,
    Listing,
    Progress,
    chain_in,
    unseen,
)

FORMAT = 1
PIECE_BYTES = 768 << 10
# A line holds one record or one piece of a blob.
LINE_BYTES_MAX = 65 << 20

_KINDS = {
    BLOBS: "blob",
    ONCE: "key",
    REDACTED: "redacted",
    EVENTS: "event",
    PACK_OBJECTS: "pack",
    CHAINS: "version",
}
Write = Callable[[bytes], None]


# -- export ---------------------------------------------------------------------------------------


def export(
    write: Write,
    tell: Tell,
    *,
    software: str,
    progress: Progress | None = None,
    note: Tell = unseen_junk,
) -> Protocol[Copied]:
    """Write the log as lines.

    Args:
        write: given each line.
        tell: told the key and the reason of each damaged object, which is left out.
        software: the client that writes, for the first line.
        progress: told what is written.
        note: told the key and the reason of each slot that is written and holds junk.
    """
    return (yield from copy_log(_Lines(write, software), tell, progress=progress, note=note))


class _Lines:
    """A sink that writes lines; it has nothing before."""

    def __init__(self, write: Write, software: str) -> None:
        self._write = write
        self._software = software
        self._hasher = blake3()
        self._objects = 0
        self._heads: dict[str, VersionId] = {}

    def _line(self, line: bytes) -> None:
        self._hasher.update(line)
        self._write(line)

    def begin(self, mark: bytes) -> Protocol[None]:
        record = decode(mark, MARK)
        head = {
            "type": "export",
            "format": FORMAT,
            "project": record["project"],
            "client": self._software,
            "mark": record,
        }
        self._line(orjson.dumps(head) + b"\n")
        return
        yield

    def listing(self, folder: str) -> Listing | None:
        del folder
        return None

    def put(self, objects: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        for key, raw in objects:
            self._object(key, raw)
        return
        yield

    def put_slot(self, key: str, raw: bytes, *, junk: bool = False) -> Protocol[None]:
        if junk:
            self._objects += 1
            self._piece(key, raw, 0, len(raw), "junk")
        else:
            self._object(key, raw)
        self._heads[folder_of(key)] = VersionId(digest(raw))
        return
        yield

    def put_large(self, entry: Entry, pieces: Iterator[bytes]) -> Protocol[None]:
        """Write a blob, once its hash was found right: a line cannot be taken back."""
        with write_temporary(pieces) as file:
            offset = 0
            while piece := file.read(PIECE_BYTES):
                self._piece(entry.key, piece, offset, entry.size)
                offset += len(piece)
        self._objects += 1
        return
        yield

    def slot_id(self, key: str) -> Protocol[VersionId | None]:
        return self._heads.get(folder_of(key))
        yield

    def end(self, mark: bytes) -> Protocol[None]:
        del mark
        last = {"type": "end", "objects": self._objects, "blake3": self._hasher.hexdigest()}
        self._write(orjson.dumps(last) + b"\n")
        return
        yield

    def _object(self, key: str, raw: bytes) -> None:
        self._objects += 1
        kind = _KINDS[kind_of(key)]
        if kind not in ("blob", "pack"):
            try:
                decode(raw, key)
            except Damaged:
                pass  # kept as it is, by its bytes
            else:
                # The bytes are the one encoding of what they say, so they stand here themselves.
                name = orjson.dumps(key).decode()
                head = f'{{"type":"object","kind":"{kind}","key":{name},"record":'
                self._line(head.encode() + raw + b"}\n")
                return
        self._piece(key, raw, 0, len(raw))

    def _piece(self, key: str, piece: bytes, offset: int, size: int, kind: str = "") -> None:
        record: dict[str, Any] = {
            "type": "object",
            "kind": kind or _KINDS[kind_of(key)],
            "key": key,
            "base64": b64encode(piece).decode(),
        }
        if size > len(piece):
            record |= {"offset": offset, "size": size}
        self._line(orjson.dumps(record) + b"\n")


# -- import ---------------------------------------------------------------------------------------


class Head(NamedTuple):
    """What the first line says."""

    project: str
    mark: bytes


class Imported(NamedTuple):
    """How many objects were in the file; how many of them the store had already."""

    objects: int
    present: int


class Reader:
    """Lines of an export, hashed as they are read.

    Raises:
        BadValue: it is no export.
        FormatNewer: a later release wrote it.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._hasher = blake3()
        self._number = 0
        first = self._next()
        if first.get("type") != "export" or type(first.get("format")) is not int:
            raise _no_export()
        if first["format"] > FORMAT:
            raise FormatNewer(
                f"the export has format {first['format']}; this client reads up to {FORMAT}",
                hint=UPGRADE,
            )
        mark = first.get("mark")
        if not isinstance(mark, dict) or type(mark.get("project")) is not str:
            raise _wrong(1, "holds no project's mark")
        self.head = Head(mark["project"], encode(mark))

    def _next(self) -> dict[str, Any]:
        line = next(self._lines, b"")
        self._number += 1
        if not line.endswith(b"\n"):
            if self._number == 1:
                raise _no_export()
            raise _cut_off()
        try:
            record = orjson.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            if self._number == 1:
                raise _no_export()
            raise _wrong(self._number, "is not a JSON object")
        if record.get("type") != "end":
            self._hasher.update(line)
        return record

    def objects(self) -> Iterator[tuple[str, int, Iterator[bytes], bool]]:
        """Yield each object's key, size and pieces; the pieces must be used up.

        Last comes whether it is the junk in a slot.

        Raises:
            Damaged: a line is not what it should be, or the last one is missing or does not fit.
        """
        count = 0
        while True:
            line = self._next()
            if line.get("type") == "end":
                break
            key = line.get("key")
            if line.get("type") != "object" or not isinstance(key, str):
                raise _wrong(self._number, "is not an object of a log")
            raw = self._bytes(line)
            size = line.get("size", len(raw))
            yield key, size, self._pieces(key, raw, size), line.get("kind") == "junk"
            count += 1
        if line.get("objects") != count or line.get("blake3") != self._hasher.hexdigest():
            raise Damaged(
                "the export is damaged: its last line does not fit what stands before it",
                code="export-damaged",
                hint="tclog export --help",
            )
        if next(self._lines, b""):
            raise _wrong(self._number + 1, "stands after its last line")

    def _pieces(self, key: str, raw: bytes, size: Any) -> Iterator[bytes]:
        done = len(raw)
        yield raw
        while type(size) is int and done < size:
            line = self._next()
            if line.get("key") != key or line.get("offset") != done:
                raise _wrong(self._number, f"does not go on with {key}")
            raw = self._bytes(line)
            if not raw:
                raise _wrong(self._number, "holds nothing")
            done += len(raw)
            yield raw

    def _bytes(self, line: dict[str, Any]) -> bytes:
        try:
            return encode(line["record"]) if "record" in line else b64decode(line["base64"])
        except (KeyError, TypeError, ValueError):
            raise _wrong(self._number, "holds no bytes") from None


def _wrong(number: int, what: str) -> Damaged:
    return Damaged(
        f"line {number} of the export {what}",
        code="export-damaged",
        hint="tclog export --help",
    )


def _no_export() -> BadValue:
    return BadValue("this is not an export of a log", code="no-export", hint="tclog export --help")


def _cut_off() -> Damaged:
    return Damaged(
        "the export was cut off: its last line is missing",
        code="export-damaged",
        hint="tclog export --help",
    )


def import_log(reader: Reader, progress: Progress | None = None) -> Protocol[Imported]:
    """Write what an export holds; safe to repeat, and to be killed at any moment.

    Raises:
        Damaged: the file is; the project's mark is not made then.
        Refused: the store holds another project, or an object that differs.
    """
    target = Target()
    writer = _Importer(target, progress or unseen)
    yield from target.begin(reader.head.mark)
    for key, size, pieces, junk in reader.objects():
        yield from writer.take(key, size, pieces, junk=junk)
    yield from writer.flush()
    yield from target.end(reader.head.mark)
    return Imported(writer.objects, target.present)


class _Before(NamedTuple):
    """The slot of a chain that came last: its number, the hash of its bytes, if these are junk."""

    seq: int
    id: VersionId | None
    junk: bool


class _Importer:
    """Writes objects as they come, those that may go side by side at once."""

    def __init__(self, target: Target, progress: Progress) -> None:
        self.objects = 0
        self._target = target
        self._progress = progress
        self._contents: list[tuple[str, bytes]] = []
        self._slots: dict[str, list[tuple[str, bytes]]] = {}
        self._heads: dict[str, _Before] = {}
        self._waiting = self._bytes = 0

    def take(
        self, key: str, size: int, pieces: Iterator[bytes], *, junk: bool = False
    ) -> Protocol[None]:
        """Check an object and write it, now or with those that come next."""
        self.objects += 1
        if blob_of(key) and size > WHOLE_BYTES_MAX:
            wrong = f"{key} in the export is not what its name says"
            pieces = verified(pieces, blob_of(key), Damaged(wrong, code="export-damaged"))
            yield from self._target.put_large(Entry(key, size), pieces)
            self._progress("objects", 1)
            return
        raw = b"".join(pieces)
        if kind_of(key) == CHAINS:
            if self._contents:
                yield from self.flush()
            folder = folder_of(key)
            if folder != ALL_FOLDER and ALL_FOLDER in self._slots:
                yield from self.flush()  # the other inboxes name what stands there
            self._check_slot(folder, key, raw, junk=junk)
            self._slots.setdefault(folder, []).append((key, raw))
        else:
            why = broken(key, raw)
            if why:
                raise Damaged(f"{key} in the export {why}", code="export-damaged")
            self._contents.append((key, raw))
        self._waiting += 1
        self._bytes += len(raw)
        if self._waiting == AT_ONCE or self._bytes > BATCH_BYTES:
            yield from self.flush()

    def _check_slot(self, folder: str, key: str, raw: bytes, *, junk: bool) -> None:
        """Check that a slot follows the one before it; junk is taken as it is."""
        before = self._heads.get(folder, _Before(0, None, junk=False))
        seq = slot_seq(key) if is_chain_folder(folder) else None
        follows = seq == before.seq + 1
        try:
            if not junk:
                version = decode_version(raw, chain=chain_in(key, raw), seq=seq or 0)
                follows = follows and (version.prev == before.id or before.junk)
        except TclogError as error:
            raise Damaged(f"{key} in the export: {error.message}", code="export-damaged") from None
        if seq is None or not follows:
            raise Damaged(
                f"{key} in the export does not follow the version before it", code="export-damaged"
            )
        self._heads[folder] = _Before(seq, VersionId(digest(raw)), junk)

    def flush(self) -> Protocol[None]:
        """Write what waits: the versions of a chain one after the other."""
        contents, slots, count = self._contents, self._slots, self._waiting
        self._contents, self._slots, self._waiting, self._bytes = [], {}, 0, 0
        yield from self._target.put(contents)
        if slots:
            yield from together(*(self._chain(rows) for rows in slots.values()))
        self._progress("objects", count)

    def _chain(self, rows: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        for key, raw in rows:
            yield from self._target.put_slot(key, raw)


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file, of bounded length, without a byte order mark before the first."""
    line = file.readline(LINE_BYTES_MAX).removeprefix(codecs.BOM_UTF8)
    while line:
        yield line
        line = file.readline(LINE_BYTES_MAX)


def check_export(reader: Reader) -> None:
    """Read an export to its end before anything of it is written.

    Raises:
        Damaged: it was cut off or changed.
    """
    for key, _, pieces, _ in reader.objects():
        del key
        for _ in pieces:
            pass
