"""A protocol that is interrupted at any of its requests withdraws what it has begun."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from history.clocks import Clock

from tclog.chain.drive import Protocol, run
from tclog.chain.fold import state_of
from tclog.chain.read import read_head
from tclog.event import chain_id
from tclog.log.barriers import pass_barrier
from tclog.log.inbox import send_message
from tclog.store.memory import MemoryStore


class Interrupting(MemoryStore):
    """Is interrupted once, after so many requests were carried out."""

    def __init__(self, clock: Clock, after: int) -> None:
        super().__init__(lambda: clock.us)
        self.clock, self.left = clock, after
        self.race: Callable[[], Any] | None = None

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def get(self, key: str) -> Any:
        found = super().get(key)
        self._count()
        return found

    def put(self, key: str, data: bytes) -> Any:
        stored = super().put(key, data)
        self._count()
        return stored

    def create(self, key: str, data: bytes) -> Any:
        race, self.race = self.race, None
        if race is not None:
            left, self.left = self.left, -1
            race()
            self.left = left
        created = super().create(key, data)
        self._count()
        return created

    def list(self, *args: Any) -> Any:
        rows = super().list(*args)
        self._count()
        return rows

    def sleep(self, seconds: float) -> None:
        self.clock.pass_s(seconds)
        self._count()


def wait(clock: Clock, store: Interrupting) -> Protocol[Any]:
    del store
    return pass_barrier(clock.client("alice"), "gate", 2, timeout_s=None)


def send(clock: Clock, store: Interrupting) -> Protocol[Any]:
    """Send to an inbox where another is quicker, so that the message is announced."""
    store.race = lambda: run(send_message(clock.client("bob"), "carol", "first"), store)
    return send_message(clock.client("alice"), "carol", "hi")


@pytest.mark.parametrize("begin", [wait, send])
def test_interrupted_at_each_request_nothing_of_it_stays(begin: Any) -> None:
    announced = 0
    for after in range(1, 40):
        clock = Clock()
        store = Interrupting(clock, after)
        seen = [store.put]

        def put(key: str, data: bytes, put: Any = seen[0]) -> Any:
            nonlocal announced
            announced += key.startswith("pending/")
            return put(key, data)

        store.put = put  # type: ignore[method-assign]
        try:
            run(begin(clock, store), store, store.sleep)
        except KeyboardInterrupt:
            pass
        else:
            assert store.left > 0
        store.left = -1
        gate = chain_id("barrier", "gate")
        assert state_of(gate, run(read_head(clock.client("dave"), gate), store)).arrived == ()
        assert store.list("pending", "", 100, False) == []
    assert (announced > 0) == (begin is send)
