"""Requests side by side: all are answered, each once, and an interrupt ends them."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import count, takewhile
from types import FrameType

import pytest

from tclog.chain.drive import WORKERS_MAX, Protocol, run
from tclog.errors import StoreError
from tclog.store.base import Found, Get
from tclog.store.memory import MemoryStore

ROUNDS = 200
STUCK_S = 10.0


class Concurrent(MemoryStore):
    """A store whose requests may be made side by side; each takes a little while."""

    concurrent = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Found | None:
        with self._lock:
            self.asked[key] += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.0005)
        with self._lock:
            self.at_once -= 1
        if key == "denied":
            raise StoreError("denied")
        if key == "bug":
            raise ZeroDivisionError
        return super().get(key)


def many(*keys: str) -> Protocol[list[Found | StoreError | None]]:
    return (yield tuple(map(Get, keys)))


@pytest.mark.parametrize("size", [2, 4, 5, 200])
def test_each_is_asked_once_and_answered_in_its_place(size: int):
    store = Concurrent()
    keys = [f"k/{nth}" for nth in range(size)]
    for key in keys:
        store.put(key, key.encode())
    replies = run(many(*keys, "denied", "absent"), store)
    assert [found.data.decode() for found in replies[:-2]] == keys
    assert isinstance(replies[-2], StoreError)
    assert replies[-1] is None
    assert set(store.asked.values()) == {1}
    assert 1 < store.most <= WORKERS_MAX


def test_what_is_no_error_of_the_store_is_raised():
    for place in (0, 50, 99):
        keys = [f"k/{nth}" for nth in range(99)]
        keys.insert(place, "bug")
        with pytest.raises(ZeroDivisionError):
            run(many(*keys), Concurrent())


def test_an_interrupt_never_waits_for_ever():
    store, rng = Concurrent(), random.Random(5)
    keys = [f"k/{nth}" for nth in range(64)]
    came = [False]

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        if time.monotonic() - begun_s > STUCK_S:
            pytest.fail("still waiting")
        came[0] = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(ROUNDS):
            came[0], begun_s = False, time.monotonic()
            # Python drops an interrupt that comes while it collects garbage.
            with suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, 0.003), STUCK_S + 0.5)
                # Python 3.12 and 3.13 leave the jump of a ``while`` outside the block around it.
                for _ in takewhile(lambda _: not came[0], count()):
                    run(many(*keys), store)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
