"""Long histories of transactions under all faults, and what each came to.

    PYTHONPATH=tests python -m simulation.histories --count 50 >> docs/figures/transactions.jsonl

prints a line of JSON for each; the exit status is 1 if an anomaly was found. In every other history
the clients work without pauses, so that most transactions meet others.
"""

import argparse
import json
import sys
import time
from typing import Any, NamedTuple

import pytest

from tclog.testing import oracles, scheduler
from tclog.testing.faults import ALL_FAULTS
from tclog.testing.oracles import Chains
from tclog.testing.workload import Report, Schedule, run_schedule

TRANSACTIONS_MIN = 2_000
CLIENTS, OPERATIONS = 5, 560
# Foreign objects stand between versions, and the search knows nothing of them.
SOUND = ALL_FAULTS._replace(foreign=0)
CROWDED = SOUND._replace(pause_s=0.05)
_EVENTS_MAX = 10_000_000


class History(NamedTuple):
    """What one history showed, and the line of JSON that is kept of it."""

    report: Report
    record: dict[str, Any]


def run_history(seed: int) -> History:
    """Run the history of a seed and judge it."""
    left: list[Chains] = []
    shipped = oracles.read_chains

    def read_chains(*arguments: Any, **options: Any) -> tuple[Chains, list[str]]:
        found = shipped(*arguments, **options)
        left.append(found[0])
        return found

    faults = CROWDED if seed % 2 else SOUND
    begun_s = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "EVENTS_MAX", _EVENTS_MAX)
        patch.setattr(oracles, "read_chains", read_chains)
        report = run_schedule(
            Schedule(seed, clients=CLIENTS, operations=OPERATIONS, work=("txn",), faults=faults)
        )
    seconds = time.process_time() - begun_s
    return History(report, _record(report, left[0], crowded=bool(seed % 2), seconds=seconds))


def _record(report: Report, left: Chains, *, crowded: bool, seconds: float) -> dict[str, Any]:
    asked = {o.place: "" for o in report.done if o.name.startswith("txn.")}
    for operation in report.done:
        if operation.place in asked:
            asked[operation.place] = operation.outcome  # that of the last try
    ends = list(asked.values())
    aborted = {
        json.dumps(version.txn, sort_keys=True): version.aborted
        for versions in left.versions.values()
        for version in versions
        if version.txn is not None
    }
    return {
        "seed": report.seed,
        "crowded": crowded,
        "transactions": len(asked),
        "committed": ends.count("ok"),
        "refused": ends.count("refused"),
        "unknown": ends.count("unknown"),
        "tries_aborted": sum(aborted.values()),
        "crashes": report.injected.get("crash", 0),
        "requests": report.requests,
        "cpu_s": round(seconds, 1),
        "violations": len(report.violations),
    }


def main() -> int:
    """Run many, print what each came to, return 1 if one holds an anomaly."""
    parser = argparse.ArgumentParser(prog="python -m simulation.histories", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=50, help="how many")
    options = parser.parse_args()
    broken = 0
    for seed in range(options.first, options.first + options.count):
        history = run_history(seed)
        for violation in history.report.violations:
            print(f"seed {seed} BROKEN {violation}")
        print(json.dumps(history.record), flush=True)
        broken += len(history.report.violations)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
