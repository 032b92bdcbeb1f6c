"""Transfers between two keys in a small world: every request of each client is a step of its own.

Nothing is drawn: the checks try every way of letting one client make a requests, the other b, and
then the rest, and every request at which a client may die. Each returns what was broken.
"""

from simulation.interleaving import World
from tclog.chain.drive import Sleep
from tclog.chain.resolve import GRACE_S
from tclog.errors import TclogError
from tclog.log import inbox, memory, steps
from tclog.log.transactions import Transaction
from tclog.testing import oracles

STEPS_MAX = 1000
SUM = 100


class Walker:
    """A protocol that is carried on request by request, also where several go out together."""

    def __init__(self, world, protocol):
        self.world, self.protocol = world, protocol
        self.result, self.ended, self.spent_us, self.steps = None, False, 0, 0
        self._advance(None)

    def _advance(self, reply):
        try:
            step = self.protocol.send(reply)
            while step == ():
                step = self.protocol.send([])
        except StopIteration as end:
            self.result, self.ended = end.value, True
        except TclogError as error:
            self.result, self.ended = error, True
        else:
            self.many = type(step) is tuple
            self.waiting, self.replies = list(step) if self.many else [step], []

    def go(self, steps):
        for _ in range(steps):
            if self.ended:
                break
            began_us, step = self.world.now_us, self.waiting.pop(0)
            if isinstance(step, Sleep):
                self.world.now_us += round(step.seconds * 1e6)
            self.replies.append(self.world.reply(step))
            if not self.waiting:
                self._advance(self.replies if self.many else self.replies[0])
            self.spent_us += self.world.now_us - began_us
            self.steps += 1
        return self

    @property
    def refused(self):
        return isinstance(self.result, TclogError)


def finish(world, protocol):
    walker = Walker(world, protocol).go(STEPS_MAX)
    assert walker.ended
    return walker.result


def transfer(client, source, target, *, key=None, guard=None):
    txn = Transaction(client)
    txn.memory_incr(source, -1)
    txn.memory_incr(target, 1)
    if guard:
        txn.memory_get(guard)
    return txn.protocol(key)


def filled():
    """Return a world with two keys that hold 50 each, and who knows them."""
    world = World()
    client = world.client("setter")
    for key in ("a", "b"):
        finish(world, memory.set_value(client, key, SUM // 2, value_type="json"))
    return world


def warm(world, name):
    client = world.client(name)
    for key in ("a", "b"):
        finish(world, memory.get_value(client, key))
    return client


def holdings(world):
    """Read both keys as a newcomer does."""
    client = world.client("reader")
    return [finish(world, memory.get_value(client, key)).value for key in ("a", "b")]


def check_store(world):
    _, broken = oracles.read_chains(world.store)
    yield from broken


def check_transfers(pairs=(("a", "b", None), ("b", "a", None)), cold=False):
    """Two transfers at once: both are told that they won, and no unit is lost or invented."""
    whole = Walker(filled(), transfer(filled().client("x"), "a", "b"))
    del whole
    for a in range(30):
        for b in range(30):
            world = filled()
            clients = [world.client(n) if cold else warm(world, n) for n in ("alice", "bob")]
            one, two = (
                Walker(world, transfer(client, source, target, guard=guard))
                for client, (source, target, guard) in zip(clients, pairs, strict=True)
            )
            one.go(a)
            two.go(b)
            one.go(STEPS_MAX)
            two.go(STEPS_MAX)
            where = f"after {a} and {b} requests"
            if one.refused or two.refused or not (one.ended and two.ended):
                yield f"{where}: {one.result} {two.result}"
            moved = sum(-1 if source == "a" else 1 for source, _, _ in pairs)
            if holdings(world) != [SUM // 2 + moved, SUM // 2 - moved]:
                yield f"{where}: {holdings(world)}"
            yield from check_store(world)
            if one.ended and one.steps <= a:
                break


def check_deaths(bound_s=GRACE_S + 1):
    """A transfer dies anywhere: it is done or not done, and stops nobody for long."""
    for died in range(40):
        for act in ("read", "incr a", "incr b", "transfer", "again"):
            world = filled()
            alice, bob = warm(world, "alice"), warm(world, "bob")
            one = Walker(world, transfer(alice, "a", "b", key="k")).go(died)
            if one.ended:
                return
            two = None
            if act.startswith("incr"):
                two = Walker(world, memory.incr_value(bob, act[-1], 1)).go(STEPS_MAX)
            elif act == "transfer":
                two = Walker(world, transfer(bob, "a", "b")).go(STEPS_MAX)
            elif act == "again":
                two = Walker(world, transfer(world.client("alice"), "a", "b", key="k"))
                two.go(STEPS_MAX)
            where = f"died after {died} requests, then {act}"
            if two is not None and (two.refused or not two.ended):
                yield f"{where}: {two.result}"
            if two is not None and two.spent_us > bound_s * 1e6:
                yield f"{where}: it took {two.spent_us / 1e6} s"
            a, b = holdings(world)
            did = {"read": 0, "incr a": -1, "incr b": 0, "transfer": 1, "again": 1}[act]
            done = SUM // 2 - a - did
            if done not in ((0,) if act == "again" else (0, 1)):
                yield f"{where}: {a} {b}"
            if a + b != SUM + act.startswith("incr"):
                yield f"{where}: a unit is lost or invented: {a} {b}"
            yield from check_store(world)


def check_reads():
    """Who reads one key after the other never sees the new before the old."""
    for warmly in (False, True):
        for before in range(40):
            for between in range(12):
                world = filled()
                alice = warm(world, "alice")
                bob = warm(world, "bob") if warmly else world.client("bob")
                one = Walker(world, transfer(alice, "a", "b")).go(before)
                a = finish(world, memory.get_value(bob, "a")).value
                one.go(between)
                b = finish(world, memory.get_value(bob, "b")).value
                one.go(STEPS_MAX)
                if a < SUM // 2 and b == SUM // 2:
                    yield f"half a transfer was shown: a {a}, b {b} ({before}, {between})"
                if one.ended and before > one.steps:
                    return


def check_lists():
    """A list of both keys, at every interleaving, shows both as they are after it, or neither."""
    for before in range(40):
        for listed in range(12):
            world = filled()
            alice, bob = warm(world, "alice"), warm(world, "bob")
            one = Walker(world, transfer(alice, "a", "b")).go(before)
            two = Walker(world, memory.list_values(bob, values=True)).go(listed)
            one.go(STEPS_MAX)
            two.go(STEPS_MAX)
            found = [row.value for row in two.result]
            if sum(found) != SUM:
                yield f"half a transfer was listed: {found} ({before}, {listed})"


def check_guards():
    """Two that each read what the other writes: one after the other, never side by side."""
    for a in range(30):
        for b in range(30):
            world = filled()
            walkers = []
            for name, read, written in (("alice", "a", "b"), ("bob", "b", "a")):
                client = warm(world, name)
                txn = Transaction(client)
                txn.memory_get(read, if_version=1)
                txn.memory_set(written, 0)
                walkers.append(Walker(world, txn.protocol()))
            one, two = walkers
            one.go(a)
            two.go(b)
            one.go(STEPS_MAX)
            two.go(STEPS_MAX)
            done = [not walker.refused for walker in walkers]
            found = holdings(world)
            if sum(done) != 1 or found != ([50, 0] if done[0] else [0, 50]):
                yield f"both read what the other wrote: {a} {b} {[w.result for w in walkers]}"
            yield from check_store(world)


def check_kinds():
    """A step is completed, the next one claimed, and somebody told: together, wherever it dies."""
    for died in range(60):
        for asked in ("claim", "send", "read"):
            world = World()
            setter = world.client("alice")
            finish(world, steps.add_step(setter, "one"))
            finish(world, steps.add_step(setter, "two", after=["one"]))
            txn = Transaction(setter)
            txn.step_claim("one")
            txn.step_complete("one", note="done")
            txn.step_claim("two")
            txn.message_send("bob,carol", "go on")
            txn.memory_set("stage", "two")
            one = Walker(world, txn.protocol()).go(died)
            bob = world.client("bob")
            if asked == "claim":
                from tclog.log import claims

                two = Walker(world, claims.claim_step(bob, "one")).go(STEPS_MAX)
            elif asked == "send":
                two = Walker(world, inbox.send_message(bob, "carol", "hi")).go(STEPS_MAX)
            else:
                two = Walker(world, inbox.read_inbox(bob, everything=True)).go(STEPS_MAX)
            where = f"died after {died}, then {asked}"
            if not two.ended or (two.refused and asked != "claim"):
                yield f"{where}: {two.result}"
            fresh = world.client("carol")
            told = [
                m.text for m in finish(world, inbox.read_inbox(fresh, everything=True)).messages
            ]
            shown = {s.id: s.state for s in finish(world, steps.list_steps(fresh))}
            told_all = "go on" in told
            if told_all != (shown["two"] == "claimed") or told_all != (shown["one"] == "complete"):
                yield f"{where}: {told} {shown}"
            if asked == "claim" and told_all == (not two.refused):
                yield f"{where}: both hold it: {two.result}"
            yield from check_store(world)
            if one.ended and not told_all:
                yield f"{where}: acknowledged and lost: {one.result}"
            if one.ended and asked == "read":
                return


CHECKS = {
    check.__name__: check
    for check in (
        check_transfers,
        check_deaths,
        check_reads,
        check_guards,
        check_kinds,
        check_lists,
    )
}
