"""``tclog exec`` that is stopped or killed: its command does not outlive the lease."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import Project, alive, folder_site, kill_left, until

from tclog.clock import parse_us

LEASE_S = 2
SOON_S = 60


@pytest.fixture
def folder(tmp_path: Path, seeds: dict[str, Any]) -> Iterator[Project]:
    """Give a project in a folder: no store takes part in what signals do."""
    made = Project(tmp_path, folder_site(tmp_path / "store"), seeds.get("file"))
    seeds.setdefault("file", made.seed())
    yield made
    made.close()


class Command:
    """A shell script for exec that says process ids."""

    def __init__(self, project: Project, name: str) -> None:
        self._said = project.folder / f"{name}.pids"
        self._script = project.folder / f"{name}.sh"

    def path(self, script: str) -> str:
        """Return the script's file; it says its own id first, and others with ``say``."""
        text = f'say() {{ echo "$1" >> {self._said}; }}\nsay $$\n{script}\n'
        self._script.write_text(text)
        return str(self._script)

    def pids(self, count: int = 1) -> list[int]:
        """Wait until so many ids were said."""
        return until(lambda: self.said() if len(self.said()) >= count else None)

    def said(self) -> list[int]:
        return [int(word) for word in self._said.read_text().split()] if self._said.exists() else []

    def close(self) -> None:
        kill_left(self.said())


@pytest.fixture
def command(folder: Project, request: pytest.FixtureRequest) -> Callable[[str], Command]:
    def make(name: str) -> Command:
        made = Command(folder, name)
        request.addfinalizer(made.close)
        return made

    return make


Commands = Callable[[str], Command]


def stat(pid: int) -> list[str]:
    """Return the state of a process (T: stopped), its parent, its group, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def stopped(pid: int) -> bool:
    return stat(pid)[0] == "T"


def parent(pid: int) -> int:
    return int(stat(pid)[1])


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def shown(project: Project, step: str = "build") -> dict[str, Any]:
    (found,) = project.json("step", "show", step)
    return found


def gone_in_time(project: Project, pids: list[int]) -> None:
    """Wait until processes are gone, and see that the lease had not ended by then."""
    ends_us = parse_us(shown(project)["lease_until"])
    until(lambda: not any(alive(pid) for pid in pids), timeout=SOON_S)
    # The store of a folder has this machine's clock. A takeover waits for one more second.
    assert time.time_ns() // 1000 < ends_us + 200_000


# One that says that it was done when it was told to end, and one that does not listen.
TREE = (
    "(trap '' TERM; sleep 600) & say $!\ntrap 'exit 0' TERM\nsay $$\nwhile :; do sleep 0.05; done"
)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_exec_that_cannot_act_has_its_command_ended_before_the_lease(
    folder: Project, command: Commands, number: signal.Signals
) -> None:
    tree = command("tree")
    words = ("exec", "build", "--lease", f"{LEASE_S}s", "--json", "--", "sh", tree.path(TREE))
    process = folder.start(*words, agent="alice")
    pids = tree.pids(3)[:2]
    (watchdog,) = set(children(parent(pids[0]))) - {pids[0]}
    os.kill(parent(pids[0]), number)
    gone_in_time(folder, pids)
    if number == signal.SIGSTOP:
        process.send_signal(signal.SIGCONT)
        done = folder.finish(process)
        assert (done.code, done.error()["code"]) == (7, "lease-not-renewed"), done
    else:
        process.wait()
    # That it ended with 0 does not make the step complete: it was told to end.
    assert shown(folder)["state"] == "claimed"
    until(lambda: not alive(watchdog), timeout=SOON_S)


# exec that is hurt between the start of its command and what it tells the watchdog then.
HURT = """
import os, signal, sys
from tclog.cli import main
from tclog.cli.commands import exec as module
start = module.Child.start
def start_and_be_hurt(*given, **named):
    start(*given, **named)
    os.kill(os.getpid(), signal.{})
module.Child.start = start_and_be_hurt
main()
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_command_is_guarded_from_its_first_moment_on(
    folder: Project, command: Commands, number: signal.Signals
) -> None:
    tree = command("tree")
    words = ("exec", "build", "--lease", f"{LEASE_S}s", "--", "sh", tree.path(TREE))
    process = folder.start(
        "-c", HURT.format(number.name), *words, agent="alice", program=sys.executable
    )
    pids = tree.pids(3)[:2]
    gone_in_time(folder, pids)
    assert shown(folder)["state"] == "claimed"
    process.kill()


# exec that is stopped after it has claimed the step, and before it starts the command.
SLEPT = """
import os, signal
from tclog.cli import main
from tclog.cli.commands import exec as module
class Stopped(module.Watchdog):
    def __init__(self):
        super().__init__()
        os.kill(os.getpid(), signal.SIGSTOP)
module.Watchdog = Stopped
main()
"""


def test_a_command_is_not_started_when_the_lease_has_ended(
    folder: Project, command: Commands
) -> None:
    short = command("short")
    words = ("exec", "build", "--lease", "300ms", "--json", "--", "sh", short.path("exit 0"))
    process = folder.start("-c", SLEPT, *words, agent="alice", program=sys.executable)
    until(lambda: stopped(process.pid))
    time.sleep(0.4)
    process.send_signal(signal.SIGCONT)
    done = folder.finish(process)
    assert (done.code, done.error()["code"]) == (7, "lease-not-renewed"), done
    assert short.said() == [], "it ran beside the next holder"


def test_a_watchdog_that_dies_is_replaced(folder: Project, command: Commands) -> None:
    tree = command("tree")
    words = ("exec", "build", "--lease", f"{LEASE_S}s", "--", "sh", tree.path(TREE))
    folder.start(*words, agent="alice")
    pids = tree.pids(3)[:2]
    guard = parent(pids[0])
    (first,) = set(children(guard)) - {pids[0]}
    os.kill(first, signal.SIGKILL)
    until(lambda: set(children(guard)) - {pids[0], first}, timeout=SOON_S)
    time.sleep(0.3)
    os.kill(guard, signal.SIGKILL)
    gone_in_time(folder, pids)


def test_the_watchdog_goes_when_the_command_has_gone_by_itself(
    folder: Project, command: Commands
) -> None:
    short = command("short")
    go = folder.folder / "go"
    script = short.path(f"while [ ! -e {go} ]; do sleep 0.05; done")
    process = folder.start("exec", "build", "--lease", "1h", "--", "sh", script, agent="alice")
    (pid,) = short.pids()
    (watchdog,) = set(children(parent(pid))) - {pid}
    process.kill()
    process.wait()
    time.sleep(0.3)
    assert alive(pid)
    assert alive(watchdog)
    go.touch()
    until(lambda: not alive(pid) and not alive(watchdog), timeout=10)


def test_what_ignored_a_signal_before_still_does(folder: Project, command: Commands) -> None:
    """As under nohup, and in the background of a script."""
    deaf = command("deaf")
    words = ("exec", "build", "--", "sh", deaf.path("sleep 600"))
    script = "trap '' HUP INT; exec tclog \"$@\""
    process = folder.start("-c", script, "sh", *words, agent="alice", program="/bin/sh")
    (pid,) = deaf.pids()
    for number in (signal.SIGHUP, signal.SIGINT):
        process.send_signal(number)
        os.kill(pid, number)
    time.sleep(0.2)
    assert process.poll() is None
    assert alive(pid)
    process.send_signal(signal.SIGTERM)
    assert folder.finish(process).code == 143


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, project: Project) -> None:
        self._ours, theirs = pty.openpty()
        self.said = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "--noprofile", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=project.work,
            env={**project.environ("alice"), "PS1": "$ ", "TERM": "dumb"},
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def shows(self, word: str) -> None:
        """Wait until something was shown."""

        def read() -> bool:
            if select.select([self._ours], [], [], 0.05)[0]:
                self.said += os.read(self._ours, 65536)
            return word.encode() in self.said

        until(read)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(folder: Project) -> Iterator[Terminal]:
    made = Terminal(folder)
    yield made
    made.close()


@pytest.mark.parametrize("source", ["< /dev/null", "", "cat |"])
def test_ctrl_z_stops_the_command_too_and_fg_renews_before_it_goes_on(
    folder: Project, command: Commands, terminal: Terminal, source: str
) -> None:
    """Whether or not the command reads from the terminal, and so shares exec's group."""
    work = command("work")
    go = folder.folder / "go"
    os.mkfifo(go)
    # It starts no other process: a shell whose child is stopped before it runs waits for that one.
    script = work.path(f"read _ < {go}; echo at last")
    line = f"tclog exec build --lease 1h -- sh {script}"
    terminal.type(f"{source} {line}\n" if source.endswith("|") else f"{line} {source}\n")
    (pid,) = work.pids()
    guard = parent(pid)
    assert (stat(pid)[2] == stat(guard)[2]) == (source == "")
    terminal.type("\x1a")
    until(lambda: stopped(pid) and stopped(guard))
    terminal.shows("Stopped")
    version = shown(folder)["version"]
    terminal.type("fg\n")
    until(lambda: not stopped(pid))
    go.write_text("go\n")
    terminal.shows("at last")
    terminal.shows("step build is complete")
    if source != "":  # else the shell itself wakes the command
        assert shown(folder)["version"] == version + 2, "it did not renew first"


def test_a_command_reads_the_terminal_also_after_it_was_stopped(
    folder: Project, command: Commands, terminal: Terminal
) -> None:
    reader = command("reader")
    script = reader.path("read a; echo got-$a; read b; echo got-$b")
    terminal.type(f"tclog exec build -- sh {script} &\n")
    (pid,) = reader.pids()
    guard = parent(pid)
    until(lambda: stopped(pid) and stopped(guard))  # in the background nobody reads a terminal
    terminal.type("fg\n")
    until(lambda: not stopped(pid) and not stopped(guard))
    terminal.type("one\n")
    terminal.shows("got-one")
    terminal.type("\x1a")
    until(lambda: stopped(pid) and stopped(guard))
    terminal.said = b""
    terminal.shows("Stopped")
    terminal.type("fg\n")
    until(lambda: not stopped(pid))
    terminal.type("two\n")
    terminal.shows("got-two")
    terminal.shows("step build is complete")
