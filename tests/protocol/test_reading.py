"""Reading: stale listings, half-made folders, the clock of who reads, steps that lie fallow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tclog.chain.drive import run
from tclog.chain.read import list_chains, read_forward, read_head, read_next, read_range
from tclog.chain.slots import newest_slot
from tclog.clock import parse_us
from tclog.errors import Damaged, Refused, StoreUnreachable
from tclog.event import VOIDS_MAX, chain_id, decode, digest, encode, slot_key
from tclog.index import Index
from tclog.log.claims import claim_step, renew_step
from tclog.log.memory import append_value, get_value, set_value
from tclog.log.steps import show_step
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Created, Outcome
from tclog.store.file import FileStore
from tclog.sync.sync import sync

from .world import World

KEY = chain_id("memory", "k")


class KilledError(BaseException):
    """The process is gone."""


@pytest.fixture
def world() -> World:
    return World()


def write(world: World, agent: str, times: int) -> None:
    for nth in range(times):
        world.run(append_value(world[agent], "k", f"{nth}"))


@pytest.mark.parametrize("others", [3, 4, 9])
def test_a_listing_that_is_behind_takes_no_reader_back(world: World, others: int) -> None:
    """After some steps forward a reader lists; it may be shown what was the newest once."""
    write(world, "bob", 2)
    known = world.run(read_head(world["alice"], KEY))
    assert known is not None
    shown = world.store.list("chains/memory/k", "", 10, False)
    write(world, "bob", others)
    world.store.list = lambda *_: shown[:1]  # type: ignore[method-assign]
    found = world.run(read_forward(world["alice"], known))
    assert found.seq == known.seq + 3


def test_a_folder_that_was_made_for_a_name_and_is_empty_yet_is_no_chain(tmp_path: Path) -> None:
    """Its writer is between making the folder and creating the first version, or was killed."""
    store = FileStore(tmp_path, fsync=False)
    long = "é" * 90
    world = World()
    run(set_value(world["alice"], long, "v"), store)
    run(set_value(world["alice"], "short", "v"), store)
    folder = next((tmp_path / "chains" / "memory").glob("*~*"))
    (slot,) = folder.iterdir()
    assert run(list_chains(world["alice"], "memory"), store) == [
        f"memory/{name}" for name in ("short", long)
    ]
    slot.unlink()
    assert run(list_chains(world["alice"], "memory"), store) == ["memory/short"]


@pytest.mark.parametrize("begins", [0, 3])
@pytest.mark.parametrize(
    ("others", "asked", "more"),
    [(0, 1, False), (1, 2, False), (2, 5, False), (4, 5, False), (5, 5, True), (7, 5, True)],
)
def test_who_follows_a_quick_writer_asks_for_more_the_longer_it_goes_on(
    world: World, begins: int, others: int, asked: int, more: bool
) -> None:
    """One slot, then one, then three at once; no slot twice."""
    write(world, "bob", begins)
    known = world.run(read_head(world["alice"], KEY))
    write(world, "bob", others)
    world.asked.clear()
    news, left = world.run(read_next(world["alice"], KEY, known))
    assert [version.seq for version in news] == [*range(begins + 1, begins + min(others, 5) + 1)]
    assert left == more
    slots = [slot_key(KEY, seq) for seq in range(begins + 1, begins + asked + 1)]
    assert [step.key for step in world.asked] == slots


def test_chains_are_listed_in_byte_order_by_the_beginning_of_their_names(world: World) -> None:
    for name in ("b", "api.b", "ap", "api.a", "a~", "é", "A"):
        world.run(set_value(world["alice"], name, "v"))
    for prefix, names in {
        "": ["A", "ap", "api.a", "api.b", "a~", "b", "é"],
        "api.": ["api.a", "api.b"],
        "é": ["é"],
        "x": [],
    }.items():
        found = world.run(list_chains(world["bob"], "memory", prefix))
        assert found == [chain_id("memory", name) for name in names]


def test_who_reads_a_range_stamps_what_follows_later(world: World) -> None:
    """The writer's clock is ahead by less than what is believed."""
    world.client("bob", off_s=0.0)
    write(world, "bob", 1)
    ahead = world.client("bob", off_s=90.0)
    ahead.learn_offset = lambda *_, **__: None  # type: ignore[method-assign]
    write(world, "bob", 3)
    alice = world["alice"]
    versions = world.run(read_range(alice, KEY, 1, 3))
    assert parse_us(versions[-1].at) > world.clock.us + 60_000_000
    assert alice.clock.last >= versions[-1].at
    assert alice.clock.tick() > versions[-1].at


def dies_in_a_transaction(world: World, agent: str) -> None:
    """Leave a version of step "build" whose transaction lacks its other slot."""
    both = Transaction(world[agent])
    both.step_note("build", "half")
    both.memory_set("k", "half")
    slots = iter(range(10))

    def kill(step: Any) -> None:
        if isinstance(step, Create) and step.key.startswith("chains/") and next(slots) == 1:
            raise KilledError

    world.before = kill
    with pytest.raises(KilledError):
        world.run(both.protocol(None))
    world.before = lambda _: None


def test_who_holds_a_step_can_be_replaced_also_after_a_version_that_changes_nothing(
    world: World,
) -> None:
    """A transaction over the step was aborted; the holder has died meanwhile."""
    world.run(claim_step(world["bob"], "build", lease_s=60))
    dies_in_a_transaction(world, "alice")
    world.clock.pass_s(30)
    with pytest.raises(Refused):
        world.run(claim_step(world["carol"], "build"))
    world.clock.pass_s(40)
    step = world.run(claim_step(world["carol"], "build"))
    assert (step.agent, step.note) == ("carol", None)
    assert world.run(show_step(world.client("dan"), "build")).note is None


def test_whose_lease_was_renewed_holds_it_also_after_a_version_that_changes_nothing(
    world: World,
) -> None:
    world.run(claim_step(world["bob"], "build", lease_s=60))
    dies_in_a_transaction(world, "alice")
    world.clock.pass_s(30)
    world.run(renew_step(world["bob"], "build"))
    world.clock.pass_s(40)
    with pytest.raises(Refused):
        world.run(claim_step(world["carol"], "build"))
    assert world.run(show_step(world.client("dan"), "build")).agent == "bob"


# -- what the records of a transaction say --------------------------------------------------------


def records(world: World, folder: str) -> list[dict[str, Any]]:
    rows = world.store.list(folder, "", 100, False)
    return [decode(world.store.get(row.key).data, row.key) for row in rows]  # type: ignore[union-attr]


def test_each_event_and_version_of_a_transaction_names_it(world: World) -> None:
    both = Transaction(world["alice"])
    both.memory_set("a", "1")
    both.memory_set("b", "1")
    world.run(both.protocol(None))
    versions = records(world, "chains/memory")
    assert [version["txn"]["slots"] for version in versions] == [{"memory/a": 1, "memory/b": 1}] * 2
    names = {version["txn"]["id"] for version in versions}
    assert len(names) == 1
    assert {event.get("txn") for event in records(world, "events")} == names
    assert {event["txn"] for version in versions for event in version["events"]} == names


def test_a_version_that_ends_a_transaction_says_whose(world: World) -> None:
    """Else nobody could tell it from one that somebody has put there for nothing."""
    world.run(claim_step(world["bob"], "build"))
    dies_in_a_transaction(world, "alice")
    world.clock.pass_s(60)
    world.run(set_value(world["bob"], "k", "mine"))
    filled = [r for r in records(world, "chains") if "fills" in r]
    assert len(filled) == 1
    left = [r for r in records(world, "chains") if "txn" in r]
    assert len(left) == 1
    fills = filled[0]["fills"]
    assert (fills["chain"], fills["seq"]) == (left[0]["chain"], left[0]["seq"])
    assert left[0]["txn"]["slots"][filled[0]["chain"]] == filled[0]["seq"]


def test_when_it_is_unknown_whether_a_transaction_was_ended_nothing_was_written(
    world: World,
) -> None:
    """So the answer is that the store is unreachable, and the command may simply be repeated."""
    world.run(claim_step(world["bob"], "build"))
    dies_in_a_transaction(world, "alice")
    world.clock.pass_s(60)
    one, gone, build = world._one, False, chain_id("step", "build")

    def answer(step: Any) -> Any:
        nonlocal gone
        gone = gone or (type(step) is Create and step.key == slot_key(build, 2))
        if not gone:
            return one(step)
        world.clock.pass_s(30)
        return (
            Created(Outcome.UNKNOWN, cause="gone")
            if type(step) is Create
            else StoreUnreachable("gone")
        )

    world._one = answer  # type: ignore[method-assign]
    with pytest.raises(StoreUnreachable):
        world.run(set_value(world["bob"], "k", "mine"))
    assert gone
    world._one = one  # type: ignore[method-assign]
    assert not [r for r in records(world, "chains") if "mine" in str(r)]
    world.run(set_value(world["bob"], "k", "mine"))
    assert len([r for r in records(world, "chains") if "mine" in str(r)]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"slots": {}},
        {"slots": {"memory/a": 1}},
        {"slots": {"memory/b": 1, "memory/c": 1}},
        {"slots": {"memory/a": 2, "memory/b": 1}},
        {"slots": {"memory/a": 1, "memory/b": 0}},
        {"slots": {"memory/a": 1, "memory/b": True}},
        {"slots": {"memory/a": 1, "memory/b": "1"}},
        {"slots": {"memory/a": 1, "nothing": 1}},
        {"slots": [["memory/a", 1], ["memory/b", 1]]},
        {"id": 5},
        {"events": "none"},
    ],
)
def test_a_version_that_does_not_say_which_slots_its_transaction_has_is_damage(
    world: World, change: dict[str, Any]
) -> None:
    both = Transaction(world["alice"])
    both.memory_set("a", "1")
    both.memory_set("b", "1")
    world.run(both.protocol(None))
    key = slot_key(chain_id("memory", "a"), 1)
    found = world.store.get(key)
    assert found is not None
    record = {k: v for k, v in decode(found.data, key).items() if k != "sum"}
    record["txn"] = {**record["txn"], **change}
    world.store.put(key, encode(record | {"sum": digest(encode(record))}))
    with pytest.raises(Damaged):
        world.run(get_value(world.client("carol"), "a"))


@pytest.mark.parametrize("more", [0, 1])
def test_a_long_name_is_found_below_as_much_junk_as_a_version_can_end(
    world: World, more: int
) -> None:
    """More than that no client can have left behind it."""
    chain = chain_id("memory", "é" * 90)
    world.run(set_value(world["alice"], "é" * 90, "v"))
    for seq in range(2, 2 + VOIDS_MAX + more):
        world.store.put(slot_key(chain, seq), b"junk")
    found = world.run(list_chains(world.client("carol"), "memory"))
    assert found == ([] if more else [chain])


@pytest.mark.parametrize(
    ("behind_s", "short_s"), [(0.0, 0.0), (1.9, 1.9), (2.1, 4.1), (60.0, 62.0)]
)
def test_a_stamp_over_two_seconds_ahead_says_nothing_of_when_a_sync_began(
    world: World, tmp_path: Path, behind_s: float, short_s: float
) -> None:
    """Then this clock does, less what it may be off."""
    write(world, "bob", 1)
    (row,) = world.store.list("events", "", 9, False)
    assert row.stored is not None
    index = Index(tmp_path)
    world.run(sync(world.client("emil", off_s=-behind_s), index))
    horizon = index.meta("horizon")
    assert horizon is not None
    assert (parse_us(row.stored) - parse_us(horizon)) / 1e6 == pytest.approx(short_s, abs=0.09)
    index.close()


@pytest.mark.parametrize("known", [0, 2])
def test_a_sync_reads_no_event_that_its_chain_holds(
    world: World, tmp_path: Path, known: int
) -> None:
    """The names of events say which chains have grown, and their versions hold them."""
    index, emil = Index(tmp_path), world.client("emil")
    if known:
        write(world, "bob", known)
        world.run(sync(emil, index))
    world.clock.pass_s(1)
    write(world, "bob", 3)
    world.asked.clear()
    assert world.run(sync(emil, index)).versions == 3
    assert not [step for step in world.asked if getattr(step, "key", "").startswith("events/")]
    index.close()


def test_what_lies_deeper_below_a_chain_s_folder_is_no_slot_of_it(world: World) -> None:
    write(world, "alice", 2)
    world.store.put(f"chains/memory/k/deep/{slot_key(KEY, 9).rpartition('/')[2]}", b"{}")
    assert world.run(newest_slot("chains/memory/k")) == 2
    world.store.put("chains/memory/k/0/9999999990.json", b"{}")
    assert world.run(newest_slot("chains/memory/k")) == 2
    assert world.run(read_head(world.client("bob"), KEY)).seq == 2
