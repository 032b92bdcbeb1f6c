"""Two clients under one idempotency key, at every interleaving with few switches.

Random schedules seldom put two clients at the same request of the same command; here nothing is
drawn: every way of running a requests of one client, b of the other, and then the rest is tried.
"""

import pytest

from simulation.interleaving import (
    BEFORE,
    COMMANDS,
    HEADS,
    check_circles,
    check_key,
    check_tampering,
)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_key_applies_once_at_every_interleaving(name, heads, before):
    assert not list(check_key(name, heads, before))


def test_a_replaced_version_is_noticed_by_whoever_reads_the_next():
    assert not list(check_tampering())


def test_a_repeated_definition_that_closed_a_circle_is_refused_again():
    assert not list(check_circles())
