"""Two clients under one idempotency key, at every interleaving with few switches.

Random schedules seldom put two clients at the same request of the same command; here nothing is
drawn: every way of running a requests of one client, b of the other, and then the rest is tried.
"""

import pytest

from tclog.chain.client import Client
from tclog.chain.drive import answer
from tclog.chain.heads import MemoryHeads
from tclog.clock import HybridClock
from tclog.errors import Refused
from tclog.log import claims, inbox, memory, steps
from tclog.store.memory import MemoryStore
from tclog.testing import oracles

BEGIN_US = 1_800_000_000_000_000
REQUESTS_MAX = 40


class World:
    """One store, a clock that moves with every request, and clients of it."""

    def __init__(self):
        self.now_us = BEGIN_US
        self.store = MemoryStore(lambda: self.now_us)
        self.nonces = 0

    def nonce(self):
        self.nonces += 1
        return f"{self.nonces:032x}"

    def client(self, agent, heads=None):
        return Client(
            agent,
            session="s",
            host="h",
            software="simulation",
            clock=HybridClock(lambda: self.now_us),
            heads=heads or MemoryHeads(),
            nonce=self.nonce,
            jitter=lambda: 0.5,
            monotonic_s=lambda: self.now_us / 1e6,
        )

    def reply(self, step):
        self.now_us += 1000
        if type(step) is tuple:
            return [answer(one, self.store, lambda seconds: None) for one in step]
        return answer(step, self.store, lambda seconds: None)


class Running:
    """A protocol that is carried on a few requests at a time."""

    def __init__(self, world, protocol):
        self.world, self.protocol = world, protocol
        self.result, self.ended, self.reply = None, False, None

    def go(self, requests):
        for _ in range(requests):
            if self.ended:
                return self
            try:
                step = self.protocol.send(self.reply)
                self.reply = self.world.reply(step)
            except StopIteration as end:
                self.result, self.ended = end.value, True
            except Refused as refused:
                self.result, self.ended = refused, True
        return self


def switches(ended):
    """Yield how many requests each client makes before the other goes on, up to the whole."""
    for a in range(REQUESTS_MAX):
        for b in range(REQUESTS_MAX):
            yield a, b
            if ended[1]:
                break
        if ended[0]:
            return
    raise AssertionError("a command needs more requests than are tried")


COMMANDS = {
    "incr": lambda c: memory.incr_value(c, "n", id_key="my-key"),
    "guarded": lambda c: memory.set_value(c, "n", "1", if_version=0, id_key="my-key"),
    "send": lambda c: inbox.send_message(c, "carol", "hi", id_key="my-key"),
    "claim": lambda c: claims.claim_step(c, "build", lease_s=60, id_key="my-key"),
    "note": lambda c: steps.note_step(c, "build", "said", id_key="my-key"),
}


@pytest.mark.parametrize("before", ["empty", "busy", "remembered"])
@pytest.mark.parametrize("heads", ["own", "shared"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_key_applies_once_at_every_interleaving(name, heads, before):
    ended = [False, False]
    for a, b in switches(ended):
        world = World()
        shared = MemoryHeads() if heads == "shared" else None
        first, second = world.client("alice", shared), world.client("alice", shared)
        if before != "empty":
            prepare(world, [world.client("bob")] + [first, second] * (before == "remembered"))
        one = Running(world, COMMANDS[name](first)).go(a)
        ended[0] = one.ended
        other = Running(world, COMMANDS[name](second)).go(b)
        ended[1] = other.ended
        one.go(1000)
        other.go(1000)
        chains, broken = oracles.read_chains(world.store)
        assert not broken
        keyed = [
            event.id
            for versions in chains.versions.values()
            for version in versions
            for event in version.events
            if event.key == "my-key"
        ]
        refused = name == "guarded" and before != "empty"
        assert len(keyed) == (0 if refused else 1), (a, b)
        assert type(one.result) is type(other.result), (a, b, one.result, other.result)


def prepare(world, clients):
    """Give each chain a version by each client, so that each of them remembers a head."""
    for client in clients:
        for protocol in (
            memory.incr_value(client, "n"),
            inbox.send_message(client, "carol", "before"),
            steps.note_step(client, "build", "before"),
        ):
            Running(world, protocol).go(1000)
