"""The tables of a report: steps, memory, messages, artifacts, as they stand at its range's end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tclog.chain.fold import state_of
from tclog.clock import Hlc, parse_us, rfc3339
from tclog.domain import steps
from tclog.event import ChainId, Event, EventId, Version, chain_name
from tclog.history.log import Row
from tclog.history.report.messages import Delivery
from tclog.history.report.survey import Survey, Tally
from tclog.history.report.words import text_of
from tclog.history.snapshot import standing
from tclog.index import Index

VALUE_CHARS = 300
MESSAGE_CHARS = 600


def _head(index: Index, chain: ChainId, until: Hlc | None) -> Version | None:
    head = index.version_at(chain, until) if until else index.version(chain, index.head(chain))
    return standing(index, head)


# -- steps ----------------------------------------------------------------------------------------


def step_rows(
    index: Index, survey: Survey, claims: Iterable[Mapping[str, Any]], until: Hlc | None
) -> list[dict[str, Any]]:
    """Return the steps that somebody defined, claimed or tried to claim by the end of the range."""
    tried = survey.tallies("step")
    untouched = Tally()
    held: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for claim in claims:
        held[claim["step"]].append(claim)
    complete = _complete_steps(index, until)
    found = []
    for chain in sorted(set(index.chains("step")) | set(tried)):
        name = chain_name(chain)
        head = _head(index, chain, until)
        if head is None and chain not in tried:
            continue
        state: steps.State = state_of(chain, head)
        mine = held.get(name, ())
        waiting = steps.waits_for(state, complete.__contains__)
        found.append(
            {
                "id": name,
                "title": state.title,
                "state": steps.shown_state(state, waiting),
                "agent": state.agent,
                "held_us": sum(claim["end"] - claim["start"] for claim in mine),
                "claims": len(mine),
                "takeovers": sum(1 for claim in mine if claim["takeover"]),
                "lost": tried.get(chain, untouched).lost,
                "after": list(state.after),
                "waiting": list(waiting),
                "events": tried.get(chain, untouched).events,
                "order": min((claim["start"] for claim in mine), default=2**62),
            }
        )
    # In the order of work: by their first claim; those without one last.
    found.sort(key=lambda row: (row["order"], row["id"]))
    for row in found:
        del row["order"]
    return found


def _complete_steps(index: Index, until: Hlc | None) -> set[str]:
    return {
        chain_name(chain)
        for chain in index.chains("step")
        if steps.is_complete(state_of(chain, _head(index, chain, until)))
    }


# -- memory and artifacts -------------------------------------------------------------------------


def memory_rows(index: Index, survey: Survey, until: Hlc | None) -> list[dict[str, Any]]:
    """Return the keys that were written in the range, or were tried to be."""
    found = []
    for chain, mine in survey.tallies("memory").items():
        head = _head(index, chain, until)
        content = state_of(chain, head).content
        found.append(
            {
                "key": chain_name(chain),
                "value": None if content is None else text_of(content, VALUE_CHARS),
                "version": 0 if head is None else head.seq,
                "writes": mine.commits,
                "writers": _writers(mine.writers),
                "agent": None if head is None else head.by,
                "lost": mine.lost,
                "at": None if head is None else rfc3339(head.at),
                "event": _last_event(head),
            }
        )
    return found


def artifact_rows(index: Index, survey: Survey, until: Hlc | None) -> list[dict[str, Any]]:
    """Return the artifacts that were put in the range."""
    found = []
    for chain, mine in survey.tallies("artifact").items():
        head = _head(index, chain, until)
        state = state_of(chain, head)
        found.append(
            {
                "name": chain_name(chain),
                "version": 0 if head is None else head.seq,
                "size": state.size,
                "blob": state.blob,
                "step": state.step,
                "agent": None if head is None else head.by,
                "puts": mine.commits,
                "at": None if head is None else rfc3339(head.at),
                "event": _last_event(head),
            }
        )
    return found


def _writers(counted: Mapping[str, int]) -> list[str]:
    return sorted(counted, key=lambda name: (-counted[name], name))


def _last_event(head: Version | None) -> str | None:
    return head.events[-1].id if head is not None and head.events else None


# -- messages -------------------------------------------------------------------------------------


def message_rows(
    rows: Iterable[Row],
    deliveries: Iterable[Delivery],
    origin_us: int,
    agent: Callable[[str], int],
) -> list[dict[str, Any]]:
    """Return the messages sent: to whom, what they say, and when each reader acknowledged."""
    readers: dict[EventId, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        readers[delivery.event].append(delivery)
    found = []
    for row in rows:
        if row.commit is None or row.commit.event.op != "message.send":
            continue
        event = row.commit.event
        mine = readers.get(event.id, [])
        shown: dict[str, Any] = {
            "event": event.id,
            "to": [agent(delivery.reader) for delivery in mine],
            "named": _named(event),
            "text": text_of(event.body.get("text"), MESSAGE_CHARS),
            "acked": [
                None if delivery.acked is None else parse_us(delivery.acked) - origin_us
                for delivery in mine
            ],
        }
        for name in ("step", "reply_to"):
            if isinstance(event.body.get(name), str):
                shown[name] = event.body[name]
        found.append(shown)
    return found


def _named(event: Event) -> str:
    to = event.body.get("to")
    return ", ".join(map(str, to)) if isinstance(to, list) else ""
