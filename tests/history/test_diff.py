"""`diff A B` applied to the state at A gives the state at B; it says by whom, and it is quick."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from cli.conftest import User
from support.logs.generate import generate

from history.looking import Team, apply, diff_between, open_history, project_of, state_at
from tclog.clock import Hlc
from tclog.history.blame import blame_memory
from tclog.history.history import History
from tclog.history.snapshot import END
from tclog.index import Filter
from tclog.store.memory import MemoryStore

EVENTS = 1500
PAIRS = 30


@pytest.mark.parametrize("seed", [0, 1])
def test_the_changes_applied_to_one_state_give_the_other(seed: int, tmp_path: Path) -> None:
    store = MemoryStore()
    generate(store, events=EVENTS, seed=seed, agents=6)
    history = open_history(store, tmp_path)
    history.sync()
    rng = random.Random(seed)
    stamps = [commit.at for commit in history.index.commits(newest_first=False)]
    stamps += [Hlc("2000-01-01T00:00:00.000000Z-0000"), END]
    kinds = set()
    for nth in range(PAIRS):
        a, b = rng.choices(stamps, k=2)
        if nth % 2:  # moments that are close to each other, where little changes
            b = stamps[min(stamps.index(a) + rng.randint(0, 5), len(stamps) - 1)]
        changes = diff_between(history, a, b)
        then, now = state_at(history, a), state_at(history, b)
        assert apply(changes, then) == now
        assert apply(diff_between(history, b, a), now) == then
        kinds |= {(change.group, change.because is not None) for change in changes}
        for change in changes:
            assert change.last is not None, change
            assert min(a, b) < change.last.at <= max(a, b)
    assert {group for group, _ in kinds} == {
        "memory", "steps", "inboxes", "artifacts", "barriers", "agents", "tags",
    }  # fmt: skip
    assert ("steps", True) in kinds


# -- who, and what follows ------------------------------------------------------------------------


def test_a_change_says_who_made_it_last_and_how_many_there_were(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("k", "one")
    before = team.now()
    team["bob"].memory.set("k", "two")
    last = team["carol"].memory.append("k", "three")
    (change,) = [c for c in diff_between(team.look(), before) if c.group == "memory"]
    shown = change.as_json()
    assert list(shown)[:6] == ["type", "chain", "before", "after", "id", "agent"]
    assert shown["type"] == "change"
    assert (shown["before"]["value"], shown["after"]["value"]) == ("one", "two\nthree")
    assert (shown["id"], shown["agent"], shown["op"]) == (last.id, "carol", "memory.append")
    assert (shown["version_before"], shown["version_after"], shown["events"]) == (1, 3, 2)
    (back,) = [c for c in diff_between(team.look(), END, before) if c.group == "memory"]
    assert (back.before, back.after) == (change.after, change.before)
    assert back.last == change.last


def test_a_step_that_became_ready_has_changed_because_of_another(tmp_path: Path) -> None:
    team = Team(tmp_path)
    alice = team["alice"]
    alice.steps.add("design")
    alice.steps.add("build", after=["design"])
    alice.steps.add("test", after=["build"])
    before = team.now()
    alice.steps.claim("design")
    team["bob"].steps.complete("design", force=True, reason="alice is gone")
    changes = {c.chain: c for c in diff_between(team.look(), before)}
    ready = changes["step/build"]
    assert (ready.before["state"], ready.after["state"]) == ("pending", "ready")
    assert ready.because == "step/design"
    assert ready.last.event.op == "step.complete"
    assert ready.last.event.agent == "bob"
    assert ready.events == 0
    assert (ready.version_before, ready.version_after) == (1, 1)
    assert "step/test" not in changes
    # Alice lost her claim to somebody else's event; she held nothing before, so only her own show.
    assert changes["agent/alice"].after["claims"] == []


def test_what_an_agent_lost_to_another_is_its_change_too(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].steps.claim("design")
    before = team.now()
    team["bob"].steps.complete("design", force=True, reason="alice is gone")
    changes = {c.chain: c for c in diff_between(team.look(), before)}
    lost = changes["agent/alice"]
    assert (lost.before["claims"], lost.after["claims"]) == (["design"], [])
    assert lost.last.event.agent == "bob"
    assert lost.because == "step/design"
    assert lost.events == 0  # she did nothing herself


def test_what_came_and_went_between_is_no_change(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("k", "one")
    before = team.now()
    team["alice"].memory.set("gone", "x")
    team["alice"].memory.delete("gone")
    groups = [change.chain for change in diff_between(team.look(), before)]
    assert groups == ["agent/alice"]


def test_an_inbox_that_only_took_broadcasts_in_was_changed_by_the_last_of_them(
    tmp_path: Path,
) -> None:
    team = Team(tmp_path)
    team["alice"].send("bob", "to bob")
    team["bob"].inbox()
    for name in ("alice", "carol"):
        sent = team[name].send("@all", f"of {name}")
    before = team.now()
    team["bob"].inbox()
    (change,) = [c for c in diff_between(team.look(), before) if c.chain == "inbox/bob"]
    assert change.last is not None
    assert (change.last.event.id, change.last.chain) == (sent.id, "inbox/@all")
    assert change.last.event.agent == "carol"
    assert (change.events, change.version_before, change.version_after) == (0, 1, 2)


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path: Path) -> User:
    user = project_of(tmp_path)
    user("memory", "set", "notes", "one\ntwo\nthree").ok()
    user("step", "add", "build", "--after", "design").ok()
    user("tag", "begin").ok()
    user("memory", "set", "notes", "one\n2\nthree\nfour", agent="bob").ok()
    user("memory", "set", "k", "\x1b[31mred", agent="bob").ok()
    user("claim", "design", agent="bob").ok()
    user("complete", "design", "--note", "done", agent="bob").ok()
    return user


def test_the_text_shows_what_became_of_each_thing_and_by_whom(user: User) -> None:
    rows = {row[0]: row for row in user("diff", "begin").rows()}
    assert rows["memory/notes"][1:3] == ["one\\ntwo\\nthree -> one\\n2\\nthree\\nfour", "bob"]
    assert rows["memory/k"][1] == "- -> \\x1b[31mred"
    assert rows["step/build"][1:3] == ["pending, waits for design -> ready", "bob"]
    assert all(user("show", row[-1]).code == 0 for row in rows.values())
    shown = user("diff", "begin", terminal=True).ok().out
    assert "  @@ -1,3 +1,4 @@\n   one\n  -two\n  +2\n   three\n  +four\n" in shown
    assert "\x1b" not in shown
    ids = [row[-1] for row in rows.values()]
    assert all(line.split()[-1] in ids for line in shown.splitlines() if "bob" in line.split())


def test_statistics_count_by_groups(user: User) -> None:
    rows = user("diff", "begin", "--stat", "--json").objects()
    assert {row.pop("type") for row in rows} == {"diffstat"}
    assert {row["group"]: [row["added"], row["removed"], row["changed"]] for row in rows} == {
        "memory": [1, 0, 1],
        "steps": [1, 0, 1],
        "agents": [1, 0, 1],
        "tags": [1, 0, 0],
    }
    assert user("diff", "begin", "--stat").rows()[0] == ["memory", "1", "0", "1", "2"]


def test_the_exit_status_tells_on_request_only(user: User) -> None:
    assert user("diff", "begin").code == 0
    assert user("diff", "begin", "--exit-code").code == 1
    assert user("diff", "begin", "--stat", "--exit-code").code == 1
    assert user("diff", "begin", "begin", "--exit-code").ok().out == ""
    assert user("diff", "nothing", "--exit-code").code == 3
    assert user("diff", "", "--exit-code").code == 2
    assert user("diff").code == 2


def test_rows_beyond_the_limit_are_counted(user: User) -> None:
    for nth in range(25):
        user("memory", "set", f"many.{nth:02}", "x").ok()
    done = user("diff", "begin", terminal=True)
    assert "and 12 more" in done.err
    assert len(user("diff", "begin").rows()) == 32
    assert len(user("diff", "begin", "-n", "3", "--json").objects()) == 3


# -- cost -----------------------------------------------------------------------------------------


def rows_read(history: History, ask: Callable[[], object]) -> int:
    """Count the steps of SQLite's machine, in hundreds: what an answer costs, without a clock."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    db = history.index._db
    db.set_progress_handler(tick, 100)
    try:
        ask()
    finally:
        db.set_progress_handler(None, 0)
    return count


@pytest.mark.slow
def test_the_cost_grows_with_the_answer_and_not_with_the_log(tmp_path: Path) -> None:
    costs = {}
    for events in (1_000, 8_000):
        store = MemoryStore()
        generate(store, events=events, seed=5)
        history = open_history(store, tmp_path / str(events))
        history.sync()
        stamps = [commit.at for commit in islice(history.index.commits(), 31)]
        counter = next(c.chain for c in history.index.commits(Filter(op="memory.incr")))
        ask = {
            "diff": lambda h=history, s=stamps: diff_between(h, s[30], s[0]),
            "blame": lambda h=history, s=stamps, c=counter: h.run(
                blame_memory(h.index, c.partition("/")[2], END)
            ),
            "log": lambda h=history: list(islice(h.index.commits(), 20)),
            "state": lambda h=history: state_at(h),
        }
        ask["diff"]()  # what is derived for all questions is derived once
        costs[events] = {name: rows_read(history, one) for name, one in ask.items()}
        costs[events]["things"] = len(state_at(history))
    small, large = costs[1_000], costs[8_000]
    assert large["diff"] < 3 * small["diff"] + 20, costs
    assert large["log"] < 3 * small["log"] + 20, costs
    # A counter has one line, however often it was counted up.
    assert large["blame"] < 3 * small["blame"] + 20, costs
    # Everything at a moment is a long answer: it costs what it holds.
    assert large["state"] / large["things"] < 2 * small["state"] / small["things"], costs


def test_a_step_that_was_only_read_meanwhile_changed_by_what_it_waited_for(tmp_path: Path) -> None:
    team = Team(tmp_path)
    alice = team["alice"]
    alice.steps.add("one")
    alice.steps.add("two", after=["one"])
    alice.steps.claim("one")
    before = team.now()
    txn = alice.transaction()
    txn.step_show("two")
    txn.step_complete("one")
    alice.transact(txn)
    changes = {change.chain: change for change in diff_between(team.look(), before)}
    two, one = changes["step/two"], changes["step/one"]
    assert (two.before["state"], two.after["state"]) == ("pending", "ready")
    assert two.last == one.last
    assert two.because == "step/one"
