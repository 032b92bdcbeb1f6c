"""Steps: claims with leases and fencing tokens, hand-offs, dependencies.

The first valid claim in a step's chain holds it. A claim belongs to a session of an agent: see
``holds``, which ``decide`` and ``evolve`` share. Its fencing token is its version number, so it
never restarts. A lease is judged by the store's clock only: it ends ``lease_ms`` after the store's
stamp of the holder's last version in the chain, and a takeover carries the stamp of its own event,
which the store gave before the takeover was decided. Both stamps are in the log, so the fold comes
to the same verdict on every machine and at any later time, and ignores what was not allowed: a
claim on a held step, a completion by another agent without force, a stale token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, Stamp, format_us, parse_us, stamp
from tclog.domain.content import Content, words_of
from tclog.domain.decision import (
    Decision,
    Draft,
    Kind,
    NoWayBack,
    Op,
    Past,
    Place,
    Unchanged,
    Undo,
    silent,
)
from tclog.errors import NotFound, Refused, to_run
from tclog.event.bodies import PRIORITY, SHORT, body
from tclog.event.envelopes import array, counted, ref, struct
from tclog.event.records import Event
from tclog.event.schema import Schema

KIND = "step"
PENDING = "pending"
CLAIMED = "claimed"
COMPLETE = "complete"
BLOCKED = "blocked"
NEEDS_REVIEW = "needs_review"
FAILED = "failed"
CANCELLED = "cancelled"  # no op of this format makes it; a later one does
READY = "ready"  # pending with all dependencies complete; derived by whoever sees those

OUTCOMES = (COMPLETE, BLOCKED, NEEDS_REVIEW, FAILED)
# States that end a wait. A step that needs review is not stuck: a review may complete or reopen it.
STUCK = (BLOCKED, FAILED, CANCELLED)
LEASE_MS_DEFAULT = 30 * 60 * 1000
LEASE_MS_MIN = 100
LEASE_MS_MAX = 30 * 86_400_000
# Some stores stamp in whole seconds: two stamps may then be up to a second closer in truth than
# they look. A takeover waits this much longer, so it is never early.
LEASE_MARGIN_US = SECOND_US
AFTER_MAX = 100
# How the id of a weak session begins. The other two are from earlier builds of tclog.
WEAK = ("~", "pid-", "ppid-")


class State(NamedTuple):
    """The fold of one step.

    ``agent`` holds the step, or finished it. ``fence`` is the newest claim's token, also
    after its end, until the step is opened again. ``held_version`` is the holder's last version
    and ``lease_from`` the store's stamp of it, once a later version has recorded it.
    ``reopened_version`` is the newest version that opened the step again.
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
    reopened_version: int = 0


EMPTY = State()


# -- who holds a step -----------------------------------------------------------------------------


def is_weak(session: str | None) -> bool:
    """Whether a session id says only where a command ran, so that several claimants may share it.

    No id at all is weak, too.
    """
    return session is None or session.startswith(WEAK)


def is_same(state: State, agent: str, session: str | None, fence: int | None = None) -> bool:
    """Whether a session of an agent is the one that holds a step, or that ended it.

    Two strong sessions of one name are two claimants. The claim's token proves that a session may
    act for the other one. A weak session is known by its agent's name only.
    """
    if state.agent != agent:
        return False
    proven = fence is not None and fence == state.fence
    return proven or session == state.session or is_weak(session) or is_weak(state.session)


def holds(state: State, agent: str, session: str | None, fence: int | None = None) -> bool:
    """Whether a session of an agent holds a step: the one rule of ``decide`` and ``evolve``."""
    return state.state == CLAIMED and is_same(state, agent, session, fence)


def claim_of(state: State) -> tuple[str, int] | None:
    """Return which agent holds a step, and by which token; None if it is not claimed."""
    if state.state != CLAIMED or state.agent is None or state.fence is None:
        return None
    return state.agent, state.fence


def is_known(state: State) -> bool:
    """Whether a step was ever added or claimed; one whose definition was taken back is not."""
    return (
        state.added
        or state.fence is not None
        or state.state != PENDING
        or state.reopened_version > 0
    )


def waits_for(state: State, is_complete: Callable[[str], bool]) -> tuple[str, ...]:
    """Return which steps a pending step still waits for; another one waits for none."""
    return tuple(name for name in state.after if state.state == PENDING and not is_complete(name))


def shown_state(state: State, waiting: Sequence[str]) -> str:
    """Return the state that is shown: a pending step that waits for nothing is ready."""
    return READY if state.state == PENDING and not waiting else state.state


def is_complete(state: State) -> bool:
    """Whether a step is complete, so that no other one waits for it."""
    return state.state == COMPLETE


# -- commands -------------------------------------------------------------------------------------


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
    """Claim a step, renew what this very strong session holds, or take over what has lapsed.

    ``waiting`` names dependencies that are not complete, each with its state; ``seen`` is the
    version of each dependency's chain that the verdict rests on, kept in the event for audits.
    Without ``takeover`` a held step is refused without asking for the store's time.
    Without ``renews`` what this session holds is refused, too. With a ``fence`` the claim of that
    token moves to this session, and so does what the strong session ``parent`` holds. ``steal`` is
    the reason to take over a lease that has not ended.
    """

    step: str
    agent: str
    lease_ms: int
    waiting: tuple[str, ...] = ()
    seen: Mapping[str, int] | None = None
    takeover: bool = True
    session: str | None = None
    renews: bool = True
    fence: int | None = None
    parent: str | None = None
    steal: str | None = None


class Renew(NamedTuple):
    """Extend the lease of a step that one holds; ``lease_ms`` None keeps its length."""

    step: str
    agent: str
    lease_ms: int | None = None
    fence: int | None = None
    session: str | None = None


class Note(NamedTuple):
    """Say something about a step; with the claim's token this renews the lease as a holder's."""

    step: str
    note: Content
    fence: int | None = None


class Release(NamedTuple):
    """Give a claim back; with ``force`` another agent's, for a reason."""

    step: str
    agent: str
    fence: int | None = None
    session: str | None = None
    force: bool = False
    reason: str | None = None


class Complete(NamedTuple):
    """End the work on a step, with one of four outcomes and what the next agent should know."""

    step: str
    agent: str
    outcome: str = COMPLETE
    fence: int | None = None
    force: bool = False
    reason: str | None = None
    handoff: Mapping[str, Any] | None = None
    session: str | None = None


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
        case Renew(step, agent, lease_ms, fence, session):
            return _not_held(state, step, agent, session, fence) or Draft(
                "step.renew", {"lease_ms": lease_ms or state.lease_ms}, _fenced(fence)
            )
        case Note(step, note, fence):
            return _missing_or_stale(state, step, fence) or Draft(
                "step.note", {"note": note}, _fenced(fence)
            )
        case Release():
            return _release(state, command)
        case Complete():
            return _complete(state, command)
        case Reopen(step):
            return _reopen(state, step)


def _add(state: State, command: Add) -> Decision:
    body: dict[str, Any] = {"after": list(command.after), "priority": command.priority}
    if command.title is not None:
        body["title"] = command.title
    add = Draft("step.add", body)
    if state.added:
        same = (command.title, command.priority, command.after)
        if same == (state.title, state.priority, state.after):
            return Unchanged(add)
        return Refused(
            f"step {command.step} was already added by {state.added_by}, with other words",
            code="step-exists",
            hint=to_run("tclog step show", command.step),
        )
    return add


def _withdrawable(state: State, agent: str) -> bool:
    return state.added and state.added_by == agent and state.state == PENDING


def _reopen(state: State, step: str) -> Decision:
    reopen = Draft("step.reopen", {})
    if state.state == PENDING:
        return Unchanged(reopen)
    if state.state == CLAIMED:
        return Refused(
            f"step {step} is claimed by {state.agent}; only ended steps are reopened",
            code="step-held",
            hint=to_run("tclog step show", step),
        )
    return reopen


def _fenced(fence: int | None) -> Mapping[str, Any] | None:
    return None if fence is None else {"fence": fence}


def _release(state: State, command: Release) -> Decision:
    step, agent, fence, session, force, reason = command
    refused = _not_held(state, step, agent, session, fence)
    if refused is not None and not (force and refused.code == "not-yours"):
        return refused
    return Draft("step.release", _forced(force, reason), _fenced(fence))


def _forced(force: bool, reason: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"force": True} if force else {}
    if reason is not None:
        body["reason"] = reason
    return body


def _claim(state: State, command: Claim, place: Place) -> Decision:
    step, agent, lease_ms = command.step, command.agent, command.lease_ms
    if command.fence is not None:
        refused = _not_held(state, step, agent, command.session, command.fence)
        return refused or _move(command, command.fence)
    if state.state == COMPLETE:
        return _already_complete(state, step, agent)
    if state.state in (NEEDS_REVIEW, *STUCK):
        way = "; tclog reopen makes it pending again" if state.state in STUCK else ""
        return Refused(
            f"step {step} is {state.state}, set by {state.agent}{way}",
            code="step-blocked",
            hint=to_run("tclog step show", step),
            holder=state.agent,
            state=state.state,
        )
    if state.state == CLAIMED:
        return _claim_held(state, command, place)
    if command.waiting:
        words = [word.rpartition(" (") for word in command.waiting]
        return Refused(
            f"step {step} waits for {', '.join(command.waiting)}",
            code="step-waiting",
            hint=to_run("tclog wait-for", *(name for name, _, _ in words)),
            waiting={name: state.removesuffix(")") for name, _, state in words},
        )
    body: dict[str, Any] = {"lease_ms": lease_ms}
    if command.seen:
        body["seen"] = command.seen
    # Without a takeover the state alone refuses a claim.
    return Draft("step.claim", body, exclusive=command.takeover)


def _move(command: Claim, fence: int | None) -> Draft:
    return Draft("step.move", {"lease_ms": command.lease_ms}, _fenced(fence), exclusive=True)


def _is_own(state: State, agent: str, session: str | None) -> bool:
    """Whether a step is claimed by this very session: a weak one may be any of several."""
    return state.agent == agent and state.session == session and not is_weak(session)


def _claim_held(state: State, command: Claim, place: Place) -> Decision:
    """Decide on a claim of a held step; the holder may be this very session."""
    if command.renews and _is_own(state, command.agent, command.session):
        return Draft("step.renew", {"lease_ms": command.lease_ms})
    if _is_own(state, command.agent, command.parent):
        return _move(command, state.fence)
    takeover = Draft(
        "step.takeover",
        {
            "fence": state.fence,
            "from": state.agent,
            "lease_ms": command.lease_ms,
            **_forced(command.steal is not None, command.steal),
        },
        judged=command.steal is None,
        exclusive=True,
    )
    if command.steal is not None:
        return takeover
    if not command.takeover:
        return _held(state, command, None, None)
    if place.now is None:
        return takeover
    if _is_skewed(place):
        return Refused(
            f"step {command.step} cannot be taken over: this machine's clock is behind the store's"
            f" by more than {AHEAD_TRUSTED_US // SECOND_US} s",
            code="clock-skewed",
            hint="tclog doctor",
            holder=state.agent,
        )
    ends_us = lease_ends_us(state, place.before, place.prev_stored, place.before_at)
    if ends_us is not None and parse_us(place.now) >= ends_us + LEASE_MARGIN_US:
        return takeover
    return _held(state, command, place.now, ends_us)


def _held(state: State, command: Claim, now: Stamp | None, ends_us: int | None) -> Refused:
    """Refuse a claim of a held step; of another session of this agent say which one it is.

    The refusal does not show the token of another session's claim: with it, this session could act
    for that one.
    """
    until = None if ends_us is None else format_us(ends_us)
    details: dict[str, Any] = {}
    words = f"step {command.step} is claimed by {state.agent}"
    if ends_us is not None and now is not None:
        heard_us = ends_us - state.lease_ms * 1000
        details["age_s"] = max(0.0, (parse_us(now) - heard_us) / SECOND_US)
    if state.agent == command.agent:
        # Of a weak session another process may have claimed it.
        here = state.session in (command.session, command.parent)
        whose = "this terminal's session" if here else "session"
        words += f" in {whose} {state.session}"
    left_s = None
    if ends_us is not None and now is not None:
        left_s = max(0.0, (ends_us + LEASE_MARGIN_US - parse_us(now)) / SECOND_US)
    hint = to_run("tclog claim", command.step, then="--wait")
    by_name = is_same(state, command.agent, command.session) and is_weak(command.session)
    if by_name:
        # A weak session cannot claim twice, but may renew by its agent's name.
        hint = to_run("tclog step show" if command.parent else "tclog renew", command.step)
    words += f" until {until} by the store's clock" if until else ""
    if state.agent == command.agent and "age_s" in details:
        words += f"; that session last wrote {details['age_s']:.0f} s ago"
    if by_name and not command.parent:
        words += "; only the process that claimed it may renew it"
    return Refused(
        words,
        code="step-held",
        hint=hint,
        holder=state.agent,
        session=state.session,
        lease_until=until,
        lease_left_s=left_s,
        **details,
    )


def _is_skewed(place: Place) -> bool:
    """Whether the store's time in a version is later than the version's own by too much.

    Otherwise a writer of a wrong time could end a lease early.
    """
    if place.now is None or not place.at:
        return False
    return parse_us(place.now) - parse_us(place.at) > AHEAD_TRUSTED_US


def _believed(stored: Stamp | None, at: str) -> Stamp | None:
    """Return a version's stamp as its successor gives it, but not long before its own time.

    Otherwise a writer of an early stamp could end the lease that runs from it.
    """
    if stored is None or not at:
        return stored
    floor_us = parse_us(at) - AHEAD_TRUSTED_US
    return stored if parse_us(stored) >= floor_us else stamp(floor_us)


def lease_ends_us(state: State, head: int, head_stored: Stamp | None, head_at: str) -> int | None:
    """Return when a lease ends by the store's clock, in microseconds since 1970.

    ``head`` is the chain's newest version, ``head_stored`` and ``head_at`` the store's stamp of it
    and its own. None if the stamp of the holder's last version is not known: then no agent may
    take over yet.
    """
    since = state.lease_from
    if since is None and state.held_version == head:
        since = _believed(head_stored, head_at)
    return None if since is None else parse_us(since) + state.lease_ms * 1000


def missing(step: str) -> NotFound:
    """Make the error for a step that nobody ever added or claimed."""
    return NotFound(
        f"there is no step {step}",
        code="step-missing",
        hint="tclog step list",
        step=step,
    )


def _missing_or_stale(state: State, step: str, fence: int | None) -> Refused | NotFound | None:
    if not is_known(state):
        return missing(step)
    if fence is None or fence == state.fence:
        return None
    return Refused(
        f"the fencing token {fence} of step {step} is stale: that claim was lost, and the step is"
        f" {state.state}" + (f" by {state.agent}" if state.agent else ""),
        code="stale-fence",
        hint=to_run("tclog step show", step),
        holder=state.agent,
        session=state.session,
    )


def _not_held(
    state: State, step: str, agent: str, session: str | None, fence: int | None
) -> Refused | NotFound | None:
    refused = _missing_or_stale(state, step, fence)
    if refused is not None:
        return refused
    if state.state != CLAIMED:
        return Refused(
            f"step {step} is {state.state}; nobody holds it",
            code="step-not-claimed",
            hint=to_run("tclog claim" if state.state == PENDING else "tclog step show", step),
        )
    if not holds(state, agent, session, fence):
        return _not_yours(state, step, agent)
    return None


def _not_yours(state: State, step: str, agent: str) -> Refused:
    words = f"claimed by {state.agent}, not {agent}"
    if state.agent == agent:
        words = f"claimed by {agent} in session {state.session}, which is not this one"
    return Refused(
        f"step {step} is {words}",
        code="not-yours",
        hint=to_run("tclog step show", step),
        holder=state.agent,
        session=state.session,
    )


def _already_complete(state: State, step: str, agent: str) -> Refused:
    where = f" in session {state.session}" if state.agent == agent else ""
    return Refused(
        f"step {step} is already complete, by {state.agent}{where}",
        code="step-complete",
        hint=to_run("tclog step show", step),
        holder=state.agent,
        session=state.session,
    )


def _complete(state: State, command: Complete) -> Decision:
    step, agent, fence = command.step, command.agent, command.fence
    refused = _missing_or_stale(state, step, fence)
    if refused is not None:
        return refused
    body: dict[str, Any] = {"outcome": command.outcome}
    body |= _forced(command.force, command.reason)
    if command.handoff:
        body["handoff"] = command.handoff
    end = Draft("step.complete", body, _fenced(fence))
    if is_ended(state, command.outcome, agent, command.session, fence):
        return Unchanged(end)
    if not _completable(state, agent, command.session, fence, command.force):
        if state.state == COMPLETE:
            return _already_complete(state, step, agent)
        if state.state == CLAIMED:
            return _not_yours(state, step, agent)
        return Refused(
            f"step {step} is {state.state}; nobody holds it",
            code="step-not-claimed",
            hint=to_run("tclog claim" if state.state == PENDING else "tclog step show", step),
        )
    return end


def is_ended(
    state: State, outcome: str, agent: str, session: str | None, fence: int | None
) -> bool:
    """Whether this session has ended the step so already."""
    return state.state == outcome and is_same(state, agent, session, fence)


def _completable(
    state: State, agent: str, session: str | None, fence: int | None, force: bool
) -> bool:
    """The holder may end a step; anybody may approve one that waits for review."""
    if state.state == COMPLETE:
        return False
    return force or state.state == NEEDS_REVIEW or holds(state, agent, session, fence)


# -- evolve ---------------------------------------------------------------------------------------


def evolve(state: State, event: Event, place: Place) -> State:
    """Fold one event; one that was not allowed changes nothing but the lease's stamp."""
    state = _recorded(state, place)
    fence = event.expect.get("fence")
    if fence is not None and fence != state.fence:
        return state
    folded = _folded(state, event, place)
    if folded is state or not holds(folded, event.agent, event.session, fence):
        return folded
    # Whatever the holder writes about its step renews the lease; a claim says so itself.
    if folded.held_version == place.seq and folded.lease_from is None:
        return folded
    return folded._replace(held_version=place.seq, lease_from=None)


def rest(state: State, place: Place) -> State:
    """Fold a version that changes nothing: it records the stamp of the one before all the same."""
    return _recorded(state, place)


def _recorded(state: State, place: Place) -> State:
    since = _believed(place.prev_stored, place.before_at)
    if state.state != CLAIMED or state.lease_from is not None or since is None:
        return state
    return state._replace(lease_from=since) if state.held_version == place.before else state


def _folded(state: State, event: Event, place: Place) -> State:
    body, agent = event.body, event.agent
    held = holds(state, agent, event.session, event.expect.get("fence"))
    match event.op:
        case "step.add":
            return _added(state, event)
        case "step.withdraw":
            return _withdrawn(state) if _withdrawable(state, agent) else state
        case "step.claim" | "step.takeover" | "step.move":
            return _granted(state, event, place) if _gets(state, event, place) else state
        case "step.renew":
            return state._replace(lease_ms=body["lease_ms"]) if held else state
        case "step.note":
            return state._replace(note_version=place.seq) if is_known(state) else state
        case "step.release":
            gives = held or (state.state == CLAIMED and body.get("force", False))
            return _let_go(state, PENDING)._replace(agent=None) if gives else state
        case "step.complete":
            return _ended(state, event, place)
        case "step.reopen":
            return _opened(state, place)
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


def _opened(state: State, place: Place) -> State:
    if state.state in (PENDING, CLAIMED):
        return state
    # The token goes, too. Otherwise it would look like a claim that its holder gave back.
    opened = _let_go(state, PENDING)
    return opened._replace(agent=None, fence=None, reopened_version=place.seq)


def _ended(state: State, event: Event, place: Place) -> State:
    body, agent, session = event.body, event.agent, event.session
    outcome, force, fence = body["outcome"], body.get("force", False), event.expect.get("fence")
    # An invalid outcome, "claimed" above all, would make a holder without a claim.
    if outcome not in OUTCOMES or not _completable(state, agent, session, fence, force):
        return state
    if is_ended(state, outcome, agent, session, fence):
        return state
    # An end without a hand-off has none: the one of an earlier end is history.
    return _let_go(state, outcome)._replace(
        agent=agent, session=session, handoff_version=place.seq if "handoff" in body else 0
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


def _gets(state: State, event: Event, place: Place) -> bool:
    """Whether a claim of any kind is granted."""
    match event.op:
        case "step.claim":
            return state.state == PENDING
        case "step.move":
            # Only a token moves a claim; that it is this claim's was asked before.
            proof = event.expect.get("fence")
            return proof is not None and holds(state, event.agent, event.session, proof)
    return _taken(state, event, place)


def _taken(state: State, event: Event, place: Place) -> bool:
    """Whether a takeover is allowed: for the claim that it names, by force or after its lease."""
    if state.state != CLAIMED or event.body["fence"] != state.fence:
        return False
    if event.body.get("force", False):
        return True
    if place.now is None or state.lease_from is None or _is_skewed(place):
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


# -- what the other layers ask --------------------------------------------------------------------


def _words_of_add(event: Event) -> str:
    title, after = event.body.get("title") or "", event.body.get("after", [])
    return " ".join(filter(None, (title, f"after {', '.join(after)}" if after else "")))


def _words_of_force(event: Event) -> str:
    return f"by force: {event.body.get('reason')}" if event.body.get("force") else ""


def _words_of_lease(event: Event) -> str:
    body = event.body
    lease = f"lease {body.get('lease_ms', 0) / 1000:g} s"
    lease = f"from {body['from']}, {lease}" if "from" in body else lease
    return ", ".join(filter(None, (lease, _words_of_force(event))))


def _words_of_end(event: Event) -> str:
    handoff = event.body.get("handoff", {})
    note = words_of(handoff["note"]) if "note" in handoff else ""
    return " ".join(filter(None, (event.body.get("outcome", ""), note)))


def _is_added(state: State, event: Event) -> bool:
    body = event.body
    words = (body.get("title"), body["priority"], tuple(body["after"]))
    return state.added and words == (state.title, state.priority, state.after)


def _was_ended(state: State, event: Event) -> bool:
    fence = event.expect.get("fence")
    return is_ended(state, event.body["outcome"], event.agent, event.session, fence)


def _undo_add(past: Past) -> Undo:
    event, step, agent = past.event, past.name, past.agent

    def undo(now: State, place: Place) -> Decision:
        if not now.added:
            return Unchanged(Draft("step.withdraw", {}))
        decision = decide(now, Withdraw(step, agent), place)
        if isinstance(decision, Draft):
            return decision
        who = f"only {now.added_by} can take its definition back"
        why = who if now.added_by != agent else f"it is {now.state}"
        return Refused(
            f"step.add {event.id[:12]} of step {step} cannot be reverted: {why}",
            code="not-revertible",
            hint=to_run("tclog step show", step),
        )

    return undo


def _undo_claim(past: Past) -> Undo | NoWayBack:
    if past.event.agent != past.agent:
        return NoWayBack(f"only {past.event.agent} can give the claim back", _to("step show"))
    release = Release(past.name, past.agent, past.seq)
    return lambda now, place: decide(now, release, place)


def _undo_end(past: Past) -> Undo:
    return lambda now, place: decide(now, Reopen(past.name), place)


def _to(command: str) -> Callable[[Event, str], str]:
    return lambda _, step: to_run(f"tclog {command}", step)


_LEASE: dict[str, Schema] = {"lease_ms": counted(LEASE_MS_MIN, LEASE_MS_MAX)}
_FORCED: dict[str, Schema] = {"force": {"type": "boolean"}, "reason": SHORT}
OPS = {
    "step.add": Op(
        body(
            "after priority",
            **{"for": ref("agent")},
            after=ref("after"),
            approval={"type": "object"},
            body=ref("content"),
            labels=ref("labels"),
            priority=PRIORITY,
            requires=array(SHORT, 100),
            title=SHORT,
        ),
        _words_of_add,
        _undo_add,
        is_idle=_is_added,
        beside=frozenset({"step.note"}),
    ),
    "step.withdraw": Op(
        body(),
        silent,
        NoWayBack("a step is defined by adding it", _to("step add")),
        is_idle=lambda state, _: not state.added,
    ),
    "step.claim": Op(
        body(
            "lease_ms",
            **_LEASE,
            seen={
                "type": "object",
                "propertyNames": ref("step"),
                "additionalProperties": ref("seq"),
                "maxProperties": AFTER_MAX,
            },
        ),
        _words_of_lease,
        _undo_claim,
        beside=frozenset({"step.note", "step.renew"}),
    ),
    "step.takeover": Op(
        body(
            "fence from lease_ms", **{"from": ref("agent")}, **_LEASE, **_FORCED, fence=ref("seq")
        ),
        _words_of_lease,
        NoWayBack("the claim before it had lapsed", _to("step show")),
    ),
    "step.move": Op(
        body("lease_ms", **_LEASE),
        _words_of_lease,
        NoWayBack("a stale fencing token stays stale", _to("step show")),
    ),
    "step.renew": Op(
        body("lease_ms", **_LEASE),
        _words_of_lease,
        NoWayBack("a lease runs on", _to("step show")),
        common=True,
    ),
    "step.note": Op(
        body("note", note=ref("text")),
        lambda event: words_of(event.body.get("note", {})),
        NoWayBack("a note cannot be taken back; add another note", _to("step show")),
        common=True,
    ),
    "step.release": Op(
        body("", **_FORCED),
        _words_of_force,
        NoWayBack("nobody else can claim for the holder", _to("claim")),
    ),
    "step.complete": Op(
        body(
            "outcome",
            **_FORCED,
            evidence=ref("evidence"),
            handoff=ref("handoff"),
            outcome={"enum": list(OUTCOMES)},
        ),
        _words_of_end,
        _undo_end,
        is_idle=_was_ended,
        beside=frozenset({"step.note"}),
    ),
    "step.reopen": Op(
        body(),
        silent,
        NoWayBack("only an agent that works on a step can end it", _to("claim")),
        is_idle=lambda state, _: bool(state.state == PENDING),
    ),
}
_FIELD_FORMS: dict[str, Schema] = {
    "added": {"type": "boolean"},
    "added_at": ref("hlc"),
    "added_by": ref("agent"),
    "after": ref("after"),
    "agent": ref("agent"),
    "approval": {"type": "object"},
    "body_version": ref("seq"),
    "fence": ref("seq"),
    "for": ref("agent"),
    "handoff_version": ref("seq"),
    "held_version": ref("seq"),
    "labels": ref("labels"),
    "lease_from": ref("stamp"),
    **_LEASE,
    "note_version": ref("seq"),
    "priority": PRIORITY,
    "reopened_version": ref("seq"),
    "requires": array(SHORT, 100),
    "session": ref("name"),
    "title": SHORT,
}
_STATE: Schema = {
    "anyOf": [
        struct(
            "agent fence held_version lease_ms session state",
            **_FIELD_FORMS | {"state": {"const": CLAIMED}},
        ),
        struct("", **_FIELD_FORMS | {"state": {"enum": [PENDING, *OUTCOMES, CANCELLED]}}),
    ]
}
KINDS = {
    KIND: Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        _STATE,
        OPS,
        group="steps",
        file="{}.json",
        tallied=True,
        rest=rest,
        stamped=True,
    )
}
