"""Events as JSON objects, and as one line of words for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tclog.clock import rfc3339
from tclog.domain.content import content_size, inline_value
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
        said = _words(event.op, event.body, event)[:chars_max]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        said = ""  # a body that no client of ours writes; fsck judges it
    reverts = event.body.get("reverts")
    return f"{said} (reverts {str(reverts)[:ID_SAID]})".strip() if reverts else said


def _words(op: str, body: Mapping[str, Any], event: Event) -> str:  # noqa: C901, PLR0912 - one line an op
    match op:
        case "memory.set":
            return _text(body)
        case "memory.incr":
            return f"{body['by']:+d}" if isinstance(body.get("by"), int) else ""
        case "memory.append":
            return _text(body.get("added", {}))
        case "message.send":
            return f"to {', '.join(body.get('to', []))}: {_text(body.get('text', {}))}"
        case "message.ack":
            ranges = body.get("ranges", [])
            return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
        case "step.add":
            after = body.get("after", [])
            return " ".join(
                part
                for part in (body.get("title") or "", f"after {', '.join(after)}" if after else "")
                if part
            )
        case "step.claim" | "step.renew" | "step.takeover" | "step.move":
            lease = f"lease {body.get('lease_ms', 0) / 1000:g} s"
            lease = f"from {body['from']}, {lease}" if "from" in body else lease
            return f"{lease}, by force: {body.get('reason')}" if body.get("force") else lease
        case "step.release":
            return f"by force: {body.get('reason')}" if body.get("force") else ""
        case "step.note":
            return _text(body.get("note", {}))
        case "step.complete":
            handoff = body.get("handoff", {})
            said = _text(handoff["note"]) if "note" in handoff else ""
            return " ".join(part for part in (body.get("outcome", ""), said) if part)
        case "barrier.arrive":
            return f"of {body.get('parties')}"
        case "artifact.put":
            return f"{body.get('size')} bytes, {str(body.get('blob'))[:12]}"
        case "agent.join":
            return f"on {event.record['host']}"
        case "chain.void":
            return f"ends junk: {body.get('reason')}"
        case "tag.set":
            return f"at {str(body.get('at'))[:27]}"
    return ""


def _text(content: Mapping[str, Any]) -> str:
    if "blob" in content:
        return f"({content_size(content)} bytes)"
    value = inline_value(content)
    if isinstance(value, str):
        return value
    import orjson

    return orjson.dumps(value).decode()


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
