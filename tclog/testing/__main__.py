"""Run schedules of random work under faults, or replay the one of a seed.

Many schedules end with a line of JSON: which, how many, the operations by outcome, the faults by
kind, the requests, the violations and the seconds. A schedule that breaks a promise is shrunk and
written out in full, with the command that replays it. The exit status is 1 if any promise was
broken.

  python -m tclog.testing --seed 7                   one schedule
  python -m tclog.testing --seed 7 --trace           with everything that happened
  python -m tclog.testing --count 20000 --jobs 2     many, from seed 0 on
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from tclog.event import encode
from tclog.testing.faults import ALL_FAULTS, Faults
from tclog.testing.runner import Total, run_many
from tclog.testing.shrink import shrink, write_failure
from tclog.testing.workload import (
    OPERATIONS,
    USUAL,
    WORK,
    Schedule,
    check_kinds,
    read_keep,
    run_schedule,
)


def main(arguments: list[str] | None = None) -> int:
    """Run, print what it came to, return 1 if a promise was broken."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        schedule = _schedule(options)
    except ValueError as error:
        parser.error(str(error))
    if options.seed is not None:
        return _replay(schedule, trace=options.trace, smaller=not options.no_shrink)
    begun_s = time.monotonic()
    seeds = range(options.first, options.first + options.count)
    tell = _progress(options.count) if sys.stderr.isatty() else None
    total = run_many(schedule, seeds, jobs=options.jobs, limit_s=options.seconds, tell=tell)
    elapsed_s = round(time.monotonic() - begun_s, 1)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    for seed, violation in sorted(total.broken):
        print(f"seed {seed} BROKEN {violation}")  # noqa: T201
    if total.broken and not options.no_shrink:
        _replay(schedule._replace(seed=min(total.broken)[0]), trace=False, smaller=True)
    record: dict[str, Any] = {"first": options.first, "jobs": options.jobs, "seconds": elapsed_s}
    if schedule.options():
        record["options"] = " ".join(schedule.options())
    print(encode(record | total.as_json()).decode())  # noqa: T201
    return 1 if total.broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tclog.testing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=int, default=None, help="replay this one")
    add("--first", type=int, default=0, help="the first seed of many")
    add("--count", type=int, default=200, help="how many seeds")
    add("--jobs", type=int, default=1, help="how many processes")
    add("--seconds", type=float, default=None, help="begin no more schedules after this time")
    add("--clients", type=int, default=0, help="how many clients; by default 3 to 8")
    add("--operations", type=int, default=OPERATIONS, help="how many operations each")
    add("--work", default=",".join(USUAL), help=f"what they do: {','.join(WORK)}")
    add("--without", default="", metavar="KINDS", help="kinds of faults that do not come to pass")
    add("--rate", action="append", default=[], metavar="KIND=RATE", help="change a rate, or bound")
    add("--keep", default=None, metavar="PLACES", help="only these operations: 0.3,1.7@12.5")
    add("--trace", action="store_true", help="with --seed: write everything that happened")
    add("--no-shrink", action="store_true", help="leave a schedule that fails as it is")
    return parser


def _schedule(options: argparse.Namespace) -> Schedule:
    without = frozenset(filter(None, options.without.split(",")))
    check_kinds(without)
    rates = {}
    for word in options.rate:
        name, _, value = word.partition("=")
        if name not in Faults._fields:
            msg = f"{name!r} is no rate; there are {', '.join(Faults._fields)}"
            raise ValueError(msg)
        rates[name] = float(value)
    keep = None if options.keep is None else read_keep(options.keep)
    work = tuple(options.work.split(","))
    for kind in work:
        if kind not in WORK:
            msg = f"{kind!r} is no kind of work; there are {', '.join(WORK)}"
            raise ValueError(msg)
    faults = ALL_FAULTS._replace(**rates)
    seed = options.seed or 0
    return Schedule(seed, options.clients, options.operations, work, faults, without, keep)


def _replay(schedule: Schedule, *, trace: bool, smaller: bool) -> int:
    report = run_schedule(schedule)
    if trace:
        print("\n".join(report.write()))  # noqa: T201
    print(f"seed {report.seed}: {report.outcomes}, {report.requests} requests")  # noqa: T201
    print(f"faults: {report.injected}\ntrace: {report.trace}")  # noqa: T201
    if not report.violations:
        return 0
    for violation in report.violations:
        print(f"BROKEN {violation}")  # noqa: T201
    if smaller:
        print("the smallest schedule found that breaks the same promise:")  # noqa: T201
        print("\n".join(write_failure(shrink(report))))  # noqa: T201
    return 1


def _progress(count: int) -> Callable[[Total, float], None]:
    def tell(total: Total, elapsed_s: float) -> None:
        sys.stderr.write(
            f"\r{total.schedules:,} of {count:,} schedules,"
            f" {total.schedules / max(elapsed_s, 0.001):.0f} a second, {len(total.broken)} broken"
        )
        sys.stderr.flush()

    return tell


if __name__ == "__main__":
    sys.exit(main())
