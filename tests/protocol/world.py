"""A store, agents and a clock that only moves by what is done: waits cost no time.

Each request takes a millisecond. ``World.later`` lets somebody act while another waits;
``World.before`` sees each request, and may act, before it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from history.clocks import Clock

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, answer
from tclog.errors import StoreError
from tclog.store.memory import MemoryStore

T = TypeVar("T")
STEPS_MAX = 100_000


class World:
    """One store in memory and the clients of its agents."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(lambda: self.clock.us)
        self.before: Callable[[Any], object] = lambda _: None
        self.jitter = 0.5
        self.asked: list[Any] = []
        self._clients: dict[str, Client] = {}
        self._later: list[tuple[int, Callable[[], object]]] = []

    def __getitem__(self, agent: str) -> Client:
        """Return the client of an agent."""
        if agent not in self._clients:
            self._clients[agent] = self.client(agent)
        return self._clients[agent]

    def client(self, agent: str, off_s: float = 0.0) -> Client:
        """Make a new client of an agent, who remembers nothing; its clock may be off."""
        client = self.clock.client(agent, off_s)
        client.jitter = lambda: self.jitter
        self._clients[agent] = client
        return client

    @property
    def now_s(self) -> float:
        """The time, in seconds."""
        return self.clock.us / 1e6

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Let somebody act after some time, if anybody waits for so long."""
        self._later.append((self.clock.us + round(seconds * 1e6), act))
        self._later.sort(key=lambda row: row[0])

    def run(self, protocol: Protocol[T]) -> T:
        """Drive a protocol to its end."""
        reply: Any = None
        error: StoreError | None = None
        for _ in range(STEPS_MAX):
            try:
                step = protocol.send(reply) if error is None else protocol.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply, error = None, None
            if type(step) is tuple:
                reply = [self._one(part) for part in step]
                continue
            reply = self._one(step)
            if isinstance(reply, StoreError):
                reply, error = None, reply
        raise AssertionError("it never ends")

    def _one(self, step: Any) -> Any:
        if isinstance(step, Sleep):
            self._pass(self.clock.us + round(step.seconds * 1e6))
            return None
        self.before(step)
        self._pass(self.clock.us + 1000)
        self.asked.append(step)
        try:
            return answer(step, self.store, lambda _: None)
        except StoreError as error:
            return error

    def _pass(self, until_us: int) -> None:
        while self._later and self._later[0][0] <= until_us:
            us, act = self._later.pop(0)
            self.clock.us = max(self.clock.us, us)
            act()
        self.clock.us = max(self.clock.us, until_us)
