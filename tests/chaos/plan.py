"""A plan of tasks that come after others, and barriers: how they are drawn, and what must hold.

Each epoch has a few tasks, whose definitions follow from the seed, so whoever adds one adds the
same. They are handed out by ``claim --next`` and never reopened: complete stays complete, so what
was true once can be asked for at any later time. The checks of barriers fold them by their own
words.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from chaos.history import Events, session_of
from tclog.domain import steps
from tclog.event import ChainId, Event, chain_id, chain_kind, slot_key
from tclog.testing.oracles import Chains
from tclog.testing.scheduler import Operation

WORK = {"add": 11, "next": 14, "wait": 4}
TASKS = 24
# How often whoever has a task ends one, instead of what was drawn: else few are ever complete.
ENDS = 0.4
LEASES_MS = (2000, 8000, 20_000)
TIMEOUTS_S = (1, 3, 6)
# Neighbouring numbers go to different agents, so these meet at a barrier.
BARRIER_EVERY, ARRIVALS = 50, 3
PARTIES = {"pair": 2, "trio": 3}


def is_task(step: str) -> bool:
    """Whether a step is one of a plan."""
    return step.startswith("task-")


def after_of(seed: int, epoch: int, nth: int) -> list[str]:
    """Return what the nth task of an epoch comes after."""
    rng = random.Random(f"{seed} task {epoch} {nth}")
    chosen = rng.sample(range(nth), min(nth, rng.choice((0, 1, 1, 2))))
    return [f"task-{epoch}-{one}" for one in sorted(chosen)]


def draw(rng: random.Random, seed: int, kind: str, epoch: int) -> tuple[str, dict[str, Any]]:
    """Draw an operation of this kind: what the oracles call it, and its arguments."""
    if kind == "next":
        return "step.next", {"lease_ms": rng.choice(LEASES_MS)}
    if kind == "wait":
        chosen = sorted(rng.sample(range(TASKS // 3), 2))
        names = [f"task-{epoch}-{nth}" for nth in chosen]
        known = {"steps": names, "count": rng.choice((1, 2)), "timeout_s": rng.choice(TIMEOUTS_S)}
        return "step.wait", known
    # The first ones are added sooner, so what others come after is mostly there.
    nth = min(rng.randrange(TASKS), rng.randrange(TASKS))
    name = f"task-{epoch}-{nth}"
    # Adding it again with the same words changes nothing.
    known = {"step": name, "chains": [chain_id("step", name)], "idle": True}
    return "step.add", known | {"after": after_of(seed, epoch, nth), "priority": nth % 3}


def is_barrier(n: int) -> bool:
    """Whether the operation with this number is an arrival at a barrier."""
    return n % BARRIER_EVERY < ARRIVALS


def barrier(rng: random.Random, n: int) -> dict[str, Any]:
    """Draw the arguments of an arrival."""
    name = ("pair", "trio")[n // BARRIER_EVERY % 2]
    return {"barrier": name, "parties": PARTIES[name], "timeout_s": rng.choice(TIMEOUTS_S)}


# -- tasks ----------------------------------------------------------------------------------------


def check_tasks(operations: Sequence[Operation], events: Events, chains: Chains) -> Iterator[str]:
    """Nobody gets a task before what it comes after is complete; a definition is what was asked."""
    asked_us = _first(operations, ("ok", "unknown"), lambda ended: ended.began_us)
    for chain in chains.versions:
        if chain_kind(chain) == "step":
            yield from _check_seen(chain, chains)
    for claim in operations:
        told = claim.result if claim.outcome == "ok" and claim.name == "step.next" else None
        for name in () if told is None else told.after:
            if asked_us.get(name, claim.returned_us) >= claim.returned_us:
                yield f"{told.id} was given away, and nobody had asked to complete {name}: {claim}"
    for added in operations:
        if added.name != "step.add":
            continue
        state = _last(chains, added.arguments["chains"][0])
        if added.outcome == "ok" and not (
            state.added and list(state.after) == added.arguments["after"]
        ):
            yield f"it is not defined as was acknowledged, but after {state.after}: {added}"
        if any(event.op == "step.withdraw" for _, _, event in events.get(session_of(added), ())):
            yield f"it was withdrawn, and closes no circle: {added}"


def _first(
    operations: Sequence[Operation],
    outcomes: tuple[str, ...],
    when_us: Callable[[Operation], int],
) -> dict[str, int]:
    """Return when each step was first made complete by an operation that ended so."""
    found: dict[str, int] = {}
    for ended in operations:
        known = ended.arguments
        if ended.name == "step.complete" and ended.outcome in outcomes:
            if known["outcome"] != steps.COMPLETE:
                continue
            found[known["step"]] = min(found.get(known["step"], when_us(ended)), when_us(ended))
    return found


def _last(chains: Chains, chain: ChainId) -> steps.State:
    return chains.state(chain, len(chains.versions.get(chain, ())))  # type: ignore[no-any-return]


def _check_seen(chain: ChainId, chains: Chains) -> Iterator[str]:
    """What a claim says to have seen of what its step comes after is complete there."""
    for version in chains.versions[chain]:
        before: steps.State = chains.state(chain, version.seq - 1)
        for event in version.events:
            if event.op != "step.claim" or before.state != steps.PENDING:
                continue
            seen = event.body.get("seen") or {}
            for name in before.after:
                there: steps.State = chains.state(chain_id("step", name), seen.get(name, 0))
                if there.state != steps.COMPLETE:
                    what = f"version {version.seq} of {chain}"
                    yield f"{what} was granted when {name} was {there.state}, as it had seen"


def check_next(operations: Sequence[Operation], events: Events) -> Iterator[str]:
    """``claim --next`` gives one step or none, and no token of a step to two."""
    holders: dict[tuple[str, int], str] = {}
    for claim in operations:
        if claim.name in ("step.claim", "step.next") and claim.outcome == "ok":
            token = (claim.result.id, claim.result.fence)
            if holders.setdefault(token, claim.agent) != claim.agent:
                yield f"{token} was given to {holders[token]} too: {claim}"
        if claim.name != "step.next":
            continue
        given = [(chain, event.op) for chain, _, event in events.get(session_of(claim), ())]
        if len(given) > 1:
            yield f"claimed more than one step, {given}: {claim}"
        if claim.outcome == "refused" and given:
            yield f"refused, yet it claimed {given}: {claim}"
        if claim.outcome == "ok" and [chain for chain, _ in given] != [
            chain_id("step", claim.result.id)
        ]:
            yield f"was told of {claim.result.id}, and claimed {given}: {claim}"


def check_left_out(
    operations: Sequence[Operation], chains: Chains, shown_us: dict[str, int]
) -> Iterator[str]:
    """Nobody is told that nothing is ready while a task was ready all the time."""
    names = [str(chain) for chain in chains.versions if is_task(chain.partition("/")[2])]
    for claim in operations:
        if claim.name != "step.next" or claim.error is None or claim.error.exit != 3:
            continue
        for chain in names:
            ready = _newest(ChainId(chain), claim, chains, shown_us)
            if not all(state.added and state.state == steps.PENDING for state in ready):
                continue
            needed = [chain_id("step", name) for state in ready for name in state.after]
            if all(
                state.state == steps.COMPLETE
                for one in needed
                for state in _newest(one, claim, chains, shown_us)
            ):
                yield f"{chain} was ready all the time: {claim}"


def _newest(
    chain: ChainId, operation: Operation, chains: Chains, shown_us: dict[str, int]
) -> list[steps.State]:
    """Return each state that was the newest at some moment of an operation."""
    last = len(chains.versions.get(chain, ()))
    found = []
    for seq in range(last + 1):
        since_us = shown_us[slot_key(chain, seq)] if seq else 0
        until_us = shown_us[slot_key(chain, seq + 1)] if seq < last else operation.returned_us
        if since_us <= operation.returned_us and until_us >= operation.invoked_us:
            found.append(chains.state(chain, seq))
    return found


def check_waits(operations: Sequence[Operation], chains: Chains) -> Iterator[str]:
    """A wait ends well when enough is complete, badly at once when it cannot, else by the clock."""
    ended_us = _first(operations, ("ok",), lambda ended: ended.returned_us)
    for wait in operations:
        if wait.name != "step.wait":
            continue
        names, count = wait.arguments["steps"], wait.arguments["count"]
        last = [_last(chains, chain_id("step", name)).state for name in names]
        if wait.outcome == "ok":
            told = [
                chains.state(chain_id("step", step.id), step.version).state for step in wait.result
            ]
            if len(told) < count or set(told) != {steps.COMPLETE}:
                yield f"it ended with {told}: {wait}"
        elif wait.error is not None and wait.error.exit == 4:
            # Nothing of a plan is reopened, so what was stuck then is stuck now.
            if len(names) - sum(state in steps.STUCK for state in last) >= count:
                yield f"it was given up, and could still end: {wait}"
        elif wait.error is not None and wait.error.exit == 5:
            done = [name for name in names if ended_us.get(name, wait.invoked_us) < wait.invoked_us]
            if len(done) >= count:
                yield f"{done} were complete before it began: {wait}"


# -- barriers -------------------------------------------------------------------------------------


class _Passage(NamedTuple):
    """One generation that is full: at which version, and the arrival of each of its agents.

    ``repeated`` holds the arrivals of agents that were counted already.
    """

    seq: int
    arrived: dict[str, Event]
    repeated: list[Event]


def _passages(chains: Chains, chain: ChainId, parties: int) -> tuple[list[_Passage], list[Event]]:
    """Return the generations, and the arrivals that stand in none that is full."""
    full: list[_Passage] = []
    here: dict[str, Event] = {}
    # Under a key the arrival of an agent that is counted already is committed too, and changes
    # nothing.
    repeated: list[Event] = []
    for version in chains.versions.get(chain, ()):
        for event in version.events:
            if event.op == "barrier.arrive":
                if here.setdefault(event.agent, event) is not event:
                    repeated.append(event)
            elif event.body["generation"] == len(full) + 1:
                here.pop(event.agent, None)
            if len(here) == parties:
                full.append(_Passage(version.seq, here, repeated))
                here, repeated = {}, []
    return full, list(here.values())


def check_barriers(
    operations: Sequence[Operation], events: Events, chains: Chains
) -> Iterator[str]:
    """Each generation lets exactly its parties through, and not before the last has come."""
    passings = [o for o in operations if o.name == "barrier.pass"]
    asked = {session_of(one): one for one in reversed(passings)}
    for name, parties in PARTIES.items():
        chain = chain_id("barrier", name)
        full, waiting = _passages(chains, chain, parties)
        told: dict[tuple[int, str], set[Any]] = defaultdict(set)
        for one in passings:
            if one.arguments["barrier"] != name:
                continue
            mine = [event for _, _, event in events.get(session_of(one), ())]
            if sum(event.op == "barrier.arrive" for event in mine) > 1:
                yield f"arrived more than once: {one}"
            if one.outcome == "ok":
                told[one.result.generation, one.agent].add(one.place)
                yield from _check_passage(one, mine, full, asked)
            elif one.error is not None and one.error.exit == 5:
                rest = [e for passage in full for e in passage.arrived.values()] + waiting
                if any(event.session == session_of(one) for event in rest):
                    yield f"its time was up, and it is still counted: {one}"
        for (generation, agent), places in told.items():
            if len(places) > 1:
                yield f"{agent} passed generation {generation} of {name} {len(places)} times"


def _check_passage(
    one: Operation, mine: list[Event], full: Sequence[_Passage], asked: dict[str, Operation]
) -> Iterator[str]:
    """Who was told that it passed is of a generation that is full, and all of that had come."""
    generation = one.result.generation
    if not 1 <= generation <= len(full):
        yield f"generation {generation} was never full: {one}"
        return
    passage = full[generation - 1]
    if one.agent not in passage.arrived:
        yield f"{sorted(passage.arrived)} are generation {generation}, not who passed: {one}"
    counted = [*passage.arrived.values(), *passage.repeated]
    if any(e.op == "barrier.arrive" and e not in counted for e in mine):
        yield f"it arrived in another generation than it passed: {one}"
    late = [
        event.agent
        for event in passage.arrived.values()
        if event.session not in asked or asked[event.session].began_us > one.returned_us
    ]
    if late:
        yield f"{late} had not come when it passed: {one}"
