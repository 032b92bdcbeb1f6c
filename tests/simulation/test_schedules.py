"""Random work under all faults keeps every promise; a seed is a schedule.

A failure names its seed: ``python -m tclog.testing --seed N`` replays it.
"""

import os

from tclog.testing import Faults, simulate
from tclog.testing.faults import NONE

SCHEDULES = int(os.environ.get("TCLOG_TEST_SCHEDULES", "300"))


def test_no_schedule_breaks_a_promise():
    broken, injected, outcomes = {}, 0, {}
    for seed in range(SCHEDULES):
        report = simulate(seed)
        injected += sum(report.injected.values())
        for outcome, count in report.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
        if report.violations:
            broken[seed] = report.violations[0]
    print(f"{SCHEDULES} schedules, {injected} faults, operations: {outcomes}")
    assert not broken
    # A schedule in which nothing goes wrong, or nothing goes right, would prove little.
    assert injected > 20 * SCHEDULES
    assert outcomes["ok"] > outcomes["refused"] > 0 < outcomes["unknown"]


def test_the_same_seed_gives_the_same_trace():
    assert simulate(11).trace == simulate(11).trace
    assert simulate(11).trace != simulate(12).trace


def test_without_faults_everything_succeeds_or_is_refused_with_reason():
    for seed in range(20):
        report = simulate(seed, faults=NONE)
        assert not report.violations
        assert "unknown" not in report.outcomes


def test_every_kind_of_fault_occurs():
    kinds = set()
    for seed in range(40):
        kinds |= simulate(seed).injected.keys()
    rates = {name for name in Faults._fields if not name.endswith("_s")}
    assert kinds == rates
