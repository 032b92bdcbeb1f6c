"""Random work for simulated clients, and one call that runs a schedule and judges it."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.heads import MemoryHeads
from tclog.domain import steps as domain
from tclog.errors import NotFound
from tclog.event import chain_id, slot_key
from tclog.log import claims, handoff, inbox, memory, steps
from tclog.maintenance.void import void
from tclog.testing import damage, linear, oracles, transactions
from tclog.testing.faults import ALL_FAULTS, KINDS, Faults
from tclog.testing.scheduler import Happened, Operation, Place, Plan, Simulation
from tclog.testing.trace import digest_trace, write_trace

CLIENTS_MIN, CLIENTS_MAX = 3, 8
OPERATIONS = 12
REPEATS_MAX = 2
# The numbers of what ends junk begin here: beyond those of all operations that are drawn.
VOIDS = 1 << 20
KEYS = ("k", "n", "log")
STEPS = ("build", "test", "ship")
# What there is to do, and how often each is drawn.
WORK = {"memory": 35, "message": 25, "step": 40, "txn": 20}
# Transactions take several times as many requests as anything else, so they have runs of their own.
USUAL = ("memory", "message", "step")
# Ends and reopenings are frequent, so that what a client remembers is often out of date.
_STEP_WORK = (
    *("claim", "claim", "claim", "next", "move", "steal", "note", "complete"),
    *("complete", "release", "renew", "renew", "reopen", "reopen"),
)
# What is done to a claim, with its token or without.
_OF_CLAIMS = ("move", "complete", "release", "renew")
# The place of all weak clients of an agent.
WEAK_SESSION = "~shell"
# Mostly at once, sometimes after minutes: leases must have time to end.
_PAUSES_S = (0.0, 0.01, 0.5, 5.0, 60.0)
_CHANGES = {"set": "k", "guarded": "k", "incr": "n", "append": "log"}

# Operations by client and number, each with the microsecond before which it does not begin.
Keep = tuple[tuple[Place, int], ...]
Act = Callable[[Client, str | None], Protocol[Any]]


class Schedule(NamedTuple):
    """Everything that a run depends on.

    ``clients`` is drawn from the seed where it is 0. ``keep`` names the operations that are carried
    out, each with the microsecond before which it does not begin; None means all. What is left out,
    and the kinds of faults in ``without``, change nothing of what is drawn for the rest.
    """

    seed: int
    clients: int = 0
    operations: int = OPERATIONS
    work: tuple[str, ...] = USUAL
    faults: Faults = ALL_FAULTS
    without: frozenset[str] = frozenset()
    keep: Keep | None = None

    def command(self) -> str:
        """Return the command that replays this schedule."""
        return " ".join(["python -m tclog.testing --seed", str(self.seed), *self.options()])

    def options(self) -> list[str]:
        """Return the options of the command that tell it from the usual one, but for its seed."""
        words = []
        if self.clients:
            words += ["--clients", str(self.clients)]
        if self.operations != OPERATIONS:
            words += ["--operations", str(self.operations)]
        if self.work != USUAL:
            words += ["--work", ",".join(self.work)]
        changed = [name for name in Faults._fields if _rate(self, name) != _rate(None, name)]
        for name in changed:
            words += ["--rate", f"{name}={_rate(self, name):g}"]
        if self.without:
            words += ["--without", ",".join(sorted(self.without))]
        if self.keep is not None:
            words += ["--keep", write_keep(self.keep)]
        return words


def write_keep(keep: Keep) -> str:
    """Write which operations are kept, as ``--keep`` takes them: ``0.3,1.7@12.345678``."""
    return ",".join(
        f"{client}.{number}" + (f"@{begin_us / 1e6:.6f}" if begin_us else "")
        for (client, number), begin_us in sorted(keep)
    )


def read_keep(text: str) -> Keep:
    """Read what ``write_keep`` writes.

    Raises:
        ValueError: it is something else.
    """
    keep: dict[Place, int] = {}
    for word in text.split(","):
        place, _, begin_s = word.partition("@")
        client, _, number = place.partition(".")
        keep[int(client), int(number)] = round(float(begin_s or 0) * 1e6)
    return tuple(sorted(keep.items()))


def _rate(schedule: Schedule | None, name: str) -> float:
    return float(getattr(ALL_FAULTS if schedule is None else schedule.faults, name))


class Report(NamedTuple):
    """What one schedule showed.

    Each violation begins with the promise that it breaks, a word and a colon. ``injected`` counts
    the faults by kind, ``outcomes`` the operations by how they ended.
    """

    schedule: Schedule
    violations: tuple[str, ...]
    done: tuple[Operation, ...]
    outcomes: dict[str, int]
    requests: int
    injected: dict[str, int]
    happened: Sequence[Happened]

    @property
    def seed(self) -> int:
        """The seed of the schedule."""
        return self.schedule.seed

    @property
    def operations(self) -> int:
        """How many operations were carried out, repetitions included."""
        return len(self.done)

    @property
    def trace(self) -> str:
        """A digest of everything that happened, in order."""
        return digest_trace(self.happened)

    def write(self) -> Iterator[str]:
        """Say everything that happened, line by line."""
        return write_trace(self.happened)


def simulate(
    seed: int,
    *,
    faults: Faults | None = None,
    clients: int = 0,
    operations: int = OPERATIONS,
    work: Collection[str] = USUAL,
) -> Report:
    """Run the schedule of a seed with random work, and check every promise.

    Args:
        seed: the schedule; the same seed gives the same trace.
        faults: what goes wrong; by default everything.
        clients: how many processes; 3 to 8 by default, drawn from the seed.
        operations: how many each carries out.
        work: the kinds of operations: memory, message, step (by default these), txn.
    """
    return run_schedule(Schedule(seed, clients, operations, tuple(work), faults or ALL_FAULTS))


def run_schedule(
    schedule: Schedule,
    beside: Sequence[Callable[[random.Random], Iterator[Plan]]] = (),
) -> Report:
    """Run a schedule and check every promise.

    Args:
        schedule: what to run.
        beside: further clients, maintenance for one, each made from its random numbers. The oracles
            look at what they leave in the store, and at their operations as at any other.
    """
    simulation = Simulation(schedule.seed, schedule.faults, schedule.without)
    rng = random.Random(schedule.seed)  # noqa: S311 - a schedule, not a secret
    drawn = rng.randint(CLIENTS_MIN, CLIENTS_MAX)
    count = schedule.clients or drawn
    agents = [f"agent-{number}" for number in range(count)]
    caches = [MemoryHeads() for _ in agents]
    sessions = [f"s-{number}" for number in range(count)]
    if count > 2 and rng.random() < 0.4:
        # One agent may well be at work in several processes, with one cache, as sessions of its
        # own: strong ones, weak ones that share an id, or one strong one.
        twins = range(count - (2 if count > 3 and rng.random() < 0.5 else 1), count)
        sessions[0] = rng.choice(("s-0", "s-0", WEAK_SESSION))
        for number in twins:
            agents[number] = agents[0]
            caches[number] = caches[0] if rng.random() < 0.5 else caches[number]
            sessions[number] = rng.choice((sessions[number],) * 3 + (WEAK_SESSION,) * 2 + ("s-0",))
    held: dict[str, dict[str, int]] = {agent: {} for agent in agents}
    for number, agent in enumerate(agents):
        chosen = dict.fromkeys(range(schedule.operations), 0)
        if schedule.keep is not None:
            chosen = {n: begin_us for (client, n), begin_us in schedule.keep if client == number}
        if chosen:
            own = random.Random(_mixed(schedule.seed, number, 0))  # noqa: S311 - as above
            drawer = _Drawer(schedule, own, agents, agent, sessions[number], held[agent])
            simulation.spawn(
                f"client-{number}",
                _plans(schedule, drawer, number, chosen),
                own,
                agent=agent,
                session=sessions[number],
                number=number,
                heads=caches[number],
            )
    for number, make in enumerate(beside):
        own = random.Random(_mixed(schedule.seed, count + number, 0))  # noqa: S311 - as above
        simulation.spawn(f"beside-{number}", make(own), own)
    ended = simulation.run()
    done = simulation.operations
    outcomes: dict[str, int] = {}
    for operation in done:
        outcomes[operation.outcome] = outcomes.get(operation.outcome, 0) + 1
    report = Report(
        schedule,
        tuple(_judged(simulation)) if ended else ("ends: the schedule does not end",),
        tuple(done),
        outcomes,
        simulation.requests,
        simulation.injected,
        simulation.happened,
    )
    simulation.forget()
    return report


def _mixed(seed: int, client: int, number: int) -> int:
    """Name the random numbers of one operation: no two of any schedule are alike."""
    return ((seed * 1024) + client) * 65_536 + number


def _judged(simulation: Simulation) -> list[str]:
    """Judge a schedule; what is so broken that it cannot be judged is broken."""
    violations: list[str] = []
    try:
        violations.extend(judge(simulation))
    except Exception as error:  # noqa: BLE001 - the seed has to be told, whatever it is
        violations.append(f"judge: what is left cannot be judged: {error!r}")
    return violations


def judge(simulation: Simulation) -> Iterator[str]:
    """Check every promise on a schedule that has ended; each sentence begins with its promise."""
    done, created_us = simulation.operations, simulation.created_us
    # Where no foreign program was, every object is of the protocol's.
    foreign = "foreign" in simulation.injected
    chains, broken = oracles.read_chains(
        simulation.store, created_us, simulation.decode, foreign=foreign
    )
    yield from (f"chains: {sentence}" for sentence in broken)
    if broken:
        return  # what was told cannot be compared with chains that are none
    appends = oracles.appends_of(done, chains)
    fresh = not simulation.faults.stale
    shown_us = oracles.shown_since(chains, created_us)
    spots = damage.spots_of(simulation.foreign, chains, created_us)
    checks: dict[str, Iterator[str]] = {
        "stamps": oracles.check_stamps(chains, created_us),
        "windows": oracles.check_windows(
            chains, created_us, set_clocks="jump" in simulation.injected
        ),
        "writes": oracles.check_appends(appends, fresh=fresh),
        "order": oracles.check_real_time(appends),
        "leases": oracles.check_leases(chains, created_us),
        "claims": oracles.check_claims(done, chains),
        "sessions": oracles.check_sessions(done, chains),
        "fences": oracles.check_fences(appends, chains),
        "inboxes": oracles.check_inboxes(done),
        "broadcasts": oracles.check_broadcasts(chains),
        "errors": _check_errors(done),
        "damage": damage.check_told(done, chains, spots, fresh=fresh),
        "ends": damage.check_ends(done, chains),
        "units": transactions.check_units(done, chains),
        "whole": transactions.check_whole(appends),
    }
    if fresh:
        # A first read rests on the listing: where that lies, what is told may be old.
        checks |= {
            "reads": oracles.check_reads(done, appends, chains),
            "guards": oracles.check_guards(done, chains, shown_us),
            "refusals": oracles.check_refusals(done, chains, shown_us),
            "kept": oracles.check_kept(done, chains, shown_us),
            "arrivals": oracles.check_arrivals(done),
            "junk": damage.check_met(done, spots),
            "linear": _check_linear(done, chains, created_us, foreign=simulation.foreign),
            "serial": transactions.check_serial(done, appends, chains),
        }
    if foreign:
        now_us = simulation.now_us
        checks["readers"] = damage.check_readers(simulation.store, done, chains, spots, now_us)
    for promise, sentences in checks.items():
        yield from (f"{promise}: {sentence}" for sentence in sentences)


def _check_errors(done: Sequence[Operation]) -> Iterator[str]:
    for operation in done:
        if operation.outcome == "bug":
            yield f"an exception escaped: {operation}"


def _check_linear(
    done: Sequence[Operation],
    chains: oracles.Chains,
    created_us: Mapping[str, int],
    *,
    foreign: Collection[str],
) -> Iterator[str]:
    for key, calls in linear.histories_of(done).items():
        if foreign:
            # Junk and what ends it take numbers and change nothing; neither does a foreign version.
            chain = chain_id("memory", key)
            seqs = [one.seq for one in chains.versions.get(chain, ()) if not one.void]
            calls = linear.renumber(calls, seqs)  # noqa: PLW2901 - the same calls
            for slot in (slot for seq in seqs if (slot := slot_key(chain, seq)) in foreign):
                calls.append(linear.Call("skip", created_us[slot], created_us[slot]))
        if linear.is_linearizable(calls) is False:
            yield f"no order of the {len(calls)} calls of memory/{key} explains what they answered"


# -- what clients do ------------------------------------------------------------------------------


def _plans(
    schedule: Schedule, drawer: _Drawer, number: int, chosen: Mapping[int, int]
) -> Generator[Plan, None, None]:
    """Draw one operation after the other; what is unknown is sometimes repeated."""
    rng = drawer.rng
    for nth in range(schedule.operations):
        if nth not in chosen:
            continue
        # Numbers of its own for each operation: see the module docstring of the scheduler.
        rng.seed(_mixed(schedule.seed, number, nth + 1))
        pause_s = drawer.pause_s()
        operation, act = drawer.draw((number, nth), f"t-{number}-{nth}")
        key: str | None = operation.arguments.get("id_key")
        repeats = rng.random() < 0.7
        begin_us = chosen[nth]
        yield Plan(operation, lambda c, act=act, key=key: act(c, key), pause_s, begin_us)  # type: ignore[misc]
        drawer.learn(operation)
        yield from _ends_of(drawer, operation, (number, VOIDS + nth))
        for _ in range(REPEATS_MAX):
            if operation.outcome != "unknown" or not repeats:
                break
            if key is None and operation.error is not None:
                key = operation.error.details.get("id_key")
            if key is None:
                break  # a client that died without a key cannot know what became of it
            # All tries of an operation have one token, so together they may apply once.
            again = Operation(operation.agent, operation.name, operation.arguments, (number, nth))
            again.began_us, again.repeats = operation.began_us, True
            operation = again
            wait_s = drawer.pause_s()
            yield Plan(operation, lambda c, act=act, key=key: act(c, key), wait_s)  # type: ignore[misc]
            drawer.learn(operation)
            yield from _ends_of(drawer, operation, (number, VOIDS + nth))


def _ends_of(drawer: _Drawer, operation: Operation, place: Place) -> Iterator[Plan]:
    """Draw whether a client that was stopped by junk ends that."""
    junk = damage.junk_met(operation)
    if junk is None or drawer.rng.random() < 0.4:
        return
    chain, seq = junk.chain, junk.seq
    ends = Operation(operation.agent, "void", {"chain": chain, "seq": seq}, place)
    yield Plan(ends, lambda c: void(c, None, chain, seq, "simulated"), drawer.pause_s())


class _Drawer:
    """Draws operations for one client, from what it has seen of versions and tokens.

    ``held`` is what the sessions of its agent tell each other of their tokens.
    """

    def __init__(
        self,
        schedule: Schedule,
        rng: random.Random,
        agents: list[str],
        agent: str,
        session: str,
        held: dict[str, int],
    ) -> None:
        self.rng = rng
        self.agents = agents
        self.agent = agent
        self.session = session
        self.work = [kind for kind in schedule.work for _ in range(WORK[kind])]
        self.pause_s_max = schedule.faults.pause_s
        self.held = held
        self.seen: dict[str, int] = {}

    def learn(self, operation: Operation) -> None:
        """Remember what an operation told about tokens and versions."""
        if operation.outcome != "ok" or operation.result is None:
            return
        if operation.name in ("step.claim", "step.next"):
            self.held[operation.result.id] = operation.result.fence
        elif operation.name.startswith("memory."):
            self.seen[operation.result.key] = operation.result.version

    def pause_s(self) -> float:
        """Draw how long to wait before the next operation."""
        pause_s: float = min(self._one_of(_PAUSES_S), self.pause_s_max)
        return pause_s * self.rng.random()

    def _one_of(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.random() * len(choices))]

    def draw(self, place: Place, token: str) -> tuple[Operation, Act]:
        """Draw one operation, and what carries it out under an idempotency key or none."""
        kind = self._one_of(self.work)
        id_key = token if self.rng.random() < 0.5 else None
        match kind:
            case "memory":
                name, act, arguments = self._memory(token)
            case "message":
                name, act, arguments = self._message(token)
            case "txn":
                name, act, arguments = transactions.draw(self._one_of, self.agents, token)
            case _:
                name, act, arguments = self._step(token)
        if id_key is not None and "token" in arguments:
            arguments["id_key"] = id_key
        return Operation(self.agent, name, arguments, place), act

    def _memory(self, token: str) -> tuple[str, Act, dict[str, Any]]:
        what = self._one_of(("set", "guarded", "incr", "append", "get"))
        if what == "get":
            key = self._one_of(KEYS)
            chain = chain_id("memory", key)
            return "memory.get", lambda c, _: _get(c, key), {"chain": chain, "key": key}
        key = _CHANGES[what]
        arguments: dict[str, Any] = {"chains": (chain_id("memory", key),), "token": token}
        arguments["key"] = key
        act: Act
        match what:
            case "incr":
                act = lambda c, i: memory.incr_value(c, key, id=i)  # noqa: E731
            case "append":
                act = lambda c, i: memory.append_value(c, key, token, id=i)  # noqa: E731
            case _:
                version = self.seen.get("k", 0) if what == "guarded" else None
                arguments["if_version"] = version
                act = lambda c, i: memory.set_value(c, key, token, if_version=version, id=i)  # noqa: E731
        return f"memory.{what}", act, arguments

    def _message(self, token: str) -> tuple[str, Act, dict[str, Any]]:
        what = self.rng.random()
        if what < 0.3:
            return "inbox.read", lambda c, _: inbox.read_inbox(c, everything=True), {}
        # Few recipients, so that their chains are contended.
        if what < 0.5:
            names = ["@all"]
        else:
            names = self.agents[:2] if what < 0.6 else [self._one_of(self.agents[:2])]
        to, chains = ",".join(names), tuple(chain_id("inbox", name) for name in names)
        arguments = {"chains": chains, "token": token, "to": to}
        return "message.send", lambda c, i: inbox.send_message(c, to, token, id=i), arguments

    def _step(self, token: str) -> tuple[str, Act, dict[str, Any]]:
        step, agent, session = self._one_of(STEPS), self.agent, self.session
        what = self._one_of(_STEP_WORK)
        if step not in self.held and what in _OF_CLAIMS:
            what = "claim"
        fence = self.held.get(step) if what == "move" or self.rng.random() < 0.6 else None
        chain = chain_id("step", step)
        arguments: dict[str, Any] = {"chain": chain, "chains": (chain,), "token": token}
        # A refusal that rests on the state alone is checked against every state that was met.
        command: domain.Command | None = None
        act: Act
        match what:
            case "claim" | "move" | "steal" | "next":
                return self._claim(what, step, fence, arguments)
            case "note":
                act = lambda c, i: steps.note_step(c, step, token, id=i)  # noqa: E731
            case "complete":
                command = domain.Complete(step, agent, domain.COMPLETE, fence, session=session)
                act = lambda c, i: handoff.complete_step(c, step, fence=fence, id=i)  # noqa: E731
            case "release":
                command = domain.Release(step, agent, fence, session)
                act = lambda c, i: claims.release_step(c, step, fence=fence, id=i)  # noqa: E731
            case "renew":
                command = domain.Renew(step, agent, None, fence, session)
                act = lambda c, i: claims.renew_step(c, step, fence=fence, id=i)  # noqa: E731
            case _:
                act = lambda c, i: steps.reopen_step(c, step, id=i)  # noqa: E731
        arguments["command"] = command
        if what in _OF_CLAIMS:
            arguments["fence"] = fence
        # Ending what one has ended, and reopening what is pending, change nothing.
        arguments["idle"] = what in ("complete", "reopen")
        return f"step.{what}", act, arguments

    def _claim(
        self, what: str, step: str, fence: int | None, arguments: dict[str, Any]
    ) -> tuple[str, Act, dict[str, Any]]:
        """Draw how a step is asked for: plainly, by its token, by force, or any that is ready."""
        lease_s = self._one_of((2.0, 10.0, 40.0))
        if what == "next":
            chains = tuple(chain_id("step", name) for name in STEPS)
            act: Act = lambda c, _: claims.claim_next(c, lease_s=lease_s)  # noqa: E731
            return "step.next", act, {"chains": chains, "idle": True}
        fence = fence if what == "move" else None
        steal = "it does not answer" if what == "steal" else None
        if steal is None:
            arguments["command"] = domain.Claim(
                step, self.agent, round(lease_s * 1000), session=self.session, fence=fence
            )
        arguments |= {"lease_s": lease_s, "fence": fence, "steal": steal}
        act = lambda c, i: claims.claim_step(  # noqa: E731
            c, step, lease_s=lease_s, fence=fence, steal=steal, id_key=i
        )
        return "step.claim", act, arguments


def _get(client: Client, key: str) -> Protocol[Any]:
    try:
        return (yield from memory.get_value(client, key))
    except NotFound:
        return None


def check_kinds(kinds: Collection[str]) -> None:
    """Refuse words that are no kinds of faults.

    Raises:
        ValueError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            msg = f"{kind!r} is no kind of fault; there are {', '.join(KINDS)}"
            raise ValueError(msg)
