"""The table of planted bugs, shown when the run is over."""

import pytest

_TOOTH = "tooth"


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
