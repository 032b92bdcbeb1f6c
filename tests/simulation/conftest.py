"""Garbage is looked for seldom here; and the table of planted bugs, shown when the run is over."""

import gc

import pytest

from tclog.testing.runner import YOUNG_MAX

_TOOTH = "tooth"


@pytest.fixture(autouse=True)
def garbage_is_looked_for_seldom():
    """Schedules leave none, and the objects of a long one would be gone through again and again."""
    young, *older = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, *older)
    yield
    gc.set_threshold(young, *older)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    rows = [
        value
        for report in terminalreporter.stats.get("passed", ())
        for name, value in report.user_properties
        if name == _TOOTH
    ]
    if not rows:
        return
    terminalreporter.section("planted bugs, and how many schedules it took to notice each")
    for bug, by, schedules, seconds in sorted(rows, key=lambda row: (row[1], row[2])):
        count = schedules if by == "schedules" else by
        terminalreporter.write_line(f"{bug:<58} {count:>15} {seconds:>7.2f} s")
