"""The probe trusts what keeps the promise, and says what it saw of what does not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stores import Around, Counting, Server, fresh_bucket, open_s3

from tclog.clock import SECOND_US
from tclog.errors import StoreDenied, StoreMissing, StoreUnfit
from tclog.store.base import Created, Entry, Found, Outcome
from tclog.store.file import FileStore
from tclog.store.memory import MemoryStore
from tclog.store.probe import probe
from tclog.store.s3 import S3Store

SEVERAL = "the server lets several writers create one object"


def check(store: Around | FileStore | MemoryStore | S3Store) -> None:
    """Probe with the defaults: a store passes as it would at `tclog init`."""
    report = probe(store, os.urandom(4).hex())
    assert report.rounds >= 3
    assert report.racers >= 32
    assert report.undecided <= report.rounds * report.racers
    assert abs(report.offset_us) < 5 * SECOND_US


# -- fit ------------------------------------------------------------------------------------------


def test_memory_and_folder_pass(tmp_path: Path) -> None:
    check(MemoryStore())
    check(FileStore(tmp_path / "store"))
    check(FileStore(tmp_path / "other", ignores_case=True))


@pytest.mark.parametrize("client", ["obstore", "boto3"])
@pytest.mark.parametrize("name", ["moto", "ceph"])
def test_buckets_pass(request: pytest.FixtureRequest, name: str, client: str) -> None:
    server: Server = request.getfixturevalue(name)
    store = open_s3(server, client=client)
    # moto checks, then puts, without a lock: several racers would find it out, now and then.
    report = probe(store, "x", racers=1 if name == "moto" else 32)
    assert abs(report.offset_us) < 5 * SECOND_US
    assert store.list("probe-x", "", 10, False) == []


def test_the_probe_leaves_nothing_behind() -> None:
    store = MemoryStore()
    store.put("other/1", b"1")
    check(store)
    assert list(store._objects) == ["other/1"]


def test_the_probe_may_be_run_twice_at_once() -> None:
    store, failures = MemoryStore(), []

    def one() -> None:
        try:
            check(store)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_clock_that_is_off_is_measured() -> None:
    hour_us = 3600 * SECOND_US
    behind = MemoryStore(lambda: time.time_ns() // 1000 - hour_us)
    ahead = MemoryStore(lambda: time.time_ns() // 1000 + hour_us)
    assert abs(probe(behind, "x").offset_us + hour_us) < SECOND_US
    assert abs(probe(ahead, "x").offset_us - hour_us) < SECOND_US


def test_credentials_without_delete_are_enough() -> None:
    class Keeps(Around):
        def delete(self, key: str) -> None:
            raise StoreDenied("no s3:DeleteObject")

    check(Keeps(MemoryStore()))


def test_a_bucket_that_is_not_there_is_said_so(moto: Server) -> None:
    settings = fresh_bucket(moto)._replace(bucket="tclog-never-made")
    with pytest.raises(StoreMissing):
        probe(S3Store(settings, moto.environ), "x")


def test_lost_replies_do_not_make_a_store_unfit() -> None:
    class Forgetful(Around):
        def create(self, key: str, data: bytes) -> Created:
            made = self.inner.create(key, data)
            return made if made.outcome is not Outcome.WON else Created(Outcome.UNKNOWN)

    report = probe(Forgetful(MemoryStore()), "x")
    assert report.undecided == report.rounds


# -- unfit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_rclone_is_refused(rclone: Server, client: str) -> None:
    store = open_s3(rclone, client=client)
    with pytest.raises(StoreUnfit) as told:
        check(store)
    assert told.value.exit == 7
    assert told.value.code == "store-unfit"
    assert SEVERAL in told.value.message
    assert store.url in told.value.message
    assert told.value.hint


class IgnoresTheCondition(Around):
    def create(self, key: str, data: bytes) -> Created:
        self.inner.put(key, data)
        return Created(Outcome.WON)


class ChecksThenPuts(Around):
    def create(self, key: str, data: bytes) -> Created:
        if self.inner.get(key) is not None:
            return Created(Outcome.EXISTS)
        time.sleep(0.002)
        self.inner.put(key, data)
        return Created(Outcome.WON)


class LetsALateOneIn(Around):
    """Refuses racers, but forgets about it when the race is over."""

    def create(self, key: str, data: bytes) -> Created:
        if not data.startswith(b"racer"):
            self.inner.put(key, data)
        return self.inner.create(key, data)


class TellsALoserThatItWon(Around):
    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.lock = threading.Lock()
        self.told: set[str] = set()

    def create(self, key: str, data: bytes) -> Created:
        with self.lock:
            made = self.inner.create(key, data)
            if made.outcome is Outcome.WON or key in self.told:
                return Created(Outcome.EXISTS)
            self.told.add(key)
            return Created(Outcome.WON)


class KeepsOtherBytes(Around):
    def create(self, key: str, data: bytes) -> Created:
        return self.inner.create(key, data + b" or so")


class KeepsNothing(Around):
    def create(self, key: str, data: bytes) -> Created:
        return Created(Outcome.EXISTS)


class ReadsStale(Around):
    """Shows an overwritten object as it was for a while."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.before: dict[str, tuple[Found | None, float]] = {}

    def put(self, key: str, data: bytes) -> None:
        self.before[key] = (self.inner.get(key), time.monotonic() + 0.2)
        self.inner.put(key, data)

    def get(self, key: str) -> Found | None:
        old, until = self.before.get(key, (None, 0.0))
        return old if time.monotonic() < until else self.inner.get(key)


class ReadsNothingAtFirst(ReadsStale):
    """Remembers for a while that an object was not there."""

    def put(self, key: str, data: bytes) -> None:
        self.inner.put(key, data)

    def create(self, key: str, data: bytes) -> Created:
        self.before.setdefault(key, (None, time.monotonic() + 0.5))
        return self.inner.create(key, data)


class ListsLate(Around):
    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        return []


class ListsBackwards(Around):
    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        return self.inner.list(prefix, after, limit, folders)[::-1]


class SortsEachPage(Around):
    """Its pages are sorted, but the first one does not hold the first objects."""

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        return self.inner.list(prefix, after, 1000, folders)[-limit:]


class IgnoresAfter(Around):
    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        return self.inner.list(prefix, "", limit, folders)


class BeginsAtAfter(Around):
    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        rows = self.inner.list(prefix, "", 1000, folders)
        return [row for row in rows if row.key >= after][:limit]


UNFIT: dict[Callable[[MemoryStore], Around], str] = {
    IgnoresTheCondition: SEVERAL,
    ChecksThenPuts: SEVERAL,
    LetsALateOneIn: SEVERAL,
    TellsALoserThatItWon: SEVERAL,
    KeepsOtherBytes: SEVERAL,
    KeepsNothing: "none is there",
    ReadsStale: "read back old or absent",
    ReadsNothingAtFirst: "none is there",
    ListsLate: "does not show in order",
    ListsBackwards: "does not show in order",
    SortsEachPage: "does not show the first one",
    IgnoresAfter: "does not begin there",
    BeginsAtAfter: "does not begin there",
}


@pytest.mark.parametrize("kind", UNFIT, ids=lambda kind: kind.__name__)
def test_a_broken_store_is_refused(kind: Callable[[MemoryStore], Around]) -> None:
    inner = MemoryStore()
    with pytest.raises(StoreUnfit) as told:
        probe(kind(inner), "x")
    assert UNFIT[kind] in told.value.message
    assert inner.list("probe-x", "", 1000, False) == []


def test_a_store_that_fails_one_time_in_many_is_found() -> None:
    """Two winners in one round of six are enough, and no round is left out."""

    class Slips(Around):
        slipped = 0

        def create(self, key: str, data: bytes) -> Created:
            made = self.inner.create(key, data)
            if made.outcome is Outcome.EXISTS and key.endswith("5") and not self.slipped:
                self.slipped += 1
                return Created(Outcome.WON)
            return made

    with pytest.raises(StoreUnfit) as told:
        probe(Slips(MemoryStore()), "x")
    assert told.value.details == {"winners": 2}


def test_what_a_probe_costs() -> None:
    store = Counting(MemoryStore())
    report = probe(store, "x")
    spent = store.count()
    assert spent["create"] == report.rounds * (report.racers + 1)
    assert spent["put"] == 2
    assert spent["get"] == 1 + 2 * report.rounds
    assert spent["list"] == 3
    assert spent["delete"] == report.rounds + 1
