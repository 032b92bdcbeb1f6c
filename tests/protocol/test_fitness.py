"""A store that stops to keep the condition of a create is noticed within a day, and left alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.stores import Counting, Server, bucket_of, open_s3, raw_client

import tclog
from tclog.chain.drive import run
from tclog.chain.heads import FIT_KEPT_S
from tclog.errors import StoreDenied, StoreError, StoreUnfit, StoreUnreachable
from tclog.log.project import MARK, Project, create_project
from tclog.store.base import Created, Outcome, Store
from tclog.store.memory import MemoryStore


class Turning(Counting):
    """A store that ignores conditions once it is told to, as Ceph does with versioning."""

    ignores = False
    answer: Callable[[], Created] | None = None

    def create(self, key: str, data: bytes) -> Created:
        if key == MARK and self.answer is not None:
            self.seen.append(("create", key))
            return self.answer()
        if self.ignores:
            self.seen.append(("create", key))
            self.inner.put(key, data)
            return Created(Outcome.WON)
        return super().create(key, data)

    def keep(self, key: str, data: bytes) -> Any:
        self.seen.append(("keep", key))
        return self.inner.keep(key, data)


class Site:
    """A project in a store that may turn, and the machines of its agents."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = Turning(store)
        self.folder = folder
        self.project = run(create_project("default", "0" * 32, 0), self.store)

    def user(self, agent: str = "alice", machine: str | None = "one") -> tclog.Log:
        """Open the log as a new process on a machine; None: one that keeps no cache."""
        cache = None if machine is None else self.folder / machine
        return tclog.Log(self.store, self.project, agent=agent, cache=cache)

    def pass_day(self, machine: str = "one") -> None:
        """Let the last trial of a machine be a day old."""
        past = time.time() - FIT_KEPT_S - 1
        os.utime(self.folder / machine / "fit", (past, past))

    def asked(self) -> list[str]:
        """Return what was asked of the mark, and forget it."""
        verbs = [verb for verb, key in self.store.seen if key == MARK]
        self.store.clear()
        return verbs

    def written(self) -> set[str]:
        """Return the keys of what stands in the log."""
        return {key for verb, key in self.store.seen if verb in ("create", "keep", "put")} - {MARK}


@pytest.fixture(params=["memory", "moto"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "memory":
        return Site(MemoryStore(), tmp_path)
    return Site(open_s3(request.getfixturevalue("moto")), tmp_path)


def transact(log: tclog.Log) -> Any:
    transaction = log.transaction()
    transaction.memory_set("k", "next")
    return log.transact(transaction)


WRITES: dict[str, Callable[[tclog.Log], Any]] = {
    "set": lambda log: log.memory.set("k", "v"),
    "incr": lambda log: log.memory.incr("n"),
    "send": lambda log: log.send("bob", "hello"),
    "broadcast": lambda log: log.send("@all", "hello"),
    "claim": lambda log: log.steps.claim("build"),
    "keyed": lambda log: log.memory.set("k", "v", id="once"),
    "barrier": lambda log: log.barrier("b", parties=1),
    "txn": transact,
}


@pytest.mark.parametrize("write", WRITES)
def test_no_write_goes_to_a_store_that_turned(site: Site, write: str) -> None:
    site.user().memory.set("before", "1")
    site.store.ignores = True
    site.pass_day()
    for agent, machine in (("alice", "one"), ("bob", "one"), ("carol", "two")):
        site.store.clear()
        with pytest.raises(StoreUnfit) as told:
            WRITES[write](site.user(agent, machine))
        assert (told.value.code, told.value.exit) == ("store-unfit", 7)
        assert told.value.hint == "tclog doctor"
        assert MARK in told.value.message
        assert site.written() == set()
    # What was there can be looked at, and the mark is what it was.
    assert site.user().memory.get("before").value == "1"
    assert run(create_project("default", "1" * 32, 0), site.store.inner) == site.project


def test_it_is_remembered_without_another_look(site: Site) -> None:
    site.user().memory.set("k", "1")
    site.store.ignores = True
    site.pass_day()
    log = site.user()
    for one in (log, log, site.user("bob")):
        with pytest.raises(StoreUnfit):
            one.memory.set("k", "2")
    site.store.ignores = False
    site.pass_day()
    site.asked()
    with pytest.raises(StoreUnfit):
        site.user().memory.set("k", "2")
    assert site.asked() == []


def test_it_costs_two_requests_a_day_and_machine(site: Site) -> None:
    site.user().memory.set("k", "1")
    assert site.asked()[-2:] == ["get", "create"]
    for agent in ("alice", "bob"):
        log = site.user(agent)
        log.memory.set("k", "2")
        log.memory.set("k", "3")
        log.memory.get("k")
    assert site.asked() == []
    site.pass_day()
    site.user().memory.get("k")
    assert site.asked() == []
    site.user().memory.set("k", "4")
    assert site.asked() == ["get", "create"]
    site.user().memory.set("k", "5")
    assert site.asked() == []


def test_a_process_without_a_cache_looks_after_a_day(site: Site) -> None:
    log, now_s = site.user(machine=None), [0.0]
    log.client.monotonic_s = lambda: now_s[0]
    log.memory.set("k", "1")
    site.store.ignores = True
    now_s[0] += FIT_KEPT_S + 1
    for _ in range(2):
        with pytest.raises(StoreUnfit):
            log.memory.set("k", "2")


def test_a_clock_that_was_set_back_does_not_put_the_look_off(site: Site) -> None:
    site.user().memory.set("k", "1")
    future = time.time() + 30 * FIT_KEPT_S
    os.utime(site.folder / "one" / "fit", (future, future))
    site.asked()
    site.user().memory.set("k", "2")
    assert site.asked() == ["get", "create"]


def _raises(error: StoreError) -> Callable[[], Created]:
    def answer() -> Created:
        raise error

    return answer


ANSWERS = {
    # How often the next three writes ask again.
    "no answer": (lambda: Created(Outcome.UNKNOWN, cause="503"), 3),
    "unreachable": (_raises(StoreUnreachable("down")), 3),
    "denied": (_raises(StoreDenied("no")), 1),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_says_nothing_stops_nothing(site: Site, kind: str) -> None:
    site.store.answer, times = ANSWERS[kind]
    site.asked()
    for _ in range(3):
        site.user().memory.set("k", "1")
    assert site.asked() == ["get", "create"] * times


def test_a_mark_that_is_gone_is_not_made_again(site: Site) -> None:
    site.store.inner.delete(MARK)
    site.user().memory.set("k", "1")
    assert site.store.inner.get(MARK) is None


def test_a_folder_needs_no_look(tmp_path: Path) -> None:
    log = tclog.open(tmp_path / "store", agent="alice", cache=tmp_path / "cache", create=True)
    log.memory.set("k", "1")
    assert not (tmp_path / "cache" / "fit").exists()


def test_a_server_that_ignores_the_condition(rclone: Server, tmp_path: Path) -> None:
    """Not a double: the project was moved to it, say."""
    store = open_s3(rclone)
    store.put(MARK, b'{"created_at":"2026-01-01T00:00:00.000000Z"}')
    log = tclog.Log(
        store, Project("default", "0" * 32, ""), agent="alice", cache=tmp_path / "cache"
    )
    with pytest.raises(StoreUnfit):
        log.steps.claim("build")
    assert store.list("events", "", 10, False) == store.list("chains", "", 10, False) == []


def test_versioning_that_is_switched_on(ceph: Server, tmp_path: Path) -> None:
    """Ceph RGW then lets everybody create everything, also what is there."""
    server = ceph._replace(bucket=f"{ceph.bucket}-versions")
    with bucket_of(server, keep=True):
        site = Site(open_s3(server), tmp_path)
        site.user().memory.set("k", "1")
        raw_client(server).put_bucket_versioning(
            Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        site.pass_day()
        for machine in ("one", "two"):
            with pytest.raises(StoreUnfit):
                site.user(machine=machine).steps.claim("build")
