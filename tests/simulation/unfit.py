"""Schedules in which the store stops to keep the condition of a create, while nobody works.

Ceph RGW does so once versioning is switched on. Everybody works; for a day nobody does, and in that
time the store turns; then all work at once. Nobody may be told then that anything was written.
"""

import random

from tclog.chain.drive import run
from tclog.chain.heads import MemoryHeads
from tclog.errors import StoreUnfit
from tclog.log.project import MARK, create_project
from tclog.testing.faults import NONE, Faults
from tclog.testing.scheduler import Simulation
from tclog.testing.workload import Schedule, _Drawer, _mixed, _plans

SEEDS = 8
DAY_US = 25 * 3_600_000_000
OPERATIONS = 5
CLIENTS = 5
# Answers are lost and clients die.
ROUGH = NONE._replace(lost_before=0.04, lost_after=0.05, throttled=0.03, skew_s=60.0)


class Turn:
    """One schedule; ``turns`` says whether the store does."""

    def __init__(self, seed: int, *, turns: bool, faults: Faults) -> None:
        self.turns = turns
        self.simulation = Simulation(seed, faults)
        self.schedule = Schedule(seed, CLIENTS, 2 * OPERATIONS, faults=faults)
        self.agents = [f"agent-{number}" for number in range(CLIENTS)]
        # Two of them share a machine.
        machines = [MemoryHeads() for _ in range(CLIENTS - 1)]
        self.caches = [machines[0], *machines]
        self.before: dict[str, bytes] = {}

    def run(self) -> None:
        """Run it to its end."""
        store = self.simulation.store
        run(create_project("demo", "0" * 32, self.simulation.now_us), store)
        for number in range(CLIENTS):
            chosen = {
                day * OPERATIONS + nth: day * DAY_US for day in (0, 1) for nth in range(OPERATIONS)
            }
            own = random.Random(_mixed(self.schedule.seed, number, 0))
            session = f"s-{number}"
            drawer = _Drawer(self.schedule, own, self.agents, self.agents[number], session, {})
            self.simulation.spawn(
                f"client-{number}",
                _plans(self.schedule, drawer, number, chosen),
                own,
                agent=self.agents[number],
                session=session,
                number=number,
                heads=self.caches[number],
            )
        self.simulation.at(0.9 * DAY_US / 1e6, self.turn)
        assert self.simulation.run()

    def turn(self) -> None:
        """Let the store be what it is from now on, and note what it holds."""
        store = self.simulation.store
        store.ignores_conditions = self.turns
        self.before = {key: found.data for key, found in store.copied().items()}

    def late(self):
        """Return what was done after that."""
        begun_us = min(o.invoked_us for o in self.simulation.operations)
        return [o for o in self.simulation.operations if o.invoked_us >= begun_us + 0.95 * DAY_US]

    def changed(self) -> set[str]:
        """Return the keys of what stands in the log now and did not, or is another object."""
        kept = self.simulation.store.copied()
        made = {key for key in kept if kept[key].data != self.before.get(key)}
        return {key for key in made if key.startswith(("chains/", "once/", MARK))}


def broken_of(seed, *, turns, faults=NONE):
    """Yield what a schedule breaks."""
    turn = Turn(seed, turns=turns, faults=faults)
    turn.run()
    where = f"seed {seed}{'' if turns else ', sound'}"
    for operation in turn.late():
        if operation.outcome == "bug":
            yield f"{where}: an exception escaped: {operation}"
        if not turns and isinstance(operation.error, StoreUnfit):
            yield f"{where}: told of a store that is fit: {operation}"
    # Without faults every look has its answer, so nothing at all may be written.
    if turns and faults is NONE and turn.changed():
        yield f"{where}: written after the store let go of its condition: {sorted(turn.changed())}"


def check_turned():
    """Schedules over a store that turns and one that does not, with faults and without."""
    for seed in range(SEEDS):
        for turns in (True, False):
            yield from broken_of(seed, turns=turns, faults=NONE if seed % 2 else ROUGH)
