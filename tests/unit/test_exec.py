"""The clock and the watchdog by which `tclog exec` ends a command before the lease ends."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from tclog.cli.child import Child, Watchdog
from tclog.cli.commands import exec as exec_module


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux alone tells them apart")
def test_a_machine_that_slept_past_the_lease_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    log = SimpleNamespace(twin=lambda: None)
    keeper = exec_module.Keeper(log, "build", 1, 30.0, exec_module.now_s())  # type: ignore[arg-type]
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


def test_a_watchdog_that_is_stopped_stops_nobody_else() -> None:
    """Its pipe is full at last, and exec would wait for it instead of guarding the command."""
    dog = Watchdog()
    first = dog._process
    os.kill(first.pid, signal.SIGSTOP)

    def tell() -> None:
        for _ in range(10_000):
            dog.watch(os.getpid(), math.inf, math.inf)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(20)
    waits = thread.is_alive()
    first.kill()
    assert not waits
    first.wait()
    dog._started_s -= 1
    dog.revive()
    assert dog._process is not first
    assert not dog.end()


def test_a_watchdog_that_has_died_does_not_take_the_command_with_it() -> None:
    dog = Watchdog()
    dog._process.kill()
    dog._process.wait()
    child = Child()
    child.start(("true",), os.environ, "/", lambda target: dog.watch(target, math.inf, math.inf))
    assert child.wait(20) == 0


def test_a_command_that_may_not_begin_does_not_run() -> None:
    def refuse(_: int) -> None:
        raise TimeoutError

    with pytest.raises(subprocess.SubprocessError):
        Child().start(("true",), os.environ, "/", refuse)


def test_what_did_not_listen_to_the_watchdog_is_killed_when_exec_goes_on() -> None:
    """The watchdog told all to end, and exec goes on before the watchdog can kill the rest."""
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    child = Child()
    child._own_group = True
    child._process = subprocess.Popen(
        ["sh", "-c", "(trap '' TERM; sleep 600) &"], process_group=0, pass_fds=(theirs,)
    )
    os.close(theirs)
    keeper = SimpleNamespace(lost=None, overdue=lambda: False)
    dog = SimpleNamespace(revive=lambda: None, end=lambda: True)
    assert exec_module._watch(child, keeper, dog) is None  # type: ignore[arg-type]
    # The other end is closed when nothing is left that could hold it.
    assert select.select([ours], [], [], 10)[0], "what it started is still there"
    os.close(ours)
