"""A client with a wrong clock that does not correct it: ``fsck`` and ``doctor`` name its agent."""

from pathlib import Path

import pytest
from cli.conftest import User
from history.looking import project_of

from tclog.chain.drive import run
from tclog.clock import HybridClock
from tclog.log.log import Log
from tclog.log.project import read_project
from tclog.store.base import Store
from tclog.store.file import FileStore

HOURS_US = 3 * 3600 * 1_000_000


def store_of(user: User) -> FileStore:
    return FileStore(user.store, fsync=False)


def stubborn(store: Store, agent: str, off_us: int) -> Log:
    """Return the log of a client whose clock is off and that never learns so."""
    log = Log(store, run(read_project("work"), store), agent=agent)
    true_us = log.client.clock.wall_us
    log.client.clock = HybridClock(lambda: true_us() + off_us)
    log.client.learn_offset = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return log


@pytest.fixture
def user(tmp_path: Path) -> User:
    (tmp_path / "work").mkdir()
    found = project_of(tmp_path / "work")
    assert found.work.name == "work"
    return found


def notes(user: User, *words: str) -> list[dict]:
    return [row for row in user(*words, "--json").objects() if row["type"] == "finding"]


@pytest.mark.parametrize("off_us", [-HOURS_US, HOURS_US])
def test_fsck_and_doctor_tell_of_a_clock_that_is_off(user: User, off_us: int):
    user("memory", "set", "k", "1").ok()
    assert notes(user, "fsck") == []
    log = stubborn(store_of(user), "bob", off_us)
    log.memory.set("slow", "1")
    log.memory.set("slow", "2")
    (note,) = notes(user, "fsck")
    assert (note["code"], note["agent"]) == ("clock-off", "bob")
    assert note["object"].startswith("events/")
    assert f"2 event(s) with a time up to {HOURS_US // 1_000_000} s" in note["message"]
    assert ("behind" if off_us < 0 else "ahead") in note["message"]
    rows = {row["name"]: row for row in user("doctor", "--json").objects()}
    assert rows["clocks"]["ok"]
    assert f"bob ({off_us // 1_000_000:+d} s)" in rows["clocks"]["detail"]


def test_a_client_that_corrects_its_clock_is_told_of_by_doctor_only(user: User):
    store = store_of(user)
    log = Log(store, run(read_project("work"), store), agent="bob")
    true_us = log.client.clock.wall_us
    log.client.clock = HybridClock(lambda: true_us() - HOURS_US)
    log.memory.set("slow", "1")
    # The first event is an attempt; the clock was corrected after it.
    assert notes(user, "fsck") == []
    rows = {row["name"]: row for row in user("doctor", "--json").objects()}
    assert "bob" in rows["clocks"]["detail"]


def test_a_sound_log_has_no_wrong_clock(user: User):
    user("memory", "set", "k", "1").ok()
    rows = {row["name"]: row for row in user("doctor", "--json").objects()}
    assert rows["clocks"]["detail"] == "no event in the last 24 hours has a wrong time"


def test_a_copy_says_nothing_of_clocks(user: User, tmp_path: Path):
    log = stubborn(store_of(user), "bob", -HOURS_US)
    log.memory.set("slow", "1")
    user("clone", ".", str(tmp_path / "copy")).ok()
    place = ["--store", str(tmp_path / "copy"), "--project", "work"]
    found = [row for row in user(*place, "fsck", "--json").objects() if row["type"] == "finding"]
    assert found == []
