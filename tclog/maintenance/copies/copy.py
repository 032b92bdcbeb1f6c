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

from collections.abc import Iterator, Sequence

from tclog.chain.drive import Protocol
from tclog.chain.slots import newest_slot
from tclog.errors import Damaged, NotFound, Refused
from tclog.event import MARK, PACKS, blob_key, decode, decode_record, pack_key, slot_seq
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
    pack_of,
)
from tclog.maintenance.copies.job import Copied, Job, Sink, Tell, unseen_junk, why_unread
from tclog.maintenance.copies.promises import broken, promise
from tclog.maintenance.copies.slots import Range, SlotCopy
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
    unseen,
)
from tclog.sync.packfiles import read_packs_state

TRIES_MAX = 8
_NAMES = {
    BLOBS: "blobs",
    ONCE: "keys",
    EVENTS: "events",
    PACK_OBJECTS: "packs",
    REDACTED: "redacted",
}


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
        job = Job(sink, tell, note, mount, progress or unseen)
        return (yield from _copy(_Copy(job, seen)))


def _copy(copy: _Copy) -> Protocol[Copied]:
    found = yield Get(copy.job.mark)
    if found is None:
        raise NotFound("there is no project in the store that is read", code="project-missing")
    decode_record(found.data, "project", MARK)
    yield from copy.job.sink.begin(found.data)
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
    yield from copy.slots.copy(broadcasts)
    yield from copy.slots.copy(chains)
    yield from copy.slots.copy_owed()
    yield from copy.slots.copy(packs)
    yield from copy.job.sink.end(found.data)
    return copy.job.copied


class _Copy:
    """Plans which slots the sink lacks, and copies all other objects."""

    def __init__(self, job: Job, seen: _Keys) -> None:
        self.job = job
        self.slots = SlotCopy(job)
        self._seen = seen
        self._gone: list[str] = []

    # -- what to copy -------------------------------------------------------------------------

    def plan(self, folder: str, leave: tuple[str, ...] = ()) -> Protocol[list[Range]]:
        """List the slots below a folder, and return those that the sink lacks.

        Raises:
            Refused: the sink has a slot that is not here, or one of another size.
        """
        ranges: list[Range] = []
        ours, theirs = Listing(folder, self.job.mount), self.job.sink.listing(folder)
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
            self.job.count(foreign=self._seen.add(entry.key))
            return
        self.slots.listed[folder] = max(seq, self.slots.listed.get(folder, 0))
        if there is not None:
            _same_size(entry, there)
            self.job.count(present=self._seen.add(entry.key))
        elif ranges and ranges[-1].folder == folder:
            ranges[-1] = ranges[-1]._replace(first=seq)
        else:
            ranges.append(Range(folder, seq, seq))

    def _foreign_slots(self, extra: Sequence[Entry]) -> Protocol[None]:
        """Refuse a sink that somebody has written to: it could not become the same log."""
        for batch in batches(entry for entry in extra if slot_seq(entry.key) is not None):
            replies = yield from self.job.read([row.key for row in batch])
            for entry, reply in zip(batch, replies, strict=True):
                if not isinstance(reply, Found) or len(reply.data) != entry.size:
                    raise Refused(
                        f"the target has {entry.key}, which the source has not:"
                        " the two logs have parted",
                        code="object-differs",
                        hint="tclog clone --help",
                        object=entry.key,
                    )

    # -- blobs, idempotency keys, events, packs -----------------------------------------------

    def contents(self, folder: str) -> Protocol[None]:
        """Copy the objects of a folder that the sink lacks."""
        ours, theirs = Listing(folder, self.job.mount), self.job.sink.listing(folder)
        while page := (yield from ours.page()):
            page = [row for row in page if self._seen.add(row.key)]
            have: dict[str, Entry] = {}
            if theirs is not None and page:
                have = {row.key: row for row in (yield from theirs.until(page[-1].key))}
            wanted = [row for row in page if self._is_wanted(row, have.get(row.key))]
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
                    there = yield Stat(self.job.mount + entry.key)
                    # What is not there at all is for ``fsck`` to find, here and in the copy.
                    late += [] if there is None else [entry._replace(size=there.size)]
        yield from self._objects(BLOBS, late)

    def _is_wanted(self, entry: Entry, there: Entry | None) -> bool:
        if there is not None:
            _same_size(entry, there)
            self.job.count(present=1)
            return False
        if promise(entry.key) is None:
            self.job.count(foreign=1)
            return False
        return True

    def _whole(self, folder: str, batch: Sequence[Entry]) -> Protocol[None]:
        replies = yield from self.job.read([row.key for row in batch])
        sound: list[tuple[str, bytes]] = []
        for entry, reply in zip(batch, replies, strict=True):
            why = why_unread(reply)
            if isinstance(reply, Found):
                why = broken(entry.key, reply.data)
                if not why:
                    sound.append((entry.key, reply.data))
                    continue
            elif reply is None and folder in (EVENTS, PACK_OBJECTS):
                self._gone.append(entry.key)
                continue
            self.job.damaged(entry.key, why)
        if folder == EVENTS:
            yield from self._late_blobs(sound)
        yield from self.job.sink.put(sound)
        size = sum(len(raw) for _, raw in sound)
        self.job.count(**{_NAMES[folder]: len(sound)}, bytes=size)
        self.job.progress(_NAMES[folder], len(sound))

    def _large(self, folder: str, entry: Entry) -> Protocol[None]:
        if folder != BLOBS:
            self.job.damaged(entry.key, f"has {entry.size} bytes, more than any record")
            return
        try:
            pieces = yield GetFile(self.job.mount + entry.key)
            yield from self.job.sink.put_large(entry, _checked(entry.key, pieces))
        except Damaged as error:
            self.job.damaged(entry.key, error.message)
            return
        self.job.count(blobs=1, bytes=entry.size)
        self.job.progress("blobs", 1)

    def packs_head(self) -> Protocol[int]:
        """Return the newest version of the chain of packs."""
        return (yield from newest_slot(PACKS_FOLDER, self.job.mount))

    def tell_missing(self, head: int) -> Protocol[None]:
        """Tell of packs that are named but not there, and of what was listed and then missing.

        What was removed because it was folded into packs is none of either: these were looked for
        between two looks at the chain of packs that saw the same version of it.
        """
        state = yield from read_packs_state(head, self.job.mount)
        named = {pack_key(one.pack) for one in state.packs}
        for key in self._gone:
            if key in named if pack_of(key) is not None else hour_of(key) > state.floor:
                self.job.damaged(key, "is missing")
        for key in sorted(named):
            if self._seen.add(key):
                self.job.damaged(key, f"is missing, named by {PACKS}")


class _Keys(Scratch):
    """The keys that were seen."""

    TABLES = "CREATE TABLE seen(key TEXT PRIMARY KEY) WITHOUT ROWID;"

    def add(self, key: str) -> bool:
        """Note a key; whether it was not seen before."""
        return self._insert("seen", key)


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


def _checked(key: str, pieces: Iterator[bytes] | None) -> Iterator[bytes]:
    if pieces is None:
        raise Damaged("is missing")
    wrong = Damaged("does not hold what its name says", hint="tclog fsck")
    try:
        yield from verified(pieces, blob_of(key), wrong)
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from None
