"""Steps: claims with leases and fencing tokens, hand-offs, dependencies.

The first valid claim in a step's chain holds it. Its fencing token is its version number, so it
never restarts. A lease is judged by the store's clock only: it ends ``lease_ms`` after the store's
stamp of the holder's last version in the chain, and a takeover carries the stamp of its own event,
which the store gave before the takeover was decided. Both stamps are in the log, so the fold comes
to the same verdict on every machine and at any later time, and ignores what was not allowed: a
claim on a held step, a completion by somebody else without force, a stale token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.clock import SECOND_US, Stamp, format_us, parse_us
from tclog.domain.content import Content
from tclog.domain.decision import Decision, Draft, Place, Unchanged
from tclog.errors import Refused, UsageError, to_run
from tclog.event.records import Event

PENDING = "pending"
CLAIMED = "claimed"
COMPLETE = "complete"
BLOCKED = "blocked"
NEEDS_REVIEW = "needs_review"
FAILED = "failed"
READY = "ready"  # pending with all dependencies complete; derived by whoever sees those

OUTCOMES = (COMPLETE, BLOCKED, NEEDS_REVIEW, FAILED)
STUCK = (BLOCKED, NEEDS_REVIEW, FAILED)
LEASE_MS_DEFAULT = 30 * 60 * 1000
LEASE_MS_MIN = 100
LEASE_MS_MAX = 30 * 86_400_000
# Some stores stamp in whole seconds: two stamps may then be up to a second closer in truth than
# they look. A takeover waits this much longer, so it is never early.
LEASE_MARGIN_US = SECOND_US
AFTER_MAX = 100


class State(NamedTuple):
    """The fold of one step.

    ``agent`` holds the step, or is who finished it. ``fence`` is the newest claim's token, also
    after its end, until the step is opened again. ``held_version`` is the holder's last version
    and ``lease_from`` the store's stamp of it, once a later version has recorded it.
    """

    state: str = PENDING
    agent: str | None = None
    session: str | None = None
    fence: int | None = None
    lease_ms: int = 0
    held_version: int = 0
    lease_from: Stamp | None = None
    added: bool = False
    added_by: str | None = None
    added_at: str | None = None
    title: str | None = None
    priority: int = 0
    after: tuple[str, ...] = ()
    note_version: int = 0
    handoff_version: int = 0


EMPTY = State()


class Add(NamedTuple):
    """Define a step. Adding it again with the same words changes nothing."""

    step: str
    agent: str
    title: str | None = None
    priority: int = 0
    after: tuple[str, ...] = ()


class Withdraw(NamedTuple):
    """Take back a definition that turned out to close a cycle."""

    step: str
    agent: str


class Claim(NamedTuple):
    """Claim a step, renew what one holds, or take over what has lapsed.

    ``waiting`` names dependencies that are not complete, each with its state; ``seen`` is the
    version of each dependency's chain that the verdict rests on, kept in the event for audits.
    Without ``takeover`` a step that somebody holds is refused without asking for the store's time.
    """

    step: str
    agent: str
    lease_ms: int
    waiting: tuple[str, ...] = ()
    seen: Mapping[str, int] | None = None
    takeover: bool = True


class Renew(NamedTuple):
    """Extend the lease of a step that one holds; ``lease_ms`` None keeps its length."""

    step: str
    agent: str
    lease_ms: int | None = None
    fence: int | None = None


class Note(NamedTuple):
    """Say something about a step."""

    step: str
    note: Content


class Release(NamedTuple):
    """Give a claim back."""

    step: str
    agent: str
    fence: int | None = None


class Complete(NamedTuple):
    """End the work on a step, with one of four outcomes and what the next agent should know."""

    step: str
    agent: str
    outcome: str = COMPLETE
    fence: int | None = None
    force: bool = False
    reason: str | None = None
    handoff: Mapping[str, Any] | None = None


class Reopen(NamedTuple):
    """Make a finished or stuck step pending again."""

    step: str


Command = Add | Withdraw | Claim | Renew | Note | Release | Complete | Reopen


# -- decide ---------------------------------------------------------------------------------------


def decide(state: State, command: Command, place: Place) -> Decision:
    """Decide on a command that would become the version at ``place``."""
    match command:
        case Add():
            return _add(state, command)
        case Withdraw(_, agent):
            if not _withdrawable(state, agent):
                return Unchanged()
            return Draft("step.withdraw", {})
        case Claim():
            return _claim(state, command, place)
        case Renew(step, agent, lease_ms, fence):
            return _not_held(state, step, agent, fence) or Draft(
                "step.renew", {"lease_ms": lease_ms or state.lease_ms}, _fenced(fence)
            )
        case Note(_, note):
            return Draft("step.note", {"note": note})
        case Release(step, agent, fence):
            return _not_held(state, step, agent, fence) or Draft("step.release", {}, _fenced(fence))
        case Complete():
            return _complete(state, command)
        case Reopen(step):
            return _reopen(state, step)


def _add(state: State, command: Add) -> Decision:
    if state.added:
        same = (command.title, command.priority, command.after)
        if same == (state.title, state.priority, state.after):
            return Unchanged()
        return Refused(
            f"step {command.step} was already added by {state.added_by}, with other words",
            code="step-exists",
            hint=to_run("tclog step show", command.step),
        )
    body: dict[str, Any] = {"after": list(command.after), "priority": command.priority}
    if command.title is not None:
        body["title"] = command.title
    return Draft("step.add", body)


def _withdrawable(state: State, agent: str) -> bool:
    return state.added and state.added_by == agent and state.state == PENDING


def _reopen(state: State, step: str) -> Decision:
    if state.state == PENDING:
        return Unchanged()
    if state.state == CLAIMED:
        return Refused(
            f"step {step} is claimed by {state.agent}; only ended steps are reopened",
            code="step-held",
            hint=to_run("tclog step show", step),
        )
    return Draft("step.reopen", {})


def _fenced(fence: int | None) -> Mapping[str, Any] | None:
    return None if fence is None else {"fence": fence}


def _claim(state: State, command: Claim, place: Place) -> Decision:
    step, agent, lease_ms = command.step, command.agent, command.lease_ms
    if state.state == COMPLETE:
        return Refused(
            f"step {step} is already complete, by {state.agent}",
            code="step-complete",
            hint=to_run("tclog reopen", step),
            holder=state.agent,
        )
    if state.state in STUCK:
        return Refused(
            f"step {step} is {state.state}, set by {state.agent}",
            code="step-blocked",
            hint=to_run("tclog reopen", step),
            holder=state.agent,
        )
    if state.state == CLAIMED and state.agent == agent:
        return Draft("step.renew", {"lease_ms": lease_ms})
    if state.state == CLAIMED and not command.takeover:
        return _held(state, step, None, None)
    if state.state == CLAIMED:
        takeover = Draft(
            "step.takeover",
            {"fence": state.fence, "from": state.agent, "lease_ms": lease_ms},
            judged=True,
            exclusive=True,
        )
        if place.now is None:
            return takeover
        ends_us = lease_ends_us(state, place.before, place.prev_stored)
        if ends_us is not None and parse_us(place.now) >= ends_us + LEASE_MARGIN_US:
            return takeover
        return _held(state, step, place.now, ends_us)
    if command.waiting:
        return Refused(
            f"step {step} waits for {', '.join(command.waiting)}",
            code="step-waiting",
            hint=to_run("tclog wait-for", *(word.rpartition(" (")[0] for word in command.waiting)),
        )
    body: dict[str, Any] = {"lease_ms": lease_ms}
    if command.seen:
        body["seen"] = command.seen
    # Who may not take over is refused by the state alone.
    return Draft("step.claim", body, exclusive=command.takeover)


def _held(state: State, step: str, now: Stamp | None, ends_us: int | None) -> Refused:
    until = None if ends_us is None else format_us(ends_us)
    left_s = None
    if ends_us is not None and now is not None:
        left_s = max(0.0, (ends_us + LEASE_MARGIN_US - parse_us(now)) / SECOND_US)
    return Refused(
        f"step {step} is claimed by {state.agent}"
        + (f" until {until} by the store's clock" if until else ""),
        code="step-held",
        hint=to_run("tclog claim", step, then="--wait"),
        holder=state.agent,
        fence=state.fence,
        lease_until=until,
        lease_left_s=left_s,
    )


def lease_ends_us(state: State, head: int, head_stored: Stamp | None) -> int | None:
    """Return when a lease ends by the store's clock, in microseconds since 1970.

    ``head`` and ``head_stored`` are the chain's newest version and its stamp. None if the stamp of
    the holder's last version is not known: then nobody may take over yet.
    """
    since = state.lease_from
    if since is None and state.held_version == head:
        since = head_stored
    return None if since is None else parse_us(since) + state.lease_ms * 1000


def _not_held(state: State, step: str, agent: str, fence: int | None) -> Refused | None:
    if fence is not None and fence != state.fence:
        return _stale(state, step, fence)
    if state.state != CLAIMED:
        return Refused(
            f"step {step} is {state.state}; nobody holds it",
            code="step-not-claimed",
            hint=to_run("tclog claim", step)
            if state.state == PENDING
            else to_run("tclog step show", step),
        )
    if state.agent != agent:
        return Refused(
            f"step {step} is claimed by {state.agent}, not {agent}",
            code="not-yours",
            hint=to_run("tclog step show", step),
            holder=state.agent,
            fence=state.fence,
        )
    return None


def _stale(state: State, step: str, fence: int) -> Refused:
    return Refused(
        f"the fencing token {fence} of step {step} is stale: the claim was lost;"
        f" it is {state.state}"
        + (f" by {state.agent} with token {state.fence}" if state.fence else ""),
        code="stale-fence",
        hint=to_run("tclog step show", step),
        holder=state.agent,
        fence=state.fence,
    )


def _complete(state: State, command: Complete) -> Decision:
    step, agent, fence = command.step, command.agent, command.fence
    if command.outcome not in OUTCOMES:
        raise UsageError(
            f"{command.outcome!r} is no outcome of a step; there are {', '.join(OUTCOMES)}",
            code="bad-outcome",
        )
    if fence is not None and fence != state.fence:
        return _stale(state, step, fence)
    if state.state == command.outcome and state.agent == agent:
        return Unchanged()
    if not _completable(state, agent, command.force):
        if state.state == COMPLETE:
            return Refused(
                f"step {step} is already complete, by {state.agent}",
                code="step-complete",
                hint=to_run("tclog step show", step),
                holder=state.agent,
            )
        if state.state == CLAIMED:
            return Refused(
                f"step {step} is claimed by {state.agent}, not {agent}",
                code="not-yours",
                hint=to_run("tclog complete", step, then="--force --reason TEXT"),
                holder=state.agent,
                fence=state.fence,
            )
        return Refused(
            f"step {step} is {state.state}; nobody holds it",
            code="step-not-claimed",
            hint=to_run("tclog claim", step)
            if state.state == PENDING
            else to_run("tclog reopen", step),
        )
    body: dict[str, Any] = {"outcome": command.outcome}
    if command.force:
        body["force"] = True
    if command.reason is not None:
        body["reason"] = command.reason
    if command.handoff:
        body["handoff"] = command.handoff
    return Draft("step.complete", body, _fenced(fence))


def _completable(state: State, agent: str, force: bool) -> bool:
    """The holder may end a step; anybody may approve one that waits for review."""
    if state.state == COMPLETE:
        return False
    return (
        force or (state.state == CLAIMED and state.agent == agent) or (state.state == NEEDS_REVIEW)
    )


# -- evolve ---------------------------------------------------------------------------------------


def evolve(state: State, event: Event, place: Place) -> State:
    """Fold one event; one that was not allowed changes nothing but the lease's stamp."""
    state = _recorded(state, place)
    fence = event.expect.get("fence")
    if fence is not None and fence != state.fence:
        return state
    folded = _folded(state, event, place)
    if folded is state or folded.state != CLAIMED or folded.agent != event.agent:
        return folded
    # Whatever the holder writes about its step renews the lease; a claim says so itself.
    if folded.held_version == place.seq and folded.lease_from is None:
        return folded
    return folded._replace(held_version=place.seq, lease_from=None)


def rest(state: State, place: Place) -> State:
    """Fold a version that changes nothing: it records the stamp of the one before all the same."""
    return _recorded(state, place)


def _recorded(state: State, place: Place) -> State:
    if state.state == CLAIMED and state.lease_from is None and state.held_version == place.before:
        return state._replace(lease_from=place.prev_stored)
    return state


def _folded(state: State, event: Event, place: Place) -> State:
    body, agent = event.body, event.agent
    holds = state.state == CLAIMED and state.agent == agent
    match event.op:
        case "step.add":
            return _added(state, event)
        case "step.withdraw":
            return _withdrawn(state) if _withdrawable(state, agent) else state
        case "step.claim":
            return _granted(state, event, place) if state.state == PENDING else state
        case "step.takeover":
            return _granted(state, event, place) if _lapsed(state, event, place) else state
        case "step.renew":
            return state._replace(lease_ms=body["lease_ms"]) if holds else state
        case "step.note":
            return state._replace(note_version=place.seq)
        case "step.release":
            return _let_go(state, PENDING)._replace(agent=None) if holds else state
        case "step.complete":
            return _ended(state, event, place)
        case "step.reopen":
            stays = state.state in (PENDING, CLAIMED)
            # No token is left either: else it would look like a claim that its holder gave back.
            return state if stays else _let_go(state, PENDING)._replace(agent=None, fence=None)
    return state


def _added(state: State, event: Event) -> State:
    if state.added:
        return state
    body = event.body
    return state._replace(
        added=True,
        added_by=event.agent,
        added_at=event.at,
        title=body.get("title"),
        priority=body["priority"],
        after=tuple(body["after"]),
    )


def _withdrawn(state: State) -> State:
    return state._replace(
        added=False, added_by=None, added_at=None, title=None, priority=0, after=()
    )


def _ended(state: State, event: Event, place: Place) -> State:
    body, agent = event.body, event.agent
    # An outcome that is none, "claimed" above all, would make a holder without a claim.
    if body["outcome"] not in OUTCOMES or not _completable(state, agent, body.get("force", False)):
        return state
    # Without a hand-off of its own an end has none: that of an earlier end is history.
    return _let_go(state, body["outcome"])._replace(
        agent=agent, session=event.session, handoff_version=place.seq if "handoff" in body else 0
    )


def _granted(state: State, event: Event, place: Place) -> State:
    return state._replace(
        state=CLAIMED,
        agent=event.agent,
        session=event.session,
        fence=place.seq,
        lease_ms=event.body["lease_ms"],
        held_version=place.seq,
        lease_from=None,
    )


def _lapsed(state: State, event: Event, place: Place) -> bool:
    if state.state != CLAIMED or event.agent == state.agent or place.now is None:
        return False
    if event.body["fence"] != state.fence or state.lease_from is None:
        return False
    ends_us = parse_us(state.lease_from) + state.lease_ms * 1000
    return parse_us(place.now) >= ends_us + LEASE_MARGIN_US


def _let_go(state: State, to: str) -> State:
    return state._replace(state=to, session=None, lease_ms=0, held_version=0, lease_from=None)


# -- the state in a version -----------------------------------------------------------------------

_FIELDS = tuple(EMPTY._asdict().items())
_NAMES, _DEFAULTS = zip(*_FIELDS, strict=True)


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON, without what is as in an empty step."""
    packed: dict[str, Any] = {
        name: value
        for (name, default), value in zip(_FIELDS, state, strict=True)
        if value != default
    }
    if "after" in packed:
        packed["after"] = list(packed["after"])
    return packed


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    state = State._make(map(packed.get, _NAMES, _DEFAULTS))
    return state._replace(after=tuple(state.after)) if "after" in packed else state


# -- dependencies ---------------------------------------------------------------------------------


def find_cycle(step: str, graph: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Return a path from ``step`` along "after" back to itself, or None.

    ``graph`` maps each step to those it comes after.
    """
    stack: list[tuple[str, list[str]]] = [(step, [step])]
    seen: set[str] = set()
    while stack:
        at, path = stack.pop()
        for dependency in graph.get(at, ()):
            if dependency == step:
                return [*path, step]
            if dependency not in seen:
                seen.add(dependency)
                stack.append((dependency, [*path, dependency]))
    return None
