"""Power cuts of a disk that keeps only what was fsynced: bytes of files, names in folders.

A file that got its name before its bytes were fsynced is empty after the cut. A folder whose name
was not fsynced is gone, with all that is in it. In most of these a writer is killed after its
object got its name and before the disk has that name. What somebody else was told then, or built on
it, has to be there after the power cut.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tclog.chain import append
from tclog.chain.drive import answer
from tclog.errors import OutcomeUnknown, StoreUnreachable
from tclog.log.inbox import send_message
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.base import Store
from tclog.store.file import TEMPORARY, FileStore


class KilledError(BaseException):
    """The process is gone."""


class Disk:
    """Knows what is not on the disk yet; a writer may be killed before it puts it there.

    It is killed when it fsyncs the folder of a name that ``victim`` accepts: that of a file, or, if
    it begins with ``folder ``, of a folder.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.victim: Callable[[str], bool] = lambda _: False
        self.failing: Callable[[str], OSError | None] = lambda _: None
        self.unsynced: set[str] = set()
        self.folders: set[str] = set()
        # Of named files: which may be empty after a cut, and which bytes are on the disk by inode.
        self.hollow: set[str] = set()
        self.whole: dict[int, int] = {}
        link, rename, fsync, mkdir = os.link, os.replace, os.fsync, os.mkdir

        def linked(source: str, target: str) -> None:
            link(source, target)
            self.named(target)

        def renamed(source: str, target: str) -> None:
            rename(source, target)
            self.named(target)

        def made(path: str, *mode: int) -> None:
            mkdir(path, *mode)
            if TEMPORARY not in path and path.startswith(str(self.root.parent)):
                self.folders.add(path)

        def synced(handle: int) -> None:
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode):
                self.whole[status.st_ino] = status.st_size
            folder = os.readlink(f"/proc/self/fd/{handle}")
            here = {name for name in self.unsynced if os.path.dirname(name) == folder}
            inside = {name for name in self.folders if os.path.dirname(name) == folder}
            if any(map(self.victim, [*here, *(f"folder {name}" for name in inside)])):
                self.victim = lambda _: False
                raise KilledError
            failure = next(filter(None, map(self.failing, here)), None)
            if failure is not None:
                raise failure
            fsync(handle)
            self.unsynced -= here
            self.folders -= inside

        acts = {"link": linked, "replace": renamed, "fsync": synced, "mkdir": made}
        for name, act in acts.items():
            patch.setattr(os, name, act)

    def named(self, path: str | Path) -> None:
        path = str(path)
        if TEMPORARY not in path and path.startswith(str(self.root)):
            self.unsynced.add(path)
            status = os.stat(path)
            if self.whole.get(status.st_ino) != status.st_size:
                self.hollow.add(path)

    def cut(self) -> None:
        """Lose what is not on the disk; all processes end."""
        for path in self.hollow - self.unsynced:
            Path(path).write_bytes(b"")
        for path in self.unsynced:
            Path(path).unlink()
        for path in self.folders:
            shutil.rmtree(path, ignore_errors=True)  # one in another has gone with that
        self.unsynced.clear()
        self.folders.clear()
        self.hollow.clear()

    def open(self, agent: str) -> Log:
        """Begin a process of an agent."""
        return Log(FileStore(self.root), Project("p", "id", ""), agent=agent)

    def killed(self, agent: str, part: str, act: Callable[[Log], object], nth: int = 1) -> None:
        """Let an agent act; it is killed at the nth object of its with ``part`` in its name.

        With ``folder `` before it, ``part`` is how the name of a folder ends.
        """
        count = iter(range(1, 100))

        def victim(name: str) -> bool:
            kind, path = part.startswith("folder "), part.removeprefix("folder ")
            if kind != name.startswith("folder "):
                return False
            return (name.endswith(path) if kind else path in name) and next(count) == nth

        self.victim = victim
        with pytest.raises(KilledError):
            act(self.open(agent))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path / "above" / "store", monkeypatch)


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_what_was_acknowledged_survives(disk: Disk, tmp_path: Path, size: int) -> None:
    """Bytes of files and the names of all folders above them: nobody is killed here."""
    path, copy = tmp_path / "report", tmp_path / "copy"
    path.write_bytes(os.urandom(size))
    alice = disk.open("alice")
    alice.artifacts.put(path)
    alice.memory.set("text", "x" * 100_000)
    alice.memory.incr("n", id="once")
    alice.steps.claim("build")
    alice.send("bob", "hello")
    transfer(alice)
    assert not disk.unsynced
    disk.cut()
    carol = disk.open("carol")
    carol.artifacts.get("report", copy)
    assert copy.read_bytes() == path.read_bytes()
    assert carol.memory.get("text").value == "x" * 100_000
    assert carol.memory.get("n").value == 1
    assert carol.steps.show("build").agent == "alice"
    assert disk.open("alice").memory.incr("n", id="once").value == 1
    assert [message.text for message in disk.open("bob").inbox().messages] == ["hello"]
    assert carol.memory.get("b").value == "1"


FOLDERS = [
    "above",
    "store",
    "chains",
    "chains/memory",
    "chains/memory/n",
    "events",
    "once",
    "once/alice",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_written_in_a_folder_that_another_has_just_made_survives(
    disk: Disk, folder: str
) -> None:
    """Whoever made it was killed before the disk had its name."""
    disk.killed("alice", f"folder {folder}", lambda log: log.memory.incr("n", id="once"))
    assert disk.open("alice").memory.incr("n", id="once").value == 1
    disk.cut()
    assert disk.open("bob").memory.get("n").value == 1
    assert disk.open("alice").memory.incr("n", id="once").value == 1


def test_what_a_repeated_command_is_told_survives(disk: Disk) -> None:
    disk.killed("alice", "chains/memory/n", lambda log: log.memory.incr("n", id="once"))
    assert disk.open("alice").memory.incr("n", id="once").value == 1
    disk.cut()
    assert disk.open("alice").memory.get("n").value == 1


def unanswered(act: Callable[[str, str], None], part: str) -> Callable[[str, str], None]:
    """Give names by ``act``; no answer tells so of those with ``part`` in them."""

    def acting(source: str, target: str) -> None:
        act(source, target)
        if part in target:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return acting


def test_a_name_that_was_given_without_an_answer_survives(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An NFS server's answer was lost, twice: the version is read back and acknowledged."""

    def no_answer(one: str, other: str) -> bool:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "link", unanswered(os.link, "chains/memory/n"))
    monkeypatch.setattr(os.path, "samefile", no_answer)
    assert disk.open("alice").memory.set("n", "v").version == 1
    disk.cut()
    assert disk.open("alice").memory.get("n").value == "v"


def test_what_binds_a_key_survives(disk: Disk) -> None:
    """Else the key would be bound anew, to a later version, and the command applied twice."""
    disk.killed("alice", "once/", lambda log: log.memory.incr("n", id="once"))
    assert disk.open("alice").memory.incr("n", id="once").value == 1
    disk.cut()
    assert disk.open("alice").memory.incr("n", id="once").value == 1


def test_what_is_complete_already_stays_so(disk: Disk) -> None:
    disk.open("alice").steps.claim("build")
    disk.killed("alice", "chains/step", lambda log: log.steps.complete("build"))
    assert disk.open("alice").steps.complete("build").state == "complete"
    disk.cut()
    assert disk.open("alice").steps.show("build").state == "complete"


def test_a_message_that_another_has_committed_survives(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "_is_hot", lambda *_: True)
    bob = disk.open("bob")
    bob.send("dan", "bob knows the store's clock now")
    # Bob has announced his message. Before he looks, alice commits it and is killed.
    protocol, reply, announced = send_message(bob.client, "carol", "two"), None, False
    with pytest.raises(StopIteration):
        while True:
            step = protocol.send(reply)
            reply = answer_all(step, bob.store)
            if not announced and "pending/" in str(step):
                announced = True
                disk.killed("alice", "chains/inbox/carol", lambda log: log.send("carol", "one"))
    disk.cut()
    texts = [m.text for m in disk.open("carol").inbox(all=True).messages]
    assert "two" in texts


def answer_all(step: Any, store: Store) -> Any:
    if type(step) is tuple:
        return [answer_all(one, store) for one in step]
    return answer(step, store, lambda _: None)


def test_a_broadcast_that_an_inbox_has_taken_in_survives(disk: Disk) -> None:
    disk.killed("alice", "chains/inbox/@all", lambda log: log.send("@all", "to all"))
    disk.open("bob").send("carol", "to carol")
    disk.cut()
    messages = disk.open("carol").inbox(all=True).messages
    assert [message.text for message in messages] == ["to all", "to carol"]


def transfer(log: Log) -> None:
    both = log.transaction()
    both.memory_set("a", "1")
    both.memory_set("b", "1")
    log.transact(both)


def test_a_transaction_that_was_built_upon_survives(disk: Disk) -> None:
    disk.killed("alice", "chains/memory/", transfer, nth=2)
    bob = disk.open("bob")
    assert bob.memory.append("a", "2").value == "1\n2"
    disk.cut()
    carol = disk.open("carol")
    assert carol.memory.get("a").value == "1\n2"
    assert carol.memory.get("b").value == "1"


def test_a_blob_that_is_not_sent_again_survives(disk: Disk, tmp_path: Path) -> None:
    path, copy = tmp_path / "report", tmp_path / "copy"
    path.write_text("content")
    disk.killed("alice", "blobs/", lambda log: log.artifacts.put(path))
    disk.open("bob").artifacts.put(path)
    disk.cut()
    disk.open("carol").artifacts.get("report", copy)
    assert copy.read_text() == "content"


def test_an_announcement_that_the_disk_does_not_confirm_is_unknown(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its name: anybody may commit it."""
    monkeypatch.setattr(append, "_is_hot", lambda *_: True)
    bob, failure = disk.open("bob"), OSError(errno.EIO, os.strerror(errno.EIO))
    bob.send("dan", "bob knows the store's clock now")
    disk.failing = lambda path: failure if "pending/" in path else None
    with pytest.raises(OutcomeUnknown):
        bob.send("carol", "two")
    disk.failing = lambda _: None
    disk.open("alice").send("carol", "one")
    texts = [message.text for message in disk.open("carol").inbox().messages]
    assert texts == ["two", "one"]


def test_an_object_whose_putting_was_not_answered_survives_who_read_it(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", unanswered(os.replace, "events/"))
    with pytest.raises(StoreUnreachable):
        FileStore(disk.root).put("events/2026-11-27T01/one.json", b"{}")
    assert FileStore(disk.root).get("events/2026-11-27T01/one.json") is not None
    disk.cut()
    assert FileStore(disk.root).get("events/2026-11-27T01/one.json") is not None
