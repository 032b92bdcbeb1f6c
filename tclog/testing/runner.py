"""Many schedules on several processes, and what they came to in total."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, NamedTuple

from tclog.testing.workload import Schedule, run_schedule

CHUNK = 20
# So many objects may be made before garbage is looked for.
YOUNG_MAX = 200_000


class Total(NamedTuple):
    """What many schedules came to; ``broken`` holds each failing seed and its first violation."""

    schedules: int
    operations: dict[str, int]
    faults: dict[str, int]
    requests: int
    broken: tuple[tuple[int, str], ...]

    def plus(self, other: Total) -> Total:
        """Add up."""
        return Total(
            self.schedules + other.schedules,
            _added(self.operations, other.operations),
            _added(self.faults, other.faults),
            self.requests + other.requests,
            (*self.broken, *other.broken),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the record that is printed."""
        return {
            "schedules": self.schedules,
            "violations": len(self.broken),
            "failing_seeds": sorted(seed for seed, _ in self.broken),
            "operations": dict(sorted(self.operations.items())),
            "faults": dict(sorted(self.faults.items())),
            "requests": self.requests,
        }


NOTHING = Total(0, {}, {}, 0, ())


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}


def run_chunk(template: Schedule, seeds: range) -> Total:
    """Run the schedules of some seeds, in this process."""
    total = NOTHING
    for seed in seeds:
        report = run_schedule(template._replace(seed=seed))
        broken = ((seed, report.violations[0]),) if report.violations else ()
        total = total.plus(Total(1, report.outcomes, report.injected, report.requests, broken))
    return total


def run_many(
    template: Schedule,
    seeds: range,
    *,
    jobs: int = 1,
    limit_s: float | None = None,
    tell: Callable[[Total, float], None] | None = None,
) -> Total:
    """Run a schedule for each seed.

    Args:
        template: what they have in common.
        seeds: which; all in one process give the same total as in several.
        jobs: how many processes.
        limit_s: begin no more after this time.
        tell: called now and then with the total so far and the seconds that it took.
    """
    begun_s, total = time.monotonic(), NOTHING
    chunks = (seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK))

    def in_time() -> Iterator[range]:
        for chunk in chunks:
            if limit_s is not None and time.monotonic() - begun_s > limit_s:
                return
            yield chunk

    for part in _parts(template, in_time(), jobs):
        total = total.plus(part)
        if tell is not None:
            tell(total, time.monotonic() - begun_s)
    return total


def _parts(template: Schedule, chunks: Iterator[range], jobs: int) -> Iterator[Total]:
    with ProcessPoolExecutor(jobs, initializer=_collect_seldom) as pool:
        waiting: set[Future[Total]] = set()
        for chunk in chunks:
            waiting.add(pool.submit(run_chunk, template, chunk))
            if len(waiting) > 2 * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in waiting)


def _collect_seldom() -> None:
    """Let a worker look for garbage seldom: a schedule is small, and over soon."""
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)
