"""Every signal that ends a command withdraws what it has begun, or goes on to its own command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.project import Project, alive, folder_site, kill_left, until

# All that end a process which does not catch them, and are not faults of its own.
ENDING = [
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGTERM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGIO,
    signal.SIGRTMIN, signal.SIGRTMAX,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, seeds: dict[str, Any]) -> Iterator[Project]:
    """Give a project in a folder: no store takes part in what signals do."""
    made = Project(tmp_path, folder_site(tmp_path / "store"), seeds.get("file"))
    seeds.setdefault("file", made.seed())
    yield made
    made.close()


def catches(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether a process has a handler for a signal: it has loaded, and begun."""
    assert process.poll() is None, process
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


class Running(NamedTuple):
    """A command that was started, for one signal and as one agent."""

    project: Project
    process: subprocess.Popen[bytes]
    number: int
    agent: str

    @property
    def pid_file(self) -> Path:
        return self.project.work / f"pid-{self.agent}"

    def child(self) -> int:
        """Return the process id that the command's own command has said."""
        return until(lambda: int((self.pid_file.exists() and self.pid_file.read_text()) or 0))


Runnings = Sequence[Running]


def arrived(project: Project, name: str) -> set[str]:
    """Return who is counted at a barrier, by a short visit."""
    words = ("barrier", name, "--parties", "99", "--timeout", "1ms", "--json")
    return set(project.run(*words, agent="visitor").error()["arrived"])


def waiting_at(name: str) -> Callable[[Project, Runnings], None]:
    def wait(project: Project, all_running: Runnings) -> None:
        until(lambda: {one.agent for one in all_running} <= arrived(project, name), pause=0.2)

    return wait


def withdrawn_from(name: str) -> Callable[[Project, Runnings], None]:
    def check(project: Project, _: Runnings) -> None:
        assert arrived(project, name) == {"visitor"}

    return check


def begun(_: Project, all_running: Runnings) -> None:
    for one in all_running:
        one.child()


def all_are_gone(_: Project, all_running: Runnings) -> None:
    for one in all_running:
        until(lambda one=one: not alive(one.child()))


def all_have_failed(project: Project, all_running: Runnings) -> None:
    all_are_gone(project, all_running)
    states = {step["id"]: step["state"] for step in project.json("step", "list")}
    assert states == {"held": "claimed", **{one.agent: "failed" for one in all_running}}


def nothing_is_held(project: Project, _: Runnings) -> None:
    (step,) = project.json("step", "list")
    assert step["agent"] == "holder"


SCRIPT = "echo $$ > pid-$TCLOG_AGENT; sleep 600"


# Of these there are enough where a command has nothing to withdraw.
FEW = [signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM]


class Case(NamedTuple):
    """A command; ``{me}`` is the agent's name."""

    words: str
    ready: Callable[[Project, Runnings], None]
    left: Callable[[Project, Runnings], None]
    stdin: str = ""
    signals: Sequence[int] = ENDING


CASES = {
    "exec": Case(f"exec {{me}} -- sh -c|{SCRIPT}", begun, all_have_failed),
    "watch --exec": Case(
        f"watch --from 1h --count 1 --exec|{SCRIPT}", begun, all_are_gone, signals=FEW
    ),
    "barrier": Case("barrier gate --parties 99", waiting_at("gate"), withdrawn_from("gate")),
    "batch": Case(
        "batch",
        waiting_at("door"),
        withdrawn_from("door"),
        '{"op":"barrier.pass","name":"door","parties":99}\n',
        FEW,
    ),
    "wait-for": Case("wait-for held", lambda *_: None, nothing_is_held, signals=FEW),
    "claim --wait": Case("claim held --wait", lambda *_: None, nothing_is_held, signals=FEW),
    "inbox --wait": Case("inbox --wait", lambda *_: None, nothing_is_held, signals=FEW),
    "watch": Case("watch", lambda *_: None, nothing_is_held, signals=FEW),
}


def start(project: Project, case: Case, number: int) -> Running:
    agent = f"agent-{number}"
    head, *rest = case.words.format(me=agent).split("|")
    stdin = subprocess.PIPE if case.stdin else subprocess.DEVNULL
    process = project.start(*head.split(), *rest, agent=agent, stdin=stdin)
    if case.stdin:
        assert process.stdin is not None
        process.stdin.write(case.stdin.encode())
        process.stdin.flush()
    return Running(project, process, number, agent)


@pytest.mark.parametrize("name", CASES)
def test_a_signal_that_ends_a_command(folder: Project, name: str) -> None:
    case = CASES[name]
    folder.run("claim", "held", agent="holder").ok()
    all_running = [start(folder, case, number) for number in case.signals]
    try:
        for running in all_running:
            until(lambda running=running: catches(running.process, running.number))
        case.ready(folder, all_running)
        for running in all_running:
            # Nobody ever meant it for tclog: a reader that left is told of otherwise.
            running.process.send_signal(signal.SIGPIPE)
            running.process.send_signal(running.number)
        for running in all_running:
            done = folder.finish(running.process, timeout=60)
            assert done.code == 128 + running.number, done
            assert "Traceback" not in done.err
        case.left(folder, all_running)
    finally:
        kill_left([int(file.read_text() or 0) for file in folder.work.glob("pid-*")])


# Commands that write files, and what stands in the folder ``got`` when one has ended well.
FILES = {
    "artifact put big --name other": set(),
    "artifact get big -o got/big": {"big"},
    "export -o got/log": {"log"},
    "clone . got": {"story"},
    "import kept got": {"story"},
    "report got/report.html": {"report.html"},
}


def test_a_signal_leaves_no_half_written_file(folder: Project) -> None:
    """It comes at another moment each time; what is there afterwards is whole, or not there."""
    (folder.work / "big").write_bytes(os.urandom(4_000_000))
    folder.run("artifact", "put", "big", agent="alice").ok()
    folder.run("export", "-o", "kept", agent="alice").ok()
    got = folder.work / "got"
    for words, wanted in FILES.items():
        took_s = 0.0
        for nth, number in enumerate([0, *FEW]):
            shutil.rmtree(got, ignore_errors=True)
            got.mkdir()
            begun_s = time.monotonic()
            process = folder.start(*words.split(), agent="alice")
            if nth == 0:
                folder.finish(process).ok()
                took_s = time.monotonic() - begun_s
                assert {path.name for path in got.iterdir()} == wanted
                continue
            time.sleep(took_s * nth / 4)
            process.send_signal(number)
            # Before it has loaded all that it needs it ends by the signal itself.
            assert folder.finish(process).code in (0, 128 + number, -number)
            assert {path.name for path in got.iterdir()} <= wanted
            # One that has its name keeps the other until the disk has confirmed it.
            left = [*folder.base.rglob(".tmp/*")]
            assert [path for path in left if path.stat().st_nlink == 1] == []
    folder.run("fsck").ok()


def test_a_signal_before_the_command_runs_gives_the_step_back(
    folder: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tclog.cli.app import run_command
    from tclog.log import holding

    claim = holding.claim_step

    def claim_and_signal(*args: Any, **named: Any) -> Any:
        held = yield from claim(*args, **named)
        os.kill(os.getpid(), signal.SIGUSR1)
        return held

    monkeypatch.setattr(holding, "claim_step", claim_and_signal)
    monkeypatch.setattr(os, "environ", folder.environ("alice"))
    monkeypatch.chdir(folder.work)
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        assert run_command(["exec", "build", "--", "touch", "ran"]) == 128 + signal.SIGUSR1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert not (folder.work / "ran").exists()
    assert folder.run("step", "show", "build", "--json").one()["state"] == "ready"
