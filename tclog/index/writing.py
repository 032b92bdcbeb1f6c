"""What sync writes: versions with their events, attempts, and the numbers that followers go by.

Invariant: of each chain the index holds the versions 1 to ``head`` and no other, each linked to the
one before it by its hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from tclog.clock import Stamp
from tclog.event import ChainId, Event, Version, chain_kind, stored_bytes
from tclog.index.database import Database


class NotLinked(Exception):  # noqa: N818 - named for what was found
    """A version does not name the one before it that is here; ``version`` is which."""

    def __init__(self, version: Version) -> None:
        super().__init__(f"version {version.seq} of {version.chain}")
        self.version = version


class _Chain(NamedTuple):
    """A chain's row: its number, and the newest version here with its id."""

    number: int
    head: int
    head_id: bytes | None


class Writing(Database):
    """The half of the index that sync writes; each method wants to be inside ``writing``."""

    # -- versions -----------------------------------------------------------------------------

    def add_versions(self, versions: Iterable[Version]) -> int:
        """Insert versions with their events; what is here already stays.

        Args:
            versions: those of one chain side by side, in order, the first of them known or the one
                after the newest that is known.

        Returns:
            How many were new.

        Raises:
            NotLinked: a version does not name the one before it.
        """
        db = self._db
        added: list[tuple[int, Version]] = []
        for chain, run in groupby(versions, key=_chain_of):
            added += self._linked(chain, run)
        if not added:
            return 0
        db.executemany(
            "INSERT INTO versions VALUES(?, ?, ?, ?, ?, ?)",
            (
                (number, v.seq, bytes.fromhex(v.id), v.at, v.stored or v.at[:27], stored_bytes(v))
                for number, v in added
            ),
        )
        db.executemany(
            "INSERT INTO events(id, at, chain, seq, place, agent, op) VALUES(?, ?, ?, ?, ?, ?, ?)",
            (
                (bytes.fromhex(event.id), v.at, number, v.seq, place, event.agent, event.op)
                for number, v in added
                for place, event in enumerate(v.events)
            ),
        )
        self._close_attempts([version for _, version in added])
        return len(added)

    def _linked(self, chain: ChainId, run: Iterable[Version]) -> list[tuple[int, Version]]:
        """Pick the versions of a chain that are new, check their links and move its head."""
        row = self._chain(chain)
        head, head_id = row.head, row.head_id
        new: list[tuple[int, Version]] = []
        for version in run:
            if version.seq <= head:
                continue
            if version.seq != head + 1:
                msg = f"version {version.seq} of {chain} would leave a gap after {head}"
                raise ValueError(msg)
            if version.prev != (None if head_id is None else head_id.hex()):
                raise NotLinked(version)
            head, head_id = version.seq, bytes.fromhex(version.id)
            new.append((row.number, version))
        if new:
            self._db.execute(
                "UPDATE chains SET head=?, head_id=? WHERE id=?", (head, head_id, row.number)
            )
        return new

    def _chain(self, chain: ChainId) -> _Chain:
        db = self._db
        find = "SELECT id, head, head_id FROM chains WHERE name=?"
        row = db.execute(find, (chain,)).fetchone()
        if row is not None:
            return _Chain(*row)
        made = db.execute(
            "INSERT INTO chains(name, kind, head) VALUES(?, ?, 0)", (chain, chain_kind(chain))
        )
        return _Chain(made.lastrowid or 0, 0, None)

    def _close_attempts(self, versions: list[Version]) -> None:
        """Take note that events have got their slot, and where others of their chains lack them."""
        db = self._db
        if db.execute("SELECT 1 FROM attempts LIMIT 1").fetchone():
            ids = ((bytes.fromhex(event.id),) for v in versions for event in v.events)
            db.executemany("DELETE FROM attempts WHERE id=?", ids)
        if db.execute("SELECT 1 FROM open LIMIT 1").fetchone():
            held = ((v.chain, bytes.fromhex(event.id)) for v in versions for event in v.events)
            db.executemany("DELETE FROM open WHERE chain=? AND event=?", held)
        for version in versions:
            for event in version.events:
                if len(event.chains) > 1:
                    stored = version.stored or Stamp(version.at[:27])
                    self._note_open(event, stored, partial=True)

    def _note_open(self, event: Event, stored: Stamp, *, partial: bool) -> None:
        """Remember the chains of an event that do not hold it."""
        event_id = bytes.fromhex(event.id)
        for chain in event.chains:
            if not self._holds(chain, event_id):
                self._db.execute(
                    "INSERT OR REPLACE INTO open VALUES(?, ?, ?, ?)",
                    (chain, event_id, stored, partial),
                )

    def _holds(self, chain: ChainId, event: bytes) -> bool:
        return (
            self._db.execute(
                "SELECT 1 FROM events JOIN chains ON chains.id=events.chain"
                " WHERE events.id=? AND chains.name=?",
                (event, chain),
            ).fetchone()
            is not None
        )

    # -- attempts -----------------------------------------------------------------------------

    def add_attempts(self, events: Iterable[tuple[Event, bytes, Stamp]]) -> int:
        """Insert events without a slot: the event, its bytes, and the store's stamp of them.

        Returns:
            How many of them no chain holds; of the others it is noted which chains lack them.
        """
        db = self._db
        count = 0
        for event, raw, stored in events:
            event_id = bytes.fromhex(event.id)
            find = "SELECT 1 FROM events WHERE id=? LIMIT 1"
            committed = db.execute(find, (event_id,)).fetchone() is not None
            if not committed:
                count += 1
                db.execute(
                    "INSERT OR IGNORE INTO attempts VALUES(?, ?, ?, ?, ?, ?)",
                    (event_id, event.at, event.chains[0], event.agent, event.op, raw),
                )
            self._note_open(event, stored, partial=committed)
        return count

    def forget_open(self, attempts_since: Stamp, partial_since: Stamp) -> None:
        """Forget what ``open_chains`` leaves out, so that its cost does not grow with the log."""
        self._db.execute(
            "DELETE FROM open WHERE stored < iif(partial, ?, ?)", (partial_since, attempts_since)
        )

    # -- numbers ------------------------------------------------------------------------------

    def last_row(self) -> int:
        """Return the number of the newest row of events, to be given to ``number``."""
        return int(self._db.execute("SELECT coalesce(max(row), 0) FROM events").fetchone()[0])

    def number(self, last_row: int, before: str = "") -> int:
        """Number committed events at the end of a sync, in the order in which followers get them.

        Cause comes before effect in it. An event may get its number once all that led to it is
        here: a sync finds whatever was committed before it began, so that is so for events that

        * were here when it began, or
        * were sent to the store before it began, by the store's clock: those whose slot's stamp is
          below that of one that was here then. A slot is stamped when it is written or later, and
          what led to it had its own slot by then. Where stamps are coarse, several slots of one
          tick cannot be told apart, and none of that tick gets a number while new ones show up.

        What led to an event of these two kinds is of one of them too, so whatever gets its number
        together gets it by the stamps of the hybrid logical clock. Those of one chain always get
        theirs in the chain's order.

        Args:
            last_row: what ``last_row`` returned when the sync began.
            before: a stamp of the store's clock when the sync had surely not begun yet.

        Returns:
            How many got a number.
        """
        db = self._db
        # Said by name, for SQLite would rather go through an index of all events.
        few = "INDEXED BY events_fresh" if self.finished() else ""
        fresh = (
            f"FROM events {few} CROSS JOIN versions ON versions.chain=events.chain"
            " AND versions.seq=events.seq WHERE events.n IS NULL"
        )
        (known,) = db.execute(
            f"SELECT max(versions.stored) {fresh} AND events.row<=?", (last_row,)
        ).fetchone()
        bound = known or ""
        tick = db.execute(
            f"SELECT 1 {fresh} AND events.row>? AND versions.stored=? LIMIT 1", (last_row, bound)
        ).fetchone()
        below = "<=" if tick is None and bound >= before else "<"
        rows = db.execute(
            f"WITH tops AS (SELECT events.chain AS c, max(events.seq) AS top {fresh}"  # noqa: S608
            f" AND versions.stored{below}? GROUP BY events.chain)"
            # CROSS JOIN: the other way round it would go through all events for each chain.
            f" SELECT row FROM events {few} CROSS JOIN tops ON c=events.chain AND seq<=top"
            " WHERE n IS NULL ORDER BY at, chain, seq, place",
            (max(bound, before),),
        ).fetchall()
        if rows:
            n = self.last_number()
            db.executemany(
                "UPDATE events SET n=? WHERE row=?",
                ((n + i, row) for i, (row,) in enumerate(rows, 1)),
            )
        return len(rows)

    def last_number(self) -> int:
        """Return the greatest number given."""
        find = "SELECT n FROM events WHERE n NOT NULL ORDER BY n DESC LIMIT 1"
        row = self._db.execute(find).fetchone()
        return 0 if row is None else int(row[0])

    def waiting(self) -> bool:
        """Whether committed events are here that have no number yet."""
        few = "INDEXED BY events_fresh" if self.finished() else ""
        find = f"SELECT 1 FROM events {few} WHERE n IS NULL LIMIT 1"  # noqa: S608 - our own words
        return self._db.execute(find).fetchone() is not None


def _chain_of(version: Version) -> ChainId:
    return version.chain
