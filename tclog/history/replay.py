"""Replay: the events of a run in their order, with the pauses between them and what stood then.

Reads the index in pages, so that a replay that takes hours holds no transaction open that long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heapify, heappop
from typing import Any, NamedTuple

from tclog.clock import Hlc, format_us, parse_us
from tclog.event import Event
from tclog.history.log import Row, read_log
from tclog.history.report.claims import HELD, TAKEN_OVER, Claim, read_claims
from tclog.history.report.messages import read_deliveries
from tclog.index import Filter, Index

PAGE = 500
SECOND_US = 1_000_000


class Beat(NamedTuple):
    """One event of a replay.

    ``elapsed_s`` is the time since the first event, ``pause_s`` since the one before, both as it
    was in the run.
    """

    row: Row
    elapsed_s: float
    pause_s: float

    @property
    def event(self) -> Event:
        """The event, committed or not."""
        return (self.row.commit or self.row.attempt).event  # type: ignore[union-attr]

    @property
    def at(self) -> Hlc:
        """Its stamp."""
        return self.row.at

    def as_json(self) -> dict[str, Any]:
        """The event object as ``tclog log`` prints it, with the time since the first."""
        return self.row.as_json() | {"elapsed_s": round(self.elapsed_s, 6)}


def read_beats(
    index: Index,
    *,
    since: Hlc | None = None,
    until: Hlc | None = None,
    attempts: bool = False,
    ask: Callable[[Callable[[], list[Row]]], list[Row]] = lambda read: read(),
    page: int = PAGE,
) -> Iterator[Beat]:
    """Yield the events of a range, oldest first; ``ask`` wraps each reading of the index."""
    first_us: int | None = None
    before_us = 0
    for row in _rows(index, since, until, attempts, ask, page):
        at_us = parse_us(row.at)
        first_us = at_us if first_us is None else first_us
        before_us = before_us or at_us
        yield Beat(row, (at_us - first_us) / SECOND_US, max(0, at_us - before_us) / SECOND_US)
        before_us = at_us


def _rows(
    index: Index,
    since: Hlc | None,
    until: Hlc | None,
    attempts: bool,
    ask: Callable[[Callable[[], list[Row]]], list[Row]],
    page: int,
) -> Iterator[Row]:
    while True:
        rows = ask(lambda since=since: _page(index, since, until, attempts, page))  # type: ignore[misc]
        yield from rows
        if not rows:
            return
        since = rows[-1].at


def _page(
    index: Index, since: Hlc | None, until: Hlc | None, attempts: bool, page: int
) -> list[Row]:
    """Return about ``page`` rows, and all of the last stamp: the next page begins after it."""
    found: list[Row] = []
    with index.reading():
        wanted = Filter(since=since, until=until)
        for row in read_log(index, wanted, attempts=attempts, newest_first=False):
            if len(found) >= page and row.at != found[-1].at:
                break
            found.append(row)
    return found


# -- what stood at a moment -----------------------------------------------------------------------


class _Change(NamedTuple):
    at: str
    nth: int
    step: str | None
    holder: str | None
    reader: str | None
    unread: int


def held_until(claim: Claim) -> str | None:
    """Return the stamp from which a claim holds no more, None if there is none yet.

    A claim whose lease has ended is held by nobody, also before somebody notices.
    """
    if claim.outcome not in (HELD, TAKEN_OVER) or claim.lease_end_us is None:
        return claim.end
    lapsed = max(format_us(claim.lease_end_us), claim.start)
    return lapsed if claim.end is None else min(lapsed, claim.end)


class Standing:
    """Which claims are held and how many messages are unread, as a replay goes on.

    Made from the whole log up to ``until``, so a replay that begins in the middle begins with what
    stood there.
    """

    def __init__(self, index: Index, until: Hlc | None = None) -> None:
        self.held: dict[str, str] = {}
        self.unread: Counter[str] = Counter()
        self._coming: list[_Change] = []
        self._read(index, until)
        heapify(self._coming)

    def _read(self, index: Index, until: Hlc | None) -> None:
        add = self._coming.append
        for claim in read_claims(index, until):
            add(_Change(claim.start, len(self._coming), claim.step, claim.agent, None, 0))
            end = held_until(claim)
            if end is not None:
                # The next claim of the step may begin with the same stamp; it is added later.
                add(_Change(end, len(self._coming), claim.step, None, None, 0))
        for delivery in read_deliveries(index, until):
            add(_Change(delivery.sent, len(self._coming), None, None, delivery.reader, 1))
            if delivery.acked is not None:
                add(_Change(delivery.acked, len(self._coming), None, None, delivery.reader, -1))

    def move_to(self, at: Hlc) -> None:
        """Go on to a moment, which is not before the last."""
        while self._coming and self._coming[0].at <= at:
            change = heappop(self._coming)
            if change.reader is not None:
                self.unread[change.reader] += change.unread
            elif change.step is not None and change.holder is not None:
                self.held[change.step] = change.holder
            elif change.step is not None:
                self.held.pop(change.step, None)

    def words(self) -> tuple[str, str]:
        """Return the claims and the unread messages in words."""
        held = ", ".join(f"{step} ({agent})" for step, agent in sorted(self.held.items()))
        unread = ", ".join(f"{name} {n}" for name, n in sorted(self.unread.items()) if n > 0)
        return held or "nothing", unread or "none"
