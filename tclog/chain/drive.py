"""Drivers: hand the requests of a protocol generator to a store.

The protocol yields one request, or a tuple of requests to be done concurrently, and is sent the
reply, or the list of replies. A request that fails for good is raised inside the generator; in a
tuple its place holds the ``StoreError`` instead, so that the others' replies are not lost. An
interrupt is raised inside it, too, so that a protocol can withdraw what it has begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tclog.errors import StoreError
from tclog.store.base import (
    Create,
    Delete,
    Entry,
    Get,
    GetFile,
    Keep,
    List,
    Put,
    PutFile,
    Request,
    Stat,
    Store,
    check_forward,
)

T = TypeVar("T")
WORKERS_MAX = 32


class Sleep(NamedTuple):
    """Let time pass before going on. Answer: None."""

    seconds: float


Step = Request | Sleep
Protocol = Generator[Any, Any, T]


def run(protocol: Protocol[T], store: Store, sleep: Callable[[float], None] = time.sleep) -> T:
    """Drive a protocol to its end, in this thread (and helpers for concurrent requests)."""
    reply: Any = None
    error: StoreError | KeyboardInterrupt | None = None
    while True:
        try:
            step = protocol.send(reply) if error is None else protocol.throw(error)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        reply, error = None, None
        try:
            if type(step) is tuple:
                reply = _answer_all(step, store, sleep)
            else:
                reply = answer(step, store, sleep)
        except (StoreError, KeyboardInterrupt) as failure:
            error = failure


def _list(store: Store, step: List) -> Sequence[Entry]:
    rows = store.list(*step)
    check_forward(store.url, rows, step.after)
    return rows


_ANSWERS: Mapping[type, Callable[[Store, Any], Any]] = {
    Get: lambda store, step: store.get(*step),
    Put: lambda store, step: store.put(*step),
    Keep: lambda store, step: store.keep(*step),
    Create: lambda store, step: store.create(*step),
    List: _list,
    Stat: lambda store, step: store.stat(*step),
    Delete: lambda store, step: store.delete(*step.keys),
    PutFile: lambda store, step: store.put_file(*step),
    GetFile: lambda store, step: store.get_file(*step),
}


def answer(step: Step, store: Store, sleep: Callable[[float], None]) -> Any:
    """Answer one request."""
    found = _ANSWERS.get(type(step))
    if found is not None:
        return found(store, step)
    if isinstance(step, Sleep):
        return sleep(step.seconds)
    msg = f"not a request: {step!r}"
    raise TypeError(msg)


def _answer_all(steps: Sequence[Step], store: Store, sleep: Callable[[float], None]) -> list[Any]:
    def one(step: Step) -> Any:
        try:
            return answer(step, store, sleep)
        except StoreError as error:
            return error

    if not store.concurrent or len(steps) < 2:
        return [one(step) for step in steps]
    return _in_threads(one, steps)


def _in_threads(one: Callable[[Step], Any], steps: Sequence[Step]) -> list[Any]:
    """Answer requests beside each other, in this thread and in helpers.

    An interrupt is raised when those that were begun have ended. A pool of ``concurrent.futures``
    would at times wait for ever then: the interrupt can leave a lock taken that its threads need.
    """
    # Not threading: loading that takes longer than a request.
    import _thread

    from tclog.store.room import helpers

    replies: list[Any] = [None] * len(steps)
    failures: list[BaseException] = []
    left = iter(range(len(steps)))  # shared: each number is given out once

    def work() -> None:
        for index in left:
            replies[index] = one(steps[index])

    def work_beside(ended: _thread.LockType) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(error)
        finally:
            ended.release()

    waiting = []
    try:
        for _ in range(helpers(min(len(steps), WORKERS_MAX) - 1)):
            ended = _thread.allocate_lock()
            ended.acquire()
            try:
                _thread.start_new_thread(work_beside, (ended,))
            except RuntimeError:
                break  # this process may have no more of them: the others do its work
            waiting.append(ended)
        work()
    finally:
        for _ in left:
            pass  # nobody begins another one
        for ended in waiting:
            ended.acquire()
    if failures:
        raise failures[0]
    return replies


def settled(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies of a tuple of requests, or raise the first error among them."""
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
    return replies


def together(*protocols: Protocol[Any]) -> Protocol[list[Any]]:
    """Run several protocols side by side: their pending requests go out as one tuple.

    If one raises, the others are closed and the error goes on.
    """
    results: list[Any] = [None] * len(protocols)
    pending: dict[int, Any] = {}

    def advance(index: int, act: Callable[[], Any]) -> None:
        try:
            pending[index] = act()
        except StopIteration as end:
            pending.pop(index, None)
            results[index] = end.value

    try:
        for index, protocol in enumerate(protocols):
            advance(index, lambda protocol=protocol: next(protocol))  # type: ignore[misc]
        while pending:
            yield from _round(protocols, pending, advance)
    except BaseException:
        for protocol in protocols:
            protocol.close()
        raise
    return results


def _round(
    protocols: Sequence[Protocol[Any]],
    pending: dict[int, Any],
    advance: Callable[[int, Callable[[], Any]], None],
) -> Protocol[None]:
    batch: list[Step] = []
    slices: list[tuple[int, int, int, bool]] = []
    for index, step in pending.items():
        many = type(step) is tuple
        steps = step if many else (step,)
        slices.append((index, len(batch), len(batch) + len(steps), many))
        batch.extend(steps)
    replies = yield tuple(batch)
    for index, start, stop, many in slices:
        protocol, part = protocols[index], replies[start:stop]
        if many:
            advance(index, lambda protocol=protocol, part=part: protocol.send(part))  # type: ignore[misc]
        elif isinstance(part[0], StoreError):
            advance(index, lambda protocol=protocol, part=part: protocol.throw(part[0]))  # type: ignore[misc]
        else:
            advance(index, lambda protocol=protocol, part=part: protocol.send(part[0]))  # type: ignore[misc]
