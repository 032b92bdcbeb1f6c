"""Promises of docs/guarantees.md that need no race, no server and no clock to be seen broken."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

import tclog
from tclog.clock import last_of, parse_us
from tclog.store.file import FileStore


@pytest.fixture
def log(tmp_path: Path) -> tclog.Log:
    return tclog.open(tmp_path / "store", agent="alice", create=True)


def again(log: tclog.Log, agent: str) -> tclog.Log:
    """Open the same project as a client that knows nothing yet."""
    assert isinstance(log.store, FileStore)
    return tclog.open(Path(log.store.url).parent, agent=agent)


# -- reading the past -----------------------------------------------------------------------------


def test_the_past_is_the_newest_version_that_is_not_later(log: tclog.Log) -> None:
    log.memory.set("other", "before")
    begun = parse_us(log.memory.get("other").at)
    written = [log.memory.set("k", str(number)) for number in range(1, 10)]
    for cold in (log, again(log, "bob")):
        for row in written:
            at = parse_us(row.at)
            assert cold.memory.get("k", at=last_of(at)).version == row.version
            if row.version > 1:
                assert cold.memory.get("k", at=last_of(at - 1)).version == row.version - 1
        with pytest.raises(tclog.NotFound):
            cold.memory.get("k", at=last_of(begun))
        assert [row.key for row in cold.memory.list(at=last_of(begun))] == ["other"]


def test_what_was_read_of_the_past_stays_so(log: tclog.Log) -> None:
    first = log.memory.set("k", "1")
    at = parse_us(first.at)
    log.memory.delete("k")
    log.memory.set("k", "2")
    assert log.memory.get("k", at=last_of(at)) == log.memory.get("k", version=1)


# -- unknown outcomes -----------------------------------------------------------------------------


def test_a_key_applies_a_command_once_and_no_other(log: tclog.Log) -> None:
    first = log.memory.incr("n", id="once")
    log.memory.incr("n")
    assert log.memory.incr("n", id="once") == first
    assert again(log, "alice").memory.incr("n", id="once") == first
    assert log.memory.get("n").value == 2
    for each in (log, again(log, "alice")):
        with pytest.raises(tclog.Refused) as refused:
            each.memory.incr("n", 5, id="once")
        assert refused.value.code == "key-reused"
        # It tells nothing of the key's versions, which nobody has read.
        assert "version" not in f"{refused.value} {refused.value.details}"
    assert again(log, "bob").memory.incr("n", id="once").value == 3


@pytest.mark.parametrize("key", ["0123456789abcdef.1", "0123456789abcdef.42"])
def test_a_key_that_looks_like_one_of_a_hint_is_a_key(log: tclog.Log, key: str) -> None:
    """A commit and the number of a run, for one."""
    first = log.memory.incr("n", id=key)
    assert log.memory.incr("n", id=key) == first
    with pytest.raises(tclog.Refused) as refused:
        log.memory.incr("n", 5, id=key)
    assert refused.value.code == "key-reused"


def test_a_message_to_several_is_delivered_once_to_each(log: tclog.Log) -> None:
    for _ in range(3):
        log.send("bob,carol", "hello", id="once")
    for name in ("bob", "carol"):
        (message,) = again(log, name).inbox().messages
        assert (message.n, message.text) == (1, "hello")


# -- durability -----------------------------------------------------------------------------------


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path)
    store.create("a/first", b"1")
    done: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            shown = name
            if name == "fsync":
                is_folder = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                shown = f"fsync {'folder' if is_folder else 'file'}"
            done.append(shown)
            return real(*args, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "link", "replace", "unlink"):
        watch(name)
    store.create("a/second", b"2")
    assert done == ["fsync file", "link", "fsync folder", "unlink"]
    done.clear()
    store.put("a/third", b"3")
    assert done == ["fsync file", "link", "replace", "fsync folder", "unlink"]
    done.clear()
    FileStore(tmp_path, fsync=False).create("a/fourth", b"4")
    assert done == ["link", "unlink"]


# -- damage and tampering -------------------------------------------------------------------------


def slot(log: tclog.Log, version: int) -> Path:
    return Path(log.store.url) / "chains" / "memory" / "k" / f"{9_999_999_999 - version:010d}.json"


def test_a_changed_version_is_noticed_by_who_reads_its_neighbour(log: tclog.Log) -> None:
    bob = again(log, "bob")
    for value in ("one", "two"):
        log.memory.set("k", value)
    assert bob.memory.get("k").value == "two"
    log.memory.set("k", "three")
    slot(log, 3).write_bytes(slot(log, 3).read_bytes().replace(b'"seq":3', b'"seq":4'))
    with pytest.raises(tclog.Damaged):
        bob.memory.get("k")
    slot(log, 3).write_bytes(slot(log, 3).read_bytes().replace(b'"seq":4', b'"seq":3'))
    assert bob.memory.get("k").value == "three"
    slot(log, 2).write_bytes(slot(log, 2).read_bytes().replace(b"two", b"TWO"))
    assert again(log, "carol").memory.get("k").value == "three"
    with pytest.raises(tclog.Damaged):
        again(log, "carol").memory.history("k")


def test_a_state_that_the_events_do_not_give_is_noticed_by_who_reads_on(log: tclog.Log) -> None:
    bob = again(log, "bob")
    log.memory.incr("k")
    assert bob.memory.get("k").value == 1
    log.memory.incr("k")
    raw = slot(log, 2).read_bytes()
    assert raw.count(b'"value":2') == 1
    slot(log, 2).write_bytes(raw.replace(b'"value":2', b'"value":9'))
    with pytest.raises(tclog.Damaged):
        bob.memory.get("k")


def test_events_that_vanish_change_no_state(log: tclog.Log) -> None:
    log.memory.set("k", "v")
    for path in Path(log.store.url).glob("events/*/*"):
        path.unlink()
    assert again(log, "bob").memory.get("k").value == "v"


def test_a_blob_that_was_changed_is_not_used(log: tclog.Log) -> None:
    log.memory.set("k", "x" * 20_000)
    (blob,) = Path(log.store.url).glob("blobs/*/*")
    blob.write_bytes(b"y" * 20_000)
    with pytest.raises(tclog.Damaged):
        again(log, "bob").memory.get("k")


def test_a_copy_in_another_working_folder_is_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    tclog.open("store", agent="alice", create=True, fsync=False).memory.set("k", "both")
    shutil.copytree("store", tmp_path / "two" / "store")
    for name in ("one", "two"):
        monkeypatch.chdir(tmp_path / name)
        tclog.open("store", agent="alice", fsync=False).memory.set("k", name)
    for name in ("one", "two"):
        monkeypatch.chdir(tmp_path / name)
        assert tclog.open("store", agent="bob", cache=cache).memory.get("k").value == name
