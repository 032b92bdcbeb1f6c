"""Agents: who is here, derived from the log: last seen, claims, lease left."""

from __future__ import annotations

from collections.abc import Sequence

from tclog.chain.append import append
from tclog.chain.blobs import check_blob
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled
from tclog.chain.fold import state_of
from tclog.chain.read import list_chains, read_newest, unless_damaged
from tclog.chain.results import Agent
from tclog.chain.show import show_step
from tclog.chain.slots import read_present
from tclog.clock import rfc3339
from tclog.domain import agents, steps
from tclog.errors import Damaged
from tclog.event import (
    PACKS,
    BlobHash,
    Event,
    blob_key,
    chain_id,
    chain_name,
    decode_event,
    event_named,
)
from tclog.event.canonical import decode_json
from tclog.event.names import EVENTS
from tclog.log.operation import Count, operation
from tclog.log.steps import list_rows
from tclog.store.base import Get, List

EVENTS_MIN = 1_000
EVENTS_MAX = 5_000
HOURS_MAX = 100_000
AT_ONCE = 64


def join_project(client: Client) -> Protocol[None]:
    """Introduce the client's agent, once for each host."""
    command = agents.Join(client.host, client.session)
    yield from append(
        client,
        chain_id("agent", client.agent),
        lambda state, place: agents.decide(state, command, place),
    )


@operation("agent.list", acts=False)
def list_agents(client: Client, *, limit: Count | None = None) -> Protocol[list[Agent]]:
    """Return every agent known, the one seen last first.

    Last seen is the stamp of the agent's newest event, attempts included. Events are read from the
    newest backwards, at least ``EVENTS_MIN`` and until every agent that is known to have written
    was met, at most ``EVENTS_MAX``; what is packed is summed up beside the packs. ``last_seen`` is
    None for one whose events are all older and in no pack, and for one that only ever received
    messages.
    """
    names: set[str] = set()
    for kind in ("agent", "read"):
        names |= {chain_name(chain) for chain in (yield from list_chains(client, kind))}
    rows = yield from list_rows(client)
    claims: dict[str, dict[str, str | None]] = {}
    for row in rows:
        if row.state.state == steps.CLAIMED and row.state.agent:
            lease_until = show_step(row.id, row.head, row.state, ()).lease_until
            claims.setdefault(row.state.agent, {})[row.id] = lease_until
    names |= claims.keys()
    seen = yield from _packed(client)
    for name, newest in agents.last_seen((yield from _newest_events(client, names))).items():
        if name not in seen or seen[name].last_seen < newest.last_seen:
            seen[name] = newest
    names |= {chain_name(chain) for chain in (yield from list_chains(client, "inbox"))}
    found = [
        Agent(
            name,
            rfc3339(seen[name].last_seen) if name in seen else None,
            claims.get(name, {}),
            seen[name].host if name in seen else None,
            seen[name].session if name in seen else None,
        )
        for name in names | seen.keys()
    ]
    by_name = sorted(found, key=lambda agent: agent.name)
    by_time = sorted(by_name, key=lambda agent: agent.last_seen or "", reverse=True)
    return by_time[: limit or None]


def _packed(client: Client) -> Protocol[dict[str, agents.Seen]]:
    """Return who was last seen in packed history, whose events may have been removed."""
    head = yield from unless_damaged(client, PACKS, read_newest(client, PACKS))
    named = state_of(PACKS, head).agents
    if named is None:
        return {}
    blob = BlobHash(named["blob"])
    reply = yield from read_present(blob_key(blob))
    raw = check_blob(blob, None if reply is None else reply.data)
    return {
        name: agents.Seen(name, at, "", host, session)
        for name, (at, host, session) in decode_json(raw).items()
    }


def _newest_events(client: Client, names: set[str]) -> Protocol[Sequence[Event]]:
    hours = yield List(EVENTS, limit=HOURS_MAX, folders=True)
    events: list[Event] = []
    missing = set(names)
    for hour in reversed(hours):
        entries = yield List(hour.key.rstrip("/"), limit=1_000_000)
        for start in range(len(entries), 0, -AT_ONCE):
            rows = entries[max(0, start - AT_ONCE) : start]
            batch = [row.key for row in rows if event_named(row.key) is not None]
            replies = settled((yield tuple(Get(key) for key in batch)))
            for key, found in zip(batch, replies, strict=True):
                if found is None:
                    continue
                try:
                    event = decode_event(found.data, expect=event_named(key), what=key)
                except Damaged as error:
                    client.leave_out(key, error)
                    continue
                events.append(event)
                missing.discard(event.agent)
            if len(events) >= (EVENTS_MAX if missing else EVENTS_MIN):
                return events
    return events
