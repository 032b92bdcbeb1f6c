"""An event that grew old before its slot was tried is made anew: sync looks back so far only."""

import pytest

from tclog.chain.seal import EVENT_AGE_MAX_S
from tclog.clock import parse_us
from tclog.event import event_key_parts
from tclog.log import inbox, memory
from tclog.store.base import Create, Put
from tclog.testing import oracles

from .interleaving import World


def carry_on(world, protocol, pause_s, after):
    """Run a protocol; after its nth event was put the process is stopped for a while."""
    reply, puts = None, 0
    created = {}
    while True:
        try:
            step = protocol.send(reply)
        except StopIteration as end:
            return end.value, created
        if isinstance(step, Create):
            created[step.key] = world.now_us
        reply = world.reply(step)
        steps = step if type(step) is tuple else (step,)
        if any(isinstance(one, Put) and one.key.startswith("events/") for one in steps):
            puts += 1
            if puts == after:
                world.now_us += round(pause_s * 1e6)


@pytest.mark.parametrize("pause_s", [1, EVENT_AGE_MAX_S - 10, EVENT_AGE_MAX_S + 10, 86_400])
@pytest.mark.parametrize("after", [1, 2])
def test_no_slot_is_tried_with_an_event_that_is_old(pause_s, after):
    world = World()
    client = world.client("alice")
    _, created = carry_on(world, memory.set_value(client, "k", "v"), pause_s, after)
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    (version,) = chains.versions["memory/k"]
    (key,) = created
    assert created[key] - parse_us(version.events[0].at) <= EVENT_AGE_MAX_S * 1e6
    made = [entry.key for entry in world.store.list("events", "", 10, False)]
    assert len(made) == (2 if pause_s > EVENT_AGE_MAX_S and after == 1 else 1)
    assert version.events[0].id in {event_key_parts(key)[2] for key in made}


def test_an_event_that_another_chain_holds_stays_what_it_is():
    """A message to two is one message, however long its sender was stopped between them."""
    world = World()
    client = world.client("alice")
    protocol = inbox.send_message(client, "bob,carol", "news")
    reply, created = None, 0
    while True:
        try:
            step = protocol.send(reply)
        except StopIteration:
            break
        reply = world.reply(step)
        if isinstance(step, Create):
            created += 1
            world.now_us += 86_400_000_000
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    ids = {v.events[0].id for name in ("bob", "carol") for v in chains.versions[f"inbox/{name}"]}
    assert len(ids) == 1
    assert created == 2
