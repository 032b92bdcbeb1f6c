"""Once a day each machine sees for itself that the store still keeps the condition of a create."""

from simulation.unfit import SEEDS, Turn, check_turned
from tclog.errors import StoreUnfit
from tclog.testing.faults import NONE


def test_nobody_writes_to_a_store_that_turned():
    assert list(check_turned()) == []


def test_all_are_told_and_before_that_all_write():
    told = 0
    for seed in range(SEEDS):
        turn = Turn(seed, turns=True, faults=NONE)
        turn.run()
        assert turn.before
        told += sum(isinstance(o.error, StoreUnfit) for o in turn.late())
    assert told > 50
