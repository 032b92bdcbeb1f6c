"""Tags: names for moments. Setting one again moves it; where it was before stays in its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.clock import Hlc
from tclog.domain.decision import (
    Decision,
    Draft,
    Kind,
    Op,
    Past,
    Place,
    Unchanged,
    Undo,
    silent,
)
from tclog.errors import Refused
from tclog.event.bodies import body
from tclog.event.envelopes import ref, struct
from tclog.event.records import Event


class State(NamedTuple):
    """What a tag stands for: everything up to the stamp ``at``; None if it was taken away."""

    at: Hlc | None = None


EMPTY = State()


class SetTag(NamedTuple):
    """Point a tag at a moment; one that points elsewhere is only moved with ``move``."""

    name: str
    at: Hlc
    move: bool = False


class DeleteTag(NamedTuple):
    """Take a tag away."""

    name: str


Command = SetTag | DeleteTag


def decide(state: State, command: Command, place: Place) -> Decision:  # noqa: ARG001 - one shape for all
    """Decide on a tag; what it names is never moved by accident."""
    if isinstance(command, DeleteTag):
        return Unchanged() if state.at is None else Draft("tag.delete", {})
    tag = Draft("tag.set", {"at": command.at})
    if state.at == command.at:
        return Unchanged(tag)
    if state.at is not None and not command.move:
        return Refused(
            f"the tag {command.name} already stands for {state.at[:27]}",
            code="tag-exists",
            hint="tclog tag",
            at=state.at,
        )
    return tag


def evolve(state: State, event: Event, place: Place) -> State:  # noqa: ARG001 - one shape for all
    """Fold one event."""
    match event.op:
        case "tag.set":
            return State(Hlc(event.body["at"]))
        case "tag.delete":
            return State()
    return state


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON."""
    return {key: value for key, value in state._asdict().items() if value is not None}


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    return State(packed.get("at"))


def _undo(past: Past) -> Undo:
    at = past.before.at
    restore = Draft("tag.delete", {}) if at is None else Draft("tag.set", {"at": at})
    return lambda now, _: Unchanged(restore) if now.at == at else restore


OPS = {
    "tag.set": Op(
        body("at", at=ref("hlc")), lambda event: f"at {str(event.body.get('at'))[:27]}", _undo
    ),
    "tag.delete": Op(body(), silent, _undo),
}
KINDS = {
    "tag": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct("", at=ref("hlc")),
        OPS,
        group="tags",
        file="{}.json",
        tallied=False,
    )
}
