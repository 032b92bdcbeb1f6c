"""tclog exec: hold a step while a command runs.

The lease is renewed from a thread while the child runs. Should the claim be lost (somebody took
over, or the store could not be reached until the lease was about to end) the child is killed
before anybody else can hold the step: a process that works on a lost claim is what fencing is for,
but one that has stopped needs none. Where this process cannot do that, because it is stopped or
killed itself, its watchdog does.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.child import KILL_AFTER_S, Child, Watchdog
from tclog.cli.here import Here
from tclog.cli.output import write_json
from tclog.cli.watchdog import now_s
from tclog.config.identity import below
from tclog.domain.steps import CLAIMED, LEASE_MS_DEFAULT
from tclog.errors import NotFound, Refused, StoreError, TclogError, UsageError, to_run
from tclog.store.room import shortage

if TYPE_CHECKING:
    from tclog.chain.results import Step
    from tclog.log.log import Log

RENEWALS_PER_LEASE = 3
POLL_S = 0.02


class Keeper:
    """Renews a claim from a thread of its own; ``lost`` says why it could not.

    The deadline is counted on this machine's clock (``now_s``) from *before* the last renewal that
    succeeded was sent, so it is never later than the lease's end by the store's clock.
    """

    def __init__(
        self,
        here: Here,
        step: str,
        fence: int,
        lease_s: float,
        begun_s: float,
    ) -> None:
        self._log = here.open(here.agent())
        self.step = step
        self.fence = fence
        self._lease_s = lease_s
        self._renewed_s = begun_s
        # Told each new deadline.
        self.tell: Callable[[float], None] = lambda _: None
        # What a child gets for an orderly end, and still is gone when the lease ends.
        self.grace_s = min(KILL_AFTER_S, lease_s / 6)
        # Set to renew at once, or to stop.
        self._wake = threading.Event()
        self._stopped = False
        self.lost: TclogError | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    @property
    def deadline_s(self) -> float:
        """When the lease may end."""
        return self._renewed_s + self._lease_s

    def start(self) -> None:
        """Begin to renew; raises RuntimeError if this process cannot start a thread for it."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more; waits for a renewal that is under way, for a bounded time."""
        self._stopped = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)

    def renew_at_once(self) -> None:
        """Renew now, not when the next renewal is due; ``renewed_since`` tells when it is done."""
        self._wake.set()

    def renewed_since(self, moment_s: float) -> bool:
        """Whether the claim was renewed after a moment, or there is nothing to renew any more."""
        return self._renewed_s >= moment_s

    def overdue(self) -> bool:
        """Whether the lease may end before the child could be stopped in order."""
        return now_s() > self.deadline_s - self.grace_s

    def _renewed(self, moment_s: float) -> None:
        self._renewed_s = moment_s
        self.tell(self.deadline_s)

    def _keep(self) -> None:
        wait_s = self._lease_s / RENEWALS_PER_LEASE
        while True:
            self._wake.wait(wait_s)
            self._wake.clear()
            if self._stopped:
                return
            sent_s = now_s()
            try:
                self._log.steps.renew(self.step, lease_s=self._lease_s, fence=self.fence)
                self._renewed(sent_s)
                wait_s = self._lease_s / RENEWALS_PER_LEASE
            except Refused as refused:
                if self._ended():
                    self._renewed(math.inf)
                else:
                    self.lost = refused
                return
            except TclogError:
                # Not reached, or unknown: try again soon, until `overdue` ends it.
                wait_s = min(1.0, self._lease_s / 10)

    def _ended(self) -> bool:
        """Whether the command itself has ended the step; then it may take its time to finish."""
        try:
            return _ended_here(self._log, self.step, self.fence) is not None
        except TclogError:
            return False


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

    Claims STEP, or moves the claim of this named session to COMMAND; without TCLOG_SESSION or a
    harness's own, release your claim first. Renews the claim while COMMAND runs, then completes the
    step, or fails it. The environment of COMMAND has TCLOG_STEP, TCLOG_FENCE, TCLOG_AGENT and the
    project's settings, so tclog finds the project from any folder. Signals are forwarded to
    COMMAND, and Ctrl-Z and fg work on both. If the claim is lost, COMMAND is killed (exit 4). If
    exec is stopped or killed, COMMAND ends before the lease can end. Otherwise exec ends with the
    exit status of COMMAND, or 128 + N when signal N ended it.
    """
    parent = here.session
    # A session for this command alone: what it holds is refused to any other, and to a second exec.
    here.enter(below(parent))
    log = here.log()
    lease_s = LEASE_MS_DEFAULT / 1000 if lease is None else lease
    child = Child()
    # From before the claim until its end is recorded, so that no signal leaves the step held.
    with child.forwarding():
        begun_s = now_s()
        held = log.steps.claim_below(step_id, parent, lease_s=lease_s)
        assert held.fence is not None  # noqa: S101 - a claim has a token
        here.note(f"claimed step {step_id} as {log.agent} (fence {held.fence})")
        keeper = Keeper(here, step_id, held.fence, lease_s, begun_s)
        watchdog = _start(here, log, child, keeper, command)
        status = _watch(child, keeper, watchdog)
        keeper.stop()
        if status is None:
            raise _lost(step_id, keeper)
        done = _ended(log, step_id, held.fence, command[0], status)
    if here.json:
        write_json(done.as_json())
    else:
        # What the command printed is the data; this stands beside it.
        here.note(f"step {step_id} is {done.state} (exit status {status})")
    if status:
        raise click.exceptions.Exit(status)


def _start(
    here: Here, log: Log, child: Child, keeper: Keeper, command: tuple[str, ...]
) -> Watchdog:
    """Start the command below a watchdog; give the claim back if it cannot start."""
    step, fence = keeper.step, keeper.fence
    environ = {
        **here.environ_for_child(),
        "TCLOG_FENCE": str(fence),
        "TCLOG_STEP": step,
        "TCLOG_STEP_PROJECT": log.project.id,
    }
    watchdog: Watchdog | None = None
    name = sys.executable

    def guard(target: int, deadline_s: float) -> None:
        # Later than this process would tell it to end: only one of the two does.
        assert watchdog is not None  # noqa: S101 - it is started first
        watchdog.watch(target, deadline_s - keeper.grace_s / 2, deadline_s)

    def begun(target: int) -> None:
        guard(target, keeper.deadline_s)
        # This process may have been stopped, or the machine asleep, since it claimed the step.
        if keeper.overdue():
            raise TimeoutError

    try:
        child.check_wanted()
        keeper.start()
        watchdog = Watchdog()
        name = command[0]
        child.start(command, environ, here.start, begun)
        keeper.tell = lambda by_s: guard(child.target, by_s)
        keeper.tell(keeper.deadline_s)
    except subprocess.SubprocessError:
        if watchdog is not None:
            watchdog.end()
        raise StoreError(
            f"the lease on step {step} was about to end before the command could start",
            code="lease-not-renewed",
            hint=to_run("tclog step show", step),
        ) from None
    except (OSError, RuntimeError, KeyboardInterrupt) as error:
        keeper.stop()
        if watchdog is not None:
            watchdog.end()
        log.steps.release(step, fence=fence)
        if isinstance(error, OSError):
            raise _not_started(name, error) from None
        raise
    return watchdog


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
    found = shortage(error)
    if found is not None:
        return found
    return UsageError(f"{name} cannot be run: {error.strerror}", code="command-not-run")


def _watch(child: Child, keeper: Keeper, watchdog: Watchdog) -> int | None:
    """Return the child's exit status, or None when the claim was lost and it had to be killed."""
    resumed_s: float | None = None
    while True:
        status = child.wait(POLL_S)
        watchdog.revive()
        if child.continued:
            # Time has passed unseen. The command goes on when the claim is known to be there still.
            child.continued = False
            resumed_s = now_s()
            keeper.renew_at_once()
        if keeper.lost is not None or (status is None and keeper.overdue()):
            watchdog.watch(child.target, math.inf, now_s() + keeper.grace_s)
            child.kill(keeper.grace_s)
            watchdog.end()
            return None
        if status is not None:
            if not watchdog.end():
                return 128 - status if status < 0 else status
            # The watchdog ended the command, so its work is not done, even with status 0. Processes
            # that it started may still run.
            child.signal(signal.SIGKILL)
            return None
        if resumed_s is not None and keeper.renewed_since(resumed_s):
            resumed_s = None
            child.signal(signal.SIGCONT)


def _lost(step: str, keeper: Keeper) -> TclogError:
    if keeper.lost is not None:
        return Refused(
            f"the claim on step {step} was lost while the command ran, so it was killed:"
            f" {keeper.lost.message}",
            code="claim-lost",
            hint=to_run("tclog step show", step),
            **keeper.lost.details,
        )
    return StoreError(
        f"the lease on step {step} could not be renewed before it ended, so the command was killed",
        code="lease-not-renewed",
        hint="tclog doctor",
    )
