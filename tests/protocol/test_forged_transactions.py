"""A forged transaction blocks no key and makes nobody write to others' chains."""

from __future__ import annotations

import pytest
from history.filled import open_log

from tclog.chain.drive import run
from tclog.clock import Stamp, format_us, hlc
from tclog.event import ChainId, decode_version, encode, seal_version, slot_key
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.fsck.findings import Damage
from tclog.store.base import Found
from tclog.store.memory import MemoryStore

MINE, OTHER = ChainId("memory/mine"), ChainId("memory/other")
LONG_AGO = 120 * 1_000_000


def forged(store: MemoryStore, slots: dict[ChainId, int], *parts: ChainId) -> None:
    """Put a transaction's version into some of the slots that it names, a while ago."""
    us = store._now_us() - LONG_AGO
    txn = {"agent": "m", "at": hlc(us, 0), "events": [], "id": "t" * 32, "slots": slots}
    for chain in parts:
        seq = slots[chain]
        before = store.get(slot_key(chain, seq - 1)) if seq > 1 else None
        head = before and decode_version(before.data, chain=chain, seq=seq - 1)
        at = hlc(us, 0) if head is None or head.at < hlc(us, 0) else f"{head.at[:28]}ffff"
        state = {} if head is None else {"content": head.events[-1].body}
        version = seal_version(
            chain=chain, seq=seq, prev=head and head.id, prev_stored=None, at=at, by="m", events=(),
            state=state, txn=txn, otherwise=state,
        )  # fmt: skip
        store._objects[slot_key(chain, seq)] = Found(version.raw, Stamp(format_us(us)))


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    alice = open_log(made, "alice")
    alice.memory.set("mine", "1")
    alice.memory.set("other", "1")
    return made


def count(store: MemoryStore, chain: ChainId) -> int:
    folder = slot_key(chain, 1).rpartition("/")[0]
    return sum(key.startswith(f"{folder}/") for key in store._objects)


@pytest.mark.parametrize("ahead", [3, 500, 9_999_999_998])
def test_slots_that_nobody_can_have_read_are_not_filled(store: MemoryStore, ahead: int):
    forged(store, {MINE: 2, OTHER: ahead}, MINE)
    bob, carol = open_log(store, "bob"), open_log(store, "carol")
    assert bob.memory.get("mine").value == "1"
    assert bob.memory.set("mine", "2").version == 3
    assert count(store, OTHER) == 1
    # Whoever knew the chain before, whoever comes later, and who looks again, see the same.
    for log in (bob, carol, open_log(store, "dora")):
        assert log.memory.get("mine").value == "2"
        assert log.memory.set("other", "x").version >= 2
    assert [one.value for one in carol.memory.history("mine")] == ["2", "1"]
    assert carol.memory.set("mine", "3").version == 4
    assert count(store, OTHER) == 4


def test_the_verdict_stays_when_the_other_chain_has_grown_to_the_slot(store: MemoryStore):
    forged(store, {MINE: 2, OTHER: 4}, MINE)
    bob = open_log(store, "bob")
    bob.memory.set("mine", "2")
    for nth in range(2):
        bob.memory.set("other", f"{nth}")
    # Slot 4 is the next one now, and still empty.
    assert open_log(store, "carol").memory.get("mine").value == "2"
    assert open_log(store, "dora").memory.set("mine", "3").version == 4
    bob.memory.set("other", "9")
    assert open_log(store, "emil").memory.get("mine").value == "3"
    found: list[Damage] = []
    run(fsck("demo", found.append), store)
    assert {one.where.key for one in found} <= {"tclog.json", slot_key(MINE, 2)}


def test_two_forged_transactions_that_wait_for_each_other_stop_nobody(store: MemoryStore):
    forged(store, {MINE: 2, OTHER: 3}, MINE)
    forged(store, {OTHER: 2, MINE: 3}, OTHER)
    bob = open_log(store, "bob")
    assert bob.memory.set("mine", "2").version == 3
    assert bob.memory.set("other", "2").version == 3
    assert open_log(store, "carol").memory.get("mine").value == "2"
    assert open_log(store, "carol").memory.get("other").value == "2"


def test_a_slot_that_a_writer_can_have_read_is_filled_once(store: MemoryStore):
    forged(store, {MINE: 2, OTHER: 2}, MINE)
    assert open_log(store, "bob").memory.set("mine", "2").version == 3
    assert count(store, OTHER) == 2
    filler = store.get(slot_key(OTHER, 2))
    assert b'"fills":' + encode({"chain": MINE, "seq": 2}) in filler.data
