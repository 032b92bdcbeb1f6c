"""A schedule that breaks a promise becomes a small one that breaks the same promise."""

import pytest

from simulation.teeth import (
    idempotency_key_bound_anew_at_each_use,
    lease_counted_from_the_claim_not_the_renewal,
    no_answer_taken_as_nothing_written,
    reads_answered_from_the_cache,
)
from tclog.testing import run_schedule, shrink, simulate
from tclog.testing.__main__ import main
from tclog.testing.shrink import promise_of, write_failure


def failing():
    return next(report for seed in range(100) if (report := simulate(seed)).violations)


@pytest.mark.parametrize(
    ("plant", "operations_max"),
    [
        (no_answer_taken_as_nothing_written, 3),
        (reads_answered_from_the_cache, 3),
        (lease_counted_from_the_claim_not_the_renewal, 4),
        (idempotency_key_bound_anew_at_each_use, 4),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_left_is_small_and_breaks_the_same_promise(plant, operations_max, monkeypatch):
    plant(monkeypatch)
    whole = failing()
    small = shrink(whole)
    assert promise_of(small.violations[0]) == promise_of(whole.violations[0])
    assert small.operations <= operations_max
    assert len(small.injected) <= len(whole.injected)
    # It is a schedule like any other: running it again gives the same trace.
    assert run_schedule(small.schedule).trace == small.trace


def test_the_command_replays_the_small_schedule(monkeypatch, capsys):
    no_answer_taken_as_nothing_written(monkeypatch)
    small = shrink(failing())
    lines = list(write_failure(small))
    assert lines[-1] == f"replay: {small.schedule.command()}"
    assert any(" begins #" in line for line in lines)
    assert main([*small.schedule.command().split()[3:], "--no-shrink"]) == 1
    assert f"trace: {small.trace}" in capsys.readouterr().out


def test_many_schedules_end_with_the_failing_seeds_and_a_small_schedule(monkeypatch, capsys):
    no_answer_taken_as_nothing_written(monkeypatch)
    assert main(["--count", "3"]) == 1
    shown = capsys.readouterr().out
    assert "seed 0 BROKEN writes: " in shown
    assert "\nreplay: python -m tclog.testing --seed " in shown
    assert '"failing_seeds":[0' in shown.splitlines()[-1]


def test_a_schedule_that_keeps_its_promises_stays_as_it_is():
    report = simulate(0)
    assert shrink(report) is report
