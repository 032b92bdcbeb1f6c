"""Packs in batches, checked; where there is a second core, in a process beside the caller's.

A first sync spends as much time on checking versions as on writing them down. So a process is
forked for one pack, which checks it and sends the batches through a pipe. It is only ever a help:
whatever goes wrong in it is left to the caller, who reads the pack again by itself, sees with its
own eyes what is damaged, and skips what it has taken in.

It is forked only where that is safe, on Linux from a process with a single thread. That leaves out
every process whose store has threads of its own, as a bucket's has.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Generator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, NoReturn

from tclog.clock import Stamp
from tclog.event import ChainId, Event, EventId, decode_stored_event
from tclog.event.packs import PackReader, Row, Run, summarize_packed
from tclog.event.summary import EventSummary, Summary

BATCH = 1_000
# For less a fork does not pay.
VERSIONS_MIN = 2_000
_LENGTH_BYTES = 8
# About a batch: the process beside goes on with the next one before the last was taken.
_PIPE_BYTES = 1 << 20
# As NamedTuple._make does, without a call in Python for each of millions.
_summary = partial(tuple.__new__, Summary)
_event_summary = partial(tuple.__new__, EventSummary)


class Batch(NamedTuple):
    """Some of what is in a pack: versions, or instead versions to be judged, or events."""

    summaries: list[Summary]
    unjudged: list[tuple[ChainId, int, Row]]
    events: list[tuple[Event, bytes, Stamp]]


class Failed(Exception):  # noqa: N818 - named for what happened
    """The process beside did not come to the end of its pack; the caller is to read it itself."""


def read_batches(reader: PackReader, firsts: Mapping[Run, int]) -> Generator[Batch, None, None]:
    """Yield what is in a pack; of each run the versions from the one on that ``firsts`` says.

    Raises:
        Damaged: something in it is not what it should be.
    """
    rows = reader.versions(firsts.__getitem__)
    while some := list(islice(rows, BATCH)):
        summaries = [one for row in some if (one := summarize_packed(*row)) is not None]
        usual = len(summaries) == len(some)
        yield Batch(summaries, [], []) if usual else Batch([], some, [])
    found = reader.events()
    while events := [(event, row.raw, row.stored) for event, row in islice(found, BATCH)]:
        yield Batch([], [], events)


def is_worth_it(reader: PackReader) -> bool:
    """Whether a pack is large enough, and this process has a core to spare and may fork."""
    if reader.header.versions < VERSIONS_MIN:
        return False
    try:
        return len(os.sched_getaffinity(0)) > 1 and os.stat("/proc/self/task").st_nlink == 3  # noqa: PTH116 - it, its parent, and one thread
    except (AttributeError, OSError):
        return False  # not Linux


def read_aside(reader: PackReader, firsts: Mapping[Run, int]) -> Generator[Batch, None, None]:
    """Yield the same from a process of its own; the caller's ``reader`` stays where it is.

    Raises:
        Failed: the pack is damaged, or the process has died.
    """
    from fcntl import F_SETPIPE_SZ, fcntl  # only Linux has it

    ours, theirs = os.pipe()
    with suppress(OSError):
        fcntl(theirs, F_SETPIPE_SZ, _PIPE_BYTES)
    child = os.fork()
    if child == 0:
        os.close(ours)
        _send_all(theirs, reader, firsts)
    os.close(theirs)
    try:
        with open(ours, "rb") as pipe:  # noqa: PTH123 - it is a number
            while (batch := _receive(pipe)) is not None:
                yield batch
    finally:
        # Whoever stops early has closed the pipe, so the other ends too.
        os.waitpid(child, 0)


def _receive(pipe: BinaryIO) -> Batch | None:
    """Return the next batch; None at the end, which is said and not only reached."""
    length = int.from_bytes(pipe.read(_LENGTH_BYTES), "big")
    data = pipe.read(length)
    if not length or len(data) < length:
        raise Failed
    found = marshal.loads(data)  # noqa: S302 - written by our own fork
    if found is None:
        return None
    summaries, unjudged, events = found
    for one in summaries:
        one[-1][:] = map(_event_summary, one[-1])
    return Batch(
        list(map(_summary, summaries)),
        [(chain, seq, Row(*row)) for chain, seq, row in unjudged],
        [(decode_stored_event(raw, EventId(name)), raw, at) for name, raw, at in events],
    )


def _send_all(pipe: int, reader: PackReader, firsts: Mapping[Run, int]) -> NoReturn:
    """Send all batches and end."""
    try:
        with open(pipe, "wb") as out:
            for batch in read_batches(reader, firsts):
                _send(out, _plain(batch))
            _send(out, None)
    finally:
        # Whatever was raised: the caller finds out by itself. Nothing of the process that was
        # forked, no buffer and no database, is flushed or closed a second time.
        os._exit(0)


def _plain(batch: Batch) -> tuple[Any, ...]:
    return (
        [(*one[:-1], [tuple(event) for event in one.events]) for one in batch.summaries],
        [(chain, seq, tuple(row)) for chain, seq, row in batch.unjudged],
        [(event.id, raw, stored) for event, raw, stored in batch.events],
    )


def _send(out: BinaryIO, found: Any) -> None:
    data = marshal.dumps(found)
    out.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
    out.write(data)
