"""An agent that reads nothing but errors runs their hints as they stand."""

from __future__ import annotations

import json
import shlex

import pytest

from tclog.cli.failures import hint_of
from tclog.errors import TclogError

from .conftest import Done, User


def hint(done: Done, code: int) -> tuple[str, ...]:
    """Return the words of an error's hint, without ``tclog``."""
    told = done.error(code)
    words = shlex.split(told["hint"])
    assert words[0] == "tclog", told
    return tuple(words[1:])


def unnamed(user: User) -> User:
    """Let nothing but options say who acts."""
    user.environ.pop("TCLOG_AGENT", None)
    return user


def test_a_hint_acts_as_the_agent_that_was_refused(project: User) -> None:
    project("send", "bob", "hi").ok()
    user = unnamed(project)
    words = hint(user("ack", "9", "--as", "bob", "--json"), 3)
    assert words == ("--as", "bob", "inbox", "--all")
    assert "hi" in user(*words).ok().out
    user("claim", "x", "--as", "alice").ok()
    for given in (("--as", "b ob", "claim", "x"), ("claim", "x", "--as", "b ob")):
        words = hint(user(*given, "--json"), 4)
        assert words == ("--as", "b ob", "claim", "x", "--wait")
    assert user(*words, "--timeout", "0s").code == 5
    # One that only reads says nothing of an agent.
    assert hint(user("renew", "x", "--as", "bob", "--json"), 4) == ("step", "show", "x")


def test_a_hint_works_where_the_command_did(project: User) -> None:
    project("claim", "x").ok()
    elsewhere = project.work.parent / "elsewhere"
    elsewhere.mkdir()
    there = ("-C", str(project.work))
    words = hint(project(*there, "renew", "x", "--as", "bob", "--json", cwd=elsewhere), 4)
    assert words == (*there, "step", "show", "x")
    project(*words, cwd=elsewhere).ok()
    there = ("--store", str(project.store.parent), "--project", "work")
    words = hint(project(*there, "claim", "x", "--as", "bob", "--json", cwd=elsewhere), 4)
    assert words == (*there, "--as", "bob", "claim", "x", "--wait")


def test_a_second_claim_from_one_terminal_is_told_whose_it_is(project: User) -> None:
    project("claim", "x").ok()
    done = project("claim", "x", "--json")
    assert "is claimed by alice in this terminal's session ~" in done.error(4)["message"]
    assert done.error(4)["message"].endswith("only the process that claimed it may renew it")
    assert project(*hint(done, 4)).ok().out.startswith("Renewed step x")
    # Of another session it is not said.
    told = project("claim", "x", "--json", env={"TCLOG_SESSION": "s"}).error(4)["message"]
    assert "is claimed by alice in session ~" in told


# What was done as alice, and what bob is refused; {id} is the newest event's id.
OF_OTHERS: list[tuple[list[str], list[str]]] = [
    (["claim x"], ["renew", "x"]),
    (["claim x"], ["complete", "x"]),
    (["claim x"], ["complete", "x", "--failed"]),
    (["claim x"], ["release", "x"]),
    (["claim x"], ["reopen", "x"]),
    (["claim x"], ["complete", "x", "--force"]),
    (["claim x"], ["release", "x", "--force"]),
    (["claim x"], ["claim", "x", "--steal"]),
    (["claim x"], ["claim", "x", "--fence", "1"]),
    (["claim x"], ["exec", "x", "--", "true"]),
    (["claim x"], ["revert", "{id}"]),
    (["claim x", "renew x"], ["revert", "{id}"]),
    (["step add x"], ["revert", "{id}"]),
    (["claim x", "complete x"], ["claim", "x"]),
    (["claim x", "complete x"], ["complete", "x", "--failed"]),
    (["claim x", "complete x --blocked"], ["claim", "x"]),
    (["claim x", "complete x --blocked"], ["complete", "x"]),
    (["claim x", "complete x --failed"], ["claim", "x"]),
    (["claim x", "complete x --needs-review"], ["claim", "x"]),
    (["tag t"], ["tag", "t", "1m"]),
    (["memory set k v"], ["memory", "set", "k", "w", "--if-version", "9"]),
    (["memory set k v"], ["memory", "set", "k", "w", "--if-absent"]),
    (["claim x --lease 100ms", "claim x --steal --reason r --as carol"], ["renew", "x"]),
]


@pytest.mark.parametrize(("done", "words"), OF_OTHERS, ids=",".join)
@pytest.mark.parametrize("agent", ["bob", "alice"])
def test_no_hint_ends_the_work_of_another(
    project: User, done: list[str], words: list[str], agent: str
) -> None:
    """Another agent's, or that of another strong session of the same name."""
    first = {"TCLOG_SESSION": "first"}
    for command in done:
        project(*command.split(), env=first).ok()
    newest = project("log", "--json", "-n", "1").object()["id"]
    words = [word.format(id=newest) for word in words]
    before = seen(project)
    told = project("--json", *words, agent=agent, env={"TCLOG_SESSION": "second"})
    if not told.code:
        return  # it is the agent's own, whatever session did it
    try_it = shlex.split(json.loads(told.err.splitlines()[-1])["hint"])
    assert try_it[0] == "tclog"
    more = ["--timeout", "0s"] if "--wait" in try_it else []
    project(*try_it[1:], *more, agent=agent, env={"TCLOG_SESSION": "second"})
    assert seen(project) == before


def seen(user: User) -> list[list[dict[str, object]]]:
    """Read all that the hints are about. The end of a lease is known more exactly later."""
    looks = [("step", "list"), ("memory", "list", "--values"), ("tag",)]
    rows = [user(*look, "--json").objects() for look in looks]
    return [[{**row, "lease_until": None} for row in found] for found in rows]


@pytest.mark.parametrize("command", ["doctor", "where", "fsck", "init"])
def test_no_command_hints_at_itself(user: User, command: str) -> None:
    (user.work / ".tclog").mkdir()
    (user.work / ".tclog" / "config.toml").write_text('store = "/proc/nowhere"\nproject = "p"\n')
    told = user(command, "--json")
    if told.code:
        assert json.loads(told.err.splitlines()[-1])["hint"] != f"tclog {command}"
    assert hint_of(TclogError("x"), f"tclog {command}") != f"tclog {command}"
    assert hint_of(TclogError("x", hint=f"tclog {command}"), f"tclog {command}").count(command) < 2


def test_no_hint_begins_a_project_in_the_place_of_one_that_is_gone(project: User) -> None:
    project.store.rename(project.store.parent / "elsewhere")
    done = project("memory", "set", "k", "v", "--json")
    assert "tclog init would begin a new one" in done.error(3)["message"]
    project(*hint(done, 3)).ok()
    assert not project.store.exists()


def test_everybody_is_no_agent(project: User) -> None:
    project("claim", "x").ok()
    for words in (("send", "@all,bob", "hi"), ("complete", "x", "--to", "@all")):
        told = project(*words, "--json").error(2)
        assert told["message"].startswith("@all means everybody: it stands alone")


def test_a_word_that_is_no_duration_is_answered_with_the_help_that_says_so(project: User) -> None:
    assert hint(project("claim", "x", "--lease", "soon", "--json"), 2) == ("claim", "--help")


def test_exec_of_a_claim_by_name_is_not_told_to_renew(project: User) -> None:
    project("claim", "x").ok()
    done = project.process("exec", "x", "--json", "--", "true")
    assert "is claimed by alice in this terminal's session ~" in done.error(4)["message"]
    words = hint(done, 4)  # to renew it would lead back here
    assert words == ("step", "show", "x")
    project("release", "x").ok()
    project.process("exec", "x", "--", "true").ok()
