"""Files that tclog writes for people: every command writes them in the same way.

``WRITERS`` names every command that writes one, ``PLACES`` what may be at the path. The next case
is one line.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tclog.cli.interrupt import Interrupted
from tclog.log import outfile

from .conftest import User

CONTENT = b"\x00\xff bytes\n" * 10_000
# The words for a path; what is written there is never what was there before.
WRITERS: dict[str, Callable[[str], list[str]]] = {
    "artifact get": lambda path: ["artifact", "get", "f", "-o", path],
    "export": lambda path: ["export", "-o", path],
    "report": lambda path: ["report", path],
    "watch": lambda path: ["watch", "--cursor", path, "--from", "1h", "--count", "1"],
}
STREAMS = [name for name in WRITERS if name != "watch"]


class Place(NamedTuple):
    """What is at the path before: ``make`` makes it; ``mode`` is what the file has afterwards."""

    make: Callable[[Path], object]
    mode: int | None = None
    link: bool = False
    real: str = "out"


def file(path: Path, mode: int) -> None:
    # A cursor that is empty is a fresh one; the others are replaced.
    path.write_bytes(b"")
    path.chmod(mode)


PLACES = {
    "nothing": Place(lambda _: None, 0o640),
    "a private file": Place(lambda path: file(path, 0o600), 0o600),
    "a program": Place(lambda path: file(path, 0o755), 0o755),
    "a file that anybody writes": Place(lambda path: file(path, 0o666), 0o666),
    "a link to nothing": Place(lambda path: path.symlink_to("real"), 0o640, link=True, real="real"),
    "a link to a file": Place(
        lambda path: [file(path.with_name("real"), 0o604), path.symlink_to("real")],
        0o604, link=True, real="real",
    ),
    "a link to a link": Place(
        lambda path: [path.with_name("mid").symlink_to("real"), path.symlink_to("mid")],
        0o640, link=True, real="real",
    ),
}  # fmt: skip


@pytest.fixture
def written(project: User) -> User:
    """Give a project that has what the commands write."""
    (project.work / "f").write_bytes(CONTENT)
    project("artifact", "put", "f").ok()
    return project


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", WRITERS)
def test_mode_links_and_owner_stay(written: User, name: str, place: str):
    before = PLACES[place]
    path = written.work / "out"
    before.make(path)
    owner = 1234 if os.geteuid() == 0 else os.geteuid()
    real = path.with_name(before.real)
    if real.exists():
        os.chown(real, owner, -1)
    kept = real.exists()
    umask = os.umask(0o027)
    try:
        written(*WRITERS[name]("out")).ok()
    finally:
        os.umask(umask)
    assert path.is_symlink() == before.link
    assert real.stat().st_size > 0
    assert not real.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == before.mode
    assert not kept or real.stat().st_uid == owner
    assert parts(written.work) == []


@pytest.mark.parametrize("name", WRITERS)
def test_paths_that_are_no_file_are_refused(written: User, name: str):
    assert "the path is empty" in written(*WRITERS[name]("")).said(2)
    error = written("--json", *WRITERS[name]("no/where")).error(1 if name == "watch" else 2)
    assert error["code"] in ("folder-missing", "file-unwritable")
    if name != "watch":
        assert "there is no folder" in written(*WRITERS[name]("folder/")).said(2)
        assert not (written.work / "folder").exists()
    os.symlink("loop", written.work / "loop")
    assert written(*WRITERS[name]("loop")).code in (1, 2)
    assert (written.work / "loop").is_symlink()
    assert written("artifact", "get", "f").code == 0  # the plain form touches nothing
    assert (written.work / "f").read_bytes() == CONTENT


def test_a_cursor_is_a_file_and_a_repository_a_folder(written: User):
    for words in (["watch", "--cursor", "-", "--count", "1"], ["export", "--git", "-"]):
        assert "./-" in written(*words).said(2)


def test_the_plain_form_never_replaces(written: User):
    (written.work / "f").unlink()
    os.symlink("elsewhere", written.work / "f")
    assert written("artifact", "get", "f", "--json").error(4)["code"] == "file-exists"
    assert not (written.work / "elsewhere").exists()


# -- what is no file ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_device_is_written_to_and_stays_one(written: User, name: str):
    null = written.work / "null"
    null.symlink_to("/dev/null")
    written(*WRITERS[name]("null")).ok()
    assert stat.S_ISCHR(null.stat().st_mode)
    if name != "watch" and os.path.exists("/dev/full"):
        error = written("--json", *WRITERS[name]("/dev/full")).error(1)
        assert error["code"] == "file-unwritable"
        assert "No space left" in error["message"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_pipe_gets_what_a_file_gets(written: User, name: str):
    written(*WRITERS[name]("file")).ok()
    wanted = (written.work / "file").read_bytes()
    pipe = written.work / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    written(*WRITERS[name]("pipe")).ok()
    reader.join(10)
    assert len(got[0]) == len(wanted)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("name", STREAMS)
def test_dev_stdout_is_standard_output(written: User, name: str):
    for out in ("/dev/stdout", "/dev/fd/1"):
        words = " ".join(WRITERS[name](out))
        written.shell(
            f"tclog {words} | cat > piped && echo before > file && tclog {words} >> file"
        ).ok()
        piped = (written.work / "piped").read_bytes()
        whole = (written.work / "file").read_bytes()
        assert len(piped) > 1000
        assert whole.startswith(b"before\n")
        assert len(whole) == len(piped) + len(b"before\n"), out
    words = " ".join(WRITERS[name]("/dev/fd/3"))
    said = written.shell(f"tclog {words} 3> file").ok().out
    assert "/dev/fd/3" in said
    assert len((written.work / "file").read_bytes()) == len(piped)


def test_dev_stdin_is_standard_input(project: User):
    for path in ("/dev/stdin", "/proc/self/fd/0"):
        project.shell(f"printf x | tclog memory set k --file {path}").ok()
        project.shell(f"printf x | tclog artifact put {path} --name x").ok()
    assert project("memory", "get", "k").out == "x"


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("failing", "code"),
    [
        (KeyboardInterrupt(), 130),
        (Interrupted(15), 143),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
    ],
    ids=repr,
)
def test_what_fails_leaves_what_was_there_and_nothing_beside_it(
    written: User, monkeypatch: pytest.MonkeyPatch, name: str, failing: BaseException, code: int
):
    path = written.work / "out"
    path.write_bytes(b"")
    opened = outfile.open if hasattr(outfile, "open") else open

    class Failing:
        def __init__(self, handle: int, mode: str) -> None:
            self._file = opened(handle, mode)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> int:
            self._file.write(data[:7])
            self._file.flush()
            raise failing

    monkeypatch.setattr(outfile, "open", Failing, raising=False)
    done = written(*WRITERS[name]("out"))
    assert done.code == code, done
    assert path.read_bytes() == b""
    assert parts(written.work) == []


@pytest.mark.parametrize("name", ["artifact get", "export"])
def test_a_disk_that_fills_up_leaves_no_half_file(written: User, name: str):
    path = written.work / "out"
    path.write_bytes(b"before")
    done = written.shell(f"ulimit -f 40; tclog {' '.join(WRITERS[name]('out'))}")
    assert "cannot be written" in done.said(1)
    assert path.read_bytes() == b"before"
    assert parts(written.work) == []


def test_a_file_whose_owner_cannot_be_kept_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "out"
    path.write_bytes(b"theirs")

    def refuse(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    before = os.fstat

    class Other(NamedTuple):
        st_uid: int = 4711
        st_gid: int = 4711

    monkeypatch.setattr(os, "fstat", lambda handle: Other())
    with (
        pytest.raises(PermissionError, match="belongs to another"),
        outfile.written(path) as opened,
    ):
        opened.write(b"mine")
    monkeypatch.setattr(os, "fstat", before)
    assert path.read_bytes() == b"theirs"
    assert parts(tmp_path) == []


def test_a_folder_is_packed_under_a_name_that_it_has(project: User) -> None:
    """For `.` the hint made a file that is called `..tar`."""
    (project.work / "sub").mkdir()
    for named, archive in ((".", "work.tar"), ("sub", "sub.tar"), ("sub/..", "work.tar")):
        error = project("artifact", "put", named, "--json").error(2)
        assert error["hint"] == f"tar -cf {archive} {named}"


def test_a_value_and_a_file_of_it_exclude_each_other(project: User) -> None:
    error = project("memory", "set", "k", "v", "--file", "f", "--json").error(2)
    assert error["message"] == "VALUE and --file exclude each other"
