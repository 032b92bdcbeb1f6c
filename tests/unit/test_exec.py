"""The clock and the watchdog by which `tclog exec` ends a command before the lease ends."""

from __future__ import annotations

import math
import os
import subprocess
import time
from types import SimpleNamespace

import pytest

from tclog.cli.child import Watchdog
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


def test_a_watchdog_that_was_ended_or_has_died_is_told_no_more() -> None:
    """A renewal may still be under way when the command ends."""
    for killed in (False, True):
        dog = Watchdog()
        if killed:
            dog._process.kill()
            dog._process.wait()
        else:
            assert not dog.end()
        dog.watch(os.getpid(), math.inf, math.inf)
        assert not dog.end()


def test_a_watchdog_tells_and_kills_at_the_times_that_were_said_last() -> None:
    deaf = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; sleep 60"], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    assert deaf.stdout.readline()
    dog = Watchdog()
    now_s = exec_module.now_s()
    dog.watch(deaf.pid, now_s - 1, math.inf)
    time.sleep(0.3)
    assert deaf.poll() is None
    dog.watch(deaf.pid, math.inf, exec_module.now_s() + 0.1)
    assert deaf.wait(10) == -9
    assert dog.end(), "it says that it has ended the command"
    deaf.stdout.close()
