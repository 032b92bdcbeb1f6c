"""Barriers: arrive, wait for the others, go on together."""

from __future__ import annotations

from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.read import read_head
from tclog.chain.results import Barrier
from tclog.domain import barriers
from tclog.errors import Refused, UsageError, WaitTimeout, quote
from tclog.event import ChainId, chain_id, validate_name
from tclog.log.waiting import poll


def pass_barrier(
    client: Client, name: str, parties: int, *, timeout_s: float | None, id_key: str | None = None
) -> Protocol[Barrier]:
    """Arrive at a barrier and wait until ``parties`` agents have.

    An agent that gives up waiting withdraws its arrival, so nobody is counted who is gone.

    Raises:
        Refused: the barrier is forming for another number of parties.
        WaitTimeout: not all came in time.
    """
    if not 1 <= parties <= barriers.PARTIES_MAX:
        raise UsageError(
            f"a barrier has 1 to {barriers.PARTIES_MAX} parties, not {parties}", code="bad-parties"
        )
    chain = chain_id("barrier", validate_name("barrier", name))
    arrive = barriers.Arrive(client.agent, parties)
    try:
        done = yield from append(
            client,
            chain,
            lambda state, place: barriers.decide(state, arrive, place),
            once=once(id_key, {"op": "barrier.arrive", "name": name, "parties": parties}),
        )
    except Refused as refused:
        refused.message = f"barrier {name}: {refused.message}"
        raise
    state: barriers.State = done.state
    # The arrival that fills a generation leaves the next one empty: it was in the one before.
    mine = state.generation if client.agent in state.arrived else state.generation - 1
    seen = [state]
    version = [0 if done.version is None else done.version.seq]

    def look() -> Protocol[Barrier | None]:
        if seen[0].generation == mine:
            head = yield from read_head(client, chain)
            seen[0] = state_of(chain, head)
            version[0] = 0 if head is None else head.seq
        if seen[0].generation > mine:
            return Barrier(name, mine, parties, (), True, version[0])
        return None

    try:
        return (
            yield from poll(
                client,
                look,
                timeout_s=timeout_s,
                timed_out=lambda: WaitTimeout(
                    f"barrier {name}: {len(seen[0].arrived)} of {parties} arrived within"
                    f" {timeout_s:g} s ({', '.join(seen[0].arrived)})",
                    hint=f"tclog barrier {quote(name)} --parties {parties} --timeout 10m",
                    arrived=list(seen[0].arrived),
                    parties=parties,
                ),
            )
        )
    except WaitTimeout:
        left = yield from _leave(client, chain, mine)
        if left.state.generation > mine:
            # It tripped just before the withdrawal.
            return Barrier(
                name, mine, parties, (), True, 0 if left.version is None else left.version.seq
            )
        raise


def _leave(client: Client, chain: ChainId, generation: int) -> Protocol[Appended]:
    command = barriers.Leave(client.agent, generation)
    return (
        yield from append(
            client, chain, lambda state, place: barriers.decide(state, command, place)
        )
    )


def leave_barrier(client: Client, name: str) -> Protocol[None]:
    """Withdraw from the generation that is forming, for a wait that was interrupted."""
    chain = chain_id("barrier", validate_name("barrier", name))
    state: barriers.State = state_of(chain, (yield from read_head(client, chain)))
    if client.agent in state.arrived:
        yield from _leave(client, chain, state.generation)
