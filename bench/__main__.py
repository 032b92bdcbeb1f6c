"""Measure, and write the page; see ``scripts/bench --help``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import places, report
from bench.measuring import Results, machine, tell
from bench.parts import cli, history, million, races, rates, requests, senders
from bench.places import Bench

PARTS: Mapping[str, Callable[[Bench], None]] = {
    "cli": cli.measure,
    "requests": requests.measure,
    "races": races.measure,
    "senders": senders.measure,
    "rates": rates.measure,
    "history": history.measure,
    "million": million.measure,
}
# Takes a quarter of an hour and much of the disk by itself: only where it is asked for.
BIG = "million"


def main(words: Sequence[str] | None = None) -> int:
    """Measure what was asked for."""
    options = _parser().parse_args(words)
    if options.check:
        return 0 if report.is_current(options.out) else 1
    if options.report:
        report.write(options.out)
        return 0
    python = options.python or places.install_tclog()
    peer = None if options.alone else places.install_peer()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tclog-bench-")))
        server = None if options.alone else stack.enter_context(places.etcd(scratch))
        s3 = None if options.alone else places.s3_environ()
        peer = peer if s3 else None
        usual = [name for name in PARTS if name != BIG or options.big]
        for name in options.parts or usual:
            begun_s = time.monotonic()
            results = Results(options.out / f"{name}.jsonl")
            bench = Bench(python, scratch, s3, peer, server, options.quick, options.log, results)
            results.add("machine", when="before", **machine())
            PARTS[name](bench)
            results.add("machine", when="after", **machine())
            tell(f"{name}: {time.monotonic() - begun_s:.0f} s")
    tell(f"wrote {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure tclog beside others, and write docs/benchmarks.md from the results.",
    )
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    add("--out", type=Path, default=report.RESULTS,
        help="the folder that the samples go to, a file of JSON lines for each part")  # fmt: skip
    add("--big", action="store_true", help="also the part million (takes long)")
    add("--log", type=Path, help="measure the part million on this log, made before by"
        " PYTHONPATH=tests python -m support.logs.generate LOG"
        f" --events {million.EVENTS} --days {million.DAYS} --packed; it is written to")  # fmt: skip
    add("--quick", action="store_true", help="tiny sizes: only to see that everything runs")
    add("--alone", action="store_true", help="without Ceph, Tracecraft and etcd")
    add("--python", type=Path, help="an interpreter that has tclog, instead of a new wheel")
    add("--report", action="store_true",
        help="measure nothing; write the page and its plots from the samples")  # fmt: skip
    add("--check", action="store_true",
        help="write nothing; exit with 1 if the page is not what the samples say")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
