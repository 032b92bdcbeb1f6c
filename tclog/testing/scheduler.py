"""A seeded scheduler: clients' generators interleaved over one store, in virtual time.

Everything that can differ between two runs is drawn from random numbers seeded by the schedule, and
happens in the order of a single event queue; so a seed is a schedule, and the digest of its trace
proves it. Each client draws from numbers of its own, begun anew for each of its operations: what is
taken out of a schedule, to make it smaller, does not change what is drawn for the rest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from heapq import heappop, heappush
from statistics import NormalDist
from typing import Any, NamedTuple

from tclog.chain.client import Client, Decode
from tclog.chain.drive import Protocol, Sleep
from tclog.chain.heads import MemoryHeads
from tclog.chain.trust import guard
from tclog.clock import HybridClock, Stamp, stamp
from tclog.errors import OutcomeUnknown, StoreDenied, StoreError, StoreUnreachable, TclogError
from tclog.event import ChainId, Version, decode_version
from tclog.store.base import (
    Create,
    Created,
    Delete,
    Entry,
    Get,
    Keep,
    List,
    Outcome,
    Put,
    Request,
    Stat,
)
from tclog.testing.bucket import Bucket
from tclog.testing.faults import Faults
from tclog.testing.foreign import draw_foreign

BEGIN_US = 1_800_000_000_000_000
TRIES_MAX = 3
EVENTS_MAX = 200_000
EVERYTHING = 10_000_000
# Clients that are given no number have one beyond those of the workload.
_UNNUMBERED = 1000
_SECOND_US = 1_000_000
# As S3 does, a request is refused whose signature is of a time further from the store's clock.
SIGNED_US = 15 * 60 * _SECOND_US
_QUICK_US = 50_000
# A latency is drawn from this many equally likely ones: a table costs a tenth of the formula.
_LATENCIES = 1024

_READS = (Get, List)
_REQUEST_FAULTS = (
    "lost_before",
    "lost_after",
    "zombie",
    "duplicate",
    "throttled",
    "denied",
    "absent",
)


Place = tuple[int, int]


def nonce_of(place: Place) -> str:
    """Return how the nonces of an operation's events begin."""
    return f"{place[0]:06x}{place[1]:06x}"


class Operation:
    """One operation of one client: what was asked, when, and what came of it.

    ``outcome`` is ``ok``, ``refused`` (any definite error), ``unknown`` (OutcomeUnknown, or the
    client died), ``bug`` (any other exception) or ``open``. Times are microseconds of virtual time;
    the store's clock is exact.
    ``arguments`` is what the oracles need. ``place`` is the numbers of the client and of the
    operation; the nonces of its events begin with them, which is how its events are known.
    """

    __slots__ = (
        "agent",
        "arguments",
        "began_us",
        "error",
        "invoked_us",
        "name",
        "outcome",
        "place",
        "repeats",
        "result",
        "returned_us",
        "session",
    )

    def __init__(
        self, agent: str, name: str, arguments: dict[str, Any], place: Place | None = None
    ) -> None:
        self.agent = agent
        self.name = name
        self.arguments = arguments
        self.place = place
        self.session = ""
        self.invoked_us = 0
        # Where an operation repeats another under its key, the work began with the first of them.
        self.began_us = 0
        self.repeats = False
        self.returned_us = 0
        self.outcome = "open"
        self.result: Any = None
        self.error: TclogError | None = None

    def __repr__(self) -> str:
        return f"{self.agent} #{self.number()} {self.asked()} -> {self.answered()}"

    def number(self) -> str:
        """Write the place as commands take it."""
        return "?" if self.place is None else f"{self.place[0]}.{self.place[1]}"

    def asked(self) -> str:
        """Say what was asked, in words."""
        known = self.arguments
        words = [self.name]
        words += [
            str(chain) for chain in known.get("chains") or [known.get("chain") or ""] if chain
        ]
        shown = ("token", "if_version", "fence", "steal", "lease_s", "id_key")
        words += [f"{name}={known[name]}" for name in shown if known.get(name) is not None]
        words += [f"in {self.session}"] if self.session else []
        return " ".join(words)

    def answered(self) -> str:
        """Say what came of it, in words."""
        if self.error is not None:
            return f"{self.outcome} ({self.error.code}: {self.error.message})"
        result = self.result
        words = [
            f"{name}={getattr(result, name)}"
            for name in ("version", "state", "agent", "fence", "renewed", "value", "total")
            if getattr(result, name, None) not in (None, False)
        ]
        return " ".join([self.outcome, *words])


class Plan(NamedTuple):
    """What a client does next: an operation, and what carries it out.

    It begins after ``pause_s``, and not before ``begin_us`` of the schedule.
    """

    operation: Operation
    protocol: Callable[[Client], Protocol[Any]]
    pause_s: float = 0.0
    begin_us: int = 0


# One thing that happened: when, by whom, what, and two more words that depend on what. It is
# ``begin``, ``end``, ``crash`` (whether the cache was kept), ``jump``, ``fault`` (the request and
# its fate), or ``request`` (and the reply) for one that the store carried out. The trace of a
# schedule is a list of these; a plain tuple is made three times as fast as a named one.
Happened = tuple[int, str, str, Any, Any]


class _Process:
    """One client: its plans, the protocol under way, and the lives it has had."""

    __slots__ = (
        "absent_until_us",
        "agent",
        "client",
        "denied_until_us",
        "draw",
        "life",
        "name",
        "number",
        "operation",
        "plans",
        "protocol",
        "random",
        "session",
        "skew_us",
    )

    def __init__(
        self,
        name: str,
        agent: str,
        session: str,
        number: int,
        plans: Iterator[Plan],
        rng: random.Random,
    ) -> None:
        self.name = name
        self.agent = agent
        self.session = session
        self.number = number
        self.plans = plans
        self.random = rng
        self.draw = rng.random
        self.client: Client | None = None
        self.life = 0
        self.protocol: Protocol[Any] | None = None
        self.operation: Operation | None = None
        self.skew_us = 0
        self.denied_until_us = 0
        self.absent_until_us = 0


class _Batch:
    """The requests of one step of a protocol that go out together, until all are answered."""

    __slots__ = ("left", "replies")

    def __init__(self, count: int) -> None:
        self.replies: list[Any] = [None] * count
        self.left = count


class _Flight:
    """One request on its way: ``cause`` is what its client will be told, if it fails."""

    # What few flights change stands in the class: hundreds are made in each schedule.
    nth = 1
    cause = ""
    back_us = 0
    stale_us = 0
    reply: Any = None

    def __init__(
        self, process: _Process, request: Request, batch: _Batch | None = None, index: int = 0
    ) -> None:
        self.process = process
        self.life = process.life
        # The time in its signature, by the clock of the machine that sends it.
        self.signed_us = 0
        self.request = request
        self.batch = batch
        self.index = index


class Simulation:
    """Runs processes over one store until all plans are done and no request is under way.

    Args:
        seed: for clients that are spawned without random numbers of their own.
        faults: what goes wrong, and how often.
        without: kinds of faults that are drawn as ever, but do not come to pass.
    """

    def __init__(self, seed: int, faults: Faults, without: Collection[str] = ()) -> None:
        self.seed = seed
        self.faults = faults
        self.without = frozenset(without)
        self.now_us = BEGIN_US
        # Buckets do not tell the stamp of what was put; folders do.
        self.store = Bucket(lambda: self.now_us, tells=seed % 2 == 0)
        self.created_us: dict[str, int] = {}
        # The slots that a foreign program was the first to write into.
        self.foreign: set[str] = set()
        self.operations: list[Operation] = []
        self.injected: dict[str, int] = {}
        self.requests = 0
        self.happened: list[Happened] = []
        self.decode = _remembering(decode_version)
        self._verbs = _verbs(self.store) | {Create: self._create}
        self._queue: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._count = 0
        self._spawned = 0
        self._latencies_us = _latencies(faults.latency_s)
        self._fates = _ladder(faults, _REQUEST_FAULTS)
        self._more_fates = {
            Create: _ladder(faults, (*_REQUEST_FAULTS, "conflict")),
            Keep: _ladder(faults, (*_REQUEST_FAULTS, "conflict")),
            List: _ladder(faults, (*_REQUEST_FAULTS, "stale")),
        }
        ladders = (self._fates, *self._more_fates.values())
        self._fate_rate = max(ladder[-1][0] for ladder in ladders)
        self._step_fates = _ladder(faults, ("jump", "crash", "foreign"))
        self._step_rate = self._step_fates[-1][0]

    # -- time ---------------------------------------------------------------------------------

    def at(self, delay_s: float, act: Callable[[], None]) -> None:
        """Schedule an act after some virtual time."""
        self._later(round(delay_s * _SECOND_US), lambda _: act(), None)

    def _later(self, delay_us: int, act: Callable[[Any], None], argument: Any) -> None:
        self._count += 1
        due_us = self.now_us + delay_us
        heappush(self._queue, (due_us, self._count, act, argument))

    def run(self) -> bool:
        """Run until nothing is left to happen; whether that was within bounds."""
        queue = self._queue
        for _ in range(EVENTS_MAX):
            if not queue:
                return True
            self.now_us, _, act, argument = heappop(queue)
            act(argument)
        return False

    def forget(self) -> None:
        """Let go of everything: what points at each other would have to be searched for."""
        vars(self).clear()

    def _note(self, who: str, what: str, thing: Any = None, more: Any = None) -> None:
        self.happened.append((self.now_us, who, what, thing, more))

    # -- clients ------------------------------------------------------------------------------

    def spawn(
        self,
        name: str,
        plans: Iterator[Plan],
        rng: random.Random | None = None,
        *,
        agent: str | None = None,
        session: str | None = None,
        number: int | None = None,
        heads: MemoryHeads | None = None,
    ) -> None:
        """Add a client that carries out its plans one after the other.

        Args:
            name: of the process.
            plans: what it does; drawn one at a time, when the one before has ended.
            rng: all that is drawn for it comes from here.
            agent: whose process it is; by default it is an agent of its own.
            session: which run of the agent it is part of, in all its lives; by default its own.
            number: for the places of its operations; by default one that no other has.
            heads: its cache to begin with; several processes may share one.
        """
        rng = rng or random.Random(f"{self.seed} {name}")  # noqa: S311 - a schedule, not a secret
        self._spawned += 1
        number = _UNNUMBERED + self._spawned if number is None else number
        process = _Process(name, agent or name, session or name, number, plans, rng)
        process.skew_us = self._skew_us(process)
        self._later(round(rng.random() * _SECOND_US), self._born, (process, heads))

    def _skew_us(self, process: _Process) -> int:
        return round(process.random.uniform(-1, 1) * self.faults.skew_s * _SECOND_US)

    def _born(self, birth: tuple[_Process, MemoryHeads | None]) -> None:
        process, heads = birth
        process.life += 1
        draw = process.random.getrandbits

        def nonce() -> str:
            place = process.operation.place if process.operation else None
            return f"{nonce_of(place or (0, 0))}{draw(80):020x}"

        process.client = Client(
            process.agent,
            session=process.session,
            host=process.name,
            software="simulation",
            clock=HybridClock(lambda: self.now_us + process.skew_us),
            heads=heads or MemoryHeads(),
            nonce=nonce,
            jitter=process.random.random,
            monotonic_s=lambda: self.now_us / _SECOND_US,
            decode=self.decode,
        )
        self._next(process)

    def _next(self, process: _Process) -> None:
        plan = next(process.plans, None)
        if plan is not None:
            early_us = BEGIN_US + plan.begin_us - self.now_us
            pause_us = max(round(plan.pause_s * _SECOND_US), early_us)
            self._later(pause_us, self._begin, (process, plan))
        else:
            process.client = None  # its clock points back at the process

    def _begin(self, turn: tuple[_Process, Plan]) -> None:
        process, plan = turn
        assert process.client is not None  # noqa: S101 - who dies takes no plan before it is back
        process.operation = operation = plan.operation
        operation.session = process.session
        operation.invoked_us = self.now_us
        operation.began_us = operation.began_us or self.now_us
        operation.place = operation.place or (process.number, len(self.operations))
        self.operations.append(operation)
        self._note(process.name, "begin", operation)
        process.protocol = guard(process.client, plan.protocol(process.client))
        self._advance(process, None)

    def _advance(self, process: _Process, reply: Any) -> None:
        protocol = process.protocol
        if protocol is None:
            return
        chance = process.draw()
        if chance < self._step_rate and self._befalls(process, chance):
            return
        try:
            failed = isinstance(reply, StoreError)
            step = protocol.throw(reply) if failed else protocol.send(reply)
        except StopIteration as end:
            self._finish(process, "ok", end.value, None)
        except OutcomeUnknown as error:
            self._finish(process, "unknown", None, error)
        except TclogError as error:
            self._finish(process, "refused", None, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not escape
            self._finish(process, "bug", None, TclogError(repr(error), code="bug"))
        else:
            self._dispatch(process, step)

    def _befalls(self, process: _Process, chance: float) -> bool:
        """Let a clock jump, a foreign program write, or a client die; whether it died."""
        fault = self._drawn(chance, self._step_fates)
        if fault == "jump":
            process.skew_us = self._skew_us(process)
            self._note(process.name, "jump", process.skew_us)
        elif fault == "foreign":
            self._meddle(process, random.Random(chance))  # noqa: S311 - a schedule, not a secret
        elif fault == "crash":
            self._crash(process)
        return fault == "crash"

    def _meddle(self, process: _Process, rng: random.Random) -> None:
        """Let a foreign program write beside a client, with random numbers of its own."""
        assert process.operation is not None  # noqa: S101 - one is under way
        known = process.operation.arguments
        chains = known.get("chains") or [known[name] for name in ("chain",) if name in known]
        for request in draw_foreign(self.store, rng, chains, self.now_us):
            self._note(process.name, "fault", request, "foreign")
            self._verbs[type(request)](*request)
            if type(request) is Create:
                self.foreign.add(request.key)

    def _finish(
        self, process: _Process, outcome: str, result: Any, error: TclogError | None
    ) -> None:
        operation = process.operation
        assert operation is not None  # noqa: S101 - one is under way
        operation.outcome, operation.result, operation.error = outcome, result, error
        operation.returned_us = self.now_us
        _untie(error)
        self._note(process.name, "end", operation)
        process.protocol = None
        self._next(process)

    def _crash(self, process: _Process) -> None:
        operation, protocol = process.operation, process.protocol
        assert operation is not None  # noqa: S101 - one is under way
        assert protocol is not None  # noqa: S101 - as above
        protocol.close()
        operation.outcome, operation.returned_us = "unknown", self.now_us
        process.protocol = None
        process.life += 1
        kept = process.random.random() < 0.5
        self._note(process.name, "crash", operation, kept)
        heads = process.client.heads if process.client and kept else None
        assert heads is None or isinstance(heads, MemoryHeads)  # noqa: S101 - as made above
        back_us = round(process.random.random() * 30 * _SECOND_US)
        self._later(back_us, self._born, (process, heads))

    # -- requests -----------------------------------------------------------------------------

    def _dispatch(self, process: _Process, step: Any) -> None:
        kind = type(step)
        if kind is Sleep:
            self._later(round(step.seconds * _SECOND_US), self._answered, _Flight(process, step))
        elif kind is not tuple:
            self._send(_Flight(process, step))
        elif step:
            batch = _Batch(len(step))
            for index, one in enumerate(step):
                flight = _Flight(process, one, batch, index)
                if type(one) is Sleep:
                    self._later(round(one.seconds * _SECOND_US), self._answered, flight)
                else:
                    self._send(flight)
        else:
            self._advance(process, [])

    def _answered(self, flight: _Flight) -> None:
        process, batch, reply = flight.process, flight.batch, flight.reply
        if process.life != flight.life:
            return  # the answer reaches a client that has died meanwhile
        if batch is None:
            self._advance(process, reply)
            return
        batch.replies[flight.index] = reply
        batch.left -= 1
        if not batch.left:
            self._advance(process, batch.replies)

    def _send(self, flight: _Flight) -> None:
        """Send one request; its fate is drawn now, and comes to pass in virtual time.

        The same four numbers are drawn whatever comes of them, so that a fault which is switched
        off changes nothing that is drawn after it.
        """
        self.requests += 1
        flight.signed_us = self.now_us + flight.process.skew_us
        draw = flight.process.draw
        chance, x = draw(), draw()
        there_us = self._latencies_us[int(draw() * _LATENCIES)]
        flight.back_us = back_us = self._latencies_us[int(draw() * _LATENCIES)]
        fate = self._fate_of(flight, chance)
        if fate is None:
            # As in _later, without the call: this is where a schedule spends its time.
            self._count = count = self._count + 1
            heappush(self._queue, (self.now_us + there_us, count, self._arrive, flight))
            return
        self._note(flight.process.name, "fault", flight.request, fate)
        told_us = _QUICK_US if x * 64 % 1 < 0.5 else round(self.faults.timeout_s * _SECOND_US)
        flight.cause = fate
        match fate:
            case "lost_before":
                self._later(told_us, self._fail, flight)
            case "lost_after":
                self._later(there_us, self._carry_out, flight)
                self._later(there_us + told_us, self._fail, flight)
            case "zombie":
                late_us = round(x * self.faults.zombie_s * _SECOND_US)
                self._later(late_us, self._carry_out, flight)
                self._later(told_us, self._fail, flight)
            case "conflict":
                flight.cause = "409"
                self._later(there_us, self._fail, flight)
            case "throttled":
                flight.cause = "503" if x * 16 % 1 < 0.5 else "429"
                if x < 0.5:
                    self._later(there_us, self._carry_out, flight)
                self._later(there_us + back_us, self._fail, flight)
            case "denied":
                self._deny(flight.process, x)
                self._later(there_us + back_us, self._denied, flight)
            case "absent":
                self._hide(flight, x, there_us)
            case "duplicate":
                self._later(there_us, self._carry_out, flight)
                self._later(round(there_us * (1 + x)), self._arrive, flight)
            case "stale":
                flight.stale_us = round(x * self.faults.stale_s * _SECOND_US)
                self._later(there_us, self._arrive, flight)

    def _fate_of(self, flight: _Flight, chance: float) -> str | None:
        """Draw what befalls a request; None: nothing."""
        if self.now_us < flight.process.denied_until_us:
            return "denied"
        if self.now_us < flight.process.absent_until_us:
            return "absent"
        if chance >= self._fate_rate:
            return None
        return self._drawn(chance, self._more_fates.get(type(flight.request), self._fates))

    def _drawn(self, chance: float, ladder: tuple[tuple[float, str], ...]) -> str | None:
        for bound, fault in ladder:
            if chance < bound:
                if fault in self.without:
                    return None
                self.injected[fault] = self.injected.get(fault, 0) + 1
                return fault
        return None

    def _arrive(self, flight: _Flight) -> None:
        self._carry_out(flight)
        self._count = count = self._count + 1  # as above
        heappush(self._queue, (self.now_us + flight.back_us, count, self._answered, flight))

    def _carry_out(self, flight: _Flight) -> None:
        request = flight.request
        if abs(self.now_us - flight.signed_us) > SIGNED_US:
            flight.reply = StoreDenied("simulated: the request has expired")
            self._note(flight.process.name, "fault", request, "expired")
            return
        if flight.stale_us and isinstance(request, List):
            reply = self._list_then(request, self.now_us - flight.stale_us)
        else:
            reply = self._verbs[type(request)](*request)
        flight.reply = reply
        self.happened.append((self.now_us, flight.process.name, "request", request, reply))

    def _create(self, key: str, data: bytes) -> Created:
        created = self.store.create(key, data)
        if created.outcome is Outcome.WON:
            self.created_us[key] = self.now_us
        return created

    def _list_then(self, request: List, then_us: int) -> list[Entry]:
        """List as the store was at an earlier time."""
        latest = stamp(then_us)
        entries = self.store.list(request.prefix, request.after, EVERYTHING, False)
        old = [entry for entry in entries if (entry.stored or "") <= latest]
        if not request.folders:
            return old[: request.limit]
        cut = len(request.prefix) + 1
        folders = {e.key[: e.key.index("/", cut) + 1] for e in old if "/" in e.key[cut:]}
        return [Entry(key) for key in sorted(folders)][: request.limit]

    def _deny(self, process: _Process, x: float) -> None:
        """Refuse all of a client's requests for a while, unless that is the case already."""
        if self.now_us >= process.denied_until_us:
            process.denied_until_us = self.now_us + round(x * self.faults.denied_s * _SECOND_US)

    def _hide(self, flight: _Flight, x: float, there_us: int) -> None:
        """Answer 404, and do so for a while: what asks for an object finds nothing."""
        process, kind = flight.process, type(flight.request)
        if self.now_us >= process.absent_until_us:
            process.absent_until_us = self.now_us + round(x * self.faults.absent_s * _SECOND_US)
        if kind is Stat:
            self._later(there_us + flight.back_us, self._answered, flight)
        elif kind in (Get, List):
            self._later(there_us + flight.back_us, self._fail, flight)
        else:
            self._later(there_us, self._arrive, flight)

    def _denied(self, flight: _Flight) -> None:
        """Answer that a request was refused; of those before it, if any, that says nothing."""
        told = StoreDenied if flight.nth == 1 else StoreUnreachable
        flight.reply = told("simulated: access denied")
        self._answered(flight)

    def _fail(self, flight: _Flight) -> None:
        if flight.process.life != flight.life:
            return  # who has died sends nothing again
        if type(flight.request) is Create:
            flight.reply = Created(Outcome.UNKNOWN, cause=flight.cause)
        elif flight.nth < TRIES_MAX:
            again = _Flight(flight.process, flight.request, flight.batch, flight.index)
            again.nth = flight.nth + 1
            self._send(again)
            return
        else:
            flight.reply = StoreUnreachable(f"simulated: {flight.cause}")
        self._answered(flight)


def _untie(error: BaseException | None) -> None:
    """Part errors from the frames they went through, which hold them: nobody looks there."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


@lru_cache(maxsize=8)
def _latencies(latency_s: float) -> tuple[int, ...]:
    """Return equally likely latencies in microseconds, log-normal around a median."""
    normal = NormalDist(0, 0.6)
    places = ((number + 0.5) / _LATENCIES for number in range(_LATENCIES))
    return tuple(round(latency_s * math.exp(normal.inv_cdf(at)) * _SECOND_US) for at in places)


@lru_cache(maxsize=64)
def _ladder(faults: Faults, kinds: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
    """Stack the rates of some kinds: the first bound above a drawn number is its kind."""
    total, steps = 0.0, []
    for kind in kinds:
        total += getattr(faults, kind)
        steps.append((total, kind))
    return tuple(steps)


def _remembering(decode: Decode) -> Decode:
    """Decode the bytes of each version once: every client and every oracle reads the same ones."""
    known: dict[tuple[bytes, ChainId, int, Stamp | None], Version] = {}

    def decoded(raw: bytes, *, chain: ChainId, seq: int, stored: Stamp | None = None) -> Version:
        asked = raw, chain, seq, stored
        version = known.get(asked)
        if version is None:
            version = known[asked] = decode(raw, chain=chain, seq=seq, stored=stored)
        return version

    return decoded


def _verbs(store: Bucket) -> dict[type, Callable[..., Any]]:
    """Return what carries out each request, given its fields; those of files are not simulated."""
    return {
        Get: store.get,
        Put: store.put,
        Keep: store.keep,
        List: store.list,
        Stat: store.stat,
        Delete: lambda keys: store.delete(*keys),
    }
