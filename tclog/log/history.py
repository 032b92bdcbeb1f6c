"""``log.history``: what happened, what was so at a moment, and which event made it so.

Each question brings the local index up to date, reads its moments and answers from one look. The
commands that look back ask here, so the answers are theirs: ``as_json`` gives the objects that they
print with ``--json``.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from tclog.clock import SETTLED_US, Hlc, last_of, parse_us
from tclog.errors import NotFound, to_run
from tclog.event import chain_id
from tclog.moment import Moment, is_now, parse_moment

if TYPE_CHECKING:
    from tclog.chain.results import Tag
    from tclog.history.blame import Blame
    from tclog.history.diff import Change
    from tclog.history.history import History
    from tclog.history.log import Row
    from tclog.history.replay import Beat
    from tclog.history.revert import Reverted
    from tclog.history.state import Item
    from tclog.history.watch import Cursor, Watching
    from tclog.index import Filter
    from tclog.log.log import Log
    from tclog.sync.objects import Progress
    from tclog.sync.sync import Synced

# A moment: text as --at takes it ("10m ago", "2026-11-23T15:42", an id, a tag), microseconds since
# 1970, or a datetime (UTC unless it names its zone).
Point = str | int | datetime
AT_ONCE = 500


class HistoryOperations:
    """``log.history``: the whole log, looked back at.

    Args:
        log: whose history it is.
        folder: the project's cache folder; None keeps the index in memory.
    """

    def __init__(self, log: Log, folder: str | os.PathLike[str] | None) -> None:
        self._log = log
        # Below this no folder can be made.
        self._folder = os.devnull if folder is None else folder
        self._history: History | None = None
        self._synced = False
        # Whether the first sync is enough for all questions, as for those of one command.
        self.once = False
        # Told what the user should know beside the answer.
        self.say: Callable[[str], None] = log.client.warn
        # Told why the index is in memory alone, where it should be in a folder.
        self.say_in_memory: Callable[[str], None] = lambda _: None
        # Shows how much a sync has read.
        self.progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext

    # -- the index and moments ----------------------------------------------------------------

    def opened(self) -> History:
        """Return the history as far as the local index knows it."""
        self._log.check_open()
        if self._history is None:
            from pathlib import Path

            from tclog.history.history import History

            log, folder, tell = self._log, Path(self._folder), self.say_in_memory
            self._history = History(log.store, log.client, folder, run=log.run, tell=tell)
        return self._history

    def fresh(self) -> History:
        """Return the history, brought up to date."""
        if not (self.once and self._synced):
            self.sync()
        return self.opened()

    def sync(self, *, full: bool = False) -> Synced:
        """Bring the local index up to date; with ``full`` every chain is asked."""
        with self.progress() as progress:
            done = self.opened().sync(full=full, progress=progress)
        self._synced = True
        return done

    def look_again(self) -> None:
        """Make the next question bring the index up to date again."""
        self._synced = False

    def close(self) -> None:
        """Close the index."""
        if self._history is not None:
            self._history.index.close()
            self._history = None

    def point(self, point: Point | None) -> Hlc | None:
        """Return the last stamp that belongs to a moment; None for None.

        A moment that is not settled yet is answered, and said to be so.

        Raises:
            UsageError: it is not a moment.
            NotFound: it names an event, a version or a tag that does not exist.
        """
        at = self.boundary(point)
        if at is not None:
            self._say_settled(at)
        return at

    def boundary(self, point: Point | None) -> Hlc | None:
        """Return the last stamp that belongs to one end of a range; None for None."""
        if point is None:
            return None
        moment = self._moment(point)
        return last_of(moment.us) if moment.us is not None else self.fresh().resolve(moment)

    def _moment(self, point: Point) -> Moment:
        if isinstance(point, int):
            return Moment(us=point)
        text = point.isoformat() if isinstance(point, datetime) else point
        return parse_moment(text, self._log.client.clock.now_us())

    def _say_settled(self, at: Hlc) -> None:
        if self._log.client.clock.now_us() - parse_us(at) < SETTLED_US:
            self.say("this moment is not settled: writes on their way may still belong to it")

    # -- questions ----------------------------------------------------------------------------

    def log(
        self,
        *,
        agent: str | None = None,
        op: str | None = None,
        chain: str | None = None,
        text: str | None = None,
        since: Point | None = None,
        until: Point | None = None,
        attempts: bool = False,
        reverse: bool = False,
        at_once: int = AT_ONCE,
    ) -> Iterator[Row]:
        """Return what happened, the newest first, or the oldest with ``reverse``.

        Args:
            agent: only events of this agent.
            op: only this op; ``step.*`` stands for all ops that begin so.
            chain: only events of this chain, such as ``memory/api.contract``.
            text: only events that hold this text.
            since: only what came after this moment.
            until: only what came until this moment.
            attempts: also events that were not committed, and what they lost to.
            reverse: the oldest first.
            at_once: how many rows are read before the first is given; the others are streamed.
        """
        from tclog.index import Filter

        history = self.fresh()
        wanted = Filter(agent, op, chain, self.boundary(since), self.boundary(until), text or None)
        return _rows(history, wanted, attempts, not reverse, at_once)

    def show(self, id: str) -> Mapping[str, Any]:
        """Return the event, or else the version, whose id begins so, and what it changed.

        Raises:
            NotFound: no id begins so.
            UsageError: several do.
        """
        from tclog.history.show import show_id

        history = self.fresh()
        return history.asked(lambda: history.run(show_id(history.index, id)))

    def state(self, at: Point | None = None, *, large: bool = True) -> list[Item]:
        """Return everything as it was at a moment: memory, steps, inboxes, artifacts, ...

        Args:
            at: the moment.
            large: whether to fetch what only the store has: large values, and notes.
        """
        from tclog.history.snapshot import END
        from tclog.history.state import read_state

        history = self.fresh()
        point = self.point(at) or END

        def read() -> list[Item]:
            with history.index.reading():
                return history.run(read_state(history.index, point, large=large))

        collects = gc.isenabled()
        # Whatever is made now lives until it is given back: looking for garbage would find none.
        gc.disable()
        try:
            return history.asked(read)
        finally:
            if collects:
                gc.enable()

    def diff(self, before: Point, after: Point | None = None) -> list[Change]:
        """Return what is different at ``after`` (now) from what was at ``before``, and by whom."""
        from tclog.history.diff import read_diff
        from tclog.history.snapshot import END
        from tclog.index import derived

        history = self.fresh()
        first, last = self.boundary(before) or END, self.boundary(after)
        self._say_settled(first if last is None else max(first, last))

        def read() -> list[Change]:
            with derived.reading(history.index):
                return history.run(read_diff(history.index, first, last or END))

        return history.asked(read)

    def blame(
        self,
        name: str,
        *,
        kind: Literal["memory", "step"] | None = None,
        at: Point | None = None,
    ) -> list[Blame]:
        """Return which event each line or member of a value, or each field of a step, comes from.

        Args:
            name: a key or a step. What is both is taken for the key.
            kind: which of the two it is.
            at: as it was at this moment.

        Raises:
            NotFound: there is neither.
        """
        from tclog.history.blame import blame_memory, blame_step
        from tclog.history.snapshot import END

        history = self.fresh()
        point = self.point(at) or END
        ask = (
            blame_step if (kind or self._kind_of(history, name, point)) == "step" else blame_memory
        )

        def read() -> list[Blame]:
            with history.index.reading():
                return history.run(ask(history.index, name, point))

        return history.asked(read)

    def _kind_of(self, history: History, name: str, point: Hlc) -> str:
        """Find out whether a name was a key or a step, then or ever; a key goes first."""
        index = history.index
        key, step = chain_id("memory", name), chain_id("step", name)
        is_key, is_step = (index.version_at(chain, point) is not None for chain in (key, step))
        if not is_key and not is_step:
            is_key, is_step = (index.head(chain) > 0 for chain in (key, step))
        if is_key and is_step:
            self.say(f"{name} is also a step: {to_run('tclog blame', name, then='--step')}")
        if not is_key and not is_step:
            raise NotFound(
                f"there is neither a key nor a step {name}",
                code="name-missing",
                hint="tclog state",
                name=name,
            )
        return "memory" if is_key else "step"

    def replay(
        self, *, since: Point | None = None, until: Point | None = None, attempts: bool = False
    ) -> Iterator[Beat]:
        """Return what happened, the oldest first, each with the time since the one before."""
        from tclog.history.replay import read_beats

        history = self.fresh()
        begin, end = self.boundary(since), self.boundary(until)
        return read_beats(
            history.index, since=begin, until=end, attempts=attempts, ask=history.asked
        )

    def watch(
        self,
        *,
        since: Point | None = None,
        cursor: Cursor | None = None,
        agent: str | None = None,
        op: str | None = None,
        chain: str | None = None,
        text: str | None = None,
        interval_s: float = 1.0,
        timeout_s: float | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> Watching:
        """Follow the log: give each event when it is committed, once, cause before effect.

        Args:
            since: begin after this event or moment; by default with the next commit.
            cursor: go on where another watch stood: its ``cursor``.
            agent: only events of this agent, and ``op``, ``chain``, ``text`` as in ``log``.
            op: see there.
            chain: see there.
            text: see there.
            interval_s: how often to look; less often while nothing happens.
            timeout_s: end with ``WaitTimeout`` after this long without an event.
            pause: lets time pass.
        """
        from tclog.history.watch import Follower, Pace, Watching
        from tclog.index import Filter

        history = self.opened()
        wanted = Filter(agent, op, chain, None, None, text or None)
        follower = Follower(history, wanted, self.say)
        if cursor is not None:
            follower.begin_after(cursor)
        elif since is None or (isinstance(since, str) and is_now(since)):
            follower.begin_now()
        else:
            follower.begin_at(self._moment(since))
        jitter = history.client.jitter
        pace = Pace(pause, time.monotonic, jitter, interval_s, timeout_s)
        return Watching(follower, pace, self.say)

    # -- tags, and back -----------------------------------------------------------------------

    def tags(self, at: Point | None = None) -> list[Tag]:
        """Return all tags by the moments that they stand for, or those that there were then."""
        from tclog.log.tags import list_tags

        return self._log.run(list_tags(self._log.client, at=self.point(at)))

    def revert(
        self,
        event: str,
        *,
        force: bool = False,
        id: str | None = None,
    ) -> Reverted:
        """Restore what an event changed, by one more event; of a transaction all.

        Args:
            event: the beginning of its id, or of its version's.
            force: also undo what later events changed there.
            id: the idempotency key.

        Raises:
            Refused: ``revert-conflict``: changed since, by whom; ``not-revertible``.
        """
        from tclog.history.revert import revert_event

        index = self.fresh().index
        client = self._log.client
        return self._log.run(revert_event(client, index, event, force=force, id_key=id))


def _rows(
    history: History, wanted: Filter, attempts: bool, newest_first: bool, at_once: int
) -> Iterator[Row]:
    """Give the rows of a log: the first at once, the rest from a look that stays open."""
    from tclog.history.log import read_log, read_on

    index = history.index

    def read() -> list[Row]:
        with index.reading():
            rows = read_log(index, wanted, attempts=attempts, newest_first=newest_first)
            return list(islice(rows, at_once))

    first = history.asked(read)
    yield from first
    if len(first) < at_once:
        return
    with index.reading():
        yield from read_on(index, wanted, first, attempts=attempts, newest_first=newest_first)
