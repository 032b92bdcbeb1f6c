"""Shrinking: from a schedule that breaks a promise to a small one that breaks the same promise.

Clients, operations and kinds of faults are left out, one try after the other, for as long as the
promise stays broken. Every try is a whole run, so what is left is a schedule like any other, with a
command that replays it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tclog.testing.workload import Report, run_schedule

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

    def size(self) -> tuple[int, int]:
        """Return how many operations and kinds of faults the smallest schedule has."""
        return len(self._places()), len(self.best.injected)

    def _places(self) -> list[tuple[int, int]]:
        return sorted({o.place for o in self.best.done if o.place is not None})

    def _fails_with(self, keep: Iterable[tuple[int, int]], without: Iterable[str]) -> bool:
        """Run a smaller schedule; take it if it breaks the promise too."""
        if self.left <= 0:
            return False
        self.left -= 1
        smaller = self.best.schedule._replace(keep=frozenset(keep), without=frozenset(without))
        report = run_schedule(smaller)
        if not any(promise_of(violation) == self.promise for violation in report.violations):
            return False
        self.best = report
        return True

    def drop_clients(self) -> None:
        """Leave out whole clients."""
        for client in sorted({client for client, _ in self._places()}, reverse=True):
            rest = [place for place in self._places() if place[0] != client]
            self._fails_with(rest, self.best.schedule.without)

    def drop_operations(self) -> None:
        """Leave out operations: halves first, then ever smaller pieces, single ones last."""
        piece = max(1, len(self._places()) // 2)
        while True:
            for start in reversed(range(0, len(self._places()), piece)):
                places = self._places()
                rest = places[:start] + places[start + piece :]
                self._fails_with(rest, self.best.schedule.without)
            if piece == 1:
                return
            piece //= 2

    def drop_faults(self) -> None:
        """Switch off kinds of faults."""
        for kind in sorted(self.best.injected):
            self._fails_with(self._places(), {*self.best.schedule.without, kind})


def write_failure(report: Report) -> Iterator[str]:
    """Say what a schedule broke, with all that happened in it and the command that replays it."""
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(report.injected.items()))
    clients = len({operation.place[0] for operation in report.done if operation.place})
    yield f"{clients} clients, {report.operations} operations, faults: {faults or 'none'}"
    yield from report.write()
    for violation in report.violations:
        yield f"BROKEN {violation}"
    yield f"replay: {report.schedule.command()}"
