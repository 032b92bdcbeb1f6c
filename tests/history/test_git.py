"""``export --git``: a repository that git itself finds sound, and that says what the log says."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import User
from hypothesis import given
from hypothesis import strategies as st

from tclog.event import ALL, ChainId, chain_name
from tclog.history.git import identity, segment_of, tag_ref
from tclog.store.file import FileStore
from tclog.testing.generate import generate

from .filled import PROJECT, fill, open_log
from .places import objects

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Give a user whose working folder holds a project that has used everything."""
    user = User(tmp_path)
    store = FileStore(user.work / ".tclog" / "store" / PROJECT, fsync=False)
    fill(store, tmp_path / "files")
    config = 'store = ".tclog/store"\nproject = "demo"\nagent = "alice"\n'
    (user.work / ".tclog" / "config.toml").write_text(config)
    user.environ["TCLOG_FSYNC"] = "false"
    return user


def store_of(user: User) -> FileStore:
    return FileStore(user.work / ".tclog" / "store" / PROJECT, fsync=False)


def path_of(shown: Mapping[str, Any]) -> str:
    kind = shown["type"]
    field = {"memory": "key", "step": "id", "inbox": "agent", "read": "agent"}.get(kind, "name")
    segment = segment_of(shown[field])
    return {
        "memory": f"memory/{segment}",
        "step": f"steps/{segment}.json",
        "inbox": f"inboxes/{segment}/inbox.json",
        "read": f"inboxes/{segment}/read.json",
        "agent": f"agents/{segment}.json",
    }.get(kind, f"{kind}s/{segment}.json")


def tree(folder: Path, commit: str) -> dict[str, bytes]:
    listed = git(folder, "ls-tree", "-r", "-z", "--format=%(objectname) %(path)", commit)
    rows = [line.split(" ", 1) for line in listed.split("\0") if line]
    asked = "".join(f"{name}\n" for name, _ in rows).encode()
    words = ["git", "-C", str(folder), "cat-file", "--batch"]
    raw = subprocess.run(words, input=asked, capture_output=True, check=True).stdout
    files = {}
    for _, path in rows:
        head, _, raw = raw.partition(b"\n")
        size = int(head.split()[2])
        files[path], raw = raw[:size], raw[size + 1 :]
    return files


def assert_same(files: dict[str, bytes], state: list[dict[str, Any]]) -> None:
    """Compare the tree of a commit with what ``state --at`` prints."""
    left = {path for path in files if not path.endswith(".txt")}
    for shown in state:
        path = path_of(shown)
        if shown["type"] == "agent" and path not in files:
            continue  # has only tried so far
        left.remove(path)
        if shown["type"] == "memory":
            value = files[path].decode()
            value = value if isinstance(shown["value"], str) else json.loads(value)
            assert value == shown["value"], path
        elif shown["type"] == "agent":
            held = json.loads(files[path])
            assert (held["claims"], held["leases"]) == (shown["claims"], shown["leases"]), path
        else:
            assert json.loads(files[path]) == shown, path
        if shown["type"] == "inbox":
            folder = path.rpartition("/")[0]
            letters = {one for one in files if one.startswith(f"{folder}/") and one[-4:] == ".txt"}
            assert letters == {f"{folder}/{n}.txt" for n in range(1, shown["messages"] + 1)}
    assert left == set()


def test_git_finds_it_sound_and_counts_the_versions(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    assert git(run, "fsck", "--strict", "--full") == ""
    versions = [key for key in objects(store_of(user)) if key.startswith("chains/")]
    assert int(git(run, "rev-list", "--count", "main")) == len(versions)
    assert git(run, "status", "--porcelain") == ""
    ids = git(run, "log", "--format=%(trailers:key=Tclog-Version,valueonly,separator=)").split()
    assert len(set(ids)) == len(versions)
    assert not [path for path in tree(run, "main") if "/." in path or path.startswith(".")]


def test_the_tree_of_a_commit_is_the_state_then(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    log = git(run, "log", "--format=%H %(trailers:key=Tclog-Version,valueonly,separator=)")
    rows = [line.split() for line in log.splitlines()]
    for commit, version in [rows[0], rows[-1], *random.Random(1).sample(rows, 14)]:
        state = user("state", "--at", version, "--json").objects()
        assert_same(tree(run, commit), state)


def test_a_generated_log_is_exported_as_it_was(tmp_path: Path):
    user = User(tmp_path)
    store = FileStore(user.work / ".tclog" / "store" / PROJECT, fsync=False)
    generate(store, events=1200, seed=7)
    mark = b'{"created_at":"2026-11-23T00:00:00.000000Z","format":1,"id":"0","project":"demo"}'
    store.put("tclog.json", mark)
    (user.work / ".tclog" / "config.toml").write_text('store = ".tclog/store"\nproject = "demo"\n')
    user("export", "--git", "run").ok()
    run = user.work / "run"
    assert git(run, "fsck", "--strict") == ""
    log = git(run, "log", "--format=%H %(trailers:key=Tclog-Version,valueonly,separator=)")
    rows = [line.split() for line in log.splitlines()]
    for commit, version in random.Random(2).sample(rows, 12):
        assert_same(tree(run, commit), user("state", "--at", version, "--json").objects())
    tags = user("tag", "--json").objects()
    assert len(tags) > 0
    for tag in tags:
        commit = git(run, "rev-list", "-1", tag_ref(tag["name"])).strip()
        assert_same(tree(run, commit), user("state", "--at", tag["name"], "--json").objects())


def test_blame_names_the_agent_of_each_line(user: User):
    for nth, agent in enumerate(("alice", "bob", "carol", "alice", "dave")):
        user("memory", "append", "lines", f"line {nth}", agent=agent).ok()
    user("export", "--git", "run").ok()
    said = git(user.work / "run", "blame", "--line-porcelain", "memory/lines").splitlines()
    authors = [line.removeprefix("author ") for line in said if line.startswith("author ")]
    # git gives a line to who wrote it last, and a newline at its end came with the next one.
    assert authors[-1] == "dave"
    assert authors == ["bob", "carol", "alice", "dave", "dave"]


def test_again_adds_what_is_new_and_changes_no_commit(user: User):
    first = user("export", "--git", "run", "--json").object()
    run = user.work / "run"
    before = git(run, "rev-list", "--reverse", "main").split()
    assert first["new_commits"] == first["commits"] == len(before)
    assert user("export", "--git", "run", "--json").object()["new_commits"] == 0
    user("claim", "more", agent="bob").ok()
    user("memory", "delete", "count").ok()
    user("tag", "here").ok()
    again = user("export", "--git", "run", "--json").object()
    assert again["new_commits"] == 3
    after = git(run, "rev-list", "--reverse", "main").split()
    assert after[: len(before)] == before
    assert git(run, "status", "--porcelain") == ""
    assert not (run / "memory" / "count").exists()
    assert git(run, "tag").split() == ["here"]
    user("export", "--git", "fresh").ok()
    assert git(user.work / "fresh", "rev-parse", "main") == git(run, "rev-parse", "main")
    user("tag", "here", "--delete").ok()
    user("export", "--git", "run").ok()
    assert git(run, "tag") == ""


def test_versions_that_come_late_begin_a_new_line_and_keep_the_old_one(user: User):
    store, late = store_of(user), {}
    for key, raw in objects(store).items():
        if key.startswith("chains/memory/float/"):
            late[key] = raw
            store.delete(key)
    user("export", "--git", "run").ok()
    run = user.work / "run"
    old = git(run, "rev-parse", "main").strip()
    for key, raw in late.items():
        store.put(key, raw)
    user("sync", "--full").ok()
    done = user("export", "--git", "run", "--json").ok()
    made = json.loads(done.out)
    assert made["superseded"]
    assert git(run, "rev-parse", made["superseded"]).strip() == old
    user("export", "--git", "fresh").ok()
    assert git(user.work / "fresh", "rev-parse", "main") == git(run, "rev-parse", "main")
    assert git(run, "fsck", "--strict") == ""
    assert git(run, "status", "--porcelain") == ""


def test_only_an_export_of_this_project_is_written_to(user: User):
    for folder, words in (
        ("mine", ["init", "-q"]),
        ("bare", ["init", "-q", "--bare"]),
        ("full", ["init", "-q"]),
    ):
        (user.work / folder).mkdir()
        git(user.work / folder, *words)
    (user.work / "files").mkdir()
    (user.work / "files" / "x").write_text("mine")
    who = ("-c", "user.name=x", "-c", "user.email=x@y")
    git(user.work / "full", *who, "commit", "-q", "--allow-empty", "-m", "mine")
    for folder in ("files", "full", "."):
        assert user("export", "--git", folder, "--json").error(4)["code"] == "not-an-export"
    for folder in ("mine", "bare"):
        user("export", "--git", folder).ok()
        assert git(user.work / folder, "fsck", "--strict") == ""
    git(user.work / "mine", *who, "commit", "-q", "--allow-empty", "-m", "mine")
    assert user("export", "--git", "mine", "--json").error(4)["code"] == "not-an-export"
    inner = user.work / "mine" / "inner"
    user("export", "--git", str(inner)).ok()
    assert (inner / ".git").is_dir()


def test_what_was_edited_by_hand_is_left_alone(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    (run / "memory" / "journal").write_text("my notes")
    user("memory", "append", "journal", "more").ok()
    user("export", "--git", "run").ok()
    assert (run / "memory" / "journal").read_text() == "my notes"
    assert "more" in git(run, "show", "main:memory/journal")


def test_git_of_an_outer_process_is_not_meant(user: User):
    outer = user.work / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    user("export", "--git", "run", env={"GIT_DIR": str(outer / ".git"), "GIT_WORK_TREE": "/"}).ok()
    assert (user.work / "run" / ".git").is_dir()
    assert git(outer, "for-each-ref") == ""


def test_without_git_it_is_said_how_to_get_it(user: User):
    error = user("export", "--git", "run", "--json", env={"PATH": "/nowhere"}).error(1)
    assert error["code"] == "git-missing"
    assert error["hint"] == "apt-get install git"


def test_an_export_that_is_killed_changes_nothing(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    before = git(run, "rev-parse", "main")
    log = open_log(store_of(user), "zoe")
    for nth in range(200):
        log.memory.append("long", f"line {nth} " * 200)
    for _ in range(4):
        child = user.processes("export", "--git", "run")
        try:
            child.communicate(timeout=0.7)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
    assert git(run, "rev-parse", "main") == before or git(run, "fsck", "--strict") == ""
    user("export", "--git", "run").ok()
    user("export", "--git", "fresh").ok()
    assert git(user.work / "fresh", "rev-parse", "main") == git(run, "rev-parse", "main")


# -- names ----------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=50)


@given(names)
def test_no_name_means_anything_to_git(name: str):
    segment = segment_of(name)
    assert not segment.startswith(".")
    assert "/" not in segment
    assert segment.isascii()
    ref = tag_ref(name)
    assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0, ref


@given(st.lists(names, min_size=2, max_size=2, unique=True))
def test_two_names_never_meet(pair: list[str]):
    assert segment_of(pair[0]) != segment_of(pair[1])
    assert tag_ref(pair[0]) != tag_ref(pair[1])


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("alice", "alice <alice@tclog>"),
        ("a <b@c>", "a b@c <a%20%3Cb%40c%3E@tclog>"),
        ("...", "%2E%2E%2E <%2E%2E%2E@tclog>"),
        ("Zoë 1.", "Zoë 1 <Zo%C3%AB%201.@tclog>"),
    ],
)
def test_an_agent_is_a_person_to_git(agent: str, shown: str):
    assert identity(agent) == shown


def test_the_broadcasts_have_a_folder_no_agent_can_have():
    assert segment_of(chain_name(ALL)) == "@all"
    assert segment_of(chain_name(ChainId("inbox/%40all"))) != "@all"
