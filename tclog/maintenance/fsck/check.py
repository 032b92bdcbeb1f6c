"""``fsck``: read the whole store and check every object against its name and its neighbours.

It reads the store itself, never the index. Damage is told as it is found and never ends the check.
A log may be written meanwhile, and none of that is damage: whatever names something is listed
before what it names (versions, events, packs, blobs; other inboxes before ``inbox/@all``), and
writers work the other way round. What still looks missing is asked for once more by its key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol
from tclog.clock import SECOND_US, Stamp, parse_us
from tclog.errors import Damaged, FormatNewer, StoreError
from tclog.event import (
    ALL,
    MARK,
    BlobHash,
    ChainId,
    decode_event,
    decode_record,
    digest,
    event_key,
    event_named,
    once_key,
    pending_key,
    pending_key_parts,
    slot_key,
)
from tclog.event.canonical import digest_pieces
from tclog.event.names import BLOBS, CHAINS, EVENTS, ONCE, PENDING, blob_key, blob_of, is_once_key
from tclog.maintenance.clocks import CODE as CLOCK_OFF
from tclog.maintenance.clocks import Clocks
from tclog.maintenance.fsck.chains import ChainCheck, tell_stamps
from tclog.maintenance.fsck.findings import Damage, Findings, claimed
from tclog.maintenance.fsck.packs import PackCheck
from tclog.maintenance.fsck.seen import Seen, Writer
from tclog.store.base import Entry, Found, Get, GetFile, Stat, Store
from tclog.sync.objects import (
    ALL_FOLDER,
    AT_ONCE,
    WHOLE_BYTES_MAX,
    Listing,
    Progress,
    batches,
    read_each,
    unseen,
)


class Checked(NamedTuple):
    """What was looked at.

    ``unknown`` counts what only a later client could check: newer formats, unknown ops and kinds.
    """

    chains: int
    versions: int
    events: int
    attempts: int
    blobs: int
    unused_blobs: int
    keys: int
    pending: int
    unknown: int
    packs: int
    damaged: int


def fsck(
    project: str, report: Callable[[Damage], None], progress: Progress | None = None
) -> Protocol[Checked]:
    """Check everything; each damage is reported at once.

    Raises:
        StoreError: the store cannot be read any more.
    """
    with Seen() as seen:
        findings = Findings(seen, report, progress or unseen)
        mark_stored = yield from _check_mark(project, findings)
        chains = ChainCheck(findings)
        yield from chains.check(CHAINS, leave=ALL_FOLDER)
        yield from chains.check(ALL_FOLDER)
        rest = _Rest(findings, Clocks(mark_stored))
        yield from rest.check_pending()
        yield from rest.check_events()
        packs = PackCheck(findings)
        yield from packs.check()
        rest.tell_gone()
        rest.tell_clocks()
        tell_stamps(findings, mark_stored)
        yield from rest.check_keys()
        yield from rest.check_blobs()
        yield from rest.compare()
        return Checked(
            chains.chains,
            chains.versions,
            seen.events(),
            seen.attempts(),
            rest.blobs,
            seen.leftovers(),
            rest.keys,
            rest.pending,
            findings.unknown,
            packs.packs,
            findings.damaged,
        )


def _check_mark(expected: str, findings: Findings) -> Protocol[Stamp | None]:
    """Check ``tclog.json``; return the store's stamp of it."""
    found: Found | None = yield Get(MARK)
    where = Writer(MARK)
    if found is None:
        findings.damage("mark-missing", f"{MARK} is missing", where)
        return None
    try:
        record = decode_record(found.data, "project", MARK)
    except FormatNewer as error:
        findings.damage("format-newer", error.message, where)
        return found.stored
    except Damaged as error:
        findings.damage("mark-damaged", error.message, where)
        return found.stored
    if record.get("shards", 1) > 1:
        findings.damage("format-newer", f"{MARK} says {record['shards']} shards", where)
    elif record["project"] != expected:
        named = record["project"]
        findings.damage("mark-damaged", f"{MARK} names another project, {named!a}", where)
    return found.stored


class _Rest:
    """Everything but the chains, and what these name."""

    def __init__(self, found: Findings, clocks: Clocks) -> None:
        self.found = found
        self.clocks = clocks
        self.blobs = self.keys = self.pending = 0
        self._gone: list[Entry] = []

    # -- announcements ------------------------------------------------------------------------

    def check_pending(self) -> Protocol[None]:
        """Check the announcements; one may be removed at any moment, and one left over is sound."""
        yield from self._each(
            PENDING, "pending-damaged", _is_announcement, self._announcement, lambda _: None
        )

    def _announcement(self, entry: Entry, found: Found) -> None:
        self.pending += 1
        key, where = entry.key, Writer(entry.key)
        parts = pending_key_parts(key)
        if not found.data or parts is None:
            # Its name says where the event's object is, which its sender may have died before.
            return
        _, after, named = parts
        with self.found.reading("pending-damaged", where):
            event = decode_event(found.data, expect=named, what=key)
            where = where._replace(agent=event.agent)
            if key not in {pending_key(chain, event.at, after, event.id) for chain in event.chains}:
                self.found.damage(
                    "pending-damaged", f"{key} does not announce the event that it holds", where
                )

    # -- events -------------------------------------------------------------------------------

    def check_events(self) -> Protocol[None]:
        """Check all event objects."""
        yield from self._each(
            EVENTS, "event-damaged", self._see_name, self._event, self._gone.append
        )

    def tell_gone(self) -> None:
        """Tell of events that were listed and then missing, unless they were folded into packs."""
        for entry in self._gone:
            event = event_named(entry.key)
            if event is None or not self.found.seen.is_packed(event):
                self.found.unread(entry, None, "event-damaged")

    def tell_clocks(self) -> None:
        """Tell of agents whose committed events have times far from the store's stamps."""
        for clock in self.clocks.found():
            where = Writer(clock.key, None, None, clock.agent)
            self.found.note(CLOCK_OFF, clock.sentence(), where)

    def _see_name(self, entry: Entry) -> bool:
        """Note that an event has an object, be that damaged or not; False for a foreign name."""
        event = event_named(entry.key)
        if event is not None:
            self.found.seen.see_event(event)
        return event is not None

    def _event(self, entry: Entry, found: Found) -> None:
        named = event_named(entry.key)
        assert named is not None  # noqa: S101 - its name was looked at before it was read
        committed = self.found.seen.committed_as(named)
        where = Writer(entry.key) if committed is None else committed._replace(key=entry.key)
        where = where._replace(agent=where.agent or claimed(found.data, "agent"))
        with self.found.reading("event-damaged", where):
            event = decode_event(found.data, expect=named, what=entry.key)
            key = event_key(event.at, event.chains[0], event.id)
            self.found.name_blobs(event, Writer(key, event.chains[0], None, event.agent))
            # A client whose clock turns out to be wrong leaves its first event as an attempt.
            if committed is not None:
                self.clocks.see(event.agent, event.at, found.stored, key)
            if key != entry.key:
                self.found.damage("event-misnamed", f"{entry.key} should be {key}", where)

    def _each(
        self,
        folder: str,
        code: str,
        is_ours: Callable[[Entry], bool],
        check: Callable[[Entry, Found], None],
        gone: Callable[[Entry], None] | None = None,
    ) -> Protocol[None]:
        listing = Listing(folder)
        while page := (yield from listing.page()):
            for batch in batches(self.found.named(page, is_ours)):
                for entry, found in (yield from self.found.read(batch, code, gone)):
                    if found is not None:
                        check(entry, found)
                self.found.progress(folder, len(batch))

    # -- idempotency keys ---------------------------------------------------------------------

    def check_keys(self) -> Protocol[None]:
        """Check all objects that bind idempotency keys."""

        def count(entry: Entry) -> bool:
            self.keys += is_once_key(entry.key)
            return is_once_key(entry.key)

        yield from self._each(ONCE, "key-damaged", count, self._key)

    def _key(self, entry: Entry, found: Found) -> None:
        where = Writer(entry.key, None, None, claimed(found.data, "agent"))
        with self.found.reading("key-damaged", where):
            record = decode_record(found.data, "once", entry.key)
            chain = ChainId(record["chain"])
            key = once_key(record["agent"], record["key"], chain)
            if key != entry.key:
                self.found.damage(
                    "key-damaged", f"{entry.key} does not bind the key that it is named for", where
                )
                return
            self._binding(where._replace(chain=chain, version=record["after"]), record["key"])

    def _binding(self, where: Writer, key: str) -> None:
        """Compare a key's object with the event that the key was used for.

        The search for the key begins after the version that it names: the event stands there. That
        version itself may be absent, in a copy that was stopped: keys are copied before chains.
        """
        chain, after, agent = where.chain, where.version, where.agent
        assert chain is not None and after is not None and agent is not None  # noqa: S101, PT018
        first = self.found.seen.first_under(chain, agent, key)
        if first is not None and first <= after:
            self.found.damage(
                "key-hides-event",
                f"{where.key} says that {key!a} was not used up to version {after} of {chain},"
                f" and version {first} holds its event",
                where,
            )

    # -- blobs --------------------------------------------------------------------------------

    def check_blobs(self) -> Protocol[None]:
        """Check all blobs, also those that nothing names: what is put later may rest on them."""
        listing = Listing(BLOBS)
        while page := (yield from listing.page()):
            named = list(self.found.named(page, self._see_blob))
            small = [row for row in named if row.size <= WHOLE_BYTES_MAX]
            for batch in batches(small):
                for entry, found in (yield from self.found.read(batch, "blob-damaged")):
                    if found is not None:
                        self._blob(entry, digest(found.data))
                self.found.progress("blobs", len(batch))
            for entry in named:
                if entry.size > WHOLE_BYTES_MAX:
                    yield from self._large_blob(entry)
                    self.found.progress("blobs", 1)

    def _see_blob(self, entry: Entry) -> bool:
        blob = blob_of(entry.key)
        if blob is not None:
            self.blobs += 1
            self.found.seen.see_blob(blob, entry.size)
        return blob is not None

    def _large_blob(self, entry: Entry) -> Protocol[None]:
        try:
            pieces = yield GetFile(entry.key)
            if pieces is None:
                self.found.unread(entry, None, "blob-damaged")
                return
            found = digest_pieces(pieces)
        except (StoreError, OSError) as error:
            yield Get(MARK)
            why = error.message if isinstance(error, StoreError) else str(error.strerror)
            self.found.damage(
                "blob-damaged", f"{entry.key} cannot be read: {why}", Writer(entry.key)
            )
            return
        self._blob(entry, found)

    def _blob(self, entry: Entry, found: str) -> None:
        blob = blob_of(entry.key)
        if blob is not None and blob != found:
            self.found.seen.mar_blob(blob)
            by = self.found.seen.named_by(blob)
            named = "" if by is None else f" (named by {by.key})"
            where = Writer(entry.key) if by is None else by._replace(key=entry.key)
            self.found.damage(
                "blob-damaged", f"{entry.key} does not hold what its name says{named}", where
            )

    # -- comparisons --------------------------------------------------------------------------

    def compare(self) -> Protocol[None]:
        """Compare what is named with what is there."""
        for part in _parts(self.found.seen.events_missing()):
            replies = yield from read_each([where.key for where, _ in part])
            for (where, event), reply in zip(part, replies, strict=True):
                if not isinstance(reply, Found) or digest(reply.data) != event:
                    self.found.damage(
                        "event-missing",
                        f"{where.key} is missing, the event in version {where.version}"
                        f" of {where.chain}",
                        where,
                    )
        for blob, size, there, by in list(self.found.seen.blobs_amiss()):
            yield from self._named_blob(str(blob), size, there, by)
        for by, through, counted, there in list(self.found.seen.merges_amiss()):
            what = f"version {by.version} of {by.chain} takes in {ALL} up to version {through}"
            if there is not None:
                wrong = f"and counts {counted} broadcasts where there are {there}"
                self.found.damage("merge-wrong", f"{what}, {wrong}", by)
            elif (yield Stat(slot_key(ALL, through))) is None:
                where = by._replace(key=slot_key(ALL, through))
                self.found.damage("version-missing", f"{what}, which is missing", where)
        for by, key, now in list(self.found.seen.judgements()):
            entry = yield Stat(key)
            late = entry is not None and entry.stored is not None
            if late and parse_us(now) > parse_us(entry.stored) + SECOND_US:
                self.found.damage(
                    "rule-broken",
                    f"version {by.version} of {by.chain} says that its event was stored at {now};"
                    f" the store says {entry.stored}",
                    by,
                )

    def _named_blob(self, blob: str, size: int, there: int | None, by: Writer) -> Protocol[None]:
        key = blob_key(BlobHash(blob))
        if there is None:
            entry = yield Stat(key)
            if entry is None:
                where = by._replace(key=key)
                self.found.damage("blob-missing", f"{key} is missing, named by {by.key}", where)
                return
            there = entry.size
        if there != size:
            self.found.damage(
                "blob-size", f"{by.key} says that {key} has {size} bytes; it has {there}", by
            )


def _is_announcement(entry: Entry) -> bool:
    return pending_key_parts(entry.key) is not None


class Patient:
    """A store whose damaged files are errors of one object, so that the check goes on.

    A folder's disk may fail to give back a single file; that would end every other command.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str) -> Found | None:
        """See ``Store``."""
        try:
            return self._store.get(key)
        except Damaged as error:
            raise StoreError(error.message, code="unreadable") from error


def _parts(rows: Iterable[tuple[Writer, str]]) -> Iterator[list[tuple[Writer, str]]]:
    found = list(rows)
    return (found[start : start + AT_ONCE] for start in range(0, len(found), AT_ONCE))
