"""Messages as their readers see them: in which inbox, under which number, and when acknowledged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tclog.chain.fold import state_of
from tclog.clock import Hlc
from tclog.domain.inbox import Range
from tclog.event import ALL, Event, EventId, Version, chain_id
from tclog.history.snapshot import agent_names
from tclog.index import Filter, Index


class Delivery(NamedTuple):
    """A message in one agent's inbox; ``n`` is None for a broadcast not yet numbered there.

    ``acked`` is when its reader acknowledged it, None if that has not happened.
    """

    reader: str
    event: EventId
    sender: str
    sent: Hlc
    n: int | None = None
    acked: Hlc | None = None


class _Sent(NamedTuple):
    event: EventId
    sender: str
    is_broadcast: bool
    at: Hlc


def _sent(event: Event, at: Hlc) -> _Sent:
    return _Sent(event.id, event.agent, ALL in event.chains, at)


def read_deliveries(index: Index, until: Hlc | None = None) -> Iterator[Delivery]:
    """Yield the messages that each known agent has got, inbox by inbox, in their order.

    An agent's own broadcasts have a number in its inbox, but are no message to it. Broadcasts that
    no version of an inbox has merged come last there, as they will.
    """
    broadcasts = _broadcasts(index, until)
    for name in sorted(agent_names(index)):
        if until is None or _is_known(index, name, until):
            yield from _inbox(index, name, broadcasts, until)


def _is_known(index: Index, name: str, until: Hlc) -> bool:
    """Whether an agent had acted, or got a message of its own, by a moment."""
    if index.version_at(chain_id("inbox", name), until) is not None:
        return True
    return next(index.commits(Filter(agent=name, until=until)), None) is not None


def _broadcasts(index: Index, until: Hlc | None) -> list[tuple[int, _Sent]]:
    return [
        (version.seq, _sent(event, version.moment))
        for version in _until(index.versions(ALL), until)
        for event in version.events
        if event.op == "message.send"
    ]


def _until(versions: Iterator[Version], until: Hlc | None) -> Iterator[Version]:
    for version in versions:
        if until is not None and version.moment > until:
            return
        yield version


def _inbox(
    index: Index, name: str, broadcasts: Sequence[tuple[int, _Sent]], until: Hlc | None
) -> Iterator[Delivery]:
    acks = _acks(index, name, until)
    nth = 0
    for n, sent in _numbered(index, name, broadcasts, until):
        # Numbers and ranges both grow, so one walk through the ranges serves all numbers.
        while n is not None and nth < len(acks) and acks[nth][0][1] < n:
            nth += 1
        covered = n is not None and nth < len(acks) and acks[nth][0][0] <= n
        if sent.sender != name or not sent.is_broadcast:
            acked = acks[nth][1] if covered else None
            yield Delivery(name, sent.event, sent.sender, sent.at, n, acked)


def _numbered(
    index: Index, name: str, broadcasts: Sequence[tuple[int, _Sent]], until: Hlc | None
) -> Iterator[tuple[int | None, _Sent]]:
    """Yield the messages of an inbox in their order, with their numbers as far as they have one."""
    taken, number = 0, 0
    for version in _until(index.versions(chain_id("inbox", name)), until):
        through = 0 if version.merge is None else version.merge["through"]
        while taken < len(broadcasts) and broadcasts[taken][0] <= through:
            number += 1
            yield number, broadcasts[taken][1]
            taken += 1
        for event in version.events:
            if event.op == "message.send":
                number += 1
                yield number, _sent(event, version.moment)
    for _, sent in broadcasts[taken:]:
        yield None, sent


def _acks(index: Index, name: str, until: Hlc | None) -> list[tuple[Range, Hlc]]:
    """Return disjoint ranges of numbers, sorted, each with when it was acknowledged first."""
    chain = chain_id("read", name)
    found: list[tuple[Range, Hlc]] = []
    before: tuple[Range, ...] = ()
    for version in _until(index.versions(chain), until):
        ranges: tuple[Range, ...] = state_of(chain, version).ranges
        found.extend((new, version.moment) for new in _without(ranges, before))
        before = ranges
    return sorted(found)


def _without(ranges: Sequence[Range], before: Sequence[Range]) -> Iterator[Range]:
    """Yield what is in some sorted ranges and not in others."""
    nth = 0
    for first, last in ranges:
        begin = first
        while nth < len(before) and before[nth][0] <= last:
            if before[nth][0] > begin:
                yield begin, before[nth][0] - 1
            begin = max(begin, before[nth][1] + 1)
            if before[nth][1] > last:
                break
            nth += 1
        if begin <= last:
            yield begin, last
