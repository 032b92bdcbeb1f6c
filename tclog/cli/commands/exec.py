"""tclog exec: hold a step while a command runs.

The lease is renewed from a thread while the child runs. Should the claim be lost (somebody took
over, or the store could not be reached until the lease was about to end) the child is killed
before anybody else can hold the step: a process that works on a lost claim is what fencing is for,
but one that has stopped needs none.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import write_json
from tclog.domain.steps import CLAIMED, LEASE_MS_DEFAULT
from tclog.errors import NotFound, Refused, StoreError, TclogError, UsageError, to_run

if TYPE_CHECKING:
    from tclog.chain.results import Step
    from tclog.log.log import Log

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
KILL_AFTER_S = 5.0
RENEWALS_PER_LEASE = 3
POLL_S = 0.02
# Linux's monotonic clock stands still while the machine sleeps; elsewhere that of POSIX does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Return the seconds on a clock that nobody sets and that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class Keeper:
    """Renews a claim from a thread of its own; ``lost`` says why it could not.

    The deadline is counted on this machine's clock (``now_s``) from *before* the last renewal that
    succeeded was sent, so it is never later than the lease's end by the store's clock.
    """

    def __init__(self, here: Here, step: str, fence: int, lease_s: float, begun_s: float) -> None:
        self._log = here.open(here.agent())
        self._step = step
        self._fence = fence
        self._lease_s = lease_s
        self._deadline_s = begun_s + lease_s
        # What a child gets for an orderly end, and still is gone when the lease ends.
        self.grace_s = min(KILL_AFTER_S, lease_s / 6)
        self._stop = threading.Event()
        self.lost: TclogError | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more; waits for a renewal that is under way, for a bounded time."""
        self._stop.set()
        self._thread.join(timeout=30)

    def overdue(self) -> bool:
        """Whether the lease may end before the child could be stopped in order."""
        return now_s() > self._deadline_s - self.grace_s

    def _keep(self) -> None:
        wait_s = self._lease_s / RENEWALS_PER_LEASE
        while not self._stop.wait(wait_s):
            sent_s = now_s()
            try:
                self._log.steps.renew(self._step, lease_s=self._lease_s, fence=self._fence)
                self._deadline_s = sent_s + self._lease_s
                wait_s = self._lease_s / RENEWALS_PER_LEASE
            except Refused as refused:
                if self._ended():
                    self._deadline_s = math.inf
                else:
                    self.lost = refused
                return
            except TclogError:
                # Not reached, or unknown: try again soon, until `overdue` ends it.
                wait_s = min(1.0, self._lease_s / 10)

    def _ended(self) -> bool:
        """Whether the command itself has ended the step; then it may take its time to finish."""
        try:
            return _ended_here(self._log, self._step, self._fence) is not None
        except TclogError:
            return False


class Child:
    """The command as a process. Signals that come for it before it runs are kept for it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._own_group = False
        self._early: list[int] = []

    def start(self, here: Here, command: tuple[str, ...], step: str, fence: int) -> None:
        """Start it; raises OSError where it cannot be."""
        environ = {
            **here.environ,
            "TCLOG_AGENT": here.agent(),
            "TCLOG_FENCE": str(fence),
            "TCLOG_STEP": step,
        }
        # With a process group of its own the whole tree can be killed; but a child that reads from
        # the terminal has to stay in the group that owns it.
        self._own_group = not (sys.stdin and sys.stdin.isatty())
        group: dict[str, Any] = {"process_group": 0} if self._own_group else {}
        self._process = subprocess.Popen(command, env=environ, cwd=here.start, **group)  # noqa: S603
        for number in self._early:
            self.signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Return its status, negative for a signal; None if it still runs after the time."""
        assert self._process is not None  # noqa: S101 - it was started
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

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
        self.wait(grace_s)
        self.signal(signal.SIGKILL)
        self.wait(KILL_AFTER_S)

    @contextmanager
    def forwarding(self) -> Iterator[None]:
        """Pass signals on to it instead of dying of them."""
        before = {
            number: signal.signal(number, lambda got, _: self.signal(got)) for number in FORWARDED
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@operation(
    "exec",
    example="""
    tclog exec build --lease 10m --as alice -- make all
    """,
)
@click.argument("step_id", metavar="STEP")
@options.lease
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def exec_(here: Here, step_id: str, lease: float | None, command: tuple[str, ...]) -> None:
    """Run a command while holding a step.

    Claims STEP, renews it while COMMAND runs, then completes it, or fails it. The command finds
    TCLOG_STEP, TCLOG_FENCE and TCLOG_AGENT in its environment. Signals are forwarded to it. If the
    claim is lost it is killed (exit 4). Otherwise exec ends with the command's own exit status,
    128 + N when signal N ended it.
    """
    log = here.log()
    lease_s = LEASE_MS_DEFAULT / 1000 if lease is None else lease
    begun_s = now_s()
    # Not one that this agent holds already: another process of the same name may work on it.
    held = log.steps.claim(step_id, lease_s=lease_s, anew=True)
    assert held.fence is not None  # noqa: S101 - a claim has a token
    here.note(f"claimed step {step_id} as {log.agent} (fence {held.fence})")
    keeper = Keeper(here, step_id, held.fence, lease_s, begun_s)
    child = Child()
    with child.forwarding():
        try:
            child.start(here, command, step_id, held.fence)
        except OSError as error:
            log.steps.release(step_id, fence=held.fence)
            raise _not_started(command[0], error) from None
        keeper.start()
        status = _watch(child, keeper)
    keeper.stop()
    if status is None:
        raise _lost(here, step_id, keeper)
    done = _ended(log, step_id, held.fence, command[0], status)
    if here.json:
        write_json(done.as_json())
    else:
        # What the command printed is the data; this stands beside it.
        here.note(f"step {step_id} is {done.state} (exit status {status})")
    if status:
        raise click.exceptions.Exit(status)


def _ended(log: Log, step: str, fence: int, name: str, status: int) -> Step:
    found = _ended_here(log, step, fence)
    if found is not None:
        return found
    return log.steps.complete(
        step,
        outcome="complete" if status == 0 else "failed",
        fence=fence,
        note=f"{name} ended with status {status}",
        exit_status=status,
    )


def _ended_here(log: Log, step: str, fence: int) -> Step | None:
    """Return the step if the command has ended it itself, in words of its own, or given it back."""
    found = log.steps.show(step)
    by_us = found.fence == fence and found.agent in (None, log.agent)
    return found if by_us and found.state != CLAIMED else None


def _not_started(name: str, error: OSError) -> TclogError:
    if isinstance(error, FileNotFoundError):
        return NotFound(
            f"there is no command {name}", code="command-not-found", hint=to_run("which", name)
        )
    return UsageError(f"{name} cannot be run: {error.strerror}", code="command-not-run")


def _watch(child: Child, keeper: Keeper) -> int | None:
    """Return the child's exit status, or None when the claim was lost and it had to be killed."""
    while True:
        status = child.wait(POLL_S)
        if keeper.lost is None and (status is not None or not keeper.overdue()):
            if status is None:
                continue
            return 128 - status if status < 0 else status
        child.kill(keeper.grace_s)
        return None


def _lost(here: Here, step: str, keeper: Keeper) -> TclogError:
    if keeper.lost is not None:
        return Refused(
            f"the claim on step {step} was lost while the command ran, so it was killed:"
            f" {keeper.lost.message}",
            code="claim-lost",
            hint=to_run("tclog step show", step),
            **keeper.lost.details,
        )
    del here
    return StoreError(
        f"the lease on step {step} could not be renewed before it ended, so the command was killed",
        code="lease-not-renewed",
        hint="tclog doctor",
    )
