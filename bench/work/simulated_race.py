"""Claim races in simulated time: simulated_race.py CLAIMANTS ROUNDS LATENCY_MS claim|bare.

In each of ROUNDS rounds all begin at about one moment to claim the same fresh step, or to make the
bare requests of crowd.py, in a simulated store that takes LATENCY_MS for each way of a request: the
median of a log-normal distribution, so that the lucky win. Prints for each round how long its
winner and its losers took, in the simulation's time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from tclog.chain.drive import Protocol
from tclog.errors import Refused
from tclog.event import chain_id
from tclog.log import claims
from tclog.store.base import Create, Get, Outcome, Put
from tclog.testing import oracles
from tclog.testing.faults import NONE
from tclog.testing.scheduler import Operation, Plan, Simulation

STEP = chain_id("step", "build")


def main(claimants: str, rounds: str, latency_ms: str, how: str) -> None:
    faults = NONE._replace(latency_s=float(latency_ms) / 1000, pause_s=0.0)
    for seed in range(int(rounds)):
        simulation = Simulation(seed, faults)
        for number in range(int(claimants)):
            simulation.spawn(f"agent-{number}", plans(number, how))
        assert simulation.run()
        took_s: dict[str, list[float]] = {"ok": [], "refused": []}
        for operation in simulation.operations:
            took_us = operation.returned_us - operation.invoked_us
            took_s[operation.outcome].append(round(took_us / 1e6, 5))
        chains, broken = oracles.read_chains(simulation.store)
        assert not broken
        assert len(took_s["ok"]) == 1
        assert how == "bare" or len(chains.versions[STEP]) == 1
        print(json.dumps({"round": seed, "won_s": took_s["ok"], "lost_s": took_s["refused"]}))


def plans(number: int, how: str) -> Iterator[Plan]:
    arguments = {"chains": (STEP,), "step": "build"}
    operation = Operation(f"agent-{number}", "step.claim", arguments, (number, 0))
    claim = {"claim": claims.claim_step, "bare": lambda *_: claim_bare(number)}[how]
    yield Plan(operation, lambda client: claim(client, "build"))


def claim_bare(number: int) -> Protocol[None]:
    yield Put(f"bare-{number}", b"e")
    created = yield Create("bare", b"v")
    if created.outcome is not Outcome.WON:
        yield Get("bare")
        raise Refused("lost", code="step-held")


if __name__ == "__main__":
    main(*sys.argv[1:])
