"""The log: all committed events by their stamps; on request the attempts too, with who won."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from heapq import merge
from typing import Any, NamedTuple

from tclog.chain.fold import state_of
from tclog.clock import Hlc
from tclog.domain import steps
from tclog.event import ChainId, Event, Version, chain_kind, encode
from tclog.history.rendering import attempt_json, commit_json
from tclog.index import Attempt, Commit, Filter, Index

# Within this an attempt and the version that it lost to belong to one race; else it was refused by
# what stood there already.
RACE_US = 2_000_000
# Events whose first place is remembered while the log is read.
FIRSTS_MAX = 1024


class Row(NamedTuple):
    """One event of the log: a commit, or an attempt and the commit that it lost to, if any."""

    commit: Commit | None
    attempt: Attempt | None = None
    lost_to: Commit | None = None

    @property
    def event(self) -> Event:
        """The event itself."""
        return (self.commit or self.attempt).event  # type: ignore[union-attr]

    @property
    def at(self) -> Hlc:
        """When it was committed, or else made."""
        return (self.commit or self.attempt).at  # type: ignore[union-attr]

    def as_json(self) -> dict[str, Any]:
        """The pinned event object."""
        if self.commit is not None:
            return commit_json(self.commit)
        assert self.attempt is not None  # noqa: S101 - a row is the one or the other
        won = self.lost_to
        lost = None if won is None else {
            "id": won.event.id, "op": won.event.op, "agent": won.event.agent, "version": won.seq,
        }  # fmt: skip
        return attempt_json(self.attempt) | {"lost_to": lost}


def read_log(
    index: Index, wanted: Filter, *, attempts: bool = False, newest_first: bool = True
) -> Iterator[Row]:
    """Yield the events asked for, each once, also where several chains hold it."""
    # The places of one event are mostly near each other, so its first one is asked for once.
    first = lru_cache(FIRSTS_MAX)(lambda event: index.first_place(event, wanted.chain))
    rows: Iterator[Row] = (
        Row(commit)
        for commit in index.commits(wanted, newest_first=newest_first)
        if (len(commit.event.chains) < 2 or first(commit.event.id) == commit[:4])
        and _has_text(commit, wanted)
    )
    if not attempts:
        return rows
    lost = (
        Row(None, attempt, lost_to(index, attempt))
        for attempt in index.attempts(wanted, newest_first=newest_first)
    )
    return merge(rows, lost, key=_stamp, reverse=newest_first)


def read_on(
    index: Index,
    wanted: Filter,
    before: Sequence[Row],
    *,
    attempts: bool = False,
    newest_first: bool = True,
) -> Iterator[Row]:
    """Yield the events that come behind some that were read, whoever has synced since."""
    last = _stamp(before[-1])
    seen = {_id(row) for row in before if _stamp(row) == last}

    def is_behind(row: Row) -> bool:
        at = _stamp(row)
        return _id(row) not in seen if at == last else (at < last) == newest_first

    return filter(is_behind, read_log(index, wanted, attempts=attempts, newest_first=newest_first))


def _id(row: Row) -> str:
    return row.event.id


def _stamp(row: Row) -> str:
    return row.at


def _has_text(commit: Commit, wanted: Filter) -> bool:
    """Check the event itself: the index finds the text anywhere in its version."""
    if wanted.text is None:
        return True
    needle = encode(wanted.text)[1:-1].lower()
    return needle in encode(commit.event.record).lower()


def lost_to(index: Index, attempt: Attempt) -> Commit | None:
    """Return the event that an attempt lost its race to, or that it was refused for."""
    from tclog.clock import parse_us

    chain: ChainId = attempt.event.chains[0]
    before = index.version_at(chain, attempt.at)
    after = index.version_after(chain, 0 if before is None else before.seq)
    if before is not None and _was_refused(chain, before, attempt):
        after = None
    if after is not None and parse_us(after.moment) - parse_us(attempt.at) > RACE_US:
        after = None if before is not None else after
    winner = after or before
    if winner is None or not winner.events:
        return None
    return Commit(winner.moment, chain, winner.seq, len(winner.events) - 1, winner.events[-1])


def _was_refused(chain: ChainId, before: Version, attempt: Attempt) -> bool:
    """Whether what stood there when an attempt was made refused it: it raced with nobody."""
    expected = attempt.event.expect.get("version")
    if isinstance(expected, int):
        return expected < before.seq
    if chain_kind(chain) == "step" and attempt.event.op in ("step.claim", "step.takeover"):
        return bool(state_of(chain, before).state != steps.PENDING)
    return False
