"""Junk in slots, and what ends it, at drawn interleavings: see ``simulation.junk``."""

import pytest

from simulation.junk import CHECKS


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_one_bad_object_loses_nothing(check):
    assert not list(check())
