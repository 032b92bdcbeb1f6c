"""The rules of the primitives: pure functions from state and command to event, and back.

Each primitive is one module, which states in ``KINDS`` all that the other layers need to know of
its kinds of chains. They are listed here, and each is loaded when something needs it. No clock, no
randomness, no I/O.

An event does not count in a chain if its body breaks its op's schema, or if it does not name the
chain. The fold ignores it, and so does everything that reads bodies. A state that breaks its kind's
schema is damage, since no writer makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from tclog.domain.decision import Kind, NoWayBack, Op
from tclog.errors import UPGRADE, FormatNewer
from tclog.event.bodies import RESERVED_OPS, SHORT, body
from tclog.event.envelopes import DEFS, counted
from tclog.event.ids import ChainId
from tclog.event.records import VOID, Event, Version
from tclog.event.schema import Check, Schema, compile_schema

# Each kind of chain, and the module that owns it, in the order in which things are shown.
MODULES = {
    "memory": "memory",
    "step": "steps",
    "inbox": "inbox",
    "read": "inbox",
    "artifact": "artifacts",
    "barrier": "barriers",
    "agent": "agents",
    "tag": "tags",
    "pack": "packs",
}
# Ops are named after their kind of chain, but for these.
_KINDS_OF = {"message": ("inbox", "read")}
_VOID = Op(
    body("reason", reason=SHORT, lost=counted(1)),
    lambda event: f"ends junk: {event.body.get('reason')}",
    NoWayBack("junk that was ended stays ended"),
)


@lru_cache(maxsize=32)
def kind_of(name: str) -> Kind:
    """Return what is known of a kind of chain; its module is loaded when first needed.

    Raises:
        FormatNewer: no kind of this release has the name.
    """
    if name not in MODULES:
        raise FormatNewer(f"chains of the kind {name!r} need a later release", hint=UPGRADE)
    kind: Kind = import_module(f"tclog.domain.{MODULES[name]}").KINDS[name]
    return kind


@lru_cache(maxsize=128)
def op_of(op: str) -> Op | None:
    """Return what is known of an op; None if no kind of this release has it."""
    if op == VOID:
        return _VOID
    prefix = op.partition(".")[0]
    kinds = _KINDS_OF.get(prefix, (prefix,))
    return next((found for kind in kinds if (found := _op_in(kind, op))), None)


def _op_in(kind: str, op: str) -> Op | None:
    return kind_of(kind).ops.get(op) if kind in MODULES else None


def body_schemas() -> dict[str, Schema]:
    """Return the schemas of all bodies by op, those of later releases too, in their order."""
    bodies = {op: known.body for kind in MODULES for op, known in kind_of(kind).ops.items()}
    bodies |= dict.fromkeys(RESERVED_OPS, body())
    return dict(sorted({**bodies, VOID: _VOID.body}.items()))


@lru_cache(maxsize=64)
def _check_body(op: str) -> Check | None:
    known = op_of(op)
    if known is None:
        return compile_schema(body(), DEFS) if op in RESERVED_OPS else None
    fits = compile_schema(known.body, DEFS)
    return lambda body: fits(body) or known.misfit(body)


@lru_cache(maxsize=16)
def _check_state(kind: str) -> Check:
    return compile_schema(kind_of(kind).state if kind in MODULES else True, DEFS)


def misfit_body(op: str, body: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the body of an op; None if nothing is, or the op is not known."""
    check = _check_body(op)
    return None if check is None else check(body)


def misfit(event: Event, chain: ChainId) -> str | None:
    """Return why an event does not count in a chain, whatever its place there; None if it may."""
    if chain not in event.record["chains"]:
        return " was not made for this chain"
    why = misfit_body(event.record["op"], event.record["body"])
    return None if why is None else f" has a body that is not valid: {why.lstrip('.')}"


def misfit_state(kind: str, state: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the state of a kind of chain; None if nothing is."""
    return _check_state(kind)(state)


def counting(version: Version) -> list[Event]:
    """Return the events of a version whose bodies may be read: all but those that do not count."""
    return [event for event in version.events if misfit(event, version.chain) is None]
