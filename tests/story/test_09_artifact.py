"""Files and large values: little memory, never sent twice, and never believed unchecked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from blake3 import blake3
from support.project import TCLOG, Machine, Project, Result

GIB = 1 << 30
MIB = 1 << 20
MEMORY_MAX = 200 * MIB
# The child's own peak: this process is small, and so is what a child has before its exec.
MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(status)
"""


class Measured(NamedTuple):
    """What a command did, the most memory it had, and how long it took."""

    result: Result
    peak: int
    seconds: float


def measure(machine: Machine, *args: str, agent: str) -> Measured:
    """Run a command with ``--json`` that must succeed, and measure its memory."""
    begun = time.monotonic()
    words = ("-c", MEASURED, str(TCLOG), *args, "--json")
    process = machine.start(*words, agent=agent, program=sys.executable)
    result = machine.finish(process, timeout=300).ok()
    *lines, peak = result.out.splitlines()
    told = result._replace(out="".join(f"{line}\n" for line in lines))
    return Measured(told, int(peak), time.monotonic() - begun)


def hash_of(path: Path) -> str:
    """Return a file's BLAKE3."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def blobs(project: Project) -> list[str]:
    """Return the keys of all blobs."""
    return project.objects.keys("blobs/")


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """Give a file of 1 GiB in which each MiB is another; it takes little of the disk."""
    path = tmp_path / "model.bin"
    with path.open("wb") as file:
        for at in range(0, GIB, MIB):
            file.seek(at)
            file.write(os.urandom(64))
        file.truncate(GIB)
    yield path
    path.unlink()


@pytest.mark.slow
def test_a_gigabyte_goes_through_with_little_memory_and_only_once(
    project: Project, large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put = measure(project, "artifact", "put", str(large), agent="alice")
    assert put.peak < MEMORY_MAX
    stored = put.result.one()
    assert (stored["name"], stored["size"], stored["version"]) == ("model.bin", GIB, 1)
    (blob,) = blobs(project)
    out = tmp_path / "out.bin"
    try:
        first = project.objects.modified(blob)
        time.sleep(1.1)  # so that a second upload would show in whole seconds
        other = project.machine()
        again = measure(other, "artifact", "put", str(large), "--name", "other", agent="bob")
        assert again.result.one()["blake3"] == stored["blake3"]
        assert again.peak < MEMORY_MAX
        assert blobs(project) == [blob]
        assert project.objects.modified(blob) == first, "the same bytes were sent again"

        got = measure(other, "artifact", "get", "model.bin", "-o", str(out), agent="bob")
        assert got.peak < MEMORY_MAX
        assert got.result.one()["path"] == str(out)
        assert out.stat().st_size == GIB
        assert hash_of(out) == stored["blake3"]
        with capsys.disabled():
            print(
                f"\n  1 GiB: put {put.seconds:.1f} s with {put.peak / MIB:.0f} MiB,"
                f" put again {again.seconds:.1f} s with {again.peak / MIB:.0f} MiB,"
                f" get {got.seconds:.1f} s with {got.peak / MIB:.0f} MiB"
            )
    finally:
        project.objects.delete(blob)
        out.unlink(missing_ok=True)


def spoil(how: str, data: bytes) -> bytes:
    """Damage bytes as disks and people do."""
    if how == "changed at the end":
        return data[:-1] + bytes([data[-1] ^ 1])
    if how == "cut":
        return data[:-1]
    return data + b"\n"


@pytest.mark.slow
def test_a_damaged_blob_is_noticed_and_leaves_no_file(project: Project, tmp_path: Path) -> None:
    """The bytes are many, so that most of them are written before the damage can be seen."""
    source = tmp_path / "report.bin"
    good = os.urandom(10 * MIB)
    source.write_bytes(good)
    project.run("artifact", "put", str(source), agent="alice").ok()
    (blob,) = blobs(project)
    for how in ("changed at the end", "cut", "longer"):
        project.objects.write(blob, spoil(how, good))
        check_noticed(project, tmp_path / how)
    project.objects.delete(blob)
    check_noticed(project, tmp_path / "missing")
    # Whoever has the bytes can put them back.
    project.run("artifact", "put", str(source), agent="alice").ok()
    project.run("artifact", "get", "report.bin", "-o", str(tmp_path / "copy"), agent="bob").ok()
    assert (tmp_path / "copy").read_bytes() == good


def check_noticed(project: Project, folder: Path) -> None:
    """Check that no damaged byte reaches anybody."""
    folder.mkdir()
    words = ("artifact", "get", "report.bin", "-o")
    told = project.run(*words, str(folder / "new.bin"), "--json", agent="bob")
    assert (told.code, told.error()["code"]) == (8, "damaged"), told
    assert os.listdir(folder) == []

    before = folder / "old.bin"
    before.write_text("what was there before")
    assert project.run(*words, str(before), agent="bob").code == 8
    assert os.listdir(folder) == ["old.bin"]
    assert before.read_text() == "what was there before"

    printed = project.run("artifact", "get", "report.bin", "-o", "-", agent="bob")
    assert (printed.code, printed.out) == (8, "")


def test_versions_of_a_name_are_kept(project: Project, tmp_path: Path) -> None:
    source = tmp_path / "notes.md"
    for nth in range(3):
        source.write_text(f"draft {nth}")
        project.run("artifact", "put", str(source), "--step", "write", agent=f"a{nth}").ok()
    source.write_text("draft 0")
    (last,) = project.json("artifact", "put", str(source), agent="alice")
    assert last["version"] == 4
    assert len(blobs(project)) == 3
    history = project.json("artifact", "history", "notes.md")
    assert [row["version"] for row in history] == [4, 3, 2, 1]
    assert history[0]["blake3"] == history[3]["blake3"]
    for nth in range(3):
        out = tmp_path / f"out-{nth}"
        words = ("artifact", "get", "notes.md", "--version", str(nth + 1), "-o", str(out))
        project.run(*words, agent="bob").ok()
        assert out.read_text() == f"draft {nth}"


def test_a_value_of_5_megabytes(project: Project) -> None:
    value = "".join(f"line {n:07}\n" for n in range(5 * 10**6 // 13 + 1))
    assert len(value) > 5 * 10**6
    (done,) = (
        project.run("memory", "set", "big", "-", "--json", agent="alice", input=value).ok().json()
    )
    assert (done["value"], done["version"]) == (value, 1)
    for machine in (project, project.machine()):
        (found,) = machine.json("memory", "get", "big")
        assert found["value"] == value
        assert machine.run("memory", "get", "big").ok().out == value
    (blob,) = blobs(project)
    versions = project.objects.keys("chains/memory/big/")
    assert len(project.objects.read(versions[0])) < 4096, "the version holds the value itself"

    # Appending to it, and reading it at any version, needs no other means.
    project.run("memory", "append", "big", "and more", agent="bob").ok()
    assert project.json("memory", "get", "big")[0]["value"] == value + "\nand more"
    assert project.json("memory", "get", "big", "--version", "1")[0]["value"] == value

    project.objects.write(blob, spoil("changed at the end", project.objects.read(blob)))
    told = project.run("memory", "get", "big", "--json")
    assert (told.code, told.error()["code"], told.out) == (8, "damaged", "")


def test_a_message_of_1_megabyte(project: Project) -> None:
    text = "".join(f"{n:06} ünïcode\n" for n in range(10**6 // 17 + 1))
    assert len(text.encode()) > 10**6
    project.run("send", "bob,carol", "-", agent="alice", input=text).ok()
    project.run("send", "bob", "short", agent="alice").ok()
    seen: list[Any] = project.json("inbox", agent="bob")
    assert [message["text"] for message in seen] == [text, "short"]
    assert project.machine().json("inbox", agent="carol")[0]["text"] == text
    assert len(blobs(project)) == 1
