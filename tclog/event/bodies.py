"""The parts that the schemas of bodies and states are made of; each primitive states its own."""

from __future__ import annotations

from typing import Any

from tclog.event.envelopes import DEFS, array, counted, ref, struct
from tclog.event.schema import Schema

# Of later releases: known, and folded to nothing.
RESERVED_OPS = frozenset({"step.approve", "step.cancel", "step.edit", "step.reject"})
RESERVED_KINDS = frozenset({"checkpoint", "member", "reserve", "session", "snapshot"})

TEXT = {"type": "string"}
SHORT = ref("short")
PRIORITY = counted(-(2**31), 2**31 - 1)
_BLOB = struct("blob size", blob=ref("hash"), size=ref("count"))
_REVERTS: dict[str, Schema] = {"reverts": ref("hash")}


def _form(required: str, kind: str, **fields: Schema) -> Schema:
    """Make one form of a content: what tells the forms apart stands in no other one."""
    alone: dict[str, Schema] = dict.fromkeys(("blob", "parts", "text", "value"), False)
    return struct(f"type {required}", **alone | {"type": {"const": kind}} | fields | _REVERTS)


SIZED: dict[str, Schema] = {"blob": ref("hash"), "size": ref("count")}
_IN_TEXT = {"type": "string", "contentMediaType": "application/json", "format": "json"}
CONTENT_DEFS: dict[str, Schema] = {
    "text": {
        "anyOf": [
            _form("value", "text", value=TEXT, parts=array(_BLOB)),
            _form("blob size", "text", **SIZED),
        ]
    },
    "json": {
        "anyOf": [
            _form("value", "json", value=True),
            _form("text", "json", text=_IN_TEXT),
            _form("blob size", "json", **SIZED),
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
        next_action=SHORT,
        note=ref("text"),
        to=ref("recipient"),
    ),
    "evidence": array({"type": "object"}, 100),
    "labels": array(ref("name"), 100, uniqueItems=True),
    "after": array(ref("step"), 100, uniqueItems=True),
}
DEFS.update(CONTENT_DEFS)


def body(required: str = "", **fields: Schema) -> dict[str, Any]:
    """Make the schema of a body: any event may name the one that it reverts."""
    return struct(required, **fields | _REVERTS)
