"""Agents: when each was last seen, derived from the log, so that it cannot lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.domain.decision import Decision, Draft, Kind, NoWayBack, Op, Place, Unchanged
from tclog.event.bodies import body
from tclog.event.envelopes import struct
from tclog.event.records import Event


class State(NamedTuple):
    """The chain of one agent: whether and where it introduced itself."""

    joined: bool = False
    host: str = ""
    session: str = ""


EMPTY = State()


class Join(NamedTuple):
    """Introduce an agent to the project."""

    host: str
    session: str


def decide(state: State, command: Join, place: Place) -> Decision:  # noqa: ARG001 - one shape for all
    """An agent is introduced once for each host."""
    if state.joined and state.host == command.host:
        return Unchanged()
    return Draft("agent.join", {})


def evolve(state: State, event: Event, place: Place) -> State:  # noqa: ARG001 - one shape for all
    """Fold one event."""
    if event.op != "agent.join":
        return state
    return State(True, event.record["host"], event.session)


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON."""
    return state._asdict() if state.joined else {}


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    return State(**{key: packed[key] for key in State._fields if key in packed})


class Seen(NamedTuple):
    """What some events say of one agent."""

    name: str
    last_seen: str
    op: str
    host: str
    session: str


def last_seen(events: Sequence[Event]) -> dict[str, Seen]:
    """Fold events, in any order, to the last one of each agent."""
    seen: dict[str, Seen] = {}
    for event in events:
        known = seen.get(event.agent)
        if known is None or known.last_seen < event.at:
            seen[event.agent] = Seen(
                event.agent, event.at, event.op, event.record["host"], event.session
            )
    return seen


OPS = {
    "agent.join": Op(
        body(),
        lambda event: f"on {event.record['host']}",
        NoWayBack("an agent cannot be removed from the past", lambda *_: "tclog agents"),
        common=True,
    )
}
KINDS = {
    "agent": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct(
            "",
            host={"type": "string", "maxLength": 255},
            joined={"type": "boolean"},
            session={"type": "string", "maxLength": 200},
        ),
        OPS,
        group="agents",
        # The file of an agent holds its claims, which its own chain does not know.
        file="",
        tallied=False,
    )
}
