"""Clients whose requests are interleaved by hand: nothing is drawn, every way is tried.

Each check here returns the promises that were broken, so that a test can ask for none, and a
planted bug for some.
"""

from tclog.chain.client import Client
from tclog.chain.drive import answer
from tclog.chain.heads import MemoryHeads
from tclog.chain.read import read_head
from tclog.clock import HybridClock
from tclog.errors import Damaged, Refused
from tclog.event import chain_id, decode, digest, encode, slot_key
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

    def run(self, protocol):
        return Running(self, protocol).go(1000).result


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
            except (Refused, Damaged) as error:
                self.result, self.ended = error, True
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
    "incr": lambda c: memory.incr_value(c, "n", id="my-key"),
    "guarded": lambda c: memory.set_value(c, "n", "1", if_version=0, id="my-key"),
    "send": lambda c: inbox.send_message(c, "carol", "hi", id="my-key"),
    "claim": lambda c: claims.claim_step(c, "build", lease_s=60, id_key="my-key"),
    "note": lambda c: steps.note_step(c, "build", "said", id="my-key"),
}
HEADS = ("own", "shared")
BEFORE = ("empty", "busy", "remembered")


def check_key(name, heads, before):
    """Run two clients under one idempotency key at every interleaving; yield what was broken."""
    ended = [False, False]
    for a, b in switches(ended):
        world = World()
        shared = MemoryHeads() if heads == "shared" else None
        first, second = world.client("alice", shared), world.client("alice", shared)
        if name == "note":
            world.run(steps.add_step(world.client("bob"), "build"))
        if before != "empty":
            prepare(world, [world.client("bob")] + [first, second] * (before == "remembered"))
        one = Running(world, COMMANDS[name](first)).go(a)
        ended[0] = one.ended
        other = Running(world, COMMANDS[name](second)).go(b)
        ended[1] = other.ended
        one.go(1000)
        other.go(1000)
        yield from judge(world, name, before, (one, other), (a, b))


def judge(world, name, before, both, requests):
    chains, broken = oracles.read_chains(world.store)
    yield from broken
    keyed = [
        event.id
        for versions in chains.versions.values()
        for version in versions
        for event in version.events
        if event.key == "my-key"
    ]
    expected = 0 if name == "guarded" and before != "empty" else 1
    if len(keyed) != expected:
        yield f"{name} applied {len(keyed)} times, not {expected}, switching after {requests}"
    results = [running.result for running in both]
    if type(results[0]) is not type(results[1]):
        yield f"{name} answered {results} under one key, switching after {requests}"


def prepare(world, clients):
    """Give each chain a version by each client, so that each of them remembers a head."""
    for client in clients:
        for protocol in (
            memory.incr_value(client, "n"),
            inbox.send_message(client, "carol", "before"),
            steps.add_step(client, "build"),
            steps.note_step(client, "build", "before"),
        ):
            world.run(protocol)


def check_keys():
    """Try all commands at all interleavings."""
    for name in COMMANDS:
        for heads in HEADS:
            for before in BEFORE:
                yield from check_key(name, heads, before)


def check_tampering():
    """Replace a version by another sound one; whoever reads the next must notice."""
    chain = chain_id("memory", "k")
    for last, replaced in ((2, 1), (3, 2), (4, 2)):
        world = World()
        alice = world.client("alice")
        for number in range(1, last + 1):
            world.run(memory.set_value(alice, "k", f"value {number}"))
            if number == replaced - 1:
                reader = world.client("bob")
                world.run(read_head(reader, chain))
        record = decode(world.store.get(slot_key(chain, replaced)).data, "version")
        record["by"] = "mallory"
        del record["sum"]
        record["sum"] = digest(encode(record))
        world.store.put(slot_key(chain, replaced), encode(record))
        clients = [world.client("carol")] + ([reader] if replaced > 1 else [])
        for client in clients:
            seen = world.run(memory.read_history(client, "k"))
            if not isinstance(seen, Damaged):
                yield f"version {replaced} of {last} was replaced, and nobody noticed"
        # This one knows the version before, and goes forward one by one.
        if replaced > 1 and not isinstance(world.run(read_head(reader, chain)), Damaged):
            yield f"version {replaced} of {last} was replaced, and a reader went past it"


def check_circles():
    """Two close a circle from both sides; who repeats under a key is answered as at first."""
    for a in range(1, 12):
        for b in range(1, 12):
            for more in range(1, 12):
                world = World()
                one = Running(world, _after(world.client("alice"), "s", "t")).go(a)
                two = Running(world, _after(world.client("bob"), "t", "s")).go(b)
                one.go(more)
                two.go(1000)
                one.go(1000)
                again = world.run(_after(world.client("alice"), "s", "t"))
                if isinstance(again, Refused) != isinstance(one.result, Refused):
                    yield f"first {one.result}, then {again}, switching after {a}, {b}, {more}"


def _after(client, step, other):
    return steps.add_step(client, step, after=[other], id="my-key")
