"""The schemas of records: what every reader checks of an event, a version and the other objects.

JSON Schema documents (draft 2020-12), shipped as ``docs/schemas/*.json``; ``tclog.event.schema``
compiles them. A record that does not fit is damaged. Fields that no schema names are allowed
anywhere, as long as there is no float in them. What a schema cannot say, such as that a version's
number is in its transaction, is in ``tclog.event.records``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tclog.event.names import ALL
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


def ref(name: str) -> Schema:
    """Name a definition."""
    return {"$ref": f"#/$defs/{name}"}


def struct(required: str = "", **properties: Schema) -> dict[str, Any]:
    """Make the schema of an object; ``required`` lists the fields that must be there."""
    return {"type": "object", "required": required.split(), "properties": properties}


def counted(least: int = 0, most: int = INTEGER_MAX) -> dict[str, Any]:
    """Make the schema of an integer between bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def array(items: Schema, most: int | None = None, **more: Any) -> dict[str, Any]:
    """Make the schema of an array of so many items at most."""
    bound = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, **bound, **more}


DEFS: dict[str, Schema] = {
    # A name, at most 200 bytes of UTF-8 without control characters; those of agents and steps, and
    # the full ids of chains, are held to what docs/format.md says of each.
    "name": {"type": "string", "format": "name", "minLength": 1, "maxLength": 200},
    "agent": {"type": "string", "format": "agent", "minLength": 1, "maxLength": 200},
    "step": {"type": "string", "format": "step", "minLength": 1, "maxLength": 200},
    "recipient": {"type": "string", "format": "recipient", "minLength": 1, "maxLength": 200},
    "chain": {"type": "string", "format": "chain", "minLength": 3, "maxLength": 233},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "hlc": {"type": "string", "format": "hlc", "pattern": f"^{_YEAR}{_REST}-[0-9a-f]{{4}}$"},
    "stamp": {"type": "string", "format": "stamp", "pattern": f"^{_STORE_YEAR}{_REST}$"},
    "hour": {
        "type": "string",
        "format": "hour",
        "pattern": f"^{_YEAR}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3])$",
    },
    "seq": counted(1, _SEQ_MAX),
    "before": counted(0, _SEQ_MAX),
    "count": counted(),
    "id": {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"},
    "short": {"type": "string", "maxLength": 4096},
    "signature": {"type": "string", "pattern": "^[0-9a-f]{16}[.][0-9A-Za-z+/]{86}$"},
    "counted": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,18})[.][0-9a-f]{16}$"},
    "slots": {
        "type": "object",
        "propertyNames": ref("chain"),
        "additionalProperties": ref("seq"),
        "minProperties": 1,
        "maxProperties": TXN_CHAINS_MAX,
    },
    "txn": struct(
        "agent at events id slots",
        agent=ref("agent"),
        at=ref("hlc"),
        events={
            "type": "array",
            "items": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
            "maxItems": _EVENTS_MAX,
        },
        id=ref("id"),
        key=ref("name"),
        slots=ref("slots"),
    ),
    "last_txn": struct("at seq", at=ref("hlc"), seq=ref("seq")),
    "fills": struct("chain seq", chain=ref("chain"), seq=ref("seq")),
    "merge": struct(
        "after chain count taken through",
        after=ref("before"),
        chain={"const": ALL},
        count=ref("count"),
        taken=ref("count"),
        through=ref("seq"),
    ),
    "voids": {
        "type": "array",
        "items": struct("hash seq", hash=ref("hash"), seq=ref("seq")),
        "minItems": 1,
        "maxItems": VOIDS_MAX,
    },
    "expect": struct("", fence=ref("before"), version=ref("before")),
    "reads": struct(
        "",
        at=ref("hlc"),
        chains={
            "type": "object",
            "propertyNames": ref("chain"),
            "additionalProperties": ref("before"),
        },
        lists={"type": "array", "items": {"type": "string", "maxLength": 400}},
        more=ref("count"),
    ),
}

EVENT = struct(
    "agent at body chains client format host nonce op session",
    agent=ref("agent"),
    at=ref("hlc"),
    body={"type": "object"},
    chains={
        "type": "array",
        "items": ref("chain"),
        "minItems": 1,
        "maxItems": RECIPIENTS_MAX,
        "uniqueItems": True,
    },
    client={"type": "string", "maxLength": SOFTWARE_MAX},
    expect=ref("expect"),
    format={"const": 1},
    host={"type": "string", "maxLength": HOST_MAX},
    key=ref("name"),
    nonce={"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"},
    op={"type": "string", "format": "name", "minLength": 1, "maxLength": 100},
    reads=ref("reads"),
    session=ref("name"),
    sig=ref("signature"),
    txn=ref("id"),
)
DEFS["event"] = EVENT

VERSION = struct(
    "at by chain events format prev seq state sum",
    at=ref("hlc"),
    auth=ref("counted"),
    by=ref("agent"),
    chain=ref("chain"),
    checkpoint=ref("counted"),
    events={"type": "array", "items": ref("event"), "maxItems": _EVENTS_MAX},
    fills=ref("fills"),
    format={"const": 1},
    last_txn=ref("last_txn"),
    merge=ref("merge"),
    now=ref("stamp"),
    otherwise={"type": "object"},
    prev={"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
    prev_stored={
        "type": ["string", "null"],
        "format": "stamp",
        "pattern": f"^{_STORE_YEAR}{_REST}$",
    },
    seq=ref("seq"),
    sig=ref("signature"),
    stands=ref("before"),
    state={"type": "object"},
    sum={"type": "string"},
    txn=ref("txn"),
    voids=ref("voids"),
)
DEFS["version"] = VERSION

DEFS["once"] = struct(
    "after agent chain command format key",
    after=ref("before"),
    agent=ref("agent"),
    chain=ref("chain"),
    command={"type": "string", "maxLength": 200},
    format={"const": 1},
    key=ref("name"),
    sig=ref("signature"),
)
# A later shard count is read, and refused by what opens a project, with words of its own.
DEFS["project"] = struct(
    "created_at format id project",
    created_at=ref("stamp"),
    format={"const": 1},
    id=ref("id"),
    project=ref("name"),
    shards=counted(1, 1_000_000),
)
DEFS["pack"] = struct(
    "chains events format type",
    chains={
        "type": "array",
        "items": {
            "type": "array",
            "prefixItems": [ref("chain"), ref("seq"), ref("seq")],
            "items": False,
            "minItems": 3,
        },
    },
    events={"type": "array", "items": ref("hash")},
    format={"const": 1},
    type={"const": "pack"},
)


@lru_cache(maxsize=32)
def check_of(name: str) -> Check:
    """Return the check of a record or a part of one, by its name in ``DEFS``."""
    return compile_schema(DEFS[name], DEFS)
