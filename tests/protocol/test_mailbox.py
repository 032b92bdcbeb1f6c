"""Inboxes: what is read and counted after acknowledgements, and messages to several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tclog.chain.read import read_head
from tclog.chain.seal import merge_of
from tclog.errors import BadValue, NotFound, OutcomeUnknown, UsageError
from tclog.event import ALL, slot_key
from tclog.log.inbox import Mailbox, acknowledge, read_inbox, send_message
from tclog.log.transactions import Transaction
from tclog.store.base import Created, Get, Outcome

from .world import World


@pytest.fixture
def world() -> World:
    return World()


def send(world: World, agent: str, to: str, text: str, **options: Any) -> None:
    world.run(send_message(world[agent], to, text, **options))


def mailbox(world: World, agent: str = "carol", *, everything: bool = False) -> Mailbox:
    return world.run(read_inbox(world[agent], everything=everything))


def texts(found: Mailbox) -> list[tuple[int, str, bool]]:
    return [(message.n, message.text, message.unread) for message in found.messages]


@pytest.fixture
def filled(world: World) -> World:
    """Give an inbox with more messages than versions: it took in three broadcasts at once."""
    for text in ("b1", "b2", "b3"):
        send(world, "alice", "@all", text)
    for text in ("m4", "m5"):
        send(world, "bob", "carol", text)
    return world


def test_a_mailbox_says_how_many_messages_there_are_and_which_version_it_is_of(
    filled: World,
) -> None:
    expected = [(1, "b1"), (2, "b2"), (3, "b3"), (4, "m4"), (5, "m5")]
    found = mailbox(filled)
    assert texts(found) == [(n, text, True) for n, text in expected]
    assert (found.total, found.version) == (5, 2)
    filled.run(acknowledge(filled["carol"], found))
    # Also where nothing is unread.
    for agent in (filled["carol"], filled.client("carol")):
        empty = filled.run(read_inbox(agent))
        assert (texts(empty), empty.total, empty.version) == ([], 5, 2)
        whole = filled.run(read_inbox(agent, everything=True))
        assert texts(whole) == [(n, text, False) for n, text in expected]
        assert (whole.total, whole.version) == (5, 2)
    # And after the next message.
    send(filled, "bob", "carol", "m6")
    assert texts(mailbox(filled)) == [(6, "m6", True)]
    assert texts(mailbox(filled, everything=True))[0] == (1, "b1", False)
    assert len(mailbox(filled, everything=True).messages) == 6


def test_what_was_acknowledged_is_not_read_again(filled: World) -> None:
    """Reading goes on from the version up to which all is acknowledged."""
    filled.run(acknowledge(filled["carol"], mailbox(filled)))
    send(filled, "bob", "carol", "m6")
    filled.asked.clear()
    mailbox(filled)
    slots = [s.key for s in filled.asked if isinstance(s, Get) and "chains/inbox/carol" in s.key]
    assert not [key for key in slots if key.endswith("/9999999998.json")]


def test_one_that_was_left_out_stays_unread_however_many_come_after_it(filled: World) -> None:
    for number in (1, 2, 4, 5):
        filled.run(acknowledge(filled["carol"], number))
    assert texts(mailbox(filled)) == [(3, "b3", True)]
    send(filled, "bob", "carol", "m6")
    assert texts(mailbox(filled)) == [(3, "b3", True), (6, "m6", True)]
    filled.run(acknowledge(filled["carol"], 3))
    assert texts(mailbox(filled)) == [(6, "m6", True)]


def test_an_agent_is_not_shown_its_own_broadcast_as_unread(filled: World) -> None:
    send(filled, "bob", "alice", "for alice")
    found = mailbox(filled, "alice")
    assert texts(found) == [(4, "for alice", True)]
    assert list(found.own) == [1, 2, 3]
    filled.run(acknowledge(filled["alice"], found))
    assert texts(mailbox(filled, "alice")) == []
    assert not any(unread for _, _, unread in texts(mailbox(filled, "alice", everything=True)))


def test_a_message_keeps_what_it_is_about(world: World) -> None:
    send(world, "alice", "carol", "look", step="build", reply_to="abc123")
    (message,) = mailbox(world).messages
    assert (message.step, message.reply_to, message.sender) == ("build", "abc123", "alice")


@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("stored", [True, False])
def test_a_message_to_several_whose_first_slot_is_unknown_can_be_repeated(
    world: World, before: int, stored: bool
) -> None:
    """Under the key in the hint, which has to look back far enough in each inbox."""
    for nth in range(before):
        send(world, "bob", "carol", f"{nth}")
    shipped = world.store.create

    def create(key: str, data: bytes) -> Created:
        if key.startswith("chains/inbox/carol"):
            if stored:
                shipped(key, data)
            return Created(Outcome.UNKNOWN, cause="no answer")
        return shipped(key, data)

    got = world.store.get
    world.store.create = create  # type: ignore[method-assign]
    world.store.get = lambda key: None if _is_next(key, before) else got(key)  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown) as unknown:
        send(world, "alice", "carol,dan", "to two")
    world.store.create, world.store.get = shipped, got  # type: ignore[method-assign]
    key = unknown.value.details["id_key"]
    assert key in unknown.value.hint
    for _ in range(2):
        send(world, "alice", "carol,dan", "to two", id=key)
        for agent in ("carol", "dan"):
            told = [text for _, text, _ in texts(mailbox(world, agent, everything=True))]
            assert told.count("to two") == 1


def _is_next(key: str, before: int) -> bool:
    return key == f"chains/inbox/carol/{9_999_999_998 - before:010d}.json"


def test_a_message_to_several_that_died_between_two_inboxes_can_be_repeated(world: World) -> None:
    for nth in range(3):
        send(world, "bob", "dan", f"{nth}")
    shipped = world.store.create

    def create(key: str, data: bytes) -> Created:
        if key.startswith("chains/inbox/dan"):
            return Created(Outcome.UNKNOWN, cause="no answer")
        return shipped(key, data)

    world.store.create = create  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown) as unknown:
        send(world, "alice", "carol,dan,eve", "to three")
    world.store.create = shipped  # type: ignore[method-assign]
    for _ in range(2):
        send(world, "alice", "carol,dan,eve", "to three", id=unknown.value.details["id_key"])
    for agent in ("carol", "dan", "eve"):
        told = [text for _, text, _ in texts(mailbox(world, agent, everything=True))]
        assert told.count("to three") == 1


@pytest.mark.parametrize("before", [0, 2])
def test_a_message_of_a_transaction_comes_after_what_was_broadcast_before_it(
    world: World, before: int
) -> None:
    for nth in range(before):
        send(world, "bob", "carol", f"m{nth}")
    send(world, "alice", "@all", "to all")
    both = Transaction(world["bob"])
    both.message_send("carol", "together")
    both.memory_set("k", "v")
    world.run(both.protocol(None))
    told = [(n, text) for n, text, _ in texts(mailbox(world))]
    assert told[before:] == [(before + 1, "to all"), (before + 2, "together")]
    assert len(told) == before + 2


def test_an_empty_inbox_has_no_message_and_no_version(world: World) -> None:
    for everything in (False, True):
        found = mailbox(world, everything=everything)
        assert (list(found.messages), list(found.own), found.total, found.version) == ([], [], 0, 0)


def test_a_transaction_reopens_no_step_that_nobody_has_mentioned(world: World) -> None:
    one = Transaction(world["alice"])
    one.step_reopen("absent")
    with pytest.raises(NotFound):
        world.run(one.protocol(None))
    assert not world.store.list("chains/step", "", 10, False)


def test_one_message_is_acknowledged_by_the_beginning_of_its_id(filled: World) -> None:
    carol = filled["carol"]
    ids = {message.text: message.id for message in mailbox(filled).messages}
    done = filled.run(acknowledge(carol, message=ids["m4"][:12].upper()))
    assert (done.n, done.text, done.id) == (4, "m4", ids["m4"])
    assert [n for n, _, unread in texts(mailbox(filled, everything=True)) if not unread] == [4]
    for short in (ids["m4"][:3], "0" * 12):
        with pytest.raises(NotFound):
            filled.run(acknowledge(carol, message=short))


def test_a_text_that_no_record_can_hold_is_refused_before_anything_is_written(
    world: World,
) -> None:
    with pytest.raises(BadValue):
        send(world, "alice", "bob", "half of a pair: \ud83d")
    with pytest.raises(BadValue):
        send(world, "alice", "bob", "hi", reply_to="\ud83d")
    assert not world.store._objects


@pytest.mark.parametrize("text", ["r" * 200, "é" * 100])
def test_what_a_message_answers_is_named_by_at_most_200_bytes(world: World, text: str) -> None:
    send(world, "alice", "carol", "look", reply_to=text)
    with pytest.raises(UsageError) as wrong:
        send(world, "alice", "carol", "look", reply_to=f"{text}x")
    assert wrong.value.code == "bad-value"
    assert [message.reply_to for message in mailbox(world).messages] == [text]


@pytest.mark.parametrize("junk", [1, 2, 3, 4])
def test_broadcasts_beside_one_that_is_junk_by_now_are_read(world: World, junk: int) -> None:
    """Carol's inbox took all four in; three are there still, under their numbers."""
    for nth in range(1, 5):
        send(world, "alice", "@all", f"all {nth}")
    send(world, "bob", "carol", "direct")
    world.store.put(slot_key(ALL, junk), b"junk")
    carol = world.client("carol")
    found = world.run(read_inbox(carol, everything=True))
    left = [n for n in range(1, 5) if n != junk]
    assert [(m.n, m.text) for m in found.messages] == [
        *((n, f"all {n}") for n in left),
        (5, "direct"),
    ]
    assert ALL in carol.left_out


@pytest.mark.parametrize(
    ("version", "count", "taken"), [(0, 0, 2), (1, 1, 1), (1, 2, 0), (1, 5, 0), (2, 2, None)]
)
def test_a_version_takes_in_the_broadcasts_that_its_inbox_lacks(
    world: World, version: int, count: int, taken: int | None
) -> None:
    """None is taken in again where an inbox has counted more than there are by now."""
    for text in ("b1", "b2"):
        send(world, "alice", "@all", text)
    state = SimpleNamespace(all_version=version, all_count=count)
    merge = merge_of(state, world.run(read_head(world["carol"], ALL)))
    if taken is None:
        assert merge is None
    else:
        expected = {"after": version, "chain": ALL, "count": 2, "taken": taken, "through": 2}
        assert merge == expected
    assert merge_of(state, None) is None
