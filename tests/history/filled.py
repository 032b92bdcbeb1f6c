"""A small log in which everything that the primitives can do has happened, on any store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tclog.chain.drive import run
from tclog.errors import Refused, WaitTimeout
from tclog.log.log import Log
from tclog.log.project import Project, create_project
from tclog.store.base import Found, Store
from tclog.store.memory import MemoryStore

PROJECT = "demo"
NAMES = ("../x", "a/b é", "é" * 90, ".git", "CON", "emoji 🎉", "s,p a;c'e\"", "~", "@x")


_filled: dict[str, Found] = {}


def filled_store(folder: Path) -> MemoryStore:
    """Return a store in memory that was filled; that is done once for all tests."""
    if not _filled:
        made = MemoryStore()
        fill(made, folder)
        _filled.update(made._objects)
    store = MemoryStore()
    store._objects.update(_filled)
    return store


def open_log(store: Store, agent: str) -> Log:
    """Open the log in a store as an agent."""
    return Log(store, Project(PROJECT, "0" * 32, ""), agent=agent)


def fill(store: Store, folder: Path) -> None:
    """Make a project and use every primitive, and every op of each but one that needs time."""
    folder.mkdir(exist_ok=True)
    run(create_project(PROJECT, "0" * 32, 1_795_448_525_512_345), store)
    alice, bob, carol = (open_log(store, name) for name in ("alice", "bob", "carol"))
    _remember(alice, bob)
    _talk(alice, bob, carol)
    _work(alice, bob, carol)
    small, large = folder / "small.md", folder / "large.bin"
    small.write_text("# small\n")
    large.write_bytes(bytes(range(256)) * 9000)
    alice.artifacts.put(small, step="design")
    bob.artifacts.put(large, name="large")
    bob.artifacts.put(small, name="large")
    alice.barrier("solo", parties=1)
    alice.barrier("solo", parties=1)
    with suppress(WaitTimeout):
        bob.barrier("pair", parties=2, timeout_s=0.01)


@contextmanager
def refused(code: str) -> Iterator[None]:
    """See that what is tried here is refused, with this code word."""
    try:
        yield
    except Refused as error:
        assert error.code == code, error
    else:
        raise AssertionError(f"not refused with {code}")


def _remember(alice: Log, bob: Log) -> None:
    for nth, name in enumerate(NAMES):
        alice.memory.set(name, f"value {nth}", id="once" if nth == 0 else None)
    alice.memory.set("json", {"b": [1, 2, {"blob": "f" * 64, "size": 3}], "a": None})
    alice.memory.set("float", [1.5, 2e300])
    alice.memory.set("big", "line\n" * 5000)
    bob.memory.append("big", "more")
    bob.memory.set("big json", ["x" * 100] * 300)
    for word in ("one", "two", "three"):
        alice.memory.append("journal", word)
        bob.memory.append("journal", f"{word} " * 3000)
    bob.memory.incr("count", 5)
    alice.memory.incr("count")
    bob.memory.set("same", "same")
    bob.memory.set("same", "same", if_version=1)
    with refused("version-conflict"):
        alice.memory.set("same", "other", if_version=1)
    alice.memory.delete("same")
    alice.memory.set("same", "again", if_absent=True)


def _talk(alice: Log, bob: Log, carol: Log) -> None:
    alice.send("bob", "hi")
    alice.send("@all", "all of you")
    bob.send("alice,carol", "to two")
    bob.send("@all", "long " * 5000)
    bob.send("carol", "last", step="design", id="once")
    for log in (alice, bob, carol):
        log.ack(log.inbox())
    carol.send("@all", "bye")
    alice.inbox()


def _work(alice: Log, bob: Log, carol: Log) -> None:
    alice.steps.add("design", title="Design it")
    alice.steps.add("build", after=["design"], priority=3)
    alice.steps.claim("design", lease_s=60)
    alice.steps.note("design", "half done")
    alice.steps.note("design", "half done")
    # The lease is long while they try, so that both are refused however slow the machine is.
    for late in (bob, carol):
        with refused("step-held"):
            late.steps.claim("design")
    alice.steps.renew("design", lease_s=0.1)
    time.sleep(1.3 if alice.store.resolution_us < 1_000_000 else 3.2)
    bob.steps.claim("design")
    bob.steps.renew("design", lease_s=60)
    bob.steps.complete("design", note="done", to="carol", next_action="build", changed_files=["a"])
    carol.steps.claim(next=True, lease_s=60)
    carol.steps.release("build")
    carol.steps.claim("build", lease_s=600)
    bob.steps.complete("build", outcome="blocked", force=True, reason="carol is away")
    alice.steps.reopen("build")
    alice.steps.claim("build", lease_s=600)
