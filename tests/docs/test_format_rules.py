"""What docs/format.md says in sentences, recomputed: rules that no table of the page holds."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

import tclog
from docs.reading import ROOT, table
from tclog.chain import once as chain_once
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, HybridClock, hlc
from tclog.domain import memory
from tclog.domain.content import make_content
from tclog.domain.decision import Draft, Place
from tclog.errors import BadValue, Refused
from tclog.event.names import once_key
from tclog.store.file import FileStore

FORMAT = ROOT / "docs" / "format.md"


def page() -> str:
    return " ".join(FORMAT.read_text().split())


@pytest.fixture
def log(tmp_path: Path) -> tclog.Log:
    return tclog.open(tmp_path / "store", agent="alice", create=True)


# -- idempotency keys -----------------------------------------------------------------------------


def test_the_object_of_an_idempotency_key_is_named_as_told(log: tclog.Log) -> None:
    ((told,),) = [
        re.findall(r"`([^`]+)`", row["Object"]) for row in table(FORMAT, "Agent, key, chain")
    ]
    agent, key, chain = re.findall(
        r"`([^`]+)`", table(FORMAT, "Agent, key, chain")[0]["Agent, key, chain"]
    )
    assert once_key(agent, key, chain) == told
    log.memory.incr("n", id=key)
    found = log.store.get(told)
    assert found is not None
    assert json.loads(found.data)["chain"] == chain


def test_a_repetition_through_another_client_is_refused(
    log: tclog.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.memory.incr("n", id="k")
    other = chain_once.digest
    # The same command, of which another client makes another digest.
    monkeypatch.setattr(
        chain_once, "digest", lambda raw: other(b"other" + raw if b"{" in raw else raw)
    )
    with pytest.raises(Refused) as refused:
        log.memory.incr("n", id="k")
    assert refused.value.code == "key-reused"
    assert f"(`{refused.value.code}`)" in page()
    assert log.memory.get("n").value == 1


# -- values ---------------------------------------------------------------------------------------


def test_white_space_around_an_integer_is_what_the_page_lists() -> None:
    def counts(character: str) -> bool:
        state = memory.State(make_content("text", f"{character}41{character}")[0])
        return isinstance(memory.decide(state, memory.Incr(1), Place(2)), Draft)

    every = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    accepted = {character for character in every if counts(character)}
    told = {chr(code) for code in range(0x09, 0x0E)} | {" "}
    assert "these six characters only: U+0009 to U+000D, and the space" in page()
    # A sign or a digit makes another integer of it, and a digit behind.
    assert accepted - set("0123456789") == told


def test_sums_need_more_than_64_bits() -> None:
    state = memory.State(make_content("text", "9" * 19)[0])
    decision = memory.decide(state, memory.Incr(-(10**18)), Place(2))
    assert isinstance(decision, Draft)
    state = memory.State(make_content("json", 2**64 - 1)[0])
    assert isinstance(memory.decide(state, memory.Incr(-(2**63)), Place(2)), Draft)


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, [2**70], float("inf"), float("nan"), {"a": "\ud800"}]
)
def test_a_writer_refuses_json_that_a_reader_could_not_read_exactly(value: object) -> None:
    with pytest.raises(BadValue):
        memory.check_value("json", value)


def test_json_is_nested_as_deep_as_told() -> None:
    deep: list = []
    for _ in range(100):
        deep = [deep]
    memory.check_value("json", deep)
    with pytest.raises(BadValue):
        memory.check_value("json", [deep])
    assert "nested at most 100 deep" in page()


# -- stamps and void versions ---------------------------------------------------------------------


def test_stamps_ahead_are_not_merged_beyond_what_the_page_says() -> None:
    seconds = AHEAD_TRUSTED_US // SECOND_US
    assert f"more than {seconds} seconds ahead of the corrected clock is not merged" in page()
    assert f"turns out to be {seconds} seconds or more away" in page()
    clock = HybridClock(lambda: 0)
    clock.observe(hlc(AHEAD_TRUSTED_US + 1, 0))
    assert clock.last == hlc(0, 0)
    clock.observe(hlc(AHEAD_TRUSTED_US, 0))
    assert clock.last == hlc(AHEAD_TRUSTED_US, 0)


def test_a_version_with_an_ignored_event_is_not_void() -> None:
    vectors = json.loads((ROOT / "docs" / "vectors" / "states.json").read_text())
    (case,) = [c for c in vectors["cases"] if c["name"].startswith("memory: expectations")]
    rows = {row["record"]["seq"]: row for row in case["versions"]}
    assert rows[2]["ignored"]
    assert "stands" not in rows[3]["record"]
    assert rows[8]["record"]["events"] == rows[9]["record"]["events"] == []
    assert rows[10]["record"]["stands"] == 7


# -- in a folder ----------------------------------------------------------------------------------


def test_stamps_of_files_are_cut_to_microseconds(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "s")
    store.put("k", b"x")
    os.utime(tmp_path / "s" / "k", ns=(0, 1_999_999_999))
    found = store.stat("k")
    assert found is not None
    assert found.stored == "1970-01-01T00:00:01.999999Z"


def test_keys_where_case_is_ignored_are_written_as_told(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "s", ignores_case=True)
    for key in ("Ab/C", "ab/c"):
        store.create(key, key.encode())
    assert (tmp_path / "s" / "^ab" / "^c").read_bytes() == b"Ab/C"
    assert (tmp_path / "s" / "ab" / "c").read_bytes() == b"ab/c"
    assert [row.key for row in store.list("Ab", "", 10, False)] == ["Ab/C"]


def test_that_case_is_ignored_is_found_by_the_temporary_folder(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "s")
    store.create("A", b"1")
    assert (tmp_path / "s" / "A").exists()
    (tmp_path / "s" / ".TMP").mkdir()  # as if `.tmp` answered to it
    again = FileStore(tmp_path / "s")
    again.create("B", b"2")
    assert (tmp_path / "s" / "^b").exists()


def test_a_name_is_fsynced_before_the_second_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    link, unlink, rename, fsync = os.link, os.unlink, os.rename, os.fsync

    def told(word: str, call):
        def wrapped(*args, **named):
            done.append(word)
            return call(*args, **named)

        return wrapped

    store = FileStore(tmp_path / "s")
    store.create("x/warm", b"")
    for word, call in (("link", link), ("unlink", unlink), ("rename", rename), ("fsync", fsync)):
        monkeypatch.setattr(os, word, told(word, call))
    store.create("x/k", b"1")
    assert done == ["fsync", "link", "fsync", "unlink"]
    done.clear()
    os.link(tmp_path / "s" / "x" / "k", tmp_path / "s" / ".tmp" / "second")
    done.clear()
    assert FileStore(tmp_path / "s").get("x/k") is not None
    assert done == ["fsync"]
