"""What only the folder store has: case, full and read-only disks, kills, processes, odd disks."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from blake3 import blake3
from support.stores import REPOSITORY, in_child, run_python

from tclog.errors import OutcomeUnknown, StoreDenied, StoreError, StoreMissing, StoreUnfit
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.base import Outcome
from tclog.store.file import TEMPORARY, FileStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def names_in(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if path.is_file() and TEMPORARY not in path.parts
    ]


def test_nothing_is_made_before_the_first_write(root: Path) -> None:
    store = FileStore(root)
    assert store.get("a/b") is None
    assert store.list("a", "", 10, False) == []
    store.delete("a/b")
    assert not root.exists()
    assert store.create("a/b", b"1").outcome is Outcome.WON
    assert names_in(root) == ["a/b"]


def test_who_comes_late_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FileStore(root).create("a/b", b"1")
    opened: list[str] = []
    shipped = os.open

    def watched(path: str, *words: int) -> int:
        opened.append(path)
        return shipped(path, *words)

    late = FileStore(root)
    late.create("a/first", b"")
    monkeypatch.setattr(os, "open", watched)
    assert late.create("a/b", b"2").outcome is Outcome.EXISTS
    assert not opened
    assert late.create("a/c", b"2").outcome is Outcome.WON
    assert opened


def test_names_stay_apart_where_case_is_ignored(root: Path) -> None:
    store = FileStore(root, ignores_case=True)
    steps = ("A", "a", "S1.A", "Z", "s1.a", "z")
    keys = [f"chains/step/{step}/1" for step in steps]
    for key in keys:
        assert store.create(key, key.encode()).outcome is Outcome.WON
    files = names_in(root)
    assert len({name.lower() for name in files}) == len(keys)
    # No name holds what such a file system could not tell from another.
    assert all(name == name.lower() for name in files)
    assert [row.key for row in store.list("chains/step", "", 10, False)] == sorted(keys)
    assert [row.key for row in store.list("chains/step", "", 1, True)] == ["chains/step/A/"]


def test_a_file_system_that_ignores_case_is_found_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: exists(str(path).replace(".TMP", ".tmp")))
    FileStore(root).create("chains/A/1", b"")
    assert names_in(root) == ["chains/^a/1"]
    assert [row.key for row in FileStore(root).list("chains", "", 10, False)] == ["chains/A/1"]


def test_a_kill_before_the_name_leaves_nothing_to_see(root: Path) -> None:
    store = FileStore(root)
    store.put("a/before", b"1")

    def killed(verb: str) -> int:
        pid = os.fork()
        if pid == 0:
            os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            getattr(store, verb)(f"a/{verb}", b"half")
            os._exit(0)
        return os.WTERMSIG(os.waitpid(pid, 0)[1])

    for verb in ("put", "create"):
        assert killed(verb) == signal.SIGKILL
    assert len(list((root / TEMPORARY).iterdir())) == 2
    for again in (store, FileStore(root)):
        assert [row.key for row in again.list("a", "", 10, False)] == ["a/before"]
        assert again.list("a", "", 10, True) == []
        assert again.get("a/put") is None
    assert store.create("a/create", b"whole").outcome is Outcome.WON


def test_processes_race_for_a_name(root: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tclog.store.file import FileStore\n"
        "store = FileStore(Path(sys.argv[1]))\n"
        "while not Path(sys.argv[1] + '-go').exists(): time.sleep(0.001)\n"
        "for n in range(50):\n"
        "    print(n, store.create(f'race/{n}', sys.argv[2].encode()).outcome.value)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), str(index)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for index in range(4)
    ]
    Path(f"{root}-go").touch()
    told = [racer.communicate(timeout=60)[0].splitlines() for racer in racers]
    for nth in range(50):
        winners = [index for index, lines in enumerate(told) if f"{nth} won" in lines]
        found = FileStore(root).get(f"race/{nth}")
        assert found is not None
        assert [str(index).encode() for index in winners] == [found.data]


def test_a_file_is_never_seen_half_written(root: Path) -> None:
    store = FileStore(root, fsync=False)
    store.put("a/b", b"0" * 3_000_000)
    told = []
    pid = os.fork()
    if pid == 0:
        for index in range(40):
            store.put("a/b", str(index % 10).encode() * 3_000_000)
        os._exit(0)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        found = store.get("a/b")
        told.append(
            found is not None and len(found.data) == 3_000_000 and len(set(found.data)) == 1
        )
    assert all(told)


# -- disks that say no ----------------------------------------------------------------------------

WRITES = """
import sys
from collections.abc import Callable
from pathlib import Path
from tclog.errors import StoreError
from tclog.store.file import FileStore
root, size = Path(sys.argv[1]), int(sys.argv[2])
from blake3 import blake3
source = Path(sys.argv[3]); source.write_bytes(b"x" * size)
digest = blake3(source.read_bytes()).hexdigest()
store = FileStore(root)
for name, write in (
    ("put", lambda: store.put("new/put", b"x" * size)),
    ("create", lambda: store.create("new/create", b"x" * size)),
    ("put_file", lambda: store.put_file("new/file", source, digest, None)),
    ("delete", lambda: store.delete("old/1")),
):
    try:
        write()
        print(name, "done")
    except StoreError as error:
        print(name, type(error).__name__, error.code)
found = store.get("old/1")
print("get", found and found.data)
print("list", [row.key for row in store.list("new", "", 10, False)])
print("left", len(list((root / ".tmp").iterdir())))
"""


@pytest.mark.usefixtures("mounts")
def test_a_read_only_disk(root: Path, tmp_path: Path) -> None:
    FileStore(root).put("old/1", b"old")
    before = f"mount --bind '{root}' '{root}'\nmount -o remount,ro,bind '{root}'"
    ran = run_python(WRITES, str(root), "10", str(tmp_path / "source"), before=before)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "put StoreDenied store-denied",
        "create StoreDenied store-denied",
        "put_file StoreDenied store-denied",
        "delete StoreDenied store-denied",
        "get b'old'",
        "list []",
        "left 0",
    ]


@pytest.mark.usefixtures("mounts")
def test_a_full_disk(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    before = f"mount -t tmpfs -o size=256k tmpfs '{root}'"
    fill = "FileStore(root).put('old/1', b'old')\nstore = FileStore(root)\n"
    script = WRITES.replace("store = FileStore(root)\n", fill)
    ran = run_python(script, str(root), "1000000", str(tmp_path / "source"), before=before)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "put StoreFull store-full",
        "create StoreFull store-full",
        "put_file StoreFull store-full",
        "delete done",
        "get None",
        "list []",
        # Half-written temporary files would keep a full disk full.
        "left 0",
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"x" * 300_000)
    return path


def written_in_vain(store: FileStore, source: Path) -> str:
    """Try every write of a file's bytes; return what each came to."""
    data = source.read_bytes()
    told = []
    for name, write in (
        ("put", lambda: store.put("new/put", data)),
        ("create", lambda: store.create("new/create", data)),
        ("put_file", lambda: store.put_file("new/file", source, blake3(data).hexdigest(), None)),
    ):
        try:
            write()
            told.append(f"{name} done")
        except StoreError as error:
            told.append(f"{name} {error.code}")
    return " ".join(told)


FULL = "put store-full create store-full put_file store-full"


def test_a_disk_that_takes_no_more(root: Path, source: Path) -> None:
    """By a limit of the process, which needs no mount: a part is written, then no more is."""
    store = FileStore(root)
    store.put("old/1", b"old")

    def attempt() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        return written_in_vain(store, source)

    assert in_child(attempt) == FULL
    assert names_in(root) == ["old/1"]
    assert not list((root / TEMPORARY).iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "mkdir"])
def test_a_full_disk_shows_nothing_at_whichever_call_it_says_so(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Some file systems find out only when they flush, or need a block for a name."""
    store = FileStore(root)
    store.put("old/1", b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        told = written_in_vain(store, source)
    # A file is written by Python itself, not by ``os.write``.
    assert told == (FULL if call != "write" else FULL.replace("file store-full", "file done"))
    assert [row.key for row in store.list("old", "", 10, False)] == ["old/1"]
    assert [row.key for row in store.list("new", "", 10, False)] in ([], ["new/file"])
    assert not list((root / TEMPORARY).iterdir())


def test_an_error_without_words_is_told_with_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the disk is on fire")

    store = FileStore(root)
    store.put("old/1", b"old")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreError, match="the disk is on fire"):
        store.put("new/1", b"")


def test_a_folder_of_somebody_else() -> None:
    # Not under pytest's own folder, which is closed to everybody else.
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        store = FileStore(Path(made) / "store")
        store.put("old/1", b"old")
        folders = [Path(made) / "store" / name for name in ("", "old", TEMPORARY)]
        for folder in folders:
            folder.chmod(0o555)

        def attempt() -> str:
            if os.geteuid() == 0:
                # Permissions do not bind root, so become nobody.
                os.setgid(65534)
                os.setuid(65534)
            told = []
            for write in (store.put, store.create):
                try:
                    write("new/1", b"")
                except StoreDenied as error:
                    told.append(error.code)
            found = store.get("old/1")
            return f"{told} {found and found.data}"

        told = in_child(attempt)
        for folder in folders:
            folder.chmod(0o755)
    assert told == "['store-denied', 'store-denied'] b'old'"


def test_a_folder_that_may_not_change_is_denied_not_unfit(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, link = FileStore(root), os.link

    def immutable(source: str, target: str) -> None:
        if TEMPORARY not in target:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        link(source, target)

    monkeypatch.setattr(os, "link", immutable)
    with pytest.raises(StoreDenied):
        store.create("a/b", b"1")
    assert not list((root / TEMPORARY).iterdir())


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_without_hard_links_is_unfit(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StoreUnfit, match="hard links"):
        FileStore(root).create("a/b", b"1")
    assert names_in(root) == []


def test_a_link_that_nfs_repeated_is_won(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, link = FileStore(root), os.link

    def repeated(source: str, target: str) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    assert store.create("a/b", b"mine").outcome is Outcome.WON
    assert store.create("a/b", b"late").outcome is Outcome.EXISTS
    found = store.get("a/b")
    assert found is not None
    assert found.data == b"mine"


def test_a_backup_by_hard_links_makes_no_second_winner(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rival, link = FileStore(root), FileStore(root), os.link

    def late(source: str, target: str) -> None:
        monkeypatch.setattr(os, "link", link)
        link(source, tmp_path / "backup")
        assert rival.create("a/b", b"rival").outcome is Outcome.WON
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert store.create("a/b", b"late").outcome is Outcome.EXISTS


def test_a_backup_by_hard_links_slows_no_reader(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(root)
    for number in range(20):
        store.create(f"a/{number}", b"")
        os.link(root / "a" / str(number), tmp_path / str(number))
    time.sleep(0.05)
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert len(store.list("a", "", 100, False)) == 20
    assert all(store.get(f"a/{number}") for number in range(20))
    assert len(synced) == 1


def test_what_its_writer_has_seen_on_the_disk_is_read_without_a_flush(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        FileStore(root).create(f"a/{number}", b"")
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    reader = FileStore(root)
    assert len(reader.list("a", "", 10, False)) == 3
    assert reader.get("a/1") is not None
    assert reader.stat("a/2") is not None
    assert not synced


def test_a_clock_that_is_set_back_hides_no_name_from_the_disk(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new since then looks older than what the process has brought to the disk."""
    store, now_ns = FileStore(root), time.time_ns
    for name in ("old", "new"):
        store.create(f"a/{name}", b"")
        os.link(root / "a" / name, tmp_path / name)
        synced: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", synced.append)
            if name == "old":
                patch.setattr(time, "time_ns", lambda: now_ns() + 3600 * 10**9)
            assert store.get(f"a/{name}") is not None
        assert len(synced) == 1, name


def test_a_folder_is_flushed_for_what_may_be_newer_than_its_last_flush(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's stamps are up to 10 ms old; a clock that was set back by more tells nothing."""
    store, synced = FileStore(root), []
    monkeypatch.setattr(store, "_sync_folder", synced.append)
    now_ms = 10**12
    for wall_ms, clock_ms, changed_ms, links, flushed in (
        (0, 0, -1000, 1, False),
        (0, 0, -1000, 2, True),
        (1, 1, -11, 2, False),
        (1, 1, -10, 2, True),
        (2, 2, -10, 2, False),
        (2, 2, -9, 3, True),
        # Set back by 10 ms, and by 1 ms more.
        (-5, 5, -9, 2, False),
        (-6, 5, -9, 2, True),
        (-5, 6, -17, 2, False),
        (-5, 6, -16, 2, True),
        # Set forward, and back again.
        (3600_000, 7, -16, 2, False),
        (-5, 7, -16, 2, True),
    ):
        monkeypatch.setattr(time, "time_ns", lambda ms=wall_ms: (now_ms + ms) * 10**6)
        monkeypatch.setattr(time, "monotonic_ns", lambda ms=clock_ms: ms * 10**6)
        synced.clear()
        found: Any = SimpleNamespace(st_nlink=links, st_ctime_ns=(now_ms + changed_ms) * 10**6)
        store._confirm(f"{root}/a/b", found)
        assert bool(synced) == flushed, (wall_ms, changed_ms)


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT])
def test_a_link_whose_answer_was_lost_is_unknown(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On NFS the server may have made it, and is not there to be asked about it."""
    store, link = FileStore(root), os.link

    def gone(*_: object) -> os.stat_result:
        raise OSError(number, os.strerror(number))

    def lost(source: str, target: str) -> None:
        link(source, target)
        patch.setattr(os, "stat", gone)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lost)
        created = store.create("a/b", b"1")
    assert created.outcome is Outcome.UNKNOWN
    assert store.get("a/b") is not None


def test_what_a_disk_does_not_confirm_is_unknown(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(FileStore(root), Project("p", "id", ""), agent="alice")
    log.client.decide_timeout_s = 0.2
    log.memory.set("k", "before")
    sync = os.fsync

    def failing(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}").endswith("chains/memory/k"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OutcomeUnknown):
        log.memory.set("k", "after")


def test_a_disk_that_fails_after_the_name_is_unknown(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(root)
    store.put("a/before", b"")
    failure = OSError(errno.EIO, os.strerror(errno.EIO))
    # The temporary file, the folder, and the folder again when it is read back, twice.
    results = iter([None, failure, failure])
    sync = os.fsync

    def failing(handle: int) -> None:
        error = next(results, None)
        if error is not None:
            raise error
        sync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    created = store.create("a/b", b"1")
    assert created.outcome is Outcome.UNKNOWN
    assert "Input/output error" in created.cause
    # What the disk has not confirmed is not shown either: it would be taken for committed.
    with pytest.raises(StoreError):
        store.get("a/b")
    assert store.get("a/b") is not None


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a folder")
    store = FileStore(path)
    assert store.get("a/b") is None
    assert store.list("a", "", 10, False) == []
    for write in (store.put, store.create):
        with pytest.raises(StoreError):
            write("a/b", b"1")
    assert path.read_text() == "not a folder"


def test_a_store_that_was_removed_under_a_process(root: Path) -> None:
    store = FileStore(root)
    store.create("a/b", b"1")
    assert store.get("a/b") is not None
    root.rename(root.with_name("moved"))
    # Absent would mean that nobody has written it yet.
    for read in (store.get, store.stat, lambda key: store.list(key, "", 10, False)):
        with pytest.raises(StoreMissing):
            read("a/b")
    with pytest.raises(StoreMissing):
        store.create("a/c", b"1")
    assert not root.exists()


def _bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


NO_FILES = {
    "pipe": os.mkfifo,
    "socket": _bind_socket,
    "link-to-itself": lambda path: path.symlink_to(path),
    "endless": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_holds_nothing(root: Path, make: Callable[[Path], None]) -> None:
    """It neither stops a listing nor holds a reader up; under an object's name it is junk."""
    store = FileStore(root)
    store.put("a/b/1", b"1")
    for name in ("a/b/2", "a/x"):
        make(root / name)
    found = store.get("a/b/2")
    assert found is not None
    assert found.data == b""
    pieces = store.get_file("a/b/2")
    assert pieces is not None
    assert next(pieces, None) is None
    assert store.list("a/x", "", 10, False) == []
    entries = store.list("a", "", 10, False)
    assert [entry.key for entry in entries] == ["a/b/1", "a/b/2", "a/x"]
    assert [entry.key for entry in store.list("a", "", 10, True)] == ["a/b/"]
    assert store.create("a/b/2", b"2").outcome is Outcome.EXISTS


def test_a_folder_that_took_an_objects_name_is_told(root: Path, tmp_path: Path) -> None:
    """It is no object, so to read back what a create met would never end."""
    store = FileStore(root)
    store.put("a/b/1", b"1")
    (root / "a/b/2").mkdir()
    (tmp_path / "file").write_bytes(b"2")
    digest = blake3(b"2").hexdigest()
    for write in (
        lambda: store.create("a/b/2", b"2"),
        lambda: store.keep("a/b/2", b"2"),
        lambda: store.put("a/b/2", b"2"),
        lambda: store.put_file("a/b/2", tmp_path / "file", digest, None),
    ):
        with pytest.raises(
            StoreError, match=r"a/b/2 in .*: (a folder has its name|Is a directory)"
        ):
            write()
    assert store.get("a/b/2") is None
    assert not list((root / ".tmp").iterdir())


def test_links_are_not_followed_in_a_circle(root: Path) -> None:
    store = FileStore(root)
    store.put("a/b/1", b"1")
    (root / "a/b/up").symlink_to("..")
    (root / "a/loop").symlink_to("loop/loop")
    assert [entry.key for entry in store.list("a/b", "", 10, False)] == ["a/b/1"]
    assert [entry.key for entry in store.list("a", "", 10, True)] == ["a/b/"]
    with pytest.raises(StoreError):
        store.get("a/loop/1")
