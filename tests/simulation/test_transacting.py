"""What a transaction needs besides its slots: blobs, dependencies, fresh heads, young events."""

import pytest

from simulation.interleaving import World
from simulation.transfers import STEPS_MAX, Walker, filled, finish, warm
from tclog.chain.seal import EVENT_AGE_MAX_S
from tclog.clock import AHEAD_TRUSTED_US, HybridClock, parse_us
from tclog.domain.content import INLINE_BYTES_MAX
from tclog.errors import OutcomeUnknown, Refused, StoreUnreachable
from tclog.event import ChainId
from tclog.log import memory, steps
from tclog.log.handoff import complete_step
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Created, Keep, Outcome
from tclog.testing import oracles

LARGE = "a large value\n" * 2000


def test_large_values_are_there_when_the_transaction_is():
    assert len(LARGE) > INLINE_BYTES_MAX
    world = filled()
    txn = Transaction(warm(world, "alice"))
    txn.memory_set("a", LARGE)
    txn.memory_set("b", {"large": LARGE})
    finish(world, txn.protocol())
    reader = world.client("reader")
    assert finish(world, memory.get_value(reader, "a")).value == LARGE
    assert finish(world, memory.get_value(reader, "b")).value == {"large": LARGE}


def test_what_an_append_spills_is_there_when_the_transaction_is():
    world = filled()
    alice = warm(world, "alice")
    half = "x" * (INLINE_BYTES_MAX - 100)
    finish(world, memory.set_value(alice, "log", half))
    txn = Transaction(alice)
    txn.memory_append("log", "y" * 200)
    txn.memory_append("log", LARGE)
    txn.memory_incr("a", 1)
    finish(world, txn.protocol())
    found = finish(world, memory.get_value(world.client("reader"), "log"))
    assert found.value == f"{half}\n{'y' * 200}\n{LARGE}"


def planned(world):
    setter = world.client("setter")
    finish(world, steps.add_step(setter, "one"))
    finish(world, steps.add_step(setter, "two", after=["one"]))
    return setter


def claim_two(client):
    txn = Transaction(client)
    txn.step_claim("two")
    txn.memory_set("stage", "two")
    return txn.protocol()


def test_a_claim_in_a_transaction_waits_for_what_the_step_comes_after():
    world = World()
    setter = planned(world)
    refused = finish(world, claim_two(world.client("alice")))
    assert isinstance(refused, Refused)
    assert refused.code == "step-waiting"
    assert finish(world, steps.show_step(setter, "two")).state == "pending"
    finish(world, complete_step(setter, "one", force=True, reason="test"))
    claimed, _ = finish(world, claim_two(world.client("alice")))
    assert claimed.state == "claimed"


@pytest.mark.parametrize("reopened", [True, False])
def test_what_a_claim_has_looked_at_stands_when_the_transaction_is_committed(reopened):
    """A dependency is reopened at every moment: either the claim came before, or it is refused."""
    refused = 0
    for requests in range(40):
        world = World()
        setter = planned(world)
        finish(world, complete_step(setter, "one", force=True, reason="test"))
        one = Walker(world, claim_two(world.client("alice"))).go(requests)
        ended = one.ended
        finish(world, steps.note_step(world.client("bob"), "one", "said"))
        if reopened:
            finish(world, steps.reopen_step(world.client("bob"), "one"))
        one.go(STEPS_MAX)
        refused += one.refused
        chains, broken = oracles.read_chains(world.store)
        assert not broken
        if one.refused:
            continue
        version = next(v for v in chains.versions["step/two"] if v.txn and v.events)
        looked = version.events[0].body["seen"]["one"]
        assert looked == version.txn["slots"]["step/one"]
        assert chains.states["step/one"][looked - 1].state == "complete"
        if ended:
            break
    assert (refused > 3) == reopened


@pytest.mark.parametrize("key", [None, "my-key"])
def test_an_expectation_is_judged_by_what_the_store_has(key):
    """Alice remembers version 1, and was told of version 2."""
    world = filled()
    alice = warm(world, "alice")
    finish(world, memory.set_value(world.client("bob"), "b", 7, value_type="json"))
    txn = Transaction(alice)
    txn.memory_incr("a", 1)
    txn.memory_set("b", 8, if_version=2)
    assert [row.value for row in finish(world, txn.protocol(key))] == [51, 8]


def test_two_processes_under_one_key_apply_a_transaction_once():
    for requests in range(1, 16):
        world = filled()
        one, two = (Walker(world, transfer_of(warm(world, "alice"), "my-key")) for _ in "12")
        one.go(requests)
        two.go(STEPS_MAX)
        one.go(STEPS_MAX)
        assert not one.refused
        assert not two.refused
        assert [row.value for row in one.result] == [row.value for row in two.result] == [49, 51]
        reader = world.client("reader")
        assert [finish(world, memory.get_value(reader, key)).value for key in "ab"] == [49, 51]


@pytest.mark.parametrize("keys", [("a",), ("a", "b")])
def test_a_transaction_that_only_reads_tells_the_newest(keys):
    world = filled()
    alice = warm(world, "alice")
    finish(world, memory.set_value(world.client("bob"), "a", 7, value_type="json"))
    txn = Transaction(alice)
    for key in keys:
        txn.memory_get(key)
    assert finish(world, txn.protocol())[0].value == 7


def committed(world, key):
    """Return the newest version of a key, by an oracle of its own."""
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    return chains.versions[ChainId(f"memory/{key}")][-1]


def transfer_of(client, key=None):
    txn = Transaction(client)
    txn.memory_incr("a", -1)
    txn.memory_incr("b", 1)
    return txn.protocol(key)


@pytest.mark.parametrize("pause_s", [1, EVENT_AGE_MAX_S + 60])
def test_no_slot_of_a_transaction_is_tried_with_old_events(pause_s):
    world = filled()
    alice = warm(world, "alice")
    finish(world, memory.set_value(alice, "c", "by now the store's clock is known"))
    walker = Walker(world, transfer_of(alice))
    while not isinstance(walker.waiting[0], Keep):
        walker.go(1)
    world.now_us += round(pause_s * 1e6)
    walker.go(STEPS_MAX)
    # By then it has gone on for longer than it may, so it is refused, and nothing is written.
    assert walker.refused == (pause_s > EVENT_AGE_MAX_S)
    for key in ("a", "b"):
        version = committed(world, key)
        for event in version.events:
            age_us = parse_us(version.stored) - parse_us(event.at)
            assert age_us <= EVENT_AGE_MAX_S * 1e6


@pytest.mark.parametrize("off_s", [-3600, 600])
def test_a_transaction_by_a_wrong_clock_is_stamped_anew(off_s):
    world = filled()
    client = world.client("wrong")
    client.clock = HybridClock(lambda: world.now_us + round(off_s * 1e6))
    finish(world, transfer_of(client))
    for key in ("a", "b"):
        version = committed(world, key)
        for stamp in (version.at, *(event.at for event in version.events)):
            assert abs(parse_us(version.stored) - parse_us(stamp)) < AHEAD_TRUSTED_US


def test_a_transaction_by_a_clock_that_was_set_wrong_since_is_stamped_anew():
    world = filled()
    client, off_us = world.client("wrong"), 0
    client.clock = HybridClock(lambda: world.now_us + off_us)
    finish(world, memory.set_value(client, "c", "by now the store's clock is known"))
    # Whatever it remembers of the machine's clock was set with it, as when a container thaws.
    off_us, client.epoch_us = round(600e6), client.epoch_us + round(600e6)
    assert client.knows_offset()
    finish(world, transfer_of(client))
    for key in ("a", "b"):
        version = committed(world, key)
        for stamp in (version.at, *(event.at for event in version.events)):
            assert abs(parse_us(version.stored) - parse_us(stamp)) < AHEAD_TRUSTED_US


@pytest.mark.parametrize("stored", [True, False])
def test_the_key_of_an_unknown_transaction_applies_it_once(stored):
    """Its creates are not answered, and the store cannot be asked for a while."""
    world = filled()
    alice = warm(world, "alice")
    reply, cut = world.reply, []

    def answer(step):
        if isinstance(step, Create) or cut:
            if stored and isinstance(step, Create):
                reply(step)
            cut.append(True)
            world.now_us += 5_000_000
            lost = isinstance(step, Create)
            return Created(Outcome.UNKNOWN, cause="gone") if lost else StoreUnreachable("gone")
        return reply(step)

    world.reply = answer
    unknown = finish(world, transfer_of(alice))
    world.reply = reply
    assert isinstance(unknown, OutcomeUnknown)
    world.now_us += 60_000_000
    finish(world, memory.incr_value(world.client("bob"), "a", 0))
    for name in ("alice", "alice"):
        txn = Transaction(world.client(name))
        txn.memory_incr("a", -1)
        txn.memory_incr("b", 1)
        finish(world, txn.protocol(unknown.details["id_key"]))
    assert [finish(world, memory.get_value(alice, key)).value for key in "ab"] == [49, 51]
