"""What sync and history ask of the index. Costs grow with the answer, not with the log.

Rows in the order of time come from an index that is in that order already. Where a filter picks
some ops, agents or chains, each of them has such an index of its own, and their rows are merged, so
that twenty rows cost twenty rows whatever is left out (text excepted: it is looked for in each).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any

import orjson

from tclog.clock import Hlc, Stamp
from tclog.event import ChainId, Event, EventId, Version, encode
from tclog.event.names import NAME_BYTES_MAX
from tclog.event.records import decode_stored_event, decode_stored_version, slot_bytes
from tclog.index.database import MADE, Database
from tclog.index.rows import Attempt, Commit, Filter

ID_BYTES = 32
# Under this stands the newest row of events when they were counted, and how many there were.
COUNTED = "counted"
EVERYTHING = Filter()
# More streams than this are not merged: then the rows of all are read in order, and most are kept.
STREAMS_MAX = 64
IDS_AT_ONCE = 400
# Greater than every name, which has at most so many characters of 4 bytes.
_LAST = "\U0010ffff" * (NAME_BYTES_MAX // 4 + 1)

# CROSS JOIN keeps SQLite from beginning at another table than the one whose order is wanted.
_ROWS = (
    "SELECT events.at, chains.name, events.seq, events.place, versions.raw, events.id, events.n"
    " FROM events CROSS JOIN chains ON chains.id=events.chain"
    " CROSS JOIN versions ON versions.chain=events.chain AND versions.seq=events.seq"
)
# A chain by its exact name, or by a pattern: see ``_as_chain``.
_IS_CHAIN = "(chains.name=? OR chains.name GLOB ?)"
_VERSIONS = "SELECT versions.raw, versions.stored, versions.at FROM versions"
_Stream = tuple[str, tuple[Any, ...]]


class Asking(Database):
    """The half of the index that answers."""

    # -- what sync asks -----------------------------------------------------------------------

    def head(self, chain: ChainId) -> int:
        """Return the newest version of a chain here, 0 if none."""
        row = self._db.execute("SELECT head FROM chains WHERE name=?", (chain,)).fetchone()
        return 0 if row is None else int(row[0])

    def head_id(self, chain: ChainId) -> str | None:
        """Return the id of the newest version of a chain here."""
        row = self._db.execute("SELECT head_id FROM chains WHERE name=?", (chain,)).fetchone()
        return None if row is None or row[0] is None else str(row[0].hex())

    def unknown_events(self, ids: Sequence[EventId]) -> list[EventId]:
        """Return those of some events that are here neither as committed nor as attempts."""
        known: set[str] = set()
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = [bytes.fromhex(i) for i in ids[start : start + IDS_AT_ONCE]]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(
                f"SELECT id FROM events WHERE id IN ({marks})"  # noqa: S608 - question marks
                f" UNION ALL SELECT id FROM attempts WHERE id IN ({marks})",
                part + part,
            )
            known.update(row[0].hex() for row in rows)
        return [i for i in ids if i not in known]

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

    def heads_of(self, kind: str) -> list[Version]:
        """Return the newest version of every chain of a kind, in byte order of their names."""
        rows = self._db.execute(
            "SELECT versions.raw, versions.stored, versions.at FROM chains CROSS JOIN versions"
            " ON versions.chain=chains.id AND versions.seq=chains.head"
            # Among the names, which are sorted, those with the kind and a slash stand together.
            " WHERE chains.name>=? AND chains.name<? AND chains.kind=? ORDER BY chains.name",
            (f"{kind}/", f"{kind}0", kind),
        )
        return [decode_stored_version(*row) for row in rows]

    def last_row(self) -> int:
        """Return the number of the newest row of events, to be given to ``number``."""
        return int(self._db.execute("SELECT coalesce(max(row), 0) FROM events").fetchone()[0])

    # -- what the store is compared with ------------------------------------------------------

    def kept(self, chain: ChainId, seq: int) -> tuple[ChainId, int, bytes, Stamp] | None:
        """Return chain, number, bytes and stamp of a version here."""
        return self._kept("chains.name=? AND versions.seq=?", chain, seq)

    def newest(self, until: Hlc) -> tuple[ChainId, int, bytes, Stamp] | None:
        """Return the same of the newest version of all that is not after a stamp."""
        return self._kept("versions.at<=? ORDER BY versions.at DESC LIMIT 1", until)

    def _kept(self, where: str, *values: Any) -> tuple[ChainId, int, bytes, Stamp] | None:
        row = self._db.execute(
            "SELECT chains.name, versions.seq, versions.raw, versions.stored FROM versions"  # noqa: S608 - our own words
            f" JOIN chains ON chains.id=versions.chain WHERE {where}",
            values,
        ).fetchone()
        if row is None:
            return None
        return ChainId(row[0]), int(row[1]), slot_bytes(row[2]), Stamp(row[3])

    # -- chains and versions ------------------------------------------------------------------

    def chains(self, kind: str | None = None, prefix: str = "") -> list[ChainId]:
        """Return the chains with a version, of one kind or all, in byte order."""
        # A range of the unique index.
        start = prefix if kind is None else f"{kind}/{prefix}"
        rows = self._db.execute(
            "SELECT name FROM chains WHERE name>=? AND name<? AND head>0 ORDER BY name",
            (start, start + _LAST),
        )
        return [ChainId(name) for (name,) in rows]

    def version(self, chain: ChainId, seq: int) -> Version | None:
        """Return a version."""
        return self._version("chain=? AND seq=?", chain, seq)

    def version_up_to(self, chain: ChainId, seq: int) -> Version | None:
        """Return the newest version up to a number: slots with junk that was ended have none."""
        return self._version("chain=? AND seq<=? ORDER BY seq DESC LIMIT 1", chain, seq)

    def version_after(self, chain: ChainId, seq: int) -> Version | None:
        """Return the first version above a number."""
        return self._version("chain=? AND seq>? ORDER BY seq LIMIT 1", chain, seq)

    def version_at(self, chain: ChainId, at: Hlc) -> Version | None:
        """Return the newest version of a chain that is not after a stamp."""
        return self._version("chain=? AND at<=? ORDER BY at DESC, seq DESC LIMIT 1", chain, at)

    def _version(self, where: str, chain: ChainId, value: Any) -> Version | None:
        number = self._number_of_chain(chain)
        row = self._db.execute(f"{_VERSIONS} WHERE {where}", (number, value)).fetchone()
        return None if row is None else decode_stored_version(*row)

    def _number_of_chain(self, chain: ChainId) -> int:
        row = self._db.execute("SELECT id FROM chains WHERE name=?", (chain,)).fetchone()
        return 0 if row is None else int(row[0])

    def versions(
        self, chain: ChainId, first: int = 1, last: int | None = None
    ) -> Iterator[Version]:
        """Yield the versions of a chain, oldest first."""
        rows = self._db.execute(
            f"{_VERSIONS} WHERE chain=? AND seq>=? AND seq<=? ORDER BY seq",
            (self._number_of_chain(chain), first, 2**62 if last is None else last),
        )
        return (decode_stored_version(*row) for row in rows)

    def chains_changed(self, after: Hlc, through: Hlc) -> list[ChainId]:
        """Return the chains that have a version after one stamp and not after another."""
        rows = self._db.execute(
            "SELECT name FROM chains JOIN"
            " (SELECT DISTINCT chain FROM versions WHERE at>? AND at<=?) ON chain=id ORDER BY name",
            (after, through),
        )
        return [ChainId(name) for (name,) in rows]

    # -- ids ----------------------------------------------------------------------------------

    def find_version(self, prefix: str) -> list[Version]:
        """Return at most two versions whose id begins so (hex digits)."""
        rows = self._db.execute(
            f"{_VERSIONS} WHERE id>=? AND id<=? LIMIT 2",
            _id_range(prefix),
        )
        return [decode_stored_version(*row) for row in rows]

    def find_event(self, prefix: str) -> list[EventId]:
        """Return at most two ids of events, attempts included, that begin so (hex digits)."""
        between = "SELECT DISTINCT id FROM {} WHERE id>=? AND id<=? LIMIT 2"
        found = {
            row[0].hex()
            for table in ("events", "attempts")
            for row in self._db.execute(between.format(table), _id_range(prefix))
        }
        return [EventId(i) for i in sorted(found)[:2]]

    def shared_prefixes(self, prefixes: Sequence[str]) -> set[str]:
        """Return those beginnings of ids (hex digits) that several ids have."""
        shared: set[str] = set()
        for start in range(0, len(prefixes), IDS_AT_ONCE):
            part = prefixes[start : start + IDS_AT_ONCE]
            ranges = [(i, *_id_range(prefix)) for i, prefix in enumerate(part)]
            marks = ",".join(["(?,?,?)"] * len(part))
            rows = self._db.execute(
                f"WITH asked(i, low, high) AS (VALUES {marks}) SELECT i FROM asked WHERE 1 < ("  # noqa: S608 - question marks
                "SELECT count(*) FROM (SELECT id FROM events WHERE id>=low AND id<=high"
                " UNION SELECT id FROM attempts WHERE id>=low AND id<=high"
                " UNION SELECT id FROM versions WHERE id>=low AND id<=high LIMIT 2))",
                [value for one in ranges for value in one],
            )
            shared.update(part[i] for (i,) in rows)
        return shared

    def places(self, event: EventId) -> list[Commit]:
        """Return where an event was committed, oldest first; several for several inboxes."""
        rows = self._db.execute(
            f"{_ROWS} WHERE events.id=? ORDER BY events.at, chains.name, events.seq",
            (bytes.fromhex(event),),
        )
        return [_commit(row) for row in rows]

    def first_place(self, event: EventId, chain: str | None) -> tuple[str, str, int, int] | None:
        """Return stamp, chain, version and place of the first of an event's ``places``.

        Only chains count that the shell pattern ``chain`` stands for. No event is decoded: one that
        went to many inboxes names all of them in each.
        """
        row = self._db.execute(
            "SELECT events.at, chains.name, events.seq, events.place FROM events"  # noqa: S608 - as above
            " CROSS JOIN chains ON chains.id=events.chain"
            f" WHERE events.id=? AND {_IS_CHAIN}"
            " ORDER BY events.at, chains.name, events.seq LIMIT 1",
            (bytes.fromhex(event), *_as_chain(chain or "*")),
        ).fetchone()
        return None if row is None else tuple(row)

    def attempt(self, event: EventId) -> Attempt | None:
        """Return an event that has no slot."""
        row = self._db.execute(
            "SELECT at, raw FROM attempts WHERE id=?", (bytes.fromhex(event),)
        ).fetchone()
        return None if row is None else Attempt(Hlc(row[0]), decode_stored_event(row[1], event))

    # -- the log ------------------------------------------------------------------------------

    def commits(
        self,
        wanted: Filter = EVERYTHING,
        *,
        newest_first: bool = True,
    ) -> Iterator[Commit]:
        """Yield the committed events asked for, by their stamps."""
        order = "DESC" if newest_first else "ASC"
        streams = [self._db.execute(*stream) for stream in self._streams(wanted, order)]
        if len(streams) == 1:
            return map(_commit, streams[0])
        return map(_commit, merge(*streams, key=_row_order, reverse=newest_first))

    def _streams(self, wanted: Filter, order: str) -> list[_Stream]:
        """Return the queries whose rows, merged, are the commits asked for."""
        where, values = _where(wanted)
        by_time = (
            f"ORDER BY events.at {order}, chains.name {order}, events.seq {order},"
            f" events.place {order}"
        )
        if wanted.chain is not None:
            chains = self._chains_like(wanted.chain)
            if len(chains) <= STREAMS_MAX:
                by_seq = f"ORDER BY events.seq {order}, events.place {order}"
                within = "events.chain=? AND events.seq>? AND events.seq<=?"
                return [
                    (
                        f"{_ROWS} WHERE {within} AND {where} {by_seq}",
                        (number, *self._seqs(number, wanted), *values),
                    )
                    for number in chains
                ]
        if wanted.op is not None or wanted.agent is not None:
            ops = self._ops_like(wanted.agent, wanted.op)
            if len(ops) <= STREAMS_MAX:
                # `where` names the agent again: SQLite takes the index of both.
                return [
                    (f"{_ROWS} WHERE events.op=? AND {where} {by_time}", (op, *values))
                    for op in ops
                ]
        return [(f"{_ROWS} WHERE {where} {by_time}", values)]

    def _chains_like(self, pattern: str) -> list[int]:
        """Return the numbers of the chains that a pattern stands for, at most one too many."""
        prefix = _literal(pattern)
        rows = self._db.execute(
            f"SELECT id FROM chains WHERE name>=? AND name<? AND {_IS_CHAIN} LIMIT ?",  # noqa: S608 - our own words
            (prefix, prefix + _LAST, *_as_chain(pattern), STREAMS_MAX + 1),
        )
        return [number for (number,) in rows]

    def _seqs(self, chain: int, wanted: Filter) -> tuple[int, int]:
        """Return the versions of a chain after and up to the bounds in time."""
        find = "SELECT seq FROM versions WHERE chain=? AND at<=? ORDER BY at DESC, seq DESC LIMIT 1"

        def up_to(at: Hlc) -> int:
            row = self._db.execute(find, (chain, at)).fetchone()
            return 0 if row is None else int(row[0])

        return (
            0 if wanted.since is None else up_to(wanted.since),
            2**62 if wanted.until is None else up_to(wanted.until),
        )

    def _ops_like(self, agent: str | None, pattern: str | None) -> list[str]:
        """Return the ops (of an agent) that a pattern stands for, by stepping from one to next."""
        step = "SELECT min(op) FROM events WHERE op>?"
        more: tuple[str, ...] = ()
        if agent is not None:
            step, more = f"{step} AND agent=?", (agent,)
        found: list[str] = []
        op = ""
        for _ in range(10 * STREAMS_MAX):
            op = self._db.execute(step, (op, *more)).fetchone()[0]
            if op is None:
                break
            found.append(op)
        if pattern is None:
            return found
        like = "SELECT ? GLOB ?"
        return [op for op in found if self._db.execute(like, (op, _glob(pattern))).fetchone()[0]]

    def attempts(
        self,
        wanted: Filter = EVERYTHING,
        *,
        newest_first: bool = True,
    ) -> Iterator[Attempt]:
        """Yield the events without a slot that are asked for, by their stamps."""
        where, values = _where(wanted, "attempts", "attempts.chain", "attempts.raw")
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(
            f"SELECT at, raw, id FROM attempts WHERE {where} ORDER BY at {order}, id {order}",  # noqa: S608 - our own words
            values,
        )
        for at, raw, event_id in rows:
            yield Attempt(Hlc(at), decode_stored_event(raw, EventId(event_id.hex())))

    def counts(self) -> dict[str, int]:
        """Return how many chains, versions, committed events and attempts are here."""
        find = "SELECT count(*), coalesce(sum(head), 0) FROM chains WHERE head>0"
        chains, versions = self._db.execute(find).fetchone()
        (attempts,) = self._db.execute("SELECT count(*) FROM attempts").fetchone()
        return {
            "chains": int(chains),
            "versions": int(versions),
            "events": self.count_events()[1],
            "attempts": int(attempts),
        }

    def count_events(self) -> tuple[int, int]:
        """Return the newest row of events, and how many events there are, each counted once.

        What sync counted when it ended is remembered, so only what came since is counted.
        """
        row, count = map(int, (self.meta(COUNTED) or "0 0").split())
        newest = self.last_row()
        if row == 0:
            new = self._db.execute("SELECT count(DISTINCT id) FROM events")
        else:
            # One that several chains hold has several rows.
            new = self._db.execute(
                "SELECT count(DISTINCT id) FROM events AS new WHERE row>? AND NOT EXISTS"
                " (SELECT 1 FROM events WHERE id=new.id AND row<=?)",
                (row, row),
            )
        return newest, count + int(new.fetchone()[0])

    # -- the order of followers ---------------------------------------------------------------

    def followed(
        self, after: int, wanted: Filter = EVERYTHING, through: int = 2**62
    ) -> Iterator[tuple[int, Commit]]:
        """Yield the numbered events after a number that are asked for, by their numbers.

        An event that several chains hold is yielded for each that is asked for.
        """
        where, values = _where(wanted)
        rows = self._db.execute(
            f"{_ROWS} WHERE events.n>? AND events.n<=? AND {where} ORDER BY events.n",
            (after, through, *values),
        )
        return ((row[6], _commit(row)) for row in rows)

    def number_of(self, event: EventId, wanted: Filter = EVERYTHING) -> int | None:
        """Return the number under which a follower gets an event first; None if it has none.

        A follower with a filter gets it where the first of the chains that it asks for holds it.
        """
        where, values = _where(wanted)
        row = self._db.execute(
            f"SELECT min(n) FROM ({_ROWS} WHERE events.id=? AND {where})",  # noqa: S608 - our own words
            (bytes.fromhex(event), *values),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def overtaken(self, n: int, wanted: Filter, since: Hlc) -> list[int]:
        """Return numbers below one whose events may have come to an earlier index after its event.

        A rebuilt index gives numbers by the stamps of the log, so an event whose slot
        was late comes before those that it came after. Of the events that the first sync found, it
        is not known in which order earlier followers got them: the stamps of the slots tell. What
        was found since has its number in the order in which it came.

        Args:
            n: the number of the event.
            wanted: which events.
            since: how far back, by the stamps of the log.
        """
        row = self._db.execute(
            "SELECT versions.stored FROM events JOIN versions ON versions.chain=events.chain"
            " AND versions.seq=events.seq WHERE events.n=? AND events.row<=?",
            (n, int(self.meta(MADE) or 0)),
        ).fetchone()
        if row is None:
            return []
        where, values = _where(wanted)
        rows = self._db.execute(
            f"SELECT n FROM ({_ROWS} WHERE events.n<? AND events.at>? AND versions.stored>?"  # noqa: S608 - our own words
            f" AND {where}) ORDER BY n",
            (n, since, row[0], *values),
        )
        return [number for (number,) in rows]

    def unnumbered(self, limit: int) -> list[EventId]:
        """Return the newest events that have no number yet, at most ``limit``."""
        find = "SELECT id FROM events WHERE n IS NULL ORDER BY row DESC LIMIT ?"
        return [EventId(row[0].hex()) for row in self._db.execute(find, (limit,))]

    def stamp_of(self, n: int) -> Stamp | None:
        """Return a time by which the event with a number was committed, by clock and store."""
        row = self._db.execute(
            "SELECT min(substr(events.at, 1, 27), versions.stored) FROM events JOIN versions"
            " ON versions.chain=events.chain AND versions.seq=events.seq WHERE events.n=?",
            (n,),
        ).fetchone()
        return None if row is None else Stamp(row[0])

    def number_before(self, at: Hlc) -> int:
        """Return a number below those of all numbered events that are after a stamp."""
        row = self._db.execute(
            "SELECT coalesce("
            " (SELECT min(n) - 1 FROM events WHERE +n NOT NULL AND at>?),"
            " (SELECT n FROM events WHERE n NOT NULL ORDER BY n DESC LIMIT 1), 0)",
            (at,),
        ).fetchone()
        return int(row[0])


def _row_order(row: Sequence[Any]) -> tuple[str, bytes, int, int]:
    # SQLite compares texts by their bytes.
    return row[0], row[1].encode(), row[2], row[3]


def _commit(row: Sequence[Any]) -> Commit:
    at, chain, seq, place, raw, event_id, _ = row
    record = orjson.loads(raw)["events"][place]
    return Commit(Hlc(at), ChainId(chain), seq, place, Event(EventId(event_id.hex()), record))


def _id_range(prefix: str) -> tuple[bytes, bytes]:
    return (
        bytes.fromhex(prefix.ljust(2 * ID_BYTES, "0")),
        bytes.fromhex(prefix.ljust(2 * ID_BYTES, "f")),
    )


def _glob(pattern: str) -> str:
    """Write a shell pattern as SQLite reads it."""
    return pattern.replace("[!", "[^")


def _as_chain(pattern: str) -> tuple[str, str]:
    """Return what ``_IS_CHAIN`` asks for: a name such as ``memory/a[1]`` stands for itself too."""
    return pattern, _glob(pattern)


def _literal(pattern: str) -> str:
    """Return the text that everything begins with that a shell pattern stands for."""
    ends = [at for mark in "*?[" if (at := pattern.find(mark)) >= 0]
    return pattern[: min(ends)] if ends else pattern


def _where(
    wanted: Filter, table: str = "events", chain: str = "chains.name", raw: str = "versions.raw"
) -> tuple[str, tuple[Any, ...]]:
    parts: list[str] = ["1"]
    values: list[Any] = []

    def add(part: str, *given: Any) -> None:
        parts.append(part)
        values.extend(given)

    if wanted.agent is not None:
        add(f"{table}.agent=?", wanted.agent)
    if wanted.op is not None:
        # The plus sign keeps the pattern from choosing the index: its rows are in no order of time.
        add(f"+{table}.op GLOB ?", _glob(wanted.op))
    if wanted.chain is not None:
        add(f"({chain}=? OR {chain} GLOB ?)", *_as_chain(wanted.chain))
    if wanted.since is not None:
        add(f"{table}.at>?", wanted.since)
    if wanted.until is not None:
        add(f"{table}.at<=?", wanted.until)
    if wanted.text is not None:
        needle = encode(wanted.text).decode()[1:-1]
        add(f"instr(lower(CAST({raw} AS TEXT)), lower(?)) > 0", needle)
    return " AND ".join(parts), tuple(values)
