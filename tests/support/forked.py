"""Processes in a tenth of the time: forks of one that has loaded tclog already.

``popen`` is ``subprocess.Popen`` for the tests' many short ``tclog`` processes. What it starts is
a process of its own with the streams, environment, folder and process group that it was given; it
can be killed, stopped and waited for as any other. It came to be by a fork of
``tests/support/zygote.py``, not by an exec, so a module that a command uses without importing it
is not noticed here. Tests of that, of start and end, and of each command once use fresh
processes; ``TCLOG_TEST_FRESH=1`` makes all of them fresh.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.zygote import ORDER_BYTES_MAX, TCLOG

_ZYGOTE = Path(__file__).with_name("zygote.py")
_LANGUAGE = "C.UTF-8"
_OPTIONS = {"cwd", "env", "stdin", "stdout", "stderr", "start_new_session"}
LOOK_BACK = {
    "blame", "clone", "diff", "export", "gc", "log", "pack", "replay", "report", "revert", "show",
    "state", "sync", "tag", "watch",
}  # fmt: skip
_PR_SET_CHILD_SUBREAPER = 36
# Whether all are started afresh; ``tests/conftest.py`` sets it.
fresh = False


def popen(words: Sequence[Any], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process; one that cannot be forked is started afresh."""
    if _can_be_forked(words, options):
        return _Forked(words, **options)
    return subprocess.Popen(words, **options)


def _can_be_forked(words: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if fresh or sys.platform != "linux":
        return False
    if not options.keys() <= _OPTIONS or not {"cwd", "env"} <= options.keys():
        return False
    environ = options["env"]
    spoken = [environ[name] for name in environ if name == "LANG" or name.startswith("LC_")]
    if spoken != [_LANGUAGE]:
        return False
    # An interpreter reads these when it starts; other folders of a path may hold a site module.
    told = {name: environ[name] for name in environ if name.startswith("PYTHON")}
    if told not in ({}, {"PYTHONPATH": str(_ZYGOTE.parents[1])}):
        return False
    if sum(len(os.fspath(word)) for word in (*words, *environ.values())) > ORDER_BYTES_MAX // 4:
        return False
    program = os.fsdecode(words[0])
    is_python = program == sys.executable and len(words) > 1 and words[1] not in ("-c", b"-c")
    return (program == str(TCLOG) and os.access(TCLOG, os.X_OK)) or is_python


class _Zygote:
    """The process that is forked, started when it is first needed."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._lock = threading.Lock()
        self._ours: socket.socket | None = None
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, str(_ZYGOTE), *self._words],
            stdin=theirs,
            env={**environ, "LANG": _LANGUAGE},
        )
        theirs.close()
        atexit.register(process.wait)
        atexit.register(ours.close)
        return ours

    def fork(self, order: bytes, handles: Sequence[int]) -> int:
        """Return the number of a new child of this process."""
        with self._lock:
            if self._ours is None:
                self._ours = self._start()
            # For as long as it takes, orphans of our children's children become ours.
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._ours, [order], handles)
                told = self._ours.recv(32)
            finally:
                self._prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        assert told, "the process that forks has died; its last words are above"
        return int(told)


_zygote, _looking_back = _Zygote(), _Zygote("look-back")
_START = inspect.signature(subprocess.Popen._execute_child)


class _Forked(subprocess.Popen):  # type: ignore[type-arg]
    def _execute_child(self, *given: Any) -> None:
        asked = _START.bind(self, *given).arguments
        inherited = ("p2cread", 0), ("c2pwrite", 1), ("errwrite", 2)
        handles = [n if asked[name] == -1 else asked[name] for name, n in inherited]
        environ = {os.fsdecode(name): os.fsdecode(text) for name, text in asked["env"].items()}
        order = {
            "words": [os.fsdecode(word) for word in asked["args"]],
            "cwd": str(asked["cwd"]),
            "env": environ,
            "session": asked["start_new_session"],
            "uninterrupted": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        }
        looks_back = any(word in LOOK_BACK for word in order["words"][1:2])
        zygote = _looking_back if looks_back else _zygote
        try:
            self.pid = zygote.fork(json.dumps(order).encode(), handles)
            self._child_created = True
        finally:
            self._close_pipe_fds(
                *(asked[f"{pipe}{end}"] for pipe, end in (
                    ("p2c", "read"), ("p2c", "write"), ("c2p", "read"), ("c2p", "write"),
                    ("err", "read"), ("err", "write"),
                ))
            )  # fmt: skip
