"""A plugin of pytest: runs chosen tests in a given order, or tells which test runs now.

``MUTANTS_SELECT`` names a file with the ids of the tests to run, in their order; ``MUTANTS_NOW``
the folder of ``covering``, where ``times`` gets a line for each test.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SELECT, _NOW = os.environ.get("MUTANTS_SELECT"), os.environ.get("MUTANTS_NOW")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _SELECT is not None:
        order = {name: nth for nth, name in enumerate(json.loads(Path(_SELECT).read_text()))}
        items[:] = sorted(
            (item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid]
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if _NOW is None:
        return (yield)
    import covering  # the processes that the tests start load it by this name too

    folder = Path(_NOW)
    nth = len(_names)
    _names.append(item.nodeid)
    (folder / "now").write_text(str(nth))
    assert covering.lines is not None
    covering.lines.begin()
    begun = time.perf_counter()
    try:
        return (yield)
    finally:
        spent = time.perf_counter() - begun
        with (folder / "times").open("a") as file:
            print(json.dumps([nth, item.nodeid, spent, item.nodeid in _passed]), file=file)


_names: list[str] = []
_passed: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)
