"""What the index derives from versions and events, for questions that no chain answers alone.

Who acted when; which steps an agent held at a moment; which steps come after a step. The last two
rest on tables that are filled here from the versions that came since they were last asked for, so
that an answer's cost does not grow with the log. Like all of the index they can be thrown away.

    step_after   a step, and a step that at some time was defined to come after it
    step_held    one row for each claim that was granted: by whom held, from when, until when
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tclog.clock import Hlc
from tclog.domain import misfit_state, steps
from tclog.event import ChainId, Version, chain_name, decode_stored_version
from tclog.event.records import decode_stored_state
from tclog.index.database import DERIVED

if TYPE_CHECKING:
    from tclog.index.index import Index

# Greater than every stamp: until this a claim is held that has not ended.
STILL = Hlc("~")
_TRIES_MAX = 100

_TABLES = """
CREATE TABLE IF NOT EXISTS step_after(
    dependency TEXT NOT NULL, step TEXT NOT NULL, PRIMARY KEY(dependency, step)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS step_held(
    chain INTEGER NOT NULL, seq INTEGER NOT NULL, agent TEXT NOT NULL, since TEXT NOT NULL,
    until TEXT NOT NULL, PRIMARY KEY(chain, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS step_held_agent ON step_held(agent, until, since);
"""


def _db(index: Index) -> sqlite3.Connection:
    return index._db  # noqa: SLF001 - this module is a part of the index, in a file of its own


# -- the derived tables ---------------------------------------------------------------------------


@contextmanager
def reading(index: Index) -> Iterator[None]:
    """Answer what is asked meanwhile from one state of the index, derived tables included."""
    for _ in range(_TRIES_MAX):
        if not _is_current(index):
            with index.writing():
                _derive(index)
        with index.reading():
            if not _is_current(index):
                continue  # another process has synced between the two lines above
            yield
            return
    msg = "other processes kept writing to the index"
    raise sqlite3.OperationalError(msg)


def _newest(index: Index) -> int:
    """Return the newest row of versions: they are only ever added."""
    (row,) = _db(index).execute("SELECT coalesce(max(rowid), 0) FROM versions").fetchone()
    return int(row)


def _is_current(index: Index) -> bool:
    mark = index.meta(DERIVED)
    return mark is not None and int(mark) == _newest(index)


def _derive(index: Index) -> None:
    """Bring the tables up to the versions that are here."""
    db = _db(index)
    for statement in _TABLES.split(";"):
        db.execute(statement)
    mark, newest = int(index.meta(DERIVED) or 0), _newest(index)
    touched = db.execute(
        "SELECT versions.chain, chains.name, min(seq) FROM versions"
        " JOIN chains ON chains.id=versions.chain"
        " WHERE versions.rowid>? AND chains.kind=? GROUP BY versions.chain",
        (mark, steps.KIND),
    ).fetchall()
    for number, chain, first in touched:
        _derive_step(db, number, chain_name(ChainId(chain)), first)
    index.set_meta(DERIVED, str(newest))


def _derive_step(db: sqlite3.Connection, number: int, step: str, first: int) -> None:
    """Go on with one step from its first new version."""
    rows = db.execute(
        "SELECT seq, at, raw FROM versions WHERE chain=? AND seq>="
        " (SELECT coalesce(max(seq), 0) FROM versions WHERE chain=? AND seq<?) ORDER BY seq",
        (number, number, first),
    )
    held: tuple[str, int] | None = None
    after: set[str] = set()
    for seq, at, raw in rows:
        state = decode_stored_state(raw)
        if misfit_state(steps.KIND, state) is not None:
            continue  # what damage says of holders is not believed
        found = steps.unpack(state, ())
        after.update(found.after)
        now = steps.claim_of(found)
        if seq >= first and now != held:
            db.execute(
                "UPDATE step_held SET until=? WHERE chain=? AND until=?", (at, number, STILL)
            )
            if now is not None:
                db.execute(
                    "INSERT OR REPLACE INTO step_held VALUES(?, ?, ?, ?, ?)",
                    (number, seq, now[0], at, STILL),
                )
        held = now
    db.executemany(
        "INSERT OR IGNORE INTO step_after VALUES(?, ?)", ((name, step) for name in after)
    )


def held_by(index: Index, agent: str, at: Hlc) -> list[ChainId]:
    """Return the steps that an agent held at a moment; within ``reading`` only."""
    rows = _db(index).execute(
        "SELECT DISTINCT name FROM step_held JOIN chains ON chains.id=step_held.chain"
        " WHERE agent=? AND until>? AND since<=?",
        (agent, at, at),
    )
    return [ChainId(name) for (name,) in rows]


def steps_after(index: Index, step: str) -> list[str]:
    """Return the steps that at some time were defined to come after one; in ``reading`` only."""
    rows = _db(index).execute("SELECT step FROM step_after WHERE dependency=?", (step,))
    return [str(name) for (name,) in rows]


# -- who acted ------------------------------------------------------------------------------------


def agents_acting(index: Index) -> list[str]:
    """Return every agent with an event, attempts included, at one look-up each."""
    rows = _db(index).execute(
        "WITH RECURSIVE found(name) AS (SELECT min(agent) FROM events UNION ALL"
        " SELECT (SELECT min(agent) FROM events WHERE agent>name) FROM found WHERE name NOT NULL)"
        " SELECT name FROM found WHERE name NOT NULL UNION SELECT agent FROM attempts"
    )
    return [str(name) for (name,) in rows]


def acts_between(index: Index, after: Hlc, through: Hlc) -> dict[str, int]:
    """Return the agents with events after one stamp and not after another, and how many."""
    rows = _db(index).execute(
        "SELECT agent, count(DISTINCT id) FROM (SELECT agent, id FROM events WHERE at>? AND at<=?"
        " UNION ALL SELECT agent, id FROM attempts WHERE at>? AND at<=?) GROUP BY agent",
        (after, through, after, through),
    )
    return {str(agent): int(count) for agent, count in rows}


# -- chains ---------------------------------------------------------------------------------------


def heads_at(index: Index, at: Hlc) -> Iterator[tuple[ChainId, Version]]:
    """Yield every chain that has a version by a moment, with the newest such version."""
    rows = _db(index).execute(
        "SELECT chains.name, raw, stored, versions.at FROM chains JOIN versions"
        " ON versions.chain=chains.id AND versions.seq=(SELECT seq FROM versions v"
        " WHERE v.chain=chains.id AND v.at<=? ORDER BY v.at DESC, v.seq DESC LIMIT 1)"
        " ORDER BY chains.name",
        (at,),
    )
    return ((ChainId(name), decode_stored_version(*row)) for name, *row in rows)


def events_between(index: Index, chain: ChainId, after: int, through: int) -> int:
    """Return how many events a chain holds in the versions after one and up to another."""
    (count,) = (
        _db(index)
        .execute(
            "SELECT count(*) FROM events WHERE chain=(SELECT id FROM chains WHERE name=?)"
            " AND seq>? AND seq<=?",
            (chain, after, through),
        )
        .fetchone()
    )
    return int(count)
