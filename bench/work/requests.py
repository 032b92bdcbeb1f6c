"""Count the requests of each operation: requests.py FOLDER VERSIONS|generated.

With a number, a key gets that many versions first, an inbox and a counter a tenth of them; with the
word ``generated``, the folder holds a project already. What an agent knows who has done the same
before is *warm*; a process that has never seen the project is *cold*.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from counting import Counting

import tclog
from tclog.chain.drive import run
from tclog.errors import WaitTimeout
from tclog.log.project import create_project, read_project
from tclog.store import Location, open_store

# The name that the generator of logs gives, too.
NAME = "default"


def main(folder: str, what: str) -> None:
    store = open_store(Location(folder, NAME, {"fsync": False}), create=True)
    versions = 1 if what == "generated" else int(what)
    if what != "generated":
        run(create_project(NAME, "0" * 32, time.time_ns() // 1000), store)
    counting = Counting(store)
    project = run(read_project(NAME), store)

    def open_as(agent: str) -> tclog.Log:
        return tclog.Log(counting, project, agent=agent)  # type: ignore[arg-type]

    writer = open_as("writer")
    for nth in range(versions):
        writer.memory.set("key", f"value {nth}")
        if nth % 10 == 0:
            writer.memory.incr("count")
            writer.send("robert", f"message {nth}")
    bob = open_as("robert")
    bob.ack(bob.inbox())
    for op, known, act in operations(open_as, writer, bob):
        counting.counts.clear()
        begun_s = time.perf_counter()
        act()
        wall_s = round(time.perf_counter() - begun_s, 6)
        print(json.dumps({"op": op, "known": known, "wall_s": wall_s,
                          "requests": dict(counting.counts)}))  # fmt: skip


def operations(
    open_as: Callable[[str], tclog.Log], writer: tclog.Log, bob: tclog.Log
) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Yield what is counted; each is done once."""
    fresh = iter(range(1000))

    def new() -> tclog.Log:
        return open_as(f"new-{next(fresh)}")

    writer.steps.claim("warm-up")
    writer.send("robert", "warm-up")
    bob.ack(bob.inbox())
    yield "claim of a fresh step", "warm", lambda: writer.steps.claim("fresh-1")
    log = new()
    yield "claim of a fresh step", "cold", lambda: log.steps.claim("fresh-2")
    log = new()
    yield "claim of a held step", "cold", lambda: _refused(log, "fresh-1")
    yield "complete", "warm", lambda: writer.steps.complete("fresh-1")
    yield "memory set", "warm", lambda: writer.memory.set("key", "v")
    log = new()
    yield "memory set", "cold", lambda: log.memory.set("key", "w")
    writer.memory.get("key")
    yield "memory get", "warm", lambda: writer.memory.get("key")
    log = new()
    yield "memory get", "cold", lambda: log.memory.get("key")
    yield "memory incr", "warm", lambda: writer.memory.incr("count")
    yield "send", "warm", lambda: writer.send("robert", "x")
    log = new()
    yield "send", "cold", lambda: log.send("robert", "y")
    bob.ack(bob.inbox())
    yield "inbox, nothing new", "warm", bob.inbox
    writer.send("robert", "z")
    yield "inbox, one message", "warm", bob.inbox
    yield "inbox", "cold", lambda: open_as("robert").inbox()
    yield "wait-for, one round", "warm", lambda: _waited(writer)


def _refused(log: tclog.Log, step: str) -> None:
    try:
        log.steps.claim(step)
    except tclog.Refused:
        return
    msg = f"{step} was claimed twice"
    raise AssertionError(msg)


def _waited(log: tclog.Log) -> None:
    try:
        log.wait_for("warm-up", timeout_s=0)
    except WaitTimeout:
        return
    msg = "a step that nobody completed is complete"
    raise AssertionError(msg)


if __name__ == "__main__":
    main(*sys.argv[1:])
