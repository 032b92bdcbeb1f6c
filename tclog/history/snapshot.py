"""The state of a chain, or of everything, at a moment: the objects that the commands show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tclog.chain import show
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.clock import Hlc, rfc3339
from tclog.domain import steps
from tclog.event import ALL, ChainId, Version, chain_id, chain_kind, chain_name
from tclog.index import Index

Snapshot = dict[str, Any]


def show_chain(
    index: Index, chain: ChainId, head: Version | None, at: Hlc | None = None
) -> Protocol[Snapshot | None]:
    """Return the object of a chain at a version; None where there is nothing to show.

    A deleted key, a tag taken away and a step that nobody ever defined are nothing. ``at`` is the
    moment at which a step's dependencies are looked at, by default that of the version.
    """
    if head is None:
        return None
    match chain_kind(chain):
        case "memory":
            memory = yield from show.show_memory(head)
            return None if memory.deleted else memory.as_json()
        case "step":
            return (yield from _step(index, head, at or head.at))
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
    # What has no object of its own is shown as its state stands in the version.
    state = dict(head.state)
    if chain_kind(chain) == "tag" and not state:
        return None
    return {
        "type": chain_kind(chain),
        "name": chain_name(chain),
        **state,
        "version": head.seq,
        "at": rfc3339(head.at),
    }


def _step(index: Index, head: Version, at: Hlc) -> Protocol[Snapshot | None]:
    state: steps.State = state_of(head.chain, head)
    if not (state.added or state.fence is not None or state.state != steps.PENDING):
        return None
    waiting = []
    for name in state.after if state.state == steps.PENDING else ():
        other = chain_id("step", name)
        if state_of(other, index.version_at(other, at)).state != steps.COMPLETE:
            waiting.append(name)
    result = show.show_step(chain_name(head.chain), head, state, tuple(waiting))

    def read(seq: int) -> Protocol[Version]:
        found = index.version(head.chain, seq)
        assert found is not None  # noqa: S101 - below a head that the index holds
        return found
        yield

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


def heads_at(index: Index, at: Hlc) -> Iterator[tuple[ChainId, Version]]:
    """Yield every chain that has a version by a moment, with the newest such version."""
    for chain in index.chains():
        head = index.version_at(chain, at)
        if head is not None:
            yield chain, head
