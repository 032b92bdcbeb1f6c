"""`revert`: what an event changed is as it was, by one more event; others' later work is safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import User
from simulation.transfers import Walker, filled, finish, warm
from support.logs.generate import generate
from support.primitives import NO_WAY_BACK
from support.stores import Around

from history.looking import Team, newest_id, project_of, state_at
from tclog.errors import NotFound, Refused, StoreError, TclogError
from tclog.event import ChainId, chain_id, decode, slot_key
from tclog.history.revert import revert_event
from tclog.index import Index
from tclog.log import memory
from tclog.log.log import Log
from tclog.log.transactions import Transaction
from tclog.store.memory import MemoryStore
from tclog.sync import chains as chains_module
from tclog.sync import sync as sync_module

BIG = "a large value\n" * 3000


@pytest.fixture
def user(tmp_path: Path) -> User:
    return project_of(tmp_path)


def reverted(user: User, *filters: str) -> dict[str, Any]:
    """Revert the newest event that a filter stands for; return what is printed."""
    event = newest_id(user, *filters)
    shown: dict[str, Any] = user("revert", event[:12], "--json").object()
    assert shown["reverts"] == event
    return shown


# -- memory ---------------------------------------------------------------------------------------


def test_a_value_is_what_it_was_before(user: User) -> None:
    (user.work / "big").write_text(BIG)
    values = ["one", "two", BIG, '{"a": 1.5}', "last"]
    user("memory", "set", "k", "one").ok()
    user("memory", "set", "k", "two", agent="bob").ok()
    user("memory", "set", "k", "--file", "big").ok()
    user("memory", "set", "k", '{"a": 1.5}', "--type", "json").ok()
    user("memory", "set", "k", "last").ok()
    ids = [row["id"] for row in reversed(user("memory", "history", "k", "--json").objects())]
    for event, before in list(zip(ids[1:], values, strict=False))[::-1]:
        user("memory", "set", "k", "something else").ok()
        shown = user("revert", event, "--force", "--json").object()
        value = shown["value"]
        assert (json.dumps(value) if shown["value_type"] == "json" else value) == before
        assert user("memory", "get", "k", "--json").object() == {
            key: one for key, one in shown.items() if key != "reverts"
        }
    none = user("revert", ids[0], "--force", "--json").object()
    assert none["deleted"] is True
    assert user("memory", "get", "k").code == 3


def test_true_is_not_taken_for_1(user: User) -> None:
    """They are equal in Python, but not in JSON."""
    for value in ("1", "true", "[0]", "[false]"):
        user("memory", "set", "k", value, "--type", "json").ok()
    assert reverted(user)["value"] == [0]
    (row,) = user("blame", "k", "--json").objects()
    assert (row["value"], row["version"]) == (0, 5)
    ids = [row["id"] for row in user("memory", "history", "k", "--json").objects()]
    assert user("revert", ids[-2], "--force", "--json").object()["value"] == 1
    user("memory", "set", "k", "true", "--type", "json").ok()
    (row,) = user("blame", "k", "--json").objects()
    assert (row["value"], row["version"]) == (True, 7)


@pytest.mark.parametrize("op", ["set", "append", "incr", "delete"])
def test_every_op_of_memory_can_be_undone_and_that_too(user: User, op: str) -> None:
    user("memory", "set", "k", "5").ok()
    words = {"set": ["6"], "append": ["6"], "incr": [], "delete": []}[op]
    user("memory", op, "k", *words, agent="bob").ok()
    changed = user("memory", "get", "k").out
    assert reverted(user)["value"] == "5"
    redone = reverted(user)
    assert user("memory", "get", "k").out == changed
    assert redone["op"] == ("memory.delete" if op == "delete" else "memory.set")
    assert reverted(user)["version"] == 5


def test_a_large_text_that_grew_by_appends_comes_back(user: User) -> None:
    for nth in range(4):
        user("memory", "append", "k", f"{nth}" * 9000).ok()
    before = user("memory", "get", "k").ok().out
    user("memory", "append", "k", "last").ok()
    assert reverted(user)["value"] == before
    user("memory", "append", "k", "more").ok()
    assert user("memory", "get", "k").ok().out == before + "\nmore"


def test_a_later_change_is_not_undone_unless_that_is_asked_for(user: User) -> None:
    user("memory", "set", "k", "one").ok()
    user("memory", "set", "k", "two").ok()
    event = newest_id(user)
    user("memory", "append", "k", "three", agent="bob").ok()
    later = newest_id(user)
    error = user("revert", event, "--json").error(4)
    assert error["code"] == "revert-conflict"
    assert (error["agent"], error["op"], error["id"]) == ("bob", "memory.append", later)
    assert error["version"] == 3
    assert "bob" in error["message"]
    assert user("memory", "get", "k").ok().out == "two\nthree"
    assert user("revert", event, "--force", "--json").object()["value"] == "one"


def test_a_counter_is_counted_back_where_others_counted_since(user: User) -> None:
    user("memory", "incr", "n", "--by", "5").ok()
    event = newest_id(user)
    user("memory", "incr", "n", agent="bob").ok()
    hint = user("revert", event, "--json").error(4)["hint"]
    assert hint == "tclog memory incr n --by -5"
    user(*hint.split()[1:]).ok()
    assert user("memory", "get", "n").ok().out == "1\n"


def test_what_is_so_already_writes_nothing(user: User) -> None:
    user("memory", "set", "k", "one").ok()
    user("memory", "set", "k", "two").ok()
    event = newest_id(user)
    user("memory", "set", "k", "one").ok()
    done = user("revert", event, "--force", "--json").ok()
    assert json.loads(done.out)["version"] == 3
    assert "so already" in done.err


@pytest.mark.parametrize("before", ["one", None])
def test_a_value_is_restored_behind_versions_that_change_nothing(
    tmp_path: Path, before: str | None
) -> None:
    """Those of transactions that only read the key, or were aborted."""
    team = Team(tmp_path)
    alice = team["alice"]
    if before is not None:
        alice.memory.set("k", before)
    changed = alice.memory.set("k", "two")
    for _ in range(2):
        read_beside(alice, "k")
    revert = revert_event(alice.client, team.look().index, changed.id)
    assert alice.run(revert).shown["value"] == before
    if before is None:
        with pytest.raises(NotFound):
            team["bob"].memory.get("k")
    else:
        assert team["bob"].memory.get("k").value == before


def test_what_is_so_already_is_shown_behind_a_version_that_changes_nothing(tmp_path: Path) -> None:
    team = Team(tmp_path)
    alice = team["alice"]
    first = alice.memory.set("k", "one")
    again = alice.memory.set("k", "one")
    read_beside(alice, "k")
    for event, shown in ((again, "one"), (first, None)):
        revert = revert_event(alice.client, team.look().index, event.id, force=True)
        done = alice.run(revert)
        assert (done.written, done.shown["value"]) == (shown is None, shown)


def read_beside(log: Log, key: str) -> None:
    """Read a key in a transaction that changes another: it gets a version that changes nothing."""
    txn = log.transaction()
    txn.memory_get(key)
    txn.memory_incr("beside")
    log.transact(txn)


# -- races and keys -------------------------------------------------------------------------------


def test_a_change_that_comes_between_is_seen(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("k", "one")
    changed = team["alice"].memory.set("k", "two")
    index = team.look().index
    # Bob's change is not in the index that the revert is decided by.
    team["bob"].memory.set("k", "three")
    for agent in ("alice", "carol"):
        with pytest.raises(Refused) as refused:
            team[agent].run(revert_event(team[agent].client, index, changed.id))
        assert refused.value.code == "revert-conflict"
    assert team["bob"].memory.get("k").value == "three"
    team["alice"].run(revert_event(team["alice"].client, index, changed.id, force=True))
    assert team["bob"].memory.get("k").value == "one"


def test_repeating_a_revert_under_its_key_reverts_once(user: User) -> None:
    user("memory", "set", "k", "one").ok()
    user("memory", "set", "k", "two").ok()
    event = newest_id(user)
    first = user("revert", event, "--id", "r1", "--json").object()
    user("memory", "set", "k", "three", agent="bob").ok()
    assert user("revert", event, "--id", "r1", "--json").object() == first
    assert user("memory", "get", "k").ok().out == "three"


# -- steps ----------------------------------------------------------------------------------------


def test_an_ended_step_is_reopened_and_a_claim_given_back(user: User) -> None:
    user("step", "add", "design", "--title", "The API").ok()
    user("claim", "design").ok()
    assert reverted(user)["state"] == "ready"
    user("claim", "design").ok()
    user("complete", "design", "--note", "done").ok()
    event = newest_id(user)
    user("note", "design", "well done", agent="bob").ok()
    shown = user("revert", event, "--json", agent="bob").object()
    assert (shown["state"], shown["title"]) == ("ready", "The API")
    assert user("revert", event, "--json").error(4)["code"] == "revert-conflict"


def test_only_the_holder_gives_its_claim_back(user: User) -> None:
    user("claim", "design", agent="bob").ok()
    event = newest_id(user)
    error = user("revert", event, "--json").error(4)
    assert error["code"] == "not-revertible"
    assert error["hint"] == "tclog step show design"
    user("renew", "design", agent="bob").ok()
    assert user("revert", event, "--json", agent="bob").object()["state"] == "ready"


def test_a_definition_is_taken_back_by_who_made_it(user: User) -> None:
    user("step", "add", "design").ok()
    event = newest_id(user)
    assert user("revert", event, "--json", agent="bob").error(4)["code"] == "not-revertible"
    assert user("revert", event, "--json").object()["id"] == "design"
    assert user("step", "list").ok().out == ""
    user("step", "add", "design", "--title", "again").ok()
    event = newest_id(user)
    user("claim", "design", agent="bob").ok()
    assert user("revert", event, "--json").error(4)["code"] == "revert-conflict"
    assert user("revert", event, "--force", "--json").error(4)["code"] == "not-revertible"


# -- tags, artifacts, and what has no way back ----------------------------------------------------


def test_a_tag_goes_back_to_where_it_was(user: User) -> None:
    first = user("tag", "v1", "--json").object()
    user("tag", "v1", "1h", "--move").ok()
    assert reverted(user)["hlc"] == first["hlc"]
    user("tag", "v1", "--delete").ok()
    assert reverted(user)["hlc"] == first["hlc"]
    user("tag", "v2").ok()
    assert reverted(user)["deleted"] is True
    assert [row[0] for row in user("tag").rows()] == ["v1"]


def test_an_artifact_gets_its_version_before_as_a_new_one(user: User) -> None:
    (user.work / "report.md").write_text("one")
    first = user("artifact", "put", "report.md", "--step", "s", "--json").object()
    assert user("revert", newest_id(user), "--json").error(4)["code"] == "not-revertible"
    (user.work / "report.md").write_text("two")
    user("artifact", "put", "report.md", agent="bob").ok()
    shown = reverted(user)
    assert (shown["version"], shown["blake3"], shown["step"]) == (3, first["blake3"], "s")
    assert user("artifact", "get", "report.md", "-o", "-").ok().out == "one"


def test_what_has_no_way_back_says_why_and_what_helps(user: User) -> None:
    user("send", "bob,carol", "hello").ok()
    user("inbox", "--ack", agent="bob").ok()
    user("claim", "design").ok()
    user("renew", "design").ok()
    user("note", "design", "hm").ok()
    user("release", "design").ok()
    user("barrier", "b", "--parties", "1").ok()
    for op in ("message.send", "message.ack", "step.renew", "step.note", "step.release",
               "barrier.arrive", "agent.join"):  # fmt: skip
        event = newest_id(user, "--op", op)
        error = user("revert", event, "--force", "--json").error(4)
        assert error["code"] == "not-revertible"
        assert NO_WAY_BACK[op][0] in error["message"]
        assert error["hint"].startswith("tclog ")
        assert "{" not in error["hint"]
        assert "delete" not in error["hint"]


def test_what_never_took_effect_cannot_be_undone(user: User) -> None:
    user("claim", "design").ok()
    assert user("claim", "design", agent="bob").code == 4
    (attempt,) = [
        row for row in user("log", "--attempts", "--json").objects() if row.get("attempt")
    ]
    error = user("revert", attempt["id"], "--json").error(4)
    assert error["code"] == "not-revertible"
    assert "never committed" in error["message"]


def test_words_that_are_no_id_are_refused(user: User) -> None:
    assert user("revert", "zz", "--json").error(2)["code"] == "bad-id"
    assert user("revert", "beefbeef", "--json").error(3)["code"] == "id-missing"
    del user.environ["TCLOG_AGENT"]
    assert user("revert", "beefbeef", "--json").error(2)["code"] == "agent-missing"


# -- transactions ---------------------------------------------------------------------------------


def move(user: User, *more: dict[str, Any]) -> None:
    """Move a unit from one key to the other, in one transaction."""
    acts = [
        {"op": "memory.incr", "key": "a", "by": -1},
        {"op": "memory.incr", "key": "b", "by": 1},
        *more,
    ]
    user("txn", stdin="".join(json.dumps(act) + "\n" for act in acts).encode()).ok()


def held(user: User) -> list[str]:
    return [user("memory", "get", key).ok().out.strip() for key in ("a", "b")]


@pytest.fixture
def two(user: User) -> User:
    for key in ("a", "b"):
        user("memory", "set", key, "5").ok()
    return user


@pytest.mark.parametrize("key", ["a", "b"])
def test_all_of_a_transaction_is_reverted_with_one_event_of_it(two: User, key: str) -> None:
    move(two, {"op": "memory.set", "key": "note", "value": "moved"})
    assert held(two) == ["4", "6"]
    event = newest_id(two, "--chain", f"memory/{key}")
    shown = two("revert", event[:12], "--json").object()
    assert (shown["key"], shown["value"]) == (key, "5")
    others = {one["key"]: one.get("value") for one in shown["others"]}
    assert others == {"b" if key == "a" else "a": "5", "note": None}
    assert held(two) == ["5", "5"]
    assert len({row["txn"] for row in two("log", "-n", "3", "--json").objects()}) == 1
    # What undid it was a transaction too, so it can be undone as a whole.
    done = two("revert", newest_id(two, "--chain", "memory/a")[:12]).ok()
    assert done.out.splitlines()[1:]
    assert held(two) == ["4", "6"]


def test_several_changes_of_one_key_in_a_transaction_are_undone_together(two: User) -> None:
    move(two, {"op": "memory.incr", "key": "a", "by": -1})
    assert held(two) == ["3", "6"]
    reverted(two, "--chain", "memory/b")
    assert held(two) == ["5", "5"]


def test_a_transaction_is_not_reverted_where_a_part_of_it_cannot_be(two: User) -> None:
    move(two, {"op": "message.send", "to": "bob", "text": "moved"})
    event = newest_id(two, "--chain", "memory/a")
    error = two("revert", event[:12], "--json").error(4)
    assert error["code"] == "not-revertible"
    assert "is part of a transaction" in error["message"]
    assert "message.send" in error["message"]
    assert held(two) == ["4", "6"]


def test_a_later_change_of_a_part_is_a_conflict_of_the_whole(two: User) -> None:
    move(two)
    event = newest_id(two, "--chain", "memory/a")
    two("memory", "set", "b", "9", agent="bob").ok()
    error = two("revert", event[:12], "--json").error(4)
    assert error["code"] == "revert-conflict"
    assert "memory/b" in error["message"]
    assert held(two) == ["4", "9"]
    two("revert", event[:12], "--force").ok()
    assert held(two) == ["5", "5"]


def test_a_revert_of_a_transaction_is_done_once_under_its_key(two: User) -> None:
    move(two)
    event = newest_id(two, "--chain", "memory/a")
    first = two("revert", event[:12], "--id", "k1", "--json").object()
    assert two("revert", event[:12], "--id", "k1", "--json").object()["version"] == first["version"]
    assert held(two) == ["5", "5"]


@pytest.mark.parametrize("finds", [True, False])
def test_a_version_that_ended_a_transaction_stands_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finds: bool
) -> None:
    world = filled()
    index = Index(tmp_path)
    looker = world.client("looker")
    finish(world, sync_module.sync(looker, index))
    txn = Transaction(warm(world, "alice"))
    txn.memory_incr("a", 1)
    txn.memory_get("b")
    one = Walker(world, txn.protocol())
    while world.store.get(slot_key(chain_id("memory", "a"), 2)) is None:
        one.go(1)
    finish(world, memory.incr_value(world.client("bob"), "a", 7))
    filler = world.store.get(slot_key(chain_id("memory", "b"), 2))
    assert "fills" in decode(filler.data, "version")
    if not finds:
        monkeypatch.setattr(chains_module.ChainSync, "read_transactions", lambda _: iter(()))
    finish(world, sync_module.sync(looker, index))
    assert index.head(chain_id("memory", "b")) == (2 if finds else 1)
    event = index.version(chain_id("memory", "b"), 1).events[0].id
    done = finish(world, revert_event(looker, index, event))
    assert not isinstance(done, TclogError)
    assert done.shown["deleted"]


# -- what the log says of it ----------------------------------------------------------------------


def test_the_history_tells_which_event_was_reverted(user: User) -> None:
    user("memory", "set", "k", "one").ok()
    user("memory", "set", "k", "two").ok()
    event = newest_id(user)
    reverted(user)
    newest = user("log", "-n", "1", "--json").object()
    assert newest["body"]["reverts"] == event
    assert newest["expect"] == {"version": 2}
    assert f"reverts {event[:12]}" in user("log", "-n", "1").rows()[0][5]
    assert user("show", newest["id"], "--json").object()["body"]["reverts"] == event
    assert user("blame", "k", "--json").object()["reverts"] == event


def test_any_value_of_a_long_run_can_be_restored(tmp_path: Path) -> None:
    team = Team(tmp_path)
    generate(team.store, events=1500, seed=9)
    history = team.look()
    viewer = team["viewer"]
    done = 0
    for commit in list(history.index.commits(newest_first=True))[::7]:
        before = state_at(team.look())
        head = history.index.head(commit.chain)
        if not commit.chain.startswith(("memory/", "tag/", "artifact/")) or commit.seq != head:
            continue
        then = history.index.version(commit.chain, commit.seq - 1) if commit.seq > 1 else None
        try:
            viewer.run(revert_event(viewer.client, history.index, commit.event.id))
        except Refused as refused:
            assert refused.code == "not-revertible"
            continue
        after = state_at(team.look())
        others = {chain for chain in before | after if before.get(chain) != after.get(chain)}
        assert others <= {commit.chain, "agent/viewer"}
        was = None if then is None else state_at(history, then.at).get(commit.chain)
        now = after.get(commit.chain)
        for field in ("value", "hlc", "blake3"):
            assert (now or {}).get(field) == (was or {}).get(field)
        done += 1
    assert done > 5


def test_a_version_that_holds_one_event_stands_for_it(tmp_path: Path) -> None:
    team = Team(tmp_path)
    alice = team["alice"]
    for value in ("one", "two"):
        alice.memory.set("k", value)
    index = team.look().index
    version = index.version(ChainId("memory/k"), 2)
    assert alice.run(revert_event(alice.client, index, version.id)).shown["value"] == "one"


def test_a_value_that_a_revert_has_restored_is_no_other_value(tmp_path: Path) -> None:
    """What was restored says so in its body; that is no part of the value."""
    team = Team(tmp_path)
    alice = team["alice"]
    alice.memory.set("k", "one")
    second = alice.memory.set("k", "two")
    alice.run(revert_event(alice.client, team.look().index, second.id))
    other = alice.memory.set("k", "three")
    alice.memory.set("k", "one")
    index = team.look().index
    again = alice.run(revert_event(alice.client, index, other.id, force=True))
    assert not again.written
    assert again.shown["version"] == 5


def test_a_definition_that_was_taken_back_already_stays_so(tmp_path: Path) -> None:
    team = Team(tmp_path)
    alice = team["alice"]
    alice.steps.add("build")
    (event,) = [c.event for c in team.look().index.commits() if c.event.op == "step.add"]
    assert alice.run(revert_event(alice.client, team.history.index, event.id)).written
    index = team.look().index
    assert not alice.run(revert_event(alice.client, index, event.id, force=True)).written


def test_what_was_reverted_is_no_failure_where_the_value_cannot_be_read_for_the_answer(
    tmp_path: Path,
) -> None:
    team = Team(tmp_path, Unread(MemoryStore()))
    alice = team["alice"]
    alice.memory.set("k", BIG)
    second = alice.memory.set("k", "two")
    index = team.look().index
    team.store.broken = True
    done = alice.run(revert_event(alice.client, index, second.id))
    assert done.written
    assert done.shown["value"] is None
    team.store.broken = False
    assert team["bob"].memory.get("k").value == BIG


class Unread(Around):
    """A store that reads no blobs while it is broken."""

    broken = False

    def get(self, key: str) -> Any:
        if self.broken and key.startswith("blobs/"):
            raise StoreError("the disk is on fire", hint="dmesg")
        return super().get(key)
