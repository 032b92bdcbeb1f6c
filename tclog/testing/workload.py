"""Random work for simulated clients, and one call that runs a schedule and judges it."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.domain import steps as domain
from tclog.errors import NotFound
from tclog.event import ALL, chain_id
from tclog.log import claims, handoff, inbox, memory, steps
from tclog.testing import oracles
from tclog.testing.faults import Faults
from tclog.testing.scheduler import Operation, Plan, Simulation

KEYS = ("k", "n", "log")
# Ends and reopenings are frequent, so that what a client remembers is often out of date.
_STEP_WORK = (
    *("claim", "claim", "claim", "note", "complete"),
    *("complete", "release", "renew", "reopen", "reopen"),
)
STEPS = ("build", "test", "ship")


class Report(NamedTuple):
    """What one schedule showed."""

    seed: int
    violations: tuple[str, ...]
    trace: str
    operations: int
    outcomes: dict[str, int]
    requests: int
    injected: dict[str, int]


def simulate(
    seed: int,
    *,
    faults: Faults | None = None,
    clients: int | None = None,
    operations: int = 12,
) -> Report:
    """Run the schedule of a seed with random work, and check every promise.

    Args:
        seed: the schedule; the same seed gives the same trace.
        faults: what goes wrong; by default everything.
        clients: how many agents; 3 to 8 by default, drawn from the seed.
        operations: how many each carries out.
    """
    simulation = Simulation(seed, faults or Faults())
    count = clients or simulation.random.randint(3, 8)
    names = [f"agent-{number}" for number in range(count)]
    for name in names:
        simulation.spawn(name, _plans(simulation.random, name, names, operations))
    simulation.run()
    done = simulation.operations
    outcomes: dict[str, int] = {}
    for operation in done:
        outcomes[operation.outcome] = outcomes.get(operation.outcome, 0) + 1
    return Report(
        seed,
        tuple(judge(simulation)),
        simulation.trace,
        len(done),
        outcomes,
        simulation.requests,
        simulation.injected,
    )


def judge(simulation: Simulation) -> Iterator[str]:
    """Check every promise on a schedule that has ended."""
    chains, broken = oracles.read_chains(simulation.store)
    yield from broken
    if broken:
        return
    done = simulation.operations
    appends = oracles.appends_of(done, chains)
    yield from oracles.check_appends(appends)
    yield from oracles.check_real_time(appends)
    yield from oracles.check_reads(done, appends, chains)
    yield from oracles.check_guards(done, chains, simulation.created_us)
    yield from oracles.check_leases(chains, simulation.created_us)
    yield from oracles.check_claims(done, chains)
    yield from oracles.check_refusals(done, chains, simulation.created_us)
    yield from oracles.check_inboxes(done)
    yield from oracles.check_broadcasts(chains)
    for operation in done:
        if operation.error is not None and operation.error.exit == 8:
            yield f"a sound log was called damaged: {operation.error.message}: {operation}"


def _plans(
    rng: random.Random, agent: str, names: list[str], operations: int
) -> Generator[Plan, None, None]:
    """Draw one operation after the other; what is unknown is sometimes repeated under its key."""
    held: dict[str, int] = {}
    seen: dict[str, int] = {}
    for number in range(operations):
        token = f"t-{agent}-{number}"
        keyed = rng.random() < 0.5
        plan = _draw(rng, agent, names, token, token if keyed else None, held, seen)
        yield plan
        _learn(plan.operation, held, seen)
        for _ in range(2):
            if plan.operation.outcome != "unknown" or not keyed:
                break
            # The operation's token is its key, so all its tries together may apply once.
            again = Operation(agent, plan.operation.name, plan.operation.arguments)
            again.began_us, again.repeats = plan.operation.began_us, True
            plan = Plan(again, plan.protocol)
            yield plan
            _learn(again, held, seen)


def _learn(operation: Operation, held: dict[str, int], seen: dict[str, int]) -> None:
    if operation.outcome != "ok" or operation.result is None:
        return
    if operation.name == "step.claim":
        held[operation.result.id] = operation.result.fence
    elif operation.name.startswith("memory."):
        seen[operation.result.key] = operation.result.version


def _draw(
    rng: random.Random,
    agent: str,
    names: list[str],
    token: str,
    id_key: str | None,
    held: dict[str, int],
    seen: dict[str, int],
) -> Plan:
    kind = rng.random()
    if kind < 0.35:
        return _draw_memory(rng, agent, token, id_key, seen)
    if kind < 0.6:
        return _draw_message(rng, agent, names, token, id_key)
    return _draw_step(rng, agent, token, id_key, held)


def _plan(
    agent: str, name: str, protocol: Callable[[Client], Protocol[Any]], **arguments: Any
) -> Plan:
    return Plan(Operation(agent, name, arguments), protocol)


def _draw_memory(
    rng: random.Random, agent: str, token: str, id_key: str | None, seen: dict[str, int]
) -> Plan:
    what = rng.choice(("set", "guarded", "incr", "append", "get"))
    key = {"incr": "n", "append": "log"}.get(what, rng.choice(("k", "n")))
    chain = chain_id("memory", key if what != "set" else "k")
    if what == "get":
        return _plan(agent, "memory.get", lambda c: _get(c, key), chain=chain)
    version = seen.get("k", 0)
    change: Callable[[Client], Protocol[Any]]
    if what == "incr":
        change = lambda c: memory.incr_value(c, "n", id_key=id_key or token)  # noqa: E731
    elif what == "append":
        change = lambda c: memory.append_value(c, "log", token, id_key=id_key)  # noqa: E731
    elif what == "set":
        change = lambda c: memory.set_value(c, "k", token, id_key=id_key)  # noqa: E731
    else:
        chain = chain_id("memory", "k")
        change = lambda c: memory.set_value(c, "k", token, if_version=version, id_key=id_key)  # noqa: E731
    guard = {"if_version": version} if what == "guarded" else {}
    return _plan(agent, f"memory.{what}", change, chains=(chain,), token=token, **guard)


def _get(client: Client, key: str) -> Protocol[Any]:
    try:
        return (yield from memory.get_value(client, key))
    except NotFound:
        return None


def _draw_message(
    rng: random.Random, agent: str, names: list[str], token: str, id_key: str | None
) -> Plan:
    what = rng.random()
    if what < 0.3:
        return _plan(agent, "inbox.read", lambda c: inbox.read_inbox(c, everything=True))
    # Few recipients, so that their chains are contended.
    to = "@all" if what < 0.5 else rng.choice(names[:2])
    chain = ALL if to == "@all" else chain_id("inbox", to)
    return _plan(
        agent,
        "message.send",
        lambda c: inbox.send_message(c, to, token, id_key=id_key),
        chains=(chain,),
        token=token,
        to=to,
    )


def _draw_step(
    rng: random.Random, agent: str, token: str, id_key: str | None, held: dict[str, int]
) -> Plan:
    step = rng.choice(STEPS)
    chain = chain_id("step", step)
    # Steps carry no text of ours everywhere, so each operation has its token as its key.
    key = id_key or token
    what = rng.choice(_STEP_WORK)
    if step not in held and what in ("complete", "release", "renew"):
        what = "claim"
    lease_s = rng.choice((2.0, 10.0, 40.0))
    fence = held.get(step)
    operations: dict[str, Callable[[Client], Protocol[Any]]] = {
        "claim": lambda c: claims.claim_step(c, step, lease_s=lease_s, id_key=key),
        "note": lambda c: steps.note_step(c, step, token, id_key=key),
        "complete": lambda c: handoff.complete_step(c, step, fence=fence, id_key=key),
        "release": lambda c: claims.release_step(c, step, fence=fence, id_key=key),
        "renew": lambda c: claims.renew_step(c, step, fence=fence, id_key=key),
        "reopen": lambda c: steps.reopen_step(c, step, id_key=key),
    }
    # Those whose refusal rests on the state alone are checked against every state they met.
    commands: dict[str, domain.Command] = {
        "claim": domain.Claim(step, agent, round(lease_s * 1000)),
        "release": domain.Release(step, agent, fence),
        "renew": domain.Renew(step, agent, None, fence),
    }
    # Ending what one has ended, and reopening what is pending, change nothing.
    idle = what in ("complete", "reopen")
    return _plan(
        agent,
        f"step.{what}",
        operations[what],
        chain=chain,
        command=commands.get(what),
        chains=(chain,) if key else (),
        token=token,
        idle=idle,
    )
