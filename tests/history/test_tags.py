"""Tags through the command line: names for moments, good wherever a point is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli.conftest import User

from history.looking import newest_id, project_of


@pytest.fixture
def user(tmp_path: Path) -> User:
    user = project_of(tmp_path)
    user("memory", "set", "k", "one").ok()
    return user


def test_a_tag_holds_a_moment(user: User) -> None:
    assert user("tag").ok().out == ""
    tag = user("tag", "before merge", "--json").object()
    assert list(tag)[:3] == ["type", "name", "moment"]
    user("memory", "set", "k", "two", agent="bob").ok()
    assert user("memory", "get", "k", "--at", "before merge").ok().out == "one"
    assert user("diff", "before merge").rows()[0][0] == "memory/k"
    assert len(user("log", "--since", "before merge").rows()) == 2
    assert user("tag", "--json").objects() == [tag]
    assert [row for row in user("state", "--json").objects() if row["type"] == "tag"] == [tag]


def test_a_point_is_a_time_an_id_or_another_tag(user: User) -> None:
    event = newest_id(user)
    shown = user("show", event, "--json").object()
    at = shown["changes"][0]["version_id"]
    user("memory", "set", "k", "two").ok()
    for name, point in (("e", event[:10]), ("v", at[:10]), ("t", "e"), ("i", shown["at"])):
        user("tag", name, point).ok()
        assert user("memory", "get", "k", "--at", name).ok().out == "one"
    moments = {tag["name"]: tag["moment"] for tag in user("tag", "--json").objects()}
    assert set(moments) == {"e", "v", "t", "i"}
    assert set(moments.values()) == {shown["at"]}
    user("tag", "early", "1d").ok()
    assert user("state", "--at", "early").ok().out == ""
    assert user("tag").rows()[0][0] == "early"


def test_a_tag_moves_on_request_only(user: User) -> None:
    first = user("tag", "v1", "--json").object()
    refused = user("tag", "v1", "--json").error(4)
    assert refused["code"] == "tag-exists"
    assert refused["at"] == first["hlc"]
    assert user("tag", "v1", "1h", agent="bob").said(4)
    moved = user("tag", "v1", "1h", "--move", "--json", agent="bob").object()
    assert (moved["version"], moved["agent"]) == (2, "bob")
    again = user("tag", "v1", moved["moment"], "--json").object()
    assert again["version"] == 2
    # What it stood for before is in the log, and in the past.
    assert user("tag", "--at", first["id"], "--json").objects() == [first]


def test_a_tag_that_is_taken_away_stays_in_the_log(user: User) -> None:
    user("tag", "v1").ok()
    gone = user("tag", "v1", "--delete", "--json").object()
    assert gone["deleted"] is True
    assert user("tag").ok().out == ""
    assert user("memory", "get", "k", "--at", "v1", "--json").error(3)["code"] == "point-missing"
    assert user("tag", "v1", "--delete", "--json").error(3)["code"] == "tag-missing"
    assert [row[2] for row in user("log", "--op", "tag.*").rows()] == ["tag.delete", "tag.set"]
    assert user("tag", "v1", "--json").object()["version"] == 3


def test_names_and_points_that_mean_nothing_are_refused(user: User) -> None:
    for name in ("10m", "@", "now", "2026-11-23", "beef", " v1", ""):
        assert user("tag", name, "--json").error(2)["code"] == "bad-name", name
    # Refused with a hint that works.
    hint = user("tag", "beef", "--json").error(2)["hint"]
    assert user(*hint.replace("'", "").split(" ", 2)[1:]).code == 0
    assert user("tag", "v1", "nothing", "--json").error(3)["code"] == "point-missing"
    assert user("tag", "v1", "2199-01-01", "--json").error(2)["code"] == "bad-moment"
    assert user("tag", "v1", "", "--json").error(2)["code"] == "bad-moment"
    assert user("tag", "v1", "1h", "--delete", "--json").error(2)
    assert user("tag", "--move", "--json").error(2)["code"] == "name-missing"
    assert user("tag", "v1", "--at", "1h", "--json").error(2)
    for name in ("a/b", "naïve 🙂", "x" * 200, "..", "-v1"):
        user("tag", "--", name).ok()
        user("state", f"--at={name}").ok()


def test_who_tags_has_a_name(user: User) -> None:
    del user.environ["TCLOG_AGENT"]
    event = newest_id(user)
    assert user("tag", "v1", event, "--json").error(2)["code"] == "agent-missing"
    assert user("tag").ok().out == ""


def test_repeating_a_tag_under_its_key_changes_nothing(user: User) -> None:
    first = user("tag", "v1", "--id", "t1", "--json").object()
    assert user("tag", "v1", "--id", "t1", "--json").object() == first
    assert user("tag", "v2", "--id", "t1").code == 0  # a key binds to a chain, as elsewhere
    gone = user("tag", "v1", "--delete", "--id", "t2", "--json").object()
    assert user("tag", "v1", "--delete", "--id", "t2", "--json").object()["id"] == gone["id"]
    assert user("tag", "v1", "1h", "--id", "t1", "--json").error(4)["code"] == "key-reused"


def test_everything_the_tagging_agent_has_seen_belongs_to_now(user: User) -> None:
    """A clock that is a minute ahead is within what is trusted; its events are not left out."""
    wrong = "import time; now = time.time_ns; time.time_ns = lambda: now() + 60 * 10**9"
    code = f"{wrong}\nfrom tclog.cli.app import run_command\nimport sys\n"
    code += "sys.exit(run_command(['memory', 'set', 'k', 'ahead', '--as', 'bob']))"
    elsewhere = {"TCLOG_CACHE": str(user.folder / "another machine")}
    user.process("-c", code, program=sys.executable, env=elsewhere).ok()
    assert user("memory", "get", "k").ok().out == "ahead"
    user("tag", "seen").ok()
    assert user("memory", "get", "k", "--at", "seen").ok().out == "ahead"
