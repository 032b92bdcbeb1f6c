"""A barrier at which one agent stands twice, or comes back: exactly its parties get through.

An agent may be at work in two processes, and a command may be repeated under its key after it was
killed. Nothing is drawn: an arrival dies, or waits on, after each number of requests.
"""

from simulation.interleaving import World
from simulation.transfers import STEPS_MAX, Walker
from tclog.chain.results import Barrier
from tclog.errors import WaitTimeout
from tclog.log.barriers import pass_barrier

PARTIES = 2
SHORT_S, LONG_S = 0.2, 30


def arrive(world, agent, timeout_s, key=None, client=None):
    protocol = pass_barrier(
        client or world.client(agent), "gate", PARTIES, timeout_s=timeout_s, id=key
    )
    return Walker(world, protocol)


def passed(walkers):
    """Return who was told to have passed which generation."""
    return [
        (walker.result.generation, agent)
        for agent, walker in walkers
        if isinstance(walker.result, Barrier)
    ]


def _check(where, walkers):
    for agent, walker in walkers:
        if not walker.ended or not isinstance(walker.result, Barrier | WaitTimeout):
            yield f"{where}: {agent}: {walker.result!r}"
    through = passed(walkers)
    for generation in {generation for generation, _ in through}:
        agents = {agent for one, agent in through if one == generation}
        if len(agents) > PARTIES:
            yield f"{where}: {sorted(agents)} passed generation {generation} of {PARTIES}"


def check_repeated_arrivals():
    """An arrival dies anywhere, also while it is withdrawn, and is repeated under its key."""
    for others in (1, 2):
        for died in range(60):
            world = World()
            first = arrive(world, "alice", SHORT_S, "k").go(died)
            rest = [("bob", arrive(world, "bob", LONG_S))]
            rest[0][1].go(6)
            if others == 2:
                rest.append(("carol", arrive(world, "carol", LONG_S)))
                rest[1][1].go(STEPS_MAX)
            again = arrive(world, "alice", SHORT_S, "k").go(STEPS_MAX)
            rest[0][1].go(STEPS_MAX)
            for walker in [walker for _, walker in rest]:
                walker.go(STEPS_MAX)
            where = f"died after {died} requests, then {others} came"
            yield from _check(where, [("alice", again), *rest])
            if first.ended:
                break


def check_two_of_one_name():
    """One process of an agent gives up while another waits, and two others come at any moment."""
    for came in range(60):
        world = World()
        one = arrive(world, "alice", SHORT_S)
        one.go(4)
        two = arrive(world, "alice", LONG_S).go(4)
        one.go(came)
        two.go(2)
        rest = [(name, arrive(world, name, LONG_S)) for name in ("bob", "carol")]
        for _, walker in rest:
            walker.go(4)
        one.go(STEPS_MAX)
        for walker in (two, *(walker for _, walker in rest)):
            walker.go(STEPS_MAX)
        where = f"the first was {came} requests further when others came"
        yield from _check(where, [("alice", one), ("alice", two), *rest])
        if one.steps <= came:
            break


CHECKS = {check.__name__: check for check in (check_repeated_arrivals, check_two_of_one_name)}
