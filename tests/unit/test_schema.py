"""The schemas: what is shipped is what checks, and it says what JSON Schema says."""

import json
from functools import lru_cache

import jsonschema
import pytest
from docs.reading import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tclog.domain import misfit_body, misfit_state
from tclog.domain.documents import documents
from tclog.event import decode, encode
from tclog.event.envelopes import DEFS, check_of
from tclog.event.schema import FORMATS, compile_schema

from .making import record_values
from .test_records import sealed_event, sealed_version, txn

SCHEMAS = ROOT / "docs" / "schemas"
DOCUMENTS = documents()

formats = jsonschema.FormatChecker(formats=())
for _name, _check in FORMATS.items():
    formats.checks(_name)(lambda value, check=_check: not isinstance(value, str) or check(value))


@lru_cache
def validator(name):
    # In Python "$" stands before a final line feed, too; in JSON Schema it does not.
    text = DOCUMENTS[name].replace('$"', '\\\\Z"')
    return jsonschema.Draft202012Validator(json.loads(text), format_checker=formats)


def test_the_documents_are_those_of_the_code():
    """If this fails: .venv/bin/python scripts/docs-schemas"""
    assert {path.name: path.read_text() for path in SCHEMAS.glob("*.json")} == DOCUMENTS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_json_schema_and_uses_what_the_checker_knows(name):
    document = json.loads(DOCUMENTS[name])
    jsonschema.Draft202012Validator.check_schema(document)
    known = {
        *("$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "enum"),
        *("contentMediaType", "format", "items", "maxItems", "maxLength", "maxProperties"),
        *("maximum", "minItems", "minLength", "minProperties", "minimum", "pattern"),
        *("prefixItems", "properties", "propertyNames", "required", "title", "type"),
        "uniqueItems",
    }
    left = [document]
    while left:
        schema = left.pop()
        if not isinstance(schema, dict):
            continue
        assert set(schema) <= known
        assert "$ref" not in schema or len(schema) == 1
        pattern = schema.get("pattern", "^$")
        assert (pattern[0], pattern[-1]) == ("^", "$")
        if "enum" in schema or "const" in schema:
            continue
        for key in ("properties", "$defs"):
            left += schema.get(key, {}).values()
        left += schema.get("anyOf", []) + schema.get("prefixItems", [])
        left += [schema.get(key) for key in ("items", "additionalProperties", "propertyNames")]


RECORDS = {
    "event.json": [
        sealed_event(expect={"version": 1}, key="k")[0].record,
        sealed_event()[0].record | {"reads": {"chains": {"step/x": 3}, "lists": ["step/"]}},
    ],
    "version.json": [
        sealed_version().record,
        sealed_version(txn=txn(), otherwise={}).record,
        sealed_version().record | {"voids": [{"seq": 1, "hash": sealed_version().prev}]},
        sealed_version(
            fills={"chain": "memory/b", "seq": 3}, now="2026-11-23T00:00:00.000000Z"
        ).record,
    ],
    "once.json": [
        {"after": 0, "agent": "a", "chain": "step/x", "command": "c", "format": 1, "key": "k"}
    ],
    "project.json": [
        {"created_at": "2026-11-23T00:00:00.000000Z", "format": 1, "id": "x", "project": "p"}
    ],
    "pack.json": [
        {"chains": [["step/x", 1, 2]], "events": ["a" * 64], "format": 1, "type": "pack"}
    ],
}


H, LEASE = "ab" * 32, {"lease_ms": 1000}
TEXT = {"type": "text", "value": "a"}
BODY_SAMPLES = {
    "artifact.put": {"blob": H, "size": 3, "step": "s"},
    "barrier.arrive": {"parties": 2},
    "barrier.leave": {"generation": 1},
    "memory.append": {"added": TEXT, "separator": "\n"},
    "memory.incr": {"by": -1},
    "memory.set": {"type": "json", "value": [1, {"a": None}], "reverts": H},
    "message.ack": {"ranges": [[1, 2], [4, 4]], "version": 3},
    "message.send": {"text": TEXT, "to": ["bob"], "reply_to": "x", "urgent": True, "intent": "ack"},
    "pack.add": {
        "agents": {"blob": H, "size": 1},
        "packs": [{"events": 1, "last": "2026-11-23T19", "pack": H, "size": 1, "versions": 2}],
        "replaces": 0,
        "through": "2026-11-23T19",
    },
    "pack.floor": {"floor": "2026-11-23T19"},
    "step.add": {"after": ["a", "b"], "priority": 1, "title": "t", "labels": ["x"]},
    "step.claim": {**LEASE, "seen": {"a": 1}},
    "step.complete": {
        "force": True,
        "handoff": {
            "changed_files": {"type": "json", "text": "[1.5]"},
            "exit_status": -1,
            "next_action": "n",
            "note": {"type": "text", "blob": H, "size": 20000},
            "to": "bob",
        },
        "outcome": "failed",
        "reason": "r",
    },
    "step.move": LEASE,
    "step.renew": LEASE,
    "step.note": {"note": {"parts": [{"blob": H, "size": 1}], "type": "text", "value": "x"}},
    "step.release": {"force": True, "reason": "r"},
    "step.takeover": {**LEASE, "fence": 3, "from": "bob"},
    "tag.set": {"at": "2026-11-23T00:00:00.000000Z-0000"},
}
STATE_SAMPLES = {
    "barrier": {"arrived": ["a"], "generation": 2, "parties": 3},
    "inbox": {"all_count": 1, "all_version": 2, "count": 3},
    "memory": {"content": TEXT},
    "read": {"ranges": [[1, 2]], "version": 1},
    "step": {
        "after": ["x"],
        "agent": "a",
        "lease_from": "2026-11-23T00:00:00.000000Z",
        **LEASE,
        "fence": 3,
        "held_version": 4,
        "session": "s",
        "state": "claimed",
        "title": "t",
    },
}
RECORDS["bodies.json"] = [{op: body} for op, body in BODY_SAMPLES.items()]
RECORDS["states.json"] = [{kind: state} for kind, state in STATE_SAMPLES.items()]


def checked(name, record):
    """Say whether tclog takes a record, or a body or a state under its name."""
    kind = name.removesuffix(".json")
    if kind not in ("bodies", "states"):
        return check_of(kind)(record) is None
    ((key, value),) = record.items()
    if type(value) is not dict:
        return False  # the record's own schema says so
    if kind == "states":
        return misfit_state(key, value) is None
    return misfit_body(key, value) is None or "before it begins" in misfit_body(key, value)


def places(value, path=()):
    """Yield the path of each value inside a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


def forged(record, path, value):
    """Return a record with another value at a path; the path's field goes where it is ``...``."""
    record = json.loads(json.dumps(record))
    at = record
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return record


odd = (
    record_values
    | st.sampled_from([..., 0, -1, 1, 2**63, "", "a,b", "@all", "a" * 64, "a" * 201, [], {}, True])
    | st.sampled_from(["memory/a", "inbox/@all", "2026-02-30T00:00:00.000000Z", "a\n"])
)


@settings(max_examples=400)
@given(st.sampled_from(sorted(RECORDS)), st.data())
def test_the_checker_says_what_json_schema_says(name, data):
    record = data.draw(st.sampled_from(RECORDS[name]))
    path = data.draw(st.sampled_from([path for path in places(record) if path]))
    assume(len(path) > 1 or name not in ("bodies.json", "states.json"))
    bad = forged(record, path, data.draw(odd))
    sound = validator(name).is_valid(bad)
    assert checked(name, bad) == sound
    # A second look, at a shape and at names that were seen, is the same.
    assert checked(name, bad) == sound
    assert checked(name, record)
    assert validator(name).is_valid(record)


def test_where_a_record_is_wrong_is_told():
    record = decode(encode(sealed_version().record), "it")
    record["events"][1]["chains"] = ["memory/a", "nowhere"]
    assert check_of("version")(record) == ".events[1].chains[1] is not a valid chain"
    del record["by"]
    assert check_of("version")(record) == ".by is missing"


def test_what_was_found_sound_in_one_field_is_not_so_in_another():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 1},
            "b": {"type": "string", "maxLength": 2},
        },
    }
    check = compile_schema(schema, DEFS)
    assert check({"b": "bb"}) is None
    assert check({"a": "bb"}) == ".a is not a valid text here"
    assert check({"b": "bb", "a": "a"}) is None
    assert check({"a": "bb", "b": "a"}) == ".a is not a valid text here"


BOUNDS = [
    ({"type": "integer", "minimum": 2, "maximum": 4}, (2, 4), (1, 5, True, "3", None)),
    ({"type": "integer", "minimum": 2}, (2, 2**64 - 1), (1, 2**64)),
    ({"type": "integer", "maximum": 4}, (4, -(2**63)), (5, -(2**63) - 1)),
    ({"type": "integer"}, (0, -1), (1.0, False)),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ("a", "éé"), ("", "abc", 1)),
    ({"type": "string", "minLength": 1}, ("a",), ("",)),
    ({"type": "string", "pattern": "^[a-z]{2}$"}, ("ab",), ("a", "abc", "ab\n", "xab")),
    ({"type": ["string", "null"], "maxLength": 1}, ("", "a", None), ("ab", 0, [])),
    ({"type": "array", "minItems": 1, "maxItems": 2}, ([1], [1, 1]), ([], [1, 2, 3], {})),
    ({"type": "array", "uniqueItems": True}, ([], ["a"], ["a", "b"]), (["a", "a"], [1, 2, 1])),
    ({"type": "array", "items": {"type": "string"}}, ([], ["a"]), ([1], ["a", None])),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}, True], "items": False},
        ([], [1], [1, "a"]),
        (["a"], [1, "a", 2]),
    ),
    (
        {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "propertyNames": {"type": "string", "maxLength": 1},
            "minProperties": 1,
            "maxProperties": 2,
        },
        ({"a": 1}, {"a": 1, "b": 2}),
        ({}, {"a": 1, "b": 2, "c": 3}, {"a": "1"}, {"ab": 1}, []),
    ),
    (
        {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
        ({"a": 1}, {"a": 1, "b": [None]}),
        ({}, {"b": 1}, {"a": True}, {"a": 2}, {"a": [1]}, {"a": 1, "b": [{"c": 0.5}]}),
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"enum": ["x", 0]}},
            "additionalProperties": False,
        },
        ({}, {"a": "x"}, {"a": 0}),
        ({"a": "y"}, {"a": False}, {"a": None}, {"a": "x", "b": 1}),
    ),
    ({"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 0}]}, (None, []), ([1], 0, "")),
    (True, ({"a": [{"b": [None, True, 1, "x"]}]},), (0.0, [[1, [0.5]]], {"a": {"b": [{}, 1e9]}})),
    ({"type": "string", "format": "recipient"}, ("@all", "bob"), ("@bob", "", "a,b")),
    ({"type": "string", "format": "json"}, ("[1.5]", "null"), ("", "[1", "nul")),
    (
        {"type": "string", "format": "stamp"},
        ("1970-01-01T00:00:00.000000Z", "8999-12-31T23:59:59.999999Z"),
        (
            *("1969-12-31T23:59:59.999999Z", "9000-01-01T00:00:00.000000Z"),
            *("2026-02-29T00:00:00.000000Z", "2026-13-01T00:00:00.000000Z"),
            *("2026-01-01T24:00:00.000000Z", "2026-01-01T00:60:00.000000Z"),
            *("2026-01-01T00:00:60.000000Z", "2026-01-01T00:00:00.000000Z\n"),
            *("2026-01-01T00:00:00.00000Z", "2026-01-01T00:00:00.000000Z-0000"),
        ),
    ),
    (
        {"type": "string", "format": "hlc"},
        ("2020-01-01T00:00:00.000000Z-0000", "8999-12-31T23:59:59.999999Z-ffff"),
        (
            *("2019-12-31T23:59:59.999999Z-0000", "9000-01-01T00:00:00.000000Z-0000"),
            *("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z-000G"),
            *("2026-01-01T00:00:00.000000Z-00000", "2026-01-01T00:00:00.000000Z-FFFF"),
        ),
    ),
]


@pytest.mark.parametrize(("schema", "sound", "wrong"), BOUNDS)
def test_each_word_of_a_schema_has_its_bounds(schema, sound, wrong):
    """Also where the same shape was seen before, and as the field of an object."""
    check = compile_schema(schema, {})
    field = compile_schema({"type": "object", "properties": {"x": schema}}, {})
    for _ in range(2):
        for value in sound:
            assert check(value) is None, value
            assert field({"x": value}) is None, value
        for value in wrong:
            assert check(value), value
            assert (field({"x": value}) or "").startswith(".x"), value
