"""What a report tells of all events of its range: gathered in one pass, which keeps none of them.

So what a report takes does not grow with each event, but with the agents, steps and names that
there are; the events that are shown are chosen from the survey and read by themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from tclog.clock import Hlc
from tclog.domain import MODULES, kind_of, op_of
from tclog.event import ChainId, Event, chain_kind
from tclog.history.log import Row


class Tally:
    """What happened to one step, key or artifact."""

    __slots__ = ("commits", "events", "lost", "writers")

    def __init__(self) -> None:
        self.events = 0
        self.commits = 0
        self.lost = 0
        self.writers: Counter[str] = Counter()


class Survey:
    """The sums over all events of a range, attempts included."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.first: Hlc | None = None
        self.last: Hlc | None = None
        self.attempts = self.lost_races = self.messages = 0
        # Whether somebody tried to send, be it in vain.
        self.sent = False
        # By their first event, each with what it did and its newest session.
        self.people: dict[str, dict[str, Any]] = {}
        self._chains: dict[ChainId, Tally] = defaultdict(Tally)
        # A byte for each event: whether it is one of many of its kind.
        self.common = bytearray()
        for row in rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        at, event, lost = stamp_of(row), event_of(row), is_lost_race(row)
        committed = row.commit is not None
        self.first = self.first or at
        self.last = at
        self.attempts += not committed
        self.lost_races += lost
        self.messages += committed and event.op == "message.send"
        self.sent = self.sent or event.op == "message.send"
        known = op_of(event.op)
        self.common.append(committed and known is not None and known.common)
        record = event.record
        mine = self.people.setdefault(record["agent"], {"events": 0, "lost": 0})
        mine["events"] += committed
        mine["lost"] += lost
        mine |= {name: record[name] for name in ("session", "host", "client")}
        chain = row.commit.chain if row.commit is not None else (*event.chains, "")[0]
        kind = chain_kind(ChainId(chain))
        if kind in MODULES and kind_of(kind).tallied:
            self._tally(self._chains[ChainId(chain)], record["agent"], committed, lost)

    @staticmethod
    def _tally(tally: Tally, agent: str, committed: bool, lost: bool) -> None:
        tally.events += 1
        tally.commits += committed
        tally.lost += lost
        if committed:
            tally.writers[agent] += 1

    @property
    def events(self) -> int:
        """How many events were committed."""
        return len(self.common) - self.attempts

    def tallies(self, kind: str) -> dict[ChainId, Tally]:
        """Return the chains of a kind that the range has events of, in their order."""
        found = (chain for chain in self._chains if chain_kind(chain) == kind)
        return {chain: self._chains[chain] for chain in sorted(found)}


def stamp_of(row: Row) -> Hlc:
    """Return the stamp by which an event stands in the log."""
    return (row.commit or row.attempt).at  # type: ignore[union-attr]


def event_of(row: Row) -> Event:
    """Return the event."""
    return (row.commit or row.attempt).event  # type: ignore[union-attr]


def is_lost_race(row: Row) -> bool:
    """Whether an attempt lost to somebody else.

    An agent also leaves an attempt behind when it makes its own event anew, as with a claim that
    found the step not as empty as it had taken it for.
    """
    return (
        row.attempt is not None
        and row.lost_to is not None
        and row.lost_to.event.agent != row.attempt.event.agent
    )
