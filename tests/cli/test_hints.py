"""An agent that reads nothing but errors runs their hints as they stand."""

from __future__ import annotations

import shlex

import pytest

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
    assert done.error(4)["message"].endswith("so renew only what you claimed")
    assert project(*hint(done, 4)).ok().out.startswith("Renewed step x")
    # Of another session it is not said.
    told = project("claim", "x", "--json", env={"TCLOG_SESSION": "s"}).error(4)["message"]
    assert "is claimed by alice in session ~" in told


@pytest.mark.parametrize("command", ["complete", "release", "renew"])
def test_no_hint_ends_the_work_of_another(project: User, command: str) -> None:
    project("claim", "x").ok()
    words = hint(project(command, "x", "--json", agent="bob"), 4)
    project(*words, agent="bob").ok()
    assert project("step", "show", "x", "--json").object()["agent"] == "alice"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("claims", "claim"), ("statsu", "status"), ("comp", "complete"), ("fsk", "fsck")]
    + [(word, "--help") for word in ("ready", "history", "lock", "frobnicate")],
)
def test_only_a_near_word_is_taken_for_a_command(user: User, word: str, meant: str) -> None:
    assert hint(user(word, "--json"), 2) == (meant,)


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
