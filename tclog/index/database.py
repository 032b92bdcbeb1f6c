"""The database: opening and schema, damage, transactions, and the facts beside the rows.

Many processes share one index. Rows are only added, and every writer makes the same rows, so
writers need no agreement: each inserts what is missing, in one transaction a batch.

    chains     one row a chain; ``head`` is the newest version here, and all below it are here too
    versions   the bytes of every version; those of an aborted transaction behind a minus sign
    events     one row for every committed event and chain that holds it
    attempts   events that no chain here holds: lost, refused, or on their way
    open       chains that an event names but that do not hold it (yet)
    meta       the schema, the epoch (a random name of this copy), and how far sync has come

``at`` of versions and events is the moment from which they count. It is the version's own stamp, or
that of a transaction which follows it, if that is earlier: then the stamps of its chain had run
ahead. So it never decreases within a chain, and all slots of a transaction have the same.

If the folder cannot be written, the index is only in memory: each process makes its own.

``events.n`` numbers the committed events in an order that every follower on this machine sees: see
``Writing.number``.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from tclog.errors import TclogError, to_run
from tclog.event import ChainId

SCHEMA = 4
BUSY_S = 60.0
OPENS_MAX = 8
# Under this stands the newest row of versions that the derived tables know.
DERIVED = "derived"
# Under this stands the newest row of events that the first sync found.
MADE = "made"
# A release with another schema has a folder of its own: two that take turns do not undo each other.
FOLDER = f"index-{SCHEMA}"
FILE = "log.sqlite"
# Under this stands what is known of damage: chains, and what is said of each.
DAMAGE = "damage"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chains(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    head INTEGER NOT NULL, head_id BLOB);
CREATE TABLE IF NOT EXISTS versions(
    chain INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, at TEXT NOT NULL,
    stored TEXT NOT NULL, raw BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS versions_seq ON versions(chain, seq);
CREATE TABLE IF NOT EXISTS events(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, at TEXT NOT NULL, chain INTEGER NOT NULL,
    seq INTEGER NOT NULL, place INTEGER NOT NULL, agent TEXT NOT NULL, op TEXT NOT NULL,
    n INTEGER);
CREATE TABLE IF NOT EXISTS attempts(
    id BLOB NOT NULL UNIQUE, at TEXT NOT NULL, chain TEXT NOT NULL, agent TEXT NOT NULL,
    op TEXT NOT NULL, raw BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS attempts_at ON attempts(at);
CREATE TABLE IF NOT EXISTS open(
    chain TEXT NOT NULL, event BLOB NOT NULL, stored TEXT NOT NULL, partial INTEGER NOT NULL,
    PRIMARY KEY(chain, event)) WITHOUT ROWID;
"""
# What only questions need: made when the first sync is through, which takes a third of the time
# that keeping them meanwhile would.
_FOR_QUESTIONS = """
CREATE INDEX IF NOT EXISTS versions_at ON versions(chain, at);
CREATE INDEX IF NOT EXISTS versions_when ON versions(at, chain);
CREATE INDEX IF NOT EXISTS versions_id ON versions(id);
CREATE INDEX IF NOT EXISTS events_place ON events(chain, seq, place);
CREATE INDEX IF NOT EXISTS events_at ON events(at);
CREATE INDEX IF NOT EXISTS events_agent ON events(agent, op, at);
CREATE INDEX IF NOT EXISTS events_op ON events(op, at);
CREATE INDEX IF NOT EXISTS events_n ON events(n) WHERE n IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_fresh ON events(row) WHERE n IS NULL;
"""
# Sound, but cannot be had now: only these are told to the user, everything else is made anew.
_NOT_DAMAGE = {
    sqlite3.SQLITE_BUSY: "another process has held it for a minute",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it may not be read",
    sqlite3.SQLITE_AUTH: "it may not be read",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}
# If the folder cannot be written: an index in memory does the same, and takes longer.
_UNWRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}
_MOVED = sqlite3.SQLITE_READONLY | 4 << 8  # SQLITE_READONLY_DBMOVED: its file is not there any more


Noted = dict[str, str]


class IndexUnusable(TclogError):  # noqa: N818 - named for what happened, as in tclog.errors
    """The cache folder cannot hold an index."""

    code = "index-unusable"


class Outdated(sqlite3.DatabaseError):
    """The index has another schema; it is rebuilt like a damaged one."""


class Database:
    """The index of one project, opened for one thread.

    Args:
        folder: the project's cache folder; the index has a folder of its own in it.
        tell: called with the reason if the index is only in memory.

    Raises:
        IndexUnusable: it can be neither opened nor made.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder / FOLDER
        self._tell = tell
        self._in_memory = False
        # When the store was last asked for the newest version here, by a monotonic clock.
        self.looked_s = -math.inf
        self._file: tuple[int, int] | None = None
        self._db = self._open()

    # -- opening and damage -------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        met: Exception = OSError("its folder is removed again and again")
        for _ in range(OPENS_MAX):
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if not self.folder.exists():
                    continue  # somebody has thrown it away between two lines of ours
                if not _is_damage(error) or _is_unwritable(error):
                    return self._without(error)
                # Not given up at once: one that another process throws away and makes anew while
                # this one opens it shows an I/O error too, and each of many may do so.
                met = error
                self.discard()
            except FileNotFoundError as error:
                met = error  # as above, or there can be no such folder
            except OSError as error:
                return self._without(error)
        if isinstance(met, OSError):
            return self._without(met)
        raise self._unusable(met) from met

    def _without(self, error: Exception) -> sqlite3.Connection:
        """Open an index in memory if the folder cannot be written.

        Raises:
            IndexUnusable: the error says something else.
        """
        if isinstance(error, sqlite3.Error) and not _is_unwritable(error):
            raise self._unusable(error) from error
        if not self._in_memory:
            self._in_memory = True
            with contextlib.suppress(AttributeError, sqlite3.Error):
                self._db.close()
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            self._tell(_NOT_DAMAGE.get(code) or getattr(error, "strerror", None) or str(error))
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        path = Path(":memory:")
        if not self._in_memory:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.folder / FILE
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            self._file = _identity(path)
            # A cache need not survive a power cut, only be found damaged after one.
            db.executescript(
                "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
                "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
            )
            if db.execute("SELECT 1 FROM sqlite_master WHERE name='meta'").fetchone() is None:
                # All at once: who opens it meanwhile finds nothing, and does the same after us.
                db.executescript(
                    f"BEGIN IMMEDIATE; {_TABLES}"
                    f"INSERT OR IGNORE INTO meta VALUES('schema', '{SCHEMA}');"
                    f"INSERT OR IGNORE INTO meta VALUES('epoch', '{os.urandom(8).hex()}');"
                    "COMMIT;"
                )
            schema = db.execute("SELECT value FROM meta WHERE name='schema'").fetchone()
            if schema is None or schema[0] != str(SCHEMA):
                raise Outdated("it has another schema")  # noqa: TRY301 - closed below
        except BaseException:
            db.close()
            raise
        return db

    def _unusable(self, error: Exception) -> IndexUnusable:
        code = getattr(error, "sqlite_errorcode", None)
        reason = _NOT_DAMAGE.get((code or 0) & 0xFF, "") if code != _MOVED else ""
        return IndexUnusable(
            f"the local index in {self.folder} cannot be used: {reason or error}",
            hint=to_run("ls -ld", self.folder),
        )

    def discard(self) -> None:
        """Throw the index away, whole and at once, whoever else has it open.

        One that somebody else has put in its place meanwhile is left alone.
        """
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._db.close()
        if self._in_memory:
            return
        if self._file is not None and _identity(self.folder / FILE) not in (self._file, None):
            return
        # Renamed first: a journal that stayed behind would be taken for the next index's own.
        away = self.folder.with_name(f"{FOLDER}.{os.getpid()}.{os.urandom(4).hex()}.old")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def renew(self) -> None:
        """Throw the index away and begin an empty one."""
        try:
            self.discard()
        except OSError as error:
            raise self._unusable(error) from error
        self._db = self._open()

    def recover(self, error: sqlite3.DatabaseError, *, last: bool) -> None:
        """Begin anew after an error that says that the index is damaged.

        Raises:
            IndexUnusable: it is not damaged but locked, full or the like, or ``last`` is set.
        """
        if last:
            raise self._unusable(error) from error
        if not _is_damage(error) or _is_unwritable(error):
            self._db = self._without(error)
            return
        self.renew()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # -- transactions -------------------------------------------------------------------------

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

    # -- what is remembered beside the rows ---------------------------------------------------

    def meta(self, name: str) -> str | None:
        """Return what was remembered under a name."""
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Remember something."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (name, value))

    def damage(self) -> dict[ChainId, Noted]:
        """Return the chains of which the index ends before damage, with what is said of it."""
        import orjson

        noted: dict[ChainId, Noted] = orjson.loads(self.meta(DAMAGE) or "{}")
        return noted

    @property
    def epoch(self) -> str:
        """The random name of this copy: numbers of events mean something within it only."""
        return self.meta("epoch") or ""

    def gathered(self) -> bool:
        """Whether events can be found by their ids: see ``Writing.gather``."""
        return self.meta("gathered") is not None

    def finished(self) -> bool:
        """Whether what only questions need is there."""
        return self.meta("finished") is not None

    def finish(self) -> None:
        """Make what questions need to be quick, once the first sync is through."""
        if not self.finished():
            for statement in _FOR_QUESTIONS.split(";"):
                with self.writing():
                    self._db.execute(statement)
            with self.writing():
                self.set_meta("finished", "1")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_unwritable(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None) or 0
    return code == sqlite3.SQLITE_IOERR_WRITE or (code != _MOVED and code & 0xFF in _UNWRITABLE)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the index is to be made anew; the rest is told to the user.

    Python has no code for what it raises itself, so whatever is not known to be harmless is damage:
    making an index anew costs time only.
    """
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code == _MOVED or code & 0xFF not in _NOT_DAMAGE
