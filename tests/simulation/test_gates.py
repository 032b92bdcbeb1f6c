"""Barriers at every interleaving of an agent with itself: see ``simulation.gates``."""

import pytest

from simulation.gates import CHECKS


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_exactly_its_parties_pass(check):
    assert not list(check())
