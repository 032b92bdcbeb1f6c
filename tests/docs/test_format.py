"""docs/format.md, held against the code: its examples, its tables of ops, its commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from blake3 import blake3

from docs.reading import ROOT, blocks, check, run, settled, shown, table
from tclog.chain.fold import rules_of
from tclog.clock import format_us, parse_us
from tclog.domain.memory import APPEND_BYTES_MAX
from tclog.domain.steps import (
    EMPTY,
    LEASE_MARGIN_US,
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    OUTCOMES,
    lease_ends_us,
)
from tclog.domain.steps import pack as pack_step
from tclog.event import (
    BlobHash,
    ChainId,
    Event,
    Version,
    blob_key,
    decode_event,
    decode_version,
    encode,
    encode_name,
    event_key,
    seal_event,
    seal_version,
    slot_key,
)
from tclog.event.envelopes import DEFS, EVENT, VERSION

FORMAT = ROOT / "docs" / "format.md"
KINDS = ("memory", "step", "inbox", "read", "barrier", "artifact", "agent", "tag", "pack")


# -- the complete example -------------------------------------------------------------------------


def example(kind: str) -> list[tuple[bytes, str, str]]:
    """Return the example's records of a kind: bytes, id and key as the document has them."""
    text = FORMAT.read_text()
    records = re.findall(rf"^```json {kind}\n(.*)\n```$", text, re.MULTILINE)
    told = re.findall(rf"^```text {kind}\n(.*)\n(.*)\n```$", text, re.MULTILINE)
    assert len(records) == len(told) == 2
    return [(raw.encode(), *row) for raw, row in zip(records, told, strict=True)]


@pytest.mark.parametrize("nth", [0, 1])
def test_the_example_events_have_the_ids_and_keys_that_the_document_tells(nth: int) -> None:
    raw, told_id, told_key = example("event")[nth]
    assert blake3(raw).hexdigest() == told_id
    assert encode(json.loads(raw)) == raw
    event = decode_event(raw)
    assert event_key(event.at, event.chains[0], event.id) == told_key
    record = dict(event.record)
    del record["format"]
    assert seal_event(**record) == (event, raw)


def test_the_example_versions_have_the_ids_and_keys_that_the_document_tells() -> None:
    chain = ChainId("step/design")
    before: Version | None = None
    events = [decode_event(raw) for raw, _, _ in example("event")]
    for seq, (raw, told_id, told_key) in enumerate(example("version"), 1):
        assert blake3(raw).hexdigest() == told_id
        assert encode(json.loads(raw)) == raw
        version = decode_version(raw, chain=chain, seq=seq)
        assert slot_key(chain, seq) == told_key
        assert version.events == (events[seq - 1],)
        assert version.prev == (None if before is None else before.id)
        assert refolded(version, before) == raw
        before = version


def refolded(version: Version, before: Version | None) -> bytes:
    """Make a version again from the one before it and its own events."""
    from tclog.chain.fold import fold, place_of, state_of

    folded = fold(
        version.chain, state_of(version.chain, before), version.events, place_of(version, before)
    )
    return seal_version(
        chain=version.chain,
        seq=version.seq,
        prev=None if before is None else before.id,
        prev_stored=version.prev_stored,
        at=version.at,
        by=version.by,
        events=version.events,
        state=pack_step(folded, version.events),
    ).raw


def test_the_size_and_the_lease_of_the_example_are_as_told() -> None:
    text = " ".join(FORMAT.read_text().split())
    assert f"The event, {len(example('event')[0][0])} bytes:" in text
    raw, _, _ = example("version")[1]
    version = decode_version(raw, chain=ChainId("step/design"), seq=2)
    ends = lease_ends_us(rules_of(version.chain).unpack(version.state, ()), 2, None, "")
    assert ends is not None
    assert f"the lease ends at {format_us(ends)[11:26]}" in text
    assert f"taken over is {format_us(ends + LEASE_MARGIN_US)[11:26]}" in text


# -- tables of examples ---------------------------------------------------------------------------


def test_names_are_encoded_as_the_table_shows() -> None:
    for row in table(FORMAT, "Name"):
        name, segment = spelled(row["Name"]), spelled(row["Segment"])
        assert encode_name(name) == segment


def spelled(cell: str) -> str:
    """Read `a`, `b` 3 times, ... as the document writes them."""
    parts = re.findall(r"`([^`]+)`(?: (\d+) times)?", cell)
    return "".join(text * int(times or 1) for text, times in parts)


def test_slots_are_named_as_the_table_shows() -> None:
    for row in table(FORMAT, "Version"):
        key = slot_key(ChainId("memory/k"), int(row["Version"]))
        assert key.rpartition("/")[2] == row["File name"].strip("`")


CANONICAL: list[tuple[str, Any]] = [
    ("object with keys", {"b": 1, "a": 1, "B": 1, "é": 1}),
    ("line feed", "\n\x1f/\x7f"),
]


def test_values_are_encoded_as_the_table_shows() -> None:
    rows = table(FORMAT, "Value")
    assert len(rows) == len(CANONICAL)
    for row, (begins, value) in zip(rows, CANONICAL, strict=True):
        assert row["Value"].startswith(begins)
        # A terminal shows nothing for U+007F, and neither does the document.
        assert row["Canonical"].strip("`") == encode(value).decode().replace("\x7f", "")


def test_no_record_holds_a_float() -> None:
    from tclog.domain.content import make_content

    content, _ = make_content("json", {"rate": 1e16})
    assert set(content) == {"type", "text"}


def test_strings_and_objects_are_written_as_the_document_says() -> None:
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
    for code in [*range(0x250), 0x2028, 0x2029, 0xFEFF, 0xFFFF, 0x10000, 0x1F600]:
        text = chr(code)
        escaped = short.get(text) or (f"\\u{code:04x}" if code < 0x20 else text)
        escaped = {'"': '\\"', "\\": "\\\\"}.get(text, escaped)
        assert encode(text).decode() == f'"{escaped}"'
    keys = ["", "a", "b", "B", "é", "\uffff", "\U00010000", "aa"]
    assert list(orjson.loads(encode(dict.fromkeys(keys, 0)))) == sorted(keys, key=str.encode)
    assert encode([-(2**63), 2**64 - 1, 0]) == b"[-9223372036854775808,18446744073709551615,0]"


# -- fields and ops -------------------------------------------------------------------------------


def test_every_field_of_a_record_is_in_the_document() -> None:
    both = [row["Field"].strip("`") for row in table(FORMAT, "Field")]
    for schema in (EVENT, VERSION, DEFS["txn"]):
        assert set(schema["properties"]) <= set(both)
    text = FORMAT.read_text()
    for name in EMPTY._fields:
        assert f"`{name}`" in text


def test_every_op_stands_in_the_document_under_its_kind() -> None:
    rows = {row["Kind"].strip("`"): row["Ops"] for row in table(FORMAT, "Kind")}
    assert tuple(rows) == KINDS
    for kind, cell in rows.items():
        told = set(re.findall(r"`([a-z.]+)`", cell))
        assert told == rules_of(ChainId(f"{kind}/x")).ops.keys()
    body = FORMAT.read_text().split("\n## Chains\n")[1]
    for kind in KINDS:
        for op in rules_of(ChainId(f"{kind}/x")).ops:
            assert body.count(f"`{op}`") >= 2, f"{op} is not explained"


def test_defaults_of_a_step_are_as_told() -> None:
    told: dict[str, str] = {}
    for row in table(FORMAT, "Field"):
        if "Default" in row:
            names = re.findall(r"`(\w+)`", row["Field"])
            values = row["Default"].replace("`", "").split(", ")
            told |= dict(zip(names, values, strict=True))
    assert set(told) == set(EMPTY._fields)
    for name, value in EMPTY._asdict().items():
        assert json.loads(told[name]) == (list(value) if isinstance(value, tuple) else value)


def test_bounds_are_as_told() -> None:
    text = " ".join(FORMAT.read_text().split())
    assert f"{LEASE_MS_MIN} to {LEASE_MS_MAX} milliseconds" in text
    assert f"up to {APPEND_BYTES_MAX} bytes" in text
    for outcome in OUTCOMES:
        assert f"`{outcome}`" in text
    assert blob_key(BlobHash("ab" * 32)) == f"blobs/ab/{'ab' * 32}"
    assert parse_us("2026-11-23T19:01:28.826867Z") > 0


def test_an_event_in_a_version_has_the_id_of_its_own_object() -> None:
    raw, told_id, _ = example("event")[0]
    inside: Event = decode_version(
        example("version")[0][0], chain=ChainId("step/design"), seq=1
    ).events[0]
    assert inside.id == told_id
    assert encode(inside.record) == raw


# -- commands -------------------------------------------------------------------------------------


def test_the_commands_show_what_the_document_shows(tmp_path: Path) -> None:
    check(FORMAT, tmp_path, "demo")


def test_the_two_hashes_of_the_last_command_are_equal(tmp_path: Path) -> None:
    # Ids are all one to the comparison above.
    place = tmp_path / "demo"
    place.mkdir()
    seen = [run(row.command, place, tmp_path) for row in shown(FORMAT)]
    assert settled(seen[-1]) == ["<id>", "<id>"]
    first, second = seen[-1].splitlines()
    assert first == second


def test_console_blocks_hold_only_commands_that_were_found() -> None:
    written = sum(
        text.count("\n$ ") + text.startswith("$ ") for text, _ in blocks(FORMAT, "console")
    )
    assert written == len(shown(FORMAT))
