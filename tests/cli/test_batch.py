"""tclog batch: lines of JSON in, lines of JSON out, each at once, whatever a line holds."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tclog.cli.operations import read_lines, read_operation
from tclog.errors import UsageError
from tclog.log.operations import operations

from .conftest import Done, User


def ask(user: User, *operations: Any, agent: str | None = None) -> list[dict[str, Any]]:
    """Give operations to one batch; returns the answers."""
    return answers(run(user, *operations, agent=agent))


def run(user: User, *operations: Any, agent: str | None = None) -> Done:
    lines = [
        line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        for line in operations
    ]
    return user("batch", agent=agent, stdin=b"".join(lines))


def answers(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def bare(record: dict[str, Any]) -> dict[str, Any]:
    """What is the same in a repetition of the same words elsewhere."""
    return {
        k: [bare(item) for item in v] if k == "items" else v
        for k, v in record.items()
        if k not in ("at", "id", "lease_until", "last_seen", "session", "leases", "path")
    }


# The words of a command, and the line that stands for them.
PAIRS: list[tuple[list[str], dict[str, Any]]] = [
    (["memory", "set", "k", "v"], {"op": "memory.set", "key": "k", "value": "v"}),
    (
        ["memory", "set", "j", '{"a": [1]}', "--type", "json", "--if-absent"],
        {"op": "memory.set", "key": "j", "value": {"a": [1]}, "if_absent": True},
    ),
    (
        ["memory", "set", "q", '"t"', "--type", "json"],
        {"op": "memory.set", "key": "q", "value": "t", "value_type": "json"},
    ),
    (
        ["memory", "set", "k", "w", "--if-version", "1", "--id", "once"],
        {"op": "memory.set", "key": "k", "value": "w", "if_version": 1, "id_key": "once"},
    ),
    (["memory", "get", "k"], {"op": "memory.get", "key": "k"}),
    (["memory", "get", "k", "--version", "1"], {"op": "memory.get", "key": "k", "version": 1}),
    (["memory", "incr", "n", "--by", "2"], {"op": "memory.incr", "key": "n", "by": 2}),
    (
        ["memory", "append", "k", "x", "--separator", ","],
        {"op": "memory.append", "key": "k", "text": "x", "separator": ","},
    ),
    (["memory", "list", "k"], {"op": "memory.list", "prefix": "k"}),
    (["memory", "history", "k", "-n", "2"], {"op": "memory.history", "key": "k", "limit": 2}),
    (["memory", "delete", "n"], {"op": "memory.delete", "key": "n"}),
    (
        ["send", "alice,bob", "hi", "--step", "s", "--reply-to", "abcd"],
        {"op": "message.send", "to": "alice,bob", "text": "hi", "step": "s", "reply_to": "abcd"},
    ),
    (["send", "@all", "all"], {"op": "message.send", "to": "@all", "text": "all"}),
    (["send", "alice", "third"], {"op": "message.send", "to": "alice", "text": "third"}),
    (["inbox", "-n", "1", "--ack"], {"op": "inbox.read", "limit": 1, "ack": True}),
    (["ack", "3"], {"op": "message.ack", "n": 3}),
    (["inbox"], {"op": "inbox.read"}),
    (["inbox", "--all"], {"op": "inbox.read", "all": True}),
    (
        ["step", "add", "a", "--title", "T", "--priority", "2"],
        {"op": "step.add", "id": "a", "title": "T", "priority": 2},
    ),
    (["step", "add", "b", "--after", "a"], {"op": "step.add", "id": "b", "after": ["a"]}),
    (["step", "list", "--ready"], {"op": "step.list", "state": "ready"}),
    (["claim", "--next", "--lease", "1h"], {"op": "step.claim", "next": True, "lease": "1h"}),
    (["renew", "a", "--lease", "90"], {"op": "step.renew", "id": "a", "lease": 90}),
    (["note", "a", "so far"], {"op": "step.note", "id": "a", "text": "so far"}),
    (["release", "a"], {"op": "step.release", "id": "a"}),
    (["claim", "a", "--wait"], {"op": "step.claim", "id": "a", "wait": True}),
    (
        ["complete", "a", "--note", "n", "--next-action", "m", "--to", "bob", "--failed"],
        {
            "op": "step.complete",
            "id": "a",
            "note": "n",
            "next_action": "m",
            "to": "bob",
            "outcome": "failed",
        },
    ),
    (["reopen", "a"], {"op": "step.reopen", "id": "a"}),
    (["step", "show", "a"], {"op": "step.show", "id": "a"}),
    (["artifact", "put", "f"], {"op": "artifact.put", "path": "f"}),
    (
        ["artifact", "put", "f", "--name", "g", "--step", "a"],
        {"op": "artifact.put", "path": "f", "name": "g", "step": "a"},
    ),
    (["artifact", "get", "g", "-o", "copy"], {"op": "artifact.get", "name": "g", "out": "copy"}),
    (["artifact", "list", "--step", "a"], {"op": "artifact.list", "step": "a"}),
    (["artifact", "history", "f"], {"op": "artifact.history", "name": "f"}),
    (["claim", "w"], {"op": "step.claim", "id": "w"}),
    (["complete", "w"], {"op": "step.complete", "id": "w"}),
    (["wait-for", "a", "w", "--any"], {"op": "step.wait", "ids": ["a", "w"], "any": True}),
    (["wait-for", "w", "--timeout", "1s"], {"op": "step.wait", "ids": ["w"], "timeout": "1s"}),
    (["barrier", "g", "--parties", "1"], {"op": "barrier.pass", "name": "g", "parties": 1}),
    (["agents"], {"op": "agent.list"}),
    (
        ["tag", "t", "2026-11-30T10:00:00Z", "--id", "t1"],
        {"op": "tag.set", "name": "t", "at": "2026-11-30T10:00:00Z", "id_key": "t1"},
    ),
    (
        ["tag", "t", "2026-11-30T11:00:00Z", "--move"],
        {"op": "tag.set", "name": "t", "at": "2026-11-30T11:00:00Z", "move": True},
    ),
    (["tag"], {"op": "tag.list"}),
    (["tag", "t", "--delete"], {"op": "tag.delete", "name": "t"}),
]
LISTS = {"memory.list", "memory.history", "inbox.read", "step.list", "artifact.list",
         "artifact.history", "agent.list", "step.wait", "tag.list"}  # fmt: skip


def test_each_operation_answers_as_its_command(project: User, tmp_path_factory: Any):
    other = User(tmp_path_factory.mktemp("other"))
    shutil.copytree(project.work, other.work, dirs_exist_ok=True)
    other.environ |= {"TCLOG_AGENT": "alice", "TCLOG_FSYNC": "false"}
    for user in (project, other):
        (user.work / "f").write_text("bytes")
    found = ask(project, *(line for _, line in PAIRS))
    assert len(found) == len(PAIRS)
    for (words, line), answer in zip(PAIRS, found, strict=True):
        told = other(*words, "--json").objects()
        if line["op"] in LISTS:
            expected = {"type": "list", "op": line["op"], "items": told}
        else:
            (expected,) = told
        assert bare(answer) == bare(expected), line
    assert (project.work / "copy").read_text() == "bytes"
    assert {line["op"] for _, line in PAIRS} == set(operations())


def test_a_point_in_time_may_name_what_this_batch_wrote(project: User):
    first, second = ask(
        project,
        {"op": "memory.set", "key": "k", "value": "one"},
        {"op": "memory.set", "key": "k", "value": "two"},
    )
    at = {"op": "memory.get", "key": "k", "at": first["id"][:12]}
    third = {"op": "memory.set", "key": "k", "value": "three"}
    found = ask(project, at, third, at | {"at": second["id"][:12]}, at | {"at": "10m"})
    assert [row.get("value") for row in found] == ["one", "three", "two", None]
    assert found[3]["code"] == "key-missing"


# -- errors ---------------------------------------------------------------------------------------

DEEP = b'{"op":"memory.set","key":"k","value":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
WRONG: list[tuple[Any, str, str | None]] = [
    (b"not json\n", "line-unreadable", None),
    (b"{\n", "line-unreadable", None),
    (b'"a text"\n', "line-unreadable", None),
    (b"[]\n", "line-unreadable", None),
    (b'{"op":"memory.set","key":"\xff","value":1}\n', "line-unreadable", None),
    (b'{"op":"memory.get","key":"k","key":"l"}\n', "line-unreadable", None),
    (b'{"op":"memory.set","key":"k","value":NaN}\n', "line-unreadable", None),
    (DEEP, "line-unreadable", None),
    ({"key": "k"}, "field-missing", "op"),
    ({"op": "memory.gte"}, "op-unknown", "op"),
    ({"op": None}, "op-unknown", "op"),
    ({"op": ["memory.get"]}, "op-unknown", "op"),
    ({"op": "memory.get"}, "field-missing", "key"),
    ({"op": "memory.set", "key": "k"}, "field-missing", "value"),
    ({"op": "memory.get", "key": "k", "if_version": 1}, "field-unknown", "if_version"),
    ({"op": "memory.get", "key": 7}, "field-wrong", "key"),
    ({"op": "memory.get", "key": "\ud800"}, "field-wrong", "key"),
    ({"op": "memory.set", "key": "k", "value": 1, "if_version": True}, "field-wrong", "if_version"),
    ({"op": "memory.set", "key": "k", "value": 1, "if_version": -1}, "field-wrong", "if_version"),
    ({"op": "memory.set", "key": "k", "value": 1, "if_version": 1.0}, "field-wrong", "if_version"),
    ({"op": "memory.set", "key": "k", "value": 1, "if_absent": "yes"}, "field-wrong", "if_absent"),
    ({"op": "memory.set", "key": "k", "value": 1, "value_type": "text"}, "field-wrong", "value"),
    ({"op": "memory.set", "key": "k", "value": 1, "value_type": "x"}, "field-wrong", "value_type"),
    ({"op": "memory.set", "key": "k", "value": 1, "id_key": ""}, "bad-name", "id_key"),
    ({"op": "step.claim", "id": "s", "lease": "soon"}, "bad-duration", "lease"),
    ({"op": "step.claim", "id": "s", "lease": [1]}, "field-wrong", "lease"),
    ({"op": "step.claim"}, "usage", "id"),
    ({"op": "step.claim", "id": "s", "next": True}, "usage", "id"),
    ({"op": "step.claim", "id": "s", "timeout": 1}, "usage", "timeout"),
    ({"op": "step.add", "id": "s", "after": "a,b"}, "field-wrong", "after"),
    ({"op": "step.add", "id": "s", "after": [1]}, "field-wrong", "after"),
    ({"op": "step.wait"}, "field-missing", "ids"),
    ({"op": "step.wait", "ids": []}, "bad-count", None),
    ({"op": "step.wait", "ids": ["s"], "any": True, "count": 1}, "usage", "any"),
    ({"op": "barrier.pass", "name": "g", "parties": 0}, "bad-parties", None),
    ({"op": "step.list", "state": "done"}, "field-wrong", "state"),
    ({"op": "step.complete", "id": "s", "outcome": "done"}, "field-wrong", "outcome"),
    ({"op": "message.ack"}, "usage", "n"),
    ({"op": "inbox.read", "wait": True, "all": True}, "usage", "wait"),
    ({"op": "artifact.put", "path": "a\0b"}, "field-wrong", "path"),
    ({"op": "artifact.put", "path": "nothing"}, "file-unreadable", None),
    ({"op": "memory.get", "key": "k", "version": 1, "at": "1h"}, "usage", "at"),
]


@pytest.mark.parametrize(("line", "code", "field"), WRONG)
def test_a_wrong_line_is_one_error_that_names_it_and_the_next_line_works(
    project: User, line: Any, code: str, field: str | None
):
    done = run(project, b"\n", line, {"op": "memory.set", "key": "z", "value": "1"})
    error, after = answers(done)
    assert done.code == 2, done
    assert done.err == ""
    assert list(error)[:5] == ["type", "code", "message", "hint", "exit"]
    assert (error["type"], error["code"], error["exit"]) == ("error", code, 2)
    assert (error["line"], error.get("field")) == (2, field)
    assert error["message"]
    assert error["hint"]
    assert after["version"] == 1


def test_the_exit_status_is_that_of_the_first_error(project: User):
    missing = {"op": "memory.get", "key": "k"}
    stale = {"op": "memory.set", "key": "k", "value": "v", "if_version": 7}
    written = {"op": "memory.set", "key": "k", "value": "v"}
    assert run(project, written, missing).code == 0
    done = run(project, written, stale, missing | {"key": "l"}, written)
    assert done.code == 4
    conflict, nothing = answers(done)[1:3]
    assert (conflict["code"], conflict["current"]["version"], conflict["line"]) == (
        "version-conflict", 2, 2,
    )  # fmt: skip
    assert (nothing["code"], nothing["exit"], nothing["line"]) == ("key-missing", 3, 3)
    assert run(project, missing | {"key": "l"}, stale).code == 3


def test_without_an_agent_only_reading_works(project: User):
    project("memory", "set", "k", "v").ok()
    del project.environ["TCLOG_AGENT"]
    done = run(project, {"op": "memory.get", "key": "k"}, {"op": "memory.delete", "key": "k"})
    read, refused = answers(done)
    assert (read["value"], refused["code"], done.code) == ("v", "agent-missing", 2)
    assert ask(project, {"op": "memory.get", "key": "k"})[0]["value"] == "v"


def test_without_a_project_nothing_is_read(user: User):
    done = user("batch", "--as", "alice", "--json", stdin=b'{"op":"agent.list"}\n')
    assert done.error(3)["code"] == "project-missing"


def test_below_exec_a_completion_carries_the_token_of_the_claim(project: User):
    fence = ask(project, {"op": "step.claim", "id": "s"})[0]["fence"]
    for op in ("step.release", "step.claim"):
        ask(project, {"op": op, "id": "s"})
    project.environ |= {"TCLOG_STEP": "s", "TCLOG_FENCE": str(fence)}
    (stale,) = ask(project, {"op": "step.complete", "id": "s"})
    assert (stale["type"], stale["exit"]) == ("error", 4)
    assert ask(project, {"op": "step.complete", "id": "s", "fence": fence + 2})[0]["fence"] == 3


def test_what_is_no_token_is_not_taken_for_none(project: User):
    ask(project, {"op": "step.claim", "id": "s"})
    project.environ |= {"TCLOG_STEP": "s", "TCLOG_FENCE": "one"}
    (error,) = ask(project, {"op": "step.complete", "id": "s"})
    assert (error["exit"], error["hint"]) == (2, "unset TCLOG_FENCE")
    assert project("complete", "s", "--json").error(2)["message"].startswith("TCLOG_FENCE is 'one'")


# -- streams --------------------------------------------------------------------------------------


@pytest.fixture
def child(project: User) -> Iterator[subprocess.Popen[bytes]]:
    process = project.processes("batch", stdin=subprocess.PIPE)
    with process:
        yield process
        process.kill()


def test_who_writes_a_line_gets_its_answer_before_the_next(child: subprocess.Popen[bytes]):
    assert child.stdin is not None
    assert child.stdout is not None
    for nth in range(1, 6):
        child.stdin.write(b'{"op":"memory.incr","key":"n"}\n')
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["value"] == nth
    # The last line may have no end.
    child.stdin.write(b'{"op":"memory.get","key":"n"}')
    child.stdin.close()
    assert json.loads(child.stdout.readline())["value"] == 5
    assert child.wait(60) == 0


def test_points_in_time_do_not_open_the_index_again_and_again(
    child: subprocess.Popen[bytes], project: User
):
    at = project("memory", "set", "k", "v", "--json").object()["id"]
    assert child.stdin is not None
    assert child.stdout is not None
    opened = []
    for _ in range(5):
        child.stdin.write(json.dumps({"op": "memory.get", "key": "k", "at": at}).encode() + b"\n")
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["value"] == "v"
        opened.append(len(list(Path(f"/proc/{child.pid}/fd").iterdir())))
    assert opened[1:] == opened[:-1]


def test_waits_end_as_those_of_the_commands(project: User):
    ask(project, {"op": "step.claim", "id": "s"}, agent="bob")
    soon = {"timeout": "10ms"}
    for operation in (
        {"op": "step.wait", "ids": ["s"]},
        {"op": "barrier.pass", "name": "g", "parties": 2},
        {"op": "inbox.read", "wait": True},
        {"op": "step.claim", "id": "s", "wait": True},
    ):
        (late,) = ask(project, operation | soon)
        assert (late["code"], late["exit"]) == ("timeout", 5)


def test_who_is_interrupted_at_a_barrier_is_not_counted(
    child: subprocess.Popen[bytes], project: User
):
    assert child.stdin is not None
    child.stdin.write(b'{"op":"barrier.pass","name":"g","parties":2}\n')
    child.stdin.flush()
    while not project("log", "--op", "barrier.arrive", "--json").objects():
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    child.stdin.close()
    assert child.wait(60) == 130
    (late,) = ask(
        project, {"op": "barrier.pass", "name": "g", "parties": 2, "timeout": "10ms"}, agent="bob"
    )
    assert late["code"] == "timeout"


def test_a_reader_that_leaves_ends_it_quietly(project: User):
    script = """yes '{"op":"memory.get","key":"n"}' | head -1000 | tclog batch | head -1"""
    done = project.shell(script)
    assert done.ok().err == ""
    assert json.loads(done.out)["code"] == "key-missing"


def test_closed_standard_input_is_an_error(project: User):
    done = project.shell("tclog batch --json <&-")
    assert done.code in (0, 2)
    assert "Traceback" not in done.err


def test_a_line_that_is_too_long_is_left_out_whole():
    long = b"x" * 40
    for ending in (b"\n", b""):
        stream: BinaryIO = io.BytesIO(b"a\n \n" + long + b"\n" + b"y" * 16 + b"\nb" + ending)
        lines = list(read_lines(stream, bytes_max=16))
        assert lines == [(1, b"a\n"), (3, None), (4, None), (5, b"b" + ending)]
    assert list(read_lines(io.BytesIO(long), bytes_max=16)) == [(1, None)]
    with pytest.raises(UsageError) as refused:
        read_operation(3, None)
    assert refused.value.message == "line 3: it has over 64 MiB"


def test_nothing_is_waited_for_after_a_line(project: User):
    """A pipe that holds half of the next line, too, does not hold up the answer."""
    process = project.processes("batch", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"op":"memory.incr","key":"n"}\n{"op":"memory.')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["value"] == 1
    out, err = process.communicate(b'get","key":"n"}\n', timeout=60)
    assert (json.loads(out)["value"], err, process.returncode) == (1, b"", 0)
