"""Steps: add, list, show, note, reopen, wait; what claims and hand-offs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from tclog.chain import show
from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.read import (
    list_chains,
    read_at,
    read_heads,
    read_sound,
    read_standing,
    read_version,
)
from tclog.chain.results import Step
from tclog.clock import Hlc, parse_us
from tclog.domain import steps
from tclog.domain.content import make_content
from tclog.domain.memory import check_value
from tclog.errors import NotFound, Refused, StoreError, UsageError, WaitTimeout, to_run
from tclog.event import Version, chain_id, chain_name, validate_name
from tclog.log.operation import WAIT_S, Count, Positive, Seconds, operation
from tclog.log.waiting import poll

DEPTH_MAX = 10_000
# Only for listings: in the log such a step stays claimed until an agent takes it over.
LAPSED = "lapsed"
# `cancelled` is of a later release.
StepState = Literal[
    "pending", "ready", "claimed", "lapsed", "complete", "blocked", "needs_review", "failed"
]
# What a holder does with the claim that it believes to hold.
_HOLDERS = (steps.Renew, steps.Note, steps.Release, steps.Complete)


class Row(NamedTuple):
    """One step as the store has it now: its head (None: no version) and unpacked state."""

    id: str
    head: Version | None
    state: steps.State


def read_rows(
    client: Client, ids: Sequence[str], *, at: Hlc | None = None, all_sound: bool = True
) -> Protocol[list[Row]]:
    """Read steps side by side: one GET each when warm.

    Unless ``all_sound``, those whose chains are damaged are left out.
    """
    chains = [chain_id("step", validate_name("step", name)) for name in ids]
    if not all_sound:
        heads = yield from read_sound(client, chains, at)
    elif at is None:
        heads = yield from read_heads(client, chains)
    else:
        heads = yield from together(*(read_at(client, chain, at) for chain in chains))
    return [
        Row(name, head, state_of(chain, head))
        for name, chain, head in zip(ids, chains, heads, strict=True)
        if all_sound or chain not in client.left_out
    ]


def _standing(client: Client, rows: Sequence[Row]) -> Protocol[list[Row]]:
    """Return steps as they are shown: at the newest version that changed something."""
    heads = yield from together(*(read_standing(client, row.head) for row in rows))
    return [
        Row(row.id, head, state_of(chain_id("step", row.id), head))
        for row, head in zip(rows, heads, strict=True)
    ]


@operation("step.add", together=True)
def add_step(
    client: Client,
    step: str,
    *,
    after: Sequence[str] = (),
    title: str | None = None,
    priority: int = 0,
    id: str | None = None,
) -> Protocol[Step]:
    """Define a step and what it comes after.

    Raises:
        Refused: ``step-exists`` with other words; ``step-cycle``: it would come after itself.
    """
    command = add_command(client, step, title, priority, after)
    names = command.after
    unknown: dict[str, bool] = {}

    def look(some: Sequence[str]) -> Protocol[list[tuple[str, Sequence[str]]]]:
        rows = yield from read_rows(client, some)
        unknown.update({row.id: not steps.is_known(row.state) for row in rows})
        return [(row.id, row.state.after) for row in rows]

    if names:
        yield from refuse_cycle(step, names, look)
    done = yield from change_step(client, step, command, id_key=id)
    if names:
        # Somebody may have closed the circle from the other side meanwhile. Whoever commits last
        # sees both, so at least one of the two withdraws; neither step was ever ready.
        try:
            yield from refuse_cycle(step, names, look)
        except Refused:
            yield from change_step(client, step, steps.Withdraw(step, client.agent))
            raise
    if names and id is not None:
        yield from _refuse_withdrawn(client, step)
    missing = [name for name in names if unknown.get(name)]
    if missing:
        from tclog.log.nearby import note_unknown_steps

        note_unknown_steps(client, missing, f"{step} comes after")
    return (yield from read_result(client, step, done.version, done.state))


def _refuse_withdrawn(client: Client, step: str) -> Protocol[None]:
    """Refuse a repetition as the first one was that closed a circle: by now it may be open again.

    Raises:
        Refused: ``step-cycle``.
    """
    (row,) = yield from read_rows(client, [step])
    if not row.state.added:
        raise Refused(
            f"step {step} was added and taken back: it would have come after itself",
            code="step-cycle",
            hint=to_run("tclog step show", step),
        )


def add_command(
    client: Client, step: str, title: str | None, priority: int, after: Sequence[str]
) -> steps.Add:
    """Check the definition of a step."""
    validate_name("step", step)
    names = tuple(dict.fromkeys(validate_name("step", name) for name in after))
    if len(names) > steps.AFTER_MAX:
        raise UsageError(f"a step comes after at most {steps.AFTER_MAX} others", code="bad-value")
    if title is not None:
        check_short("title", title)
    if not -(2**31) <= priority < 2**31:
        raise UsageError(f"{priority} is not a valid priority", code="bad-value")
    return steps.Add(step, client.agent, title, priority, names)


def refuse_cycle(
    step: str,
    after: Sequence[str],
    look: Callable[[Sequence[str]], Protocol[list[tuple[str, Sequence[str]]]]],
) -> Protocol[None]:
    """Refuse a step that would come after itself; ``look`` says what steps come after.

    Raises:
        Refused: ``step-cycle``.
    """
    graph: dict[str, Sequence[str]] = {step: after}
    layer = [name for name in after if name != step]
    for _ in range(DEPTH_MAX):
        if not layer:
            break
        found = yield from look(layer)
        graph.update(found)
        layer = [n for n in dict.fromkeys(n for _, names in found for n in names) if n not in graph]
    cycle = steps.find_cycle(step, graph)
    if cycle is not None:
        raise Refused(
            f"step {step} would come after itself: {' after '.join(cycle)}",
            code="step-cycle",
            hint=to_run("tclog step show", cycle[1]),
        )


def claim_order(row: Row) -> tuple[int, str, str]:
    """Sort steps as `claim --next` takes them: the highest priority, then the oldest."""
    return -row.state.priority, row.state.added_at or "", row.id


def is_complete(row: Row) -> bool:
    """Whether a step is complete."""
    return steps.is_complete(row.state)


def list_rows(client: Client, *, at: Hlc | None = None) -> Protocol[list[Row]]:
    """Read all steps of the project; what was never added or claimed is none."""
    chains = yield from list_chains(client, "step")
    names = [chain_name(chain) for chain in chains]
    rows = yield from read_rows(client, names, at=at, all_sound=False)
    return [row for row in rows if steps.is_known(row.state)]


def has_lapsed(client: Client, row: Row, at: Hlc | None = None) -> bool:
    """Whether a claim's lease has ended, by this client's clock or at a moment.

    The store's clock decides, when the step is taken over.
    """
    if row.state.state != steps.CLAIMED or row.head is None:
        return False
    ends_us = steps.lease_ends_us(row.state, row.head.seq, row.head.stored, row.head.at)
    if ends_us is None:
        # Only this process's own write is without a stamp; its lease was then just begun.
        ends_us = parse_us(row.head.at) + row.state.lease_ms * 1000
    now_us = client.clock.now_us() if at is None else parse_us(at)
    return now_us >= ends_us + steps.LEASE_MARGIN_US


@operation("step.list", acts=False, excludes=[("ready", "state")])
def list_steps(
    client: Client,
    *,
    state: StepState | None = None,
    ready: bool = False,
    at: Hlc | None = None,
    limit: Count | None = None,
) -> Protocol[list[Step]]:
    """Return all steps in the order in which they would be claimed, or those in one state.

    ``lapsed`` counts as a state here, too: the claimed steps whose lease has ended.

    With ``ready`` those that ``claim --next`` gives out: the ready ones, then the lapsed ones.

    The token of another session's claim is left out: with it, this session could use that claim.
    """
    rows = yield from list_rows(client, at=at)
    rows = yield from _standing(client, rows)
    rows = sorted(rows, key=claim_order)
    done = {row.id for row in rows if is_complete(row)}
    found = [
        show.show_step(
            row.id,
            row.head,
            row.state,
            steps.waits_for(row.state, done.__contains__),
        )._replace(lapsed=has_lapsed(client, row, at))
        for row in rows
    ]
    found = [step if is_own(client, step) else step._replace(fence=None) for step in found]
    lapsed = [step for step in found if step.lapsed]
    if ready:
        found = [step for step in found if step.state == steps.READY] + lapsed
    elif state is not None:
        found = lapsed if state == LAPSED else [step for step in found if step.state == state]
    return found[: limit or None]


def is_own(client: Client, step: Step) -> bool:
    """Whether a step is free, or claimed by this very session."""
    mine = (step.agent, step.session) == (client.agent, client.session)
    return step.state != steps.CLAIMED or mine


@operation("step.show", acts=False, together=True, apart=("at",))
def show_step(client: Client, step: str, *, at: Hlc | None = None) -> Protocol[Step]:
    """Return one step with its last note and hand-off.

    Raises:
        NotFound: nobody ever mentioned it, or had mentioned it then.
    """
    (row,) = yield from _standing(client, (yield from read_rows(client, [step], at=at)))
    if row.head is None:
        if at is None:
            raise steps.missing(step)
        raise NotFound(
            f"there was no step {step} then",
            code="step-missing",
            hint=to_run("tclog step show", step),
            step=step,
        )
    return (yield from read_result(client, step, row.head, row.state, notes=True, at=at))


def read_result(
    client: Client,
    step: str,
    head: Version | None,
    state: steps.State,
    *,
    notes: bool = False,
    at: Hlc | None = None,
) -> Protocol[Step]:
    """Make the result of a step at a version: what it waits for, and its notes if asked.

    Without ``notes`` this is the answer to a change that is committed. It never fails: should the
    store be gone by now, the step is taken to wait for all that it comes after.
    """
    waiting: tuple[str, ...] = ()
    if state.state == steps.PENDING and state.after:
        try:
            rows = yield from read_rows(client, state.after, at=at)
            done = {row.id for row in rows if is_complete(row)}
            waiting = steps.waits_for(state, done.__contains__)
        except StoreError:
            if notes:
                raise
            waiting = state.after
    result = show.show_step(step, head, state, waiting)
    if not notes or head is None:
        return result
    result = result._replace(lapsed=has_lapsed(client, Row(step, head, state), at))
    return (
        yield from show.show_notes(
            result, head, state, lambda seq: read_version(client, head.chain, seq)
        )
    )


@operation("step.note", together=True)
def note_step(
    client: Client,
    step: str,
    text: str,
    *,
    fence: int | None = None,
    id: str | None = None,
) -> Protocol[Step]:
    """Say something about a step; anybody may, and the holder's note renews its lease."""
    command, blobs = note_command(step, text, fence)
    done = yield from change_step(client, step, command, blobs=blobs, id_key=id)
    state: steps.State = done.state
    named = state.state == steps.CLAIMED and state.agent == client.agent
    if named and not steps.holds(state, client.agent, client.session, fence):
        client.warn(
            f"step {step} is claimed by {state.agent} in session {state.session}, not in this one:"
            " the note does not renew the lease"
        )
    result = yield from read_result(client, step, done.version, state)
    return result._replace(note=text, note_by=client.agent)


def note_command(
    step: str, text: str, fence: int | None = None
) -> tuple[steps.Note, Sequence[Any]]:
    """Check a note; return the command, and the blobs that it needs."""
    check_value("text", text)
    content, blobs = make_content("text", text)
    return steps.Note(step, content, fence), blobs


@operation("step.reopen", together=True)
def reopen_step(client: Client, step: str, *, id: str | None = None) -> Protocol[Step]:
    """Make an ended or stuck step pending again."""
    yield from show_step(client, step)
    return (yield from changed_step(client, step, steps.Reopen(step), id_key=id))


def check_short(what: str, text: str) -> str:
    """Return a text that is short enough to stand in a state or a message."""
    check_value("text", text)
    if len(text.encode()) > 4096:
        raise UsageError(f"the {what} has over 4096 bytes", code="bad-value")
    return text


def check_forced(step: str, force: bool, reason: str | None) -> None:
    """Check that force comes with a reason.

    Raises:
        UsageError: ``reason-missing``.
    """
    if force and not reason:
        raise UsageError(
            "force needs a reason",
            code="reason-missing",
            hint=to_run("tclog step show", step),
        )
    if reason is not None:
        check_short("reason", reason)


def changed_step(
    client: Client, step: str, command: steps.Command, *, id_key: str | None
) -> Protocol[Step]:
    """Append one command and return the step after it."""
    done = yield from change_step(client, step, command, id_key=id_key)
    return (yield from read_result(client, step, done.version, done.state))


def change_step(
    client: Client,
    step: str,
    command: steps.Command,
    *,
    blobs: Sequence[Any] = (),
    id_key: str | None = None,
) -> Protocol[Appended]:
    """Append one command to the chain of a step."""
    try:
        return (
            yield from append_step(
                client,
                step,
                lambda state, place: steps.decide(state, command, place),
                bound=id_key and words_of(command),
                id_key=id_key,
                blobs=blobs,
            )
        )
    except Refused as refused:
        if isinstance(command, _HOLDERS):
            from tclog.log.lost import tell_lost

            yield from tell_lost(client, step, refused)
        raise


def words_of(command: steps.Command) -> dict[str, Any]:
    """Return what an idempotency key stands for; a later session may repeat the command."""
    words = command._asdict()
    words.pop("session", None)
    return {"op": type(command).__name__, "with": words}


def append_step(
    client: Client,
    step: str,
    decide: Callable[[Any, Any], Any],
    *,
    bound: Any,
    id_key: str | None,
    blobs: Sequence[Any] = (),
    optimistic: bool = False,
) -> Protocol[Appended]:
    """Append what ``decide`` makes of a step; ``bound`` is what ``id_key`` stands for."""
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


@operation("step.wait", acts=False, excludes=[("any", "count")])
def wait_for_steps(
    client: Client,
    *ids: str,
    any: bool = False,
    count: Positive | None = None,
    timeout_s: Seconds | None = WAIT_S,
    tell: Callable[[str], None] | None = None,
) -> Protocol[list[Step]]:
    """Wait until all steps are complete, or ``any``, or ``count`` of them; returns those that are.

    ``tell`` is called for steps that do not exist yet, before the wait.

    Raises:
        Refused: ``wait-blocked`` at once when too many are blocked, failed or cancelled.
        WaitTimeout: not in time.
    """
    names = list(dict.fromkeys(ids))
    needed = 1 if any else len(names) if count is None else count
    if not 1 <= needed <= len(names):
        raise UsageError(f"cannot wait for {needed} of {len(names)} steps", code="bad-count")
    last: list[Row] = []

    def look() -> Protocol[list[Step] | None]:
        rows = yield from read_rows(client, names)
        if not last:
            unknown = [row.id for row in rows if not steps.is_known(row.state)]
            for name in unknown:
                from tclog.log.nearby import like, meant

                near = meant(like(client, "step", name))
                (tell or client.warn)(f"there is no step {name} yet{near}")
        last[:] = rows
        complete = [row for row in rows if is_complete(row)]
        if len(complete) >= needed:
            complete = yield from _standing(client, complete)
            return [show.show_step(row.id, row.head, row.state, ()) for row in complete]
        stuck = [row for row in rows if row.state.state in steps.STUCK]
        if len(rows) - len(stuck) < needed:
            raise Refused(
                "; ".join(f"step {r.id} is {r.state.state}, set by {r.state.agent}" for r in stuck)
                + ": the wait cannot end",
                code="wait-blocked",
                hint=to_run("tclog step show", stuck[0].id),
                steps={row.id: row.state.state for row in rows},
            )
        return None

    def timed_out() -> WaitTimeout:
        missing = [row for row in last if not is_complete(row)]
        words = [
            f"{row.id} ({says(row.state) if steps.is_known(row.state) else 'does not exist'})"
            for row in missing
        ]
        known = steps.is_known(missing[0].state)
        return WaitTimeout(
            f"after {timeout_s:g} s not complete: {', '.join(words)}",
            hint=to_run("tclog step show", missing[0].id) if known else "tclog step list",
            steps={row.id: row.state.state for row in last},
        )

    return (yield from poll(client, look, timeout_s=timeout_s, timed_out=timed_out))


def says(state: steps.State) -> str:
    """Say a state in words, with the holder."""
    return f"claimed by {state.agent}" if state.state == steps.CLAIMED else state.state
