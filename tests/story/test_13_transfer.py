"""Units move between keys, by many processes at once that are killed again and again: none is lost.

Each transfer also tells an agent, so three chains change together, and two movers go the other way.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from contextlib import suppress

from support.project import Project, side_by_side

MOVERS = 4
EACH = 6
# The first life is shorter than the work, on any machine; later ones are long enough for some.
FIRST_LIFE_S, KILLED_WITHIN_S = 0.1, 1.2
RESTARTS_MAX = 200


def write_transfers(project: Project, mover: str, source: str, target: str) -> list[list[str]]:
    """Write a file for each transfer; return the commands."""
    commands = []
    for nth in range(EACH):
        operations = [
            {"op": "memory.incr", "key": source, "by": -1},
            {"op": "memory.incr", "key": target, "by": 1},
            {"op": "message.send", "to": "auditor", "text": f"{mover}-{nth}"},
        ]
        path = project.folder / f"{mover}-{nth}.jsonl"
        path.write_text("".join(f"{json.dumps(one)}\n" for one in operations))
        commands.append(["txn", "-f", str(path), "--id", f"{mover}-{nth}", "--json"])
    return commands


def move_all(
    project: Project, mover: str, commands: list[list[str]], random_: random.Random
) -> int:
    """Carry out all transfers, killing the process again and again; return how often."""
    gate = project.folder / "gate"
    gate.touch()
    done = kills = 0
    for life in range(RESTARTS_MAX):
        if done == len(commands):
            return kills
        worker = project.worker(mover)
        worker.post(commands[done:], gate)
        worker.ready()
        with suppress(subprocess.TimeoutExpired):
            within_s = min(FIRST_LIFE_S * 2 ** min(life, 10), KILLED_WITHIN_S)
            worker.process.wait(random_.random() * within_s)
        worker.process.kill()
        worker.process.wait()
        told = worker.acknowledged()
        for result in told:
            # Refused only if it lost for a whole minute; then it is repeated like what was killed.
            assert result.code == 0, result
        done += len(told)
        kills += done < len(commands)
    raise AssertionError(f"{mover} had no luck in {RESTARTS_MAX} lives")


def test_no_unit_is_lost_or_invented_by_transfers_that_are_killed(project: Project) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    jobs = []
    for n in range(MOVERS):
        source, target = ("left", "right") if n % 2 else ("right", "left")
        commands = write_transfers(project, f"mover-{n}", source, target)
        jobs.append(
            lambda n=n, commands=commands: move_all(
                project, f"mover-{n}", commands, random.Random(seed + n)
            )
        )
    kills = sum(side_by_side(*jobs))
    print(f"{MOVERS * EACH} transfers, {kills} kills")
    assert kills > 0
    for machine in (project, project.machine()):
        values = [machine.json("memory", "get", key)[0]["value"] for key in ("left", "right")]
        assert values == [0, 0]
    told = [one["text"] for one in project.run("inbox", "--all", "--json", agent="auditor").json()]
    assert sorted(told) == sorted(f"mover-{n}-{nth}" for n in range(MOVERS) for nth in range(EACH))
    events = project.run("log", "--json", "-n", "0", "--op", "memory.*").ok().json()
    by_change: dict[str, set[str]] = {}
    for event in events:
        by_change.setdefault(event["txn"], set()).add(event["chain"])
    # Both halves of every change are there, at one moment.
    assert len(by_change) == MOVERS * EACH
    assert all(len(chains) == 2 for chains in by_change.values())
    project.run("fsck").ok()
