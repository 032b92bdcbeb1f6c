"""The state of a chain, or of an agent, at a moment: the objects that the commands show.

Whatever looks back shows the state through these functions, so that ``state``, ``diff`` and
``show`` cannot contradict each other, nor the commands that were run at the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tclog.chain import show
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.results import Agent
from tclog.clock import Hlc, rfc3339
from tclog.domain import MODULES, kind_of, steps
from tclog.domain.content import content_blobs, content_size
from tclog.event import ALL, ChainId, Version, chain_id, chain_kind, chain_name
from tclog.index import Commit, Filter, Index, derived

Snapshot = dict[str, Any]

# After every stamp: what is asked for at this moment is what the newest versions say.
END = Hlc("9999-12-31T23:59:59.999999Z-ffff")

# The groups in which everything is shown. An agent's object is derived from what it did, not from
# its chain alone.
GROUPS = tuple(dict.fromkeys(group for kind in MODULES if (group := kind_of(kind).group)))


def group_of(chain: ChainId) -> str:
    """Return the group that a chain is shown in; a kind that is not known is one of its own."""
    kind = chain_kind(chain)
    return kind_of(kind).group if kind in MODULES else kind


def show_chain(
    index: Index,
    chain: ChainId,
    head: Version | None,
    at: Hlc | None = None,
    *,
    large: bool = True,
) -> Protocol[Snapshot | None]:
    """Return the object of a chain at a version; None where there is nothing to show.

    A deleted key, a tag taken away and a step that nobody ever defined are nothing.

    Args:
        index: where the versions are.
        chain: which.
        head: the version.
        at: the moment at which a step's dependencies are looked at, by default the version's.
        large: whether to fetch what only the store has: large values, and a step's notes.
    """
    head = standing(index, head)
    if head is None or not group_of(chain):
        return None
    match chain_kind(chain):
        case "memory":
            return (yield from _memory(head, large))
        case "step":
            return (yield from _step(index, head, at or head.moment, large))
        case "inbox":
            return _inbox(chain, head)
        case "read":
            state = state_of(chain, head)
            return {
                "type": "read",
                "agent": chain_name(chain),
                "ranges": [list(row) for row in state.ranges],
                "version": head.seq,
                "at": rfc3339(head.at),
            }
        case "artifact":
            return show.show_artifact(head).as_json()
        case "barrier":
            return show.show_barrier(head).as_json()
        case "tag":
            tag = show.show_tag(head)
            return None if tag.deleted else tag.as_json()
    # What has no object of its own is shown as its state stands in the version.
    return {
        "type": chain_kind(chain),
        "name": chain_name(chain),
        **head.state,
        "version": head.seq,
        "at": rfc3339(head.at),
    }


def _memory(head: Version, large: bool) -> Protocol[Snapshot | None]:
    content = state_of(head.chain, head).content
    if content is None:
        return None
    read = large or not content_blobs(content)
    memory = yield from show.show_memory(head, read=read)
    shown = memory.as_json()
    return shown if read else shown | {"size": content_size(content)}


def _step(index: Index, head: Version, at: Hlc, large: bool) -> Protocol[Snapshot | None]:
    state: steps.State = state_of(head.chain, head)
    if not steps.is_known(state):
        return None

    def is_complete(name: str) -> bool:
        other = chain_id("step", name)
        return steps.is_complete(state_of(other, index.version_at(other, at)))

    waiting = steps.waits_for(state, is_complete)
    result = show.show_step(chain_name(head.chain), head, state, waiting)

    def read(seq: int) -> Protocol[Version]:
        found = index.version(head.chain, seq)
        assert found is not None  # noqa: S101 - below a head that the index holds
        return found
        yield

    if large:
        result = yield from show.show_notes(result, head, state, read)
    return result.as_json()


def _inbox(chain: ChainId, head: Version) -> Snapshot:
    state = state_of(chain, head)
    shown = {
        "type": "inbox",
        "agent": "@all" if chain == ALL else chain_name(chain),
        "messages": state.count,
        "version": head.seq,
        "at": rfc3339(head.at),
    }
    if chain != ALL:
        shown["broadcasts"] = state.all_count
    return shown


# -- agents ---------------------------------------------------------------------------------------


def show_agent(index: Index, name: str, at: Hlc, held: Sequence[ChainId]) -> Snapshot | None:
    """Return the object of an agent at a moment; None if nobody had heard of it.

    ``held`` are the steps that it held then. Last seen is its newest event, attempts included.
    """
    last = last_act(index, name, at)
    chains = (chain_id(kind, name) for kind in ("agent", "read", "inbox"))
    if last is None and all(index.version_at(chain, at) is None for chain in chains):
        return None
    claims = {}
    for chain in held:
        head = index.version_at(chain, at)
        step = show.show_step(chain_name(chain), head, state_of(chain, head), ())
        claims[step.id] = step.lease_until
    if last is None:
        return Agent(name, None, claims).as_json()
    event = last.event
    host = event.record["host"]
    return Agent(name, rfc3339(event.at), claims, host, event.session).as_json()


def last_act(index: Index, name: str, until: Hlc, since: Hlc | None = None) -> Commit | None:
    """Return an agent's newest event, as version 0 of its first chain if it has no slot."""
    wanted = Filter(agent=name, since=since, until=until)
    commit = next(index.commits(wanted), None)
    attempt = next(index.attempts(wanted), None)
    if attempt is None or (commit is not None and commit.at >= attempt.at):
        return commit
    return Commit(attempt.at, attempt.event.chains[0], 0, 0, attempt.event)


def agent_names(index: Index) -> set[str]:
    """Return the names of all agents that were ever heard of."""
    names = set(derived.agents_acting(index))
    for kind in ("agent", "read", "inbox"):
        names |= {chain_name(chain) for chain in index.chains(kind) if chain != ALL}
    return names


def agents_at(index: Index, at: Hlc) -> list[Snapshot]:
    """Return all agents as they were at a moment, the one seen last first: ``tclog agents --at``.

    Within ``derived.reading`` only.
    """
    rows = [show_agent(index, n, at, derived.held_by(index, n, at)) for n in agent_names(index)]
    by_name = sorted((row for row in rows if row is not None), key=lambda row: str(row["name"]))
    return sorted(by_name, key=lambda row: row["last_seen"] or "", reverse=True)


# -- chains ---------------------------------------------------------------------------------------


def heads_at(index: Index, at: Hlc) -> Iterator[tuple[ChainId, Version]]:
    """Yield every chain that has a version by a moment, with the newest such version."""
    return derived.heads_at(index, at)


def standing(index: Index, head: Version | None) -> Version | None:
    """Return the version whose change stands: who only read, or came to nothing, made none."""
    if head is None or not head.void:
        return head
    return index.version(head.chain, head.base) if head.base else None
