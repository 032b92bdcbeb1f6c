"""How long transactions take where plain writers keep one of their keys hot, in virtual time.

    PYTHONPATH=tests python -m simulation.hotkeys

prints a line of JSON for each number of writers: the seconds of the transactions, and how many gave
up. The writers increment the key without a pause; there are no faults, and requests take as long as
in a bucket.
"""

import json
import random
import sys
from statistics import median

import pytest

from tclog.event import chain_id
from tclog.log import memory
from tclog.testing import scheduler
from tclog.testing import transactions as work
from tclog.testing.faults import NONE
from tclog.testing.scheduler import Operation, Plan, Simulation

LATENCY_S = 0.02
TRANSFERS = 20
WRITERS = (2, 8, 32)


def measure(writers, other, seed=1, transfers=TRANSFERS):
    """Run transfers between the hot key and another; return what they took."""
    simulation = Simulation(seed, NONE._replace(latency_s=LATENCY_S))
    done = []

    def transferring():
        for nth in range(transfers):
            chains = (chain_id("memory", "m"), chain_id("memory", other))
            operation = Operation("mover", "txn.transfer", {"chains": chains}, (0, nth))
            done.append(operation)
            yield Plan(operation, lambda client: work.transfer(client, "m", other))

    def writing(number):
        nth = 0
        while len(done) < transfers or done[-1].outcome == "open":
            operation = Operation(f"writer-{number}", "incr", {}, (number, nth))
            yield Plan(operation, lambda client: memory.incr_value(client, "m", 1))
            nth += 1

    simulation.spawn("mover", transferring(), random.Random(seed), agent="mover", number=0)
    for number in range(1, writers + 1):
        simulation.spawn(
            f"writer-{number}",
            writing(number),
            random.Random(seed * 1000 + number),
            agent=f"writer-{number}",
            number=number,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "EVENTS_MAX", 10_000_000)
        assert simulation.run()
    took_s = [(o.returned_us - o.invoked_us) / 1e6 for o in done]
    plain = [o for o in simulation.operations if o.name == "incr" and o.outcome == "ok"]
    plain_s = [(o.returned_us - o.invoked_us) / 1e6 for o in plain]
    return {
        "writers": writers,
        "hot_key": "first" if other > "m" else "last",
        "transfers": len(done),
        "gave_up": sum(o.outcome == "refused" for o in done),
        "median_s": round(median(took_s), 2),
        "longest_s": round(max(took_s), 2),
        "plain_median_s": round(median(plain_s), 2),
        "plain_longest_s": round(max(plain_s), 2),
        "requests": simulation.requests,
    }


def main():
    """Print a line for each number of writers, with the hot key first and last in the order."""
    for writers in WRITERS:
        for other in ("z", "a"):
            print(json.dumps(measure(writers, other)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
