"""Transactions at every interleaving with few switches, under random faults, and what they cost.

``TCLOG_TEST_TRANSACTIONS`` says how many histories of 2,000 transactions are run; usually one.
"""

import pytest
from conftest import REMEMBERED

from simulation.histories import TRANSACTIONS_MIN, run_history
from simulation.hotkeys import measure
from simulation.interleaving import Running, World
from simulation.transfers import CHECKS, Walker, filled, finish, holdings, transfer, warm
from tclog.chain.resolve import GRACE_S
from tclog.chain.transact import GIVE_UP_S
from tclog.errors import NotFound, Refused, UsageError
from tclog.log import memory
from tclog.log.handoff import complete_step
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Get, Keep, List
from tclog.testing import Faults, oracles, simulate

HISTORIES = int(REMEMBERED.get("TCLOG_TEST_TRANSACTIONS", "1"))
SCHEDULES = int(REMEMBERED.get("TCLOG_TEST_SCHEDULES", "300")) // 8
CROWD = Faults(pause_s=0.05)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_at_every_interleaving(check):
    assert not list(check())


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(
    "pairs",
    [(("a", "b", None), ("a", "b", None)), (("a", "b", "c"), ("b", "a", "c"))],
    ids=["same", "guarded"],
)
def test_two_transfers_at_every_interleaving(pairs, cold):
    assert not list(CHECKS["check_transfers"](pairs, cold))


@pytest.mark.parametrize("faults", [Faults(), CROWD], ids=["apart", "crowd"])
def test_transactions_under_all_faults(faults):
    done = 0
    for seed in range(SCHEDULES):
        # Every other schedule has plain writers to the same steps and inboxes beside them.
        work = ("txn",) if seed % 2 else ("message", "step", "txn", "txn")
        report = simulate(seed, faults=faults, work=work)
        assert not report.violations, seed
        done += sum(o.name.startswith("txn.") and o.outcome == "ok" for o in report.done)
    assert done > 10 * SCHEDULES


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_long_history_holds_no_anomaly(seed):
    history = run_history(seed)
    assert not history.report.violations
    assert history.record["transactions"] >= TRANSACTIONS_MIN
    assert history.record["crashes"] > 0


def requests(world, protocol):
    """Run a protocol; return what it asked, batch by batch."""
    walker, asked = Walker(world, protocol), []
    while not walker.ended:
        if not walker.replies:
            asked.append([type(step) for step in walker.waiting])
        walker.go(1)
    return walker.result, asked


def test_what_it_costs_when_nobody_else_is_there():
    world = filled()
    done, asked = requests(world, transfer(warm(world, "alice"), "a", "b"))
    assert [row.value for row in done] == [49, 51]
    # The very first event of a clock is looked at, to learn the store's time.
    first, *rest = asked
    assert first == [Keep, Keep]
    assert rest[-1] == [Create, Create]
    _, again = requests(world, transfer(world.client("bob"), "a", "b"))
    assert sum(len(step) for step in again) <= 2 * 3 + 4 + 1 + 2


def test_one_key_takes_one_slot():
    world = filled()
    alice = warm(world, "alice")
    txn = Transaction(alice)
    txn.memory_incr("a", 1)
    txn.memory_incr("a", 2)
    _, asked = requests(world, txn.protocol())
    assert asked[-1] == [Create]
    assert holdings(world) == [53, 50]
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    assert len(chains.versions["memory/a"]) == 2


def test_what_does_not_change_asks_nothing_more_of_single_keys():
    world = filled()
    alice = warm(world, "alice")
    finish(world, transfer(alice, "a", "b"))
    _, asked = requests(world, memory.get_value(alice, "a"))
    assert asked == [[Get]]
    _, asked = requests(world, memory.incr_value(alice, "a", 1))
    assert [step for batch in asked for step in batch] == [Keep, Create]
    bob = world.client("bob")
    _, asked = requests(world, memory.get_value(bob, "b"))
    # A transaction's version is judged by its other slot.
    assert asked == [[List], [Get], [Get]]
    assert requests(world, memory.get_value(bob, "b"))[1] == [[Get]]


def test_expectations_name_what_failed_and_nothing_is_committed():
    world = filled()
    alice = warm(world, "alice")
    finish(world, memory.set_value(world.client("bob"), "b", 7, value_type="json"))
    txn = Transaction(alice)
    txn.memory_set("a", 1, if_version=1)
    txn.memory_set("b", 1, if_version=1)
    result = finish(world, txn.protocol())
    assert isinstance(result, Refused)
    assert result.code == "version-conflict"
    assert result.details["operation"] == 1
    assert "b: expected version 1, found version 2" in result.message
    # What it tried from the heads that it remembered is void: no reader counts it.
    for client in (alice, world.client("bob")):
        found = [finish(world, memory.get_value(client, key)) for key in ("a", "b")]
        assert [(row.value, row.version) for row in found] == [(50, 1), (7, 2)]


def test_a_guard_leaves_the_version_of_what_it_read():
    world = filled()
    alice = warm(world, "alice")
    txn = Transaction(alice)
    txn.memory_get("a")
    txn.memory_set("b", 0)
    read, _ = finish(world, txn.protocol())
    assert (read.value, read.version) == (50, 1)
    found = finish(world, memory.get_value(world.client("bob"), "a"))
    assert (found.value, found.version, found.agent) == (50, 1, "setter")
    assert (
        finish(world, memory.set_value(alice, "a", 1, value_type="json", if_version=1)).version == 3
    )
    history = finish(world, memory.read_history(alice, "a"))
    assert [row.version for row in history] == [3, 1]
    assert finish(world, memory.read_history(alice, "a", limit=2)) == history
    assert isinstance(finish(world, memory.get_value(alice, "a", version=2)), NotFound)


def test_each_operation_sees_what_those_before_it_did():
    world = filled()
    txn = Transaction(warm(world, "alice"))
    txn.memory_set("a", "new", if_version=1)
    txn.memory_get("a")
    txn.memory_delete("b")
    txn.memory_get("b")
    txn.memory_get("none", if_version=0)
    _, read, deleted, gone, none = finish(world, txn.protocol())
    assert (read.value, read.version) == ("new", 2)
    assert deleted.deleted
    assert gone.deleted
    assert (none.deleted, none.version) == (True, 0)
    assert isinstance(finish(world, memory.get_value(world.client("bob"), "none")), NotFound)


@pytest.mark.parametrize("wrong", ["twice", "both", "many", "none"])
def test_what_cannot_be_a_transaction_is_refused_before_anything_is_written(wrong):
    world = filled()
    before = list(world.store.list("", "", 1000, False))
    txn = Transaction(warm(world, "alice"))
    if wrong == "twice":
        txn.memory_incr("a")
        txn.memory_set("a", 1, if_version=1)
    elif wrong == "both":
        txn.message_send("@all", "hi")
        txn.message_send("bob", "hi")
    elif wrong == "many":
        for number in range(65):
            txn.memory_incr(f"k{number}")
    result = finish(world, txn.protocol())
    assert isinstance(result, UsageError)
    assert list(world.store.list("", "", 1000, False)) == before


def test_a_repeated_command_tells_what_was_read_when_it_was_committed():
    """Not what a try of its own had read that came to nothing."""

    def read_and_set(client):
        one = Transaction(client)
        one.memory_get("a")
        one.memory_set("b", "done")
        return one.protocol("my-key")

    outrun = 0
    for requests in range(1, 20):
        world = World()
        bob, first, second = world.client("bob"), world.client("alice"), world.client("alice")
        world.run(memory.set_value(bob, "a", "old"))
        running = Running(world, read_and_set(second)).go(requests)
        world.run(memory.set_value(bob, "a", "new"))
        told = world.run(read_and_set(first))[0].value
        outrun += told == "new"
        assert running.go(1000).result[0].value == told
    assert 0 < outrun < 19


def test_the_last_end_of_a_step_in_a_transaction_is_the_one_that_can_be_repeated():
    world = World()
    alice = world.client("alice")
    txn = Transaction(alice)
    txn.step_claim("s")
    txn.step_complete("s", outcome="needs_review", note="first")
    txn.step_complete("s", note="last")
    finish(world, txn.protocol())
    again = finish(world, complete_step(alice, "s", note="last"))
    assert again.handoff == {"from": "alice", "note": "last"}
    assert isinstance(finish(world, complete_step(alice, "s", note="first")), Refused)


def test_the_next_writer_is_stopped_no_longer_than_the_grace():
    """By a transaction that died a moment ago, and not at all by one that died before that."""
    for age_s, least_s, most_s in ((0, 0.5, GRACE_S + 1), (GRACE_S * 2, 0, 0.2)):
        world = filled()
        one = Walker(world, transfer(warm(world, "alice"), "a", "b"))
        while len(world.store.list("chains/memory/a", "", 10, False)) < 2:
            one.go(1)
        world.now_us += round(age_s * 1e6)
        two = Walker(world, memory.incr_value(warm(world, "bob"), "a", 1)).go(1000)
        assert not two.refused
        assert least_s <= two.spent_us / 1e6 <= most_s
        assert holdings(world) == [51, 50]


@pytest.mark.parametrize("other", ["z", "a"], ids=["first", "last"])
def test_a_hot_key_does_not_starve_a_transaction(other):
    found = measure(2, other)
    assert found["gave_up"] == 0
    assert found["longest_s"] < GIVE_UP_S / 4


def test_a_schedule_with_transactions_is_repeatable():
    assert simulate(5, work=("txn",)).trace == simulate(5, work=("txn",)).trace
