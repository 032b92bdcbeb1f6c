"""The clock by which `tclog exec` ends a command before the lease ends."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from tclog.cli.commands import exec as exec_module


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux alone tells them apart")
def test_a_machine_that_slept_past_the_lease_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(agent=lambda: "alice", open=lambda _: None)
    keeper = exec_module.Keeper(here, "build", 1, 30.0, exec_module.now_s())  # type: ignore[arg-type]
    assert not keeper.overdue()
    shipped = time.clock_gettime

    def slept(clock: int) -> float:
        return shipped(clock) + (3600 if clock == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime", slept)
    assert keeper.overdue()
