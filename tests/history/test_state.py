"""`state --at` and `--at` on the reading commands: what was seen at the time, and one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import User, on_bucket
from support.stores import Server

from history.looking import Team, instant, newest_id, project_of, state_at
from tclog.clock import parse_us
from tclog.errors import Refused

BIG = "line of a large value\n" * 2000
# One line a command, as these agents run them one after the other.
RUN = [
    ("alice", "step add design --title 'Agree on the API'"),
    ("alice", "step add build --after design --priority 2"),
    ("alice", "memory set api.contract 'POST /v1/items'"),
    ("bob", "claim design"),
    ("bob", 'memory set limits \'{"retries": 3, "rate": 1.5}\' --type json'),
    ("carol", "memory incr builds --by 2"),
    ("bob", "send alice,carol 'have a look'"),
    ("alice", "send @all 'freeze at noon'"),
    ("alice", "inbox --ack"),
    ("bob", "note design 'schema drafted'"),
    ("carol", "memory append journal 'tests next'"),
    ("bob", "artifact put report.md"),
    ("alice", "memory set big --file big.txt"),
    ("bob", "complete design --note agreed --to carol --next-action 'build it'"),
    ("carol", "claim --next"),
    ("alice", "tag agreed"),
    ("alice", "memory delete api.contract"),
    ("carol", "artifact put big.txt --name report.md --step build"),
    ("carol", "complete build --failed"),
    ("bob", "barrier release --parties 1"),
    ("alice", "reopen build"),
    ("alice", "memory set a/b 'slashes, spaces and 🙂'"),
]
READING = [
    ["memory", "list"],
    ["step", "list"],
    ["artifact", "list"],
    ["agents"],
    ["tag"],
]


@pytest.fixture
def user(tmp_path: Path) -> User:
    user = project_of(tmp_path)
    (user.work / "report.md").write_text("# Report\n")
    (user.work / "big.txt").write_text(BIG)
    return user


def words(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


def by_name(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Key objects by what they are of, without what only `step show` tells, the fence for one.

    Leases are compared to the second: who has just claimed does not know the store's stamp yet.
    """
    found = {}
    for shown in rows:
        row = dict(shown)
        name = row.get("key") or row.get("id" if row["type"] == "step" else "name")
        if row["type"] == "step":
            for field in ("note", "note_by", "handoff", "fence"):
                row.pop(field, None)
            row["lease_until"] = about(row["lease_until"])
        if row["type"] == "agent":
            row["leases"] = {step: about(end) for step, end in row["leases"].items()}
        found[row["type"], name or row["agent"]] = row
    return found


def about(lease_until: str | None) -> Any:
    us = None if lease_until is None else parse_us(lease_until)
    return None if us is None else pytest.approx(us, abs=1_000_000)


def test_what_was_seen_at_the_time_is_what_state_shows_later(user: User) -> None:
    seen: list[tuple[str, dict[Any, Any]]] = []
    for agent, line in RUN:
        user(*words(line), agent=agent).ok()
        rows = [row for command in READING for row in user(*command, "--json").objects()]
        seen.append((instant(), by_name(rows)))
    for point, then in seen:
        state = by_name(user("state", "--at", point, "--json").objects())
        shown = {key: row for key, row in state.items() if key[0] in {k for k, _ in then}}
        assert shown == then
        again = [r for c in READING for r in user(*c, "--at", point, "--json").objects()]
        assert by_name(again) == then


def test_without_a_moment_it_is_what_the_newest_versions_say(user: User) -> None:
    for agent, line in RUN:
        user(*words(line), agent=agent).ok()
    rows = user("state", "--json").objects()
    kinds = {row["type"] for row in rows}
    assert kinds == {"memory", "step", "inbox", "read", "artifact", "barrier", "agent", "tag"}
    (big,) = [row for row in rows if row.get("key") == "big"]
    assert big["value"] == BIG
    assert big == user("memory", "get", "big", "--json").object()
    for row in rows:
        if row["type"] == "step":
            assert row == user("step", "show", row["id"], "--json").object()
    counts = {row["agent"]: row["messages"] for row in rows if row["type"] == "inbox"}
    # To carol: one of her own, the broadcast, and the hand-off.
    assert counts == {"@all": 1, "alice": 2, "carol": 3}
    broadcasts = {row["agent"]: row.get("broadcasts") for row in rows if row["type"] == "inbox"}
    assert broadcasts == {"@all": None, "alice": 1, "carol": 1}
    # The text form fetches nothing that is large, and is one line a thing in a pipe.
    cells = {row[0]: row for row in user("state").rows()}
    assert len(cells) == len(rows)
    assert cells["memory/big"][1] == "(43.0 KiB)"
    assert cells["step/build"][1] == "ready"
    assert cells["memory/a/b"][1] == "slashes, spaces and 🙂"


def test_json_within_the_facts_of_an_event_is_escaped_once(user: User) -> None:
    user("memory", "set", "k", '{"a": "x\\ny"}', "--type", "json").ok()
    event = newest_id(user)
    change = user("show", event, "--json").object()["changes"][0]
    seen = dict(line.split(None, 1) for line in user("show", event, terminal=True).lines())
    assert json.loads(seen["changes"]) == [change]
    piped = dict(user("show", event).rows())
    assert json.loads(piped["changes"].replace("\\\\", "\\")) == [change]


def test_what_was_not_there_yet_is_not_said_to_be_missing_now(user: User) -> None:
    user("step", "add", "s").ok()
    user("artifact", "put", "report.md").ok()
    for words in (("step", "show", "s"), ("artifact", "get", "report.md")):
        told = user(*words, "--at", "1h").said(3)
        assert told.startswith("error: there was no ")
        _, _, hint = told.partition("hint: tclog ")
        assert user(*hint.split()).ok().out


def test_every_reading_command_takes_every_kind_of_point(user: User) -> None:
    user("memory", "set", "k", "one").ok()
    event = newest_id(user)
    user("step", "add", "s").ok()
    user("send", "alice", "hello", agent="bob").ok()
    user("artifact", "put", "report.md").ok()
    shown = user("show", event, "--json").object()
    points = [event, event[:8], shown["changes"][0]["version_id"][:12], instant()]
    user("tag", "then").ok()
    points.append("then")
    user("memory", "set", "k", "two").ok()
    user("step", "add", "later").ok()
    user("artifact", "put", "big.txt", "--name", "report.md").ok()
    for point in points:
        assert user("memory", "get", "k", "--at", point).ok().out == "one"
        (row,) = user("memory", "list", "--values", "--at", point).rows()
        assert row[4] == "one"
        assert len(user("memory", "history", "k", "--at", point).rows()) == 1
        later = point in (points[-1], points[-2])
        assert len(user("step", "list", "--at", point).rows()) == later
        assert len(user("artifact", "list", "--at", point).rows()) == later
        assert len(user("inbox", "--all", "--at", point).rows()) == later
        assert user("status", "--at", point, "--json").object()["unread"] == later
        names = {row["name"] for row in user("agents", "--at", point, "--json").objects()}
        assert names == ({"alice", "bob"} if later else {"alice"})
        if later:
            user("step", "show", "s", "--at", point).ok()
            assert user("artifact", "get", "report.md", "-o", "-", "--at", point).ok().out == (
                "# Report\n"
            )
            assert len(user("artifact", "history", "report.md", "--at", point).rows()) == 1
        else:
            assert user("step", "show", "s", "--at", point).code == 3
    assert user("state", "--at", "nowhere", "--json").error(3)["code"] == "point-missing"
    assert user("state", "--at", "2026-99-99", "--json").error(2)["code"] == "bad-moment"
    assert user("state", "--at", "eeeeeeee", "--json").error(3)["code"] == "point-missing"


def test_a_moment_that_is_not_settled_is_answered_and_said_to_be_so(user: User) -> None:
    user("memory", "set", "k", "v").ok()
    for command in (["state", "--at", "1s"], ["diff", "1m"], ["agents", "--at", "1s"]):
        done = user(*command, "--json").ok()
        (note,) = [json.loads(line) for line in done.err.splitlines()]
        assert note["type"] == "note"
        assert "not settled" in note["message"]
    for command in (["state"], ["state", "--at", "1h"], ["diff", "1h"], ["diff", "2h", "1h"]):
        assert user(*command).ok().err == ""


def test_an_empty_project_has_an_empty_state(user: User) -> None:
    # Whoever set it up has said so; that is all.
    assert [row["type"] for row in user("state", "--json").objects()] == ["agent"]
    assert user("state", "--at", "1d", "--json").ok().out == ""
    assert user("state", "--at", "1d").ok().out == ""
    assert user("diff", "2d", "1d", "--exit-code").ok().out == ""


def test_what_a_step_waits_for_is_judged_at_the_moment(tmp_path: Path) -> None:
    team = Team(tmp_path)
    alice = team["alice"]
    alice.steps.add("design")
    alice.steps.add("build", after=["design"])
    before = team.now()
    alice.steps.claim("design")
    alice.steps.complete("design")
    after = team.now()
    alice.steps.reopen("design")
    history = team.look()
    states = [state_at(history, at)["step/build"] for at in (before, after, team.now())]
    assert [one["state"] for one in states] == ["pending", "ready", "pending"]
    assert [one["waiting"] for one in states] == [["design"], [], ["design"]]


def test_an_agent_that_only_tried_is_seen(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].steps.claim("design")
    with pytest.raises(Refused):
        team["bob"].steps.claim("design")
    state = state_at(team.look())
    assert state["agent/alice"]["claims"] == ["design"]
    assert state["agent/bob"]["claims"] == []
    assert state["agent/bob"]["last_seen"] > state["agent/alice"]["last_seen"]
    # Of what was done and what was tried in vain the later one is the last.
    done = team["bob"].memory.set("k", "v")
    assert state_at(team.look())["agent/bob"]["last_seen"] <= done.at
    with pytest.raises(Refused):
        team["bob"].steps.claim("design")
    assert state_at(team.look())["agent/bob"]["last_seen"] > done.at
    team["alice"].send("carol", "hello")
    assert state_at(team.look())["agent/carol"]["last_seen"] is None


def test_it_is_the_same_on_a_bucket(tmp_path: Path, ceph: Server) -> None:
    user = on_bucket(User(tmp_path), ceph)
    (user.work / "big.txt").write_text(BIG)
    user("memory", "set", "big", "--file", "big.txt").ok()
    event = newest_id(user)
    user("tag", "then").ok()
    user("memory", "set", "big", "small", agent="bob").ok()
    user("step", "add", "s").ok()
    (big,) = [r for r in user("state", "--at", "then", "--json").objects() if r.get("key")]
    assert (big["value"], big["id"]) == (BIG, event)
    changes = {row["chain"]: row for row in user("diff", "then", "--json").objects()}
    assert changes["memory/big"]["before"]["value"] == BIG
    assert changes["memory/big"]["agent"] == "bob"
    assert set(changes) == {"memory/big", "step/s", "tag/then", "agent/alice", "agent/bob"}
    assert len(user("blame", "big", "--at", "then").rows()) == 2000
    shown = user("revert", changes["memory/big"]["id"], "--json").object()
    assert shown["value"] == BIG


@pytest.mark.parametrize("held", [True, False])
def test_a_step_is_shown_as_of_the_version_that_changed_it(tmp_path: Path, held: bool) -> None:
    """Not of one behind it that only read it, or came to nothing."""
    team = Team(tmp_path)
    alice = team["alice"]
    alice.steps.add("s")
    if held:
        alice.steps.claim("s")
    txn = alice.transaction()
    txn.step_show("s")
    txn.memory_incr("n")
    alice.transact(txn)
    shown = state_at(team.look())["step/s"]
    assert team["bob"].steps.show("s").as_json() == shown
    assert [step.as_json() for step in alice.steps.list()] == [shown]


def test_where_only_the_index_is_asked_notes_and_large_values_are_left_out(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].steps.claim("build")
    team["alice"].steps.note("build", "half done")
    team["alice"].memory.set("big", "x" * 20_000)
    whole, small = (state_at(team.look(), large=large) for large in (True, False))
    assert whole["step/build"]["note"] == "half done"
    assert small["step/build"].get("note") is None
    assert whole["memory/big"]["value"] == "x" * 20_000
    assert small["memory/big"]["value"] is None
    assert small["memory/big"]["size"] == 20_000
