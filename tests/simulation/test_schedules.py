"""Random work under all faults keeps every promise; a seed is a schedule.

A failure names its seed, and ``python -m tclog.testing --seed N`` replays it. ``scripts/test`` runs
20,000 before these tests, by the same command; here are some more, and what is said of them.
"""

import json
import os
import random
import subprocess
import sys

import pytest

from tclog.log import memory
from tclog.store.base import List
from tclog.testing import Faults, Operation, Plan, Schedule, run_schedule, simulate
from tclog.testing.__main__ import main
from tclog.testing.faults import KINDS, NONE
from tclog.testing.runner import run_chunk, run_many
from tclog.testing.scheduler import BEGIN_US
from tclog.testing.workload import read_keep

FIRST, SCHEDULES = 1_000_000, 150


def test_no_schedule_breaks_a_promise():
    total = run_chunk(Schedule(0), range(FIRST, FIRST + SCHEDULES))
    print(json.dumps(total.as_json()))
    assert not total.broken
    # A schedule in which nothing goes wrong, or nothing goes right, would prove little.
    assert sum(total.faults.values()) > 20 * SCHEDULES
    outcomes = total.operations
    assert outcomes["ok"] > outcomes["refused"] > 0 < outcomes["unknown"]


def test_the_same_seed_gives_the_same_trace():
    first, second = simulate(11), simulate(11)
    assert list(first.write()) == list(second.write())
    assert first.trace == second.trace != simulate(12).trace


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_seed_gives_the_same_trace_in_every_process(hash_seed):
    shown = subprocess.run(
        [sys.executable, "-m", "tclog.testing", "--seed", "11"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"trace: {simulate(11).trace}" in shown.stdout


def test_without_faults_everything_succeeds_or_is_refused_with_reason():
    for seed in range(20):
        report = simulate(seed, faults=NONE)
        assert not report.violations
        assert "unknown" not in report.outcomes
        assert not report.injected


def test_every_kind_of_fault_occurs():
    report = run_chunk(Schedule(0, faults=Faults(stale=0.2)), range(40))
    assert report.faults.keys() == set(KINDS)


def test_an_old_listing_costs_freshness_and_nothing_that_was_committed():
    # S3's listings are current, and a first read rests on that. Should one not be, what a reader is
    # told may be old; no write is lost, doubled, torn or let in where it should not be.
    total = run_chunk(Schedule(0, faults=Faults(stale=0.5, stale_s=600)), range(60))
    assert not total.broken
    assert total.faults["stale"] > 60


def test_one_agent_in_two_processes_occurs():
    shared = 0
    for seed in range(20):
        done = simulate(seed).done
        shared += len({o.place[0] for o in done}) > len({o.agent for o in done})
    assert shared > 1


def test_a_memory_of_heavy_use_stays_linearizable():
    # Few clients and much work on few keys: the black-box check has the most to do here.
    for seed in range(10):
        report = simulate(seed, clients=5, operations=25, work=("memory",))
        assert not report.violations


def test_several_processes_come_to_the_same_total():
    one = run_chunk(Schedule(0), range(45))
    both = run_many(Schedule(0), range(45), jobs=2)
    assert one.as_json() == both.as_json()


def test_what_is_left_out_changes_nothing_that_is_drawn_for_the_rest():
    whole = simulate(3)
    keep = (((0, 1), 0), ((0, 4), 9_000_000), ((2, 0), 0))
    part = run_schedule(whole.schedule._replace(keep=keep, without=frozenset(KINDS)))
    asked = {o.place: (o.name, o.arguments["token"]) for o in whole.done if "token" in o.arguments}
    for operation in part.done:
        assert operation.place in dict(keep)
        assert operation.invoked_us >= BEGIN_US + dict(keep)[operation.place]
        if "token" in operation.arguments:
            assert asked[operation.place][1] == operation.arguments["token"]
    assert not part.injected


def test_others_may_work_beside():
    # Maintenance, for one: it is a client like any other, with a store and faults of its own.
    looked = []

    def look(client):
        del client
        looked.append((yield List("events", limit=5)))
        return None

    def plans(rng: random.Random):
        for _ in range(3):
            yield Plan(Operation("janitor", "maintenance", {}), look)
        text = f"by hand {rng.random()}"
        yield Plan(
            Operation("janitor", "own.set", {"chains": ("memory/own",)}),
            lambda client: memory.set_value(client, "own", text),
        )

    report = run_schedule(Schedule(5, faults=Faults(crash=0)), [plans])
    assert looked
    assert not report.violations
    assert [o.name for o in report.done if o.agent == "beside-0" or o.agent == "janitor"] == [
        *["maintenance"] * 3,
        "own.set",
    ]


def test_the_command_line_sums_up(capsys):
    assert main(["--first", "3", "--count", "2"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schedules"] == 2
    assert record["first"] == 3
    assert record["violations"] == 0
    assert record["failing_seeds"] == []
    assert record["operations"]["ok"] > 0
    assert record["faults"]["lost_after"] > 0


@pytest.mark.parametrize(
    "words", [["--without", "lunch"], ["--rate", "lunch=1"], ["--work", "lunch"]]
)
def test_the_command_line_refuses_words_it_does_not_know(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--count", "1", *words])
    assert ended.value.code == 2
    assert "'lunch' is no" in capsys.readouterr().err


def test_a_schedule_says_which_command_replays_it():
    schedule = Schedule(
        9,
        clients=4,
        operations=5,
        work=("memory", "step"),
        faults=Faults(stale=0.25),
        without=frozenset({"crash", "jump"}),
        keep=(((1, 2), 1_500_000), ((0, 3), 0)),
    )
    command = schedule.command()
    assert command == (
        "python -m tclog.testing --seed 9 --clients 4 --operations 5 --work memory,step"
        " --rate stale=0.25 --without crash,jump --keep 0.3,1.2@1.500000"
    )
    assert read_keep("1.2@1.5,0.3") == tuple(sorted(schedule.keep))
