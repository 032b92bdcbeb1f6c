"""The command-line contract: commands, options, JSON fields, errors and exit statuses."""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.stores import Around

import tclog
from tclog.cli.commands import status as status_command
from tclog.clock import parse_us
from tclog.errors import EXIT_STATUSES, NotFound
from tclog.store.base import Created, Outcome, Store

from .conftest import User, earlier_build

# The contract's own lines.
COMMANDS = """
init [STORE] [--as NAME] [--project NAME] [--endpoint URL] [--region R] [--profile P] \
[--create-bucket]
where
doctor
status
memory set KEY VALUE|- [--file F] [--type text|json] [--if-version N] [--if-absent] [--id KEY]
memory get KEY [--version N] [--at POINT]
memory list [PREFIX] [--values] [--at POINT]
memory history KEY
memory delete KEY
memory incr KEY [--by N]
memory append KEY TEXT
send TO TEXT|- [--reply-to ID] [--step S]
inbox [--all] [--ack] [--wait] [--timeout 5m] [--as NAME]
ack N|ID
step add ID [--after A,B] [--title T] [--priority N]
step list [--state S] [--ready]
step show ID
claim ID [--lease 30m] [--wait [--timeout D]]
claim [--next]
renew ID
note ID TEXT
release ID
reopen ID
complete ID [--note T] [--to AGENT] [--next-action T] [--blocked|--needs-review|--failed] \
[--changed-files-from-git] [--fence N] [--force --reason T]
done ID
wait-for ID... [--any | --count K] [--timeout 5m]
barrier NAME --parties N [--timeout 5m]
artifact put PATH [--name N] [--step S]
artifact get NAME [-o OUT] [--version N]
artifact list
artifact history NAME
agents
exec STEP [--lease D]
batch
txn [-f FILE]
step-status ID
artifact upload PATH
artifact download NAME
"""
LINES = COMMANDS.strip().splitlines()


def _words(line: str) -> list[str]:
    words = line.split()
    if words[0] in ("memory", "step", "artifact"):
        return words[:2]
    return words[:1]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(_words(line)))
def test_every_command_and_option_of_the_contract_exists(user: User, line: str):
    shown = user(*_words(line), "--help").ok().out
    for option in re.findall(r"--?[a-z][a-z-]*", line.removeprefix(" ".join(_words(line)))):
        assert re.search(rf"(^|[ ,]){option}\b", shown, re.MULTILINE), option
    assert "--json" in shown
    assert "--as NAME" in shown


FIELDS = {
    "memory": {"key": str, "value": Any, "version": int, "agent": str, "at": str, "id": str},
    "message": {"n": int, "id": str, "from": str, "to": str, "text": str, "at": str},
    "step": {
        "id": str,
        "state": str,
        "agent": (str, type(None)),
        "fence": (int, type(None)),
        "lease_until": (str, type(None)),
        "version": int,
    },
    "artifact": {
        "name": str, "version": int, "size": int, "blake3": str, "agent": str, "at": str,
    },
    "agent": {"name": str, "last_seen": (str, type(None)), "claims": list},
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def check(found: dict[str, Any], kind: str, **expected: Any) -> dict[str, Any]:
    """Check that an object has the pinned fields of its type, and some values."""
    assert found["type"] == kind
    for name, type_ in FIELDS[kind].items():
        if kind == "message" and name == "n" and expected.get("n", 1) is None:
            assert "n" not in found
            continue
        assert name in found, name
        assert type_ is Any or isinstance(found[name], type_), (name, found[name])
    for name in ("at", "lease_until", "last_seen"):
        assert found.get(name) is None or TIME.fullmatch(found[name]), found[name]
    wrong = {k: found.get(k) for k, v in expected.items() if found.get(k) != v}
    assert not wrong
    return found


def test_a_change_of_memory_prints_the_object_after_it(project: User):
    first = check(project("memory", "set", "k", "90", "--json").object(), "memory",
                  key="k", value="90", version=1, agent="alice")  # fmt: skip
    assert len(first["id"]) == 64
    check(project("memory", "incr", "k", "--by", "2", "--json").object(), "memory", value=92)
    check(project("memory", "set", "t", "a", "--json").object(), "memory", version=1)
    check(project("memory", "append", "t", "b", "--json").object(), "memory", value="a\nb")
    check(project("memory", "get", "t", "--json").object(), "memory", value="a\nb", version=2)
    gone = project("memory", "delete", "k", "--json").object()
    check(gone, "memory", key="k", value=None, version=3, deleted=True)
    check(project("memory", "set", "j", '{"a":[1]}', "--type", "json", "--json").object(), "memory",
          value={"a": [1]})  # fmt: skip
    listed = project("memory", "list", "--json").objects()
    assert [check(row, "memory")["key"] for row in listed] == ["j", "t"]
    history = project("memory", "history", "k", "--json").objects()
    assert [check(row, "memory")["version"] for row in history] == [3, 2, 1]


def test_messages_have_a_number_in_an_inbox_and_none_when_sent(project: User):
    sent = project("send", "bob,carol", "hi", "--json").object()
    check(sent, "message", n=None, **{"from": "alice"}, to="bob,carol", text="hi")
    check(project("send", "@all", "all", "--json").object(), "message", n=None, to="@all")
    check(project("send", "_broadcast", "x", "--json").object(), "message", n=None, to="@all")
    first, *_ = project("inbox", "--json", agent="bob").objects()
    check(first, "message", n=1, id=sent["id"], text="hi")
    check(project("ack", "1", "--json", agent="bob").object(), "message", n=1)
    left = project("inbox", "--json", agent="bob").objects()
    assert [row["n"] for row in left] == [2, 3]
    acked = project("inbox", "--all", "--json", agent="bob").objects()
    assert [(row["n"], row["unread"]) for row in acked] == [(1, False), (2, True), (3, True)]
    by_id = project("ack", acked[1]["id"][:12], "--json", agent="bob").object()
    check(by_id, "message", n=2)


def inbox_of(project: User, agent: str) -> list[str]:
    """The texts in an agent's inbox."""
    return [row["text"] for row in project("inbox", "--all", "--json", agent=agent).objects()]


def test_a_name_reaches_the_agent_of_that_name_and_no_other(project: User):
    with earlier_build():  # which made names that look like others
        reach_by_name(project)


def reach_by_name(project: User) -> None:
    """Send to names that look alike, in every way that there is."""
    names = ["bob", "bob ", " bob", "\u00a0bob", "Bob", "_broadcast", "all"]
    for name in names:
        line = json.dumps({"op": "message.send", "to": name, "text": f"batch {name}"}).encode()
        told = project("batch", stdin=line).object()
        assert told["to"] == name
        project("txn", stdin=line.replace(b"batch", b"txn"))
    sent = {name: [f"batch {name}", f"txn {name}"] for name in names}
    for name in names:
        if name != "_broadcast":  # Tracecraft's word for everybody, where it is a word of send
            assert project("send", name, f"word {name}", "--json").object()["to"] == name
            sent[name].append(f"word {name}")
    for name in names:
        project("claim", f"for {name}", agent="carol")
        project("complete", f"for {name}", "--to", name, agent="carol")
        sent[name].append(f"step for {name} is complete")
    log = tclog.open(str(project.work / ".tclog/store"), project="work", agent="dave")
    for name in names:
        log.send(name, f"api {name}")
        sent[name].append(f"api {name}")
    for name in names:
        assert inbox_of(project, name) == sent[name], name
    assert inbox_of(project, "nobody") == []


def test_a_word_of_send_is_split_at_commas_and_names_are_left_as_they_are(project: User):
    assert project("send", "_broadcast", "x", "--json").object()["to"] == "@all"
    assert project("send", "Bob,bob,Bob", "x", "--json").object()["to"] == "Bob,bob"
    # Is it " carol" that is meant, or carol? Neither is taken for the other.
    for words in (
        ("send", "bob, carol", "x"),
        ("send", "bob ,carol", "x"),
        ("step", "add", "s", "--after", "a, b"),
    ):
        error = project(*words, "--json").error(2)
        assert error["code"] == "bad-name", words
        assert "space" in error["message"]
    for words in (("send", "bob,_broadcast", "x"), ("send", "bob,@all", "x"), ("send", "a,", "x")):
        project(*words, "--json").error(2)
    line = json.dumps({"op": "message.send", "to": "bob, carol", "text": "x"}).encode()
    assert json.loads(project("batch", stdin=line).out)["code"] == "bad-name"
    assert inbox_of(project, "carol") == inbox_of(project, " carol") == ["x"]
    added = project("step", "add", "late", "--after", "a ", "--json").object()
    assert added["after"] == ["a "]


def test_a_message_is_acknowledged_by_its_number_or_its_id_never_by_the_other(project: User):
    """An id may begin with digits only, such as ``20``; a number never stands for one."""
    for n in range(3):
        project("send", "bob", f"{n}")
    line = json.dumps({"op": "message.ack", "id": "2"}).encode()
    refused = project("batch", agent="bob", stdin=line)
    assert json.loads(refused.out)["code"] == "message-missing"
    line = json.dumps({"op": "message.ack", "n": 2}).encode()
    assert project("batch", agent="bob", stdin=line).object()["n"] == 2
    assert project("ack", "#3", "--json", agent="bob").object()["n"] == 3
    log = tclog.open(str(project.work / ".tclog/store"), project="work", agent="bob")
    with pytest.raises(NotFound):
        log.ack(message="1")
    log.ack(1)
    assert project("inbox", "--json", agent="bob").objects() == []


def test_a_chain_whose_name_looks_like_a_pattern_is_found_by_its_name(project: User):
    for key in ("a[1]", "a1", "b*"):
        project("memory", "set", key, "v")
    for words in (("log",), ("watch", "--from", "1h", "--count", "2")):
        found = project(*words, "--chain", "memory/a[1]", "--json").objects()
        assert {event["chain"] for event in found} == {"memory/a[1]", "memory/a1"}
    found = project("log", "--chain", "memory/b*", "--json").objects()
    assert [event["chain"] for event in found] == ["memory/b*"]


def test_a_change_of_a_step_prints_the_step_after_it(project: User):
    def step(*words: str, **expected: Any) -> dict[str, Any]:
        return check(project(*words, "--json").object(), "step", **expected)

    step("step", "add", "a", "--title", "T", "--priority", "2", state="ready", version=1, id="a")
    step("step", "add", "b", "--after", "a", state="pending", agent=None)
    held = step("claim", "a", state="claimed", agent="alice", fence=2, version=2)
    assert held["lease_until"]
    step("renew", "a", "--lease", "1h", state="claimed", fence=2, version=3)
    step("note", "a", "so far", state="claimed", version=4, note="so far")
    step("release", "a", state="ready", agent=None)
    step("claim", "--next", id="a", state="claimed", fence=6)
    step("complete", "a", "--note", "done", state="complete", agent="alice", lease_until=None)
    step("reopen", "a", state="ready")
    step("claim", "a", state="claimed")
    step("done", "a", state="complete")
    for flag, state in (("--blocked", "blocked"), ("--needs-review", "needs_review"),
                        ("--failed", "failed")):  # fmt: skip
        step("claim", f"x{flag}", state="claimed", fence=1)
        step("complete", f"x{flag}", flag, state=state)
    step("step", "show", "b", state="ready")
    step("step-status", "a", state="complete")
    step("wait-for", "a", state="complete")
    states = {
        r["id"]: check(r, "step")["state"] for r in project("step", "list", "--json").objects()
    }
    assert states["b"] == "ready"
    ready = project("step", "list", "--ready", "--json").objects()
    assert [row["id"] for row in ready] == ["b"]
    assert project("step", "list", "--state", "failed", "--json").object()["id"] == "x--failed"


def test_artifacts_and_agents(project: User):
    (project.work / "r.md").write_bytes(b"abc")
    put = project("artifact", "put", "r.md", "--json").object()
    check(put, "artifact", name="r.md", version=1, size=3, agent="alice")
    assert len(put["blake3"]) == 64
    check(project("artifact", "list", "--json").object(), "artifact", name="r.md")
    check(project("artifact", "history", "r.md", "--json").object(), "artifact", version=1)
    got = project("artifact", "get", "r.md", "-o", "c.md", "--json").object()
    check(got, "artifact", path=str(project.work / "c.md"))
    assert (project.work / "c.md").read_bytes() == b"abc"
    project("artifact", "get", "r.md", "-o", "-", "--json").error(2)  # bytes are no JSON
    project("claim", "s").ok()
    check(project("agents", "--json").object(), "agent", name="alice", claims=["s"])


def test_exec_prints_the_step_with_json_and_only_its_command_without(project: User):
    done = project("exec", "s", "--json", "--", "true")
    check(done.object(), "step", id="s", state="complete", fence=1)
    plain = project.process("exec", "t", "--", "echo", "data")
    assert plain.lines() == ["data"]
    assert "t" in plain.err
    failed = project.process("exec", "u", "--", "sh", "-c", "exit 9")
    assert failed.code == 9
    assert project("step", "show", "u", "--json").object()["state"] == "failed"


def test_a_step_ends_in_one_way(project: User):
    project("claim", "s").ok()
    error = project("complete", "s", "--blocked", "--failed", "--json").error(2)
    assert error["message"] == "--blocked, --needs-review and --failed exclude each other"
    assert project("step", "show", "s", "--json").object()["state"] == "claimed"


def test_git_says_itself_why_it_does_not_tell_the_changed_files(project: User):
    project("claim", "s").ok()
    error = project("complete", "s", "--changed-files-from-git", "--json").error(2)
    assert error["code"] == "git-failed"
    assert "not a git repository" in error["message"]
    assert "Command '[" not in error["message"]


def test_every_other_command_prints_objects_with_a_type(project: User):
    project("step", "add", "a").ok()
    for words in (["where"], ["doctor"], ["status"], ["barrier", "b", "--parties", "1"],
                  ["completion", "bash"], ["init"]):  # fmt: skip
        for found in project(*words, "--json").objects():
            assert found["type"]
        for found in project(*words, env={"TCLOG_JSON": "1"}).objects():
            assert found["type"]


CHANGES = [
    ["init"],
    ["memory", "set", "k", "v"],
    ["memory", "append", "k", "w"],
    ["memory", "incr", "n"],
    ["memory", "delete", "k"],
    ["send", "bob", "hi"],
    ["send", "alice", "hi"],
    ["ack", "1"],
    ["step", "add", "s"],
    ["claim", "s"],
    ["renew", "s"],
    ["note", "s", "text"],
    ["release", "s"],
    ["claim", "--next"],
    ["complete", "s", "--to", "bob"],
    ["reopen", "s"],
    ["barrier", "b", "--parties", "1"],
    ["artifact", "put", "f"],
    ["artifact", "get", "f", "-o", "g"],
]


def test_a_change_prints_one_line_of_confirmation_on_stdout(project: User):
    (project.work / "f").write_text("f")
    for words in CHANGES:
        done = project(*words)
        assert len(done.lines()) == 1, done
        assert all(line.startswith("note: ") for line in done.err.splitlines()), done


def test_only_data_is_on_stdout(project: User):
    project("send", "alice", "hi").ok()
    done = project("inbox", "--ack")
    assert [row[0] for row in done.rows()] == ["1"]
    assert done.err == "note: acknowledged 1 message(s)\n"
    missing = project("memory", "get", "nothing")
    assert missing.out == ""
    assert missing.err.startswith("error: nothing has no value\nhint: ")
    unsettled = project("memory", "list", "--at", "1m")
    assert unsettled.out == ""
    assert "not settled" in unsettled.err


# -- errors ---------------------------------------------------------------------------------------

USAGE = [
    ["clame"],
    ["memory", "sett", "k", "v"],
    ["memory"],
    ["claim", "--bogus", "s"],
    ["memory", "set"],
    ["memory", "set", "k", "v", "extra"],
    ["memory", "set", "k"],
    ["memory", "set", "k", "v", "--if-version", "x"],
    ["memory", "set", "k", "v", "--if-version", "-1"],
    ["memory", "set", "k", "v", "--if-version", "1", "--if-absent"],
    ["memory", "set", "k", "[", "--type", "json"],
    ["memory", "set", "", "v"],
    ["memory", "set", "k" * 201, "v"],
    ["memory", "set", "a\x1b[31mb", "v"],
    ["memory", "get", "k", "--at", "soon", "--version", "1"],
    ["memory", "get", "k", "--at", ""],
    ["memory", "incr", "k", "--by", "9" * 30],
    ["memory", "incr", "k", "--by", "9" * 5000],
    ["memory", "list", "-n", "-1"],
    ["memory", "set", "k", "v", "--id", ""],
    ["send", "bob", ""],
    ["send", "", "hi"],
    ["send", "bob,", "hi"],
    ["send", "@bob", "hi"],
    ["claim"],
    ["claim", "s", "--next"],
    ["claim", "s", "--lease", "0"],
    ["claim", "s", "--lease", "-5m"],
    ["claim", "s", "--lease", "99999d"],
    ["claim", "s", "--timeout", "5m"],
    ["step", "add", "s", "--after", "a,,b"],
    ["step", "add", "s", "--priority", "99999999999"],
    ["step", "list", "--state", "done"],
    ["step", "list", "--state", "failed", "--ready"],
    ["complete", "s", "--force"],
    ["wait-for"],
    ["wait-for", "a", "b", "--count", "3"],
    ["wait-for", "a", "--any", "--count", "1"],
    ["barrier", "b", "--parties", "0"],
    ["barrier", "b"],
    ["artifact", "put", "nowhere"],
    ["artifact", "put", "."],
    ["artifact", "put", "/dev/zero"],
    ["exec", "s"],
    ["exec"],
    ["inbox", "--wait", "--all"],
    ["completion", "tcsh"],
    ["-C", "nowhere", "status"],
    ["--store", "", "status"],
    ["--as", "", "claim", "s"],
    ["--store", "ftp://host/x", "status"],
    ["--store", "s3://", "status"],
    ["--store", "~nobody-here/x", "status"],
    ["init", ""],
    ["init", "--create-bucket"],
]


@pytest.mark.parametrize(
    "words", USAGE, ids=lambda words: " ".join(words)[:40].replace("\x1b", "ESC")
)
def test_a_wrong_word_is_one_line_of_json_with_exit_2(project: User, words: list[str]):
    found = project("--json", *words).error(2)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", found["code"])
    assert project(*words, env={"TCLOG_JSON": "1"}).error(2)["code"] == found["code"]
    if words != ["memory"]:  # without a word more a group shows its help
        project(*words).said(2)


def test_statuses_are_the_table():
    assert sorted(EXIT_STATUSES) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 130]


def test_0_also_for_an_empty_list(project: User):
    for words in (["memory", "list"], ["step", "list"], ["artifact", "list"], ["inbox"]):
        for done in (project(*words), project(*words, "--json")):
            assert done.ok().out == ""


def test_3_not_found(project: User, user: User):
    for words, code in {
        ("memory", "get", "k"): "key-missing",
        ("memory", "history", "k"): "key-missing",
        ("memory", "delete", "k"): "key-missing",
        ("step", "show", "s"): "step-missing",
        ("reopen", "s"): "step-missing",
        ("claim", "--next"): "no-step-left",
        ("ack", "7"): "message-missing",
        ("ack", "beef"): "message-missing",
        ("artifact", "get", "a"): "artifact-missing",
        ("--project", "other", "status"): "project-missing",
        ("exec", "s", "--", "no-such-command-anywhere"): "command-not-found",
    }.items():
        done = project(*words, "--json") if "--" not in words else project("--json", *words)
        if "--" in words:
            assert done.code == 3
            assert f'"code":"{code}"' in done.err
        else:
            assert done.error(3)["code"] == code
    assert project("step", "show", "s", "--json").object()["state"] == "ready"  # exec let it go
    (user.folder / "elsewhere").mkdir()
    missing = user("status", "--json", cwd=user.folder / "elsewhere").error(3)
    assert (missing["code"], missing["hint"]) == ("project-missing", "tclog init")


def test_4_refused_names_the_holder_and_the_time(project: User):
    project("memory", "set", "k", "mine").ok()
    lost = project("memory", "set", "k", "v", "--if-absent", "--json", agent="bob").error(4)
    assert lost["code"] == "version-conflict"
    assert (lost["agent"], lost["version"], lost["value"]) == ("alice", 1, "mine")
    assert TIME.search(lost["message"])
    assert "alice" in lost["message"]
    project("claim", "s").ok()
    held = project("claim", "s", "--json", agent="bob").error(4)
    assert held["code"] == "step-held"
    assert held["holder"] == "alice"
    assert TIME.fullmatch(held["lease_until"])
    assert "alice" in held["message"]
    assert held["hint"] == "tclog claim s --wait"
    for words, code in {
        ("complete", "s"): "not-yours",
        ("release", "s"): "not-yours",
        ("complete", "s", "--fence", "9"): "stale-fence",
        ("reopen", "s"): "step-held",
    }.items():
        assert project(*words, "--json", agent="bob").error(4)["code"] == code
    project("step", "add", "b", "--after", "s").ok()
    assert project("claim", "b", "--json").error(4)["code"] == "step-waiting"
    assert project("step", "add", "s", "--after", "b", "--json").error(4)["code"] == "step-cycle"
    project("complete", "s", "--blocked").ok()
    assert project("wait-for", "s", "--json").error(4)["code"] == "wait-blocked"
    assert project("init", "elsewhere", "--json").error(4)["code"] == "already-configured"
    project("memory", "incr", "n", "--id", "once").ok()
    assert project("memory", "incr", "n", "--id", "once", "--by", "2", "--json").error(4)[
        "code"
    ] == ("key-reused")


def test_5_wait_timed_out(project: User):
    project("step", "add", "s").ok()
    project("claim", "held", agent="bob").ok()
    for words in (["wait-for", "s"], ["inbox", "--wait"], ["barrier", "b", "--parties", "2"],
                  ["claim", "held", "--wait"]):  # fmt: skip
        begun = time.monotonic()
        assert project(*words, "--timeout", "100ms", "--json").error(5)["code"] == "timeout"
        assert time.monotonic() - begun < 30  # and not for ever


class _Mute(Around):
    """A store whose answers to creates of versions are lost, and that then cannot be read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.lost: set[str] = set()

    def create(self, key: str, data: bytes) -> Created:
        if not key.startswith("chains/memory/"):
            return super().create(key, data)
        self.lost.add(key)
        self.inner.create(key, data)
        return Created(Outcome.UNKNOWN, cause="no answer")

    def get(self, key: str) -> Any:
        return None if key in self.lost else super().get(key)


def test_6_outcome_unknown_tells_how_to_repeat_it(project: User, monkeypatch):
    import tclog.chain.settle
    import tclog.store

    project("memory", "incr", "n").ok()
    opened = tclog.store.open_store
    with monkeypatch.context() as patch:
        patch.setattr(tclog.store, "open_store", lambda *a, **k: _Mute(opened(*a, **k)))
        patch.setattr(tclog.chain.settle, "CREATE_TRIES_MAX", 2)
        unknown = project("memory", "incr", "n", "--json").error(6)
    assert unknown["code"] == "outcome-unknown"
    assert len(unknown["event"]) == 64
    assert f"--id {unknown['id_key']}" in unknown["hint"]
    again = project("memory", "incr", "n", "--id", unknown["id_key"], "--json").object()
    assert again["value"] == 2  # it had been written, and is not written twice


def test_7_store_missing(project: User, tmp_path: Path):
    missing = project("--store", str(tmp_path / "gone"), "status", "--json").error(7)
    assert missing["code"] == "store-missing"
    assert str(tmp_path / "gone") in missing["message"]
    assert not (tmp_path / "gone").exists()


def test_70_a_bug_is_one_line_too(project: User, monkeypatch):
    def broken(_: Any) -> None:
        raise RuntimeError("impossible\nindeed")

    monkeypatch.setattr(status_command.status, "callback", lambda **_: broken(None))
    assert project("status", "--json").error(70)["code"] == "bug"
    assert "impossible\\nindeed" in project("status").said(70)
    with pytest.raises(RuntimeError):
        project("status", env={"TCLOG_DEBUG": "1"})


def test_130_interrupted(project: User):
    project("step", "add", "s").ok()
    child = project.processes("wait-for", "s", "--json")
    time.sleep(3.0)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert out == b""
    (line,) = err.splitlines()
    assert b'"code":"interrupted"' in line


def test_the_last_line_of_stderr_is_the_error_though_notes_stand_before_it(project: User):
    done = project("memory", "get", "k", "--at", "1m", "--json")
    note, error = done.err.splitlines()
    assert '"type":"note"' in note
    assert '"code":"key-missing"' in error


PAST: list[tuple[str, ...]] = [
    ("memory", "list", "--at", "T"),
    ("memory", "history", "k", "--at", "T"),
    ("inbox", "--all", "--at", "T"),
    ("step", "list", "--at", "T"),
    ("artifact", "list", "--at", "T"),
    ("state", "--at", "T"),
    ("agents", "--at", "T"),
    ("tag", "--at", "T"),
    ("log", "--until", "T"),
]


@pytest.mark.parametrize(("fast_s", "point", "shown"), [(3600, "10m", False), (-3600, "0s", True)])
def test_every_relative_moment_is_counted_from_the_corrected_clock(
    project: User, fast_s: int, point: str, shown: bool
):
    """A machine whose clock is an hour off knows the store's time from its own first write."""
    project.environ["TCLOG_TEST_CLOCK_OFFSET_S"] = str(fast_s)
    (project.work / "a").write_text("a")
    for words in (
        ("memory", "set", "k", "one"), ("send", "alice", "x"), ("step", "add", "s"),
        ("artifact", "put", "a"), ("tag", "t", point), ("memory", "set", "k", "two"),
    ):  # fmt: skip
        project(*words)
    for words in PAST:
        found = project(*[point if word == "T" else word for word in words], "--json")
        assert bool(found.out) == shown, found
    for words in (("memory", "get", "k"), ("blame", "k"), ("step", "show", "s")):
        assert (project(*words, "--at", point).code == 0) == shown, words
    status = project("status", "--at", point, "--json").object()
    assert bool(status["steps"]) == shown
    changed = project("diff", point, "--json").objects()
    assert bool([row for row in changed if row["chain"] == "memory/k"]) == (not shown)
    line = json.dumps({"op": "memory.get", "key": "k", "at": point}).encode()
    assert (project("batch", stdin=line).code == 0) == shown
    (tag,) = project("tag", "--json").objects()
    off_s = (parse_us(tag["moment"]) - time.time_ns() // 1000) / 1e6
    assert -700 < off_s < 60
    watched = project("watch", "--from", point, "--timeout", "100ms", "--json")
    assert (watched.out == "") == shown


def test_a_word_that_is_no_moment_is_said_before_anything_is_opened(user: User):
    for words in (("state", "--at", ""), ("state", "--at", "2026-13-01"), ("diff", " ")):
        assert user(*words, "--json").error(2)["code"] == "bad-moment"


def test_lists_print_twenty_rows_on_a_terminal_and_all_in_a_pipe(project: User):
    for n in range(23):
        project("memory", "set", f"k{n:02}", "v").ok()
    assert len(project("memory", "list").lines()) == 23
    assert len(project("memory", "list", "--json").lines()) == 23
    assert len(project("memory", "list", "-n", "4").lines()) == 4
    assert len(project("memory", "list", "-n", "4", "--json").lines()) == 4
    shown = project("memory", "list", terminal=True)
    assert len(shown.lines()) == 21
    assert shown.err == "... and 3 more: tclog memory list -n 0\n"
    assert len(project("memory", "list", "-n", "0", terminal=True).lines()) == 24


def test_a_history_says_how_much_older_there_is_without_reading_it(project: User):
    (project.work / "f").write_text("0")
    for n in range(23):
        project("memory", "set", "k", str(n)).ok()
        (project.work / "f").write_text(str(n))
        project("artifact", "put", "f").ok()
    for kind in ("memory", "artifact"):
        name = "k" if kind == "memory" else "f"
        next(project.store.glob(f"chains/{kind}/{name}/9999999998.json")).unlink()
        said = "up to " if kind == "memory" else ""
        for words, shown, left in (([], 20, 3), (["-n", "5"], 5, 18)):
            done = project(kind, "history", name, *words, terminal=True)
            assert len(done.lines()) == shown + 1
            assert done.err == f"... and {said}{left} more: tclog {kind} history {name} -n 0\n"
        asked = {"op": f"{kind}.history", "key" if kind == "memory" else "name": name, "limit": 2}
        answer = project("batch", stdin=json.dumps(asked).encode()).object()
        assert [row["version"] for row in answer["items"]] == [23, 22]
        assert project(kind, "history", name, "-n", "0", "--json").error(8)


def test_what_shows_the_rest_of_a_list_asks_for_the_same_list(project: User):
    for n in range(5):
        project("send", "bob", f"m {n}").ok()
        project("memory", "set", "--", f"-a b {n}", "v").ok()
    for words, kept, left in (
        (["inbox", "--as", "bob", "-n", "2"], ["inbox", "--as", "bob", "-n", "0"], 3),
        (["memory", "list", "-n", "1", "--", "-a b"],
         ["memory", "list", "-n", "0", "--", "-a b"], 4),
        (["log", "--op", "memory.*", "-n", "2"], ["log", "--op", "memory.*", "-n", "0"], 3),
    ):  # fmt: skip
        shown = project(*words, terminal=True)
        (line,) = [line for line in shown.err.splitlines() if line.startswith("...")]
        said, more = line.split(": ")
        assert said == f"... and {left} more"
        assert shlex.split(more) == ["tclog", *kept]
        assert len(project(*kept).lines()) == 5


def test_a_number_of_rows_may_be_any(project: User):
    project("memory", "set", "k", "v").ok()
    for words in (
        ["log"],
        ["memory", "list"],
        ["memory", "history", "k"],
        ["agents"],
        ["diff", "1h"],
    ):
        assert project(*words, "-n", "9" * 30).lines() == project(*words).lines()


def test_a_long_log_is_counted_up_to_a_thousand_and_not_at_all_in_a_pipe(project: User):
    sets = [json.dumps({"op": "memory.set", "key": "k", "value": str(n)}) for n in range(1004)]
    project("batch", stdin="\n".join(sets).encode()).ok()
    assert project("log", "-n", "4", terminal=True).err.startswith("... and 1000 more: ")
    assert project("log", "-n", "3", terminal=True).err.startswith("... and over 1000 more: ")
    for words in (["log"], ["diff", "1h"], ["memory", "history", "k"]):
        done = project(*words, "-n", "1").ok()
        assert (len(done.lines()), done.err) == (1, "")


def test_acknowledging_covers_what_was_shown_and_nothing_else(project: User):
    for n in range(4):
        project("send", "bob", f"m{n}").ok()
    first = project("inbox", "--all", "--ack", "-n", "2", "--json", agent="bob").objects()
    assert [row["n"] for row in first] == [1, 2]
    assert [row["n"] for row in project("inbox", "--json", agent="bob").objects()] == [3, 4]
    project("inbox", "--ack", "-n", "1", agent="bob").ok()
    assert [row["n"] for row in project("inbox", "--json", agent="bob").objects()] == [4]
