"""Packing and gc beside writers and readers: nothing is lost, nobody sees less; planted bugs.

A schedule is some days of virtual time; ``python tests/simulation/test_packs.py 0 100`` runs more.
"""

from __future__ import annotations

import sys

import pytest

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/simulation/")[0])

from simulation.upkeep import FAULTS, run_upkeep
from tclog.chain import judge as judge_module
from tclog.chain import resolve as resolve_module
from tclog.maintenance import pack as packing
from tclog.sync.packfiles import hour_of
from tclog.sync.packs import PackSync
from tclog.testing.faults import NONE

SEEDS_MAX = 48


def test_nothing_is_lost_while_others_work_under_faults():
    removed = looks = 0
    for seed in range(4):
        broken, upkeep = run_upkeep(seed, FAULTS)
        assert not broken
        removed += upkeep.removed
        looks += len(upkeep.looks)
    # Faults may stop the packing of a whole schedule.
    assert removed > 40
    assert looks > 40


@pytest.mark.parametrize("seed", [100, 101, 103])  # in each something is packed
def test_nothing_is_lost_while_others_work(seed):
    broken, upkeep = run_upkeep(seed, NONE)
    assert not broken
    assert upkeep.removed > 10
    assert all(o.outcome == "ok" for o in upkeep.simulation.operations if o.name == "sync")


# -- planted bugs ---------------------------------------------------------------------------------


def hours_packed_before_they_are_closed(patch):
    patch.setattr(packing, "closed_hour", lambda index, client: hour_of(client.clock.now_us()))


def attempts_left_out_of_packs(patch):
    def unheld(self, packed):
        return []
        yield

    patch.setattr(packing._Packing, "_unheld", unheld)


def attempts_dropped_when_packs_are_folded(patch):
    shipped = packing._Packing._choose_replaced

    def choose(self, fresh):
        yield from shipped(self, fresh)
        return {}

    patch.setattr(packing._Packing, "_choose_replaced", choose)


def the_floor_ignored_by_readers(patch):
    def read_removed(self, since, newest, *, gone):
        return
        yield

    patch.setattr(PackSync, "read_removed", read_removed)


def packs_named_before_they_are_put(patch):
    shipped = packing._Packing._name

    def name(self):
        packed = yield from shipped(self)
        yield from self.late
        return packed

    def finish(self):
        self.late = getattr(self, "late", [])
        self.late += list(kept(self))
        return
        yield

    kept = packing._Packing._finish_pack
    patch.setattr(packing._Packing, "_finish_pack", finish)
    patch.setattr(packing._Packing, "_name", name)


def aborted_transactions_taken_for_committed(patch):
    def judge(client, versions):
        return [version.judged(aborted=False) for version in versions]
        yield

    for module in (judge_module, resolve_module):
        patch.setattr(module, "judge", judge)


TEETH = (
    hours_packed_before_they_are_closed,
    attempts_left_out_of_packs,
    attempts_dropped_when_packs_are_folded,
    the_floor_ignored_by_readers,
    packs_named_before_they_are_put,
    aborted_transactions_taken_for_committed,
)


@pytest.mark.parametrize("plant", TEETH, ids=lambda plant: plant.__name__)
def test_every_planted_bug_is_caught(plant):
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for seed in range(SEEDS_MAX):
            broken, _ = run_upkeep(seed, FAULTS)
            if broken:
                print(f"{plant.__name__}: seed {seed}: {broken[0]}")
                return
    pytest.fail(f"{plant.__name__} was not noticed in {SEEDS_MAX} schedules")


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        found, _ = run_upkeep(number, FAULTS)
        for sentence in found:
            print(f"seed {number} BROKEN {sentence}")
