"""Steps: add, claim, claim the next ready one, renew, note, release, complete, reopen, wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.append import Appended, append
from tclog.chain.blobs import read_content
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.read import list_chains, read_at, read_head, read_version
from tclog.clock import SECOND_US, format_us, parse_us, rfc3339
from tclog.domain import steps
from tclog.domain.content import make_content
from tclog.domain.memory import check_value
from tclog.errors import NotFound, Refused, UsageError, WaitTimeout
from tclog.event import Version, chain_id, chain_name, validate_name
from tclog.log.results import Step
from tclog.log.waiting import poll

DEPTH_MAX = 10_000
NEXT_ROUNDS_MAX = 50


class Row(NamedTuple):
    """One step as the store has it now: its head (None: no version) and unpacked state."""

    id: str
    head: Version | None
    state: steps.State


class _NeedsDependencies(Exception):  # noqa: N818 - control flow inside this module, never shown
    """The step turned out to have dependencies that were not looked at."""

    def __init__(self, after: tuple[str, ...]) -> None:
        super().__init__()
        self.after = after


def read_rows(
    client: Client, ids: Sequence[str], *, at_us: int | None = None
) -> Protocol[list[Row]]:
    """Read steps side by side: one GET each when warm."""
    chains = [chain_id("step", validate_name("step", name)) for name in ids]
    if at_us is None:
        heads = yield from together(*(read_head(client, chain) for chain in chains))
    else:
        heads = yield from together(*(read_at(client, chain, at_us) for chain in chains))
    return [
        Row(name, head, state_of(chain, head))
        for name, chain, head in zip(ids, chains, heads, strict=True)
    ]


def add_step(
    client: Client,
    step: str,
    *,
    title: str | None = None,
    priority: int = 0,
    after: Sequence[str] = (),
    id_key: str | None = None,
) -> Protocol[Step]:
    """Define a step and what it comes after.

    Raises:
        Refused: ``step-exists`` with other words; ``step-cycle``: it would come after itself.
    """
    validate_name("step", step)
    names = tuple(dict.fromkeys(validate_name("step", name) for name in after))
    if len(names) > steps.AFTER_MAX:
        raise UsageError(f"a step comes after at most {steps.AFTER_MAX} others", code="bad-value")
    if title is not None:
        _check_short("title", title)
    if not -(2**31) <= priority < 2**31:
        raise UsageError(f"{priority} is no priority", code="bad-value")
    if names:
        yield from _refuse_cycle(client, step, names)
    command = steps.Add(step, client.agent, title, priority, names)
    done = yield from _change(client, step, command, id_key=id_key)
    if names:
        # Somebody may have closed the circle from the other side meanwhile. Whoever commits last
        # sees both, so at least one of the two withdraws; neither step was ever ready.
        try:
            yield from _refuse_cycle(client, step, names)
        except Refused:
            yield from _change(client, step, steps.Withdraw(step, client.agent))
            raise
    return (yield from _result(client, step, done.version, done.state))


def _refuse_cycle(client: Client, step: str, after: Sequence[str]) -> Protocol[None]:
    graph: dict[str, Sequence[str]] = {step: after}
    layer = [name for name in after if name != step]
    for _ in range(DEPTH_MAX):
        if not layer:
            break
        rows = yield from read_rows(client, layer)
        for row in rows:
            graph[row.id] = row.state.after
        layer = [n for n in dict.fromkeys(n for r in rows for n in r.state.after) if n not in graph]
    cycle = steps.find_cycle(step, graph)
    if cycle is not None:
        raise Refused(
            f"step {step} would come after itself: {' after '.join(cycle)}",
            code="step-cycle",
            hint=f"tclog step show {cycle[1]}",
        )


def claim_step(
    client: Client,
    step: str,
    *,
    lease_s: float | None = None,
    takeover: bool = True,
    id_key: str | None = None,
) -> Protocol[Step]:
    """Claim a step, renew one's own claim, or take over one whose lease has ended.

    Raises:
        Refused: held by somebody else (who, until when), waiting for others, ended.
    """
    lease_ms = _lease_ms(lease_s)
    after: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    for _ in range(2 + steps.AFTER_MAX):
        command = steps.Claim(
            step,
            client.agent,
            lease_ms,
            tuple(f"{row.id} ({_says(row.state)})" for row in rows if not _complete(row)),
            {row.id: row.head.seq for row in rows if row.head is not None},
            takeover,
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
            done = yield from _append(
                client,
                step,
                decide,
                bound=id_key and {"op": "step.claim", "step": step, "lease_ms": lease_ms},
                id_key=id_key,
                optimistic=True,
            )
        except _NeedsDependencies as needs:
            after = needs.after
            rows = yield from read_rows(client, after)
            continue
        return (yield from _result(client, step, done.version, done.state))
    raise Refused(f"the dependencies of step {step} keep changing", code="step-waiting")


def _complete(row: Row) -> bool:
    return row.state.state == steps.COMPLETE


def _says(state: steps.State) -> str:
    return f"claimed by {state.agent}" if state.state == steps.CLAIMED else state.state


def _lease_ms(lease_s: float | None) -> int:
    if lease_s is None:
        return steps.LEASE_MS_DEFAULT
    lease_ms = round(lease_s * 1000)
    if not steps.LEASE_MS_MIN <= lease_ms <= steps.LEASE_MS_MAX:
        raise UsageError(f"a lease lasts 100 ms to 30 days, not {lease_s:g} s", code="bad-lease")
    return lease_ms


def claim_waiting(
    client: Client, step: str, *, lease_s: float | None, timeout_s: float | None
) -> Protocol[Step]:
    """Claim a step as soon as it can be had.

    Between two attempts the chain is only read; a new attempt is made when the step changed, or
    when the holder's lease should have ended.

    Raises:
        WaitTimeout: it could not be had in time.
        Refused: it never can be: complete or stuck.
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
            return (yield from claim_step(client, step, lease_s=lease_s))
        except Refused as refused:
            if refused.code not in ("step-held", "step-waiting"):
                raise
            left_s = refused.details.get("lease_left_s")
            retry_s[0] = client.monotonic_s() - begun_s + (30.0 if left_s is None else left_s)
            last[:] = [refused]
            return None

    def timed_out() -> WaitTimeout:
        return WaitTimeout(
            f"step {step} could not be claimed within {timeout_s:g} s: {last[0].message}",
            hint=f"tclog step show {step}",
        )

    return (yield from poll(client, look, timeout_s=timeout_s, timed_out=timed_out))


def claim_next(
    client: Client, *, lease_s: float | None = None, id_key: str | None = None
) -> Protocol[Step]:
    """Claim the ready step with the highest priority, the oldest first.

    Also takes over a step whose lease has ended, when nothing else is ready.

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
                return (
                    yield from claim_step(
                        client, row.id, lease_s=lease_s, takeover=False, id_key=id_key
                    )
                )
            except Refused:
                if ready:
                    ready.insert(0, ready.pop(int(client.jitter() * len(ready))))
        lapsed = [row for row in rows if _seems_lapsed(client, row)]
        for row in lapsed:
            try:
                return (yield from claim_step(client, row.id, lease_s=lease_s, id_key=id_key))
            except Refused:
                continue
        again = yield from list_rows(client)
        if not _ready(again):
            raise _nothing_ready(again)
    raise Refused(
        "other workers took every ready step", code="contended", hint="tclog claim --next"
    )


def _ready(rows: Sequence[Row]) -> list[Row]:
    done = {row.id for row in rows if _complete(row)}
    ready = [
        row
        for row in rows
        if row.state.state == steps.PENDING and row.state.added and done.issuperset(row.state.after)
    ]
    return sorted(ready, key=lambda r: (-r.state.priority, r.state.added_at or "", r.id))


def _seems_lapsed(client: Client, row: Row) -> bool:
    """Whether an attempt is worth making; the verdict is the store's clock's, not this one's."""
    if row.state.state != steps.CLAIMED or row.head is None:
        return False
    ends_us = steps.lease_ends_us(row.state, row.head.seq, row.head.stored)
    if ends_us is None:
        # Only this process's own write is without a stamp; its lease was then just begun.
        ends_us = parse_us(row.head.at) + row.state.lease_ms * 1000
    return row.state.agent != client.agent and (
        client.clock.now_us() >= ends_us + steps.LEASE_MARGIN_US
    )


def _nothing_ready(rows: Sequence[Row]) -> NotFound:
    tally: dict[str, int] = {}
    for row in rows:
        tally[row.state.state] = tally.get(row.state.state, 0) + 1
    open_ = tally.get(steps.PENDING, 0) + tally.get(steps.CLAIMED, 0)
    words = ", ".join(f"{count} {state}" for state, count in sorted(tally.items())) or "no steps"
    return NotFound(
        f"no step is ready: {words}" if open_ else f"no step is left to claim: {words}",
        code="no-step-ready" if open_ else "no-step-left",
        hint="tclog step list" if rows else "tclog step add ID",
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
            if stuck and not tally.get(steps.CLAIMED):
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


def list_rows(client: Client, *, at_us: int | None = None) -> Protocol[list[Row]]:
    """Read all steps of the project."""
    chains = yield from list_chains("step")
    return (yield from read_rows(client, [chain_name(chain) for chain in chains], at_us=at_us))


def list_steps(
    client: Client, *, state: str | None = None, at_us: int | None = None
) -> Protocol[list[Step]]:
    """Return all steps in the order in which they would be claimed, or those in one state."""
    rows = yield from list_rows(client, at_us=at_us)
    rows = [
        row for row in rows if row.state.added or row.state.fence or row.state.state != "pending"
    ]
    done = {row.id for row in rows if _complete(row)}
    found = [show_row(row.id, row.head, row.state, _waiting(row.state, done)) for row in rows]
    found.sort(
        key=lambda s: (
            -s.priority,
            next(r for r in rows if r.id == s.id).state.added_at or "",
            s.id,
        )
    )
    return [step for step in found if state is None or step.state == state]


def _waiting(state: steps.State, done: set[str]) -> tuple[str, ...]:
    return tuple(name for name in state.after if name not in done)


def show_step(client: Client, step: str, *, at_us: int | None = None) -> Protocol[Step]:
    """Return one step with its last note and hand-off.

    Raises:
        NotFound: nobody ever mentioned it.
    """
    (row,) = yield from read_rows(client, [step], at_us=at_us)
    if row.head is None:
        raise NotFound(
            f"there is no step {step}",
            code="step-missing",
            hint=f"tclog step add {step}",
            step=step,
        )
    return (yield from _result(client, step, row.head, row.state, notes=True, at_us=at_us))


def _result(
    client: Client,
    step: str,
    head: Version | None,
    state: steps.State,
    *,
    notes: bool = False,
    at_us: int | None = None,
) -> Protocol[Step]:
    waiting: tuple[str, ...] = ()
    if state.state == steps.PENDING and state.after:
        rows = yield from read_rows(client, state.after, at_us=at_us)
        waiting = _waiting(state, {row.id for row in rows if _complete(row)})
    result = show_row(step, head, state, waiting)
    if not notes or head is None:
        return result
    if state.note_version:
        version = yield from _at(client, head, state.note_version)
        for event in version.events:
            if event.op == "step.note":
                text = yield from read_content(event.body["note"])
                result = result._replace(note=text, note_by=event.agent)
    if state.handoff_version:
        version = yield from _at(client, head, state.handoff_version)
        for event in version.events:
            if "handoff" in event.body:
                result = result._replace(
                    handoff={"from": event.agent, **(yield from _opened(event.body["handoff"]))}
                )
    return result


def _opened(handoff: Mapping[str, Any]) -> Protocol[dict[str, Any]]:
    opened: dict[str, Any] = dict(handoff)
    for name in ("note", "changed_files"):
        if name in opened:
            opened[name] = yield from read_content(opened[name])
    return opened


def _at(client: Client, head: Version, seq: int) -> Protocol[Version]:
    if seq == head.seq:
        return head
    return (yield from read_version(client, head.chain, seq))


def show_row(step: str, head: Version | None, state: steps.State, waiting: tuple[str, ...]) -> Step:
    """Make the result of one step from its head and state; reads nothing."""
    shown = steps.READY if state.state == steps.PENDING and not waiting else state.state
    lease_until = None
    if state.state == steps.CLAIMED and head is not None:
        ends_us = steps.lease_ends_us(state, head.seq, head.stored)
        if ends_us is None:
            # The store has not told the stamp of what was just written; the log's own stamp of it
            # is earlier, so the lease ends no sooner than this.
            ends_us = parse_us(head.at) + state.lease_ms * 1000
        lease_until = format_us(ends_us)
    return Step(
        id=step,
        state=shown,
        agent=state.agent,
        fence=state.fence,
        lease_until=lease_until,
        version=0 if head is None else head.seq,
        title=state.title,
        priority=state.priority,
        after=state.after,
        waiting=waiting,
        at=None if head is None else rfc3339(head.at),
    )


# -- changes of one step ---------------------------------------------------------------------------


def renew_step(
    client: Client,
    step: str,
    *,
    lease_s: float | None = None,
    fence: int | None = None,
    id_key: str | None = None,
) -> Protocol[Step]:
    """Extend the lease of a step that one holds."""
    lease_ms = None if lease_s is None else _lease_ms(lease_s)
    command = steps.Renew(step, client.agent, lease_ms, fence)
    return (yield from _changed(client, step, command, id_key=id_key))


def note_step(client: Client, step: str, text: str, *, id_key: str | None = None) -> Protocol[Step]:
    """Say something about a step; anybody may, and the holder's note renews its lease."""
    check_value("text", text)
    content, blobs = make_content("text", text)
    command = steps.Note(step, content)
    done = yield from _change(client, step, command, blobs=blobs, id_key=id_key)
    result = yield from _result(client, step, done.version, done.state)
    return result._replace(note=text, note_by=client.agent)


def release_step(
    client: Client, step: str, *, fence: int | None = None, id_key: str | None = None
) -> Protocol[Step]:
    """Give a claim back."""
    command = steps.Release(step, client.agent, fence)
    return (yield from _changed(client, step, command, id_key=id_key))


def reopen_step(client: Client, step: str, *, id_key: str | None = None) -> Protocol[Step]:
    """Make an ended or stuck step pending again."""
    yield from show_step(client, step)
    return (yield from _changed(client, step, steps.Reopen(step), id_key=id_key))


def complete_step(
    client: Client,
    step: str,
    *,
    outcome: str = steps.COMPLETE,
    fence: int | None = None,
    force: bool = False,
    reason: str | None = None,
    note: str | None = None,
    to: str | None = None,
    next_action: str | None = None,
    changed_files: Sequence[str] | None = None,
    exit_status: int | None = None,
    id_key: str | None = None,
) -> Protocol[Step]:
    """End the work on a step, with what the next agent should know.

    Raises:
        Refused: not the holder (without ``force``), a stale ``fence``, already ended.
    """
    if force and not reason:
        raise UsageError(
            "a forced completion needs a reason",
            code="reason-missing",
            hint=f"tclog complete {step} --force --reason TEXT",
        )
    handoff: dict[str, Any] = {}
    blobs = []
    if to is not None:
        handoff["to"] = validate_name("agent", to)
    if next_action is not None:
        handoff["next_action"] = _check_short("next action", next_action)
    if exit_status is not None:
        handoff["exit_status"] = exit_status
    for name, kind, value in (
        ("note", "text", note),
        ("changed_files", "json", None if changed_files is None else list(changed_files)),
    ):
        if value is not None:
            check_value(kind, value)
            handoff[name], needed = make_content(kind, value)
            blobs += needed
    command = steps.Complete(step, client.agent, outcome, fence, force, reason, handoff or None)
    done = yield from _change(client, step, command, blobs=blobs, id_key=id_key)
    result = yield from _result(client, step, done.version, done.state)
    if handoff:
        opened = yield from _opened(handoff)
        result = result._replace(handoff={"from": client.agent, **opened})
    return result


def _check_short(what: str, text: str) -> str:
    check_value("text", text)
    if len(text.encode()) > 4096:
        raise UsageError(f"the {what} has over 4096 bytes", code="bad-value", hint="use --note")
    return text


def _changed(
    client: Client, step: str, command: steps.Command, *, id_key: str | None
) -> Protocol[Step]:
    done = yield from _change(client, step, command, id_key=id_key)
    return (yield from _result(client, step, done.version, done.state))


def _change(
    client: Client,
    step: str,
    command: steps.Command,
    *,
    blobs: Sequence[Any] = (),
    id_key: str | None = None,
) -> Protocol[Appended]:
    return (
        yield from _append(
            client,
            step,
            lambda state, place: steps.decide(state, command, place),
            bound=id_key and {"op": type(command).__name__, "with": command._asdict()},
            id_key=id_key,
            blobs=blobs,
        )
    )


def _append(
    client: Client,
    step: str,
    decide: Callable[[Any, Any], Any],
    *,
    bound: Any,
    id_key: str | None,
    blobs: Sequence[Any] = (),
    optimistic: bool = False,
) -> Protocol[Appended]:
    return (
        yield from append(
            client,
            chain_id("step", validate_name("step", step)),
            decide,
            blobs=blobs,
            once=once(id_key, bound or {}),
            optimistic=optimistic,
        )
    )


# -- waiting ---------------------------------------------------------------------------------------


def wait_for_steps(
    client: Client, ids: Sequence[str], *, count: int | None = None, timeout_s: float | None
) -> Protocol[list[Step]]:
    """Wait until ``count`` of the steps (default: all) are complete; returns those that are.

    Raises:
        Refused: ``wait-blocked`` at once when too many are blocked, failed or wait for review.
        WaitTimeout: not in time.
    """
    ids = list(dict.fromkeys(ids))
    needed = len(ids) if count is None else count
    if not 1 <= needed <= len(ids):
        raise UsageError(f"cannot wait for {needed} of {len(ids)} steps", code="bad-count")
    last: list[Row] = []

    def look() -> Protocol[list[Step] | None]:
        rows = yield from read_rows(client, ids)
        last[:] = rows
        complete = [row for row in rows if _complete(row)]
        if len(complete) >= needed:
            return [show_row(row.id, row.head, row.state, ()) for row in complete]
        stuck = [row for row in rows if row.state.state in steps.STUCK]
        if len(rows) - len(stuck) < needed:
            raise Refused(
                "; ".join(f"step {r.id} is {r.state.state}, set by {r.state.agent}" for r in stuck)
                + ": the wait cannot end",
                code="wait-blocked",
                hint=f"tclog step show {stuck[0].id}",
                steps={row.id: row.state.state for row in rows},
            )
        return None

    def timed_out() -> WaitTimeout:
        missing = [f"{row.id} ({_says(row.state)})" for row in last if not _complete(row)]
        return WaitTimeout(
            f"after {timeout_s:g} s not complete: {', '.join(missing)}",
            hint=f"tclog step show {next(row.id for row in last if not _complete(row))}",
            steps={row.id: row.state.state for row in last},
        )

    return (yield from poll(client, look, timeout_s=timeout_s, timed_out=timed_out))


def lease_left_s(client: Client, step: Step) -> float | None:
    """Return how long a lease still lasts by the corrected clock; for display only."""
    if step.lease_until is None:
        return None
    return (parse_us(step.lease_until) - client.clock.now_us()) / SECOND_US
