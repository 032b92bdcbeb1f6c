"""History shows a transaction as one change: with all of its events, or with none."""

import itertools
from contextlib import suppress
from pathlib import Path

import pytest
from simulation.interleaving import BEGIN_US, World
from simulation.transfers import STEPS_MAX, Walker, finish, transfer, warm

from tclog.chain.drive import answer, run
from tclog.event import ChainId, digest, encode, slot_key
from tclog.event.canonical import decode
from tclog.index import Index
from tclog.log import memory
from tclog.log.project import create_project
from tclog.log.transactions import Transaction
from tclog.maintenance.copies.copy import copy_log
from tclog.maintenance.copies.destination import Mounted, Target
from tclog.maintenance.copies.transfer import Reader, _Lines, import_log
from tclog.maintenance.fsck.check import fsck
from tclog.store.base import List
from tclog.store.memory import MemoryStore
from tclog.sync import objects
from tclog.sync.sync import sync


def filled() -> World:
    world = World()
    run(create_project("default", "0" * 32, BEGIN_US), world.store)
    client = world.client("setter")
    for key in ("a", "b"):
        finish(world, memory.set_value(client, key, 50, value_type="json"))
    return world


@pytest.fixture
def fresh(tmp_path: Path):
    numbers = itertools.count()
    return lambda: Index(tmp_path / str(next(numbers)))


def values(index: Index) -> list[int]:
    """Return what the newest versions in the index hold, as ``state`` shows it."""
    found = []
    for key in ("a", "b"):
        chain = ChainId(f"memory/{key}")
        head = index.version(chain, index.head(chain))
        standing = index.version(chain, head.base)
        found.append(standing.state.get("content", standing.events[-1].body)["value"])
    return found


def test_a_sync_at_any_moment_has_all_of_a_transaction_or_nothing(fresh):
    for before in range(12):
        for during in range(0, 40, 3):
            world = filled()
            one = Walker(world, transfer(warm(world, "alice"), "a", "b")).go(before)
            index = fresh()
            two = Walker(world, sync(world.client("looker"), index)).go(during)
            one.go(STEPS_MAX)
            two.go(STEPS_MAX)
            assert two.ended
            assert not two.refused
            assert sum(values(index)) == 100, (before, during)
            finish(world, sync(world.client("looker"), index))
            assert values(index) == [49, 51]
            index.close()


def test_who_shares_an_index_with_a_sync_has_all_of_a_transaction_or_nothing(tmp_path):
    for before, during in itertools.product((1, 2, 3), range(1, 7)):
        world = filled()
        index, other = (Index(tmp_path / f"{before}-{during}") for _ in range(2))
        finish(world, sync(world.client("looker"), index))
        one = Walker(world, transfer(warm(world, "alice"), "a", "b")).go(before)
        two = Walker(world, sync(world.client("looker"), index)).go(during)
        one.go(STEPS_MAX)
        while not two.ended:
            two.go(1)
            assert sum(values(other)) == 100, (before, during)
        index.close()
        other.close()


def test_an_aborted_transaction_is_an_attempt(fresh):
    for died in range(1, 12):
        world = filled()
        one = Walker(world, transfer(warm(world, "alice"), "a", "b")).go(died)
        finish(world, memory.incr_value(world.client("bob"), "a", 7))
        if one.ended:
            break
        index = fresh()
        finish(world, sync(world.client("looker"), index))
        a, b = values(index)
        assert (a, b) in ((57, 50), (56, 51))
        committed = [row.event.op for row in index.commits() if row.event.txn is not None]
        assert len(committed) == (2 if b == 51 else 0)
        index.close()
        assert not damage(world)


def damage(world: World) -> list[str]:
    """Check the whole store; return the words for what is wrong with it."""
    found: list[str] = []
    run(fsck("default", lambda row: found.append(row.code)), world.store)
    return found


def rewritten(world: World, chain: str, seq: int, **changes) -> None:
    """Put another version in a slot, with a sum of its own."""
    key = slot_key(ChainId(chain), seq)
    record = dict(decode(world.store.get(key).data, key), **changes)
    record = {name: value for name, value in record.items() if value is not None}
    del record["sum"]
    record["sum"] = digest(encode(record))
    world.store.put(key, encode(record))


def committed(world: World) -> None:
    finish(world, transfer(world.client("alice"), "a", "b"))
    finish(world, memory.incr_value(world.client("bob"), "b", 1))


def aborted(world: World) -> None:
    """The author dies between its creates; who is in its way fills a slot that is still empty."""
    alice = warm(world, "alice")
    one = Walker(world, transfer(alice, "a", "b"))
    while world.store.get(slot_key(ChainId("memory/a"), 2)) is None:
        one.go(1)
    finish(world, memory.incr_value(world.client("bob"), "a", 1))
    finish(world, memory.incr_value(world.client("bob"), "b", 1))


def created(world: World) -> None:
    """The transaction makes the first version of a key that sorts before the listed ones."""
    finish(world, transfer(world.client("alice"), "0", "b"))
    finish(world, memory.incr_value(world.client("bob"), "b", 1))


@pytest.mark.parametrize("what", [committed, aborted, created])
@pytest.mark.parametrize("cut", range(1, 6))
def test_a_copy_has_all_of_a_transaction_that_others_rest_on(cut, what, monkeypatch):
    # Decided and built upon while the slots were listed, of one key before and of another after.
    monkeypatch.setattr(objects, "PAGE", 1)
    world = filled()
    copies = MemoryStore(), MemoryStore()
    lines: list[bytes] = []
    for sink, place in ((Target("to/"), copies[0]), (_Lines(lines.append, "test"), MemoryStore())):
        both = Mounted(**{"from": world.store, "to": place})
        protocol = copy_log(sink, lambda *told: pytest.fail(str(told)), mount="from/")
        listed, given = 0, None
        with suppress(StopIteration):
            while True:
                step = protocol.send(given)
                listed += isinstance(step, List) and step.prefix == "from/chains"
                if listed == cut:
                    what(world)
                    listed = 99
                many = type(step) is tuple
                replies = [answer(one, both, lambda _: None) for one in (step if many else [step])]
                given = replies if many else replies[0]
    run(import_log(Reader(lines)), copies[1])
    for copy in copies:
        found = []
        run(fsck("default", found.append), copy)
        assert not [one for one in found if not one.harmless]


@pytest.mark.parametrize("died", range(1, 12))
def test_a_copy_owes_nothing_to_a_transaction_that_was_aborted(died):
    world = filled()
    finish(world, memory.set_value(world.client("setter"), "c", 0, value_type="json"))
    txn = Transaction(world.client("alice"))
    for key in ("a", "b", "c"):
        txn.memory_incr(key, 1)
    Walker(world, txn.protocol()).go(died)
    # It ends the transaction by a version in one empty slot; the other stays empty.
    finish(world, memory.incr_value(world.client("bob"), "a", 7))
    copies = MemoryStore(), MemoryStore()
    lines: list[bytes] = []
    for sink, place in ((Target("to/"), copies[0]), (_Lines(lines.append, "test"), MemoryStore())):
        both = Mounted(**{"from": world.store, "to": place})
        told: list[tuple[str, str]] = []
        run(copy_log(sink, lambda *row, told=told: told.append(row), mount="from/"), both)
        assert not told
    run(import_log(Reader(lines)), copies[1])
    for copy in copies:
        found: list[object] = []
        run(fsck("default", found.append), copy)
        assert not [one for one in found if not one.harmless]


def test_fsck_finds_nothing_wrong_with_what_died_or_lost_and_what_filled_its_slots():
    world = filled()
    for name in ("alice", "bob", "carol"):
        Walker(world, transfer(warm(world, name), "a", "b")).go(5)
        finish(world, transfer(warm(world, "dave"), "b", "a"))
    assert not damage(world)


@pytest.mark.parametrize(
    ("chain", "changes", "word"),
    [
        ("memory/b", {"events": []}, "txn-torn"),
        ("memory/b", {"otherwise": {}}, "state-mismatch"),
        ("memory/a", {"stands": 0}, "stands-wrong"),
    ],
)
def test_fsck_finds_what_is_wrong_with_a_transaction(chain, changes, word):
    world = filled()
    finish(world, transfer(world.client("alice"), "a", "b"))
    rewritten(world, chain, 2, **changes)
    assert word in damage(world)


def test_fsck_finds_what_follows_an_undecided_transaction_and_what_fills_no_slot():
    world = filled()
    finish(world, transfer(world.client("alice"), "a", "b"))
    finish(world, memory.incr_value(world.client("bob"), "a", 1))
    world.store.delete(slot_key(ChainId("memory/b"), 2))
    assert "txn-open" in damage(world)
    world = filled()
    finish(world, memory.incr_value(world.client("bob"), "a", 1))
    rewritten(world, "memory/a", 2, events=[], fills={"chain": "memory/b", "seq": 1})
    assert "fill-wrong" in damage(world)
