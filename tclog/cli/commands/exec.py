"""tclog exec: hold a step while a command runs.

``tclog.log.holding`` claims the step and renews the lease. Should the claim be lost (somebody took
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
from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.child import KILL_AFTER_S, Child, Watchdog, check_supported
from tclog.cli.invocation import Invocation
from tclog.cli.output import write_json
from tclog.errors import NotFound, StoreError, TclogError, UsageError, to_run
from tclog.log.holding import Keeper, finish, take
from tclog.log.watchdog import now_s
from tclog.store.room import shortage

if TYPE_CHECKING:
    from tclog.log.log import Log

POLL_S = 0.02


@operation(
    "exec",
    example="""
    tclog exec build --lease 10m --as alice -- make all
    """,
)
@click.argument("step_id", metavar="STEP")
@options.lease
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def exec_(call: Invocation, step_id: str, lease: float | None, command: tuple[str, ...]) -> None:
    """Run a command while holding a step.

    Claims STEP, or moves the claim of this named session to COMMAND; without TCLOG_SESSION or a
    harness's own, release your claim first. Renews the claim while COMMAND runs, then completes the
    step, or fails it. The environment of COMMAND has TCLOG_STEP, TCLOG_FENCE, TCLOG_AGENT and the
    project's settings, so tclog finds the project from any folder. Signals are forwarded to
    COMMAND, and Ctrl-Z and fg work on both. If the claim is lost, COMMAND is killed (exit 4). If
    exec is stopped or killed, COMMAND ends before the lease can end. Otherwise exec ends with the
    exit status of COMMAND, or 128 + N when signal N ended it.
    """
    check_supported("exec")
    caller, child = call.log(), Child()
    # From before the claim until its end is recorded, so that no signal leaves the step held.
    with child.forwarding():
        log, keeper = take(caller, step_id, lease)
        # What the command gets for an orderly end, and still is gone when the lease ends.
        keeper.grace_s = min(KILL_AFTER_S, keeper.lease_s / 6)
        call.note(f"claimed step {step_id} as {log.agent} (fence {keeper.fence})")
        watchdog = _start(call, log, child, keeper, command)
        status = _watch(child, keeper, watchdog)
        keeper.stop()
        if status is None:
            raise keeper.loss(
                " while the command ran, so it was killed", ", so the command was killed"
            )
        done = finish(
            log,
            keeper,
            outcome="complete" if status == 0 else "failed",
            note=f"{command[0]} ended with status {status}",
            exit_status=status,
        )
    if call.json:
        write_json(done.as_json())
    else:
        # What the command printed is the data; this stands beside it.
        call.note(f"step {step_id} is {done.state} (exit status {status})")
    if status:
        raise click.exceptions.Exit(status)


def _start(
    call: Invocation, log: Log, child: Child, keeper: Keeper, command: tuple[str, ...]
) -> Watchdog:
    """Start the command below a watchdog; give the claim back if it cannot start."""
    step, fence = keeper.step, keeper.fence
    environ = {
        **call.environ_for_child(),
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
        child.start(command, environ, call.start, begun)
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
