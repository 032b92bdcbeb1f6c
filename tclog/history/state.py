"""Everything at a moment: the objects that the reading commands print, from one look at the log."""

from __future__ import annotations

from typing import NamedTuple

from tclog.chain.drive import Protocol, together
from tclog.clock import Hlc
from tclog.domain import misfit_state, steps
from tclog.event import ChainId, chain_id, chain_kind
from tclog.history.snapshot import (
    GROUPS,
    Snapshot,
    agent_names,
    group_of,
    heads_at,
    show_agent,
    show_chain,
)
from tclog.index import Index


class Item(NamedTuple):
    """One thing as it was: the chain that it is the state of, and its object."""

    group: str
    chain: ChainId
    shown: Snapshot

    def as_json(self) -> Snapshot:
        """The object that the command for it prints."""
        return self.shown


def read_state(index: Index, at: Hlc, *, large: bool = True) -> Protocol[list[Item]]:
    """Return everything at a moment, by groups, in byte order of chains within each.

    What a step waits for is judged at that moment. To be run within ``index.reading()``.

    Args:
        index: where the log is.
        at: everything up to this belongs to it.
        large: whether to fetch what only the store has: large values, and notes.
    """
    held: dict[str, list[ChainId]] = {}
    chains, waiting = [], []
    for chain, head in heads_at(index, at):
        kind = chain_kind(chain)
        if kind == "agent":
            continue  # what agents did is shown, not that they once said who they are
        claimed = kind == "step" and head.state.get("state") == steps.CLAIMED
        if claimed and misfit_state("step", head.state) is None:
            held.setdefault(head.state["agent"], []).append(chain)
        chains.append(chain)
        waiting.append(show_chain(index, chain, head, at, large=large))
    shown = yield from together(*waiting)
    found = [
        Item(group_of(chain), chain, one)
        for chain, one in zip(chains, shown, strict=True)
        if one is not None
    ]
    for name in agent_names(index):
        agent = show_agent(index, name, at, held.get(name, ()))
        if agent is not None:
            found.append(Item("agents", chain_id("agent", name), agent))
    order = {group: nth for nth, group in enumerate(GROUPS)}
    return sorted(found, key=lambda item: (order.get(item.group, len(order)), item.chain.encode()))
