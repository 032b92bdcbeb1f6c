"""Barriers: arrive, wait for the others, go on together."""

from __future__ import annotations

from collections.abc import Callable

from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.read import read_head, read_range
from tclog.chain.results import Barrier
from tclog.domain import barriers
from tclog.errors import Refused, TclogError, UsageError, WaitTimeout, to_run
from tclog.event import ChainId, Version, chain_id, validate_name
from tclog.log.operation import WAIT_S, Seconds, operation
from tclog.log.waiting import poll


@operation("barrier.pass")
def pass_barrier(
    client: Client,
    name: str,
    parties: int,
    *,
    timeout_s: Seconds | None = WAIT_S,
    id: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Protocol[Barrier]:
    """Arrive at a barrier and wait until ``parties`` agents have.

    An agent that gives up waiting, or is interrupted, withdraws its arrival, so no absent agent is
    counted. ``tell`` is called before the wait if the agent's name is counted already.

    Raises:
        Refused: the barrier is forming for another number of parties.
        WaitTimeout: not all came in time, or the arrival was withdrawn: by another process of the
            agent, or by an earlier command under the same key.
    """
    if not 1 <= parties <= barriers.PARTIES_MAX:
        raise UsageError(
            f"a barrier has 1 to {barriers.PARTIES_MAX} parties, not {parties}", code="bad-parties"
        )
    chain = chain_id("barrier", validate_name("barrier", name))
    try:
        return (yield from _pass(client, chain, name, parties, timeout_s, id, tell))
    except KeyboardInterrupt:
        yield from _leave_at_once(client, chain, name)
        raise


def _pass(
    client: Client,
    chain: ChainId,
    name: str,
    parties: int,
    timeout_s: float | None,
    id_key: str | None,
    tell: Callable[[str], None] | None,
) -> Protocol[Barrier]:
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
    assert done.version is not None  # noqa: S101 - who has arrived stands in a version
    waits = _Waits(client, done.version)
    if not done.changed:
        (tell or client.warn)(
            f"{client.agent} is already counted at barrier {name}, perhaps by another session;"
            " this one waits with it"
        )

    def look() -> Protocol[Barrier | None]:
        passed = yield from waits.look()
        if not waits.counts:
            raise _withdrawn(client, name, parties)
        return None if passed is None else Barrier(name, waits.mine, parties, (), True, passed)

    def timed_out() -> WaitTimeout:
        here = waits.state.arrived
        return WaitTimeout(
            f"barrier {name}: {len(here)} of {parties} arrived within {timeout_s:g} s"
            f" ({', '.join(here)})",
            hint=to_run("tclog barrier", name, then=f"--parties {parties} --timeout 10m"),
            arrived=list(here),
            parties=parties,
        )

    try:
        return (yield from poll(client, look, timeout_s=timeout_s, timed_out=timed_out))
    except WaitTimeout:
        if not waits.counts:
            raise
        left = yield from _leave(client, chain, waits.mine)
        # It may have tripped just before the withdrawal.
        passed = yield from waits.judge(left.version)
        if passed is None:
            raise
        return Barrier(name, waits.mine, parties, (), True, passed)


def _withdrawn(client: Client, name: str, parties: int) -> WaitTimeout:
    return WaitTimeout(
        f"barrier {name}: the arrival of {client.agent} was withdrawn, by another process of that"
        " name or by an earlier try of this command",
        hint=to_run("tclog barrier", name, then=f"--parties {parties}"),
        code="withdrawn",
        parties=parties,
    )


class _Waits:
    """What an agent knows while it waits: the newest version that it has looked at.

    That a generation is over does not mean that the agent has passed: its arrival may have been
    withdrawn before, by another process of the agent, or by a command that died before it could
    tell. So no version is passed over.
    """

    def __init__(self, client: Client, version: Version) -> None:
        self.client = client
        self.version = version
        self.state: barriers.State = state_of(version.chain, version)
        # The arrival that fills a generation leaves the next one empty: it was in the one before.
        waits = client.agent in self.state.arrived
        self.mine = self.state.generation if waits else self.state.generation - 1
        self.counts = True

    def look(self) -> Protocol[int | None]:
        """Return the version at which it has passed, None if it has not."""
        if self.state.generation > self.mine:
            return self.version.seq
        return (yield from self.judge((yield from read_head(self.client, self.version.chain))))

    def judge(self, head: Version | None) -> Protocol[int | None]:
        """Go on to a head; return the version at which it has passed, None if it has not."""
        if head is None or head.seq <= self.version.seq:
            return None
        after = self.version.seq + 1
        for version in (yield from read_range(self.client, head.chain, after, head.seq, head)):
            self.version, self.state = version, state_of(head.chain, version)
            if self.state.generation > self.mine:
                return version.seq
            if self.client.agent not in self.state.arrived:
                self.counts = False
                return None
        return None


def _leave(client: Client, chain: ChainId, generation: int) -> Protocol[Appended]:
    command = barriers.Leave(client.agent, generation)
    return (
        yield from append(
            client, chain, lambda state, place: barriers.decide(state, command, place)
        )
    )


def _leave_at_once(client: Client, chain: ChainId, name: str) -> Protocol[None]:
    """Withdraw from the generation that is forming; an interrupt may have come at any moment."""
    try:
        state: barriers.State = state_of(chain, (yield from read_head(client, chain)))
        if client.agent in state.arrived:
            yield from _leave(client, chain, state.generation)
    except TclogError as error:
        client.warn(
            f"{client.agent} may stay counted at barrier {name}, because its arrival could not be"
            f" withdrawn: {error.message}"
        )
