"""The schemas of bodies, by op, and of states, by kind of chain; and which events count.

An event is not allowed at its place if its body breaks its op's schema, or if it stands in a chain
that it does not name. The fold ignores it, and so does everything that reads bodies. A state that
breaks its kind's schema is damage, since no writer makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tclog.event.envelopes import DEFS, array, counted, ref, struct
from tclog.event.ids import ChainId
from tclog.event.schema import Check, Schema, compile_schema

if TYPE_CHECKING:
    from tclog.event.records import Event, Version

# Of later releases: known, checked as far as their schemas go, and folded to nothing.
RESERVED_OPS = frozenset({"step.approve", "step.cancel", "step.edit", "step.reject"})
RESERVED_KINDS = frozenset({"checkpoint", "member", "reserve", "session", "snapshot"})

_TEXT = {"type": "string"}
_SHORT = ref("short")
_LEASE = counted(100, 30 * 86_400_000)
_PRIORITY = counted(-(2**31), 2**31 - 1)
_BLOB = struct("blob size", blob=ref("hash"), size=ref("count"))
_REVERTS: dict[str, Schema] = {"reverts": ref("hash")}


def _form(required: str, kind: str, **fields: Schema) -> Schema:
    """Make one form of a content: what tells the forms apart stands in no other one."""
    alone: dict[str, Schema] = dict.fromkeys(("blob", "parts", "text", "value"), False)
    return struct(f"type {required}", **alone | {"type": {"const": kind}} | fields | _REVERTS)


_SIZED: dict[str, Schema] = {"blob": ref("hash"), "size": ref("count")}
_IN_TEXT = {"type": "string", "contentMediaType": "application/json", "format": "json"}
CONTENT_DEFS: dict[str, Schema] = {
    "text": {
        "anyOf": [
            _form("value", "text", value=_TEXT, parts=array(_BLOB)),
            _form("blob size", "text", **_SIZED),
        ]
    },
    "json": {
        "anyOf": [
            _form("value", "json", value=True),
            _form("text", "json", text=_IN_TEXT),
            _form("blob size", "json", **_SIZED),
        ]
    },
    "content": {"anyOf": [ref("text"), ref("json")]},
    "blob": _BLOB,
    "ranges": array(
        {
            "type": "array",
            "prefixItems": [counted(1), counted(1)],
            "items": False,
            "minItems": 2,
        }
    ),
    "packed": struct(
        "events last pack size versions",
        events=ref("count"),
        last=ref("hour"),
        pack=ref("hash"),
        size=ref("count"),
        versions=ref("count"),
    ),
    "handoff": struct(
        "",
        changed_files=ref("json"),
        exit_status=counted(-(2**31), 2**31 - 1),
        next_action=_SHORT,
        note=ref("text"),
        to=ref("recipient"),
    ),
    "evidence": array({"type": "object"}, 100),
    "labels": array(ref("name"), 100, uniqueItems=True),
    "after": array(ref("step"), 100, uniqueItems=True),
}
DEFS.update(CONTENT_DEFS)


def _body(required: str = "", **fields: Schema) -> Schema:
    return struct(required, **fields | _REVERTS)


_GRANT: dict[str, Schema] = {"lease_ms": _LEASE}
_FORCED: dict[str, Schema] = {"force": {"type": "boolean"}, "reason": _SHORT}
BODIES: dict[str, Schema] = {
    "agent.join": _body(),
    "artifact.put": _body("blob size", **_SIZED, step=ref("step")),
    "barrier.arrive": _body("parties", parties=counted(1, 1000)),
    "barrier.leave": _body("generation", generation=counted(1)),
    "chain.void": _body("reason", reason=_SHORT, lost=counted(1)),
    "memory.append": _body("added separator", added=ref("text"), separator=_TEXT),
    "memory.delete": _body(),
    "memory.incr": _body("by", by=counted(-(2**63), 2**63 - 1)),
    "memory.set": ref("content"),
    "message.ack": _body("ranges", ranges=ref("ranges"), version=ref("before")),
    "message.send": _body(
        "text to",
        answer=_SHORT,
        choices=array(_SHORT, 20),
        deadline=ref("stamp"),
        intent={"enum": ["ack", "inform", "request"]},
        reply_to={"type": "string", "maxLength": 200},
        step=ref("step"),
        text=ref("text"),
        thread={"type": "string", "maxLength": 200},
        to=array(ref("recipient"), 100, minItems=1, uniqueItems=True),
        urgent={"type": "boolean"},
    ),
    "pack.add": _body(
        "agents packs replaces through",
        agents=ref("blob"),
        packs=array(ref("packed")),
        replaces=ref("count"),
        through=ref("hour"),
    ),
    "pack.floor": _body("floor", floor=ref("hour")),
    "step.add": _body(
        "after priority",
        **{"for": ref("agent")},
        after=ref("after"),
        approval={"type": "object"},
        body=ref("content"),
        labels=ref("labels"),
        priority=_PRIORITY,
        requires=array(_SHORT, 100),
        title=_SHORT,
    ),
    "step.approve": _body(),
    "step.cancel": _body(),
    "step.claim": _body(
        "lease_ms",
        **_GRANT,
        seen={
            "type": "object",
            "propertyNames": ref("step"),
            "additionalProperties": ref("seq"),
            "maxProperties": 100,
        },
    ),
    "step.complete": _body(
        "outcome",
        **_FORCED,
        evidence=ref("evidence"),
        handoff=ref("handoff"),
        outcome={"enum": ["complete", "blocked", "needs_review", "failed"]},
    ),
    "step.edit": _body(),
    "step.move": _body("lease_ms", **_GRANT),
    "step.note": _body("note", note=ref("text")),
    "step.reject": _body(),
    "step.release": _body("", **_FORCED),
    "step.renew": _body("lease_ms", **_GRANT),
    "step.reopen": _body(),
    "step.takeover": _body(
        "fence from lease_ms", **{"from": ref("agent")}, **_GRANT, **_FORCED, fence=ref("seq")
    ),
    "step.withdraw": _body(),
    "tag.delete": _body(),
    "tag.set": _body("at", at=ref("hlc")),
}

_UNCLAIMED = ("pending", "complete", "blocked", "needs_review", "failed", "cancelled")
_STEP: dict[str, Schema] = {
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
    "lease_ms": _LEASE,
    "note_version": ref("seq"),
    "priority": _PRIORITY,
    "reopened_version": ref("seq"),
    "requires": array(_SHORT, 100),
    "session": ref("name"),
    "title": _SHORT,
}
STATES: dict[str, Schema] = {
    "agent": struct(
        "",
        host={"type": "string", "maxLength": 255},
        joined={"type": "boolean"},
        session={"type": "string", "maxLength": 200},
    ),
    "artifact": struct("", **_SIZED, step=ref("step")),
    "barrier": struct(
        "arrived generation parties",
        arrived=array(ref("agent"), 1000, uniqueItems=True),
        generation=counted(1),
        parties=counted(0, 1000),
    ),
    "inbox": struct("", all_count=ref("count"), all_version=ref("before"), count=ref("count")),
    "memory": struct("", **{"in": counted(0, 999)}, content=ref("content")),
    "pack": struct(
        "",
        agents=ref("blob"),
        floor=ref("hour"),
        packs=array(ref("packed")),
        through=ref("hour"),
    ),
    "read": struct("", ranges=ref("ranges"), version=ref("before")),
    "step": {
        "anyOf": [
            struct(
                "agent fence held_version lease_ms session state",
                **_STEP | {"state": {"const": "claimed"}},
            ),
            struct("", **_STEP | {"state": {"enum": list(_UNCLAIMED)}}),
        ]
    },
    "tag": struct("", at=ref("hlc")),
}


@lru_cache(maxsize=64)
def _check_body(op: str) -> Check | None:
    return compile_schema(BODIES[op], DEFS) if op in BODIES else None


@lru_cache(maxsize=16)
def _check_state(kind: str) -> Check:
    return compile_schema(STATES.get(kind, True), DEFS)


def misfit_body(op: str, body: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the body of an op; None if nothing is, or the op is not known."""
    check = _check_body(op)
    why = None if check is None else check(body)
    if why is None and op == "message.ack":
        backward = any(first > last for first, last in body["ranges"])
        why = ".ranges has one that ends before it begins" if backward else None
    return why


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
