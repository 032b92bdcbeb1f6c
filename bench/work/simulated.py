"""Senders to one inbox in simulated time: simulated.py SENDERS EACH LATENCY_MS combined|plain.

The code that ships runs against a simulated store that takes LATENCY_MS for each way of a request;
nothing is drawn but the schedule, from a seed. Prints messages a second, requests a message and the
seconds that the slowest hundredth took, all in the simulation's time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from plain import use_plain_loop

from tclog.event import chain_id
from tclog.log import inbox
from tclog.testing import oracles
from tclog.testing.faults import NONE
from tclog.testing.scheduler import Operation, Plan, Simulation

TO = chain_id("inbox", "carol")
# A run ends after so many happenings, and goes on where it has ended.
RUNS_MAX = 100


def main(senders: str, each: str, latency_ms: str, how: str) -> None:
    if how == "plain":
        use_plain_loop()
    simulation = Simulation(1, NONE._replace(latency_s=float(latency_ms) / 1000, pause_s=0.0))
    for number in range(int(senders)):
        simulation.spawn(f"agent-{number}", plans(number, int(each)))
    assert any(simulation.run() for _ in range(RUNS_MAX))
    operations = simulation.operations
    assert all(operation.outcome == "ok" for operation in operations)
    chains, broken = oracles.read_chains(simulation.store)
    assert not broken
    texts = [event.body["text"]["value"] for v in chains.versions[TO] for event in v.events]
    assert len(texts) == len(set(texts)) == int(senders) * int(each)
    begin_us = min(operation.invoked_us for operation in operations)
    end_us = max(operation.returned_us for operation in operations)
    took_s = sorted((o.returned_us - o.invoked_us) / 1e6 for o in operations)
    print(json.dumps({
        "messages_per_s": round(len(texts) / ((end_us - begin_us) / 1e6), 3),
        "requests_per_message": round(simulation.requests / len(texts), 3),
        "median_s": round(took_s[len(took_s) // 2], 4),
        "p99_s": round(took_s[int(len(took_s) * 0.99)], 4),
        "versions": len(chains.versions[TO]),
    }))  # fmt: skip


def plans(number: int, each: int) -> Iterator[Plan]:
    for nth in range(each):
        token = f"t-{number}-{nth}"
        arguments = {"chains": (TO,), "token": token, "to": "carol"}
        operation = Operation(f"agent-{number}", "message.send", arguments, (number, nth))
        yield Plan(operation, lambda c, token=token: inbox.send_message(c, "carol", token))


if __name__ == "__main__":
    main(*sys.argv[1:])
