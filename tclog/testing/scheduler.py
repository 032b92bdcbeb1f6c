"""A seeded scheduler: clients' generators interleaved over one store, in virtual time.

Everything that can differ between two runs is drawn from one ``random.Random(seed)``, in the order
of a single event queue; so a seed is a schedule, and the digest of its trace proves it.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from blake3 import blake3

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, answer
from tclog.chain.heads import MemoryHeads
from tclog.clock import HybridClock
from tclog.errors import OutcomeUnknown, StoreError, StoreUnreachable, TclogError
from tclog.store.base import Create, Created, Outcome, Request
from tclog.store.memory import MemoryStore
from tclog.testing.faults import Faults

BEGIN_US = 1_800_000_000_000_000
TRIES_MAX = 3
EVENTS_MAX = 200_000


class Operation:
    """One operation of one client: what was asked, when, and what came of it.

    ``outcome`` is ``ok``, ``refused`` (any definite error), ``unknown`` (OutcomeUnknown, or the
    client died) or ``open``. Times are microseconds of virtual time; the store's clock is exact.
    """

    def __init__(self, agent: str, name: str, arguments: dict[str, Any]) -> None:
        self.agent = agent
        self.name = name
        self.arguments = arguments
        self.invoked_us = 0
        # Where an operation repeats another under its key, the work began with the first of them.
        self.began_us = 0
        self.repeats = False
        self.returned_us = 0
        self.outcome = "open"
        self.result: Any = None
        self.error: TclogError | None = None

    def __repr__(self) -> str:
        return f"{self.agent} {self.name} {self.arguments} -> {self.outcome} {self.result}"


class Plan(NamedTuple):
    """What a client does next: an operation, and the protocol that carries it out."""

    operation: Operation
    protocol: Callable[[Client], Protocol[Any]]


class _Process:
    """One client: its plans, the protocol under way, and the lives it has had."""

    def __init__(self, name: str, plans: Iterator[Plan]) -> None:
        self.name = name
        self.plans = plans
        self.client: Client | None = None
        self.life = 0
        self.protocol: Protocol[Any] | None = None
        self.operation: Operation | None = None
        self.skew_us = 0


class Simulation:
    """Runs processes over one store until all plans are done and no request is under way.

    Args:
        seed: the whole schedule.
        faults: what goes wrong, and how often.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self.faults = faults
        self.now_us = BEGIN_US
        self.store = MemoryStore(lambda: self.now_us)
        self.created_us: dict[str, int] = {}
        self.operations: list[Operation] = []
        self.injected: dict[str, int] = {}
        self.requests = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._trace = blake3()

    # -- time ---------------------------------------------------------------------------------

    def at(self, delay_s: float, act: Callable[[], None]) -> None:
        """Schedule an act after some virtual time."""
        self._count += 1
        due_us = self.now_us + max(0, round(delay_s * 1_000_000))
        heapq.heappush(self._queue, (due_us, self._count, act))

    def run(self) -> None:
        """Run until nothing is left to happen.

        Raises:
            RuntimeError: more happened than any schedule should hold.
        """
        for _ in range(EVENTS_MAX):
            if not self._queue:
                return
            self.now_us, _, act = heapq.heappop(self._queue)
            act()
        msg = "the schedule does not end"
        raise RuntimeError(msg)

    @property
    def trace(self) -> str:
        """A digest of everything that happened, in order."""
        return self._trace.hexdigest()

    def _note(self, *words: Any) -> None:
        self._trace.update(f"{self.now_us} {words}\n".encode())

    # -- clients ------------------------------------------------------------------------------

    def spawn(self, name: str, plans: Iterator[Plan]) -> None:
        """Add a client that carries out its plans one after the other."""
        process = _Process(name, plans)
        process.skew_us = self._skew_us()
        self.at(self.random.random(), lambda: self._born(process, None))

    def _skew_us(self) -> int:
        return round(self.random.uniform(-1, 1) * self.faults.skew_s * 1_000_000)

    def _born(self, process: _Process, heads: MemoryHeads | None) -> None:
        process.life += 1
        process.client = Client(
            process.name,
            session=f"life-{process.life}",
            host=process.name,
            software="simulation",
            clock=HybridClock(lambda: self.now_us + process.skew_us),
            heads=heads or MemoryHeads(),
            nonce=lambda: f"{self.random.getrandbits(128):032x}",
            jitter=self.random.random,
            monotonic_s=lambda: self.now_us / 1_000_000,
        )
        self._next(process)

    def _next(self, process: _Process) -> None:
        plan = next(process.plans, None)
        if plan is None or process.client is None:
            return
        process.operation = plan.operation
        process.operation.invoked_us = self.now_us
        process.operation.began_us = process.operation.began_us or self.now_us
        self.operations.append(process.operation)
        process.protocol = plan.protocol(process.client)
        self._advance(process, process.life, next)

    def _advance(self, process: _Process, life: int, act: Callable[[Protocol[Any]], Any]) -> None:
        if process.life != life or process.protocol is None:
            return  # the answer reaches a client that has died meanwhile
        if self._happens("jump"):
            process.skew_us = self._skew_us()
        if self._happens("crash"):
            self._crash(process)
            return
        try:
            step = act(process.protocol)
        except StopIteration as end:
            self._finish(process, "ok", end.value, None)
        except OutcomeUnknown as error:
            self._finish(process, "unknown", None, error)
        except TclogError as error:
            self._finish(process, "refused", None, error)
        else:
            self._dispatch(process, step)

    def _finish(
        self, process: _Process, outcome: str, result: Any, error: TclogError | None
    ) -> None:
        operation = process.operation
        assert operation is not None  # noqa: S101 - one is under way
        operation.outcome, operation.result, operation.error = outcome, result, error
        operation.returned_us = self.now_us
        self._note(process.name, operation.name, outcome, result)
        process.protocol = None
        # Mostly at once, sometimes after minutes: leases must have time to end.
        pause_s = self.random.choice((0.0, 0.01, 0.5, 5.0, 60.0)) * self.random.random()
        life = process.life
        self.at(pause_s, lambda: self._next(process) if process.life == life else None)

    def _crash(self, process: _Process) -> None:
        operation, protocol = process.operation, process.protocol
        assert operation is not None  # noqa: S101 - one is under way
        assert protocol is not None  # noqa: S101 - as above
        protocol.close()
        operation.outcome, operation.returned_us = "unknown", self.now_us
        process.protocol = None
        process.life += 1
        self._note(process.name, "crash")
        heads = process.client.heads if process.client and self.random.random() < 0.5 else None
        assert heads is None or isinstance(heads, MemoryHeads)  # noqa: S101 - as made above
        self.at(self.random.random() * 30, lambda: self._born(process, heads))

    # -- requests -----------------------------------------------------------------------------

    def _happens(self, fault: str) -> bool:
        rate = getattr(self.faults, fault)
        if rate == 0 or self.random.random() >= rate:
            return False
        self.injected[fault] = self.injected.get(fault, 0) + 1
        return True

    def _dispatch(self, process: _Process, step: Any) -> None:
        life = process.life
        many = type(step) is tuple
        steps = step if many else (step,)
        replies: list[Any] = [None] * len(steps)
        left = [len(steps)]

        def answered(index: int, reply: Any) -> None:
            replies[index] = reply
            left[0] -= 1
            if left[0]:
                return
            if many:
                self._advance(process, life, lambda protocol: protocol.send(replies))
            elif isinstance(reply, StoreError):
                self._advance(process, life, lambda protocol: protocol.throw(reply))
            else:
                self._advance(process, life, lambda protocol: protocol.send(reply))

        for index, one in enumerate(steps):
            if isinstance(one, Sleep):
                self.at(one.seconds, lambda index=index: answered(index, None))  # type: ignore[misc]
            else:
                self._send(one, lambda reply, index=index: answered(index, reply), 1)  # type: ignore[misc]

    def _send(self, request: Request, answered: Callable[[Any], None], nth: int) -> None:
        """Send one request; its fate is drawn now, and comes to pass in virtual time."""
        self.requests += 1
        latency_s = self.faults.latency_s * self.random.lognormvariate(0, 0.6)
        back_s = self.faults.latency_s * self.random.lognormvariate(0, 0.6)
        slow_s = self.random.choice((0.05, self.faults.timeout_s))

        def fail(cause: str) -> None:
            if isinstance(request, Create):
                answered(Created(Outcome.UNKNOWN, cause=cause))
            elif nth < TRIES_MAX:
                self._send(request, answered, nth + 1)
            else:
                answered(StoreUnreachable(f"simulated: {cause}"))

        def carry_out() -> Any:
            reply = answer(request, self.store, _no_sleep)
            if isinstance(request, Create) and reply.outcome is Outcome.WON:
                self.created_us[request.key] = self.now_us
            self._note(type(request).__name__, getattr(request, "key", ""), nth)
            return reply

        def arrive() -> None:
            reply = carry_out()
            self.at(back_s, lambda: answered(reply))

        def lose(cause: str, *, arrives_s: float | None, told_s: float) -> None:
            if arrives_s is not None:
                self.at(arrives_s, carry_out)
            self.at(told_s, lambda: fail(cause))

        fate = self._fate(request)
        if fate == "lost_before":
            lose(fate, arrives_s=None, told_s=slow_s)
        elif fate == "lost_after":
            lose(fate, arrives_s=latency_s, told_s=latency_s + slow_s)
        elif fate == "zombie":
            late_s = self.random.random() * self.faults.zombie_s
            lose(fate, arrives_s=late_s, told_s=slow_s)
        elif fate == "conflict":
            lose("409", arrives_s=None, told_s=latency_s)
        elif fate == "throttled":
            stored = self.random.random() < 0.5
            lose("503", arrives_s=latency_s if stored else None, told_s=latency_s + back_s)
        else:
            if fate == "duplicate":
                self.at(latency_s, carry_out)
                latency_s *= 1 + self.random.random()
            self.at(latency_s, arrive)

    def _fate(self, request: Request) -> str | None:
        for fault in ("lost_before", "lost_after", "zombie", "duplicate", "throttled"):
            if self._happens(fault):
                return fault
        return "conflict" if isinstance(request, Create) and self._happens("conflict") else None


def _no_sleep(seconds: float) -> None:
    del seconds
    msg = "a sleep is scheduled, never slept"
    raise AssertionError(msg)
