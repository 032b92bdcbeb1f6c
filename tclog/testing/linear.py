"""Linearizability of one memory key, judged from outside: by what was asked and answered alone.

A search in the manner of Wing and Gong (1993) with Lowe's memoisation: look for an order of all
calls, each somewhere between its begin and its end, in which a plain variable would have given the
same answers. Two searches that have put the same calls in order and hold the same value need not
both be carried on. The oracles that walk the slots know more and miss less; this one shares no line
of code with the protocol, and would notice a promise that they take for granted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tclog.errors import Damaged, StoreError
from tclog.testing.scheduler import Operation, Place

NEVER = 1 << 62
NODES_MAX = 200_000
CALLS_MAX = 200


class Value(NamedTuple):
    """What a key holds: its version (0 before the first) and its value."""

    version: int = 0
    value: Any = None


class Call(NamedTuple):
    """One call of a history.

    ``answer`` is what the caller was told, None where it was told nothing; such a call may take
    effect at any time after it began, or never, so its ``returned_us`` is ``NEVER``. ``refused``
    says that the call was refused and that ``answer`` is what it was told to stand there.
    """

    name: str
    invoked_us: int
    returned_us: int
    argument: Any = None
    if_version: int | None = None
    answer: Value | None = None
    refused: bool = False


def apply_call(before: Value, call: Call) -> Value | None:
    """Return what the key holds after a call, or None if its answer would have been another."""
    match call.name:
        case "skip":
            return before._replace(version=before.version + 1)
        case "get":
            return before if call.answer == before else None
        case "incr":
            after = Value(before.version + 1, (before.value or 0) + call.argument)
        case "append":
            text = call.argument if before.value is None else f"{before.value}\n{call.argument}"
            after = Value(before.version + 1, text)
        case _:
            after = Value(before.version + 1, call.argument)
    holds = call.if_version is None or call.if_version == before.version
    if call.refused:
        return before if not holds and call.answer == before else None
    if not holds or (call.answer is not None and call.answer != after):
        return None
    return after


def is_linearizable(calls: Sequence[Call]) -> bool | None:
    """Whether some order of the calls explains all answers; None if the search grew too big."""
    if len(calls) > CALLS_MAX:
        return None
    calls = sorted(calls, key=lambda call: call.invoked_us)
    answered = sum(1 << i for i, call in enumerate(calls) if call.returned_us < NEVER)
    seen: set[tuple[int, Value]] = set()
    stack = [(0, Value())]
    for _ in range(NODES_MAX):
        if not stack:
            return False
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        done, value = node
        if done & answered == answered:
            return True
        stack.extend(_next_nodes(calls, done, value))
    return None


def _next_nodes(calls: Sequence[Call], done: int, value: Value) -> Iterable[tuple[int, Value]]:
    """Yield each way to put one more call in order: none that began after another had ended."""
    open_ = [(i, call) for i, call in enumerate(calls) if not done >> i & 1]
    first_end_us = min(call.returned_us for _, call in open_)
    # What was told nothing is tried last, and so stands first on the stack.
    for i, call in reversed(open_):
        if call.invoked_us <= first_end_us:
            after = apply_call(value, call)
            if after is not None:
                yield done | 1 << i, after


def histories_of(operations: Iterable[Operation]) -> dict[str, list[Call]]:
    """Return the history of each memory key; an operation and its repetitions are one call."""
    histories: dict[str, list[Call]] = {}
    tries: dict[Place | None, list[Operation]] = {}
    for operation in operations:
        key = operation.arguments.get("key")
        if key is None:
            continue
        if operation.name != "memory.get":
            tries.setdefault(operation.place, []).append(operation)
        elif operation.outcome == "ok":
            seen = operation.result
            answer = Value() if seen is None else Value(seen.version, seen.value)
            call = Call("get", operation.invoked_us, operation.returned_us, answer=answer)
            histories.setdefault(key, []).append(call)
    for group in tries.values():
        made = _call_of(group)
        if made is not None:
            histories.setdefault(group[0].arguments["key"], []).append(made)
    return histories


def renumber(calls: Iterable[Call], seqs: Sequence[int]) -> list[Call]:
    """Number versions densely where others have taken slots; ``seqs`` are those that count."""

    def dense(seq: int) -> int:
        return bisect_right(seqs, seq)

    return [
        call._replace(
            if_version=None if call.if_version is None else dense(call.if_version),
            answer=call.answer and call.answer._replace(version=dense(call.answer.version)),
        )
        for call in calls
    ]


def _call_of(tries: Sequence[Operation]) -> Call | None:
    """Make one call of an operation and its repetitions; None if it cannot have had an effect."""
    first, last = tries[0], tries[-1]
    known = first.arguments
    name = first.name.partition(".")[2]
    argument = known.get("by", 1) if name == "incr" else known["token"]
    call = Call(name, first.invoked_us, NEVER, argument, known.get("if_version"))
    if last.outcome == "ok":
        answer = Value(last.result.version, last.result.value)
        return call._replace(returned_us=last.returned_us, answer=answer)
    error = last.error
    stopped = isinstance(error, StoreError | Damaged)
    if last.outcome == "refused" and not stopped:
        assert error is not None  # noqa: S101 - a refusal is an error
        told = error.details
        answer = Value(told.get("version", 0), told.get("value"))
        return call._replace(returned_us=last.returned_us, answer=answer, refused=True)
    if last.outcome == "refused" and len(tries) == 1:
        return None  # the store could not be reached, or has junk: by promise nothing was written
    return call
