"""A client under trial as a process, and the record of what it was asked and what it answered.

A client reads lines of JSON on its standard input and answers each with one line, as ``tclog
batch`` does. Only this module starts and ends such processes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

ANSWER_S = 30.0
END_S = 10.0
_PIECE_BYTES = 1 << 16
_BEGUN_US = time.time_ns() // 1000 - time.monotonic_ns() // 1000


def now_us() -> int:
    """Return the time of the run: this machine's, but never set back."""
    return _BEGUN_US + time.monotonic_ns() // 1000


class Asked(NamedTuple):
    """One line and its answer, which is None where the client died or stayed silent."""

    agent: str
    session: str
    line: Mapping[str, Any]
    answer: Mapping[str, Any] | None
    begun_us: int
    ended_us: int

    @property
    def op(self) -> str:
        """The operation that was asked for."""
        return str(self.line["op"])

    @property
    def ok(self) -> bool:
        """Whether it was acknowledged."""
        return self.answer is not None and self.answer.get("type") != "error"

    @property
    def exit(self) -> int | None:
        """The exit status that the answer stands for; None where nobody was told anything."""
        if self.answer is None:
            return None
        if self.ok:
            return 0
        told = self.answer.get("exit")
        return told if type(told) is int else 1

    @property
    def code(self) -> str:
        """The code word of an error."""
        return "" if self.ok or self.answer is None else str(self.answer.get("code"))

    def __str__(self) -> str:
        line, answer = (_short(self.line), _short(self.answer))
        return f"{self.agent}: {line} -> {answer}"


def _short(record: Mapping[str, Any] | None) -> str:
    text = "no answer" if record is None else json.dumps(record, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}..."


class Journal:
    """All that was asked, in no order; filled from several threads."""

    def __init__(self) -> None:
        self._rows: list[Asked] = []
        self._lock = threading.Lock()

    def write(self, asked: Asked) -> None:
        """Keep one line with its answer."""
        with self._lock:
            self._rows.append(asked)

    def rows(self) -> list[Asked]:
        """Return all, in the order in which they were sent."""
        with self._lock:
            return sorted(self._rows, key=lambda asked: asked.begun_us)


class Member:
    """One process of a client, which acts as one agent; for one thread."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], journal: Journal, agent: str
    ) -> None:
        self.agent = agent
        self.session = environ["TCLOG_SESSION"]
        self._journal = journal
        self._rest = b""
        self._process = subprocess.Popen(  # noqa: S603 - the user's own command
            list(command),
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def ask(self, op: str, **fields: Any) -> Asked:
        """Send one line and wait for its answer."""
        line = {"op": op, **fields}
        begun_us = now_us()
        answer = self._receive(ANSWER_S) if self._send(line) else None
        return self._keep(line, answer, begun_us)

    def ask_and_die(self, after_s: float, op: str, **fields: Any) -> Asked:
        """Send one line and kill the process a moment later, whatever it is doing then."""
        line = {"op": op, **fields}
        begun_us = now_us()
        answer = self._receive(after_s) if self._send(line) else None
        self.kill()
        return self._keep(line, answer, begun_us)

    def _keep(
        self, line: Mapping[str, Any], answer: Mapping[str, Any] | None, begun_us: int
    ) -> Asked:
        asked = Asked(self.agent, self.session, line, answer, begun_us, now_us())
        self._journal.write(asked)
        return asked

    def _send(self, line: Mapping[str, Any]) -> bool:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def _receive(self, timeout_s: float) -> Mapping[str, Any] | None:
        """Return the next line; None if there is none in time, or it is no JSON object."""
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        handle = self._process.stdout.fileno()
        ends_s = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left_s = ends_s - time.monotonic()
            if left_s <= 0 or not select.select([handle], [], [], left_s)[0]:
                return None
            piece = os.read(handle, _PIECE_BYTES)
            if not piece:
                return None
            self._rest += piece
        raw, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = json.loads(raw)
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def kill(self) -> None:
        """End it at once, and what it has started; nothing where it has ended before."""
        # Once it was waited for, its number may be another process's.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._close()

    def close(self) -> None:
        """Let it end by itself: its standard input ends."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
