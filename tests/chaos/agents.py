"""The agents: each asks for one operation after the other, and may be killed or stopped over it.

``Commands`` starts one ``tclog`` process for each operation. ``Member`` keeps one process of
``member.py`` and starts another when that was killed. Both answer what was told, None where the
process was killed first. ``live`` is the life of one agent, in a thread of its own.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from blake3 import blake3
from support.project import Machine

from chaos.history import SESSION, Recorder, Try, now_us
from chaos.work import Asked, Drawer, words_of

ANSWER_S = 300.0  # an operation ends long before, whatever happens to the store
REPEATS_MAX = 3
STOPPED_MAX_S = 5.0  # longer than any lease of the workload
STUCK = "stuck"
BEGIN_S = 0.3  # what a process is taken to last before one was timed


class Fate(NamedTuple):
    """What befalls the process of one operation, and after what share of its usual time."""

    kind: str = ""
    after: float = 0.0
    stopped_s: float = 0.0


class Answer(NamedTuple):
    """What a process told: exit status, objects on stdout, error object."""

    code: int
    out: list[dict[str, Any]]
    err: dict[str, Any] | None


class Agent(Protocol):
    """One agent, by whatever means it works."""

    name: str

    def ask(self, asked: Asked, fate: Fate) -> Answer | str | None:
        """Return the answer, None if the process was killed, or that it is stuck."""

    def close(self) -> None:
        """End what runs."""


def strike(pid: int, ended: Callable[[float], bool], fate: Fate, usual_s: float) -> str:
    """Let a process meet its fate, unless it ends before that; return what befell it.

    ``ended`` waits up to some seconds for the end of the process.
    """
    if not fate.kind or ended(fate.after * usual_s):
        return ""
    with suppress(ProcessLookupError):
        if fate.kind == "killed":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(fate.stopped_s)
            os.kill(pid, signal.SIGCONT)
    return fate.kind


class Timed:
    """How long a process usually takes, so that fates strike while it is at work."""

    def __init__(self) -> None:
        self.usual_s = BEGIN_S

    def learn(self, took_s: float) -> None:
        """Take in one more duration; outliers count little."""
        self.usual_s += 0.1 * (min(took_s, 3 * self.usual_s) - self.usual_s)


class Commands:
    """An agent that starts a ``tclog`` process for each operation."""

    def __init__(self, name: str, machine: Machine, journal: Path, struck: Counter[str]) -> None:
        self.name = name
        self._machine = machine
        self._journal = journal
        self._struck = struck
        self._timed = Timed()

    def ask(self, asked: Asked, fate: Fate) -> Answer | str | None:
        """See ``Agent``."""
        words = words_of(asked, self._journal)
        begun_s = time.monotonic()
        env = {"TCLOG_SESSION": f"{SESSION}{asked.n}"}
        process = self._machine.start(*words, agent=self.name, env=env)

        def ended(wait_s: float) -> bool:
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)
                return True
            return False

        befell = strike(process.pid, ended, fate, self._timed.usual_s)
        try:
            result = self._machine.finish(process, ANSWER_S)
        except AssertionError:
            return STUCK
        if befell:
            self._struck[befell] += 1
        else:
            self._timed.learn(time.monotonic() - begun_s)
        if result.code == -signal.SIGKILL:
            return None
        if result.code not in (0, asked.arguments.get("status", 0)):
            return Answer(result.code, [], _last_error(result.err))
        try:
            return Answer(result.code, result.json(), None)
        except ValueError:
            return Answer(70, [], {"message": f"no JSON: {result.out[:200]} {result.err[-200:]}"})

    def close(self) -> None:
        """See ``Agent``; the machine ends its processes."""


def _last_error(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and found.get("type") == "error":
                return found
    return {"message": f"no error object: {text[-300:]}"}


class Member:
    """An agent that works through the Python API, in one process for as long as that lives."""

    def __init__(
        self, name: str, machine: Machine, settings: dict[str, Any], struck: Counter[str]
    ) -> None:
        self.name = name
        self._machine = machine
        self._settings = json.dumps(settings | {"agent": name})
        self._struck = struck
        self._process: subprocess.Popen[bytes] | None = None
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._timed = Timed()

    def _start(self) -> subprocess.Popen[bytes]:
        place = Path(__file__).parents[1]
        process = self._machine.start(
            "-m",
            "chaos.member",
            self._settings,
            env={"PYTHONPATH": str(place)},
            stdin=subprocess.PIPE,
            program=sys.executable,
        )
        self._said = queue.SimpleQueue()
        threading.Thread(target=_read, args=[process, self._said], daemon=True).start()
        if self._said.get(timeout=ANSWER_S) is None:
            assert process.stderr is not None
            raise RuntimeError(f"{self.name} does not start: {process.stderr.read().decode()}")
        return process

    def ask(self, asked: Asked, fate: Fate) -> Answer | str | None:
        """See ``Agent``."""
        if self._process is None:
            self._process = self._start()
        process, said = self._process, self._said
        line = {
            "name": asked.name,
            "arguments": asked.arguments,
            "session": f"{SESSION}{asked.n}",
        }
        assert process.stdin is not None
        begun_s = time.monotonic()
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(line).encode() + b"\n")
            process.stdin.flush()
        told: list[dict[str, Any] | None] = []

        def ended(wait_s: float) -> bool:
            with suppress(queue.Empty):
                told.append(said.get(timeout=max(wait_s, 0.0001)))
            return bool(told)

        befell = strike(process.pid, ended, fate, self._timed.usual_s)
        if not ended(ANSWER_S) if not told else False:
            return STUCK
        if befell:
            self._struck[befell] += 1
        else:
            self._timed.learn(time.monotonic() - begun_s)
        if told[0] is None or befell == "killed":
            self.close()
        return None if told[0] is None else Answer(**told[0])

    def close(self) -> None:
        """See ``Agent``."""
        if self._process is not None:
            self._process.kill()
            with suppress(AssertionError, ValueError, OSError):
                self._machine.finish(self._process)
            self._process = None


def _read(process: subprocess.Popen[bytes], said: queue.SimpleQueue[Any]) -> None:
    assert process.stdout is not None
    with suppress(ValueError, OSError):
        for line in iter(process.stdout.readline, b""):
            with suppress(ValueError):  # the last line of a killed process may be half a line
                said.put(json.loads(line))
    said.put(None)


class Odds(NamedTuple):
    """How often a process is killed, and how often it is stopped for a while."""

    killed: float = 0.08
    stopped: float = 0.05


def draw_fate(rng: random.Random, odds: Odds) -> Fate:
    """Draw what befalls the process of the next try."""
    luck, after = rng.random(), rng.random() * 1.2
    if luck < odds.killed:
        return Fate("killed", after)
    if luck < odds.killed + odds.stopped:
        return Fate("stopped", after, rng.random() ** 2 * STOPPED_MAX_S)
    return Fate()


def live(
    agent: Agent,
    drawer: Drawer,
    numbers: Iterator[int],
    recorder: Recorder,
    odds: Odds,
) -> None:
    """Ask for one operation after the other, until there are no more numbers."""
    for n in numbers:
        asked = drawer.draw(n)
        for nth in range(1 + REPEATS_MAX):
            tried = _try(agent, asked, nth, draw_fate(drawer.rng, odds))
            recorder.write(tried)
            if tried.fate == STUCK:
                return
            if tried.code == 0 and tried.out:
                drawer.learn(asked, tried.out)
            if tried.code not in (None, 6) or drawer.rng.random() < 0.2:
                break  # told, or it gives up without knowing
            if "id_key" not in asked.arguments:
                break


def _try(agent: Agent, asked: Asked, nth: int, fate: Fate) -> Try:
    begin_us = now_us()
    answer = agent.ask(asked, fate)
    end_us = now_us()
    code, out, err = (None, [], None) if answer is None or isinstance(answer, str) else answer
    befell = STUCK if answer == STUCK else fate.kind
    if asked.name == "artifact.get" and code == 0:
        # What stands in the file, whatever the command says of it.
        path = Path(asked.arguments["path"])
        out = [out[0] | {"blake3": blake3(path.read_bytes()).hexdigest()}]
        path.unlink()
    return Try(
        asked.n,
        agent.name,
        asked.name,
        asked.arguments,
        nth,
        begin_us,
        end_us,
        code,
        out,
        err,
        befell,
    )
