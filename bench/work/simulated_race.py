"""Claim races in simulated time: simulated_race.py CLAIMANTS ROUNDS LATENCY_MS claim|bare.

In each of ROUNDS rounds all begin at one moment to claim the same fresh step, or to make the
bare requests of crowd.py, in a simulated store that takes LATENCY_MS for each way of a request: the
median of a log-normal distribution, so that the lucky win. Prints for each round how long its
winner and its losers took, in the simulation's time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.errors import Refused
from tclog.event import chain_id
from tclog.log import claims, memory
from tclog.store.base import Create, Get, Outcome, Put
from tclog.testing import oracles
from tclog.testing.faults import NONE
from tclog.testing.scheduler import Operation, Plan, Simulation

STEP = chain_id("step", "build")
# So long after the simulation's begin all have acted once.
BEGIN_S = 10.0


def main(claimants: str, rounds: str, latency_ms: str, how: str) -> None:
    faults = NONE._replace(latency_s=float(latency_ms) / 1000, pause_s=0.0)
    for seed in range(int(rounds)):
        simulation = Simulation(seed, faults)
        begin_s = simulation.now_us / 1e6 + BEGIN_S
        took_s: dict[str, list[float]] = {"ok": [], "refused": []}
        for number in range(int(claimants)):
            simulation.spawn(f"agent-{number}", plans(number, how, begin_s, took_s))
        assert simulation.run()
        chains, broken = oracles.read_chains(simulation.store)
        assert not broken
        assert len(took_s["ok"]) == 1
        assert how == "bare" or len(chains.versions[STEP]) == 1
        print(json.dumps({"round": seed, "won_s": took_s["ok"], "lost_s": took_s["refused"]}))


def plans(number: int, how: str, begin_s: float, took_s: dict[str, list[float]]) -> Iterator[Plan]:
    name = f"agent-{number}"
    # Who has acted before knows the store's clock.
    before = Operation(name, "memory.incr", {"chains": (chain_id("memory", name),)}, (number, 0))
    yield Plan(before, lambda client: memory.incr_value(client, name))
    operation = Operation(name, "step.claim", {"chains": (STEP,), "step": "build"}, (number, 1))
    yield Plan(operation, lambda client: race(client, number, how, begin_s, took_s))


def race(
    client: Client, number: int, how: str, begin_s: float, took_s: dict[str, list[float]]
) -> Protocol[Any]:
    yield Sleep(begin_s - client.monotonic_s())
    begun_s = client.monotonic_s()
    outcome = "ok"
    try:
        yield from claims.claim_step(client, "build") if how == "claim" else claim_bare(number)
    except Refused:
        outcome = "refused"
        raise
    finally:
        took_s[outcome].append(round(client.monotonic_s() - begun_s, 5))


def claim_bare(number: int) -> Protocol[None]:
    yield Put(f"bare-{number}", b"e")
    created = yield Create("bare", b"v")
    if created.outcome is not Outcome.WON:
        yield Get("bare")
        raise Refused("lost", code="step-held")


if __name__ == "__main__":
    main(*sys.argv[1:])
