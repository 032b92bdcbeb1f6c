"""Events as JSON objects, and as one line of words for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tclog.clock import rfc3339
from tclog.domain import op_of
from tclog.domain.content import inline_value
from tclog.event import ChainId, Event, EventId
from tclog.index import Attempt, Commit, Index

WORDS_MAX = 120
SHORTEST_ID = 8
ID_SAID = 12


def event_json(event: Event, *, at: str, chain: ChainId, version: int | None) -> dict[str, Any]:
    """Return the pinned event object; ``version`` is null for an attempt.

    ``at`` is the stamp of the commit; ``made_at`` that of the event itself.
    """
    record: dict[str, Any] = {
        "type": "event",
        "id": event.id,
        "op": event.op,
        "chain": chain,
        "version": version,
        "agent": event.agent,
        "at": rfc3339(at),
        "body": event.body,
        "hlc": at,
        "made_at": rfc3339(event.at),
        "session": event.session,
        "host": event.record["host"],
        "client": event.record["client"],
    }
    if len(event.chains) > 1:
        record["chains"] = list(event.chains)
    if event.expect:
        record["expect"] = event.expect
    if event.key is not None:
        record["key"] = event.key
    if event.txn is not None:
        record["txn"] = event.txn
    return record


def commit_json(commit: Commit) -> dict[str, Any]:
    """Return the event object of a committed event."""
    return event_json(commit.event, at=commit.at, chain=commit.chain, version=commit.seq)


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """Return the event object of an event that no chain holds."""
    event = attempt.event
    shown = event_json(event, at=attempt.at, chain=event.chains[0], version=None)
    return shown | {"attempt": True}


def json_set(event: Event) -> Any:
    """Return the JSON value that an event sets; None without one, or for a large one."""
    body = event.body
    if event.op != "memory.set" or body.get("type") != "json" or "reverts" in body:
        return None
    try:
        return inline_value(body)
    except ValueError:
        return None  # no client of ours writes such a text; fsck judges it


def words(event: Event, chars_max: int | None = WORDS_MAX) -> str:
    """Say in a few words what an event did, without its agent and chain."""
    try:
        known = op_of(event.op)
        said = "" if known is None else known.words(event)[:chars_max]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        said = ""  # a body that no client of ours writes; fsck judges it
    reverts = event.body.get("reverts")
    return f"{said} (reverts {str(reverts)[:ID_SAID]})".strip() if reverts else said


def short_id(index: Index, event: EventId) -> str:
    """Return the shortest beginning of an event's id that no other id has, 8 or more digits."""
    return short_ids(index, [event])[event]


def short_ids(index: Index, events: Iterable[EventId]) -> dict[EventId, str]:
    """Return for each of some ids its shortest beginning that no other id has."""
    found: dict[EventId, str] = {}
    left = list(dict.fromkeys(events))
    for length in range(SHORTEST_ID, 64, 4):
        shared = index.shared_prefixes([event[:length] for event in left])
        found.update((event, event[:length]) for event in left if event[:length] not in shared)
        left = [event for event in left if event not in found]
        if not left:
            break
    return found | {event: str(event) for event in left}
