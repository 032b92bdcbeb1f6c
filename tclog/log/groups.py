"""``log.steps``: the operations on steps, of several modules, as methods of one object."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tclog.log.claims import claim, release_step, renew_step
from tclog.log.handoff import complete_step
from tclog.log.holding import Hold, hold
from tclog.log.methods import Method, Operations
from tclog.log.steps import add_step, list_steps, note_step, reopen_step, show_step


class StepOperations(Operations):
    """``log.steps``: claims with leases and fencing tokens."""

    add = Method(add_step)
    claim = Method(claim)
    renew = Method(renew_step)
    note = Method(note_step)
    release = Method(release_step)
    complete = Method(complete_step)
    reopen = Method(reopen_step)
    list = Method(list_steps)
    show = Method(show_step)

    def hold(self, step: str, *, lease_s: float | None = None) -> AbstractContextManager[Hold]:
        """Hold a step for a ``with`` block: claim it, renew the lease meanwhile, complete it.

        The block has a session of its own, so the step is refused to any other block; what the
        strong session of this log holds moves to it. Writes to the step inside the block pass
        ``fence=claim.fence``. At its end the step is completed, unless the block has completed or
        released it. After an exception it is released, and the exception goes on.

        Raises:
            Refused: before the block as ``claim`` does. After it ``claim-lost``, if another agent
                or session has taken the step over; inside the block ``claim.lost`` says so.
            StoreError: ``lease-not-renewed``: the store could not be reached until the lease ended.
        """
        return hold(self._log, step, lease_s)
