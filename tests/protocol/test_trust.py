"""A store that was set back to an older copy is noticed by whoever remembers what came after."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from support.stores import Counting, fresh_bucket, open_s3, raw_client

import tclog
from tclog.chain.drive import run
from tclog.chain.heads import LOOK_EVERY_S, FileHeads, MemoryHeads
from tclog.chain.remembered import Remembered, is_same
from tclog.chain.trust import guard
from tclog.clock import Stamp
from tclog.errors import Damaged, Forked, RolledBack
from tclog.event import ChainId, chain_id, slot_key
from tclog.log.project import create_project
from tclog.store.base import Create, Entry, Get, Keep, Store
from tclog.store.memory import MemoryStore

KEY = chain_id("memory", "k")


class Folder:
    """A project in a folder, which can be set back to a copy of it."""

    def __init__(self, path: Path) -> None:
        self.path = path / "store"
        self.cache = path / "cache"
        tclog.open(self.path, agent="alice", create=True)

    def user(self, agent: str = "alice", *, cache: bool = True) -> tclog.Log:
        """Open the log as a new process of a user, or of one on a machine that is new."""
        return tclog.open(self.path, agent=agent, cache=self.cache if cache else None)

    def keep(self) -> Callable[[], None]:
        """Make a copy; what is returned puts it back."""
        copy = self.path.with_name("copy")
        shutil.copytree(self.path, copy)

        def back() -> None:
            shutil.rmtree(self.path)
            shutil.copytree(copy, self.path)

        return back


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def write(log: tclog.Log, *values: str) -> None:
    for value in values:
        log.memory.set("k", value)


def transact(log: tclog.Log) -> Any:
    transaction = log.transaction()
    transaction.memory_set("k", "next")
    return log.transact(transaction)


ACTS: dict[str, Callable[[tclog.Log], Any]] = {
    "get": lambda log: log.memory.get("k"),
    "set": lambda log: log.memory.set("k", "next"),
    "guarded": lambda log: log.memory.set("k", "next", if_version=3),
    "list": lambda log: log.memory.list(values=True),
    "incr": lambda log: log.memory.incr("k"),
    "txn": transact,
    "keyed": lambda log: log.memory.set("k", "next", id="once"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("fork", [True, False])
@pytest.mark.parametrize("process", ["same", "new"])
def test_a_folder_that_was_set_back(folder: Folder, act: str, fork: bool, process: str) -> None:
    log = folder.user()
    write(log, "one")
    back = folder.keep()
    write(log, "two", "3")
    back()
    if fork:
        write(folder.user("bob", cache=False), "two of bob", "4")
    before = sorted(folder.path.rglob("chains/**/*.json"))
    log = log if process == "same" else folder.user()
    with pytest.raises(Forked if fork else RolledBack) as told:
        ACTS[act](log)
    error = told.value
    assert (error.exit, error.hint) == (8, "tclog trust accept --help")
    assert error.code == ("forked" if fork else "rolled-back")
    remembered, found = error.details["remembered"], error.details["found"]
    assert (remembered["chain"], remembered["version"], remembered["agent"]) == (KEY, 3, "alice")
    assert (found["version"], found["agent"]) == ((3, "bob") if fork else (1, "alice"))
    assert "version 3 of memory/k by alice" in error.message
    assert fork or "its newest is version 1 by alice" in error.message
    assert sorted(folder.path.rglob("chains/**/*.json")) == before


def test_two_caches_never_fork_a_chain(folder: Folder, tmp_path: Path) -> None:
    write(folder.user(), "one")
    back = folder.keep()
    write(folder.user(), "two")
    back()
    folder.cache = tmp_path / "other"
    write(folder.user("bob"), "two of bob")
    folder.cache = tmp_path / "cache"
    with pytest.raises(Forked):
        write(folder.user(), "three")
    assert len(list(folder.path.rglob("chains/memory/k/*.json"))) == 2


def test_a_slot_that_holds_junk_is_told_as_junk(folder: Folder) -> None:
    write(folder.user(), "one")
    slot = folder.path / "default" / slot_key(KEY, 1)
    slot.write_bytes(b"junk")
    with pytest.raises(Damaged) as told:
        folder.user().memory.get("k")
    assert told.value.code == "damaged"
    assert slot_key(KEY, 1) in told.value.message or "version 1" in told.value.message


# -- a bucket -------------------------------------------------------------------------------------


class Bucket:
    """A project in a store with latency, seen by clients whose time is given."""

    def __init__(self, store: Store) -> None:
        self.store = Counting(store)
        self.now_s = 1000.0
        self.project = run(create_project("default", "0" * 32, 0), self.store)

    def user(self, agent: str = "alice", cache: Path | None = None) -> tclog.Log:
        log = tclog.Log(self.store, self.project, agent=agent, cache=cache)
        log.client.monotonic_s = lambda: self.now_s
        return log


@pytest.fixture(params=["memory", "moto"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param == "memory":
        return Bucket(MemoryStore())
    return Bucket(open_s3(request.getfixturevalue("moto")))


def remove(store: Store, chain: ChainId, *seqs: int) -> None:
    store.delete(*(slot_key(chain, seq) for seq in seqs))


@pytest.mark.parametrize("fork", [True, False])
@pytest.mark.parametrize("act", ["get", "set", "other"])
def test_a_bucket_that_was_set_back_is_noticed_within_a_minute(
    bucket: Bucket, act: str, fork: bool
) -> None:
    """Also where what is asked for was not lost: the newest that is remembered is looked at."""
    log = bucket.user()
    log.memory.set("other", "kept")
    write(log, "one", "two")
    remove(bucket.store, KEY, 2)
    if fork:
        write(bucket.user("bob"), "two of bob")
    bucket.now_s += LOOK_EVERY_S + 1
    acts = {**ACTS, "other": lambda log: log.memory.get("other")}
    with pytest.raises(Forked if fork else RolledBack):
        acts[act](log)
    with pytest.raises(Forked if fork else RolledBack):
        acts[act](log)


@pytest.mark.parametrize("process", ["same", "new"])
@pytest.mark.parametrize("looked", [False, True])
def test_what_others_write_after_a_bucket_was_set_back_does_not_hide_the_loss(
    bucket: Bucket, tmp_path: Path, process: str, looked: bool
) -> None:
    alice, carol = bucket.user(cache=tmp_path), bucket.user("carol")
    if looked:
        alice.memory.set("first", "so that the chain of the first version is another")
    write(alice, "one", "lost")
    if looked:
        bucket.now_s += LOOK_EVERY_S + 1
        past = time.time() - LOOK_EVERY_S - 1
        os.utime(tmp_path / "looked", (past, past))
        assert alice.memory.get("k").value == "lost"
    remove(bucket.store, KEY, 2)
    carol.memory.set("z", "later than what was lost")
    assert alice.memory.get("z").value == "later than what was lost"
    bucket.now_s += LOOK_EVERY_S + 1
    past = time.time() - LOOK_EVERY_S - 1
    os.utime(tmp_path / "looked", (past, past))
    again = alice if process == "same" else bucket.user(cache=tmp_path)
    for _ in range(2):
        with pytest.raises(RolledBack):
            again.memory.get("another")


def test_what_is_read_next_is_compared_at_once(bucket: Bucket) -> None:
    log = bucket.user()
    write(log, "one", "two")
    remove(bucket.store, KEY, 2)
    write(bucket.user("bob"), "two of bob", "three of bob")
    with pytest.raises(Forked) as told:
        log.memory.get("k")
    assert told.value.details["found"]["agent"] == "bob"


def test_a_look_costs_one_request_a_minute_beside_another(bucket: Bucket) -> None:
    log = bucket.user()
    write(log, "one")
    if bucket.store.inner.url == "memory:":
        log = bucket.user()
        log.memory.get("k")  # tells the stamp, for there is no tag
    for _ in range(3):
        bucket.now_s += LOOK_EVERY_S + 1
        for expected in ({"get": 1, "stat": 1}, {"get": 1}):
            bucket.store.clear()
            log.memory.get("k")
            assert dict(bucket.store.count()) == expected


def test_processes_share_the_minute(tmp_path: Path) -> None:
    bucket = Bucket(open_like_kms())
    write(bucket.user(cache=tmp_path), "one")

    def cost() -> dict[str, int]:
        bucket.store.clear()
        assert bucket.user(cache=tmp_path).memory.get("k").value == "one"
        return dict(bucket.store.count())

    assert cost() == {"get": 1}
    past = time.time() - LOOK_EVERY_S - 1
    os.utime(tmp_path / "looked", (past, past))
    # Without an MD5 the bytes are read once, and from then on the stamp tells.
    assert cost() in ({"get": 2, "stat": 1}, {"get": 1, "stat": 1})
    assert cost() == {"get": 1}
    os.utime(tmp_path / "looked", (past, past))
    assert cost() == {"get": 1, "stat": 1}


def open_like_kms() -> MemoryStore:
    class Kms(MemoryStore):
        def stat(self, key: str) -> Entry | None:
            found = super().stat(key)
            return found and found._replace(tag=os.urandom(16).hex())

    return Kms()


def test_a_bucket_is_set_back_between_two_processes(tmp_path: Path) -> None:
    bucket = Bucket(MemoryStore())
    write(bucket.user(cache=tmp_path), "one", "two")
    remove(bucket.store, KEY, 2)
    past = time.time() - LOOK_EVERY_S - 1
    os.utime(tmp_path / "looked", (past, past))
    for _ in range(2):
        with pytest.raises(RolledBack):
            bucket.user("bob", cache=tmp_path).memory.get("another")


def test_a_restored_bucket_with_the_same_bytes_is_the_same(moto: Any) -> None:
    """A copy has other stamps; its ETags are those of the bytes."""
    settings = fresh_bucket(moto)
    bucket = Bucket(open_s3(moto, settings))
    log = bucket.user()
    write(log, "one")
    client, key = raw_client(moto), f"{settings.prefix}/{slot_key(KEY, 1)}"
    client.put_object(Bucket=settings.bucket, Key=key, Body=log.client.known(KEY).raw)
    bucket.now_s += LOOK_EVERY_S + 1
    bucket.store.clear()
    assert log.memory.get("k").value == "one"
    assert dict(bucket.store.count()) == {"get": 1, "stat": 1}


def test_a_look_that_gets_no_answer_says_nothing() -> None:
    class Mute(MemoryStore):
        def stat(self, key: str) -> Entry | None:
            raise tclog.StoreDenied("no HEAD")

    bucket = Bucket(Mute())
    log = bucket.user()
    write(log, "one")
    bucket.now_s += LOOK_EVERY_S + 1
    bucket.store.clear()
    assert log.memory.get("k").value == "one"
    assert log.memory.get("k").value == "one"
    assert bucket.store.count()["stat"] == 1


@pytest.mark.parametrize("many", [False, True])
def test_a_look_that_fails_is_no_failure_of_what_it_rides_beside(many: bool) -> None:
    """As it was until November 2026: an announced message was called refused, and committed."""
    bucket = Bucket(MemoryStore())
    log = bucket.user()
    write(log, "one")
    bucket.now_s += LOOK_EVERY_S + 1
    asked = (Get("x"), Keep("y", b"")) if many else Get("x")
    step = guard(log.client, iter_of(asked))
    sent = next(step)
    replies: list[Any] = [None] * len(sent)  # the head that is remembered is said to be absent
    request = step.send(replies)
    assert type(request) is Get
    with pytest.raises(StopIteration) as ended:
        step.throw(tclog.StoreError("no answer"))
    assert ended.value.value == ([None, None] if many else None)


def test_a_look_never_comes_between_a_create_and_its_answer() -> None:
    bucket = Bucket(MemoryStore())
    log = bucket.user()
    write(log, "one")
    bucket.now_s += LOOK_EVERY_S + 1
    seen: list[Any] = []

    def act() -> Any:
        yield Create("x", b"")
        seen.append((yield Get("x")))

    step = guard(log.client, act())
    asked = [next(step)]
    asked.append(step.send(None))
    assert [type(one) for one in asked] == [Create, Get]
    step = guard(log.client, iter_of(Get("x")))
    assert type(next(step)) is tuple


def iter_of(step: Any) -> Any:
    return (yield step)


# -- what is remembered ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_no_version_is_swapped_for_another_of_its_number(kind: str, tmp_path: Path) -> None:
    versions = []
    for agent in ("alice", "bob"):
        log = Bucket(MemoryStore()).user(agent)
        write(log, "value")
        versions.append(log.client.known(KEY))
    heads = MemoryHeads() if kind == "memory" else FileHeads(tmp_path)
    heads.put(versions[0])
    heads.put(versions[0]._replace(stored=Stamp("2026-11-27T00:00:00.000000Z")))
    again = [heads] if kind == "memory" else [heads, FileHeads(tmp_path)]
    for one in again:
        with pytest.raises(Forked):
            one.put(versions[1])
    for one in [heads] if kind == "memory" else [heads, FileHeads(tmp_path)]:
        assert one.get(KEY).id == versions[0].id


def test_a_process_that_is_behind_leaves_what_another_remembers(tmp_path: Path) -> None:
    log = Bucket(MemoryStore()).user()
    found = []
    for value in ("one", "two", "three"):
        write(log, value)
        found.append(log.client.known(KEY))
    slow, quick = FileHeads(tmp_path), FileHeads(tmp_path)
    slow.put(found[0])
    quick.put(found[2])
    slow.put(found[1])
    assert FileHeads(tmp_path).get(KEY).seq == 3


def test_a_head_file_that_was_cut_short_is_no_evidence(tmp_path: Path) -> None:
    log = Bucket(MemoryStore()).user()
    write(log, "one")
    heads = FileHeads(tmp_path)
    heads.put(log.client.known(KEY))
    (file,) = (tmp_path / "heads").iterdir()
    whole = file.read_bytes()
    for end in range(0, len(whole), 7):
        file.write_bytes(whole[:end])
        fresh = FileHeads(tmp_path)
        assert fresh.get(KEY) is None
        assert fresh.due(0.0) == ()


# -- what tells, without the bytes, that they are the same ----------------------------------------


STAMP, LATER = Stamp("2026-11-27T00:00:00.000000Z"), Stamp("2026-11-28T00:00:00.000000Z")


@pytest.mark.parametrize("known", [STAMP, None])
@pytest.mark.parametrize(
    ("stored", "tag", "told"),
    [
        (STAMP, "md5", True),
        (LATER, "md5", True),
        (STAMP, "other", "stamp"),
        (STAMP, "", "stamp"),
        (LATER, "other", False),
        (None, "other", False),
        (None, "", False),
    ],
)
def test_an_object_is_the_remembered_one_by_its_md5_or_else_by_its_stamp(
    known: Stamp | None, stored: Stamp | None, tag: str, told: bool | str
) -> None:
    raw = b"the bytes"
    one = Remembered(KEY, 1, raw, known)
    tag = md5(raw).hexdigest() if tag == "md5" else tag
    expected = known is not None if told == "stamp" else told
    assert is_same(one, Entry("key", len(raw), stored, tag)) == expected
    # Nothing is the same that has another length, or is not there.
    for size in (len(raw) - 1, len(raw) + 1):
        assert not is_same(one, Entry("key", size, stored, tag))
    assert not is_same(one, None)
