"""Artifacts: names are version chains, contents are blobs by their hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
)
from tclog.errors import to_run
from tclog.event.bodies import SIZED, body
from tclog.event.envelopes import ref, struct
from tclog.event.ids import BlobHash
from tclog.event.records import Event


class State(NamedTuple):
    """What a name stands for now; ``blob`` is None before the first put."""

    blob: BlobHash | None = None
    size: int = 0
    step: str | None = None


EMPTY = State()


class PutArtifact(NamedTuple):
    """Point the name at a blob that is already in the store."""

    blob: BlobHash
    size: int
    step: str | None = None


def decide(state: State, command: PutArtifact, place: Place) -> Decision:  # noqa: ARG001 - one shape for all
    """Every put is a version, also of the same bytes: it says who vouched for them, and when."""
    return Draft("artifact.put", {k: v for k, v in command._asdict().items() if v is not None})


def evolve(state: State, event: Event, place: Place) -> State:  # noqa: ARG001 - one shape for all
    """Fold one event."""
    if event.op != "artifact.put":
        return state
    body = event.body
    return State(body["blob"], body["size"], body.get("step"))


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON."""
    if state.blob is None:
        return {}
    return {key: value for key, value in state._asdict().items() if value is not None}


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    return State(packed.get("blob"), packed.get("size", 0), packed.get("step"))


def _undo(past: Past) -> Undo | NoWayBack:
    before: State = past.before
    if before.blob is None:
        return NoWayBack(
            "there was no version before, and artifacts are kept",
            lambda _, name: to_run("tclog artifact history", name),
        )
    put = Draft("artifact.put", pack(before, ()))
    return lambda now, _: Unchanged(put) if now == before else put


OPS = {
    "artifact.put": Op(
        body("blob size", **SIZED, step=ref("step")),
        lambda event: f"{event.body.get('size')} bytes, {str(event.body.get('blob'))[:12]}",
        _undo,
    )
}
KINDS = {
    "artifact": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct("", **SIZED, step=ref("step")),
        OPS,
        group="artifacts",
        file="{}.json",
        tallied=True,
    )
}
