"""Schedules in which the store is set back to an earlier copy of itself, and all go on.

Everybody works; a copy is made; everybody works on; the store becomes what it was when it was
copied. Then those who have seen more, those who have not, and newcomers work at once. Whoever has
seen what is lost ends with 8 and changes nothing; the others see the store as it is.
"""

import random

from simulation.interleaving import World
from tclog.chain.heads import LOOK_EVERY_S, MemoryHeads
from tclog.chain.trust import guard
from tclog.errors import Forked, RolledBack
from tclog.event import slot_key
from tclog.log.memory import get_value, set_value
from tclog.testing import oracles
from tclog.testing.bucket import Bucket
from tclog.testing.faults import NONE, Faults
from tclog.testing.scheduler import Simulation
from tclog.testing.workload import Schedule, _Drawer, _mixed, _plans

SEEDS = 12
PHASE_US = 3_600_000_000
OPERATIONS = 4
WARM, NEW = 4, 2
# Answers are lost and clients die, but nothing arrives after the store was set back.
ROUGH = NONE._replace(lost_before=0.04, lost_after=0.05, throttled=0.03, skew_s=60.0)
TOLD = (Forked, RolledBack)


class Restore:
    """One schedule.

    ``local``: what is remembered is compared whenever it is used, as in a folder.
    """

    def __init__(self, seed: int, *, local: bool, faults: Faults) -> None:
        self.local = local
        self.rng = random.Random(seed)
        self.simulation = Simulation(seed, faults)
        self.schedule = Schedule(seed, WARM + NEW, 3 * OPERATIONS, faults=faults)
        read = self.simulation.store.get if local else None
        self.caches = [MemoryHeads(read) for _ in range(WARM + NEW)]
        self.agents = [f"agent-{number}" for number in range(WARM + NEW)]
        # Which clients have seen what is lost, once it is.
        self.bereft: set[str] = set()

    def run(self) -> None:
        """Run it to its end."""
        for number in range(WARM + NEW):
            # Some have worked before the copy was made only, newcomers after all of it.
            phases = [2] if number >= WARM else self.rng.choice([[0, 1, 2], [0, 2], [1, 2]])
            chosen = {
                phase * OPERATIONS + nth: phase * PHASE_US
                for phase in phases
                for nth in range(OPERATIONS)
            }
            own = random.Random(_mixed(self.schedule.seed, number, 0))
            session = f"s-{number}"
            drawer = _Drawer(self.schedule, own, self.agents, self.agents[number], session, {})
            plans = _plans(self.schedule, drawer, number, chosen)
            self.simulation.spawn(
                f"client-{number}",
                plans,
                own,
                agent=self.agents[number],
                session=session,
                number=number,
                heads=self.caches[number],
            )
        kept = {}
        store = self.simulation.store
        self.simulation.at(0.75 * PHASE_US / 1e6, lambda: kept.update(store.copied()))
        self.simulation.at(1.75 * PHASE_US / 1e6, lambda: self.set_back(kept))
        assert self.simulation.run()

    def set_back(self, kept) -> None:
        """Set the store back, and note who has seen what is lost."""
        store = self.simulation.store
        store.set_back(kept)
        for agent, cache in zip(self.agents, self.caches, strict=True):
            for version in cache._versions.values():
                found = store.get(slot_key(version.chain, version.seq))
                if found is None or found.data != version.raw:
                    self.bereft.add(agent)

    def late(self):
        """Return what was done after the store was set back."""
        begun_us = min(o.invoked_us for o in self.simulation.operations)
        return [o for o in self.simulation.operations if o.invoked_us >= begun_us + 1.9 * PHASE_US]


def broken_of(seed, *, local, faults=NONE):
    """Yield what a schedule breaks."""
    restore = Restore(seed, local=local, faults=faults)
    restore.run()
    simulation, late = restore.simulation, restore.late()
    where = f"seed {seed}{', local' if local else ''}"
    for operation in late:
        told = isinstance(operation.error, TOLD)
        if told and operation.agent not in restore.bereft:
            yield f"{where}: told of a loss that it has not seen: {operation}"
        if not local and not told and operation.agent in restore.bereft:
            yield f"{where}: went on after it has seen what is lost: {operation}"
        if operation.outcome == "bug":
            yield f"{where}: an exception escaped: {operation}"
    chains, broken = oracles.read_chains(simulation.store, simulation.created_us, simulation.decode)
    yield from (f"{where}: {sentence}" for sentence in broken)
    if broken:
        return
    appends = oracles.appends_of(late, chains)
    yield from (f"{where}: {one}" for one in oracles.check_appends(appends, fresh=True))
    yield from (f"{where}: {one}" for one in oracles.check_claims(late, chains))
    yield from (f"{where}: {one}" for one in oracles.check_reads(late, appends, chains))


def check_set_back():
    """Schedules over a bucket and a folder, with faults and without."""
    for seed in range(SEEDS):
        for local in (False, True):
            yield from broken_of(seed, local=local, faults=NONE if seed % 2 else ROUGH)


def hidden_loss_of(seed):
    """Yield what is broken where others write between a loss and the next look at the store."""
    rng = random.Random(seed)
    world = World()
    world.store = Bucket(lambda: world.now_us)
    victim, other = world.client("victim"), world.client("other")

    def act(client, protocol):
        return world.run(guard(client, protocol))

    keys = [f"k{number}" for number in range(3)]
    for key in ("kept", *keys):
        act(victim, set_value(victim, key, "early"))
    kept = world.store.copied()
    for key in rng.sample(keys, rng.randrange(1, 3)):
        act(victim, set_value(victim, key, "lost"))
    for nth in range(2):
        world.now_us += round((LOOK_EVERY_S + 1) * 1e6)
        told = act(victim, get_value(victim, "kept"))
        if nth:
            break
        world.store.set_back(kept)
        for number in range(rng.randrange(1, 3)):
            act(other, set_value(other, "z", str(number)))
            act(victim, get_value(victim, "z"))
    if not isinstance(told, TOLD):
        yield f"seed {seed}: a loss is not told once others have written: {told}"


def check_hidden_loss():
    """Schedules over a bucket in which a loss lies behind what others wrote since."""
    for seed in range(SEEDS):
        yield from hidden_loss_of(seed)
