"""What sync writes: versions with their events, attempts, and the numbers that followers go by.

Invariant: of each chain the index holds the versions 1 to ``head`` and no other, each linked to the
one before it by its hash; of slots with junk that was ended it holds nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from tclog.clock import Stamp
from tclog.event import ChainId, Event, Version, chain_kind, encode
from tclog.event.summary import Summary, summarize
from tclog.index.database import DAMAGE, DERIVED, Database, Noted

_GATHER = """
CREATE INDEX IF NOT EXISTS events_id ON events(id);
DELETE FROM attempts WHERE EXISTS (SELECT 1 FROM events WHERE events.id=attempts.id);
DELETE FROM open WHERE EXISTS (
    SELECT 1 FROM events JOIN chains ON chains.id=events.chain
    WHERE events.id=open.event AND chains.name=open.chain);
UPDATE open SET partial=EXISTS (SELECT 1 FROM events WHERE events.id=open.event)
"""


class NotLinked(Exception):  # noqa: N818 - named for what was found
    """A version does not name the one before it that is here: version ``seq`` of ``chain``."""

    def __init__(self, one: Summary) -> None:
        super().__init__(f"version {one.seq} of {one.chain}")
        self.chain, self.seq = one.chain, one.seq


class _Chain(NamedTuple):
    """A chain's row: its number, and the newest version here with its id."""

    number: int
    head: int
    head_id: bytes | None


class Writing(Database):
    """The half of the index that sync writes; each method wants to be inside ``writing``."""

    # -- versions -----------------------------------------------------------------------------

    def add_versions(self, versions: Iterable[Version]) -> int:
        """Insert versions with their events: see ``add_summaries``."""
        return self.add_summaries(map(summarize, versions))

    def add_summaries(self, summaries: Iterable[Summary]) -> int:
        """Insert versions with their events; what is here already stays.

        Args:
            summaries: versions of one chain side by side, in order, the first of them known or the
                one after the newest that is known.

        Returns:
            How many were new.

        Raises:
            NotLinked: a version does not name the one before it.
        """
        db = self._db
        added: list[tuple[int, Summary]] = []
        for chain, run in groupby(summaries, key=_chain_of):
            added += self._linked(chain, run)
        if not added:
            return 0
        db.executemany(
            "INSERT INTO versions VALUES(?, ?, ?, ?, ?, ?)",
            [(number, one.seq, one.id, one.at, one.stored, one.raw) for number, one in added],
        )
        db.executemany(
            "INSERT INTO events(id, at, chain, seq, place, agent, op) VALUES(?, ?, ?, ?, ?, ?, ?)",
            [
                (event.id, one.at, number, one.seq, place, event.agent, event.op)
                for number, one in added
                for place, event in enumerate(one.events)
            ],
        )
        self._close_attempts([one for _, one in added])
        return len(added)

    def _linked(self, chain: ChainId, run: Iterable[Summary]) -> list[tuple[int, Summary]]:
        """Pick the versions of a chain that are new, check their links and move its head."""
        number, known, head_id = self._chain(chain)
        head = known
        new: list[tuple[int, Summary]] = []
        for one in run:
            if one.seq <= head:
                continue
            if one.seq != head + 1 + one.voids:
                msg = f"version {one.seq} of {chain} would leave a gap after {head}"
                raise ValueError(msg)
            if one.prev != head_id and not one.voids:
                raise NotLinked(one)
            head, head_id = one.seq, one.id
            new.append((number, one))
        if head > known:
            self._db.execute(
                "UPDATE chains SET head=?, head_id=? WHERE id=?", (head, head_id, number)
            )
        return self._in_order(number, new) if any(one.earlier for _, one in new) else new

    def _in_order(self, number: int, new: list[tuple[int, Summary]]) -> list[tuple[int, Summary]]:
        """Let no version of a chain count from later than one that follows it."""
        least = new[-1][1].at
        for place in range(len(new) - 1, -1, -1):
            one = new[place][1]
            least = min(least, one.at)
            new[place] = number, one._replace(at=least)
        changed = 0
        for table in ("versions", "events"):
            move = f"UPDATE {table} SET at=? WHERE chain=? AND at>?"  # noqa: S608 - our own words
            changed += self._db.execute(move, (least, number, least)).rowcount
        if changed:
            self.set_meta(DERIVED, "0")
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

    def _close_attempts(self, added: list[Summary]) -> None:
        """Take note that events have got their slot, and where others of their chains lack them."""
        db = self._db
        several = [(one, event) for one in added for event in one.events if len(event.chains) > 1]
        if not self.gathered():
            for one, event in several:
                self._note_open(event.chains, event.id, one.stored, partial=True)
            return
        if db.execute("SELECT 1 FROM attempts LIMIT 1").fetchone():
            ids = ((event.id,) for one in added for event in one.events)
            db.executemany("DELETE FROM attempts WHERE id=?", ids)
        if db.execute("SELECT 1 FROM open LIMIT 1").fetchone():
            held = ((one.chain, event.id) for one in added for event in one.events)
            db.executemany("DELETE FROM open WHERE chain=? AND event=?", held)
        for one, event in several:
            lacking = [chain for chain in event.chains if not self._holds(chain, event.id)]
            self._note_open(lacking, event.id, one.stored, partial=True)

    def _note_open(
        self, chains: Iterable[ChainId], event: bytes, stored: Stamp, *, partial: bool
    ) -> None:
        """Remember chains that are named by an event and do not hold it."""
        self._db.executemany(
            "INSERT OR REPLACE INTO open VALUES(?, ?, ?, ?)",
            [(chain, event, stored, partial) for chain in chains],
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

    # -- damage -------------------------------------------------------------------------------

    def note_damage(self, asked: Iterable[ChainId], found: Mapping[ChainId, Noted]) -> None:
        """Remember which chains end before damage; those that were asked and are not, are whole."""
        known = self.damage()
        noted = {chain: one for chain, one in known.items() if chain not in set(asked)}
        noted |= found
        if noted != known:
            self.set_meta(DAMAGE, encode(noted).decode())

    # -- attempts -----------------------------------------------------------------------------

    def add_attempts(self, events: Iterable[tuple[Event, bytes, Stamp]]) -> int:
        """Insert events without a slot: the event, its bytes, and the store's stamp of them.

        Returns:
            How many of them no chain holds, as far as that is known before ``gather``; of the
            others it is noted which chains lack them.
        """
        gathered = self.gathered()
        count = 0
        for event, raw, stored in events:
            event_id = bytes.fromhex(event.id)
            committed = gathered and self._is_committed(event_id)
            if not committed:
                count += 1
                self._db.execute(
                    "INSERT OR IGNORE INTO attempts VALUES(?, ?, ?, ?, ?, ?)",
                    (event_id, event.at, event.chains[0], event.agent, event.op, raw),
                )
            lacking = [c for c in event.chains if not (gathered and self._holds(c, event_id))]
            self._note_open(lacking, event_id, stored, partial=committed)
        return count

    def _is_committed(self, event: bytes) -> bool:
        find = "SELECT 1 FROM events WHERE id=? LIMIT 1"
        return self._db.execute(find, (event,)).fetchone() is not None

    def gather(self) -> None:
        """Let events be found by their ids, and work out what could not be told before.

        Until then a first sync only adds to the end of its tables: keeping the ids, which are in
        no order, sorted meanwhile would write much of the index anew with every batch. So what is
        an attempt, and which chains lack an event that others hold, is worked out once, here.
        """
        if self.gathered():
            return
        with self.writing():
            for statement in _GATHER.split(";"):
                self._db.execute(statement)
            self.set_meta("gathered", "1")

    def forget_open(self, attempts_since: Stamp, partial_since: Stamp) -> None:
        """Forget what ``open_chains`` leaves out, so that its cost does not grow with the log."""
        self._db.execute(
            "DELETE FROM open WHERE stored < iif(partial, ?, ?)", (partial_since, attempts_since)
        )

    # -- numbers ------------------------------------------------------------------------------

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
        tick = None
        if bound >= before:
            find = f"SELECT 1 {fresh} AND events.row>? AND versions.stored=? LIMIT 1"
            tick = db.execute(find, (last_row, bound)).fetchone()
        below = "<=" if tick is None and bound >= before else "<"
        # Below the bound is also what a later version of its chain shows to have been there before
        # it. CROSS JOIN: the other way round it would go through all events for each chain.
        ordered = db.execute(
            f"WITH chain(c) AS (SELECT DISTINCT chain FROM events {few} WHERE n IS NULL),"  # noqa: S608
            " tops(c, top) AS (SELECT c, (SELECT seq FROM versions WHERE chain=c"
            f" AND stored{below}? ORDER BY seq DESC LIMIT 1) FROM chain)"
            f" SELECT row FROM events {few} CROSS JOIN tops ON c=events.chain AND seq<=top"
            " WHERE n IS NULL ORDER BY at, events.chain, seq, place",
            (max(bound, before),),
        )
        rows = array("q", (row for (row,) in ordered))
        n = self.last_number()
        # In the order in which they are stored, so that each page is written once.
        db.executemany(
            "UPDATE events SET n=? WHERE row=?",
            ((n + i + 1, rows[i]) for i in sorted(range(len(rows)), key=rows.__getitem__)),
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


_chain_of = attrgetter("chain")
