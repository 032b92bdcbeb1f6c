"""Each operation of a transaction: its number, its answer, and what it refuses before it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tclog
from tclog.chain import seal
from tclog.errors import BadName, NotFound, Refused, UsageError
from tclog.log.inbox import read_inbox, send_message
from tclog.log.memory import set_value
from tclog.log.steps import show_step
from tclog.log.transactions import Transaction

from .world import World

Act = Callable[[Transaction], int]


@pytest.fixture
def world() -> World:
    return World()


def run(world: World, agent: str, *acts: Act) -> list[dict[str, Any]]:
    """Commit operations together; return their answers."""
    transaction = Transaction(world[agent])
    assert [act(transaction) for act in acts] == list(range(len(acts)))
    assert len(transaction) == len(acts)
    return [one.as_json() for one in world.run(transaction.protocol(None))]


def shows(answer: dict[str, Any], **fields: Any) -> None:
    assert {name: answer.get(name) for name in fields} == fields


def test_what_is_said_of_keys(world: World) -> None:
    world.run(set_value(world["bob"], "n", "5"))
    text, number, added, longer, read, absent, gone = run(
        world,
        "alice",
        lambda t: t.memory_set("text", "1", if_absent=True),
        lambda t: t.memory_set("json", {"a": [1]}, if_version=0),
        lambda t: t.memory_incr("n", 3),
        lambda t: t.memory_append("text", "2", separator=","),
        lambda t: t.memory_get("n"),
        lambda t: t.memory_get("never"),
        lambda t: t.memory_delete("json"),
    )
    shows(text, key="text", value="1,2", value_type="text", version=1, agent="alice")
    shows(number, key="json", value=None, deleted=True, version=1)
    shows(added, key="n", value=8, version=2)
    shows(longer, key="text", value="1,2", op="memory.append")
    shows(read, key="n", value=8, version=2, id=added["id"], op="memory.incr")
    shows(absent, key="never", value=None, deleted=True, version=0)
    shows(gone, key="json", deleted=True, op="memory.delete")
    # Read alone, a key is what it was made by another.
    (again,) = run(world, "carol", lambda t: t.memory_get("text"))
    shows(again, value="1,2", version=1, agent="alice", op="memory.append")


def test_what_is_said_of_messages(world: World) -> None:
    world.run(send_message(world["carol"], "bob", "question"))
    (asked,) = world.run(read_inbox(world["bob"])).messages
    one, several = run(
        world,
        "bob",
        lambda t: t.message_send("carol", "answer", reply_to=asked.id, step="build"),
        lambda t: t.message_send("carol,dan", "to both"),
    )
    shows(one, to="carol", text="answer", reply_to=asked.id, step="build", n=None, unread=None)
    shows(several, to="carol,dan", text="to both", n=None)
    shows({"from": one["from"]}, **{"from": "bob"})
    assert [m.text for m in world.run(read_inbox(world["carol"])).messages] == ["answer", "to both"]
    (everybody,) = run(world, "bob", lambda t: t.message_send("@all", "to all"))
    shows(everybody, to="@all")
    transaction = Transaction(world["bob"])
    transaction.message_send("carol", "only sent")
    (sent,) = world.run(transaction.protocol(None))
    assert (sent.n, sent.unread) == (0, False)


def test_what_is_said_of_steps(world: World) -> None:
    added, claimed, noted, shown = run(
        world,
        "alice",
        lambda t: t.step_add("build", title="Build it", priority=3, after=["design"]),
        lambda t: t.step_claim("new", lease_s=90),
        lambda t: t.step_note("build", "soon"),
        lambda t: t.step_show("build"),
    )
    expected = {"title": "Build it", "priority": 3, "after": ["design"], "version": 1}
    shows(added, id="build", state="pending", waiting=["design"], **expected)
    shows(claimed, id="new", state="claimed", agent="alice", fence=1, new=True, renewed=None)
    shows(noted, note="soon", note_by="alice", **expected)
    shows(shown, id="build", **expected)
    assert world.run(show_step(world["carol"], "build")).note == "soon"
    renewed, again = run(
        world,
        "alice",
        lambda t: t.step_renew("new", lease_s=120, fence=1),
        lambda t: t.step_add("other"),
    )
    shows(renewed, id="new", state="claimed", fence=1, version=2)
    shows(again, id="other", state="ready", priority=0, after=[])
    (longer,) = run(world, "alice", lambda t: t.step_claim("new"))
    shows(longer, fence=1, renewed=True, new=None)
    ended, taken = run(
        world,
        "alice",
        lambda t: t.step_complete("new", outcome="blocked", note="why", next_action="ask"),
        lambda t: t.step_claim("other"),
    )
    shows(ended, state="blocked", agent="alice")
    told = world.run(show_step(world["carol"], "new"))
    assert told.handoff is not None
    assert (told.handoff["note"], told.handoff["next_action"]) == ("why", "ask")
    shows(taken, state="claimed", new=None)
    opened, given = run(
        world,
        "alice",
        lambda t: t.step_reopen("new"),
        lambda t: t.step_release("other", fence=taken["fence"]),
    )
    shows(opened, id="new", state="ready", agent=None)
    shows(given, id="other", state="ready", agent=None)
    for act in (lambda t: t.step_show("never"), lambda t: t.step_reopen("never")):
        with pytest.raises(NotFound) as missing:
            run(world, "alice", act)
        assert missing.value.details["operation"] == 0


@pytest.mark.parametrize(
    ("act", "code", "field"),
    [
        (lambda t: t.memory_set("k", 1, value_type="text"), "field-wrong", "value"),
        (lambda t: t.memory_set("k", "1", if_absent=True, if_version=0), None, "if_absent"),
        (lambda t: [t.step_claim("s"), t.step_claim("s")], "claimed-twice", "step"),
        (lambda t: t.step_claim("s", steal=True), "reason-missing", None),
        (lambda t: t.step_claim("s", lease_s=0.01), "bad-lease", None),
        (lambda t: t.step_renew("s", lease_s=0.01), "bad-lease", None),
        (lambda t: t.step_release("s", force=True), "reason-missing", None),
        (lambda t: t.message_send("bob", ""), "bad-value", None),
    ],
)
def test_what_is_refused_before_anything_is_run(
    world: World, act: Act, code: str | None, field: str | None
) -> None:
    with pytest.raises(UsageError) as wrong:
        act(Transaction(world["alice"]))
    assert code is None or wrong.value.code == code
    assert wrong.value.details.get("field") == field


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda t: t.memory_set("k", "v", if_version=2), "version-conflict"),
        (lambda t: t.memory_set("k", "v", if_absent=True), "version-conflict"),
        (lambda t: t.memory_get("k", if_version=0), "version-conflict"),
        (lambda t: t.memory_get("k", if_version=2), "version-conflict"),
        (lambda t: t.memory_delete("never"), "key-missing"),
        (lambda t: t.memory_incr("k"), None),
        (lambda t: t.step_release("held"), None),
        (lambda t: t.step_renew("held"), None),
        (lambda t: t.step_claim("held"), "step-held"),
        (lambda t: t.step_complete("held"), None),
    ],
)
def test_what_is_refused_says_which_operation_it_was(
    world: World, act: Act, code: str | None
) -> None:
    world.run(set_value(world["bob"], "k", "v"))
    run(world, "bob", lambda t: t.step_claim("held"))
    before = len(world.store.list("chains", "", 99, False))
    with pytest.raises((Refused, NotFound)) as refused:
        run(world, "alice", lambda t: t.memory_set("other", "1"), act)
    assert refused.value.details["operation"] == 1
    assert code is None or refused.value.code == code
    assert len(world.store.list("chains", "", 99, False)) == before


@pytest.mark.parametrize("name", [" k", "k ", "k\u200b", "\u00adk"])
@pytest.mark.parametrize("together", [False, True])
def test_a_name_that_looks_like_another_begins_no_chain(
    world: World, name: str, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there already is written to."""

    def put(value: str) -> Any:
        if not together:
            return world.run(set_value(world["alice"], name, value)).version
        return run(world, "alice", lambda t: t.memory_set(name, value))[0]["version"]

    with pytest.raises(BadName):
        put("v")
    assert not world.store.list("chains", "", 9, False)
    with monkeypatch.context() as patch:
        patch.setattr(seal, "validate_new_chain", lambda _: None)
        assert put("v") == 1
    assert put("w") == 2


def test_a_text_is_no_list_of_names(tmp_path: Path) -> None:
    """Each of its letters was taken for a name, and the step waited for ever."""
    log = tclog.open(tmp_path, agent="alice", create=True)
    steps, together = log.steps, log.transaction()
    wrong: Any = "design"
    for listed in (
        lambda: steps.add("b", after=wrong),
        lambda: steps.complete("b", changed_files=wrong),
        lambda: together.step_add("b", after=wrong),
    ):
        with pytest.raises(UsageError, match="is a list of texts, not"):
            listed()
