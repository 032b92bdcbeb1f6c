"""The trace of a schedule in words: one line for each thing that happened, and a digest of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tclog.event import digest
from tclog.store.base import Created, Found
from tclog.testing.scheduler import BEGIN_US, Happened

_ID_CHARACTERS = 8
_KEY_CHARACTERS = 90


def write_trace(happened: Iterable[Happened]) -> Iterator[str]:
    """Say what happened, line by line: seconds of virtual time, who, what."""
    for one in happened:
        yield f"{(one[0] - BEGIN_US) / 1e6:14.6f}  {one[1]:<9} {_words(one)}"


def digest_trace(happened: Iterable[Happened]) -> str:
    """Return a digest of the whole trace: equal schedules have equal ones."""
    return digest("\n".join(write_trace(happened)).encode())


def _words(one: Happened) -> str:
    _, _, what, thing, more = one
    match what:
        case "begin":
            again = " again" if thing.repeats else ""
            return f"begins #{thing.number()}{again}: {thing.asked()}"
        case "end":
            return f"ends   #{thing.number()}: {thing.answered()}"
        case "crash":
            kept = "with its cache" if more else "without memory"
            return f"dies in #{thing.number()}, and will be back {kept}"
        case "jump":
            return f"has its clock set {thing / 1e6:+.3f} s off"
        case "fault":
            return f"  {more}: {_request(thing)}"
    return f"  {_request(thing)} -> {_reply(more)}"


def _request(request: Any) -> str:
    key = str(getattr(request, "key", None) or getattr(request, "prefix", ""))
    if len(key) > _KEY_CHARACTERS:
        key = f"{key[: _KEY_CHARACTERS - 20]}...{key[-17:]}"
    data = getattr(request, "data", None)
    return f"{type(request).__name__} {key}" + ("" if data is None else f" [{_id(data)}]")


def _reply(reply: Any) -> str:
    if reply is None:
        return "absent"
    if isinstance(reply, Found):
        return f"[{_id(reply.data)}] of {reply.stored}"
    if isinstance(reply, Created):
        return reply.outcome.value
    if isinstance(reply, list):
        return f"{len(reply)} keys" + (f", first {reply[0].key[-24:]}" if reply else "")
    return str(getattr(reply, "stored", reply))


def _id(data: bytes) -> str:
    return digest(data)[:_ID_CHARACTERS]
