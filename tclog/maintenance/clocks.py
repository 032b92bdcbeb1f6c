"""Events whose time is far from the stamp that the store gave their object.

A client corrects its clock by the store's. One that does not names its events by the wrong hour,
and readers that list the newest hours miss them until a full sync. ``fsck`` and ``doctor`` tell of
such clocks here. An object that was copied has a stamp of the copy, which says nothing of a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tclog.chain.drive import Protocol, settled
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, Hlc, Stamp, format_us, parse_us
from tclog.errors import TclogError
from tclog.event import MARK, decode_event, event_key_parts
from tclog.event.names import EVENTS, hour_folder
from tclog.store.base import Entry, Found, Get, List, Stat

CODE = "clock-off"
HOURS_LOOKED_AT = 24
_HOUR_US = 3600 * SECOND_US
_HOUR_ROWS = 1000
_AHEAD_ROWS = 1000
_READ_MAX = 20


class OffClock(NamedTuple):
    """The events of one agent that a wrong clock has named: how many, the worst, and its key."""

    agent: str
    events: int
    off_s: int
    key: str

    def sentence(self) -> str:
        """Say whose clock it is and what follows."""
        direction = "behind" if self.off_s < 0 else "ahead of"
        return (
            f"{self.agent!a} has {self.events} event(s) with a time up to {abs(self.off_s)} s"
            f" {direction} the store's stamp: its clock is wrong, or the objects were copied here;"
            " readers may miss them until tclog sync --full"
        )


class Clocks:
    """Tallies events by agent.

    ``mark_stored`` is the stamp of the project's mark. ``init`` writes the mark first; a copy
    writes it last. So only what is newer than the mark was written by its own client.
    """

    def __init__(self, mark_stored: Stamp | None) -> None:
        self._mark_stored = mark_stored
        self._found: dict[str, OffClock] = {}

    def is_off(self, at: Hlc, stored: Stamp | None) -> bool:
        """Whether an event's time is further from its object's stamp than a sound clock's is."""
        if stored is None or self._mark_stored is None or stored <= self._mark_stored:
            return False
        return abs(parse_us(at) - parse_us(stored)) > AHEAD_TRUSTED_US

    def see(self, agent: str, at: Hlc, stored: Stamp | None, key: str) -> None:
        """Count an event if its clock was wrong."""
        if stored is None or not self.is_off(at, stored):
            return
        off_s = round((parse_us(at) - parse_us(stored)) / SECOND_US)
        known = self._found.get(agent, OffClock(agent, 0, 0, key))
        worst = abs(off_s) > abs(known.off_s)
        self._found[agent] = OffClock(
            agent,
            known.events + 1,
            off_s if worst else known.off_s,
            key if worst else known.key,
        )

    def found(self) -> list[OffClock]:
        """Return the agents whose clocks were wrong."""
        return [self._found[agent] for agent in sorted(self._found)]


def read_clocks(now_us: int) -> Protocol[list[OffClock]]:
    """Look at the events of the last day, attempts too, and return whose clocks were wrong.

    It reads the names of the events and, of those that are off, a few objects. Of an hour with very
    many events it looks at the first ones.
    """
    mark = yield Stat(MARK)
    clocks = Clocks(None if mark is None else mark.stored)
    first_us = now_us - HOURS_LOOKED_AT * _HOUR_US
    hours = [_hour(first_us + nth * _HOUR_US) for nth in range(HOURS_LOOKED_AT + 2)]
    asked = [List(hour_folder(hour), "", _HOUR_ROWS) for hour in hours]
    asked.append(List(EVENTS, f"{hour_folder(hours[-1])}~", _AHEAD_ROWS))
    pages: Sequence[Sequence[Entry]] = settled((yield tuple(asked)))
    off = [row for page in pages for row in page if _is_off(clocks, row)][-_READ_MAX:]
    for row, found in zip(off, settled((yield tuple(Get(row.key) for row in off))), strict=True):
        _see(clocks, row, found)
    return clocks.found()


def _hour(us: int) -> str:
    return format_us(us)[:13]


def _is_off(clocks: Clocks, row: Entry) -> bool:
    try:
        parts = event_key_parts(row.key)
        return parts is not None and clocks.is_off(parts[0], row.stored)
    except (TclogError, ValueError):
        return False  # no name of an event; that is a matter for fsck


def _see(clocks: Clocks, row: Entry, found: Found | None) -> None:
    try:
        event = None if found is None else decode_event(found.data)
    except TclogError:
        return
    if event is not None:
        clocks.see(event.agent, event.at, row.stored, row.key)
