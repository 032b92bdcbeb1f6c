"""Eight workers drain a hundred steps with dependencies: each once, none before its time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest
from support.project import Project, Result, Worker, side_by_side

from tclog.event import ChainId, Version, decode_version, slot_key

STEPS = 100
WORKERS = 8
AFTER_MAX = 3


class Done(NamedTuple):
    """One step as a worker did it."""

    step: str
    fence: int
    claim: Result
    complete: Result


def random_graph(seed: int) -> dict[str, list[str]]:
    """Return which steps each step comes after; only earlier ones, so there is no cycle."""
    random_ = random.Random(seed)
    names = [f"s{n:02}" for n in range(STEPS)]
    return {
        name: sorted(random_.sample(names[:n], min(n, random_.randrange(AFTER_MAX + 1))))
        for n, name in enumerate(names)
    }


def drain(worker: Worker) -> list[Done]:
    """Do what a worker of a real team does, until no step is left."""
    done: list[Done] = []
    while True:
        claim = worker.run("claim", "--next", "--wait", "--timeout", "2m", "--json", timeout=180)
        if claim.code != 0:
            assert (claim.code, claim.error()["code"]) == (3, "no-step-left"), claim
            return done
        step = claim.one()
        assert (step["agent"], step["state"]) == (worker.agent, "claimed")
        complete = worker.run("complete", step["id"], "--fence", str(step["fence"]), "--json")
        assert complete.one()["state"] == "complete"
        done.append(Done(step["id"], step["fence"], claim, complete))


def read_versions(project: Project, step: str) -> list[Version]:
    """Read the chain of a step past tclog."""
    chain = ChainId(f"step/{step}")
    count = len(project.objects.keys(f"chains/step/{step}/"))
    return [
        decode_version(project.objects.read(slot_key(chain, seq)), chain=chain, seq=seq)
        for seq in range(1, count + 1)
    ]


def check_order(project: Project, graph: Mapping[str, Sequence[str]], done: list[Done]) -> None:
    """Check by the workers' own clocks, and by the log's stamps, that nothing was too early."""
    by_step = {row.step: row for row in done}
    claimed, completed = {}, {}
    for step in graph:
        versions = read_versions(project, step)
        ops = [event.op for version in versions for event in version.events]
        assert ops == ["step.add", "step.claim", "step.complete"], f"{step}: {ops}"
        claimed[step], completed[step] = versions[1].at, versions[2].at
        assert by_step[step].fence == 2
    for step, after in graph.items():
        for before in after:
            assert by_step[before].complete.begun < by_step[step].claim.ended
            assert completed[before] < claimed[step], f"{step} was claimed before {before} ended"


@pytest.mark.slow
def test_eight_workers_drain_a_hundred_steps(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    graph = random_graph(seed)
    maker = project.worker("maker")
    maker.post(
        [
            ("step", "add", step, *(["--after", ",".join(after)] if after else []))
            for step, after in graph.items()
        ]
    )
    assert {result.code for result in maker.results(300)} == {0}

    # Two machines, so that half of the workers know nothing of what the others' cache holds.
    machines = [project, project.machine()]
    crew = [machines[n % 2].worker(f"worker-{n}") for n in range(WORKERS)]
    begun = time.monotonic()
    rows = side_by_side(*[lambda worker=worker: drain(worker) for worker in crew])
    elapsed = time.monotonic() - begun

    done = [row for mine in rows for row in mine]
    assert sorted(row.step for row in done) == sorted(graph)
    check_order(project, graph, done)
    assert len(project.json("step", "list", "--state", "complete", "-n", "0")) == STEPS
    assert len([mine for mine in rows if mine]) > WORKERS // 2, "hardly anybody got a step"
    shares = sorted(len(mine) for mine in rows)
    with capsys.disabled():
        print(f"\n  {STEPS} steps by {WORKERS} workers in {elapsed:.1f} s; shares {shares}")
