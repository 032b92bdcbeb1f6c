"""Sealing: the event that a draft becomes, and the version that commits it.

Both ways to commit use it: one chain (``append``, ``combine``) and several (``transact``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import fold, is_ignored, last_txn_after, place_after, rules_of, state_of
from tclog.chain.remembered import Remembered
from tclog.chain.trust import look
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, Hlc, Stamp, parse_us
from tclog.domain import misfit_body
from tclog.domain.decision import Draft, Place
from tclog.errors import BadValue, Refused, StoreUnreachable
from tclog.event import (
    ALL,
    ChainId,
    Event,
    Version,
    chain_name,
    seal_event,
    seal_version,
    slot_key,
    validate_new,
    validate_new_chain,
    why_odd,
)
from tclog.store.base import Stat

# Sync looks for an event among those named by times not long before it was committed.
EVENT_AGE_MAX_S = 300


def is_old(client: Client, event: Event, age_max_s: float = EVENT_AGE_MAX_S) -> bool:
    """Whether an event is too old to be committed."""
    return client.clock.now_us() - parse_us(event.at) > age_max_s * SECOND_US


def misleads(client: Client, event: Event, wall_us: int, stored: Stamp, took_us: int) -> bool:
    """Learn the store's clock from an event's stamp; return whether to make the event again.

    An event from a clock that was minutes off is left as an attempt: its stamp would mislead every
    merged view. ``wall_us`` is the machine's clock before the event was made. ``took_us`` is how
    long it took to make and put it.
    """
    off = abs(parse_us(stored) - parse_us(event.at)) >= AHEAD_TRUSTED_US
    if off or not client.knows_offset():
        client.learn_offset(wall_us, stored, took_us)
    return off


def seal_draft(
    client: Client,
    draft: Draft,
    chains: Sequence[ChainId],
    *,
    key: str | None = None,
    txn: str | None = None,
) -> tuple[Event, bytes]:
    """Make an event from a draft, with this client's agent, session and clock.

    Raises:
        BadValue: the fold would ignore it, so nothing is written.
        BadName: the agent's name looks like another, and this machine has not seen the agent.
    """
    if why_odd(client.agent) is not None and not _has_written(client):
        validate_new("agent", client.agent)
    why = misfit_body(draft.op, draft.body)
    if why is not None:
        raise BadValue(f"{draft.op} cannot be written: {why.lstrip('.')}")
    return seal_event(
        op=draft.op,
        chains=chains,
        agent=client.agent,
        session=client.session,
        host=client.host,
        client=client.software,
        at=client.clock.tick(),
        nonce=client.nonce(),
        body=draft.body,
        expect=draft.expect,
        key=key,
        txn=txn,
    )


def _has_written(client: Client) -> bool:
    return any(client.agent in agents for _, agents in client.heads.remembered())


def refusing(chain: ChainId, decide: Callable[[Any, Place], Any]) -> Callable[[Any, Place], Any]:
    """Wrap ``decide`` so that it begins no chain whose name looks like another.

    Raises (from what it returns):
        BadName: the draft would be the first version of such a chain.
    """
    if why_odd(chain_name(chain)) is None:
        return decide

    def decided(state: Any, place: Place) -> Any:
        decision = decide(state, place)
        if isinstance(decision, Draft) and place.seq == 1:
            validate_new_chain(chain)
        return decision

    return decided


def stamp_of(client: Client, chain: ChainId, head: Version | None) -> Protocol[Stamp | None]:
    """Return the store's stamp of the head; ask for it if the chain's rules depend on it."""
    if head is None or head.stored is not None or not rules_of(chain).stamped:
        return None if head is None else head.stored
    entry = yield Stat(slot_key(chain, head.seq))
    stored: Stamp | None = None if entry is None else entry.stored
    if stored is None:
        # It was read or written before, so it is there, or the store was set back.
        stored = (yield from look(Remembered.of(head))).stored
    client.heads.put(head._replace(stored=stored))
    return stored


def check_effect(chain: ChainId, state: Any, event: Event, place: Place) -> None:
    """Refuse to write an event that the fold would ignore at its place.

    This checks the very bytes that the slot gets. So the answer after a win is what every reader
    finds: no agent is told that it holds a step when it does not.

    Raises:
        Refused: the decision and the fold disagree.
    """
    if is_ignored(chain, state, event, place):
        raise Refused(
            f"{event.op} was not committed: readers would ignore it as version {place.seq}"
            f" of {chain}",
            code="no-effect",
            hint="run the same command again",
        )


def merge_of(state: Any, broadcasts: Version | None) -> Mapping[str, Any] | None:
    """Return the merge that a version of an inbox must carry, or None."""
    if broadcasts is None or broadcasts.seq <= state.all_version:
        return None
    count = state_of(ALL, broadcasts).count
    return {
        "after": state.all_version,
        "chain": ALL,
        "count": count,
        "taken": max(0, count - state.all_count),
        "through": broadcasts.seq,
    }


def seal_next(
    client: Client,
    chain: ChainId,
    head: Version | None,
    place: Place,
    events: Sequence[Event],
    merge: Mapping[str, Any] | None,
    *,
    at: Hlc | None = None,
    txn: Mapping[str, Any] | None = None,
    fills: Mapping[str, Any] | None = None,
    voids: Sequence[Mapping[str, Any]] = (),
) -> Version:
    """Seal the version that follows ``head``, with the state that its merge and events give."""
    rules, before = rules_of(chain), state_of(chain, head)
    if rules.stamped and head is not None:
        check_stamped(head, place)
    at = at or client.clock.tick(after=None if head is None else head.at)
    place = place._replace(at=at)
    # If its transaction is aborted, the version counts as empty.
    alone = txn is None or len(txn["slots"]) == 1
    otherwise = None if alone else rules.pack(fold(chain, before, (), place), ())
    return seal_version(
        chain=chain,
        seq=place.seq,
        prev=voids[0]["hash"] if voids else None if head is None else head.id,
        prev_stored=place.prev_stored,
        at=at,
        by=client.agent,
        events=events,
        state=rules.pack(fold(chain, before, events, place, merge), events),
        now=place.now,
        merge=merge,
        stands=place.stands,
        txn=txn,
        otherwise=otherwise,
        fills=fills,
        last_txn=last_txn_after(head),
        voids=voids,
    )


def seal_void(
    client: Client, chain: ChainId, head: Version | None, fills: Mapping[str, Any]
) -> Protocol[Version]:
    """Seal a version that changes nothing; ``fills`` names the transaction that it ends."""
    stored = yield from stamp_of(client, chain, head)
    place = place_after(head)._replace(prev_stored=stored)
    return seal_next(client, chain, head, place, (), None, fills=fills)


def check_stamped(head: Version, place: Place) -> None:
    """Refuse to follow a version with an unknown stamp: its lease would never end."""
    if place.prev_stored is None:
        raise StoreUnreachable(
            f"the store gives no last-modified time for version {head.seq} of {head.chain}",
            hint="tclog doctor",
        )
