"""Waiting: it ends when there is something to go on with, or at once when there never will be."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import pytest
from support.project import Project, Result, together

# Waiters look every 2 s at most, with jitter up to 3 s.
# The rest is for a busy machine.
WOKEN_S = 20.0


def waiting(project: Project, *words: str, agent: str = "waiter") -> subprocess.Popen[bytes]:
    """Start a command that waits, and give it time to be waiting."""
    process = project.start(*words, "--json", agent=agent)
    time.sleep(0.7)
    assert process.poll() is None, project.finish(process)
    return process


def woken(project: Project, process: subprocess.Popen[bytes]) -> Result:
    """Return how a wait ended, which must be soon."""
    begun = time.monotonic()
    result = project.finish(process, timeout=WOKEN_S + 10)
    assert time.monotonic() - begun < WOKEN_S, "it was woken late"
    return result


def complete(project: Project, *steps: str) -> None:
    """Claim and complete steps."""
    for step in steps:
        project.run("claim", step, agent="doer").ok()
        project.run("complete", step, agent="doer").ok()


def ids(result: Result) -> list[str]:
    """Return the steps that a wait has returned."""
    assert result.code == 0, result
    return [row["id"] for row in result.json()]


@pytest.mark.slow
def test_wait_for_all_any_and_some(project: Project) -> None:
    for_all = waiting(project, "wait-for", "a", "b", "c")
    for_two = waiting(project, "wait-for", "a", "b", "c", "--count", "2")
    for_any = waiting(project, "wait-for", "a", "b", "c", "--any")
    complete(project, "b")
    assert ids(woken(project, for_any)) == ["b"]
    assert for_two.poll() is None
    complete(project, "c")
    assert ids(woken(project, for_two)) == ["b", "c"]
    assert for_all.poll() is None
    complete(project, "a")
    assert ids(woken(project, for_all)) == ["a", "b", "c"]
    assert ids(project.run("wait-for", "a", "b", "c", "--json")) == ["a", "b", "c"]


def test_a_wait_that_is_not_met_in_time_ends_with_5(project: Project) -> None:
    complete(project, "a")
    project.run("claim", "b", agent="bob").ok()
    begun = time.monotonic()
    told = project.run("wait-for", "a", "b", "c", "--timeout", "1s", "--json")
    assert 0.9 < time.monotonic() - begun < 1 + WOKEN_S
    error = told.error()
    assert (told.code, error["code"]) == (5, "timeout")
    assert error["steps"] == {"a": "complete", "b": "claimed", "c": "pending"}
    assert "b (claimed by bob)" in error["message"]
    assert "a" not in error["message"].partition(": ")[2].split(", ")
    assert project.run("claim", "b", "--wait", "--timeout", "1s", agent="carol").code == 5
    assert project.run("claim", "--next", "--wait", "--timeout", "1s", agent="carol").code in (3, 5)
    assert project.run("inbox", "--wait", "--timeout", "1s", agent="carol").code == 5


@pytest.mark.slow
def test_a_wait_that_cannot_end_ends_at_once_and_says_why(project: Project) -> None:
    states = ["blocked", "failed"]
    for state in states:
        project.run("claim", state, agent="bob").ok()
    processes = [waiting(project, "wait-for", "a", state, "--timeout", "10m") for state in states]
    for state, process in zip(states, processes, strict=True):
        outcome = f"--{state.replace('_', '-')}"
        project.run("complete", state, outcome, "--note", "no licence", agent="bob").ok()
        for told in (woken(project, process), project.run("wait-for", "a", state, "--json")):
            error = told.error()
            assert (told.code, error["code"]) == (4, "wait-blocked")
            assert f"step {state} is {state}, set by bob" in error["message"]
            assert error["hint"] == f"tclog step show {state}"
            assert error["steps"] == {"a": "pending", state: state}
    # A review is a stage: the wait lasts until it is done.
    reviewed = waiting(project, "wait-for", "review", "--timeout", "10m")
    project.run("claim", "review", agent="bob").ok()
    project.run("complete", "review", "--needs-review", agent="bob").ok()
    assert project.run("wait-for", "review", "--timeout", "100ms").code == 5
    project.run("complete", "review", agent="carol").ok()
    assert ids(woken(project, reviewed)) == ["review"]
    # Where one is enough, the other may still come.
    either = waiting(project, "wait-for", "a", "blocked", "--any")
    complete(project, "a")
    assert ids(woken(project, either)) == ["a"]


@pytest.mark.slow
def test_claim_wait_has_the_step_soon_after_it_is_free(project: Project) -> None:
    project.run("claim", "build", "--lease", "10m", agent="alice").ok()
    process = waiting(project, "claim", "build", "--wait", agent="bob")
    project.run("release", "build", agent="alice").ok()
    won = woken(project, process).one()
    assert (won["agent"], won["fence"]) == ("bob", 3)

    # A step that waits for others is had when they are done.
    project.run("step", "add", "ship", "--after", "build", agent="alice").ok()
    process = waiting(project, "claim", "ship", "--wait", agent="carol")
    after = waiting(project, "claim", "--next", "--wait", agent="dave")
    project.run("step", "add", "extra", agent="alice").ok()
    assert woken(project, after).one()["id"] == "extra"
    project.run("complete", "build", agent="bob").ok()
    assert woken(project, process).one()["agent"] == "carol"

    # And one that can never be had is not waited for.
    never = waiting(project, "claim", "ship", "--wait", agent="erin")
    project.run("complete", "ship", agent="carol").ok()
    told = woken(project, never)
    assert (told.code, told.error()["code"]) == (4, "step-complete")


@pytest.mark.slow
def test_claim_wait_has_the_step_soon_after_its_lease(project: Project) -> None:
    project.run("claim", "build", "--lease", "12s", agent="alice").ok()
    begun = time.monotonic()
    process = waiting(project, "claim", "build", "--wait", agent="bob")
    # Who waits for any step has the one whose lease ends first.
    project.run("claim", "lint", "--lease", "1s", agent="alice").ok()
    next_ = project.run("claim", "--next", "--wait", "--timeout", "1m", "--json", agent="carol")
    assert (next_.one()["id"], next_.one()["fence"]) == ("lint", 2)
    assert time.monotonic() - begun < 12
    won = project.finish(process).one()
    # One second more for stores that stamp in whole seconds, and what lies between two looks.
    assert 12 < time.monotonic() - begun < 12 + 1 + 1 + WOKEN_S
    assert (won["agent"], won["fence"]) == ("bob", 2)


def test_a_wait_can_be_interrupted(project: Project) -> None:
    process = waiting(project, "wait-for", "a", "--timeout", "10m")
    process.send_signal(signal.SIGINT)
    told = woken(project, process)
    assert (told.code, told.error()["code"]) == (130, "interrupted")


@pytest.mark.slow
def test_inbox_wait_wakes_up(project: Project) -> None:
    process = waiting(project, "inbox", "--wait", "--ack", agent="bob")
    project.run("send", "bob", "wake up", agent="alice").ok()
    (message,) = woken(project, process).json()
    assert (message["text"], message["n"]) == ("wake up", 1)
    process = waiting(project, "inbox", "--wait", "--ack", agent="bob")
    project.run("send", "@all", "everybody", agent="alice").ok()
    (message,) = woken(project, process).json()
    assert (message["text"], message["n"]) == ("everybody", 2)
    # One's own broadcast is nothing to wake up for.
    process = waiting(project, "inbox", "--wait", "--timeout", "3s", agent="bob")
    project.run("send", "@all", "from bob", agent="bob").ok()
    assert project.finish(process).code == 5


PARTIES = [f"agent-{n}" for n in range(5)]


@pytest.mark.slow
def test_five_pass_a_barrier_together_and_use_it_again(project: Project) -> None:
    crew = project.crew(PARTIES)
    words = ("barrier", "release", "--parties", "5", "--json")
    for nth in range(2):
        rows = together(crew, [[words]] * 5, project.folder / f"gate-{nth}")
        check_passed([row[0] for row in rows], generation=nth + 1)
    # Several generations in a row, each agent as fast as it can.
    rows = together(crew, [[words] * 3] * 5, project.folder / "gate")
    for nth in range(3):
        check_passed([row[nth] for row in rows], generation=nth + 3)
    early = max(row[0].begun for row in rows)
    assert all(row[0].ended > early for row in rows), "somebody went on before all had come"


def check_passed(results: Sequence[Result], generation: int) -> None:
    """Check that all parties passed in the same generation."""
    passed: list[dict[str, Any]] = [result.one() for result in results]
    assert {row["generation"] for row in passed} == {generation}
    assert all(row["tripped"] for row in passed)


@pytest.mark.slow
def test_who_gives_up_at_a_barrier_is_not_counted(project: Project) -> None:
    words = ("barrier", "release", "--parties", "3")
    gone = project.run(*words, "--timeout", "1s", "--json", agent="alice")
    assert (gone.code, gone.error()["code"]) == (5, "timeout")
    assert gone.error()["arrived"] == ["alice"]
    bob = waiting(project, *words, agent="bob")
    carol = waiting(project, *words, agent="carol")
    time.sleep(3)
    assert bob.poll() is None, "alice was counted although she is gone"
    assert carol.poll() is None
    refused = project.run("barrier", "release", "--parties", "2", "--json", agent="erin")
    assert (refused.code, refused.error()["code"]) == (4, "parties-mismatch")
    dave = project.start(*words, "--json", agent="dave")
    check_passed([woken(project, process) for process in (dave, bob, carol)], generation=1)
    assert project.run(*words, "--timeout", "0.5s", agent="alice").code == 5


def test_who_was_withdrawn_by_its_own_name_does_not_go_on(project: Project) -> None:
    words = ("barrier", "release", "--parties", "2", "--json")
    first = project.start(*words, "--timeout", "2s", agent="alice")
    second = waiting(project, *words, agent="alice")
    assert project.finish(first).error()["code"] == "timeout"
    gone = woken(project, second)
    assert (gone.code, gone.error()["code"]) == (5, "withdrawn")
    bob = waiting(project, *words, agent="bob")
    carol = project.start(*words, agent="carol")
    check_passed([woken(project, process) for process in (bob, carol)], generation=1)
