"""What ``fsck`` has seen and has yet to compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tclog.chain.once import resumed_id
from tclog.clock import Hlc, Stamp
from tclog.event import BlobHash, ChainId, Event, EventId, Version, event_key, slot_key
from tclog.maintenance.scratch import Scratch

_TABLES = """
CREATE TABLE committed(
    event BLOB, chain TEXT, seq INTEGER, agent TEXT, key TEXT, PRIMARY KEY(event, chain)
) WITHOUT ROWID;
CREATE TABLE keyed(
    chain TEXT, agent TEXT, named TEXT, seq INTEGER, PRIMARY KEY(chain, agent, named, seq)
) WITHOUT ROWID;
CREATE TABLE present(event BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE named(
    blob TEXT PRIMARY KEY, size INTEGER, key TEXT, chain TEXT, seq INTEGER, agent TEXT
) WITHOUT ROWID;
CREATE TABLE blobs(blob TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;
CREATE TABLE bad(blob TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE merges(
    key TEXT, chain TEXT, seq INTEGER, agent TEXT, through INTEGER, counted INTEGER);
CREATE TABLE broadcasts(seq INTEGER PRIMARY KEY, counted INTEGER);
CREATE TABLE slots(chain TEXT, seq INTEGER, id BLOB, PRIMARY KEY(chain, seq)) WITHOUT ROWID;
CREATE TABLE packed(event BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE stamps(
    key TEXT, chain TEXT, seq INTEGER, agent TEXT, said TEXT, stored TEXT, at TEXT);
CREATE TABLE judged(key TEXT, chain TEXT, seq INTEGER, agent TEXT, event TEXT, now TEXT);
"""


class Writer(NamedTuple):
    """Where something was said, and by whom: an object's key and what it is a version of."""

    key: str
    chain: ChainId | None = None
    version: int | None = None
    agent: str | None = None

    @classmethod
    def of(cls, version: Version) -> Writer:
        """Return where a version stands."""
        return cls(slot_key(version.chain, version.seq), version.chain, version.seq, version.by)


class Seen(Scratch):
    """The objects that were seen, and what records say of other objects."""

    TABLES = _TABLES

    def commit(self, version: Version, event: Event) -> bool:
        """Note that a chain holds an event; false if it does so already, in another version."""
        key = event_key(event.at, event.chains[0], event.id)
        row = bytes.fromhex(event.id), version.chain, version.seq, event.agent, key
        if event.key is not None:
            self._insert("keyed", version.chain, event.agent, event.key, version.seq)
        return self._insert("committed", *row)

    def see_version(self, version: Version) -> None:
        """Note which version a slot holds."""
        txn = version.txn or {}
        # A transaction's key belongs to the chain of its first operation. If that only reads, no
        # event tells which chain it is.
        if "key" in txn and txn["events"][:1] == [event.id for event in version.events[:1]]:
            self._insert("keyed", version.chain, txn["agent"], txn["key"], version.seq)
        self._insert("slots", version.chain, version.seq, bytes.fromhex(version.id))

    def version_id(self, chain: ChainId, seq: int) -> str | None:
        """Return the id of the version that a slot holds; None if it was not seen."""
        row = self._one("SELECT id FROM slots WHERE chain=? AND seq=?", chain, seq)
        return None if row is None else str(row[0].hex())

    def pack_event(self, event: EventId) -> None:
        """Note that a pack holds an event, which is as good as an object of its own."""
        self._insert("packed", bytes.fromhex(event))
        self._insert("present", bytes.fromhex(event))

    def is_packed(self, event: EventId) -> bool:
        """Whether a pack holds an event."""
        return self._one("SELECT 1 FROM packed WHERE event=?", bytes.fromhex(event)) is not None

    def events(self) -> int:
        """Count the events that have an object or stand in a pack."""
        return int(self._one("SELECT count(*) FROM present")[0])

    def see_event(self, event: EventId) -> None:
        """Note that ``events/`` holds an object for an event."""
        self._insert("present", bytes.fromhex(event))

    def name_blob(self, blob: BlobHash, size: int, by: Writer) -> None:
        """Note that a record names a blob; the first is kept."""
        self._insert("named", blob, size, by.key, by.chain, by.version, by.agent)

    def see_blob(self, blob: BlobHash, size: int) -> None:
        """Note that ``blobs/`` holds a blob."""
        self._insert("blobs", blob, size)

    def mar_blob(self, blob: BlobHash) -> None:
        """Note that a blob is known to be damaged; its size need not be told as well."""
        self._insert("bad", blob)

    def merge(self, version: Version, through: int, counted: int) -> None:
        """Note that a version takes broadcasts in."""
        key = slot_key(version.chain, version.seq)
        row = key, version.chain, version.seq, version.by, through, counted
        self._insert("merges", *row)

    def broadcast(self, seq: int, counted: int) -> None:
        """Note how many broadcasts there are up to a version of ``inbox/@all``."""
        self._insert("broadcasts", seq, counted)

    def judge(self, version: Version, event: Event, now: Stamp) -> None:
        """Note that a version says which stamp the store gave to its event."""
        key = slot_key(version.chain, version.seq)
        at = event_key(event.at, event.chains[0], event.id)
        self._insert("judged", key, version.chain, version.seq, version.by, at, now)

    def stamp(self, version: Version, said: Stamp, before: Version) -> None:
        """Note that a version says another stamp of the slot before it than the store does."""
        key = slot_key(version.chain, version.seq)
        row = key, version.chain, version.seq, version.by, said, before.stored, before.at
        self._insert("stamps", *row)

    # -- comparisons --------------------------------------------------------------------------

    def attempts(self) -> int:
        """Count the event objects that no version holds."""
        find = "SELECT count(*) FROM present WHERE event NOT IN (SELECT event FROM committed)"
        return int(self._one(find)[0])

    def events_missing(self) -> Iterator[tuple[Writer, str]]:
        """Yield the committed events without an object, each once, with its id."""
        rows = self._db.execute(
            "SELECT key, chain, min(seq), agent, event FROM committed"
            " WHERE NOT EXISTS(SELECT 1 FROM present WHERE present.event=committed.event)"
            " GROUP BY event"
        )
        return ((Writer(*row[:4]), row[4].hex()) for row in rows)

    def committed_as(self, event: str) -> Writer | None:
        """Return which version holds an event."""
        find = "SELECT key, chain, seq, agent FROM committed WHERE event=?"
        row = self._one(find, bytes.fromhex(event))
        return None if row is None else Writer(*row)

    def first_under(self, chain: ChainId, agent: str, key: str) -> int | None:
        """Return the first version of a chain that holds an event for an idempotency key."""
        find = "SELECT min(seq) FROM keyed WHERE chain=? AND agent=? AND named=?"
        (first,) = self._one(find, chain, agent, key)
        begins = resumed_id(key)
        if begins is None:
            return None if first is None else int(first)
        find = "SELECT min(seq) FROM committed WHERE event>=? AND event<=? AND chain=? AND agent=?"
        low, high = bytes.fromhex(begins), bytes.fromhex(begins) + b"\xff" * 24
        (named,) = self._one(find, low, high, chain, agent)
        return min((int(seq) for seq in (first, named) if seq is not None), default=None)

    def blobs_amiss(self) -> Iterator[tuple[BlobHash, int, int | None, Writer]]:
        """Yield the blobs that are named and are not there, or there with another size."""
        rows = self._db.execute(
            "SELECT named.blob, named.size, blobs.size, key, chain, seq, agent FROM named"
            " LEFT JOIN blobs ON blobs.blob=named.blob"
            " WHERE (blobs.size IS NULL OR blobs.size<>named.size)"
            " AND NOT EXISTS(SELECT 1 FROM bad WHERE bad.blob=named.blob)"
        )
        return ((BlobHash(row[0]), row[1], row[2], Writer(*row[3:])) for row in rows)

    def named_by(self, blob: BlobHash) -> Writer | None:
        """Return which record names a blob."""
        row = self._one("SELECT key, chain, seq, agent FROM named WHERE blob=?", blob)
        return None if row is None else Writer(*row)

    def leftovers(self) -> int:
        """Count the blobs that no record names."""
        find = "SELECT count(*) FROM blobs WHERE blob NOT IN (SELECT blob FROM named)"
        return int(self._one(find)[0])

    def merges_amiss(self) -> Iterator[tuple[Writer, int, int, int | None]]:
        """Yield merges whose count is not that of the version of ``inbox/@all`` they go to."""
        rows = self._db.execute(
            "SELECT key, chain, merges.seq, agent, through, merges.counted, broadcasts.counted"
            " FROM merges LEFT JOIN broadcasts ON broadcasts.seq=merges.through"
            " WHERE broadcasts.counted IS NULL OR broadcasts.counted<>merges.counted"
        )
        return ((Writer(*row[:4]), row[4], row[5], row[6]) for row in rows)

    def stamps(self) -> Iterator[tuple[Writer, Stamp, Stamp, Hlc]]:
        """Yield versions that misname a stamp: what they say, what the store says.

        Last comes the time that the version before says itself.
        """
        rows = self._db.execute("SELECT key, chain, seq, agent, said, stored, at FROM stamps")
        return ((Writer(*row[:4]), Stamp(row[4]), Stamp(row[5]), Hlc(row[6])) for row in rows)

    def judgements(self) -> Iterator[tuple[Writer, str, Stamp]]:
        """Yield versions that rest on a stamp of their event, with its key and the stamp."""
        rows = self._db.execute("SELECT key, chain, seq, agent, event, now FROM judged")
        return ((Writer(*row[:4]), row[4], Stamp(row[5])) for row in rows)
