"""Claim races: how long winners and losers take, and that there is one winner."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bench.measuring import tell
from bench.places import LATENCY_MS, Bench, Project

SIZES = (2, 4, 8, 16, 32, 64)
# The race that is aimed at: so many processes, for so many rounds, in so many turns.
AIM, ROUNDS, TURNS = 50, 200, 4
# What races: claims, or the least of requests.
KINDS = {"ready": "claim", "bare": "bare"}


def measure(bench: Bench) -> None:
    """Race with ready processes, in simulated time, and with whole commands."""
    races = [("ready", size) for size in (*SIZES, AIM)] + [("bare", AIM)]
    for form, claimants in bench.size(races, [("ready", 3), ("bare", 3)]):
        rounds = bench.size(ROUNDS, 2)
        tell(f"races: {claimants} simulated, {form}, {rounds} rounds")
        words = claimants, rounds, LATENCY_MS, KINDS[form]
        for record in bench.work("simulated_race", *words):
            bench.results.add("races", form=form, store="simulated", processes=claimants,
                              latency_ms=LATENCY_MS, **record)  # fmt: skip
    for store in ("file", "s3"):
        if store == "s3" and bench.s3 is None:
            continue
        for processes in bench.size(SIZES, (3,)):
            _ready(bench, store, "ready", processes, bench.size(20, 2))
        for _ in range(bench.size(TURNS, 1)):
            for form in ("ready", "bare"):
                _ready(bench, store, form, bench.size(AIM, 3), bench.size(ROUNDS // TURNS, 2))
        _commands(bench, store, bench.size(AIM, 3), bench.size(ROUNDS, 1))


def _ready(bench: Bench, store: str, form: str, processes: int, rounds: int) -> None:
    """Let processes race that wait with an open log; ``bare`` makes the requests by itself."""
    tell(f"races: {processes} processes on {store}, {form}, {rounds} rounds")
    project = bench.project(f"race-{time.monotonic_ns()}", store)
    records = bench.work("crowd", KINDS[form], project.url, processes, rounds, env=project.env)
    winners = Counter(record["round"] for record in records if record["won"])
    assert winners == dict.fromkeys(range(rounds), 1), winners
    for nth in range(rounds):
        took_s: dict[bool, list[float]] = {True: [], False: []}
        for record in records:
            if record["round"] == nth:
                took_s[record["won"]].append(round(record["took_s"], 5))
        bench.results.add("races", form=form, store=store, processes=processes, round=nth,
                          won_s=took_s[True], lost_s=took_s[False])  # fmt: skip
    if form == "ready":
        held = {step["id"]: step["agent"] for step in project.json("step", "list", "-n", "0")}
        for record in records:
            if record["won"]:
                assert held[f"step-{record['round']}"] == f"agent-{record['agent']}", record


def _commands(bench: Bench, store: str, processes: int, rounds: int) -> None:
    """Start whole commands at once; a winner ends with 0, everybody else with 4."""
    tell(f"races: {processes} commands on {store}, {rounds} rounds")
    project = bench.project(f"race-{store}-commands", store)
    for nth in range(rounds):
        took_s: dict[int, list[float]] = {0: [], 4: []}
        with ThreadPoolExecutor(processes) as pool:
            claims = [pool.submit(_claim, bench, project, nth, n) for n in range(processes)]
        for status, took in (claim.result() for claim in claims):
            took_s[status].append(round(took, 5))
        assert len(took_s[0]) == 1, took_s
        bench.results.add("races", form="commands", store=store, processes=processes, round=nth,
                          won_s=took_s[0], lost_s=took_s[4])  # fmt: skip


def _claim(bench: Bench, project: Project, nth: int, number: int) -> tuple[int, float]:
    begun_s = time.perf_counter()
    done = subprocess.run(
        [bench.tclog, "claim", f"step-{nth}", "--as", f"agent-{number}"],
        env=dict(project.env), cwd=project.folder, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, time.perf_counter() - begun_s
