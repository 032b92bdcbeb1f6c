"""tclog exec: hold a step while a command runs.

The lease is renewed from a thread while the child runs. Should the claim be lost (somebody took
over, or the store could not be reached until the lease was about to end) the child is killed
before anybody else can hold the step: a process that works on a lost claim is what fencing is for,
but one that has stopped needs none.
"""

from __future__ import annotations

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
from tclog.domain.steps import LEASE_MS_DEFAULT
from tclog.errors import NotFound, Refused, StoreError, TclogError, UsageError

if TYPE_CHECKING:
    from tclog.log.log import Log
    from tclog.log.results import Step

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
KILL_AFTER_S = 5.0
RENEWALS_PER_LEASE = 3
POLL_S = 0.02


class Keeper:
    """Renews a claim from a thread of its own; ``lost`` says why it could not.

    The deadline is counted on this machine's monotonic clock from *before* the last renewal that
    succeeded was sent, so it is never later than the lease's end by the store's clock.
    """

    def __init__(self, here: Here, step: str, fence: int, lease_s: float, begun_s: float) -> None:
        self._log = here.open(here.agent())
        self._step = step
        self._fence = fence
        self._lease_s = lease_s
        self._deadline_s = begun_s + lease_s
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
        grace_s = min(KILL_AFTER_S, self._lease_s / 6)
        return time.monotonic() > self._deadline_s - grace_s

    def _keep(self) -> None:
        wait_s = self._lease_s / RENEWALS_PER_LEASE
        while not self._stop.wait(wait_s):
            sent_s = time.monotonic()
            try:
                self._log.steps.renew(self._step, lease_s=self._lease_s, fence=self._fence)
                self._deadline_s = sent_s + self._lease_s
                wait_s = self._lease_s / RENEWALS_PER_LEASE
            except Refused as refused:
                self.lost = refused
                return
            except TclogError:
                # Not reached, or unknown: try again soon, until `overdue` ends it.
                wait_s = min(1.0, self._lease_s / 10)


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
    begun_s = time.monotonic()
    held = log.steps.claim(step_id, lease_s=lease_s)
    assert held.fence is not None  # noqa: S101 - a claim has a token
    if held.fence != held.version:
        raise Refused(
            f"step {step_id} is already claimed by {log.agent}, perhaps by another process that"
            " still works on it",
            code="step-held",
            hint=f"tclog release {step_id}, if nothing does",
            holder=log.agent,
            fence=held.fence,
            lease_until=held.lease_until,
        )
    here.note(f"claimed step {step_id} as {log.agent} (fence {held.fence})")
    keeper = Keeper(here, step_id, held.fence, lease_s, begun_s)
    try:
        child = _start(here, command, step_id, held.fence)
    except OSError as error:
        log.steps.release(step_id, fence=held.fence)
        raise _not_started(command[0], error) from None
    keeper.start()
    with _forwarding(child):
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
        here.finish()
        raise click.exceptions.Exit(status)


def _ended(log: Log, step: str, fence: int, name: str, status: int) -> Step:
    try:
        return log.steps.complete(
            step,
            outcome="complete" if status == 0 else "failed",
            fence=fence,
            note=f"{name} ended with status {status}",
            exit_status=status,
        )
    except Refused as refused:
        if refused.code != "step-not-claimed":
            raise
        # The command has ended the step itself, in words of its own.
        return log.steps.show(step)


def _start(here: Here, command: tuple[str, ...], step: str, fence: int) -> subprocess.Popen[bytes]:
    environ = {
        **here.environ,
        "TCLOG_AGENT": here.agent(),
        "TCLOG_FENCE": str(fence),
        "TCLOG_STEP": step,
    }
    # With a process group of its own the whole tree can be killed; but a child that reads from
    # the terminal has to stay in the group that owns it.
    group: dict[str, Any] = {} if sys.stdin and sys.stdin.isatty() else {"process_group": 0}
    return subprocess.Popen(command, env=environ, cwd=here.start, **group)  # noqa: S603


def _not_started(name: str, error: OSError) -> TclogError:
    if isinstance(error, FileNotFoundError):
        return NotFound(
            f"there is no command {name}", code="command-not-found", hint="which " + name
        )
    return UsageError(f"{name} cannot be run: {error.strerror}", code="command-not-run")


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        if os.getpgid(child.pid) == child.pid:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
    except ProcessLookupError:
        return


@contextmanager
def _forwarding(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on to the child instead of dying of them."""
    before = {
        number: signal.signal(number, lambda got, _: _signal(child, got)) for number in FORWARDED
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(child: subprocess.Popen[bytes], keeper: Keeper) -> int | None:
    """Return the child's exit status, or None when it had to be killed for a lost claim."""
    while True:
        try:
            status = child.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if keeper.lost is None and not keeper.overdue():
                continue
            _kill(child)
            return None
        if keeper.lost is not None:
            return None
        return 128 - status if status < 0 else status


def _kill(child: subprocess.Popen[bytes]) -> None:
    _signal(child, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=KILL_AFTER_S)
    # Also what the child itself started and left behind in its group.
    _signal(child, signal.SIGKILL)
    child.wait()


def _lost(here: Here, step: str, keeper: Keeper) -> TclogError:
    if keeper.lost is not None:
        return Refused(
            f"the claim on step {step} was lost while the command ran, so it was killed:"
            f" {keeper.lost.message}",
            code="claim-lost",
            hint=f"tclog step show {step}",
            **keeper.lost.details,
        )
    del here
    return StoreError(
        f"the lease on step {step} could not be renewed before it ended, so the command was killed",
        code="lease-not-renewed",
        hint="tclog doctor",
    )
