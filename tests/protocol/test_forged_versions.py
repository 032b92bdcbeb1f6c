"""Forged versions stop their own chain at most, and forged events change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from history.filled import open_log

from tclog.chain.fold import fold, state_of
from tclog.clock import hlc
from tclog.domain.decision import Place
from tclog.errors import Damaged
from tclog.event import ChainId, decode_version, seal_event, seal_version, slot_key
from tclog.log.log import Log
from tclog.store.memory import MemoryStore

KEY = ChainId("memory/k")
T0_US = 1_795_448_525_512_345


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    alice = open_log(made, "alice")
    alice.memory.set("k", "1")
    alice.memory.set("other", "1")
    return made


def event(op: str, body: dict[str, Any], chain: ChainId, **more: Any):
    fields = {
        "op": op,
        "body": body,
        "chains": [chain],
        "agent": "mallory",
        "session": "s",
        "host": "h",
        "client": "c",
        "at": hlc(T0_US, 0),
        "nonce": "n",
    }
    return seal_event(**(fields | more))[0]


def forge(store: MemoryStore, seq: int, at: str, **more: Any) -> None:
    before = store.get(slot_key(KEY, seq - 1))
    prev = decode_version(before.data, chain=KEY, seq=seq - 1).id if before else "0" * 64
    fields = {"state": {}, "events": (), "prev_stored": None} | more
    sealed = seal_version(chain=KEY, seq=seq, prev=prev, at=at, by="mallory", **fields)
    store.put(slot_key(KEY, seq), sealed.raw)


def goes_on(log: Log) -> None:
    assert log.memory.set("other", "2").version >= 2
    log.send("alice", "hi")
    assert log.inbox() is not None


def test_a_stamp_at_the_end_of_time_ends_its_own_chain(store: MemoryStore):
    forge(
        store,
        2,
        "8999-12-31T23:59:59.999999Z-ffff",
        state={"content": {"type": "text", "value": "x"}},
    )
    bob = open_log(store, "bob")
    for _ in range(2):
        with pytest.raises(Damaged, match="nothing can come after the stamp 8999-12-31"):
            bob.memory.set("k", "2")
    goes_on(bob)


@pytest.mark.parametrize(
    "at", ["9000-01-01T00:00:00.000000Z-0000", "2019-12-31T00:00:00.000000Z-0000"]
)
def test_a_stamp_out_of_bounds_is_damage_with_its_name(store: MemoryStore, at: str):
    forge(store, 2, at)
    with pytest.raises(Damaged, match=r"version 2 of memory/k.*at is not a valid hlc"):
        open_log(store, "bob").memory.get("k")
    goes_on(open_log(store, "bob"))


def test_the_last_of_all_numbers_ends_its_own_chain(store: MemoryStore):
    forge(store, 9_999_999_998, hlc(T0_US, 0), state={"content": {"type": "text", "value": "x"}})
    bob = open_log(store, "bob")
    with pytest.raises(Damaged):
        bob.memory.set("k", "2")
    with pytest.raises(Damaged):
        open_log(store, "carol").memory.set("k", "2")
    goes_on(open_log(store, "bob"))


def test_an_event_made_for_another_chain_changes_nothing():
    state = state_of(KEY, None)
    made = event("memory.set", {"type": "text", "value": "x"}, ChainId("memory/other"))
    assert fold(KEY, state, [made], Place(1)) == state
    mine = event("memory.set", {"type": "text", "value": "x"}, KEY)
    assert fold(KEY, state, [made, mine], Place(1)).content == mine.body


def test_what_does_not_count_still_records_the_stamp_of_the_slot_before():
    chain = ChainId("step/s")
    claim = event("step.claim", {"lease_ms": 1000}, chain)
    held = fold(chain, state_of(chain, None), [claim], Place(1))
    stamp = "2026-11-23T19:00:00.000000Z"
    for odd in (
        event("step.renew", {"lease_ms": 10**15}, chain),
        event("step.note", {"note": {"type": "text", "value": "x"}}, ChainId("step/other")),
    ):
        after = fold(chain, held, [odd], Place(2, 0, stamp))
        assert after == held._replace(lease_from=stamp)


def test_a_message_that_does_not_count_has_no_number(store: MemoryStore):
    bob, chain = open_log(store, "bob"), ChainId("inbox/bob")
    odd = event("message.send", {"text": "hi", "to": ["bob"]}, chain)
    good = event("message.send", {"text": {"type": "text", "value": "hi"}, "to": ["bob"]}, chain)
    state = fold(chain, state_of(chain, None), [odd, good], Place(1))
    assert state.count == 1
    sealed = seal_version(
        chain=chain, seq=1, prev=None, prev_stored=None, at=hlc(T0_US, 1), by="mallory",
        events=[odd, good], state={"count": 1},
    )  # fmt: skip
    store.put(slot_key(chain, 1), sealed.raw)
    assert [(one.n, one.text) for one in bob.inbox().messages] == [(1, "hi")]
    bob.ack(1)
    assert bob.inbox().messages in ([], ())
