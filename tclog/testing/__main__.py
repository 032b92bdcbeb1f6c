"""``python -m tclog.testing``: run schedules, or replay the one of a seed.

python -m tclog.testing --seed 7              one schedule, with what it did
python -m tclog.testing --count 20000         many, from seed 0 on
"""

from __future__ import annotations

import argparse
import sys
import time

from tclog.testing.workload import simulate


def main() -> int:
    """Run, print a summary, return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tclog.testing", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="replay this one")
    parser.add_argument("--first", type=int, default=0, help="the first of many")
    parser.add_argument("--count", type=int, default=200, help="how many")
    options = parser.parse_args()
    if options.seed is not None:
        report = simulate(options.seed)
        print(f"seed {report.seed}: {report.outcomes}, {report.requests} requests")  # noqa: T201
        print(f"faults: {report.injected}\ntrace: {report.trace}")  # noqa: T201
        for sentence in report.violations:
            print(f"BROKEN: {sentence}")  # noqa: T201
        return 1 if report.violations else 0
    begun_s, failed, injected = time.monotonic(), 0, 0
    for seed in range(options.first, options.first + options.count):
        report = simulate(seed)
        injected += sum(report.injected.values())
        if report.violations:
            failed += 1
            print(f"seed {seed} BROKEN: {report.violations[0]}")  # noqa: T201
    elapsed_s = time.monotonic() - begun_s
    print(  # noqa: T201
        f"{options.count} schedules, {injected} faults, {failed} broken,"
        f" {options.count / elapsed_s:.0f} a second"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
