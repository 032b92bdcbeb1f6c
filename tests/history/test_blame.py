"""`blame`: each line, member and field comes from the event that it says, whatever was between."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history.looking import Team, newest_id, project_of
from tclog.chain.fold import fold, place_of, rules_of, state_of
from tclog.clock import Hlc, hlc, parse_hlc
from tclog.domain.content import INLINE_BYTES_MAX
from tclog.errors import NotFound
from tclog.event import chain_id, encode, event_key, seal_event, seal_version, slot_key
from tclog.history.blame import Blame, blame_memory, blame_step
from tclog.history.snapshot import END


def of_key(team: Team, key: str, at: Hlc = END) -> list[tuple[str, Any, int, str]]:
    """Return the rows of a key as name, value, version and agent."""
    rows: list[Blame] = team.ask(blame_memory, key, at)
    return [(r.name, r.value, r.commit.seq, r.commit.event.agent) for r in rows]


def of_step(team: Team, step: str, at: Hlc = END) -> dict[str, tuple[Any, int, str]]:
    """Return the fields of a step as value, version and agent."""
    rows = [row for row in team.ask(blame_step, step, at) if row.kind == "field"]
    return {r.name: (r.value, r.commit.seq, r.commit.event.agent) for r in rows}


# -- texts ----------------------------------------------------------------------------------------


def test_each_line_comes_from_who_wrote_it(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("k", "one\ntwo\nthree")
    team["bob"].memory.append("k", "four\nfive")
    team["carol"].memory.set("k", "zero\none\n2\nthree\nfour\nfive\n")
    before = team.now()
    team["dave"].memory.append("k", "!", separator="")
    team["erin"].memory.append("k", "more", separator=" and ")
    assert of_key(team, "k", before) == [
        ("1", "zero", 3, "carol"),
        ("2", "one", 1, "alice"),
        ("3", "2", 3, "carol"),
        ("4", "three", 1, "alice"),
        ("5", "four", 2, "bob"),
        ("6", "five", 2, "bob"),
    ]
    # What was put behind the last line feed is a line of its own; what lengthens it changes it.
    assert of_key(team, "k")[5:] == [("6", "five", 2, "bob"), ("7", "! and more", 5, "erin")]


def test_a_value_that_was_deleted_begins_anew(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("k", "same")
    team["bob"].memory.delete("k")
    with pytest.raises(NotFound, match=r"bob \(memory.delete"):
        of_key(team, "k")
    team["carol"].memory.set("k", "same")
    team["dave"].memory.set("k", "same")
    assert of_key(team, "k") == [("1", "same", 3, "carol")]
    with pytest.raises(NotFound):
        of_key(team, "never")


def test_values_in_blobs_are_compared_too(tmp_path: Path) -> None:
    team = Team(tmp_path)
    lines = [f"line {n} " + "x" * 60 for n in range(600)]
    team["alice"].memory.set("k", "\n".join(lines))
    team["bob"].memory.append("k", "y" * (INLINE_BYTES_MAX + 1))
    team["bob"].memory.append("k", "short")
    lines[300] = "changed"
    team["carol"].memory.set("k", "\n".join([*lines, "y" * (INLINE_BYTES_MAX + 1), "short"]))
    team["dave"].memory.append("k", "ü🙂")
    rows = of_key(team, "k")
    assert len(rows) == 603
    assert [row[2:] for row in rows[-3:]] == [(2, "bob"), (3, "bob"), (5, "dave")]
    assert rows[300][1:] == ("changed", 4, "carol")
    assert {row[2:] for row in rows[:300] + rows[301:600]} == {(1, "alice")}


def plain_blame(versions: list[str]) -> list[tuple[str, int]]:
    """Say where each line is from when every line ever written is different: no choice is left."""
    first: dict[str, int] = {}
    for seq, text in enumerate(versions, 1):
        lines = text.split("\n")
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        first = {line: first.get(line, seq) for line in lines}
    return list(first.items())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**32)), min_size=1, max_size=14))
def test_random_edits_are_told_apart(tmp_path_factory: Any, edits: list[tuple[int, int]]) -> None:
    team = Team(tmp_path_factory.mktemp("blame"))
    log, lines, texts, count = team["alice"], [], [], 0
    for kind, seed in edits:
        rng = random.Random(seed)
        new = [
            f"line {count + nth} " + "é" * rng.choice((0, 3)) for nth in range(rng.randint(1, 3))
        ]
        count += 3
        if kind == 0 and texts:
            added = "\n".join(new) + rng.choice(("", "\n"))
            log.memory.append("k", added)
            texts.append(texts[-1] + "\n" + added)
            # An empty line may come twice, and then it is anybody's guess which of them is older.
            if "\n\n" in texts[-1]:
                texts[-1] = texts[-1].replace("\n\n", "\n")
                log.memory.set("k", texts[-1])
                texts.insert(-1, texts[-1])
        else:
            at = rng.randint(0, len(lines))
            kept = [line for line in lines if rng.random() < 0.8]
            texts.append("\n".join([*kept[:at], *new, *kept[at:]]) + rng.choice(("", "\n")))
            log.memory.set("k", texts[-1])
        lines = [line for line in texts[-1].split("\n") if line]
    rows = [(row[1], row[2]) for row in of_key(team, "k")]
    assert rows == plain_blame(texts)


# -- JSON -----------------------------------------------------------------------------------------


def test_members_and_elements_come_from_who_set_them(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("k", {"a": 1, "b": [1, 2.5], "c": {"x": None}})
    team["bob"].memory.set("k", {"b": [1, 2.5], "a": 2, "c": {"x": None}, "d": True})
    assert of_key(team, "k") == [
        ("a", 2, 2, "bob"),
        ("b", [1, 2.5], 1, "alice"),
        ("c", {"x": None}, 1, "alice"),
        ("d", True, 2, "bob"),
    ]
    team["alice"].memory.set("list", [1, "x"])
    team["bob"].memory.append("list", "y")
    team["carol"].memory.set("list", [0, 1, "y"])
    assert of_key(team, "list") == [
        ("0", 0, 3, "carol"),
        ("1", 1, 1, "alice"),
        ("2", "y", 2, "bob"),
    ]


def test_numbers_and_changes_of_type_are_new_as_a_whole(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].memory.set("n", "5")
    team["bob"].memory.incr("n", 0)
    assert of_key(team, "n") == [("value", 5, 2, "bob")]
    team["carol"].memory.incr("n", 0)
    assert of_key(team, "n") == [("value", 5, 2, "bob")]
    team["carol"].memory.set("n", "5")
    assert of_key(team, "n") == [("1", "5", 4, "carol")]
    team["alice"].memory.set("n", {})
    assert of_key(team, "n") == []


# -- steps ----------------------------------------------------------------------------------------


def test_each_field_comes_from_who_set_it(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].steps.add("design", title="The API", priority=3)
    team["bob"].steps.claim("design")
    team["carol"].steps.note("design", "looks good")
    team["bob"].steps.renew("design")
    held = team.now()
    team["bob"].steps.complete("design", note="done", to="carol")
    team["alice"].steps.note("design", "thanks")
    fields = of_step(team, "design", held)
    assert fields["state"] == ("claimed", 2, "bob")
    assert fields["agent"] == ("bob", 2, "bob")
    assert fields["fence"] == (2, 2, "bob")
    assert fields["lease_until"][1:] == (4, "bob")
    assert fields["note"] == ("looks good", 3, "carol")
    fields = of_step(team, "design")
    assert fields["state"] == ("complete", 5, "bob")
    assert fields["title"] == ("The API", 1, "alice")
    assert fields["priority"] == (3, 1, "alice")
    assert fields["note"] == ("thanks", 6, "alice")
    assert fields["handoff"][0]["to"] == "carol"
    assert fields["handoff"][1:] == (5, "bob")
    assert "lease_until" not in fields
    with pytest.raises(NotFound):
        of_step(team, "never")


def test_who_made_a_step_ready_is_who_ended_what_it_waited_for(tmp_path: Path) -> None:
    team = Team(tmp_path)
    for step, after in (("a", []), ("b", []), ("c", ["a", "b"])):
        team["alice"].steps.add(step, after=after)
    assert of_step(team, "c")["state"] == ("pending", 1, "alice")
    team["bob"].steps.claim("b")
    team["bob"].steps.complete("b")
    team["carol"].steps.claim("a")
    team["carol"].steps.complete("a")
    rows = team.ask(blame_step, "c", END)
    assert rows[0].value == "ready"
    assert rows[0].commit.event.agent == "carol"
    assert rows[0].as_json()["because"] == "step/a"


def forge(team: Team, step: str, op: str, body: dict[str, Any], agent: str) -> None:
    """Commit an event that the rules do not allow, as a client could that does not know them."""
    chain = chain_id("step", step)
    index = team.look().index
    head = index.version(chain, index.head(chain))
    us = parse_hlc(head.at)[0] + 1000
    event, raw = seal_event(
        op=op, chains=[chain], agent=agent, session="s", host="h", client="foreign/1",
        at=hlc(us, 0), nonce="0" * 16, body=body,
    )  # fmt: skip
    team.store.put(event_key(event.at, chain, event.id), raw)
    draft = seal_version(
        chain=chain, seq=head.seq + 1, prev=head.id, prev_stored=head.stored, at=hlc(us + 1, 0),
        by=agent, events=[event], state={},
    )  # fmt: skip
    state = fold(chain, state_of(chain, head), [event], place_of(draft, head))
    packed = rules_of(chain).pack(state, [event])
    version = seal_version(
        chain=chain, seq=head.seq + 1, prev=head.id, prev_stored=head.stored, at=hlc(us + 1, 0),
        by=agent, events=[event], state=packed,
    )  # fmt: skip
    team.store.create(slot_key(chain, version.seq), version.raw)


def test_events_that_were_not_allowed_are_told(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["alice"].steps.claim("design")
    forge(team, "design", "step.claim", {"lease_ms": 1000}, "mallory")
    forge(team, "design", "step.complete", {"outcome": "complete"}, "mallory")
    forge(team, "design", "step.sing", {}, "mallory")
    assert of_step(team, "design")["agent"] == ("alice", 1, "alice")
    ignored = [row for row in team.ask(blame_step, "design", END) if row.kind == "ignored"]
    assert [(row.commit.seq, row.commit.event.op) for row in ignored] == [
        (2, "step.claim"),
        (3, "step.complete"),
        (4, "step.sing"),
    ]
    assert {row.as_json()["agent"] for row in ignored} == {"mallory"}
    team["alice"].steps.renew("design")
    assert len([r for r in team.ask(blame_step, "design", END) if r.kind == "ignored"]) == 3


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def user(tmp_path: Path) -> User:
    return project_of(tmp_path)


def test_a_name_may_be_a_key_or_a_step_or_both(user: User) -> None:
    user("memory", "set", "design", "one\ntwo").ok()
    assert user("blame", "design").rows()[1][:4] == ["2", "two", "1", "alice"]
    assert user("blame", "design", "--step", "--json").error(3)["code"] == "step-missing"
    user("step", "add", "design").ok()
    both = user("blame", "design")
    assert len(both.rows()) == 2
    assert "tclog blame design --step" in both.err
    fields = user("blame", "design", "--step", "--json").objects()
    assert {row["type"] for row in fields} == {"blame"}
    assert fields[0] | {"id": "", "at": ""} == {
        "type": "blame", "chain": "step/design", "kind": "field", "name": "state",
        "value": "ready", "version": 1, "agent": "alice", "at": "", "op": "step.add", "id": "",
    }  # fmt: skip
    assert user("blame", "neither", "--json").error(3)["code"] == "name-missing"
    assert user("blame", "", "--json").error(3)["code"] == "name-missing"
    at = user("show", newest_id(user, "--op", "memory.set"), "--json").object()["at"]
    assert user("blame", "design", "--at", at).ok().err.count("\n") == 1  # not settled, no more
    then = user("blame", "design", "--memory", "--at", "1h", "--json")
    assert then.error(3)["code"] == "key-missing"


def test_what_others_wrote_is_made_harmless(user: User) -> None:
    user("memory", "set", "a/b 🙂", "\x1b[31mred\ttab\n\u202eover").ok()
    for terminal in (False, True):
        shown = user("blame", "a/b 🙂", terminal=terminal).ok().out
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert encode(user("blame", "a/b 🙂", "--json").objects()[0]["value"])


def test_what_a_transaction_says_twice_of_a_step_is_not_ignored(tmp_path: Path) -> None:
    team = Team(tmp_path)
    txn = team["alice"].transaction()
    txn.step_claim("s", lease_s=60)
    txn.step_note("s", "one")
    txn.step_note("s", "two")
    txn.step_renew("s", lease_s=60)
    team["alice"].transact(txn)
    assert {row.kind for row in team.ask(blame_step, "s", END)} == {"field"}


def test_each_event_of_a_transaction_answers_for_what_it_changed(tmp_path: Path) -> None:
    team = Team(tmp_path)
    team["bob"].memory.set("k", "old")
    txn = team["alice"].transaction()
    txn.memory_append("k", "one")
    txn.memory_append("k", "two")
    txn.memory_set("j", {"a": 1})
    txn.memory_set("j", {"a": 1, "b": 2})
    txn.memory_set("gone", "x\ny")
    txn.memory_delete("gone")
    txn.memory_set("gone", "x")
    txn.step_add("s", title="T")
    txn.step_claim("s", lease_s=60)
    txn.step_note("s", "n")
    txn.step_complete("s", note="done")
    team["alice"].transact(txn)

    def places(ask: Any, name: str) -> dict[str, tuple[int, str]]:
        return {r.name: (r.commit.place, r.commit.event.op) for r in team.ask(ask, name, END)}

    assert list(places(blame_memory, "k").values()) == [
        (0, "memory.set"), (0, "memory.append"), (1, "memory.append"),
    ]  # fmt: skip
    assert places(blame_memory, "j") == {"a": (0, "memory.set"), "b": (1, "memory.set")}
    assert places(blame_memory, "gone") == {"1": (2, "memory.set")}
    found = places(blame_step, "s")
    assert {name: found[name][1] for name in ("state", "fence", "title", "note", "handoff")} == {
        "state": "step.complete",
        "fence": "step.claim",
        "title": "step.add",
        "note": "step.note",
        "handoff": "step.complete",
    }
