"""The database: opening, schema, damage, and the rows that sync writes.

Many processes share one index. Rows only ever come to be, and the same rows whoever writes them, so
writers need no agreement: each inserts what is missing, in one transaction a batch.

    chains     one row a chain; ``head`` is the newest version here, and all below it are here too
    versions   the bytes of every version
    events     one row for every committed event and chain, and one for every attempt (seq 0)
    open       chains that an event names and that do not hold it (yet)
    meta       the schema, the epoch (a random name of this copy), and how far sync has come

``events.n`` numbers the committed events in an order that every follower on this machine sees: see
``number``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tclog.clock import Hlc, Stamp
from tclog.errors import TclogError
from tclog.event import ChainId, Event, EventId, Version, chain_kind, encode
from tclog.event.records import decode_stored_event, decode_stored_version
from tclog.index.rows import Attempt, Commit, Filter

SCHEMA = 1
BUSY_S = 60.0
ID_BYTES = 32
_FILE = "log.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chains(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    head INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS versions(
    chain INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, at TEXT NOT NULL,
    stored TEXT, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS events(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, at TEXT NOT NULL, chain INTEGER NOT NULL,
    seq INTEGER NOT NULL, place INTEGER NOT NULL, agent TEXT NOT NULL, op TEXT NOT NULL,
    n INTEGER, raw BLOB);
CREATE TABLE IF NOT EXISTS open(
    chain TEXT NOT NULL, event BLOB NOT NULL, stored TEXT NOT NULL, partial INTEGER NOT NULL,
    PRIMARY KEY(chain, event)) WITHOUT ROWID;
"""
_INDEXES = """
CREATE UNIQUE INDEX IF NOT EXISTS versions_seq ON versions(chain, seq);
CREATE INDEX IF NOT EXISTS versions_at ON versions(chain, at);
CREATE INDEX IF NOT EXISTS versions_when ON versions(at, chain);
CREATE INDEX IF NOT EXISTS versions_id ON versions(id);
CREATE UNIQUE INDEX IF NOT EXISTS events_place ON events(chain, seq, place, id);
CREATE INDEX IF NOT EXISTS events_id ON events(id);
CREATE INDEX IF NOT EXISTS events_at ON events(at);
CREATE INDEX IF NOT EXISTS events_agent ON events(agent, at);
CREATE INDEX IF NOT EXISTS events_op ON events(op, at);
CREATE INDEX IF NOT EXISTS events_n ON events(n);
"""

EVERYTHING = Filter()


class _OtherRelease(sqlite3.DatabaseError):
    """The schema is another; as good as damaged."""


class IndexUnusable(TclogError):  # noqa: N818 - named for what happened, as in tclog.errors
    """The cache folder cannot hold an index."""

    code = "index-unusable"


class Index:
    """The index of one project, opened for one thread.

    Args:
        folder: the project's cache folder; the index has a folder of its own in it.

    Raises:
        IndexUnusable: it can be neither opened nor made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "index"
        self._db = self._open()

    # -- opening ------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        for last in (False, True):
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if last or _is_busy(error):
                    raise self._unusable(error) from error
                self.discard()
            except OSError as error:
                raise self._unusable(error) from error
        raise AssertionError

    def _unusable(self, error: Exception) -> IndexUnusable:
        return IndexUnusable(
            f"the index in {self.folder} cannot be used: {error}", hint=f"df -h {self.folder}"
        )

    def _connect(self) -> sqlite3.Connection:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self.folder / _FILE, timeout=BUSY_S, isolation_level=None)
        try:
            # A cache need not survive a power cut, only be found damaged after one.
            db.executescript(
                "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
                "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
            )
            found = db.execute("SELECT 1 FROM sqlite_master WHERE name='meta'").fetchone()
            if found is None:
                db.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_INDEXES} COMMIT;")
                db.execute("INSERT OR IGNORE INTO meta VALUES('schema', ?)", (str(SCHEMA),))
                db.execute("INSERT OR IGNORE INTO meta VALUES('epoch', ?)", (os.urandom(8).hex(),))
            schema = db.execute("SELECT value FROM meta WHERE name='schema'").fetchone()
            if schema is None or schema[0] != str(SCHEMA):
                raise _OtherRelease  # noqa: TRY301 - the except closes what was opened
        except BaseException:
            db.close()
            raise
        return db

    def discard(self) -> None:
        """Throw the index away, whole and at once, whoever else has it open."""
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._db.close()
        # Renamed first: a journal that stayed behind would be taken for the next index's own.
        away = self.folder.with_name(f"index.{os.getpid()}.{os.urandom(4).hex()}.old")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def renew(self) -> None:
        """Throw the index away and begin an empty one."""
        self.discard()
        self._db = self._open()

    def recover(self, error: sqlite3.DatabaseError, *, last: bool) -> None:
        """Begin anew after an error that says that the index is damaged.

        Raises:
            IndexUnusable: it is not damaged but locked, full or the like, or ``last`` is set.
        """
        if last or _is_busy(error):
            raise self._unusable(error) from error
        self.renew()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Do what follows in one transaction, alone among the writers."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Answer what is asked meanwhile from one state of the index."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    # -- how far sync has come ----------------------------------------------------------------

    def meta(self, name: str) -> str | None:
        """Return what was remembered under a name."""
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Remember something."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (name, value))

    # -- writing ------------------------------------------------------------------------------

    def add_versions(self, versions: Iterable[Version]) -> None:
        """Insert versions with their events, in any order; what is here already stays."""
        db = self._db
        chains: dict[ChainId, int] = {}
        for version in versions:
            chain = version.chain
            number = chains.get(chain)
            if number is None:
                number = chains[chain] = self._chain_number(chain)
            added = db.execute(
                "INSERT OR IGNORE INTO versions VALUES(?, ?, ?, ?, ?, ?)",
                (
                    number,
                    version.seq,
                    bytes.fromhex(version.id),
                    version.at,
                    version.stored,
                    version.raw,
                ),
            ).rowcount
            if added:
                self._add_events(version, number)
        for number in chains.values():
            self._move_head(number)

    def _chain_number(self, chain: ChainId) -> int:
        db = self._db
        row = db.execute("SELECT id FROM chains WHERE name=?", (chain,)).fetchone()
        if row is None:
            values = (chain, chain_kind(chain))
            return db.execute("INSERT INTO chains(name, kind) VALUES(?, ?)", values).lastrowid or 0
        return int(row[0])

    def _add_events(self, version: Version, number: int) -> None:
        db = self._db
        for place, event in enumerate(version.events):
            event_id = bytes.fromhex(event.id)
            db.execute("DELETE FROM events WHERE id=? AND seq=0", (event_id,))
            db.execute(
                "INSERT OR IGNORE INTO events(id, at, chain, seq, place, agent, op)"
                " VALUES(?, ?, ?, ?, ?, ?, ?)",
                (event_id, version.at, number, version.seq, place, event.agent, event.op),
            )
            db.execute("DELETE FROM open WHERE chain=? AND event=?", (version.chain, event_id))
            for other in event.chains:
                if other != version.chain and not self._holds(other, event_id):
                    db.execute(
                        "INSERT OR REPLACE INTO open VALUES(?, ?, ?, 1)",
                        (other, event_id, version.stored or version.at[:27]),
                    )

    def _holds(self, chain: ChainId, event: bytes) -> bool:
        return (
            self._db.execute(
                "SELECT 1 FROM events JOIN chains ON chains.id=events.chain"
                " WHERE events.id=? AND seq>0 AND chains.name=?",
                (event, chain),
            ).fetchone()
            is not None
        )

    def _move_head(self, number: int) -> None:
        """Move a chain's head over all versions that follow it without a gap."""
        db = self._db
        (head,) = db.execute("SELECT head FROM chains WHERE id=?", (number,)).fetchone()
        first = head
        rows = db.execute(
            "SELECT seq FROM versions WHERE chain=? AND seq>? ORDER BY seq", (number, head)
        )
        for (seq,) in rows:
            if seq != head + 1:
                break
            head = seq
        if head != first:
            db.execute("UPDATE chains SET head=? WHERE id=?", (head, number))

    def add_attempts(self, events: Iterable[tuple[Event, bytes, Stamp]]) -> None:
        """Insert events without a slot: the event, its bytes, and the store's stamp of them."""
        db = self._db
        for event, raw, stored in events:
            event_id = bytes.fromhex(event.id)
            if db.execute("SELECT 1 FROM events WHERE id=?", (event_id,)).fetchone() is None:
                db.execute(
                    "INSERT INTO events(id, at, chain, seq, place, agent, op, raw)"
                    " VALUES(?, ?, ?, 0, 0, ?, ?, ?)",
                    (
                        event_id,
                        event.at,
                        self._chain_number(event.chains[0]),
                        event.agent,
                        event.op,
                        raw,
                    ),
                )
            for chain in event.chains:
                if not self._holds(chain, event_id):
                    db.execute(
                        "INSERT OR IGNORE INTO open VALUES(?, ?, ?, 0)", (chain, event_id, stored)
                    )

    def last_row(self) -> int:
        """Return the number of the newest row of events, to be given to ``number``."""
        return int(self._db.execute("SELECT coalesce(max(row), 0) FROM events").fetchone()[0])

    def number(self, last_row: int) -> None:
        """Number the committed events up to a row, which was the last when a sync began.

        The numbers are the order in which followers get them. Cause comes before effect in it: what
        led to an event was committed before that was, so a sync that begins once the effect is here
        finds the cause; therefore an event gets its number only at the end of a sync that began
        after it was found, and those that do so together get theirs by their stamps.
        """
        db = self._db
        if not db.execute(
            "SELECT 1 FROM events WHERE n IS NULL AND seq>0 AND row<=? LIMIT 1", (last_row,)
        ).fetchone():
            return
        (n,) = db.execute("SELECT coalesce(max(n), 0) FROM events").fetchone()
        rows = db.execute(
            "SELECT row FROM events WHERE n IS NULL AND seq>0 AND row<=?"
            " ORDER BY at, chain, seq, place",
            (last_row,),
        ).fetchall()
        db.executemany(
            "UPDATE events SET n=? WHERE row=?", ((n + i, row) for i, (row,) in enumerate(rows, 1))
        )

    # -- what sync asks -----------------------------------------------------------------------

    def head(self, chain: ChainId) -> int:
        """Return the newest version of a chain here, 0 if none."""
        row = self._db.execute("SELECT head FROM chains WHERE name=?", (chain,)).fetchone()
        return 0 if row is None else int(row[0])

    def has_version(self, chain: ChainId, seq: int) -> bool:
        """Whether a version is here."""
        return (
            self._db.execute(
                "SELECT 1 FROM versions JOIN chains ON chains.id=versions.chain"
                " WHERE chains.name=? AND seq=?",
                (chain, seq),
            ).fetchone()
            is not None
        )

    def unknown_events(self, ids: Sequence[EventId]) -> list[EventId]:
        """Return those of some events that are here neither as committed nor as attempts."""
        find = "SELECT 1 FROM events WHERE id=?"
        db = self._db
        return [i for i in ids if db.execute(find, (bytes.fromhex(i),)).fetchone() is None]

    def open_chains(self, attempts_since: Stamp, partial_since: Stamp) -> list[ChainId]:
        """Return the chains that are named by an event and do not hold it (yet).

        Args:
            attempts_since: for events that no chain holds: only those the store got since then.
            partial_since: the same for events that another of their chains holds.
        """
        rows = self._db.execute(
            "SELECT DISTINCT chain FROM open WHERE stored >= iif(partial, ?, ?)",
            (partial_since, attempts_since),
        )
        return [ChainId(chain) for (chain,) in rows]

    def inbox_heads(self) -> list[Version]:
        """Return the newest version of every inbox, that of broadcasts first."""
        rows = self._db.execute(
            "SELECT versions.raw, versions.stored FROM chains JOIN versions"
            " ON versions.chain=chains.id AND versions.seq=chains.head"
            " WHERE chains.kind='inbox' ORDER BY chains.name"
        )
        return [decode_stored_version(raw, stored) for raw, stored in rows]

    # -- what history asks --------------------------------------------------------------------

    def chains(self, kind: str | None = None, prefix: str = "") -> list[ChainId]:
        """Return the chains with a version, of one kind or all, in byte order."""
        # A range of the unique index: the text after every text with this prefix ends in U+10FFFF.
        start = prefix if kind is None else f"{kind}/{prefix}"
        rows = self._db.execute(
            "SELECT name FROM chains WHERE name>=? AND name<? AND head>0 ORDER BY name",
            (start, start + "\U0010ffff"),
        )
        return [ChainId(name) for (name,) in rows]

    def version(self, chain: ChainId, seq: int) -> Version | None:
        """Return a version."""
        return self._version("chains.name=? AND seq=?", (chain, seq))

    def version_at(self, chain: ChainId, at: Hlc) -> Version | None:
        """Return the newest version of a chain that is not after a stamp."""
        return self._version(
            "chains.name=? AND at<=? AND seq<=head ORDER BY at DESC LIMIT 1", (chain, at)
        )

    def versions(
        self, chain: ChainId, first: int = 1, last: int | None = None
    ) -> Iterator[Version]:
        """Yield the versions of a chain, oldest first."""
        rows = self._db.execute(
            "SELECT versions.raw, versions.stored FROM versions"
            " JOIN chains ON chains.id=versions.chain"
            " WHERE chains.name=? AND seq>=? AND seq<=min(head, ?) ORDER BY seq",
            (chain, first, last or 2**62),
        )
        return (decode_stored_version(raw, stored) for raw, stored in rows)

    def _version(self, where: str, values: Sequence[Any]) -> Version | None:
        row = self._db.execute(
            "SELECT versions.raw, versions.stored FROM versions"  # noqa: S608 - our own words
            f" JOIN chains ON chains.id=versions.chain WHERE {where}",
            values,
        ).fetchone()
        return None if row is None else decode_stored_version(row[0], row[1])

    def chains_changed(self, after: Hlc, through: Hlc) -> list[ChainId]:
        """Return the chains that have a version after one stamp and not after another."""
        rows = self._db.execute(
            "SELECT DISTINCT chains.name FROM versions JOIN chains ON chains.id=versions.chain"
            " WHERE at>? AND at<=? ORDER BY chains.name",
            (after, through),
        )
        return [ChainId(name) for (name,) in rows]

    def find_version(self, prefix: str) -> list[Version]:
        """Return at most two versions whose id begins so (hex digits)."""
        rows = self._db.execute(
            "SELECT raw, stored FROM versions WHERE id>=? AND id<=? LIMIT 2", _id_range(prefix)
        )
        return [decode_stored_version(raw, stored) for raw, stored in rows]

    def find_event(self, prefix: str) -> list[EventId]:
        """Return at most two ids of events that begin so (hex digits)."""
        rows = self._db.execute(
            "SELECT DISTINCT id FROM events WHERE id>=? AND id<=? LIMIT 2", _id_range(prefix)
        )
        return [EventId(row[0].hex()) for row in rows]

    def places(self, event: EventId) -> list[Commit]:
        """Return where an event was committed, oldest first; several for several inboxes."""
        return list(
            self._commits(
                "events.id=? AND events.seq>0 ORDER BY events.at", (bytes.fromhex(event),)
            )
        )

    def attempt(self, event: EventId) -> Attempt | None:
        """Return an event that has no slot."""
        rows = self._attempts("events.id=? AND events.seq=0", (bytes.fromhex(event),))
        return next(iter(rows), None)

    def commits(
        self,
        wanted: Filter = EVERYTHING,
        *,
        newest_first: bool = True,
    ) -> Iterator[Commit]:
        """Yield the committed events asked for, by their stamps."""
        where, values = _where(wanted)
        order = "DESC" if newest_first else "ASC"
        return self._commits(
            f"events.seq>0 AND {where} ORDER BY events.at {order}, chains.name {order},"
            f" events.place {order}",
            values,
        )

    def followed(self, after: int) -> Iterator[tuple[int, Commit]]:
        """Yield the numbered events after a number: what a follower has not seen."""
        rows = self._db.execute(f"{_SELECT} WHERE events.n>? ORDER BY events.n", (after,))
        return ((row[6], _commit(row)) for row in rows)

    def number_of(self, event: EventId) -> int | None:
        """Return the greatest number of an event, which follows after it; None if it has none."""
        row = self._db.execute("SELECT max(n) FROM events WHERE id=?", (bytes.fromhex(event),))
        found = row.fetchone()
        return None if found is None or found[0] is None else int(found[0])

    def number_before(self, at: Hlc) -> int:
        """Return a number below those of all events that are after a stamp."""
        row = self._db.execute("SELECT min(n) FROM events WHERE at>? AND n NOT NULL", (at,))
        found = row.fetchone()[0]
        return self.last_number() if found is None else int(found) - 1

    def last_number(self) -> int:
        """Return the greatest number given."""
        return int(self._db.execute("SELECT coalesce(max(n), 0) FROM events").fetchone()[0])

    def attempts(
        self,
        wanted: Filter = EVERYTHING,
        *,
        newest_first: bool = True,
    ) -> Iterator[Attempt]:
        """Yield the events without a slot that are asked for, by their stamps."""
        where, values = _where(wanted)
        order = "DESC" if newest_first else "ASC"
        return self._attempts(f"events.seq=0 AND {where} ORDER BY events.at {order}", values)

    def counts(self) -> dict[str, int]:
        """Return how many chains, versions, committed events and attempts are here."""
        asked = {
            "chains": "SELECT count(*) FROM chains WHERE head>0",
            "versions": "SELECT count(*) FROM versions",
            "events": "SELECT count(*) FROM events WHERE seq>0",
            "attempts": "SELECT count(*) FROM events WHERE seq=0",
        }
        return {name: int(self._db.execute(sql).fetchone()[0]) for name, sql in asked.items()}

    def _commits(self, where: str, values: Sequence[Any]) -> Iterator[Commit]:
        rows = self._db.execute(f"{_SELECT} WHERE {where}", values)
        return map(_commit, rows)

    def _attempts(self, where: str, values: Sequence[Any]) -> Iterator[Attempt]:
        rows = self._db.execute(
            "SELECT events.at, raw, events.id FROM events"  # noqa: S608 - our own words
            " JOIN chains ON chains.id=events.chain"
            f" WHERE {where}",
            values,
        )
        for at, raw, event_id in rows:
            yield Attempt(Hlc(at), decode_stored_event(raw, EventId(event_id.hex())))


_SELECT = (
    "SELECT events.at, chains.name, events.seq, events.place, versions.raw, events.id, events.n"
    " FROM events JOIN chains ON chains.id=events.chain"
    " JOIN versions ON versions.chain=events.chain AND versions.seq=events.seq"
)


def _commit(row: Sequence[Any]) -> Commit:
    at, chain, seq, place, raw, event_id, _ = row
    record = decode_stored_version(raw, None).record["events"][place]
    return Commit(Hlc(at), ChainId(chain), seq, place, Event(EventId(event_id.hex()), record))


def _id_range(prefix: str) -> tuple[bytes, bytes]:
    return (
        bytes.fromhex(prefix.ljust(2 * ID_BYTES, "0")),
        bytes.fromhex(prefix.ljust(2 * ID_BYTES, "f")),
    )


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    parts: list[str] = ["1"]
    values: list[Any] = []

    def add(part: str, *given: Any) -> None:
        parts.append(part)
        values.extend(given)

    if wanted.agent is not None:
        add("events.agent=?", wanted.agent)
    if wanted.op is not None:
        add("events.op GLOB ?", wanted.op)
    if wanted.chain is not None:
        add("chains.name GLOB ?", wanted.chain)
    if wanted.since is not None:
        add("events.at>?", wanted.since)
    if wanted.until is not None:
        add("events.at<=?", wanted.until)
    if wanted.text is not None:
        raw = "coalesce(events.raw, (SELECT raw FROM versions v"
        raw += " WHERE v.chain=events.chain AND v.seq=events.seq))"
        needle = encode(wanted.text).decode()[1:-1]
        add(f"instr(lower(CAST({raw} AS TEXT)), lower(?)) > 0", needle)
    return " AND ".join(parts), values


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    """Whether the database is sound but cannot be had now: locked, full, read-only."""
    code = int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    return code in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
    )
