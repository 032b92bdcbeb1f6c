"""Packs: which closed hours of history are folded into which packs, and what ``gc`` may remove.

The chain ``pack/log`` is the one place that says so. A pack is named by its hash; what is in it is
the business of ``tclog.event.packs``. Both commands rest on a version that their writer has read,
and the fold ignores one that stands elsewhere: so a pack is only ever added to what it was made
for, and the floor is only raised over packs that were read back.
"""

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
from tclog.errors import Refused
from tclog.event.bodies import body
from tclog.event.envelopes import array, ref, struct
from tclog.event.records import Event


class Pack(NamedTuple):
    """One pack: its hash, its size in bytes, how much is in it, and up to which hour it goes."""

    pack: str
    size: int
    versions: int
    events: int
    last: str


class State(NamedTuple):
    """What is packed.

    ``through`` is the last hour that was packed, ``floor`` the last hour of which event objects may
    have been removed; both as in the keys of events, "" for none. ``agents`` names the blob that
    holds the newest packed event of each agent.
    """

    packs: tuple[Pack, ...] = ()
    through: str = ""
    floor: str = ""
    agents: Mapping[str, Any] | None = None


EMPTY = State()


class AddPacks(NamedTuple):
    """Add packs, made upon ``version`` of this chain, in the place of its last ``replaces``."""

    version: int
    packs: tuple[Pack, ...]
    replaces: int
    through: str
    agents: Mapping[str, Any]


class RaiseFloor(NamedTuple):
    """Let event objects up to an hour be removed; ``version`` is the one whose packs were read."""

    version: int
    floor: str


Command = AddPacks | RaiseFloor


def decide(state: State, command: Command, place: Place) -> Decision:
    """Decide on packs: only upon the version that they were made for."""
    expect = {"version": command.version}
    if isinstance(command, AddPacks):
        if state.through >= command.through and set(command.packs) <= set(state.packs):
            return Unchanged()
        draft = Draft(
            "pack.add",
            {
                "agents": command.agents,
                "packs": [pack._asdict() for pack in command.packs],
                "replaces": command.replaces,
                "through": command.through,
            },
            expect,
        )
    else:
        if state.floor >= command.floor:
            return Unchanged()
        draft = Draft("pack.floor", {"floor": command.floor}, expect)
    if place.before != command.version:
        return Refused(
            "somebody else has packed or removed history meanwhile",
            code="packs-changed",
            hint="run the same command again",
        )
    return draft


def evolve(state: State, event: Event, place: Place) -> State:
    """Fold one event."""
    if event.expect.get("version") != place.before or place.index:
        return state
    body = event.body
    match event.op:
        case "pack.add":
            packs = tuple(_pack(one) for one in body["packs"])
            kept = len(state.packs) - body["replaces"]
            if body["through"] < state.through or not 0 <= kept <= len(state.packs):
                return state
            packs = (*state.packs[:kept], *packs)
            return State(packs, body["through"], state.floor, body["agents"])
        case "pack.floor":
            if state.floor < body["floor"] <= state.through:
                return state._replace(floor=body["floor"])
    return state


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON; what is empty is left out."""
    packed: dict[str, Any] = {key: value for key, value in state._asdict().items() if value}
    if state.packs:
        packed["packs"] = [one._asdict() for one in state.packs]
    return packed


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    return State(
        tuple(_pack(one) for one in packed.get("packs", ())),
        packed.get("through", ""),
        packed.get("floor", ""),
        packed.get("agents"),
    )


def _pack(record: Mapping[str, Any]) -> Pack:
    return Pack(**{name: record[name] for name in Pack._fields})


_NO_WAY_BACK = NoWayBack("there is no way back from it")
OPS = {
    "pack.add": Op(
        body(
            "agents packs replaces through",
            agents=ref("blob"),
            packs=array(ref("packed")),
            replaces=ref("count"),
            through=ref("hour"),
        ),
        silent,
        _NO_WAY_BACK,
    ),
    "pack.floor": Op(body("floor", floor=ref("hour")), silent, _NO_WAY_BACK),
}
KINDS = {
    "pack": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct(
            "",
            agents=ref("blob"),
            floor=ref("hour"),
            packs=array(ref("packed")),
            through=ref("hour"),
        ),
        OPS,
        group="",  # packs are how the store keeps its history, nothing that agents share
        file="",
        tallied=False,
    )
}
