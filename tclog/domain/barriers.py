"""Barriers: N parties arrive, then all go on; generations, so that a name can be used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.domain.decision import (
    Decision,
    Draft,
    Kind,
    NoWayBack,
    Op,
    Place,
    Unchanged,
    silent,
)
from tclog.errors import Refused, to_run
from tclog.event.bodies import body
from tclog.event.envelopes import array, counted, ref, struct
from tclog.event.records import Event

PARTIES_MAX = 1000


class State(NamedTuple):
    """Generation ``generation`` is forming; all before it have tripped.

    ``parties`` is 0 while nobody has arrived in this generation. An agent counts once, however
    often it arrives.
    """

    generation: int = 1
    parties: int = 0
    arrived: tuple[str, ...] = ()


EMPTY = State()


class Arrive(NamedTuple):
    """Arrive in the generation that is forming."""

    agent: str
    parties: int


class Leave(NamedTuple):
    """Withdraw from a generation: the agent gave up waiting."""

    agent: str
    generation: int


Command = Arrive | Leave


def decide(state: State, command: Command, place: Place) -> Decision:  # noqa: ARG001 - one shape for all
    """Decide on an arrival or a withdrawal."""
    match command:
        case Arrive(agent, parties):
            if state.parties not in (0, parties):
                return Refused(
                    f"the barrier is forming for {state.parties} parties, not {parties}",
                    code="parties-mismatch",
                )
            arrival = Draft("barrier.arrive", {"parties": parties})
            return Unchanged(arrival) if agent in state.arrived else arrival
        case Leave(agent, generation):
            if state.generation != generation or agent not in state.arrived:
                return Unchanged()
            return Draft("barrier.leave", {"generation": generation})


def evolve(state: State, event: Event, place: Place) -> State:  # noqa: ARG001 - one shape for all
    """Fold one event; the arrival that makes the number full begins the next generation."""
    match event.op:
        case "barrier.arrive":
            parties = event.body["parties"]
            if event.agent in state.arrived or state.parties not in (0, parties):
                return state
            arrived = (*state.arrived, event.agent)
            if len(arrived) >= parties:
                return State(state.generation + 1)
            return State(state.generation, parties, arrived)
        case "barrier.leave":
            if event.body["generation"] != state.generation or event.agent not in state.arrived:
                return state
            left = tuple(agent for agent in state.arrived if agent != event.agent)
            return State(state.generation, state.parties if left else 0, left)
    return state


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON."""
    return state._asdict() | {"arrived": list(state.arrived)}


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    return State(packed["generation"], packed["parties"], tuple(packed["arrived"]))


def _show(event: Event, _: str) -> str:
    return to_run("tclog show", event.id[:12])


def _has_arrived(state: State, event: Event) -> bool:
    return event.agent in state.arrived and bool(state.parties == event.body["parties"])


OPS = {
    "barrier.arrive": Op(
        body("parties", parties=counted(1, PARTIES_MAX)),
        lambda event: f"of {event.body.get('parties')}",
        NoWayBack("others may have gone on because of it", _show),
        is_idle=_has_arrived,
    ),
    "barrier.leave": Op(
        body("generation", generation=counted(1)),
        silent,
        NoWayBack("only the agent itself can arrive again", _show),
    ),
}
KINDS = {
    "barrier": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct(
            "arrived generation parties",
            arrived=array(ref("agent"), PARTIES_MAX, uniqueItems=True),
            generation=counted(1),
            parties=counted(0, PARTIES_MAX),
        ),
        OPS,
        group="barriers",
        file="{}.json",
        tallied=False,
    )
}
