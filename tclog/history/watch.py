"""Following the log: every committed event once, in one order, from any point, without gaps.

A follower goes by the numbers that the index gives to events (``Index.number``), so where it stands
is a number and the epoch of the index that gave it: a ``Cursor``. In another epoch, that of a
rebuilt index, the numbers are others. Then it goes back by the bound within which a write may
still settle: events may come twice, but none is left out.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from tclog.clock import Hlc, Stamp, format_us, last_of, parse_us, rfc3339
from tclog.errors import StoreUnreachable, TclogError, UsageError, WaitTimeout
from tclog.event import Event, EventId, Version, decode, encode
from tclog.history.history import History
from tclog.history.log import Row
from tclog.history.moments import find_id
from tclog.index import Commit, Filter
from tclog.moment import Moment
from tclog.sync.chains import UNDECIDED_US

AT_ONCE = 500
# Events that were here when a follower begins get their numbers within so many syncs.
FIRST_SYNCS_MAX = 4
IDLE_PAUSE_MAX_S = 5.0
NUMBER_PAUSE_S = 0.2
RECENT_MAX = 20_000


class Cursor(NamedTuple):
    """Where a follower stands: behind the event with number ``n`` of an epoch, of time ``at``."""

    epoch: str
    n: int
    at: str

    def write(self) -> bytes:
        """Return what a cursor file holds."""
        return encode({"at": self.at, "epoch": self.epoch, "n": self.n, "type": "cursor"}) + b"\n"


def read_cursor(raw: bytes, what: str) -> Cursor | None:
    """Read a cursor file; None if it is empty, as a fresh temporary file is.

    Raises:
        UsageError: it is no such file.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8).strip()
    if not raw:
        return None
    try:
        record = decode(raw, what)
        cursor = Cursor(str(record["epoch"]), int(record["n"]), str(record["at"]))
        parse_us(cursor.at)
    except (TclogError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"{what} is not a cursor of tclog watch",
            code="bad-cursor",
            hint="tclog watch --help",
        ) from None
    return cursor


class Follower:
    """Yields committed events as they come; ``cursor`` says how far it has got.

    Args:
        history: of the project.
        wanted: which events; an event that several chains hold comes where the first of those that
            are asked for has it.
        say: told what the user should know beside the events.
    """

    def __init__(self, history: History, wanted: Filter, say: Callable[[str], None]) -> None:
        self.history = history
        self.wanted = wanted
        self._say = say
        # None while the event to begin behind has no number.
        self.cursor: Cursor | None = None
        self._behind: EventId | None = None
        # What has come lately, so that an index that is rebuilt meanwhile repeats nothing.
        self._recent: dict[EventId, None] = {}
        # Up to this number only the events with these numbers are wanted.
        self._passed = 0
        self._late: frozenset[int] = frozenset()

    # -- where to begin -----------------------------------------------------------------------

    def begin_now(self) -> None:
        """Begin with what is committed from now on."""
        for _ in range(FIRST_SYNCS_MAX):
            self.history.sync()
            if not self.history.asked(self.history.index.waiting):
                break
        # Events that still wait for their numbers were committed before, too.
        for event in self.history.asked(lambda: self.history.index.unnumbered(RECENT_MAX)):
            self._remember(event)
        self._stand_at(self.history.asked(self.history.index.last_number))

    def begin_at(self, moment: Moment) -> None:
        """Begin after an event, or with what came after a moment.

        Raises:
            NotFound: there is no such event, version or tag.
        """
        self.history.sync()
        self._behind = self.history.asked(lambda: self._committed(moment))
        if self._behind is None:
            self._stand_before(self.history.resolve(moment))
        else:
            self._find_place()

    def _find_place(self) -> None:
        """Move behind the start event, if it has its number by now.

        A young event may wait for its number through several syncs. Its stamp is no substitute: the
        event itself would come, and events with an earlier stamp and a later number.
        """
        event = self._behind
        if event is None:
            return
        number = self.history.asked(lambda: self._number_of(event))
        if number is not None:
            self._behind = None
            self._stand_behind(number)

    def _stand_behind(self, n: int) -> None:
        """Stand behind an event, but before what may have come after it to an earlier follower."""
        index = self.history.index
        since = last_of(max(parse_us(index.stamp_of(n) or format_us(0)) - UNDECIDED_US, 0))
        late = self.history.asked(lambda: index.overtaken(n, self.wanted, since))
        if not late:
            self._stand_at(n)
            return
        self._stand_at(late[0] - 1)
        self._passed, self._late = n, frozenset(late)
        self._say(
            f"the local index was made after this event: {len(late)} event(s) that reached the"
            " store later come first, perhaps a second time"
        )

    def _committed(self, moment: Moment) -> EventId | None:
        """Return the event that a moment names, unless it is an attempt."""
        if moment.id_prefix is None:
            return None
        found = find_id(self.history.index, moment.id_prefix)
        if isinstance(found, Version):
            return found.events[-1].id if found.events else None
        return found if found is not None and self.history.index.places(found) else None

    def _number_of(self, event: EventId) -> int | None:
        index = self.history.index
        number = index.number_of(event, self.wanted)
        return index.number_of(event) if number is None else number

    def begin_after(self, cursor: Cursor) -> None:
        """Go on where another follower, or an earlier run, stopped."""
        self.history.sync()
        self.cursor = cursor
        self._check_epoch(cursor)

    def _stand_at(self, n: int) -> None:
        index = self.history.index
        at = index.stamp_of(n) or Stamp(format_us(0))
        self.cursor = Cursor(index.epoch, n, at)

    def _stand_before(self, at: Hlc) -> None:
        n = self.history.asked(lambda: self.history.index.number_before(at))
        self.cursor = Cursor(self.history.index.epoch, n, rfc3339(at))

    def _check_epoch(self, cursor: Cursor) -> None:
        """Go back if the index is not the one whose numbers the cursor is about."""
        if self.history.index.epoch == cursor.epoch:
            return
        self._passed, self._late = 0, frozenset()
        back_us = max(parse_us(cursor.at) - UNDECIDED_US, 0)
        self._stand_before(last_of(back_us))
        self._say(
            "the local index was rebuilt: events since"
            f" {format_us(back_us)[:19]}Z may come once more"
        )

    # -- following ----------------------------------------------------------------------------

    def look(self) -> Iterator[Commit]:
        """Sync, and yield what came; after each event ``cursor`` stands behind it.

        Raises:
            StoreUnreachable: nothing was read; look again later.
        """
        self.history.sync()
        self._find_place()
        while self.cursor is not None:
            self._check_epoch(self.cursor)
            rows, through = self.history.asked(self._next)
            for n, commit in rows:
                wanted = self._is_first(n, commit) and commit.event.id not in self._recent
                wanted = wanted and (n > self._passed or n in self._late)
                self._remember(commit.event.id)
                self._stand_at(n)
                if wanted:
                    yield commit
            if len(rows) < AT_ONCE:
                if through > self.cursor.n:
                    self._stand_at(through)
                return

    def _next(self) -> tuple[list[tuple[int, Commit]], int]:
        """Return what comes next, at most so many at once, and the greatest number there is."""
        index, cursor = self.history.index, self.cursor
        with index.reading():
            if cursor is None or index.epoch != cursor.epoch:
                return [], 0
            through = index.last_number()
            rows = index.followed(cursor.n, self.wanted, through)
            return list(islice(rows, AT_ONCE)), through

    def _is_first(self, n: int, commit: Commit) -> bool:
        """Whether an event is asked for, and comes here first of the chains that hold it."""
        event = commit.event
        if self.wanted.text is not None and not _has(event, self.wanted.text):
            return False  # the index found the text elsewhere in its version
        if len(event.chains) < 2:
            return True
        return self.history.index.number_of(event.id, self.wanted) == n

    def _remember(self, event: EventId) -> None:
        self._recent[event] = None
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]


def _has(event: Event, text: str) -> bool:
    return encode(text)[1:-1].lower() in encode(event.record).lower()


class Pace(NamedTuple):
    """How a watch waits: ``pause`` lets time pass, ``timeout_s`` without an event ends it."""

    pause: Callable[[float], None]
    monotonic_s: Callable[[], float]
    jitter: Callable[[], float]
    interval_s: float = 1.0
    timeout_s: float | None = None


class Watching:
    """What a watch gives: the events as they come; ``cursor`` says how far it has got."""

    def __init__(self, follower: Follower, pace: Pace, say: Callable[[str], None]) -> None:
        self._follower = follower
        self._commits = watch(follower, pace, say)

    @property
    def cursor(self) -> Cursor | None:
        """Where it stands: behind the event that it gave last. Keep it to go on there later."""
        return self._follower.cursor

    def __iter__(self) -> Watching:
        return self

    def __next__(self) -> Row:
        return Row(next(self._commits))


def watch(follower: Follower, pace: Pace, say: Callable[[str], None]) -> Iterator[Commit]:
    """Yield events as they come, for ever; a store that cannot be reached is tried again.

    Raises:
        WaitTimeout: no event came within ``timeout_s``.
        StoreUnreachable: nor could the store be reached.
    """
    heard_s = pace.monotonic_s()
    idle, failure = 0, None
    while True:
        came = False
        try:
            for commit in follower.look():
                came = True
                yield commit
                heard_s = pace.monotonic_s()
        except StoreUnreachable as error:
            if failure is None:
                say(f"{error.message}; trying again")
            failure = error
        else:
            if failure is not None:
                say("the store answers again")
            failure = None
        left_s = None
        if pace.timeout_s is not None:
            left_s = pace.timeout_s - (pace.monotonic_s() - heard_s)
            if left_s <= 0:
                raise failure or WaitTimeout(
                    f"no event came within {pace.timeout_s:g} s", hint="tclog log -n 5"
                )
        idle = 0 if came else idle + 1
        pause_s = _pause_s(follower, pace, idle) * (0.75 + 0.5 * pace.jitter())
        pace.pause(pause_s if left_s is None else min(pause_s, max(left_s, 0.001)))


def _pause_s(follower: Follower, pace: Pace, idle: int) -> float:
    """Return how long to wait: longer while nothing comes, shorter while events lack a number."""
    if follower.history.asked(follower.history.index.waiting):
        return min(pace.interval_s, NUMBER_PAUSE_S)
    longest_s = max(pace.interval_s, min(IDLE_PAUSE_MAX_S, 5 * pace.interval_s))
    return min(pace.interval_s * 1.3 ** min(idle, 20), longest_s)
