"""The process of the command that `tclog exec` or `watch --exec` runs, and the watchdog over it.

Invariant: the command of exec never outlives the lease, even if exec is stopped or killed.
``Child`` passes on the signals that end or stop tclog. ``Watchdog`` acts when exec no longer can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from tclog.cli.interrupt import ENDING, interrupt_of
from tclog.errors import unsupported
from tclog.log import watchdog

# Windows has none of them.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTSTP", "SIGTTIN", "SIGTTOU") if hasattr(signal, name)
)
KILL_AFTER_S = 5.0
# How soon the command continues after this process does.
LOOK_S = 0.5


class Watchdog:
    """The other end of ``tclog.log.watchdog``."""

    def __init__(self) -> None:
        self._line = ""
        self._started_s = 0.0
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self._started_s = watchdog.now_s()
        # -I and -S: nothing of the user's own is imported. In a session of its own no terminal
        # stops it, and it keeps no stream open whose end others may wait for.
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and our own file
            [sys.executable, "-I", "-S", watchdog.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 - asked for above
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def watch(self, target: int, end_s: float, kill_s: float) -> None:
        """Have a process, or a group if negative, told to end at one time and killed at another."""
        self._line = f"{target} {end_s!r} {kill_s!r}\n"
        self._say(self._line)

    def revive(self) -> None:
        """Start another one if it has died, at most once a second."""
        if self._process.poll() in (None, watchdog.ENDED_IT):
            return
        if watchdog.now_s() < self._started_s + 1:
            return
        with suppress(OSError):  # exec itself still guards the command, and tries again
            self._process = self._started()
            self._say(self._line)

    def end(self) -> bool:
        """End it; returns whether it had told the command to end."""
        self._say("\n")
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            return self._process.wait(KILL_AFTER_S) == watchdog.ENDED_IT
        except subprocess.TimeoutExpired:
            self._process.kill()
            return False

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        # In one piece: two threads write, and a pipe keeps lines as short as these whole. A renewal
        # may end after the command, when this is closed.
        try:
            os.write(self._process.stdin.fileno(), line.encode())
        except BlockingIOError:
            self._process.kill()  # it was stopped long ago; `revive` starts another one
        except (BrokenPipeError, ValueError):
            pass


def check_supported(what: str) -> None:
    """Refuse a command that starts another one, where that cannot be ended in time.

    Raises:
        UsageError: this system has no process groups.
    """
    if not hasattr(os, "killpg"):
        raise unsupported(what, "process groups")


class Child:
    """The command's process. Signals that come before it runs are kept for it.

    After it has ended, signals are ignored, so that its end is recorded.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._own_group = False
        self._early: list[int] = []
        # The last signal that should have ended this process.
        self.ended_by: int | None = None
        # Set when this process was stopped, and goes on.
        self.continued = False

    def start(
        self,
        command: tuple[str, ...],
        environ: Mapping[str, str],
        folder: str,
        begun: Callable[[int], None] = lambda _: None,
        stdin: IO[bytes] | None = None,
    ) -> None:
        """Start it; raises OSError if that fails.

        Its process calls ``begun`` with its target just before it becomes the command. So the
        watchdog knows it even if this process is killed in the meantime. If ``begun`` raises, the
        command does not run, and this raises SubprocessError.
        """

        def announce() -> None:
            # It must not die because the watchdog has just died.
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            begun(-os.getpid() if self._own_group else os.getpid())
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)

        # With a process group of its own the whole tree can be killed; but a child that reads from
        # the terminal has to stay in the group that owns it.
        self._own_group = not (sys.stdin and sys.stdin.isatty())
        group: dict[str, Any] = {"process_group": 0} if self._own_group else {}
        self._process = subprocess.Popen(  # noqa: S603 - what the user asked for
            command,
            env=environ,
            cwd=folder,
            stdin=stdin,
            # Threads of others may run here. It only writes to a pipe, and takes no lock of theirs.
            preexec_fn=announce,  # noqa: PLW1509
            **group,
        )
        for number in self._early:
            (self._stop if number in STOPPING else self.signal)(number)

    def check_wanted(self) -> None:
        """Raise a signal that came before the start: then the command need not start."""
        if self.ended_by is not None and self._process is None:
            raise interrupt_of(self.ended_by)

    @property
    def target(self) -> int:
        """What ``os.kill`` reaches all of it by: negative for a group."""
        assert self._process is not None  # noqa: S101 - it was started
        return -self._process.pid if self._own_group else self._process.pid

    def wait(self, timeout_s: float) -> int | None:
        """Return its status, negative for a signal; None if it still runs after the time."""
        assert self._process is not None  # noqa: S101 - it was started
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def wait_to_end(self) -> int:
        """Wait until it ends and return its status, negative for a signal."""
        while True:
            status = self.wait(LOOK_S)
            if status is not None:
                return status
            if self.continued:
                self.continued = False
                self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal to it, and to what it started."""
        if self._process is None:
            self._early.append(number)
            return
        with suppress(ProcessLookupError):
            if self._own_group:
                # The group outlives its leader while a grandchild is left in it.
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)

    def kill(self, grace_s: float) -> None:
        """End it in order, then with force, and what it left behind in its group."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # one that is stopped would not hear of it
        self.wait(grace_s)
        self.signal(signal.SIGKILL)
        self.wait(KILL_AFTER_S)

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """Pass signals on to it instead of dying of them, and stop and go on together with it.

        What was ignored when this process began stays so, for the command too: ``nohup`` and shells
        that start something in the background mean that.
        """
        handlers: dict[int, Any] = {
            **dict.fromkeys(ENDING, lambda got, _: self._pass_on(got)),
            **dict.fromkeys(STOPPING, lambda got, _: self._stop(got)),
            signal.SIGCONT: lambda *_: self._go_on(),
        }
        before = {
            number: signal.signal(number, handler)
            for number, handler in handlers.items()
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int) -> None:
        if self._process is not None and self._process.returncode is not None:
            return
        self.ended_by = number
        self.signal(number)

    def _stop(self, number: int) -> None:
        """Stop the command, then this process, as if it had no handler."""
        self.signal(number)
        if self._process is None:
            return  # it may run already: `start` stops both
        handler = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, handler)
        # Nothing stops in a group that nobody could continue; then the command may go on, too.
        self._go_on()

    def _go_on(self) -> None:
        self.continued = True
