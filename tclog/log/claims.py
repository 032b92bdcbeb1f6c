"""Claims: claim a step, the next ready one, wait for one, renew, release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tclog.chain.append import Appended
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import place_of, state_of
from tclog.chain.results import Step
from tclog.chain.slots import Junk
from tclog.domain import steps
from tclog.errors import (
    NotFound,
    OutcomeUnknown,
    Refused,
    UsageError,
    WaitTimeout,
    quote,
    to_run,
)
from tclog.event import Event, Version, chain_name
from tclog.log.operation import Seconds, operation
from tclog.log.steps import (
    Row,
    append_step,
    change_step,
    changed_step,
    check_forced,
    check_short,
    claim_order,
    has_lapsed,
    is_complete,
    list_rows,
    read_result,
    read_rows,
    says,
)
from tclog.log.waiting import poll

NEXT_ROUNDS_MAX = 50


@operation(
    "step.claim",
    one_of=("step", "next"),
    excludes=[("next", "id"), ("next", "fence", "steal"), ("wait", "fence", "steal")],
    needs={"timeout_s": "wait", "reason": "steal"},
    together=True,
    apart=("next", "wait", "timeout_s"),
)
def claim(
    client: Client,
    step: str | None = None,
    *,
    next: bool = False,
    lease_s: Seconds | None = None,
    wait: bool = False,
    timeout_s: Seconds | None = None,
    fence: int | None = None,
    steal: bool = False,
    reason: str | None = None,
    id: str | None = None,
) -> Protocol[Step]:
    """Claim a step, or the ``next`` ready one; takes over one whose lease has ended.

    A strong session renews what it holds. With ``wait`` it waits until the step is free, or a step
    is ready. With ``fence`` the claim of that token moves to this session. With ``steal`` a lease
    is taken over that has not ended, for a ``reason``.

    Raises:
        Refused: ``step-held`` (who, until when), ``step-waiting``, ``step-complete``, ...
        NotFound: ``no-step-ready`` or ``no-step-left``.
        WaitTimeout: the step was not free, or no step was ready, in time.
    """
    del next  # given instead of a step
    if step is None:
        if wait:
            return next_waiting(client, lease_s=lease_s, timeout_s=timeout_s)
        return claim_next(client, lease_s=lease_s)
    if wait:
        return claim_waiting(client, step, lease_s=lease_s, timeout_s=timeout_s, id_key=id)
    why = check_steal(step, steal, reason)
    return claim_step(client, step, lease_s=lease_s, fence=fence, steal=why, id_key=id)


class _NeedsDependencies(Exception):  # noqa: N818 - control flow inside this module, never shown
    """The step turned out to have dependencies that were not looked at."""

    def __init__(self, after: tuple[str, ...]) -> None:
        super().__init__()
        self.after = after


def claim_step(
    client: Client,
    step: str,
    *,
    lease_s: float | None = None,
    takeover: bool = True,
    renews: bool = True,
    fence: int | None = None,
    parent: str | None = None,
    steal: str | None = None,
    id_key: str | None = None,
) -> Protocol[Step]:
    """Claim a step, renew this session's own claim, or take over one whose lease has ended.

    Args:
        client: acts as its agent and session.
        step: the name of the step.
        lease_s: how long the claim lasts.
        takeover: whether a lease that has ended is taken over.
        renews: whether what this very strong session holds is renewed; else it is refused.
        fence: the token of a claim of this agent that moves to this session.
        parent: a strong session of this agent; what it holds moves to this session.
        steal: why a lease that has not ended is taken over.
        id_key: under which a repetition cannot apply twice.

    Raises:
        Refused: held (by which agent, until when), waiting for other steps, or ended.
    """
    claim = steps.Claim(
        step,
        client.agent,
        lease_ms_of(lease_s),
        takeover=takeover,
        session=client.session,
        renews=renews,
        fence=fence,
        parent=parent,
        steal=steal,
    )
    words = {"op": "step.claim", "step": step, "lease_ms": claim.lease_ms}
    words |= {} if fence is None else {"fence": fence}
    words |= {} if steal is None else {"steal": steal}
    after: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    for _ in range(2 + steps.AFTER_MAX):
        command = claim._replace(
            waiting=tuple(f"{row.id} ({says(row.state)})" for row in rows if not is_complete(row)),
            seen={row.id: row.head.seq for row in rows if row.head is not None},
        )

        def decide(
            state: Any,
            place: Any,
            command: steps.Claim = command,
            looked: tuple[str, ...] = after,
        ) -> Any:
            if state.state == steps.PENDING and state.after != looked:
                raise _NeedsDependencies(state.after)
            return steps.decide(state, command, place)

        try:
            done = yield from append_step(
                client,
                step,
                decide,
                bound=id_key and words,
                id_key=id_key,
                optimistic=True,
            )
        except _NeedsDependencies as needs:
            after = needs.after
            rows = yield from read_rows(client, after)
            continue
        return (yield from _claimed(client, step, done))
    raise Refused(f"the dependencies of step {step} keep changing", code="step-waiting")


def _claimed(client: Client, step: str, done: Appended) -> Protocol[Step]:
    assert done.version is not None  # noqa: S101 - a claim is never unchanged
    assert done.event is not None  # noqa: S101 - as above
    head, state = (done.version, done.state) if done.head is None else still_held(client, done)
    result = yield from read_result(client, step, head, state)
    claimed = mark(result, done.version, done.event, done.state)
    if claimed.new:
        from tclog.log.nearby import note_new_step

        note_new_step(client, step)
    return claimed


def still_held(client: Client, done: Appended) -> tuple[Version, steps.State]:
    """Return a claim, found by its idempotency key, as it stands now.

    Raises:
        Refused: ``claim-lost``: it was lost since, or is of another session.
    """
    head = done.head
    assert head is not None  # noqa: S101 - the key was found there or before
    state: steps.State = state_of(head.chain, head)
    same = state.fence == done.state.fence
    if same and steps.holds(state, client.agent, client.session):
        return head, state
    step, who = chain_name(head.chain), str(state.agent)
    if state.agent == client.agent:
        who += f" in session {state.session}"
    now = {
        steps.CLAIMED: f"it is claimed by {who}",
        steps.PENDING: "it was given back",
    }.get(state.state, f"the step is {state.state}, ended by {who}")
    raise Refused(
        f"step {step} was claimed under this key, but this session does not hold that claim now:"
        f" {now}",
        code="claim-lost",
        hint=to_run("tclog step show", step),
        holder=state.agent,
        session=state.session,
        state=state.state,
    )


def mark(result: Step, version: Version, event: Event, state: steps.State) -> Step:
    """Say in the answer to a claim what it found: a claim of its own, or no step at all."""
    new = event.op == "step.claim" and place_of(version, None).base == 0 and not state.added
    return result._replace(renewed=event.op == "step.renew", new=new)


def lease_ms_of(lease_s: float | None) -> int:
    """Return how long a lease lasts, in milliseconds."""
    if lease_s is None:
        return steps.LEASE_MS_DEFAULT
    lease_ms = round(lease_s * 1000)
    if not steps.LEASE_MS_MIN <= lease_ms <= steps.LEASE_MS_MAX:
        raise UsageError(f"a lease lasts 100 ms to 30 days, not {lease_s:.12g} s", code="bad-lease")
    return lease_ms


def claim_waiting(
    client: Client,
    step: str,
    *,
    lease_s: float | None,
    timeout_s: float | None,
    fence: int | None = None,
    id_key: str | None = None,
) -> Protocol[Step]:
    """Claim a step as soon as it is free.

    Between two attempts the chain is only read. The next attempt follows when the step changed, or
    when the holder's lease should have ended.

    Raises:
        WaitTimeout: the step was not free in time.
        Refused: it is complete or stuck, or waits for a step that is stuck.
    """
    retry_s = [0.0]
    seen: list[tuple[int, ...]] = [()]
    last: list[Refused] = []
    begun_s = client.monotonic_s()

    def look() -> Protocol[Step | None]:
        now_s = client.monotonic_s() - begun_s
        if last and now_s < retry_s[0]:
            (row,) = yield from read_rows(client, [step])
            dependencies = yield from read_rows(client, row.state.after)
            places = tuple(0 if r.head is None else r.head.seq for r in (row, *dependencies))
            if places == seen[0]:
                return None
            seen[0] = places
        try:
            return (
                yield from claim_step(client, step, lease_s=lease_s, fence=fence, id_key=id_key)
            )
        except Refused as refused:
            if refused.details.get("state") != steps.NEEDS_REVIEW:
                _check_wait(refused)
            left_s = refused.details.get("lease_left_s")
            retry_s[0] = client.monotonic_s() - begun_s + (30.0 if left_s is None else left_s)
            last[:] = [refused]
            return None

    def timed_out() -> WaitTimeout:
        return WaitTimeout(
            f"step {step} could not be claimed within {timeout_s:g} s: {last[0].message}",
            hint=to_run("tclog step show", step),
        )

    return (yield from poll(client, look, timeout_s=timeout_s, timed_out=timed_out))


def _check_wait(refused: Refused) -> None:
    """Continue waiting only if the claim can still succeed.

    Raises:
        Refused: the refusal itself, or ``wait-blocked``: a step that this one waits for is stuck.
    """
    if refused.code not in ("step-held", "step-waiting"):
        raise refused
    if any(state in steps.STUCK for state in refused.details.get("waiting", {}).values()):
        refused.code = "wait-blocked"
        refused.message += ": the wait cannot end"
        raise refused


def claim_next(client: Client, *, lease_s: float | None = None) -> Protocol[Step]:
    """Claim the ready step with the highest priority, the oldest first.

    Also takes over a step whose lease has ended, when nothing else is ready. It never renews: it
    skips a step that is held, by any name and session. It takes no idempotency key, because a
    repetition would pick another step; an unknown outcome names the step.

    Raises:
        NotFound: ``no-step-ready`` while others are claimed or waiting; ``no-step-left`` when every
            step has ended.
    """
    for _ in range(NEXT_ROUNDS_MAX):
        rows = yield from list_rows(client)
        ready = _ready(rows)
        while ready:
            # The best first; after losing it, any of the rest, so that many workers spread out.
            row = ready.pop(0)
            try:
                return (yield from _claim_picked(client, row.id, lease_s, takeover=False))
            except Refused:
                if ready:
                    ready.insert(0, ready.pop(int(client.jitter() * len(ready))))
        for row in sorted(rows, key=claim_order):
            if not _seems_lapsed(client, row):
                continue
            try:
                return (yield from _claim_picked(client, row.id, lease_s, takeover=True))
            except Refused:
                continue
        again = yield from list_rows(client)
        if not _ready(again):
            raise _nothing_ready(again)
    raise Refused(
        "other workers took every ready step", code="contended", hint="tclog claim --next"
    )


def _claim_picked(
    client: Client, step: str, lease_s: float | None, *, takeover: bool
) -> Protocol[Step]:
    try:
        return (
            yield from claim_step(client, step, lease_s=lease_s, takeover=takeover, renews=False)
        )
    except OutcomeUnknown as unknown:
        key = quote(unknown.details["id_key"])
        unknown.hint = to_run("tclog claim", step, then=f"--id {key}")
        raise
    except Junk as junk:
        # As where the list finds it: the step is passed over.
        client.leave_out(junk.chain, junk)
        raise Refused(junk.message) from junk


def _ready(rows: Sequence[Row]) -> list[Row]:
    done = {row.id for row in rows if is_complete(row)}
    ready = [
        row
        for row in rows
        if steps.shown_state(row.state, steps.waits_for(row.state, done.__contains__))
        == steps.READY
    ]
    return sorted(ready, key=claim_order)


def _seems_lapsed(client: Client, row: Row) -> bool:
    """Whether an attempt is worth making; the verdict is the store's clock's, not this one's."""
    if row.state.state != steps.CLAIMED or row.head is None:
        return False
    # A clock that is behind would wait for leases that are long over. One attempt corrects it.
    return not client.knows_offset() or has_lapsed(client, row)


def _nothing_ready(rows: Sequence[Row]) -> NotFound:
    tally: dict[str, int] = {}
    for row in rows:
        tally[row.state.state] = tally.get(row.state.state, 0) + 1
    open_ = sum(tally.get(state, 0) for state in (steps.PENDING, steps.CLAIMED, steps.NEEDS_REVIEW))
    words = ", ".join(f"{count} {state}" for state, count in sorted(tally.items())) or "no steps"
    return NotFound(
        f"no step is ready: {words}" if open_ else f"no step is left to claim: {words}",
        code="no-step-ready" if open_ else "no-step-left",
        hint="tclog step list" if rows else "tclog step add --help",
        steps=tally,
    )


def next_waiting(
    client: Client, *, lease_s: float | None, timeout_s: float | None
) -> Protocol[Step]:
    """Claim the next step as soon as one is ready.

    Raises:
        WaitTimeout: none became ready in time.
        NotFound: none is left.
        Refused: those left wait for steps that are stuck.
    """

    def look() -> Protocol[Step | None]:
        try:
            return (yield from claim_next(client, lease_s=lease_s))
        except NotFound as missing:
            tally = missing.details["steps"]
            if missing.code == "no-step-left":
                raise
            stuck = [state for state in steps.STUCK if tally.get(state)]
            if stuck and not (tally.get(steps.CLAIMED) or tally.get(steps.NEEDS_REVIEW)):
                raise Refused(
                    f"{missing.message}; what is pending waits for a step that is {stuck[0]}",
                    code="wait-blocked",
                    hint="tclog step list",
                ) from None
            return None

    return (
        yield from poll(
            client,
            look,
            timeout_s=timeout_s,
            timed_out=lambda: WaitTimeout(
                f"no step became ready within {timeout_s:g} s", hint="tclog step list"
            ),
        )
    )


@operation("step.renew", together=True)
def renew_step(
    client: Client,
    step: str,
    *,
    lease_s: Seconds | None = None,
    fence: int | None = None,
    id: str | None = None,
) -> Protocol[Step]:
    """Extend the lease of a step that one holds."""
    command = renew_command(client, step, lease_s, fence)
    done = yield from change_step(client, step, command, id_key=id)
    head, state = (done.version, done.state) if done.head is None else still_held(client, done)
    return (yield from read_result(client, step, head, state))


def renew_command(
    client: Client, step: str, lease_s: float | None, fence: int | None
) -> steps.Renew:
    """Check the lease that is asked for."""
    lease_ms = None if lease_s is None else lease_ms_of(lease_s)
    return steps.Renew(step, client.agent, lease_ms, fence, client.session)


@operation("step.release", together=True)
def release_step(
    client: Client,
    step: str,
    *,
    fence: int | None = None,
    force: bool = False,
    reason: str | None = None,
    id: str | None = None,
) -> Protocol[Step]:
    """Give a claim back; with ``force`` another agent's, for a ``reason``."""
    command = release_command(client, step, fence, force, reason)
    return (yield from changed_step(client, step, command, id_key=id))


def check_steal(step: str, steal: bool, reason: str | None) -> str | None:
    """Return the reason to steal a claim, or None; stealing needs one.

    Raises:
        UsageError: ``reason-missing``.
    """
    if steal and not reason:
        raise UsageError(
            "stealing a claim needs a reason",
            code="reason-missing",
            hint=to_run("tclog step show", step),
        )
    return None if reason is None else check_short("reason", reason)


def release_command(
    client: Client, step: str, fence: int | None, force: bool, reason: str | None
) -> steps.Release:
    """Check that what is forced has a reason."""
    check_forced(step, force, reason)
    return steps.Release(step, client.agent, fence, client.session, force, reason)
