"""Requests to the store for each operation, however long a key's history and big the project."""

from __future__ import annotations

from bench.measuring import tell
from bench.places import Bench


def measure(bench: Bench) -> None:
    """Count at 10 versions of a key and at many, and in projects of two sizes."""
    for versions in (10, bench.size(100_000, 200)):
        tell(f"requests: {versions} versions")
        for record in bench.work("requests", bench.scratch / f"versions-{versions}", versions):
            bench.results.add("requests", versions=versions, **record)
    for events in (bench.size(1_000, 100), bench.size(100_000, 300)):
        tell(f"requests: a project of {events} events")
        folder = bench.generated(events, copy="requests")
        for record in bench.work("requests", folder, "generated"):
            bench.results.add("requests", events=events, **record)
