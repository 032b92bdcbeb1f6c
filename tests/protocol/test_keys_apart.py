"""Idempotency keys belong to their agent; bindings that lie, and undecided creates."""

from __future__ import annotations

from typing import Any

import pytest

from tclog.chain import append
from tclog.errors import Damaged, OutcomeUnknown
from tclog.event import decode, encode
from tclog.log.inbox import read_inbox, send_message
from tclog.log.memory import get_value, incr_value
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Created, Outcome, Put

from .world import World


@pytest.fixture
def world() -> World:
    return World()


def count(world: World, agent: str, key: str | None = "k") -> int:
    return world.run(incr_value(world[agent], "n", 1, id=key)).value


def texts(world: World, agent: str) -> list[str]:
    mailbox = world.run(read_inbox(world.client(agent), everything=True))
    return sorted(message.text for message in mailbox.messages)


def test_two_agents_may_use_one_key(world: World) -> None:
    assert [count(world, agent) for agent in ("alice", "bob", "alice", "bob")] == [1, 2, 1, 2]
    assert world.run(get_value(world.client("carol"), "n")).value == 2


@pytest.mark.parametrize("first", ["bob", "alice"])
def test_a_key_that_another_uses_at_the_same_time_is_his_own(world: World, first: str) -> None:
    """The other commits between the look for the key and the slot."""
    count(world, "carol", None)

    def rival(step: Any) -> None:
        if isinstance(step, Create) and step.key.startswith("chains/memory/n"):
            world.before = lambda _: None
            count(world, first)

    world.before = rival
    world.client("alice")
    found = count(world, "alice")
    assert found == (3 if first == "bob" else 2)
    assert count(world, "bob") == (2 if first == "bob" else 3)
    assert count(world, "alice") == found


@pytest.mark.parametrize(("other", "messages"), [("bob", 2), ("alice", 1)])
def test_in_a_crowd_a_key_is_its_agents_own_too(
    world: World, monkeypatch: pytest.MonkeyPatch, other: str, messages: int
) -> None:
    """One sender commits what both have announced; an agent's two processes count once."""
    monkeypatch.setattr(append, "_is_hot", lambda *_: True)
    for agent in ("alice", "bob"):
        world.run(send_message(world[agent], "dan", "knows the time now"))
    alice = world["alice"]
    rival = world["bob"] if other == "bob" else world.client("alice")

    def meanwhile(step: Any) -> None:
        if not (isinstance(step, Put) and step.key.startswith("pending/")):
            world.before = lambda _: None
            world.run(send_message(rival, "carol", "hello", id="k"))

    def announced(step: Any) -> None:
        if isinstance(step, Put) and step.key.startswith("pending/"):
            world.before = meanwhile

    world.before = announced
    world.run(send_message(alice, "carol", "hello", id="k"))
    assert texts(world, "carol") == ["hello"] * messages


@pytest.mark.parametrize(
    "lie",
    [{"chain": "memory/other"}, {"chain": None}, {"after": ...}, {"chain": ..., "after": ...}],
)
def test_a_binding_that_is_none_is_damage(world: World, lie: dict[str, Any]) -> None:
    count(world, "alice")
    (entry,) = world.store.list("once", "", 10, False)
    found = world.store.get(entry.key)
    assert found is not None
    record = decode(found.data, entry.key) | lie
    world.store.put(entry.key, encode({k: v for k, v in record.items() if v is not ...}))
    with pytest.raises(Damaged) as damage:
        count(world, "alice")
    assert entry.key in damage.value.message


def test_a_binding_that_is_no_record_is_damage(world: World) -> None:
    count(world, "alice")
    (entry,) = world.store.list("once", "", 10, False)
    world.store.put(entry.key, b"[]")
    with pytest.raises(Damaged):
        count(world, "alice")


class Undecided:
    """Answers each create of a slot with "unknown", and stores nothing, for some time."""

    def __init__(self, world: World, lasts_s: float) -> None:
        self.until_s = world.now_s + lasts_s
        self.creates = 0
        shipped = world.store.create

        def create(key: str, data: bytes) -> Created:
            if key.startswith("chains/"):
                self.creates += 1
                if world.now_s < self.until_s:
                    return Created(Outcome.UNKNOWN, cause="no answer")
            return shipped(key, data)

        world.store.create = create  # type: ignore[method-assign]


def test_an_undecided_create_is_pursued_for_seconds_not_in_a_moment(world: World) -> None:
    count(world, "carol", None)
    undecided = Undecided(world, lasts_s=6)
    assert count(world, "alice", None) == 2
    # Nor is the store asked as fast as it can answer.
    assert undecided.creates < 20


def test_what_stays_undecided_is_unknown_and_repeated_under_its_key_applies_once(
    world: World,
) -> None:
    began_s = world.now_s
    Undecided(world, lasts_s=60)
    with pytest.raises(OutcomeUnknown) as unknown:
        count(world, "alice", None)
    assert 10 <= world.now_s - began_s < 15
    world.clock.pass_s(60)
    key = unknown.value.details["id_key"]
    assert [count(world, "alice", key) for _ in range(2)] == [1, 1]


def transfer(world: World, client: Any, *changes: tuple[str, int]) -> list[int]:
    both = Transaction(client)
    for key, by in changes:
        both.memory_incr(key, by)
    return [done.value for done in world.run(both.protocol("k"))]


@pytest.mark.parametrize("there", [("q", "r"), ("q", "p"), ("q", "p", "r")])
def test_a_transactions_key_is_one_of_its_first_chain(world: World, there: tuple[str, ...]) -> None:
    """Another process commits one that is about ``q`` too, before the slots of this one."""

    def rival(step: Any) -> None:
        if isinstance(step, Create) and step.key.startswith("chains/memory/"):
            world.before = lambda _: None
            assert transfer(world, world.client("alice"), ("p", -1), ("q", 1)) == [-1, 1]

    world.before = rival
    mine = [(key, 100) for key in there]
    found = transfer(world, world["alice"], *mine)
    assert found == [100 + {"p": -1, "q": 1}.get(key, 0) for key in there]
    assert world.run(get_value(world.client("carol"), there[0])).value == found[0]
    assert transfer(world, world.client("alice"), *mine) == found
