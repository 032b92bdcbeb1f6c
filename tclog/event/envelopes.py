"""The schemas of records: what every reader checks of an event, a version and the other objects.

JSON Schema documents (draft 2020-12), shipped as ``docs/schemas/*.json``; ``tclog.event.schema``
compiles them. A record that does not fit is damaged. Fields that no schema names are allowed
anywhere, as long as there is no float in them. What a schema cannot say, such as that a version's
number is in its transaction, is in ``tclog.event.records``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tclog.event.schema import Check, Schema, compile_schema

TXN_CHAINS_MAX = 64
# An event goes to so many inboxes at most.
RECIPIENTS_MAX = 100
# How many slots right below a version may end, and how far readers look for it.
VOIDS_MAX = 8
HOST_MAX = 255
SOFTWARE_MAX = 200
_EVENTS_MAX = 1000
_SEQ_MAX = 9_999_999_998
INTEGER_MAX = 2**63 - 1

_YEAR = "(20[2-9][0-9]|2[1-9][0-9]{2}|[3-8][0-9]{3})"
_STORE_YEAR = "(19[7-9][0-9]|[2-8][0-9]{3})"
_REST = "-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][.][0-9]{6}Z"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _object(required: str = "", **properties: Schema) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def _count(least: int = 0, most: int = INTEGER_MAX) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


DEFS: dict[str, Schema] = {
    # A name, at most 200 bytes of UTF-8 without control characters; those of agents and steps, and
    # the full ids of chains, are held to what docs/format.md says of each.
    "name": {"type": "string", "format": "name", "minLength": 1, "maxLength": 200},
    "agent": {"type": "string", "format": "agent", "minLength": 1, "maxLength": 200},
    "step": {"type": "string", "format": "step", "minLength": 1, "maxLength": 200},
    "recipient": {"type": "string", "format": "recipient", "minLength": 1, "maxLength": 200},
    "chain": {"type": "string", "format": "chain", "minLength": 3, "maxLength": 233},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "hlc": {"type": "string", "format": "stamp", "pattern": f"^{_YEAR}{_REST}-[0-9a-f]{{4}}$"},
    "stamp": {"type": "string", "format": "stamp", "pattern": f"^{_STORE_YEAR}{_REST}$"},
    "hour": {
        "type": "string",
        "format": "stamp",
        "pattern": f"^{_YEAR}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3])$",
    },
    "seq": _count(1, _SEQ_MAX),
    "before": _count(0, _SEQ_MAX),
    "count": _count(),
    "id": {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"},
    "short": {"type": "string", "maxLength": 4096},
    "signature": {"type": "string", "pattern": "^[0-9a-f]{16}[.][0-9A-Za-z+/]{86}$"},
    "counted": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,18})[.][0-9a-f]{16}$"},
    "slots": {
        "type": "object",
        "propertyNames": _ref("chain"),
        "additionalProperties": _ref("seq"),
        "minProperties": 1,
        "maxProperties": TXN_CHAINS_MAX,
    },
    "txn": _object(
        "agent at events id slots",
        agent=_ref("agent"),
        at=_ref("hlc"),
        events={
            "type": "array",
            "items": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
            "maxItems": _EVENTS_MAX,
        },
        id=_ref("id"),
        key=_ref("name"),
        slots=_ref("slots"),
    ),
    "last_txn": _object("at seq", at=_ref("hlc"), seq=_ref("seq")),
    "fills": _object("chain seq", chain=_ref("chain"), seq=_ref("seq")),
    "merge": _object(
        "after chain count taken through",
        after=_ref("before"),
        chain={"const": "inbox/@all"},
        count=_ref("count"),
        taken=_ref("count"),
        through=_ref("seq"),
    ),
    "voids": {
        "type": "array",
        "items": _object("hash seq", hash=_ref("hash"), seq=_ref("seq")),
        "minItems": 1,
        "maxItems": VOIDS_MAX,
    },
    "expect": _object("", fence=_ref("before"), version=_ref("before")),
    "reads": _object(
        "",
        at=_ref("hlc"),
        chains={
            "type": "object",
            "propertyNames": _ref("chain"),
            "additionalProperties": _ref("before"),
        },
        lists={"type": "array", "items": {"type": "string", "maxLength": 400}},
        more=_ref("count"),
    ),
}

EVENT = _object(
    "agent at body chains client format host nonce op session",
    agent=_ref("agent"),
    at=_ref("hlc"),
    body={"type": "object"},
    chains={
        "type": "array",
        "items": _ref("chain"),
        "minItems": 1,
        "maxItems": RECIPIENTS_MAX,
        "uniqueItems": True,
    },
    client={"type": "string", "maxLength": SOFTWARE_MAX},
    expect=_ref("expect"),
    format={"const": 1},
    host={"type": "string", "maxLength": HOST_MAX},
    key=_ref("name"),
    nonce={"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"},
    op={"type": "string", "format": "name", "minLength": 1, "maxLength": 100},
    reads=_ref("reads"),
    session=_ref("name"),
    sig=_ref("signature"),
    txn=_ref("id"),
)
DEFS["event"] = EVENT

VERSION = _object(
    "at by chain events format prev seq state sum",
    at=_ref("hlc"),
    auth=_ref("counted"),
    by=_ref("agent"),
    chain=_ref("chain"),
    checkpoint=_ref("counted"),
    events={"type": "array", "items": _ref("event"), "maxItems": _EVENTS_MAX},
    fills=_ref("fills"),
    format={"const": 1},
    last_txn=_ref("last_txn"),
    merge=_ref("merge"),
    now=_ref("stamp"),
    otherwise={"type": "object"},
    prev={"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
    prev_stored={
        "type": ["string", "null"],
        "format": "stamp",
        "pattern": f"^{_STORE_YEAR}{_REST}$",
    },
    seq=_ref("seq"),
    sig=_ref("signature"),
    stands=_ref("before"),
    state={"type": "object"},
    sum=_ref("hash"),
    txn=_ref("txn"),
    voids=_ref("voids"),
)
DEFS["version"] = VERSION

DEFS["once"] = _object(
    "after agent chain command format key",
    after=_ref("before"),
    agent=_ref("agent"),
    chain=_ref("chain"),
    command={"type": "string", "maxLength": 200},
    format={"const": 1},
    key=_ref("name"),
    sig=_ref("signature"),
)
# A later shard count is read, and refused by what opens a project, with words of its own.
DEFS["project"] = _object(
    "created_at format id project",
    created_at=_ref("stamp"),
    format={"const": 1},
    id=_ref("id"),
    project=_ref("name"),
    shards=_count(1, 1_000_000),
)
DEFS["pack"] = _object(
    "chains events format type",
    chains={
        "type": "array",
        "items": {
            "type": "array",
            "prefixItems": [_ref("chain"), _ref("seq"), _ref("seq")],
            "items": False,
            "minItems": 3,
        },
    },
    events={"type": "array", "items": _ref("hash")},
    format={"const": 1},
    type={"const": "pack"},
)


@lru_cache(maxsize=32)
def check_of(name: str) -> Check:
    """Return the check of a record or a part of one, by its name in ``DEFS``."""
    return compile_schema(DEFS[name], DEFS)
