"""The schemas as JSON Schema documents, each of which stands alone. For docs and tests only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tclog.domain import MODULES, body_schemas, kind_of
from tclog.event.envelopes import DEFS, struct
from tclog.event.schema import Schema

_RECORDS = {
    "event": "An event",
    "version": "A version, with the events in it",
    "once": "An idempotency key",
    "project": "The mark of a project, tclog.json",
    "pack": "The first line of a pack",
}


def documents() -> dict[str, str]:
    """Return the text of each document by the name of its file."""
    texts = {f"{name}.json": _text(title, DEFS[name]) for name, title in _RECORDS.items()}
    by_op = struct("", **body_schemas())
    texts["bodies.json"] = _text("The body of an event, under the name of its op", by_op)
    by_kind = struct("", **{kind: kind_of(kind).state for kind in sorted(MODULES)})
    texts["states.json"] = _text("The state in a version, under the kind of its chain", by_kind)
    return texts


def _text(title: str, schema: Schema) -> str:
    assert isinstance(schema, Mapping)  # noqa: S101 - a document is an object
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return json.dumps({**head, **schema, "$defs": reached(schema)}, indent=2) + "\n"


def reached(schema: Schema) -> dict[str, Schema]:
    """Return the definitions that a schema rests on, by their names."""
    found: dict[str, Schema] = {}
    left: list[Any] = [schema]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            name = str(one.get("$ref", "")).removeprefix("#/$defs/")
            if name and name not in found:
                found[name] = DEFS[name]
                left.append(DEFS[name])
            left += one.values()
        elif isinstance(one, list):
            left += one
    return dict(sorted(found.items()))
