"""docs/vectors: made anew they are the same, tclog reads them, and so does a second reading.

``vectors.fold`` is written from docs/format.md and shares no code with tclog. Where it and tclog
agree on every vector, the page says enough.
"""

from __future__ import annotations

import ast
import base64
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tclog.chain.fold import rules_of, verify
from tclog.errors import Damaged, FormatNewer
from tclog.event import (
    BlobHash,
    ChainId,
    EventId,
    Version,
    blob_key,
    decode,
    decode_event,
    decode_name,
    decode_version,
    digest,
    encode,
    encode_name,
)
from tclog.event.names import event_key_parts, pending_key_parts, slot_seq
from tclog.event.packs import PackReader
from tclog.sync.audit import blobs_in
from vectors import examples, fold
from vectors.__main__ import EXAMPLES, FOLDER, spread, vectors
from vectors.states import KINDS


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def cases(name: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in read(name)["cases"]]


def test_the_vectors_are_what_the_script_makes() -> None:
    for name, content in vectors().items():
        path = FOLDER / f"{name}.json"
        assert path.read_text() == spread(content) + "\n", f"run scripts/vectors: {name}"
    assert {path.stem for path in FOLDER.glob("*.json")} == set(vectors())


def test_the_examples_of_the_page_are_what_the_script_makes() -> None:
    assert examples.written(EXAMPLES.read_text()) == EXAMPLES.read_text(), "run scripts/vectors"


def test_a_second_reading_agrees_with_the_examples_of_the_page() -> None:
    lines = examples.blocks(EXAMPLES.read_text())
    records = {
        name: json.loads(rows[0])
        for name, rows in lines.items()
        if not name.endswith(("key", "keys"))
    }
    for name, record in records.items():
        assert fold.canonical(record).decode() == lines[name][0]
        if "seq" in record:
            assert fold.slot_key(record["chain"], record["seq"]) == lines[f"{name}-key"][0]
    once = records["once"]
    assert lines["once-key"] == [fold.once_key(once["agent"], once["key"], once["chain"])]
    slots = {lines[f"transaction-{name}-key"][0]: records[f"transaction-{name}"] for name in "ab"}
    before = {fold.slot_key(f"memory/{name}", 1): {"seq": 1, "state": {}} for name in "ab"}
    whole, half = {**before, **slots}, {**before, **dict([*slots.items()][:1])}
    assert fold.verdict(whole, records["transaction-a"]) == "committed"
    assert fold.verdict(half, records["transaction-a"]) == "undecided"
    assert records["merge"]["state"]["count"] == 2
    assert records["merge"]["merge"]["count"] == records["broadcast"]["state"]["count"]
    announced = records["announced"]
    event, pending = lines["announced-keys"]
    assert event == fold.event_key(announced)
    name = fold.blake(fold.canonical(announced))
    assert pending == fold.pending_key("inbox/carol", announced["at"], 1, name)
    assert records["combined"]["events"][0] == announced


def test_the_second_reading_imports_nothing_of_tclog() -> None:
    tree = ast.parse(Path(fold.__file__).read_text())
    names = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(row.name for row in node.names)]
    }
    assert not {name for name in names if name and name.startswith("tclog")}


# -- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("states"))
def test_tclog_agrees_with_the_states(case: dict[str, Any]) -> None:
    before: Version | None = None
    for seq, row in enumerate(case["versions"], 1):
        raw = encode(row["record"])
        version = decode_version(raw, chain=ChainId(case["chain"]), seq=seq, stored=row["stored"])
        assert version.id == row["id"]
        assert [event.id for event in version.events] == row["events"]
        verify(version.chain, before, version)
        before = version


@pytest.mark.parametrize("case", cases("states"))
def test_a_second_reading_agrees_with_the_states(case: dict[str, Any]) -> None:
    kind, state, prev, before = case["chain"].partition("/")[0], {}, None, None
    for row in case["versions"]:
        record = row["record"]
        assert fold.slot_key(case["chain"], record["seq"]) == row["key"]
        assert record["prev"] == prev
        prev = fold.blake(fold.canonical(record))
        assert prev == row["id"]
        whole = {name: value for name, value in record.items() if name != "sum"}
        assert fold.blake(fold.canonical(whole)) == record["sum"]
        assert [fold.blake(fold.canonical(event)) for event in record["events"]] == row["events"]
        state = fold.fold(kind, state, record, before)
        assert fold.packed(kind, state, record) == record["state"], record["seq"]
        before = record


@pytest.mark.parametrize("case", cases("states"))
def test_without_the_ignored_events_the_state_is_the_same(case: dict[str, Any]) -> None:
    # What a lease or a claim rests on may still be recorded, by a version that changes nothing.
    kind, state, before = case["chain"].partition("/")[0], {}, None
    for row in case["versions"]:
        record = row["record"]
        left_out = {ignored["event"] for ignored in row["ignored"]}
        events = [e for index, e in enumerate(record["events"]) if index not in left_out]
        less = {**record, "events": events}
        after = fold.fold(kind, state, record, before)
        without = fold.fold(kind, state, less, before)
        assert {**without, "set": None} == {**after, "set": None}
        state, before = after, record


def test_every_op_is_in_the_states_and_every_kind_ignores_what_it_may() -> None:
    seen, ignored = set(), set()
    for case in read("states")["cases"]:
        for row in case["versions"]:
            seen |= {event["op"] for event in row["record"]["events"]}
            ignored |= {row["record"]["events"][at["event"]]["op"] for at in row["ignored"]}
    for kind in KINDS:
        assert rules_of(ChainId(f"{kind}/x")).ops.keys() <= seen
    assert {op.partition(".")[0] for op in ignored} >= {"memory", "step", "barrier", "pack"}


def test_the_blobs_that_states_name_are_there() -> None:
    for case in read("states")["cases"]:
        if case["chain"].startswith("memory/"):
            blobs = case.get("blobs", {})
            assert all(digest(text.encode()) == name for name, text in blobs.items())
            for row in case["versions"]:
                named = {*blobs_in(row["record"]["state"])}
                assert named <= {(n, len(text.encode())) for n, text in blobs.items()}


# -- transactions and inboxes ---------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("transactions"))
def test_a_second_reading_agrees_with_what_became_of_transactions(case: dict[str, Any]) -> None:
    for chain, expected in case["answers"].items():
        assert fold.answer(case["slots"], chain) == expected
    for key, record in case["slots"].items():
        assert decode_version(encode(record), chain=record["chain"], seq=record["seq"]) is not None
        assert fold.slot_key(record["chain"], record["seq"]) == key


def test_transactions_of_each_fate_are_there() -> None:
    fates = [
        fold.verdict(case["slots"], record)
        for case in read("transactions")["cases"]
        for record in case["slots"].values()
        if "txn" in record
    ]
    assert set(fates) == {"committed", "aborted", "undecided"}
    records = [r for c in read("transactions")["cases"] for r in c["slots"].values()]
    assert any("fills" in record for record in records)
    assert any("stands" in record for record in records)
    assert any("txn" in record and "otherwise" not in record for record in records)


@pytest.mark.parametrize("case", cases("voids"))
def test_a_second_reading_agrees_with_what_ends_junk(case: dict[str, Any]) -> None:
    junk = {key: bytes.fromhex(raw) for key, raw in case["junk"].items()}
    for raw in junk.values():
        with pytest.raises(Damaged):
            decode_version(raw, chain=ChainId("memory/k"), seq=3)
    for chain, expected in case["answers"].items():
        assert fold.answer(case["slots"], chain, junk) == expected
        # Other bytes in the slot are not what was ended.
        other = {**junk, max(junk): b"other"}
        first = min(record["seq"] for record in case["slots"].values() if "voids" in record)
        lowest = first - len(junk)
        assert fold.voided(case["slots"], junk, chain, lowest) == first
        assert fold.voided(case["slots"], other, chain, lowest) == 0


@pytest.mark.parametrize("case", cases("merges"))
def test_a_second_reading_gives_messages_the_same_numbers(case: dict[str, Any]) -> None:
    slots = sorted(case["slots"].values(), key=lambda record: record["seq"])
    everybody = [record for record in slots if record["chain"] == "inbox/@all"]
    for agent, expected in case["inboxes"].items():
        found = []
        for record in (row for row in slots if row["chain"] == f"inbox/{agent}"):
            merge = record.get("merge") or {"after": 0, "through": 0}
            between = everybody[merge["after"] : merge["through"]]
            events = [event for row in [*between, record] for event in row["events"]]
            first = record["state"]["count"] - len(events) + 1
            found += [
                [first + nth, fold.blake(fold.canonical(event)), event["body"]["text"]["value"]]
                for nth, event in enumerate(events)
            ]
        assert found == expected


# -- keys, bytes, packs ---------------------------------------------------------------------------


def test_keys_are_the_same_for_both() -> None:
    found = read("keys")
    for row in found["names"]:
        assert row["segment"] == fold.segment(row["name"]) == encode_name(row["name"])
        assert decode_name(row["segment"]) in (row["name"], None)
    for row in found["slots"]:
        assert row["key"] == fold.slot_key(row["chain"], row["version"])
        assert slot_seq(row["key"]) == row["version"]
    for row in found["events"]:
        assert row["key"] == fold.event_key(row["record"])
        parts = event_key_parts(row["key"])
        assert parts is not None
        assert parts[2] == row["id"]
    for row in found["once"]:
        assert row["object"] == fold.once_key(row["agent"], row["key"], row["chain"])
        assert "#" not in row["object"]
    for row in found["pending"]:
        assert row["key"] == fold.pending_key(row["chain"], row["at"], row["after"], row["event"])
        assert pending_key_parts(row["key"]) == (row["at"], row["after"], EventId(row["event"]))
    for row in found["blobs"]:
        assert row["hash"] == fold.blake(row["text"].encode())
        assert row["key"] == blob_key(BlobHash(row["hash"]))


def test_values_have_one_encoding() -> None:
    for row in read("canonical")["encoded"]:
        raw = bytes.fromhex(row["hex"])
        assert encode(row["value"]) == fold.canonical(row["value"]) == raw
        assert row["blake3"] == fold.blake(raw)
        assert decode(raw, "it") == row["value"]


@pytest.mark.parametrize("row", read("canonical")["refused"], ids=lambda row: row["why"])
def test_bytes_that_are_not_canonical_are_refused(row: dict[str, Any]) -> None:
    raw = bytes.fromhex(row["hex"])
    with pytest.raises(Damaged):
        decode(raw, "it")


def test_sound_records_are_taken() -> None:
    found = read("refused")
    slot, sound = found["slot"], found["sound"]
    decode_event(encode(sound["event"]))
    raw = encode(sound["version"])
    decode_version(raw, chain=ChainId(slot["chain"]), seq=slot["version"])


@pytest.mark.parametrize("row", read("refused")["events"], ids=lambda row: row["why"])
def test_damaged_events_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises((Damaged, FormatNewer)):
        decode_event(encode(row["record"]))


@pytest.mark.parametrize("row", read("refused")["versions"], ids=lambda row: row["why"])
def test_damaged_versions_are_refused(row: dict[str, Any]) -> None:
    slot = read("refused")["slot"]
    with pytest.raises(Damaged):
        decode_version(encode(row["record"]), chain=ChainId(slot["chain"]), seq=slot["version"])


def test_the_pack_holds_its_lines() -> None:
    found = read("packs")
    data = base64.b64decode(found["base64"])
    assert found["hash"] == fold.blake(data)
    text = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    assert text.decode() == "".join(f"{line}\n" for line in found["lines"])
    header = json.loads(found["lines"][0])
    ((chain, first, last),) = header["chains"]
    for seq, line in enumerate(found["lines"][1 : last - first + 2], first):
        raw = line[50:-1].encode()
        assert decode_version(raw, chain=chain, seq=seq).seq == seq
    attempt = found["lines"][-1][48:-1].encode()
    assert header["events"] == [fold.blake(attempt)]
    assert PackReader(data, found["hash"]).header.versions == last - first + 1
