"""Copying a log out of a store, whole and checked; ``export`` and ``clone`` differ in the sink.

Every object is checked against its name before it is handed on: an event and a blob by its hash,
a version by its sum, its slot and the version before it. What is damaged is told and left out, and
a chain ends before a slot that is missing; everything else is still copied. A slot that holds junk
is copied as it is, for a later version may end it by the hash of its bytes.

The log may be written meanwhile. Slots are listed first (``inbox/@all`` after the inboxes that name
it), and only up to what was listed are they copied; what they name was stored before them, and is
listed after them. One that was created while they were listed is copied too if one that was listed
rests on it: on a transaction that was decided by then. Blobs are listed before the events that name
them, and handed on before these: a blob that came between is handed on with the event that names
it. Packs come last; should their chain have grown since the beginning, all is listed once more, and
what came since is handed on. So whatever ``gc`` has removed is in packs that are copied too, each
pack that the copied chain names is there, and so is the slot of each version in it. Slots are
handed on last, each chain from its oldest: so a sink that is killed at any moment holds a log, of
which only the newest versions are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from typing import Protocol as Structural

from tclog.chain.drive import Protocol, together
from tclog.chain.slots import newest_slot
from tclog.errors import Damaged, FormatNewer, NotFound, Refused, StoreError, TclogError
from tclog.event import (
    ALL,
    MARK,
    PACKS,
    ChainId,
    Version,
    VersionId,
    blob_key,
    chain_folder,
    decode,
    decode_event,
    decode_record,
    decode_version,
    digest,
    event_key,
    event_key_parts,
    once_key,
    pack_key,
    slot_key,
    slot_seq,
)
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
    hour_of,
    is_chain_folder,
    is_once_key,
    is_redacted_key,
    kind_of,
    pack_of,
    slot_in,
)
from tclog.maintenance.scratch import Scratch
from tclog.store.base import Entry, Found, Get, GetFile, Stat
from tclog.sync.audit import blobs_in
from tclog.sync.objects import (
    ALL_FOLDER,
    PACKS_FOLDER,
    PAGES_MAX,
    RECORD_BYTES_MAX,
    WHOLE_BYTES_MAX,
    Listing,
    Progress,
    batches,
    chain_in,
    read_each,
    unseen,
)
from tclog.sync.packfiles import read_packs_state

CHAINS_AT_ONCE = 32
SLOTS_AT_ONCE = 32
TRIES_MAX = 8

Tell = Callable[[str, str], None]


def unseen_junk(key: str, why: str) -> None:
    """Tell nobody of junk."""
    del key, why


class Copied(NamedTuple):
    """How many objects of each kind were handed on; how many were there, damaged or foreign.

    ``junk`` counts the slots that were handed on and hold no version.
    """

    blobs: int = 0
    keys: int = 0
    events: int = 0
    versions: int = 0
    bytes: int = 0
    packs: int = 0
    present: int = 0
    damaged: int = 0
    foreign: int = 0
    junk: int = 0
    redacted: int = 0


class Sink(Structural):
    """Where objects go. What it returns are protocols, driven with those that read."""

    def begin(self, mark: bytes) -> Protocol[None]:
        """Look at the mark before anything is copied."""

    def listing(self, folder: str) -> Listing | None:
        """Return what is there already; None if nothing ever is."""

    def put(self, objects: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        """Take whole objects, in any order."""

    def put_large(self, entry: Entry, pieces: Iterator[bytes]) -> Protocol[None]:
        """Take a blob in pieces; they raise ``Damaged`` at the end if its hash is wrong."""

    def slot_id(self, key: str) -> Protocol[VersionId | None]:
        """Return the id of a version that is there already."""

    def put_slot(self, key: str, raw: bytes, *, junk: bool = False) -> Protocol[None]:
        """Take the next version of a chain, or the junk that its slot holds."""

    def end(self, mark: bytes) -> Protocol[None]:
        """Finish: everything was handed on."""


class Range(NamedTuple):
    """The slots of a chain that are to be copied."""

    folder: str
    first: int
    last: int


def copy_log(
    sink: Sink,
    tell: Tell,
    *,
    mount: str = "",
    progress: Progress | None = None,
    note: Tell = unseen_junk,
) -> Protocol[Copied]:
    """Copy what the sink lacks.

    Args:
        sink: where to.
        tell: told the key and the reason of each object that is left out as damaged.
        mount: what stands before the keys of the store that is read.
        progress: told what is copied.
        note: told the key and the reason of each slot that is copied and holds junk.

    Raises:
        NotFound: there is no project.
        Refused: the sink holds an object that differs.
    """
    with _Keys() as seen:
        return (yield from _copy(_Copy(sink, tell, note, mount, progress or unseen, seen)))


def _copy(copy: _Copy) -> Protocol[Copied]:
    found = yield Get(copy.mark)
    if found is None:
        raise NotFound("there is no project in the store that is read", code="project-missing")
    decode_record(found.data, "project", MARK)
    yield from copy.sink.begin(found.data)
    for _ in range(TRIES_MAX):
        head = yield from copy.packs_head()
        chains = yield from copy.plan(CHAINS, (ALL_FOLDER, PACKS_FOLDER))
        broadcasts = yield from copy.plan(ALL_FOLDER)
        for folder in (BLOBS, REDACTED, ONCE, EVENTS, PACK_OBJECTS):
            yield from copy.contents(folder)
        packs = yield from copy.plan(PACKS_FOLDER)
        if (yield from copy.packs_head()) == head:
            break
    else:
        raise Refused("packs are made again and again", code="packs-changed")
    yield from copy.tell_missing(head)
    yield from copy.slots(broadcasts)
    yield from copy.slots(chains)
    yield from copy.owed()
    yield from copy.slots(packs)
    yield from copy.sink.end(found.data)
    return copy.copied


class _Copy:
    def __init__(
        self, sink: Sink, tell: Tell, note: Tell, mount: str, progress: Progress, seen: _Keys
    ) -> None:
        self.sink = sink
        self._note = note
        self.copied = Copied()
        self._seen = seen
        self._tell = tell
        self._mount = mount
        self._progress = progress
        self._gone: list[str] = []
        # The newest slot of each chain that was listed, and of some one that is owed besides.
        self._listed: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        self._ended: set[str] = set()

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self.copied, name) + count for name, count in more.items()}
        self.copied = self.copied._replace(**counts)

    def _damaged(self, key: str, why: str) -> None:
        self._count(damaged=1)
        self._tell(key, why)

    # -- what to copy -------------------------------------------------------------------------

    def plan(self, folder: str, leave: tuple[str, ...] = ()) -> Protocol[list[Range]]:
        """List the slots below a folder, and return those that the sink lacks.

        Raises:
            Refused: the sink has a slot that is not here, or one of another size.
        """
        ranges: list[Range] = []
        ours, theirs = Listing(folder, self._mount), self.sink.listing(folder)
        for _ in range(PAGES_MAX):
            page = yield from ours.page()
            kept = [row for row in page if folder_of(row.key) not in leave]
            have: dict[str, Entry] = {}
            if theirs is not None:
                last = page[-1].key if page else "\U0010ffff"
                rows = yield from theirs.until(last)
                have = {row.key: row for row in rows if folder_of(row.key) not in leave}
            for entry in kept:
                self._plan(ranges, entry, have.pop(entry.key, None))
            yield from self._foreign_slots(list(have.values()))
            if not page:
                break
        return ranges

    def _plan(self, ranges: list[Range], entry: Entry, there: Entry | None) -> None:
        folder, seq = folder_of(entry.key), slot_seq(entry.key)
        if seq is None or not is_chain_folder(folder):
            self._count(foreign=self._seen.add(entry.key))
            return
        self._listed[folder] = max(seq, self._listed.get(folder, 0))
        if there is not None:
            _same_size(entry, there)
            self._count(present=self._seen.add(entry.key))
        elif ranges and ranges[-1].folder == folder:
            ranges[-1] = ranges[-1]._replace(first=seq)
        else:
            ranges.append(Range(folder, seq, seq))

    def _foreign_slots(self, extra: Sequence[Entry]) -> Protocol[None]:
        """Refuse a sink that somebody has written to: it could not become the same log."""
        for batch in batches(entry for entry in extra if slot_seq(entry.key) is not None):
            replies = yield from read_each([self._mount + row.key for row in batch], self.mark)
            for entry, reply in zip(batch, replies, strict=True):
                if not isinstance(reply, Found) or len(reply.data) != entry.size:
                    raise Refused(
                        f"the target has {entry.key}, which the source has not:"
                        " the two logs have parted",
                        code="object-differs",
                        hint="tclog clone --help",
                        object=entry.key,
                    )

    @property
    def mark(self) -> str:
        return self._mount + MARK

    # -- blobs, idempotency keys, events, packs -----------------------------------------------

    def contents(self, folder: str) -> Protocol[None]:
        """Copy the objects of a folder that the sink lacks."""
        ours, theirs = Listing(folder, self._mount), self.sink.listing(folder)
        while page := (yield from ours.page()):
            page = [row for row in page if self._seen.add(row.key)]
            have: dict[str, Entry] = {}
            if theirs is not None and page:
                have = {row.key: row for row in (yield from theirs.until(page[-1].key))}
            wanted = [row for row in page if self._is_wanted(folder, row, have.get(row.key))]
            yield from self._objects(folder, wanted)

    def _objects(self, folder: str, wanted: Sequence[Entry]) -> Protocol[None]:
        small = [row for row in wanted if _is_small(folder, row)]
        for batch in batches(small):
            yield from self._whole(folder, batch)
        for row in wanted:
            if not _is_small(folder, row):
                yield from self._large(folder, row)

    def _late_blobs(self, events: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        """Hand on the blobs of events that were stored after the blobs had been listed."""
        late: list[Entry] = []
        for key, raw in events:
            for blob, size in blobs_in(decode(raw, key)["body"]):
                entry = Entry(blob_key(blob), size)
                if blob_of(entry.key) and self._seen.add(entry.key):
                    there = yield Stat(self._mount + entry.key)
                    # What is not there at all is for ``fsck`` to find, here and in the copy.
                    late += [] if there is None else [entry._replace(size=there.size)]
        yield from self._objects(BLOBS, late)

    def _is_wanted(self, folder: str, entry: Entry, there: Entry | None) -> bool:
        if there is not None:
            _same_size(entry, there)
            self._count(present=1)
            return False
        if _promise(folder, entry.key) is None:
            self._count(foreign=1)
            return False
        return True

    def _whole(self, folder: str, batch: Sequence[Entry]) -> Protocol[None]:
        replies = yield from read_each([self._mount + row.key for row in batch], self.mark)
        sound: list[tuple[str, bytes]] = []
        for entry, reply in zip(batch, replies, strict=True):
            why = _unread(reply)
            if isinstance(reply, Found):
                why = _broken(folder, entry.key, reply.data)
                if not why:
                    sound.append((entry.key, reply.data))
                    continue
            elif reply is None and folder in (EVENTS, PACK_OBJECTS):
                self._gone.append(entry.key)
                continue
            self._damaged(entry.key, why)
        if folder == EVENTS:
            yield from self._late_blobs(sound)
        yield from self.sink.put(sound)
        size = sum(len(raw) for _, raw in sound)
        self._count(**{_NAMES[folder]: len(sound)}, bytes=size)
        self._progress(_NAMES[folder], len(sound))

    def _large(self, folder: str, entry: Entry) -> Protocol[None]:
        if folder != BLOBS:
            self._damaged(entry.key, f"has {entry.size} bytes, more than any record")
            return
        try:
            pieces = yield GetFile(self._mount + entry.key)
            yield from self.sink.put_large(entry, _checked(entry.key, pieces))
        except Damaged as error:
            self._damaged(entry.key, error.message)
            return
        self._count(blobs=1, bytes=entry.size)
        self._progress("blobs", 1)

    def packs_head(self) -> Protocol[int]:
        """Return the newest version of the chain of packs."""
        return (yield from newest_slot(PACKS_FOLDER, self._mount))

    def tell_missing(self, head: int) -> Protocol[None]:
        """Tell of packs that are named but not there, and of what was listed and then missing.

        What was removed because it was folded into packs is none of either: these were looked for
        between two looks at the chain of packs that saw the same version of it.
        """
        state = yield from read_packs_state(head, self._mount)
        named = {pack_key(one.pack) for one in state.packs}
        for key in self._gone:
            if key in named if pack_of(key) is not None else hour_of(key) > state.floor:
                self._damaged(key, "is missing")
        for key in sorted(named):
            if self._seen.add(key):
                self._damaged(key, f"is missing, named by {PACKS}")

    # -- versions -----------------------------------------------------------------------------

    def slots(self, ranges: Sequence[Range]) -> Protocol[None]:
        """Copy slots: of each chain the oldest first, several chains side by side."""
        for start in range(0, len(ranges), CHAINS_AT_ONCE):
            part = ranges[start : start + CHAINS_AT_ONCE]
            yield from together(*(self._chain(one) for one in part))

    def owed(self) -> Protocol[None]:
        """Copy the slots that others rest on and that were created when their chain was listed.

        They were there before what rests on them, so what they name was listed after them too.
        """
        for _ in range(PAGES_MAX):
            if not self._owed:
                break
            owed, self._owed = self._owed, {}
            first = {folder: self._listed.get(folder, 0) + 1 for folder in owed}
            self._listed |= owed
            whole = owed.keys() - self._ended
            yield from self.slots([Range(one, first[one], owed[one]) for one in sorted(whole)])

    def _owe(self, version: Version, *, followed: bool) -> Protocol[None]:
        """Note what a version rests on: the slots that decided its transaction, broadcasts."""
        slots: dict[ChainId, int] = {}
        if version.txn is not None and followed:
            slots = yield from self._deciding(version.txn)
        if version.merge is not None:
            slots[ALL] = version.merge["through"]
        fills = version.record.get("fills")
        if fills is not None:
            slots[ChainId(fills["chain"])] = fills["seq"]
        for chain, seq in slots.items():
            folder = chain_folder(chain)
            if seq > max(self._listed.get(folder, 0), self._owed.get(folder, 0)):
                self._owed[folder] = seq

    def _deciding(self, txn: Mapping[str, Any]) -> Protocol[dict[ChainId, int]]:
        """Return the slots of a decided transaction that a copy needs to judge it alike.

        These are all of one that was committed. Of one that was aborted, some may never be filled;
        one that holds something else is there.
        """
        slots: dict[ChainId, int] = txn["slots"]
        known = [self._listed.get(chain_folder(chain), 0) >= seq for chain, seq in slots.items()]
        if all(known):
            return {}
        keys = [self._mount + slot_key(*slot) for slot in slots.items()]
        replies = yield from read_each(keys, self.mark)
        there = [reply for reply in replies if isinstance(reply, Found)]
        if all(_is_part(txn, reply) for reply in there):
            return dict(slots)
        rows = zip(slots.items(), replies, strict=True)
        return {chain: seq for (chain, seq), reply in rows if reply is not None}

    def _chain(self, wanted: Range) -> Protocol[None]:
        before: VersionId | None = None
        junk = False  # whether the slot before holds junk
        if wanted.first > 1:
            seq = wanted.first - 1
            key = slot_in(wanted.folder, seq)
            before = yield from self.sink.slot_id(key)
            found = yield Get(self._mount + key)
            known = None if found is None else self._decoded(key, seq, found)
            if isinstance(known, Version):
                yield from self._owe(known, followed=True)
            junk = isinstance(known, str) and digest(found.data) == before
        for start in range(wanted.first, wanted.last + 1, SLOTS_AT_ONCE):
            seqs = range(start, min(start + SLOTS_AT_ONCE, wanted.last + 1))
            keys = [slot_in(wanted.folder, seq) for seq in seqs]
            replies = yield from read_each([self._mount + key for key in keys], self.mark)
            for seq, key, reply in zip(seqs, keys, replies, strict=True):
                if not isinstance(reply, Found):
                    self._damaged(key, f"{_unread(reply)}; its chain ends before it in the copy")
                    self._ended.add(wanted.folder)
                    return
                version = self._decoded(key, seq, reply)
                if isinstance(version, str):
                    self._count(junk=1)
                    self._note(key, version)
                elif version.prev != before and not junk:
                    self._ended.add(wanted.folder)
                    self._parted(wanted, seq, key)
                    return
                else:
                    yield from self._owe(version, followed=seq < wanted.last)
                before, junk = VersionId(digest(reply.data)), isinstance(version, str)
                yield from self.sink.put_slot(key, reply.data, junk=junk)
                self._count(versions=not junk, bytes=len(reply.data))
                self._progress("versions", 1)

    def _decoded(self, key: str, seq: int, found: Found) -> Version | str:
        """Return a version that holds what it should, or why there is none."""
        try:
            chain = chain_in(key, found.data)
            return decode_version(found.data, chain=chain, seq=seq, stored=found.stored)
        except TclogError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - whatever bytes there are, the copy goes on
            return f"cannot be read: {error!r}"

    def _parted(self, wanted: Range, seq: int, key: str) -> None:
        if wanted.first > 1 and seq == wanted.first:
            other = slot_in(wanted.folder, seq - 1)
            raise Refused(
                f"{other} differs in source and target: the two logs have parted",
                code="object-differs",
                hint="tclog clone --help",
                object=other,
            )
        self._damaged(key, "does not follow the version before it; its chain ends before it")


def _is_part(txn: Mapping[str, Any], found: Found) -> bool:
    """Whether a slot holds its part of a transaction; what cannot be read is told by itself."""
    try:
        record = decode(found.data, "version")
    except TclogError:
        return True
    return not isinstance(record, dict) or record.get("txn") == txn


class _Keys(Scratch):
    """The keys that were seen."""

    TABLES = "CREATE TABLE seen(key TEXT PRIMARY KEY) WITHOUT ROWID;"

    def add(self, key: str) -> bool:
        """Note a key; whether it was not seen before."""
        return self._insert("seen", key)


_NAMES = {
    BLOBS: "blobs",
    ONCE: "keys",
    EVENTS: "events",
    PACK_OBJECTS: "packs",
    REDACTED: "redacted",
}


def _is_small(folder: str, entry: Entry) -> bool:
    """Whether an object is read whole; packs are cut so that they can be."""
    return entry.size <= (RECORD_BYTES_MAX if folder == PACK_OBJECTS else WHOLE_BYTES_MAX)


def _same_size(ours: Entry, theirs: Entry) -> None:
    if ours.size != theirs.size:
        raise Refused(
            f"{ours.key} has {theirs.size} bytes in the target and {ours.size} in the source",
            code="object-differs",
            hint="tclog fsck",
            object=ours.key,
        )


def _promise(folder: str, key: str) -> str | None:
    """Return the hash that a key promises, "" where it promises none; None for a foreign name."""
    if folder == BLOBS:
        return blob_of(key)
    if folder == PACK_OBJECTS:
        return pack_of(key)
    if folder in (ONCE, REDACTED):
        return "" if is_once_key(key) or is_redacted_key(key) else None
    try:
        parts = event_key_parts(key)
    except Damaged:
        return None
    return None if parts is None else parts[2]


def _broken(folder: str, key: str, raw: bytes) -> str:
    """Say why an object is not what its key promises; empty if it is."""
    if folder == REDACTED:
        return ""
    if folder == ONCE:
        return "" if binds(key, raw) else "does not bind an idempotency key"
    if digest(raw) != _promise(folder, key):
        return "does not hold what its name says"
    if folder != EVENTS or _is_named(key, raw):
        return ""
    return "is not named as its event says"


def _is_named(key: str, raw: bytes) -> bool:
    """Whether an event's whole key follows from it: nothing else may become a path."""
    try:
        event = decode_event(raw)
        return key == event_key(event.at, event.chains[0], event.id)
    except Exception:  # noqa: BLE001 - whatever bytes there are
        return False


def binds(key: str, raw: bytes) -> bool:
    """Whether an object binds the idempotency key that it is named for."""
    try:
        record = decode_record(raw, "once", key)
    except (Damaged, FormatNewer):
        return False
    bound = f"{record['key']}#{digest(record['chain'].encode())[:16]}"
    return key == once_key(record["agent"], bound)


def broken(key: str, raw: bytes) -> str:
    """Say why an object that is no slot is not what its key promises; empty if it is."""
    folder = kind_of(key)
    if folder not in _NAMES or _promise(folder, key) is None:
        return "is not the name of an object"
    return _broken(folder, key, raw)


def _unread(reply: Found | StoreError | None) -> str:
    return f"cannot be read: {reply.message}" if isinstance(reply, StoreError) else "is missing"


def _checked(key: str, pieces: Iterator[bytes] | None) -> Iterator[bytes]:
    if pieces is None:
        raise Damaged("is missing")
    wrong = Damaged("does not hold what its name says", hint="tclog fsck")
    try:
        yield from verified(pieces, blob_of(key), wrong)
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from None
