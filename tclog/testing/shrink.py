"""Shrinking: from a schedule that breaks a promise to a small one that breaks the same promise.

Clients, operations and kinds of faults are left out, one try after the other, for as long as the
promise stays broken. Every try is a whole run, so what is left is a schedule like any other, with a
command that replays it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tclog.testing.scheduler import BEGIN_US, Place
from tclog.testing.workload import Keep, Report, run_schedule

RUNS_MAX = 600


def promise_of(violation: str) -> str:
    """Return the word for the promise that a violation breaks."""
    return violation.partition(":")[0]


def shrink(report: Report, runs_max: int = RUNS_MAX) -> Report:
    """Return the report of a smaller schedule that breaks the first promise that this one breaks.

    Args:
        report: of a schedule that broke a promise.
        runs_max: how many smaller schedules may be tried.
    """
    if not report.violations:
        return report
    search = _Search(report, runs_max)
    while search.left > 0:
        before = search.size()
        search.drop_clients()
        search.drop_operations()
        search.drop_faults()
        if search.size() == before:
            break
    return search.best


class _Search:
    """The smallest schedule so far, and how many tries are left."""

    def __init__(self, report: Report, runs_max: int) -> None:
        self.best = report
        self.promise = promise_of(report.violations[0])
        self.left = runs_max
        # What is kept begins when it did, however little is left before it.
        begun_us: dict[Place, int] = {}
        for operation in report.done:
            if operation.place is not None:
                begun_us.setdefault(operation.place, operation.invoked_us - BEGIN_US)
        self._fails_with(tuple(sorted(begun_us.items())), report.schedule.without)

    def size(self) -> tuple[int, int]:
        """Return how many operations and kinds of faults the smallest schedule has."""
        return len(self._kept()), len(self.best.injected)

    def _kept(self) -> Keep:
        return self.best.schedule.keep or ()

    def _fails_with(self, keep: Keep, without: Iterable[str]) -> None:
        """Run a smaller schedule; take it if it breaks the promise too."""
        if self.left <= 0:
            return
        self.left -= 1
        smaller = self.best.schedule._replace(keep=keep, without=frozenset(without))
        report = run_schedule(smaller)
        if any(promise_of(violation) == self.promise for violation in report.violations):
            self.best = report

    def drop_clients(self) -> None:
        """Leave out whole clients."""
        for client in sorted({place[0] for place, _ in self._kept()}, reverse=True):
            rest = tuple(one for one in self._kept() if one[0][0] != client)
            self._fails_with(rest, self.best.schedule.without)

    def drop_operations(self) -> None:
        """Leave out operations: halves first, then ever smaller pieces, single ones last."""
        piece = max(1, len(self._kept()) // 2)
        while True:
            for start in reversed(range(0, len(self._kept()), piece)):
                kept = self._kept()
                rest = kept[:start] + kept[start + piece :]
                self._fails_with(rest, self.best.schedule.without)
            if piece == 1:
                return
            piece //= 2

    def drop_faults(self) -> None:
        """Switch off kinds of faults."""
        for kind in sorted(self.best.injected):
            self._fails_with(self._kept(), {*self.best.schedule.without, kind})


def write_failure(report: Report) -> Iterator[str]:
    """Say what a schedule broke, with all that happened in it and the command that replays it."""
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(report.injected.items()))
    clients = len({operation.place[0] for operation in report.done if operation.place})
    yield f"{clients} clients, {report.operations} operations, faults: {faults or 'none'}"
    yield from report.write()
    for violation in report.violations:
        yield f"BROKEN {violation}"
    yield f"replay: {report.schedule.command()}"
