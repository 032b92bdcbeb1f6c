"""Claim races: how long winners and losers take, and that there is one winner."""

from __future__ import annotations

import subprocess
import time
from collections import Counter

from bench.measuring import tell
from bench.places import Bench, Project


def measure(bench: Bench) -> None:
    """Race with ready processes, 2 to 64; 50 of them for 200 rounds; and with whole commands."""
    for store in ("file", "s3"):
        if store == "s3" and bench.s3 is None:
            continue
        sizes = [(n, 20) for n in (2, 4, 8, 16, 32, 64)] + [(50, 200)]
        for processes, rounds in [(3, 2)] if bench.quick else sizes:
            tell(f"races: {processes} processes on {store}, {rounds} rounds")
            _ready(bench, store, processes, rounds)
        _commands(bench, store, bench.size(16, 3), bench.size(10, 1))


def _ready(bench: Bench, store: str, processes: int, rounds: int) -> None:
    project = bench.project(f"race-{store}-{processes}-{rounds}", store)
    records = bench.work("crowd", "claim", project.url, processes, rounds, env=project.env)
    winners = Counter(record["round"] for record in records if record["won"])
    for nth in range(rounds):
        took_s = {True: [], False: []}
        for record in records:
            if record["round"] == nth:
                took_s[record["won"]].append(round(record["took_s"], 5))
        bench.results.add("races", form="ready", store=store, processes=processes, round=nth,
                          won_s=took_s[True], lost_s=took_s[False])  # fmt: skip
    held = {step["id"]: step["agent"] for step in project.json("step", "list", "-n", "0")}
    for record in records:
        if record["won"]:
            assert held[f"step-{record['round']}"] == f"agent-{record['agent']}", record
    assert winners == dict.fromkeys(range(rounds), 1), winners


def _commands(bench: Bench, store: str, processes: int, rounds: int) -> None:
    """Start whole commands at once; a winner ends with 0, everybody else with 4."""
    tell(f"races: {processes} commands on {store}")
    project = bench.project(f"race-{store}-commands", store)
    for nth in range(rounds):
        begun_s = time.perf_counter()
        racing = [_start(bench, project, nth, number) for number in range(processes)]
        statuses = [process.wait() for process in racing]
        wall_s = round(time.perf_counter() - begun_s, 6)
        assert sorted(statuses) == [0] + [4] * (processes - 1), statuses
        bench.results.add("races", form="commands", store=store, processes=processes, round=nth,
                          wall_s=wall_s)  # fmt: skip


def _start(bench: Bench, project: Project, nth: int, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [bench.tclog, "claim", f"step-{nth}", "--as", f"agent-{number}"],
        env=dict(project.env), cwd=project.folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
