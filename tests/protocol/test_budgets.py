"""How many store requests each operation costs, and that it does not depend on what there is.

The table of requests in the documentation: counted at the store's verbs, and once at the sockets,
where also what a client library does by itself would show.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from support.stores import Counting

import tclog
from tclog.chain.drive import answer, run
from tclog.errors import WaitTimeout
from tclog.log.claims import claim_step
from tclog.log.inbox import read_inbox, send_message
from tclog.log.project import create_project
from tclog.store.base import Created, Outcome
from tclog.store.memory import MemoryStore

from .conftest import make_site

LENGTHS = pytest.mark.parametrize("length", [1, 300])
CLAIM = {"put": 1, "create": 1}
SET = {"put": 1, "create": 1}
COLD = {"list": 1, "get": 1}


class Site:
    """A project in memory, whose requests are counted."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = Counting(store or MemoryStore())
        self.project = run(create_project("default", "0" * 32, 0), self.store)

    def log(self, agent: str) -> tclog.Log:
        """Open a log that knows nothing yet."""
        return tclog.Log(self.store, self.project, agent=agent)

    def cost(self, act: Callable[[], Any]) -> dict[str, int]:
        """Count the requests of each verb that an operation makes."""
        self.store.clear()
        act()
        return dict(self.store.count())

    def rounds(self, protocol: Any, *, refused: bool = False) -> list[Counter[str]]:
        """Run a protocol, which may be refused; return what goes out together, round by round."""
        seen: list[Counter[str]] = []
        reply: Any = None
        while True:
            try:
                step = protocol.send(reply)
            except StopIteration:
                return seen
            except tclog.Refused:
                assert refused
                return seen
            steps = step if type(step) is tuple else (step,)
            seen.append(Counter(type(one).__name__.lower() for one in steps))
            replies = [answer(one, self.store, lambda _: None) for one in steps]
            reply = replies if type(step) is tuple else replies[0]


@pytest.fixture
def site() -> Site:
    return Site()


@LENGTHS
def test_claim_of_a_fresh_step(site: Site, length: int) -> None:
    bob = site.log("bob")
    for index in range(length):
        bob.steps.claim(f"other-{index}")
    for log in (bob, site.log("alice")):
        assert site.cost(lambda log=log: log.steps.claim(f"of-{log.agent}")) == CLAIM


class Untold(MemoryStore):
    """A store that does not tell the stamp of what it was given, like a bucket."""

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)


@pytest.mark.parametrize("told", [True, False])
def test_a_claim_that_is_lost_and_one_that_takes_over(told: bool) -> None:
    """Who is refused writes one event; all that a refusal needs is asked for at once."""
    now_us = 1_800_000_000_000_000
    clock: Callable[[], int] = lambda: now_us  # noqa: E731
    site = Site(MemoryStore(clock) if told else Untold(clock))
    for name in ("of-alice", "of-bob"):
        site.log(name[3:]).steps.claim(name)
    alice, bob = site.log("alice"), site.log("bob")
    bob.memory.set("key", "value")  # by now the store's clock is known
    alice.steps.claim("design", lease_s=60)

    def look(log: tclog.Log) -> list[Counter[str]]:
        return site.rounds(claim_step(log.client, "design", lease_s=60), refused=True)

    looked = Counter(get=2) if told else Counter(get=2, stat=1)
    lost = [Counter(keep=1), Counter(create=1), looked]
    assert look(bob) == lost
    # Who knows that it is held has no event whose stamp could tell that it still is.
    asked = [Counter(keep=1)] if told else [Counter(keep=1), Counter(stat=1)]
    assert look(bob) == [*asked, Counter(get=1)]
    # A lease that was over when the call began is taken over, by the stamp of the takeover itself.
    now_us += 61_000_000
    carol = site.log("carol")
    carol.memory.set("key", "value")
    assert look(carol) == [*lost, *asked, Counter(create=1)]
    taken = alice.steps.show("design")
    assert (taken.agent, taken.fence) == ("carol", 2)


def test_who_loses_a_claim_to_one_that_was_given_back_goes_on(site: Site) -> None:
    """What follows the winner is asked for beside it, and counts."""
    alice = site.log("alice")
    alice.steps.claim("design")
    alice.steps.release("design")
    bob = site.log("bob")
    spent = site.cost(lambda: bob.steps.claim("design"))
    assert spent == {"put": 1, "create": 2, "get": 3}
    assert bob.steps.show("design").fence == 3


class Hurried(MemoryStore):
    """A store in which others are quicker by one create, whose answer is then lost."""

    others: Callable[[], Any] | None = None

    def create(self, key: str, data: bytes) -> Created:
        if self.others is None or not key.endswith("/9999999997.json"):
            return super().create(key, data)
        act, self.others = self.others, None
        act()
        return Created(Outcome.UNKNOWN, cause="no answer")


def test_what_was_asked_beside_one_winner_says_nothing_of_the_next() -> None:
    now_us = 1_800_000_000_000_000
    store = Hurried(lambda: now_us)
    site = Site(store)
    alice, bob, carol = (site.log(name) for name in ("alice", "bob", "carol"))
    alice.steps.claim("design", lease_s=60)
    now_us += 61_000_000

    def take_and_give_back() -> None:
        bob.steps.claim("design", lease_s=60)
        bob.steps.release("design")

    store.others = take_and_give_back
    # Beside alice's version nothing followed; beside bob's, whose step is free again, it does.
    assert carol.steps.claim("design", lease_s=60).fence == 4


@LENGTHS
def test_a_step_that_one_holds(site: Site, length: int) -> None:
    alice = site.log("alice")
    alice.steps.claim("design")
    for index in range(length):
        alice.steps.note("design", f"note {index}")
    # A lease runs from the store's stamp of the holder's last version: one look at that.
    held = {**SET, "stat": 1}
    assert site.cost(lambda: alice.steps.renew("design")) == held
    assert site.cost(lambda: alice.steps.note("design", "more")) == held
    assert site.cost(lambda: alice.steps.complete("design")) == held


@LENGTHS
def test_memory_set(site: Site, length: int) -> None:
    bob = site.log("bob")
    for index in range(length):
        bob.memory.set("contract", f"{index}")
    assert site.cost(lambda: bob.memory.set("contract", "warm")) == SET
    assert site.cost(lambda: bob.memory.set("contract", "warm", if_version=length + 1)) == SET
    alice = site.log("alice")
    assert site.cost(lambda: alice.memory.set("contract", "cold")) == {**SET, **COLD}
    assert site.cost(lambda: alice.memory.incr("count")) == {**SET, "list": 1}
    # A large value is one object more, before the event that names it; the answer reads it back.
    large = os.urandom(20_000).hex()
    cost = site.cost(lambda: alice.memory.set("contract", large))
    assert cost == {"put": 2, "create": 1, "get": 1}


@LENGTHS
def test_memory_get(site: Site, length: int) -> None:
    bob = site.log("bob")
    for index in range(length):
        bob.memory.incr("count", index)
    alice = site.log("alice")
    assert site.cost(lambda: alice.memory.get("count")) == COLD
    assert site.cost(lambda: alice.memory.get("count")) == {"get": 1}
    assert site.cost(lambda: bob.memory.get("count")) == {"get": 1}
    # Somebody else's change is one step forward.
    bob.memory.incr("count")
    assert site.cost(lambda: alice.memory.get("count")) == {"get": 2}
    # Many changes cost no more than a cold read and the steps that were tried.
    for _ in range(length):
        bob.memory.incr("count")
    assert sum(site.cost(lambda: alice.memory.get("count")).values()) <= 5


@LENGTHS
@pytest.mark.parametrize("broadcasts", [0, 1, 300])
def test_send(site: Site, length: int, broadcasts: int) -> None:
    bob = site.log("bob")
    for _ in range(broadcasts):
        bob.send("@all", "to everybody")
    for _ in range(length):
        bob.send("carol", "to carol")
    assert site.cost(lambda: bob.send("carol", "warm")) == {"get": 1, "put": 1, "create": 1}
    # The look for broadcasts is made beside the event's PUT: two rounds in all.
    rounds = site.rounds(send_message(bob.client, "carol", "again"))
    assert rounds == [Counter(keep=1, get=1), Counter(create=1)]
    # A broadcast has no broadcasts to look for.
    bob.send("@all", "warm now")
    assert site.cost(lambda: bob.send("@all", "one more")) == {"put": 1, "create": 1}
    cold = site.log("alice")
    assert sum(site.cost(lambda: cold.send("carol", "cold")).values()) <= 10


@LENGTHS
@pytest.mark.parametrize("broadcasts", [0, 1, 300])
def test_inbox_poll(site: Site, length: int, broadcasts: int) -> None:
    bob, carol = site.log("bob"), site.log("carol")
    for _ in range(length):
        bob.send("carol", "to carol")
    for _ in range(broadcasts):
        bob.send("@all", "to everybody")
    carol.ack(carol.inbox())
    for _ in range(2):
        assert site.cost(carol.inbox) == {"get": 2}
    assert site.rounds(read_inbox(carol.client)) == [Counter(get=2)]


def test_an_inbox_with_unread_messages_is_read_without_a_listing(site: Site) -> None:
    bob, carol = site.log("bob"), site.log("carol")
    for index in range(3):
        bob.send("carol", f"{index}")
    carol.inbox()
    # The newest version is known: it is not read again. Nothing was ever acknowledged.
    polled = [Counter(get=2), Counter(get=1), Counter(get=2)]
    assert site.rounds(read_inbox(carol.client)) == polled
    bob.send("carol", "one more")
    assert [message.text for message in carol.inbox().messages] == ["0", "1", "2", "one more"]
    # Elsewhere she acknowledges; who did not know of it finds out, once.
    other = site.log("carol")
    other.ack(other.inbox())
    assert not carol.inbox().messages
    assert site.cost(carol.inbox) == {"get": 2}


def test_polling_an_inbox_that_never_had_a_message(site: Site) -> None:
    carol = site.log("carol")
    carol.inbox()
    assert site.cost(carol.inbox) == {"get": 2}
    site.log("bob").send("carol", "at last")
    assert [message.text for message in carol.inbox().messages] == ["at last"]


@LENGTHS
def test_wait_for_one_round(site: Site, length: int) -> None:
    bob, names = site.log("bob"), ["a", "b", "c"]
    for name in names:
        bob.steps.claim(name)
        for index in range(length):
            bob.steps.note(name, f"note {index}")

    def look(log: tclog.Log) -> None:
        with pytest.raises(WaitTimeout):
            log.wait_for(*names, timeout_s=0)

    alice = site.log("alice")
    assert site.cost(lambda: look(alice)) == {"list": 3, "get": 3}
    assert site.cost(lambda: look(alice)) == {"get": 3}
    for name in names:
        bob.steps.complete(name)
    assert site.cost(lambda: alice.wait_for(*names)) == {"get": 6}


def test_waiting_for_steps_that_nobody_has_mentioned(site: Site) -> None:
    alice = site.log("alice")

    def look() -> None:
        with pytest.raises(WaitTimeout):
            alice.wait_for("a", "b", timeout_s=0)

    look()
    assert site.cost(look) == {"get": 2}
    bob = site.log("bob")
    for name in ("a", "b"):
        bob.steps.claim(name)
        bob.steps.complete(name)
    assert [step.id for step in alice.wait_for("a", "b", timeout_s=1)] == ["a", "b"]


def test_repeating_under_a_key_costs_little(site: Site) -> None:
    alice = site.log("alice")
    alice.memory.incr("count")
    first = site.cost(lambda: alice.memory.incr("count", id="my-key"))
    assert first == {"get": 2, "put": 1, "create": 2}
    for _ in range(300):
        alice.memory.incr("count")
    # It looks through the versions since the key's first use, once, and whether they are all: that
    # the version which the key names as the newest is older than the key.
    alice.memory.incr("count", id="other-key")
    assert site.cost(lambda: alice.memory.incr("count", id="other-key")) == {"get": 3, "stat": 1}


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_no_request_is_hidden(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    shared_boto3: None,
    client: str,
) -> None:
    """What the sockets see is what the table says: no HEAD, no second LIST, no redirect."""
    place = make_site(request, f"moto-{client}", monkeypatch)
    bob = place.log("bob")
    bob.send("@all", "to everybody")
    for index in range(12):
        bob.memory.set("contract", f"{index}")
        bob.send("carol", f"{index}")

    def cost(act: Callable[[], Any]) -> dict[str, int]:
        place.proxy.clear()
        act()
        return {name: count for name, count in place.proxy.count().items() if count}

    def look() -> None:
        with pytest.raises(WaitTimeout):
            carol.wait_for("first", "second", timeout_s=0)

    opened: list[tclog.Log] = []
    assert cost(lambda: opened.append(place.log("carol", via=True))) == {"GET": 1}
    carol = opened[0]
    writes = {"CREATE": 2}
    # S3 does not tell the stamp of a PUT: a clock that was never set asks for it, once.
    assert cost(lambda: carol.steps.claim("first")) == {**writes, "HEAD": 1}
    assert cost(lambda: carol.steps.claim("second")) == writes
    assert cost(lambda: carol.memory.set("contract", "cold")) == {**writes, "LIST": 1, "GET": 1}
    assert cost(lambda: carol.memory.set("contract", "warm")) == writes
    assert cost(lambda: carol.memory.get("contract")) == {"GET": 1}
    carol.ack(carol.inbox())
    assert cost(carol.inbox) == {"GET": 2}
    carol.send("bob", "cold")
    assert cost(lambda: carol.send("bob", "warm")) == {**writes, "GET": 1}
    assert cost(look) == {"GET": 2}
