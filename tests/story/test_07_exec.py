"""``tclog exec``: a step is held exactly as long as its command runs, and no command without it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.project import Project, Result, alive, kill_left, side_by_side, until

# Long enough for a renewal on a busy machine, short enough for a test.
LEASE = ("--lease", "8s")
LEASE_S = 8
# What should take no time, on a machine that has none; the commands would run for ten minutes.
SOON_S = 60


class Shell:
    """A command for exec: a shell script that says its process id before anything else."""

    def __init__(self, project: Project, name: str) -> None:
        self._said = project.folder / f"{name}.pids"

    def words(self, script: str) -> list[str]:
        """Return the command; the script says the ids of what it starts with ``say``."""
        return ["sh", "-c", f'say() {{ echo "$1" >> {self._said}; }}; say $$; {script}']

    def pids(self, count: int = 1) -> list[int]:
        """Wait until so many process ids were said."""
        return until(lambda: self._read() if len(self._read()) >= count else None)

    def _read(self) -> list[int]:
        return [int(word) for word in self._said.read_text().split()] if self._said.exists() else []

    def close(self) -> None:
        """Kill what a killed exec has left behind."""
        kill_left(self._read())


@pytest.fixture
def shell(project: Project, request: pytest.FixtureRequest) -> Callable[[str], Shell]:
    """Make shells whose processes do not outlive the test."""

    def make(name: str) -> Shell:
        made = Shell(project, name)
        request.addfinalizer(made.close)
        return made

    return make


Shells = Callable[[str], Shell]


def ended(project: Project, process: subprocess.Popen[bytes], timeout: float = 180) -> Result:
    """Return how an exec ended; the time is there against hanging only."""
    return project.finish(process, timeout)


@pytest.mark.slow
def test_it_renews_while_the_command_outlives_its_lease(project: Project, shell: Shells) -> None:
    words = shell("build").words(f"sleep {LEASE_S * 2.2}")
    process = project.start("exec", "build", *LEASE, "--json", "--", *words, agent="alice")
    other = project.worker("bob")
    refused = 0
    until(lambda: other.run("step", "show", "build").code == 0)
    while process.poll() is None:
        claim = other.run("claim", "build", "--json")
        if claim.code == 0 or claim.error()["code"] == "step-complete":
            break
        assert claim.error()["holder"] == "alice"
        refused += 1
        time.sleep(0.3)
    done = ended(project, process)
    assert done.code == 0, done
    assert done.one()["state"] == "complete"
    assert done.one()["agent"] == "alice"
    assert refused > 5
    (shown,) = project.json("step", "show", "build")
    assert (shown["state"], shown["fence"]) == ("complete", 1)
    assert shown["version"] >= 2 + 4, "it renewed at least four times"
    assert shown["handoff"]["exit_status"] == 0


def test_the_command_knows_its_step_token_and_agent(project: Project) -> None:
    project.run("step", "add", "build me", agent="maker").ok()
    script = 'echo "$TCLOG_STEP|$TCLOG_FENCE|$TCLOG_AGENT"'
    done = project.run("exec", "build me", "--as", "alice", "--", "sh", "-c", script)
    assert (done.code, done.out) == (0, "build me|2|alice\n")


def test_its_words_and_input_are_the_commands_own(project: Project) -> None:
    done = project.run(
        *("exec", "build", "--", "python3", "-c", "import sys; print(sys.argv[1:], input())"),
        *("--json", "-n", "two words", ""),
        agent="alice",
        input="typed\n",
    )
    assert done.code == 0, done
    assert done.out == "['--json', '-n', 'two words', ''] typed\n"


def test_a_command_that_fails_fails_the_step_and_passes_its_status_on(project: Project) -> None:
    for status, step in ((1, "lint"), (255, "test"), (3, "build")):
        done = project.run("exec", step, "--", "sh", "-c", f"exit {status}", agent="alice")
        assert done.code == status
        (shown,) = project.json("step", "show", step)
        assert (shown["state"], shown["agent"]) == ("failed", "alice")
        assert shown["handoff"]["exit_status"] == status
    assert project.run("claim", "build", agent="bob").code == 4
    project.run("reopen", "build", agent="bob").ok()
    assert project.run("exec", "build", "--", "true", agent="bob").code == 0


def test_a_command_that_does_not_exist_leaves_the_step_free(project: Project) -> None:
    done = project.run("exec", "build", "--", "no-such-command", "--json", agent="alice")
    assert done.code == 3
    assert project.json("step", "show", "build")[0]["state"] == "ready"
    project.run("claim", "build", agent="bob").ok()


def test_signals_reach_the_command_and_its_status_comes_back(
    project: Project, shell: Shells
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        step = number.name
        tidy = shell(step)
        words = tidy.words(f"trap 'exit 7' {step[3:]}; say $$; while :; do sleep 0.1; done")
        process = project.start("exec", step, "--", *words, agent="alice")
        pid = tidy.pids(2)[0]  # the second time it is said, the trap is set
        process.send_signal(number)
        assert ended(project, process).code == 7
        assert not alive(pid)
        (shown,) = project.json("step", "show", step)
        assert (shown["state"], shown["handoff"]["exit_status"]) == ("failed", 7)


def test_a_command_that_a_signal_ends_gives_128_and_its_number(
    project: Project, shell: Shells
) -> None:
    plain = shell("plain")
    words = plain.words("exec sleep 600")
    process = project.start("exec", "build", "--", *words, agent="alice")
    plain.pids()
    process.send_signal(signal.SIGTERM)
    assert ended(project, process).code == 128 + signal.SIGTERM
    assert project.json("step", "show", "build")[0]["handoff"]["exit_status"] == 143


@pytest.mark.slow
def test_a_lost_claim_kills_the_command_and_what_it_started(
    project: Project, shell: Shells
) -> None:
    """A grandchild that ignores SIGTERM is no exception, nor one whose parent went first."""
    tree = shell("tree")
    stubborn = "(trap '' TERM; sleep 600) & say $!"
    words = tree.words(f"{stubborn}; sleep 600 & say $!; wait")
    process = project.start("exec", "build", *LEASE, "--json", "--", *words, agent="alice")
    pids = tree.pids(3)
    assert all(alive(pid) for pid in pids)
    forced = project.run(
        "complete", "build", "--force", "--reason", "alice is gone", "--json", agent="bob"
    )
    assert forced.one()["agent"] == "bob"
    begun = time.monotonic()
    done = ended(project, process)
    assert time.monotonic() - begun < LEASE_S + SOON_S
    assert (done.code, done.error()["code"]) == (4, "claim-lost"), done
    assert "build" in done.error()["message"]
    until(lambda: not any(alive(pid) for pid in pids), timeout=SOON_S)
    (shown,) = project.json("step", "show", "build")
    assert (shown["state"], shown["agent"]) == ("complete", "bob")


@pytest.mark.slow
def test_a_step_that_went_to_somebody_else_kills_the_command(
    project: Project, shell: Shells
) -> None:
    """Ended by force, opened again, and claimed anew: the old command must not go on."""
    old = shell("old")
    words = old.words("sleep 600 & say $!; wait")
    process = project.start("exec", "build", *LEASE, "--json", "--", *words, agent="alice")
    pids = old.pids(2)
    # No renewal may tell exec that the claim is gone before somebody else has it.
    process.send_signal(signal.SIGSTOP)
    force = ("complete", "build", "--force", "--failed", "--reason", "stuck")
    project.run(*force, agent="bob").ok()
    project.run("reopen", "build", agent="bob").ok()
    (held,) = project.json("claim", "build", agent="bob")
    process.send_signal(signal.SIGCONT)
    done = ended(project, process)
    assert (done.code, done.error()["code"]) == (4, "claim-lost"), done
    assert done.error()["holder"] == "bob"
    until(lambda: not any(alive(pid) for pid in pids), timeout=SOON_S)
    (shown,) = project.json("step", "show", "build")
    assert (shown["state"], shown["fence"]) == ("claimed", held["fence"])


def test_a_step_that_was_ended_and_opened_by_another_kills_the_command(
    project: Project, shell: Shells
) -> None:
    """Opened again it looks like one that the command gave back; but it is for anybody to claim."""
    old = shell("old")
    words = old.words("sleep 600 & say $!; wait")
    process = project.start(
        "exec", "build", "--lease", "20s", "--json", "--", *words, agent="alice"
    )
    pids = old.pids(2)
    # Between the two no renewal may tell exec that the claim is gone.
    process.send_signal(signal.SIGSTOP)
    force = ("complete", "build", "--force", "--failed", "--reason", "stuck")
    project.run(*force, agent="bob").ok()
    project.run("reopen", "build", agent="bob").ok()
    process.send_signal(signal.SIGCONT)
    done = ended(project, process)
    assert (done.code, done.error()["code"]) == (4, "claim-lost"), done
    until(lambda: not any(alive(pid) for pid in pids), timeout=SOON_S)
    (shown,) = project.json("step", "show", "build")
    assert (shown["state"], shown["fence"]) == ("ready", None)


def test_a_command_with_a_stale_token_cannot_complete_the_step(
    project: Project, shell: Shells
) -> None:
    """The same agent holds the step again, elsewhere: the name alone would let it through."""
    go = project.folder / "go"
    status = project.folder / "status"
    script = (
        f"while [ ! -e {go} ]; do sleep 0.05; done;"
        f' tclog complete "$TCLOG_STEP" 2>&1; echo $? > {status}'
    )
    old = shell("old")
    process = project.start("exec", "build", "--", *old.words(script), agent="alice")
    old.pids()
    project.run("release", "build", agent="alice").ok()
    (held,) = project.json("claim", "build", agent="alice")
    assert held["fence"] == 3
    go.touch()
    done = ended(project, process)
    assert status.read_text() == "4\n"
    assert "the fencing token 1 of step build is stale" in done.out
    assert done.code == 4, "nor may exec itself complete it"
    (shown,) = project.json("step", "show", "build")
    assert (shown["state"], shown["fence"], shown["version"]) == ("claimed", 3, 3)


def test_a_command_that_ends_its_step_itself_has_the_last_word(project: Project) -> None:
    ends = [("--needs-review", "needs_review"), ("--blocked", "blocked"), ("", "complete")]
    for words, state in ends:
        script = f'tclog complete "$TCLOG_STEP" {words} --note "see the diff"'
        done = project.run("exec", state, "--", "sh", "-c", script, agent="alice")
        assert done.code == 0, done
        (shown,) = project.json("step", "show", state)
        assert (shown["state"], shown["version"]) == (state, 2)
        assert shown["handoff"]["note"] == "see the diff"


@pytest.mark.slow
def test_a_command_may_go_on_after_it_has_ended_its_step(project: Project) -> None:
    script = f'tclog complete "$TCLOG_STEP" && sleep {LEASE_S / 2} && echo tidied && exit 5'
    done = project.run("exec", "build", *LEASE, "--", "sh", "-c", script, agent="alice")
    assert (done.code, done.out.splitlines()[-1]) == (5, "tidied"), done
    assert project.json("step", "show", "build")[0]["state"] == "complete"


def stands(project: Project) -> tuple[object, ...]:
    (shown,) = project.json("step", "show", "build")
    return shown["agent"], shown["session"], shown["fence"], shown["version"]


@pytest.mark.slow
def test_two_execs_of_one_agent_do_not_both_run(project: Project, shell: Shells) -> None:
    """Nor does the refused one change the lease that the other counts on."""
    first = shell("first")
    marker = project.folder / "second-ran"
    words = first.words("sleep 600")
    process = project.start("exec", "build", "--lease", "10m", "--", *words, agent="alice")
    first.pids()
    before = stands(project)
    second = project.run(
        "exec", "build", "--lease", "1s", "--json", "--", "touch", str(marker), agent="alice"
    )
    assert (second.code, second.error()["code"]) == (4, "step-held"), second
    assert not marker.exists()
    assert stands(project) == before, "the refused exec has touched the claim"
    time.sleep(2.5)
    assert project.run("claim", "build", agent="bob").code == 4
    process.send_signal(signal.SIGTERM)
    assert ended(project, process).code == 143


@pytest.mark.slow
def test_of_8_execs_of_one_agent_at_once_one_runs(project: Project) -> None:
    ran = project.folder / "ran"
    script = f"echo ran >> {ran}; sleep 3"
    started = [
        project.start("exec", "build", "--json", "--", "sh", "-c", script, agent="alice")
        for _ in range(8)
    ]
    results = side_by_side(*[lambda p=process: project.finish(p) for process in started])
    assert sorted(result.code for result in results) == [0] + [4] * 7, results
    assert Path(ran).read_text() == "ran\n"
    (shown,) = project.json("step", "show", "build")
    assert (shown["state"], shown["fence"], shown["version"]) == ("complete", 1, 2)
