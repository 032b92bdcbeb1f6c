"""Chains, ops and fields of later releases stop nothing: they are left alone, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tclog.chain.drive import run
from tclog.clock import hlc
from tclog.event import ChainId, decode_version, event_key, seal_event, seal_version, slot_key
from tclog.event.bodies import RESERVED_OPS
from tclog.history.diff import read_diff
from tclog.history.log import read_log
from tclog.history.snapshot import END
from tclog.history.state import read_state
from tclog.index import Filter, derived
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.maintenance.copies.transfer import export
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.fsck.findings import Damage
from tclog.maintenance.pack import pack
from tclog.store.memory import MemoryStore

from .filled import PROJECT, filled_store, open_log
from .looking import open_history

LATER = (
    ("reserve/0123abcd", "reserve.add"),
    ("session/claude/42", "session.part"),
    ("snapshot/step", "snapshot.add"),
    ("member/log", "member.found"),
    ("checkpoint/log", "checkpoint.add"),
    ("zzz/x", "zzz.y"),
)
REDACTED = f"redacted/{'ab' * 32}.json"


def later(store: MemoryStore, chain: ChainId, op: str, us: int, **fields: Any) -> str:
    """Append a version as a later client will write it; return its key."""
    keys = [key for key in store._objects if key.startswith(slot_key(chain, 1)[:-15])]
    before = None
    if keys:
        found = store._objects[min(keys)]
        before = decode_version(found.data, chain=chain, seq=len(keys))
    event, raw = seal_event(
        op=op, chains=[chain], agent="alice", session="s", host="h", client="later",
        at=hlc(us, 1), nonce=f"{us}", body={"later": [1, {"type": "text", "blob": 5}]},
    )  # fmt: skip
    store.put(event_key(event.at, chain, event.id), raw)
    sealed = seal_version(
        chain=chain, seq=len(keys) + 1, prev=before and before.id, prev_stored=None,
        at=hlc(us, 2), by="alice", events=[event], state={"later": "state"}, **fields,
    )  # fmt: skip
    key = slot_key(chain, len(keys) + 1)
    store.put(key, sealed.raw)
    return key


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    made = filled_store(tmp_path / "files")
    us = made._now_us()
    for nth, (chain, op) in enumerate(LATER):
        for more in range(2):
            later(made, ChainId(chain), op, us + 1000 * nth + more)
    for nth, op in enumerate(sorted(RESERVED_OPS)):
        later(made, ChainId("step/edited"), op, us + 10_000 + nth)
    made.put(REDACTED, b"{}")
    return made


def test_looking_back_leaves_them_alone(store: MemoryStore, tmp_path: Path):
    history = open_history(store, tmp_path / "index")
    history.sync()
    with derived.reading(history.index):
        ops = {row.commit.event.op for row in read_log(history.index, Filter()) if row.commit}
        assert {op for _, op in LATER} <= ops
        assert history.run(read_state(history.index, END))
        assert history.run(read_diff(history.index, hlc(1_577_836_800_000_000, 0), END))
    history.sync(full=True)
    assert history.client.left_out == {}


def test_nobody_is_warned_of_what_is_reserved(store: MemoryStore, tmp_path: Path):
    alice = open_log(store, "alice")
    alice.steps.list()
    alice.steps.add("edited")
    history = open_history(store, tmp_path / "index")
    history.sync()
    said = [*alice.warnings, *history.client.warnings]
    assert not [text for text in said if "op" in text and "step." in text]


def test_an_unknown_kind_is_said_once_and_a_reserved_one_never(store: MemoryStore, tmp_path: Path):
    said = []
    for _ in range(2):
        history = open_history(store, tmp_path / "index")
        history.sync()
        said.append([text for text in history.client.warnings if "of the kind" in text])
        history.index.close()
    assert said[1] == []
    (text,) = said[0]
    assert "'zzz'" in text


def test_fsck_counts_them_and_finds_no_damage(store: MemoryStore):
    found: list[Damage] = []
    checked = run(fsck(PROJECT, found.append), store)
    assert [one for one in found if not one.harmless] == []
    assert checked.unknown >= 2 * len(LATER)


def test_copies_hold_them(store: MemoryStore):
    """Each version, event and object of a later release has the same bytes in a copy."""
    lines: list[bytes] = []
    left: list[tuple[str, str]] = []
    run(export(lines.append, lambda *words: left.append(words), software="test"), store)
    assert left == []
    told = b"".join(lines).decode()
    mine = [key for key, found in store._objects.items() if b"later" in found.data]
    assert len(mine) >= 2 * len(LATER) * 2
    for key in [*mine, REDACTED]:
        assert f'"key":"{key}"' in told, key


def test_packing_goes_on_and_packs_them(store: MemoryStore, tmp_path: Path):
    now_us = store._now_us()
    # Three hours later everything is closed.
    late = Log(
        store,
        Project(PROJECT, "0" * 32, ""),
        agent="late",
        wall_us=lambda: now_us + 3 * 3_600_000_000,
    )
    store._now_us = late.client.clock.wall_us
    late.memory.set("late", "1")
    history = open_history(store, tmp_path / "index")
    packed = run(pack(late.client, history.index), store)
    assert packed.versions > 2 * len(LATER)
    fresh = open_history(store, tmp_path / "fresh")
    fresh.sync()
    assert {ChainId(chain) for chain, _ in LATER} <= {
        commit.chain for commit in fresh.index.commits()
    }
