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

from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, Stamp
from tclog.event import ChainId, Event, Version, chain_kind, encode
from tclog.event.summary import Summary, summarize
from tclog.index.database import DAMAGE, DERIVED, MADE, Database, Noted

_GATHER = """
CREATE INDEX IF NOT EXISTS events_id ON events(id);
DELETE FROM attempts WHERE EXISTS (SELECT 1 FROM events WHERE events.id=attempts.id);
DELETE FROM open WHERE EXISTS (
    SELECT 1 FROM events JOIN chains ON chains.id=events.chain
    WHERE events.id=open.event AND chains.name=open.chain);
UPDATE open SET partial=EXISTS (SELECT 1 FROM events WHERE events.id=open.event)
"""


# Under this stands what ``Writing.seen_row`` returns.
_SEEN = "seen"
DAY_US = 86_400 * SECOND_US


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


class _Bounds(NamedTuple):
    """Up to which stamp of a slot, itself included or not; ``odd`` if one is of the future."""

    stored: str
    inclusive: bool
    odd: bool


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
            How many are new and in no chain, as far as that is known before ``gather``; of the
            others it is noted which chains lack them.
        """
        gathered = self.gathered()
        count = 0
        for event, raw, stored in events:
            event_id = bytes.fromhex(event.id)
            committed = gathered and self._is_committed(event_id)
            if not committed:
                count += self._db.execute(
                    "INSERT OR IGNORE INTO attempts VALUES(?, ?, ?, ?, ?, ?)",
                    (event_id, event.at, event.chains[0], event.agent, event.op, raw),
                ).rowcount
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

    def seen_row(self) -> int:
        """Return the newest row of events that was here when a sync began that has ended."""
        return int(self.meta(_SEEN) or 0)

    def number(self, last_row: int, before: str = "", latest: str = "~", seen_row: int = 0) -> int:
        """Number committed events at the end of a sync, in the order in which followers get them.

        Cause comes before effect in it. An event may get its number once all that led to it is
        here: a sync finds whatever was committed before it began, so that is so for events that

        * were here when it began, or
        * were sent to the store before it began, by the store's clock: those whose slot's stamp is
          below that of one that was here then. A slot is stamped when it is written or later, and
          what led to it had its own slot by then. Where stamps are coarse, several slots of one
          tick cannot be told apart, and none of that tick gets a number while new ones show up.

        What led to an event of these two kinds is of one of them too, so whatever gets its number
        together gets it by the stamps of the hybrid logical clock (see ``_ordered``). Those of one
        chain always get theirs in the chain's order.

        A slot with a stamp later than ``latest`` shows nothing of when it was sent; see
        ``_bounds``.

        Args:
            last_row: what ``last_row`` returned when the sync began.
            before: a stamp of the store's clock when the sync had surely not begun yet.
            latest: a stamp that the store's clock had surely not passed when the sync began.
            seen_row: what ``seen_row`` returned when the sync began.

        Returns:
            How many got a number.
        """
        db = self._db
        bounds = self._bounds(last_row, before, latest)
        db.execute("CREATE TEMP TABLE IF NOT EXISTS due(c INTEGER PRIMARY KEY, top INTEGER)")
        db.execute("DELETE FROM due")
        # Below the bound is also what a later version of its chain shows to have been there before
        # it. CROSS JOIN: the other way round it would go through all events for each chain.
        below = "<=" if bounds.inclusive else "<"
        few = self._few()
        db.execute(
            "INSERT INTO due SELECT c, top FROM (SELECT c, (SELECT seq FROM versions WHERE chain=c"  # noqa: S608 - our own words
            f" AND stored{below}? ORDER BY seq DESC LIMIT 1) AS top"
            f" FROM (SELECT DISTINCT chain AS c FROM events {few} WHERE n IS NULL))"
            " WHERE top NOT NULL",
            (bounds.stored,),
        )
        cut = self._cut(last_row, latest, seen_row) if bounds.odd else ""
        rows = self._ordered(cut or "~", latest)
        n = self.last_number()
        # In the order in which they are stored, so that each page is written once.
        db.executemany(
            "UPDATE events SET n=? WHERE row=?",
            ((n + i + 1, rows[i]) for i in sorted(range(len(rows)), key=rows.__getitem__)),
        )
        self.set_meta(_SEEN, str(max(last_row, self.seen_row())))
        if self.meta(MADE) is None:
            (made,) = db.execute("SELECT coalesce(max(row), 0) FROM events").fetchone()
            self.set_meta(MADE, str(made))
        return len(rows)

    def _few(self) -> str:
        # Said by name, for SQLite would rather go through an index of all events.
        return "INDEXED BY events_fresh" if self.finished() else ""

    def _fresh(self) -> str:
        return (
            f"FROM events {self._few()} CROSS JOIN versions ON versions.chain=events.chain"
            " AND versions.seq=events.seq WHERE events.n IS NULL"
        )

    def _bounds(self, last_row: int, before: str, latest: str) -> _Bounds:
        """Return up to which stamp of a slot its events get their numbers.

        One stamp of the future must not raise the bound, or events would go before their causes
        for as long as it is ahead. So only stamps up to ``latest`` count.
        """
        db, fresh = self._db, self._fresh()
        known, newest = db.execute(
            "SELECT max(CASE WHEN events.row<=? AND versions.stored<=? THEN versions.stored END),"
            f" max(versions.stored) {fresh}",
            (last_row, latest),
        ).fetchone()
        bound, tick = known or "", None
        if bound >= before:
            find = f"SELECT 1 {fresh} AND events.row>? AND versions.stored=? LIMIT 1"
            tick = db.execute(find, (last_row, bound)).fetchone()
        inclusive = tick is None and bound >= before
        return _Bounds(max(bound, before), inclusive, newest is not None and newest > latest)

    def _cut(self, last_row: int, latest: str, seen_row: int) -> str:
        """Let events whose slots have stamps of the future get numbers; return where to stop.

        When such a slot was sent is not known. But if its event was here when an earlier sync
        began, and that sync had ended when this one began, what led to it was here then. Until
        then, nothing gets a number that comes after it by the hybrid logical clock: it may have
        led to that. Returned is the lowest stamp of those that wait, "" if none does.
        """
        db, fresh = self._db, self._fresh()
        db.execute(
            "INSERT INTO due SELECT events.chain, max(events.seq)"
            f" {fresh} AND events.row<=? AND versions.stored>? GROUP BY events.chain"
            " ON CONFLICT(c) DO UPDATE SET top=max(top, excluded.top)",
            (seen_row, latest),
        )
        (cut,) = db.execute(
            f"SELECT min(events.at) {fresh} AND (versions.stored>? OR events.row<=?)"  # noqa: S608 - our own words
            " AND events.seq>coalesce((SELECT top FROM due WHERE c=events.chain), 0)",
            (latest, last_row),
        ).fetchone()
        return cut or ""

    def _ordered(self, cut: str, latest: str) -> array[int]:
        """Return the events that get their numbers now, in order.

        That is the order of the hybrid logical clock. A stamp that is so far ahead of the one that
        the store gave the slot is not built upon by those that read it. So it says nothing of what
        came after, and the store's stamp stands in for it.
        """
        few = self._few()
        due = (
            f"FROM events {few} CROSS JOIN due ON c=events.chain AND seq<=top"
            " WHERE n IS NULL AND events.at<=?"
        )
        # A row with whose minute all is well is the rule, and comparing texts is quick.
        ahead = (
            "substr(e.at, 1, 16)>substr(v.stored, 1, 16) AND v.stored<=?"
            " AND julianday(substr(e.at, 1, 26))-julianday(substr(v.stored, 1, 26))>?"
        )
        moved = (
            f"SELECT e.row AS row, e.chain AS chain, e.seq AS seq, e.place AS place,"  # noqa: S608 - our own words
            f" CASE WHEN {ahead} THEN v.stored||'-ffff' ELSE e.at END AS at FROM"
            f" (SELECT row, events.at AS at, events.chain AS chain, seq, place {due}) AS e"
            " CROSS JOIN versions AS v ON v.chain=e.chain AND v.seq=e.seq"
        )
        values = (latest, AHEAD_TRUSTED_US / DAY_US, cut)
        odd = self._db.execute(
            f"SELECT 1 FROM (SELECT events.at AS at, events.chain AS chain, seq {due}) AS e"  # noqa: S608 - as above
            f" CROSS JOIN versions AS v ON v.chain=e.chain AND v.seq=e.seq WHERE {ahead} LIMIT 1",
            (cut, *values[:2]),
        ).fetchone()
        if odd is None:
            find = f"SELECT row {due} ORDER BY events.at, events.chain, seq, place"
            return array("q", (row for (row,) in self._db.execute(find, (cut,))))
        find = (
            "SELECT row, max(at) OVER (PARTITION BY chain ORDER BY seq, place) AS at, chain, seq,"  # noqa: S608 - as above
            f" place FROM ({moved}) ORDER BY 2, 3, 4, 5"
        )
        return array("q", (row[0] for row in self._db.execute(find, values)))

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
