"""A store that was set back: every command says so, until the user accepts it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stores import Server, open_s3

from cli.conftest import User, on_bucket
from tclog.chain.drive import run
from tclog.event import ChainId, slot_key
from tclog.log.project import create_project
from tclog.maintenance.accept import keep_aside
from tclog.store.s3 import S3Settings

ELSEWHERE = {"XDG_CACHE_HOME": "elsewhere"}
CHANGES = [
    ["memory", "get", "k"],
    ["memory", "set", "k", "next"],
    ["memory", "list"],
    ["state"],
    ["log"],
    ["diff", "1h"],
    ["watch", "--from", "1h", "--timeout", "1s"],
    ["sync", "--full"],
    ["show", "{id}"],
    ["tag", "here", "{id}"],
    ["revert", "{id}"],
]


def set_back(user: User, act: Callable[[], None]) -> None:
    """Carry out an act, then put the store back as it was before."""
    copy = user.folder / "copy"
    shutil.copytree(user.store, copy)
    act()
    shutil.rmtree(user.store)
    shutil.copytree(copy, user.store)


def slot_path(user: User, chain: str, seq: int) -> Path:
    return user.store / slot_key(ChainId(chain), seq)


@pytest.mark.parametrize("fork", [True, False])
def test_a_folder_that_was_set_back_is_told_by_all_and_then_accepted(project: User, fork: bool):
    lost: list[str] = []

    def work() -> None:
        for value in ("lost", "lost too"):
            lost.append(project("memory", "set", "k", value, "--json").object()["id"])
        project("memory", "set", "other", "lost").ok()
        project("log").ok()

    project("memory", "set", "k", "one").ok()
    set_back(project, work)
    if fork:
        for value in ("two of bob", "three of bob"):
            project("memory", "set", "k", value, agent="bob", env=ELSEWHERE).ok()
    code = "forked" if fork else "rolled-back"
    for words in CHANGES:
        told = project(*(word.format(id=lost[-1]) for word in words), "--json")
        error = told.error(8)
        assert error["hint"] == "tclog trust accept --help", words
        seen = error["remembered"]
        assert (seen["agent"], seen["version"]) in {("alice", 3), ("alice", 1)}, words
        assert error["code"] == (code if seen["chain"] == "memory/k" else "rolled-back"), words
        if "index" in error:
            assert Path(error["index"], "log.sqlite").exists()
    record = project("trust", "accept", "--json").object()
    rows = {row["chain"]: row for row in record["lost"]}
    assert {chain: (row["first"], row["last"]) for chain, row in rows.items()} == {
        "memory/k": (2, 3),
        "memory/other": (1, 1),
    }
    assert rows["memory/k"]["remembered"]["agent"] == "alice"
    assert rows["memory/k"]["found"]["agent"] == ("bob" if fork else "alice")
    assert rows["memory/other"]["found"] is None
    kept = Path(record["kept"])
    assert list(kept.glob("index-*/log.sqlite"))
    assert list((kept / "heads").iterdir())
    assert project("memory", "get", "k").lines() == ["three of bob" if fork else "one"]
    assert "lost" not in project("log").ok().out
    assert "lost" not in project("state").ok().out
    project("memory", "set", "k", "next").ok()
    project("fsck").ok()
    said = project("trust", "accept").lines()
    assert said == ["The store holds all that this machine remembers"]


@pytest.mark.parametrize("first", [("log",), ("sync", "--full")])
def test_what_is_written_later_does_not_hide_that_the_store_was_set_back(
    project: User, first: tuple[str, ...]
):
    def work() -> None:
        project("memory", "set", "k", "lost").ok()
        project("log").ok()

    set_back(project, work)
    project("memory", "set", "other", "new", agent="bob", env=ELSEWHERE).ok()
    for words in (first, ("state",), ("log",), ("diff", "1h"), ("report", "run.html")):
        assert project(*words, "--json").error(8)["code"] == "rolled-back", words
    project("trust", "accept").ok()
    assert "lost" not in project("state").ok().out


def test_a_version_that_comes_back_was_not_lost(project: User):
    path = slot_path(project, "memory/k", 1)
    project("memory", "set", "k", "there").ok()
    project("log").ok()
    aside = path.rename(project.folder / "aside")
    project("memory", "set", "other", "new", agent="bob", env=ELSEWHERE).ok()
    assert project("state", "--json").error(8)["code"] == "rolled-back"
    aside.rename(path)
    assert "there" in project("state").ok().out
    assert "there" in project("state").ok().out


def test_a_cache_that_is_no_folder_remembers_nothing(project: User):
    project("memory", "set", "k", "one").ok()
    (heads,) = Path(project.environ["XDG_CACHE_HOME"]).glob("tclog/*/heads")
    shutil.rmtree(heads)
    heads.write_text("")
    project("trust", "accept").ok()
    heads.unlink()
    heads.symlink_to("heads")
    project("trust", "accept").ok()


def test_what_is_lost_is_said_in_words(project: User):
    set_back(project, lambda: project("memory", "set", "k", "v").ok() and None)
    lost, accepted = project("trust", "accept").lines()
    assert lost.startswith("memory/k: lost version 1, the newest by alice (")
    assert lost.endswith("; the store has nothing")
    assert accepted.startswith("Accepted the store as it is; what this machine remembered is in ")


def test_two_caches_never_fork_a_chain(project: User):
    project("memory", "set", "k", "one").ok()
    set_back(project, lambda: project("memory", "set", "k", "lost").ok() and None)
    project("memory", "set", "k", "two", agent="bob", env=ELSEWHERE).ok()
    project("memory", "set", "k", "three").said(8)
    project("memory", "set", "k", "three", agent="bob", env=ELSEWHERE).ok()
    values = [row[-1] for row in project("memory", "history", "k", env=ELSEWHERE).rows()]
    assert len(values) == 3
    project("fsck").ok()


def test_an_exec_ends_when_the_store_was_set_back(project: User):
    """Its next renewal meets it: nobody holds the step by that claim any more."""
    project("claim", "s", agent="bob").ok()
    project("release", "s", agent="bob").ok()
    copy = project.folder / "copy"
    shutil.copytree(project.store, copy)
    begun = project.folder / "begun"
    work = f"touch {begun}; exec sleep 60"
    running = project.processes("exec", "s", "--lease", "2s", "--", "sh", "-c", work)
    until(begun.exists)
    shutil.rmtree(project.store)
    shutil.copytree(copy, project.store)
    _, err = running.communicate(timeout=60)
    assert running.returncode in (4, 7, 8), err


def until(done: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_project_in_a_bucket_that_was_made_again(user: User, moto: Server):
    on_bucket(user, moto)
    user("memory", "set", "k", "old").ok()
    where = user("where", "--json").object()
    bucket, _, prefix = where["store"]["value"].removeprefix("s3://").partition("/")
    store = open_s3(moto, S3Settings(bucket, f"{prefix}/work", moto.endpoint, "us-east-1"))
    keys = [e.key for top in ("chains", "events") for e in store.list(top, "", 99, False)]
    store.delete("tclog.json", *keys)
    run(create_project("work", os.urandom(16).hex(), time.time_ns() // 1000), store)
    for looked in (user.folder / "cache").rglob("looked"):
        os.utime(looked, (1, 1))
    assert user("memory", "get", "k", "--json").error(8)["code"] == "rolled-back"
    assert "was made again" in user("trust", "accept").ok().err
    user("memory", "get", "k").said(3)


def test_what_is_accepted_twice_in_a_second_is_kept_twice(tmp_path: Path):
    kept = []
    for text in ("one", "two"):
        (tmp_path / "heads").mkdir()
        (tmp_path / "heads/k").write_text(text)
        kept.append(keep_aside(tmp_path, "20261130T195205Z"))
    assert [(folder / "heads/k").read_text() for folder in kept] == ["one", "two"]
