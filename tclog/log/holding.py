"""Holding a step while work goes on: ``log.steps.hold`` for a block, ``tclog exec`` for a command.

Invariant: a claim counts as lost once a renewal is refused, or once the lease may have ended
without one. What was called lost stays lost. A renewal that succeeds late proves that nobody held
the step meanwhile: the token is the same. A claim that nothing has called lost goes on then.

The end of a lease is counted on this machine's clock (``now_s``) from *before* the claim or the
last renewal that succeeded was sent. So it is never later than the end by the store's clock.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tclog.chain.results import Step
from tclog.domain.steps import CLAIMED, LEASE_MS_DEFAULT
from tclog.errors import Refused, StoreError, TclogError, to_run
from tclog.log.claims import claim_step
from tclog.log.watchdog import now_s

if TYPE_CHECKING:
    from tclog.log.log import Log

RENEWALS_PER_LEASE = 3
# How long the end of a block waits for a renewal that is under way.
STOP_S = 30.0


class Keeper:
    """Renews a claim from a thread of its own; ``lost`` says why it could not.

    Args:
        log: acts as the session that holds the step; the thread gets one of its own.
        step: the name of the step.
        fence: the token of the claim.
        lease_s: how long the claim and each renewal last.
        begun_s: when the claim was about to be sent.
        clock_s: tells the time in seconds.
    """

    def __init__(
        self,
        log: Log,
        step: str,
        fence: int,
        lease_s: float,
        begun_s: float,
        clock_s: Callable[[], float] = now_s,
    ) -> None:
        self._log = log.twin()
        self.step = step
        self.fence = fence
        self.lease_s = lease_s
        self._renewed_s = begun_s
        self._clock_s = clock_s
        # Told each new deadline.
        self.tell: Callable[[float], None] = lambda _: None
        # How long before the end of the lease the work has to stop.
        self.grace_s = 0.0
        # Set to renew at once, or to stop.
        self._wake = threading.Event()
        self._stopped = False
        self.lost: TclogError | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    @property
    def deadline_s(self) -> float:
        """When the lease may end."""
        return self._renewed_s + self.lease_s

    def start(self) -> None:
        """Begin to renew; raises RuntimeError if this process cannot start a thread for it."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more; waits for a renewal that is under way, for a bounded time."""
        self._stopped = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def renew_at_once(self) -> None:
        """Renew now, not when the next renewal is due; ``renewed_since`` tells when it is done."""
        self._wake.set()

    def renewed_since(self, moment_s: float) -> bool:
        """Whether the claim was renewed after a moment, or there is nothing to renew any more."""
        return self._renewed_s >= moment_s

    def overdue(self) -> bool:
        """Whether the lease may end before the work could be stopped in order."""
        return self._clock_s() > self.deadline_s - self.grace_s

    def _keep(self) -> None:
        pause_s: float | None = self.lease_s / RENEWALS_PER_LEASE
        while pause_s is not None:
            self._wake.wait(pause_s)
            self._wake.clear()
            pause_s = None if self._stopped else self.renew()

    def renew(self) -> float | None:
        """Renew once; return the pause before the next renewal, None if there is none."""
        sent_s = self._clock_s()
        try:
            self._log.steps.renew(self.step, lease_s=self.lease_s, fence=self.fence)
        except Refused as refused:
            if self._is_over():
                self._renewed(math.inf)
            else:
                self.lost = refused
            return None
        except TclogError:
            # Not reached, or unknown: try again soon, until `overdue` ends it.
            return min(1.0, self.lease_s / 10)
        self._renewed(sent_s)
        return self.lease_s / RENEWALS_PER_LEASE

    def _renewed(self, moment_s: float) -> None:
        self._renewed_s = moment_s
        self.tell(self.deadline_s)

    def _is_over(self) -> bool:
        """Whether the work itself has ended the step; then it may take its time to finish."""
        try:
            return ended_here(self._log, self.step, self.fence) is not None
        except TclogError:
            return False

    def loss(self, meanwhile: str = "", so: str = "") -> TclogError:
        """Return the error that says why the claim is lost, and what came of it."""
        if self.lost is not None:
            return Refused(
                f"the claim on step {self.step} was lost{meanwhile}: {self.lost.message}",
                code="claim-lost",
                hint=to_run("tclog step show", self.step),
                **self.lost.details,
            )
        return StoreError(
            f"the lease on step {self.step} could not be renewed before it ended{so}",
            code="lease-not-renewed",
            hint="tclog doctor",
        )


def take(
    log: Log, step: str, lease_s: float | None, clock_s: Callable[[], float] = now_s
) -> tuple[Log, Keeper]:
    """Claim a step for one block or command alone; return a log that acts as its session.

    It is a session of its own, so the step is refused to any other, and to a second block of the
    same session. What the strong session of ``log`` holds moves to it.

    Raises:
        Refused: the step is held, waits for other steps, or has ended.
    """
    parent = log.client.session
    own = log.twin(session=f"{parent[:180]}/x-{os.urandom(4).hex()}")
    lease_s = LEASE_MS_DEFAULT / 1000 if lease_s is None else lease_s
    begun_s = clock_s()
    held = own.run(claim_step(own.client, step, lease_s=lease_s, renews=False, parent=parent))
    assert held.fence is not None  # noqa: S101 - a claim has a token
    return own, Keeper(own, step, held.fence, lease_s, begun_s, clock_s)


def finish(log: Log, keeper: Keeper, **how: Any) -> Step:
    """Complete a step that is held, unless the work itself has ended it or given it back."""
    ended = ended_here(log, keeper.step, keeper.fence)
    return ended or log.steps.complete(keeper.step, fence=keeper.fence, **how)


def ended_here(log: Log, step: str, fence: int) -> Step | None:
    """Return the step if the claim of this token has ended it itself, or was given back."""
    found = log.steps.show(step)
    by_us = found.fence == fence and found.agent in (None, log.agent)
    return found if by_us and found.state != CLAIMED else None


class Hold:
    """A step that is held while a block runs; a thread renews the lease.

    ``fence`` is the token of the claim. Pass it on to what must not be done by a holder whose claim
    was lost.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.step = keeper.step
        self.fence = keeper.fence
        self._lost: TclogError | None = None

    def __repr__(self) -> str:
        said = "" if self.lost is None else f", lost={self.lost.code!r}"
        return f"Hold(step={self.step!r}, fence={self.fence}{said})"

    @property
    def lost(self) -> TclogError | None:
        """Why the claim is lost, or None while it is held. It asks the store nothing."""
        if self._lost is None and (self._keeper.lost is not None or self._keeper.overdue()):
            self._lost = self._keeper.loss()
        return self._lost

    def check(self) -> None:
        """Raise if the claim is lost.

        Raises:
            Refused: ``claim-lost``: another agent or session has taken the step over, or ended it.
            StoreError: ``lease-not-renewed``: the store could not be reached in time.
        """
        if self.lost is not None:
            raise self.lost


@contextmanager
def hold(
    log: Log, step: str, lease_s: float | None, clock_s: Callable[[], float] = now_s
) -> Iterator[Hold]:
    """Hold a step for a block; see ``StepOperations.hold``."""
    own, keeper = take(log, step, lease_s, clock_s)
    held = Hold(keeper)
    try:
        keeper.start()
        yield held
        keeper.stop()
        held.check()
    except BaseException as error:
        keeper.stop()
        if error is not held.lost:
            _give_back(own, held, error)
        raise
    try:
        finish(own, keeper)
    except Refused as refused:
        keeper.lost = refused
        raise keeper.loss() from None


def _give_back(log: Log, held: Hold, error: BaseException) -> None:
    """Give a step back after an error, which goes on; it gets a note if that is not possible."""
    failed = held.lost
    try:
        if failed is None and ended_here(log, held.step, held.fence) is None:
            log.steps.release(held.step, fence=held.fence)
    except TclogError as met:
        failed = met
    if failed is not None:
        error.add_note(f"step {held.step} was not given back: {failed.message}")
