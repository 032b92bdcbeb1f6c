"""tclog txn: all lines or none, and which line it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Done, User


def txn(user: User, *operations: dict[str, Any] | str, words: tuple[str, ...] = ()) -> Done:
    """Write operations into a file and run it as alice."""
    lines = [one if isinstance(one, str) else json.dumps(one) for one in operations]
    (user.work / "ops.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return user("txn", "-f", "ops.jsonl", "--as", "alice", *words)


def read(user: User, key: str) -> str | None:
    done = user("memory", "get", key)
    return done.out.rstrip("\n") if done.code == 0 else None


INCR = {"op": "memory.incr", "key": "n"}


def test_all_kinds_change_together_and_each_line_has_its_answer(project: User):
    project("step", "add", "build", "--as", "bob").ok()
    done = txn(
        project,
        {"op": "memory.set", "key": "a", "value": "90"},
        {"op": "memory.incr", "key": "n", "by": 2},
        {"op": "step.claim", "id": "build", "lease": "1m"},
        {"op": "message.send", "to": "bob", "text": "mine"},
        words=("--json",),
    )
    memory, counter, step, message = [json.loads(line) for line in done.ok().lines()]
    assert (memory["type"], memory["value"], memory["version"]) == ("memory", "90", 1)
    assert counter["value"] == 2
    assert (step["state"], step["agent"], step["fence"]) == ("claimed", "alice", 2)
    assert (message["from"], message["to"], message["text"]) == ("alice", "bob", "mine")
    (received,) = [json.loads(line) for line in project("inbox", "--json", "--as", "bob").lines()]
    assert (received["n"], received["id"]) == (1, message["id"])
    assert project("fsck").code == 0


@pytest.mark.parametrize(
    ("bad", "code", "word"),
    [
        ({"op": "memory.set", "key": "held", "value": "x", "if_version": 7}, 4, "version-conflict"),
        ({"op": "memory.set", "key": "held", "value": "x", "if_absent": True}, 4, None),
        ({"op": "step.complete", "id": "his"}, 4, "not-yours"),
        ({"op": "step.claim", "id": "his"}, 4, "step-held"),
        ({"op": "step.complete", "id": "his", "fence": 99}, 4, "stale-fence"),
        ({"op": "memory.incr", "key": "text"}, 4, "not-an-integer"),
        ({"op": "memory.set", "key": "a" * 201, "value": "x"}, 2, None),
        ({"op": "no.such"}, 2, "op-unknown"),
        ({"op": "memory.set", "key": "k"}, 2, None),
        ({"op": "memory.set", "key": "k", "value": "v", "more": 1}, 2, "field-unknown"),
        ("{", 2, "line-unreadable"),
        ("[]", 2, None),
        ({"op": "memory.list"}, 2, None),
    ],
    ids=str,
)
def test_one_line_that_cannot_be_leaves_all_as_it_was(
    project: User, bad: dict[str, Any] | str, code: int, word: str | None
):
    project("memory", "set", "held", "one", "--as", "bob").ok()
    project("memory", "set", "text", "words", "--as", "bob").ok()
    project("claim", "his", "--as", "bob").ok()
    before = sorted(path for path in project.store.rglob("*/chains/*/*/*"))
    error = txn(project, INCR, bad, INCR, words=("--json",)).error(code)
    assert error["line"] == 2
    assert "line 2" in error["message"]
    assert error["hint"]
    if word is not None:
        assert error["code"] == word
    assert txn(project, INCR, bad, INCR).out == ""
    assert read(project, "n") is None
    assert sorted(path for path in project.store.rglob("*/chains/*/*/*")) == before
    assert project("fsck").code == 0


@pytest.mark.parametrize("op", ["memory.set", "memory.get", "memory.delete"])
def test_a_conflict_tells_what_is_there_now(project: User, op: str):
    value = {"value": "x"} if op == "memory.set" else {}
    line = {"op": op, "key": "k", **value, "if_version": 7}
    never = txn(project, line, words=("--json",)).error(4)
    assert (never["code"], never["version"]) == ("version-conflict", 0)
    assert "current" not in never
    now = project("memory", "set", "k", "v", "--as", "bob", "--json").object()
    error = txn(project, INCR, line, words=("--json",)).error(4)
    assert error["current"] == now
    assert {
        name: error[name] for name in ("version", "value", "agent", "at")
    }.items() <= now.items()
    assert (error["key"], error["line"]) == ("k", 2)


def test_nothing_and_a_missing_file_are_errors(project: User):
    assert txn(project).code == 2
    missing = project("txn", "-f", "no-such-file", "--as", "alice", "--json").error(2)
    assert (missing["code"], missing["hint"]) == ("file-unreadable", "ls -l no-such-file")
    line = b'{"op":"memory.incr","key":"n"}'
    assert project("txn", "-f", "-", "--json", stdin=line).object()["value"] == 1


@pytest.mark.parametrize("words", ["txn 0>out", "batch 0>out", "txn -f /proc/self/mem"])
def test_input_that_cannot_be_read_is_no_bug(project: User, words: str):
    error = project.shell(f"tclog --json {words}").error(2)
    assert error["code"] == "file-unreadable"
    assert error["message"] in (
        "standard input cannot be read: Bad file descriptor",
        "/proc/self/mem cannot be read: Input/output error",
    )


def test_what_was_read_and_has_changed_refuses_nothing_by_itself(project: User):
    """A read is part of the one moment: it is made again when others were quicker."""
    project("memory", "set", "rate", "3", "--as", "bob").ok()
    done = txn(project, {"op": "memory.get", "key": "rate"}, INCR, words=("--json",))
    rate, counter = [json.loads(line) for line in done.ok().lines()]
    assert (rate["value"], rate["version"], counter["value"]) == ("3", 1, 1)


def test_a_key_makes_it_apply_once(project: User):
    operations = [INCR, {"op": "message.send", "to": "bob", "text": "one"}]
    first = txn(project, *operations, words=("--id", "k", "--json")).ok()
    again = txn(project, *operations, words=("--id", "k", "--json")).ok()
    assert first.out == again.out
    assert read(project, "n") == "1"
    other = txn(project, INCR, INCR, words=("--id", "k", "--json")).error(4)
    assert other["code"] == "key-reused"


def test_rows_for_programs(project: User):
    done = txn(project, INCR, {"op": "message.send", "to": "bob", "text": "a\tb"})
    assert done.ok().out == "memory.incr\tn\tversion 1\t1\nmessage.send\tbob\tsent\ta\\tb\n"
