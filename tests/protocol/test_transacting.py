"""Transactions beside others: what is read is of one moment, and nothing old is committed."""

from __future__ import annotations

from typing import Any

import pytest

from tclog.chain.seal import EVENT_AGE_MAX_S
from tclog.clock import SECOND_US, parse_us
from tclog.event import decode
from tclog.log.memory import get_value, set_value
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Keep

from .world import World

REQUESTS_MAX = 30


def write(world: World, value: str, keys: str) -> None:
    for key in keys:
        world.run(set_value(world["bob"], key, value))


def at_request(world: World, nth: int, act: Any) -> list[int]:
    """Let somebody act before the nth request; the list returned has an item once that was so."""
    left, done = [nth], []

    def before(step: Any) -> None:
        left[0] -= 1
        if left[0] == -1:
            world.before = lambda _: None
            act()
            done.append(nth)

    world.before = before
    return done


@pytest.mark.parametrize("keys", ["ab", "abc"])
@pytest.mark.parametrize("remembered", [False, True])
def test_what_a_transaction_only_reads_was_there_at_one_moment(keys: str, remembered: bool) -> None:
    """Bob changes all of it between two requests of alice, whichever these are."""
    for nth in range(REQUESTS_MAX):
        world = World()
        write(world, "old", keys)
        if remembered:
            for key in keys:
                world.run(get_value(world["alice"], key))
        reads = Transaction(world["alice"])
        for key in keys:
            reads.memory_get(key)
        acted = at_request(world, nth, lambda world=world: write(world, "new", keys))
        values = [one.value for one in world.run(reads.protocol(None))]
        assert values in (["old"] * len(keys), ["new"] * len(keys)), nth
        if not acted:
            assert nth > 2
            return
    raise AssertionError("a transaction needs more requests than are tried")


@pytest.mark.parametrize("pause_s", [1, EVENT_AGE_MAX_S - 10, EVENT_AGE_MAX_S + 10, 86_400])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("lost", [False, True])
def test_no_slot_is_tried_with_an_event_of_a_transaction_that_is_old(
    pause_s: int, nth: int, lost: bool
) -> None:
    """Its machine sleeps after some event was put, perhaps in a try after a lost race."""
    world, slept_s = World(), 0
    world["alice"].monotonic_s = lambda: world.now_s - slept_s
    both = Transaction(world["alice"])
    both.memory_set("a", "1")
    both.memory_set("b", "1")
    seen = 0

    def before(step: Any) -> None:
        nonlocal seen, lost, slept_s
        if type(step) is Keep and step.key.startswith("events/"):
            seen += 1
            if seen == nth:
                slept_s = pause_s
                world.clock.pass_s(pause_s)
        elif lost and type(step) is Create and step.key.startswith("chains/memory/b/"):
            lost = False
            world.run(set_value(world["bob"], "b", "mine"))

    world.before = before
    world.run(both.protocol(None))
    rows = world.store.list("chains/memory", "", 9, False)
    for row in rows:
        found = world.store.get(row.key)
        assert found is not None
        for event in decode(found.data, row.key)["events"]:
            age_us = parse_us(found.stored) - parse_us(event["at"])
            assert age_us <= (EVENT_AGE_MAX_S + 1) * SECOND_US
    assert world.run(get_value(world.client("carol"), "a")).value == "1"
    assert world.run(get_value(world.client("carol"), "b")).value == "1"
