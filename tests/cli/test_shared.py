"""Folders of several users, and users without a home or a cache: with real other users."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.others import Other, why_not

from .conftest import User

TEAM = 4700
ALICE, BOB, EVE = 4711, 4712, 4713

needs_others = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there are some")


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)
    return done.stdout


class Team:
    """Alice and bob are of one group, eve is not. All may enter ``folder``, and alice owns it."""

    def __init__(self, folder: Path, umask: int) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        os.chown(self.work, ALICE, TEAM)
        self.work.chmod(0o755)
        self.alice = Other(folder / "alice", ALICE, group=TEAM, umask=umask)
        self.bob = Other(folder / "bob", BOB, groups=(TEAM,), umask=umask)
        self.eve = Other(folder / "eve", EVE, umask=umask)
        self.root = self.work / ".tclog" / "store" / "work"

    def modes(self) -> dict[str, set[str]]:
        """Return which modes and groups files and folders of the store have."""
        found: dict[str, set[str]] = {"file": set(), "folder": set()}
        for path in [self.root, *self.root.rglob("*")]:
            about = path.lstat()
            kind = "folder" if path.is_dir() else "file"
            found[kind].add(f"{stat.S_IMODE(about.st_mode):o} {about.st_gid}")
        return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that everybody can reach; pytest's own are closed."""
    made = Path(tempfile.mkdtemp(prefix="tclog-shared-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


# What makes files in the store: versions, events, blobs, keys, packs, probes, streamed files.
WRITES = (
    ("memory", "set", "k", "v", "--id", "key"),
    ("memory", "set", "long", "x" * 20_000),
    ("send", "bob", "hi"),
    ("artifact", "put", "/etc/passwd", "--name", "p"),
    ("doctor",),
    ("pack",),
)
READS = (("log",), ("fsck",), ("memory", "list"), ("inbox",), ("artifact", "list"))


@needs_others
@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_a_shared_folder_is_open_to_its_group_whatever_the_umask(folder: Path, umask: int) -> None:
    team = Team(folder, umask)
    said = team.alice("init", "--shared", cwd=team.work)
    ok(said)
    assert f"the users of group {TEAM} may read and write" in said.stderr
    for words in WRITES:
        ok(team.alice(*words, cwd=team.work))
    for words in (*WRITES[:4], *READS):
        ok(team.bob(*words, cwd=team.work))
    assert team.modes() == {"file": {f"660 {TEAM}"}, "folder": {f"2770 {TEAM}"}}
    assert team.eve("memory", "get", "k", cwd=team.work).returncode != 0
    config = team.work / ".tclog" / "config.toml"
    # Not to be changed by the group: its owner believes what it says.
    assert stat.S_IMODE(config.stat().st_mode) & 0o060 == 0o040


@needs_others
def test_what_is_there_is_opened(folder: Path) -> None:
    team = Team(folder, 0o077)
    ok(team.alice("init", cwd=team.work))
    ok(team.alice("memory", "set", "k", "v", cwd=team.work))
    assert team.modes() == {"file": {f"600 {TEAM}"}, "folder": {f"700 {TEAM}"}}
    assert team.bob("memory", "get", "k", cwd=team.work).returncode != 0
    ok(team.alice("init", "--shared", cwd=team.work))
    assert team.modes() == {"file": {f"660 {TEAM}"}, "folder": {f"2770 {TEAM}"}}
    assert ok(team.bob("memory", "get", "k", cwd=team.work)) == "v"
    # And what another user has closed stays so, which is said.
    closed = team.root / "chains" / "memory" / "k"
    os.chown(closed, BOB, BOB)
    closed.chmod(0o700)
    said = team.alice("init", "--shared", cwd=team.work)
    assert f"are still closed to the group, such as {closed}" in said.stderr


# The mode of a store's folder, and what files and folders get in it under a umask of 077.
ROOTS = {
    0o755: ("600", "700"),
    0o700: ("600", "700"),
    0o770: ("660", "2770"),
    0o775: ("664", "2775"),
    0o2750: ("660", "2770"),
    0o2755: ("664", "2775"),
    0o777: ("664", "2775"),
}


@needs_others
@pytest.mark.parametrize("mode", ROOTS, ids=lambda mode: f"{mode:o}")
def test_the_mode_of_the_folder_decides_and_else_the_umask(folder: Path, mode: int) -> None:
    team = Team(folder, 0o077)
    team.root.mkdir(parents=True)
    for path in (team.root, team.root.parent, team.root.parent.parent):
        os.chown(path, ALICE, TEAM)
    team.root.chmod(mode)
    for words in (("init",), *WRITES[1:4:2]):
        ok(team.alice(*words, cwd=team.work))
    file, inner = ROOTS[mode]
    found = team.modes()
    assert found["file"] == {f"{file} {TEAM}"}
    assert found["folder"] == {f"{inner} {TEAM}", f"{mode:o} {TEAM}"}


@needs_others
def test_a_group_that_is_not_the_users_first_is_kept(folder: Path) -> None:
    """Folders that were made before the setgid bit was give their files the user's own group."""
    team = Team(folder, 0o022)
    ok(team.alice("init", "--shared", cwd=team.work))
    for path in team.root.rglob("*"):
        if path.is_dir():
            path.chmod(0o770)
    ok(team.bob("memory", "set", "k", "v", cwd=team.work))
    assert {row.split()[1] for row in team.modes()["file"]} == {str(TEAM)}


def test_a_bucket_is_shared_by_its_own_rules(tmp_path: Path) -> None:
    error = User(tmp_path)("init", "s3://b/x", "--shared", "--json").error(2)
    assert "--shared works only with a folder" in error["message"]


# -- no home, no cache ----------------------------------------------------------------------------

# Where a process finds no folder of its own: its variables, by what is there.
HOMES: dict[str, dict[str, str | None]] = {
    "no home": {"HOME": None},
    "an empty home": {"HOME": ""},
    "a home that is not there": {"HOME": "/nowhere/at all"},
    "the home of another user": {"HOME": "{folder}/eve"},
    "a home that is a file": {"HOME": "/etc/passwd"},
    "a home that may not be written": {"HOME": "/"},
    "a cache that may not be written": {"XDG_CACHE_HOME": "/proc"},
    "a cache that is a file": {"TCLOG_CACHE": "/etc/passwd"},
    "a cache of another user": {"TCLOG_CACHE": "{folder}/eve/cache"},
    "a cache that is named, and no home": {"TCLOG_CACHE": "/proc/no", "XDG_CACHE_HOME": "/tmp"},
}
LOOKS = (
    ("log", "--json"), ("state",), ("diff", "1h"), ("blame", "k"), ("show", "{id}"), ("sync",),
    ("watch", "--from", "1h", "--count", "1"), ("report", "../report.html"),
    ("replay", "--speed", "1000000"),
)  # fmt: skip
PLAIN = (("memory", "set", "k", "w"), ("memory", "get", "k"), ("status",), ("where",), ("fsck",))


@needs_others
@pytest.mark.parametrize("home", HOMES)
def test_every_command_works_without_a_home_or_a_cache(folder: Path, home: str) -> None:
    team = Team(folder, 0o022)
    ok(team.alice("init", cwd=team.work))
    env = {
        name: text and text.replace("{folder}", str(folder)) for name, text in HOMES[home].items()
    }
    for words in PLAIN if home == "no home" else PLAIN[:1]:
        ok(team.alice(*words, cwd=team.work, **env))
    done = team.alice("log", "--json", cwd=team.work, **env)
    assert '"memory.set"' in ok(done)
    (note,) = done.stderr.splitlines()
    assert "so each command reads the whole log into memory" in note
    # What it says helps.
    variable, _, value = note.partition("export ")[2].rstrip('"}').partition("=")
    better = team.alice("log", "--json", cwd=team.work, **{**env, variable: value})
    assert (ok(better), better.stderr) == (done.stdout, "")
    assert value == str(team.work / ".tclog" / "cache")


def test_every_command_that_looks_back_works_in_memory(project: User) -> None:
    (project.folder / "file").touch()
    project.environ["TCLOG_CACHE"] = str(project.folder / "file")
    project("memory", "set", "k", "v").ok()
    event = project("log", "--json").objects()[0]["id"]
    for words in LOOKS:
        done = project(*(word.replace("{id}", event) for word in words))
        assert done.code == 0, done
        assert "into memory" in done.err, words


def test_where_no_better_place_is_known_a_variable_is_named_all_the_same(project: User) -> None:
    env = {"TCLOG_CACHE": "/proc/no", "TCLOG_STORE": str(project.store.parent),
           "TCLOG_PROJECT": "work", "TCLOG_CONFIG": "/dev/null"}  # fmt: skip
    done = project("log", env=env)
    assert done.code == 0, done
    assert "export TCLOG_CACHE=FOLDER" in done.err or "/dev/cache" in done.err
