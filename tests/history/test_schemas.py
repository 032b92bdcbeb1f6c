"""The shipped schemas accept every record of logs that tclog wrote."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from docs.reading import ROOT
from support.logs.generate import generate

from tclog.domain import MODULES, body_schemas
from tclog.event.bodies import RESERVED_OPS
from tclog.event.schema import FORMATS
from tclog.store.memory import MemoryStore

from .filled import fill
from .places import objects

formats = jsonschema.FormatChecker(formats=())
for name, check in FORMATS.items():
    formats.checks(name)(lambda value, check=check: not isinstance(value, str) or check(value))


def validator(name: str) -> jsonschema.Draft202012Validator:
    document = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(document, format_checker=formats)


def validate(store: MemoryStore) -> Counter[str]:
    """Check every record, body and state; return what was met how often."""
    seen: Counter[str] = Counter()
    of = {folder: validator(name) for folder, name in (("events", "event"), ("once", "once"))}
    versions, bodies, states = validator("version"), validator("bodies"), validator("states")
    for key in objects(store):
        folder = key.partition("/")[0]
        found = store.get(key)
        assert found is not None
        if folder in of:
            of[folder].validate(json.loads(found.data))
        elif key == "tclog.json":
            validator("project").validate(json.loads(found.data))
        elif folder == "chains":
            record = json.loads(found.data)
            kind = record["chain"].partition("/")[0]
            versions.validate(record)
            states.validate({kind: record["state"]})
            for event in record["events"]:
                bodies.validate({event["op"]: event["body"]})
                seen[event["op"]] += 1
            seen[kind] += 1
    return seen


def test_a_log_that_used_everything_fits_the_schemas(tmp_path: Path):
    store = MemoryStore()
    fill(store, tmp_path)
    seen = validate(store)
    # So that this test is not about a few ops only.
    assert len(set(body_schemas()) & set(seen)) >= 17
    assert set(seen) <= set(body_schemas()) | set(MODULES)
    assert not RESERVED_OPS & set(seen)


@pytest.mark.parametrize("seed", range(2))
def test_generated_logs_fit_the_schemas(seed: int):
    store = MemoryStore()
    generate(store, events=400, seed=seed)
    assert len(validate(store)) > 10
