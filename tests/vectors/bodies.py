"""Whether a body is as its op asks for, by docs/schemas/bodies.json alone: nothing of tclog.

This is as much of JSON Schema as that file uses, and its formats as docs/schemas/README.md says.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "bodies.json"
DOCUMENT = json.loads(_FILE.read_text())
_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_valid(op: str, body: Any) -> bool:
    """Whether a body fits; that of an op that is not known does."""
    schema = DOCUMENT["properties"].get(op)
    backward = op == "message.ack" and any(
        isinstance(row, list) and len(row) == 2 and row[0] > row[1]
        for row in body.get("ranges", [])
        if _fits(DOCUMENT["$defs"]["ranges"], [row])
    )
    return schema is None or (_fits(schema, body) and not backward)


def _fits(schema: Any, value: Any) -> bool:
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return _fits(DOCUMENT["$defs"][schema["$ref"].rpartition("/")[2]], value)
    if "anyOf" in schema and not any(_fits(one, value) for one in schema["anyOf"]):
        return False
    if "type" in schema and type(value) is not _TYPES[schema["type"]]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        return _fits_text(schema, value)
    if type(value) is int:
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if isinstance(value, list):
        return _fits_array(schema, value)
    return _fits_object(schema, value) if isinstance(value, dict) else True


def _fits_text(schema: Any, value: str) -> bool:
    size = len(value.encode())
    if not schema.get("minLength", 0) <= size <= schema.get("maxLength", size):
        return False
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if schema.get("contentMediaType") == "application/json":
        try:
            json.loads(value)
        except ValueError:
            return False
    return _fits_format(schema.get("format"), value)


def _fits_format(form: str | None, value: str) -> bool:
    if form in ("hlc", "hour", "stamp"):
        try:
            date.fromisoformat(value[:10])
        except ValueError:
            return False
        return True
    if form in ("name", "agent", "step", "recipient"):
        if form == "recipient" and value == "@all":
            return True
        listed = form in ("agent", "step", "recipient") and "," in value
        reserved = form in ("agent", "recipient") and value.startswith("@")
        return not (_CONTROL.search(value) or listed or reserved)
    return True


def _fits_array(schema: Any, value: list[Any]) -> bool:
    first = schema.get("prefixItems", [])
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    rest = schema.get("items", True)
    schemas = [*first, *[rest] * len(value)][: len(value)]
    if not all(map(_fits, schemas, value)):
        return False
    distinct = {json.dumps(one, sort_keys=True) for one in value}
    return not schema.get("uniqueItems") or len(distinct) == len(value)


def _fits_object(schema: Any, value: dict[str, Any]) -> bool:
    if not set(schema.get("required", [])) <= set(value):
        return False
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    names = schema.get("propertyNames", True)
    return (
        len(value) <= schema.get("maxProperties", len(value))
        and all(_fits(names, name) for name in value)
        and all(_fits(known.get(name, more), one) for name, one in value.items())
    )
