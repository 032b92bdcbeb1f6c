"""Waiting: how long the pauses are, and that a wait ends when its time is up, not before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tclog.chain.drive import Protocol, Sleep
from tclog.errors import WaitTimeout
from tclog.log.waiting import poll

FIRST_S, LONGEST_S = (0.025, 0.075), 3.0
TICK_S = 1e-7  # time passes between two readings of a clock


class Waiter:
    """Waits on a clock of its own; ``comes_s`` is when a look finds something."""

    def __init__(self, jitter: float = 0.5, comes_s: float | None = None) -> None:
        self.now_s = 1000.0
        self.begun_s = self.now_s
        self.comes_s = comes_s
        self.looks: list[float] = []
        self.pauses: list[float] = []
        self.client: Any = SimpleNamespace(monotonic_s=lambda: self.now_s, jitter=lambda: jitter)

    def look(self) -> Protocol[str | None]:
        self.looks.append(self.now_s - self.begun_s)
        yield from ()
        there = self.comes_s is not None and self.looks[-1] >= self.comes_s
        return "there" if there else None

    def wait(self, timeout_s: float | None, **options: Any) -> str:
        protocol = poll(
            self.client,
            self.look,
            timeout_s=timeout_s,
            timed_out=lambda: WaitTimeout("it did not come", hint="tclog status"),
            **options,
        )
        try:
            step = next(protocol)
            for _ in range(1000):
                assert isinstance(step, Sleep)
                assert step.seconds >= 0
                self.pauses.append(step.seconds)
                self.now_s += max(step.seconds, TICK_S)
                step = protocol.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it waits for ever")


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_pauses_begin_with_25_to_75_ms_and_grow_to_at_most_3_s(jitter: float) -> None:
    waiter = Waiter(jitter, comes_s=120.0)
    assert waiter.wait(None) == "there"
    assert FIRST_S[0] <= waiter.pauses[0] <= FIRST_S[1]
    assert waiter.pauses == sorted(waiter.pauses)
    # Each is half as long again as the one before, until the longest.
    assert waiter.pauses[1] == pytest.approx(waiter.pauses[0] * 1.5)
    assert waiter.pauses[-1] == pytest.approx(2.0 * (0.5 + jitter))
    assert waiter.pauses[-1] <= LONGEST_S


def test_waiters_do_not_march_in_step() -> None:
    rows = []
    for jitter in (0.0, 0.3, 0.9):
        waiter = Waiter(jitter, comes_s=10.0)
        waiter.wait(None)
        rows.append(waiter.pauses[0])
    assert len(set(rows)) == 3
    assert rows == sorted(rows)


@pytest.mark.parametrize("timeout_s", [0.0, 0.01, 0.05, 1.0, 7.3])
@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_a_wait_lasts_its_time_and_looks_once_more_at_the_end(
    timeout_s: float, jitter: float
) -> None:
    waiter = Waiter(jitter)
    with pytest.raises(WaitTimeout):
        waiter.wait(timeout_s)
    assert waiter.now_s - waiter.begun_s == pytest.approx(timeout_s, abs=1e-5)
    assert waiter.looks[-1] == pytest.approx(timeout_s, abs=1e-5)


def test_what_comes_in_the_last_moment_is_found() -> None:
    waiter = Waiter(0.999, comes_s=4.999)
    assert waiter.wait(5.0) == "there"
    assert waiter.now_s - waiter.begun_s == pytest.approx(5.0)


def test_who_need_not_look_sooner_waits_longer_but_no_longer_than_2_s() -> None:
    waiter = Waiter(0.0, comes_s=5.0)
    waiter.wait(None, pause_s=lambda: 0.4)
    assert waiter.pauses[0] == pytest.approx(0.4)
    waiter = Waiter(0.0, comes_s=5.0)
    waiter.wait(None, pause_s=lambda: 3600.0)
    assert waiter.pauses[0] == pytest.approx(2.0)
    # Nor does it outlast the time that there is.
    waiter = Waiter(0.0)
    with pytest.raises(WaitTimeout):
        waiter.wait(1.0, pause_s=lambda: 3600.0)
    assert waiter.now_s - waiter.begun_s == pytest.approx(1.0)
