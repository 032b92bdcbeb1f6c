"""Planted bugs: each breaks one rule of the protocol, and the simulation must notice each.

A tooth that stops biting means that the oracles have gone blind, not that the code got better.
"""

import pytest

from simulation.teeth import FOCUSED, OPTIONS, SEEDS_MAX, TEETH, hunt
from tclog.testing import simulate


@pytest.mark.parametrize("plant", TEETH, ids=lambda plant: plant.__name__)
def test_every_planted_bug_is_caught(plant, record_property):
    caught = hunt(plant)
    assert caught.by is not None, f"{caught.bug} was not noticed in {caught.schedules} schedules"
    record_property("tooth", [caught.bug, caught.by, caught.schedules, caught.seconds])
    print(f"{caught.bug}: {caught.by} {caught.schedules}: {caught.violation[:160]}")


def test_there_are_enough_teeth():
    assert len(set(TEETH)) == len(TEETH) >= 25


@pytest.mark.parametrize(
    "options", {str(one): one for one in OPTIONS.values()}.values(), ids=",".join
)
def test_what_is_not_broken_is_not_noticed(options):
    # The other half of a tooth: in the same times and with the same work the shipped code is fine.
    for seed in range(SEEDS_MAX // 20):
        assert not simulate(seed, **options).violations


@pytest.mark.parametrize("check", FOCUSED.values(), ids=lambda check: check.__name__)
def test_the_focused_checks_find_nothing_in_the_shipped_code(check):
    assert not list(check())
