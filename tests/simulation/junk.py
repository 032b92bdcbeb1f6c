"""Foreign objects beside the protocol: junk in slots, stray names, and versions that end junk.

Writers, readers and those who end junk are interleaved request by request, as seeds draw it.
Whoever is answered with 8 tries again. In the end everything that was acknowledged has to be there,
and all readers, warm and cold, have to see one state.
"""

import random

from simulation.interleaving import Running, World
from tclog.chain.drive import Sleep
from tclog.chain.fold import state_of
from tclog.chain.read import read_head, read_range
from tclog.chain.slots import Junk
from tclog.errors import Damaged, NotFound, Refused
from tclog.event import ALL, chain_id, slot_key, slot_seq
from tclog.log import claims, inbox, memory, steps
from tclog.maintenance.void import void
from tclog.store.base import Outcome
from tclog.testing import oracles

CHAIN = chain_id("memory", "n")
STEP = chain_id("step", "s")
TRIES_MAX = 60
ACTS_MAX = 4000
SEEDS = 40
JUNK = (b"", b"\0" * 40, b"{}", b'{"at":')
STRAYS = (".DS_Store", "._9999999998.json", "0", "00/x", "9999999999.json", "9999999997.json~")


class Actor:
    """A protocol that is carried on one request at a time; ``done`` holds what it was told."""

    def __init__(self, world, protocol):
        self.world, self.protocol, self.reply, self.ended = world, protocol, None, False

    def go(self):
        try:
            self.reply = self.world.reply(self.protocol.send(self.reply))
        except StopIteration:
            self.ended = True


def writing(client, done):
    """Increment until it is acknowledged."""
    for _ in range(TRIES_MAX):
        try:
            result = yield from memory.incr_value(client, "n")
        except Damaged:
            yield Sleep(1)
            continue
        done.append(result.id)
        return


def mending(client):
    """End the junk that is met, until none is."""
    for _ in range(TRIES_MAX):
        try:
            yield from read_head(client, CHAIN)
        except Junk as junk:
            try:
                yield from void(client, None, CHAIN, junk.seq, "simulated")
            except (Damaged, NotFound, Refused):
                yield Sleep(1)
        else:
            return


def spoiling(world, rng, times):
    """Put junk into the next free slot: as a create, for what is there was sound."""
    for _ in range(times):
        for _ in range(rng.randrange(12)):
            yield Sleep(0.001)
        keys = [entry.key for entry in world.store.list(f"chains/{CHAIN}", "", 9999, False)]
        rows = [key for key in keys if key == slot_key(CHAIN, slot_seq(key) or 1)]
        raw = rng.choice(JUNK)
        if rows and rng.random() < 0.3:
            raw = world.store.get(rows[-1]).data  # a version of another place
        world.store.create(slot_key(CHAIN, 1 + len(rows)), raw)


def check_seed(seed):
    """Run one schedule; yield what was broken."""
    rng, world = random.Random(seed), World()
    for name in STRAYS:
        if rng.random() < 0.3:
            world.store.put(f"chains/{CHAIN}/{name}", b"stray")
    clients = [world.client(name) for name in ("alice", "bob", "carol", "dave")]
    done = []
    for _ in range(rng.randrange(3)):
        world.run(writing(clients[0], done))
    for client in rng.sample(clients, 2):
        world.run(read_head(client, CHAIN))  # they still see the old world
    actors = [Actor(world, writing(client, done)) for client in clients for _ in range(2)]
    actors += [Actor(world, mending(world.client(f"m{n}"))) for n in range(rng.randint(1, 2))]
    actors.append(Actor(world, spoiling(world, rng, rng.randint(1, 3))))
    for _ in range(ACTS_MAX):
        left = [actor for actor in actors if not actor.ended]
        if not left:
            break
        rng.choice(left).go()
    last = world.client("last")
    world.run(mending(last))
    world.run(writing(last, done))
    yield from judge(world, [*clients, last, world.client("cold")], done, f"seed {seed}")


def judge(world, clients, done, where):
    """Everything acknowledged is there once, and all see one state."""
    chains, broken = oracles.read_chains(world.store, foreign=True)
    yield from (f"{where}: {one}" for one in broken)
    if broken:
        return
    events = [e for version in chains.versions.get(CHAIN, ()) for e in version.events]
    increments = [event.id for event in events if event.op == "memory.incr"]
    if len(done) < len(set(done)) or not set(done) <= set(increments):
        yield f"{where}: an acknowledged write is lost"
    seen = set()
    for client in clients:
        head = world.run(read_head(client, CHAIN))
        if head is None or isinstance(head, Exception):
            yield f"{where}: {client.agent} reads {head!r}"
            return
        seen.add((head.seq, head.id, state_of(CHAIN, head).content["value"]))
        whole = world.run(read_range(client, CHAIN, 1, head.seq))
        if isinstance(whole, Exception):
            yield f"{where}: {client.agent} cannot read the whole chain: {whole!r}"
            return
    if len(seen) != 1 or next(iter(seen))[2] != len(increments):
        yield f"{where}: readers see {seen} of {len(increments)} increments"


def check_foreign_objects():
    """Draw schedules of writers, of those who end junk, and of junk that comes between."""
    for seed in range(SEEDS):
        yield from check_seed(seed)


def check_bytes_put_back():
    """Junk was ended, and its slot holds something else later: nobody who looks goes past that."""
    for raw in ("sound", b"other junk"):
        world = World()
        alice, bob = world.client("alice"), world.client("bob")
        for _ in range(3):
            world.run(memory.incr_value(alice, "n"))
        sound = world.store.get(slot_key(CHAIN, 3)).data
        world.store.put(slot_key(CHAIN, 3), b"junk")
        world.run(void(bob, None, CHAIN, 3, "simulated"))
        world.store.put(slot_key(CHAIN, 3), sound if raw == "sound" else raw)
        for reader in (world.client("cold"), alice):
            for protocol in (read_head(reader, CHAIN), memory.read_history(reader, "n")):
                seen = world.run(protocol)
                if not isinstance(seen, Damaged):
                    yield f"{raw!r} put back: {reader.agent} reads {seen!r}"


def check_broadcasts():
    """Junk among the broadcasts: inboxes go on, and once it is ended all have the same."""
    for known in (0, 2):
        world = World()
        alice = world.client("alice")
        for nth in range(2):
            world.run(inbox.send_message(alice, "@all", f"all {nth}"))
        readers = [world.client(name) for name in ("bob", "carol")]
        for reader in readers[:known]:
            world.run(inbox.read_inbox(reader))
        world.store.create(slot_key(ALL, 3), b"")
        for nth, client in enumerate((alice, world.client("dave"))):
            sent = world.run(inbox.send_message(client, "bob,carol", f"direct {nth}"))
            if isinstance(sent, Exception):
                yield f"a message is not sent beside junk: {sent!r}"
        if not isinstance(world.run(inbox.send_message(alice, "@all", "x")), Damaged):
            yield "a broadcast goes past junk"
        world.run(void(alice, None, ALL, 3, "simulated"))
        world.run(inbox.send_message(alice, "@all", "all 2"))
        for reader in (*readers, *(world.client(name) for name in ("bob", "carol"))):
            box = world.run(inbox.read_inbox(reader, everything=True))
            texts = [message.text for message in box.messages]
            if texts != ["all 0", "all 1", "direct 0", "direct 1", "all 2"]:
                yield f"{reader.agent} has {texts}"
            if [message.n for message in box.messages] != [1, 2, 3, 4, 5]:
                yield f"{reader.agent} has the numbers {[m.n for m in box.messages]}"


def end_junk(world, client, chain, seq):
    """Put junk into a slot, and end it."""
    world.store.create(slot_key(chain, seq), b"junk")
    world.run(void(client, None, chain, seq, "simulated"))


def check_late_writers():
    """Writers that still know what was before the junk learn of all that came after it."""
    world = World()
    alice, bob = world.client("alice"), world.client("bob")
    world.run(claims.claim_step(alice, "s", lease_s=1))
    world.run(read_head(bob, STEP))
    end_junk(world, alice, STEP, 2)
    world.now_us += 60_000_000
    claimed = world.run(claims.claim_step(bob, "s"))
    if isinstance(claimed, Exception) or claimed.version != 4:
        yield f"a takeover that lost its slot to junk ends with {claimed!r}"
    for later in range(1, 7):
        world = World()
        alice, bob = world.client("alice"), world.client("bob")
        world.run(memory.set_value(alice, "n", "1"))
        world.run(read_head(bob, CHAIN))
        world.run(memory.set_value(alice, "n", "2"))
        world.run(memory.set_value(alice, "n", "3"))
        end_junk(world, alice, CHAIN, 4)
        for nth in range(later):
            world.run(memory.set_value(alice, "n", f"after {nth}"))
        refused = world.run(memory.set_value(bob, "n", "x", if_version=1))
        if refused.details["version"] != 5 + later:
            yield f"refused on an old version, of {5 + later}: {refused.message}"


def check_next_step():
    """Junk comes to the best step while another client asks for the next one: it gets the other."""
    for requests in range(1, 12):
        world = World()
        alice, bob = world.client("alice"), world.client("bob")
        world.run(steps.add_step(alice, "s", priority=1))
        world.run(steps.add_step(alice, "t"))
        asking = Running(world, claims.claim_next(bob)).go(requests)
        if world.store.create(slot_key(STEP, 2), b"junk").outcome is not Outcome.WON:
            return
        asking.go(1000)
        if getattr(asking.result, "id", None) != "t":
            yield f"after {requests} requests: {asking.result!r}"


CHECKS = {
    check.__name__: check
    for check in (
        check_foreign_objects,
        check_bytes_put_back,
        check_broadcasts,
        check_late_writers,
        check_next_step,
    )
}
