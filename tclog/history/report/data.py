"""The JSON object that the page draws: a range of the log, and what follows from it.

Invariant: the same log and range give the same object; no clock is asked. Times are microseconds
since ``origin_us``. Agents, ops and chains are named by their place in a list, because an event
names all three and there are thousands of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from tclog.clock import Hlc, format_us, parse_us, rfc3339
from tclog.event import Event
from tclog.history.log import Row, read_log
from tclog.history.report import tables
from tclog.history.report.claims import Claim, end_us, lapsed_by, read_claims, start_us
from tclog.history.report.messages import Delivery, read_deliveries
from tclog.history.report.thin import thinned
from tclog.history.shapes import words
from tclog.index import Filter, Index

# More events than this are thinned out: a page of more is too large to send and to open.
EVENTS_MAX = 20_000
# Texts in events are cut at the first of these with which all of them together stay below a bound.
TEXT_CHARS = (4_000, 400, 80)
TEXTS_CHARS_MAX = 8_000_000


class Wanted(NamedTuple):
    """What a report is asked for: ``since`` is exclusive, ``until`` inclusive."""

    project: str
    title: str | None = None
    since: Hlc | None = None
    until: Hlc | None = None
    events_max: int = EVENTS_MAX


class Names:
    """A list of names, and the place of each in it."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, name: str) -> int:
        """Return the place of a name, which comes last if it is new."""
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = len(self.all)
            self.all.append(name)
        return place


def build_report(index: Index, wanted: Wanted) -> dict[str, Any]:
    """Read a range of the log from the index and return the object that the page draws."""
    rows = list(read_log(index, Filter(since=wanted.since, until=wanted.until), attempts=True,
                         newest_first=False))  # fmt: skip
    origin_us = parse_us(_at(rows[0])) if rows else 0
    # The picture ends with its last event, not today, or each reading would give another page.
    end = parse_us(_at(rows[-1])) if rows else 0
    claims = _claims(index, wanted, origin_us, end) if rows else []
    deliveries = _deliveries(index, rows, wanted)
    agents, ops, chains = Names(), Names(), Names()
    for row in rows:
        agents.place(_event(row).agent)
    # Who only receives has a lane too, below those who act; and so has who holds a step all along.
    for name in sorted({d.reader for d in deliveries} | {c.agent for c in claims}):
        agents.place(name)
    kept = thinned(rows, wanted.events_max)
    chars = _text_chars(kept)
    attempts = sum(1 for row in rows if row.commit is None)
    return {
        "format": 1,
        "project": wanted.project,
        "title": wanted.title or wanted.project,
        "from": format_us(origin_us) if rows else None,
        "to": format_us(end) if rows else None,
        "asked": {
            "from": None if wanted.since is None else rfc3339(wanted.since),
            "to": None if wanted.until is None else rfc3339(wanted.until),
        },
        "origin_us": origin_us,
        "length_us": end - origin_us,
        "counts": {
            "events": len(rows) - attempts,
            "attempts": attempts,
            "shown": len(kept),
            "claims": len(claims),
            "takeovers": sum(1 for claim in claims if claim.takeover),
            "lost_races": sum(1 for row in rows if is_lost_race(row)),
            "messages": sum(
                1 for row in rows if row.commit is not None and _event(row).op == "message.send"
            ),
        },
        "events": [_event_row(row, origin_us, agents, ops, chains, chars) for row in kept],
        "claims": [_claim(claim, origin_us, end, agents) for claim in claims],
        "messages": tables.message_rows(kept, deliveries, origin_us, agents.place),
        "steps": tables.step_rows(index, rows, claims, wanted.until, end),
        "memory": tables.memory_rows(index, rows, wanted.until),
        "artifacts": tables.artifact_rows(index, rows, wanted.until),
        "people": _people(rows, agents.all),
        "agents": agents.all,
        "ops": ops.all,
        "chains": chains.all,
    }


def is_lost_race(row: Row) -> bool:
    """Whether an attempt lost to somebody else.

    An agent also leaves an attempt behind when it makes its own event anew, as with a claim that
    found the step not as empty as it had taken it for.
    """
    return (
        row.attempt is not None
        and row.lost_to is not None
        and row.lost_to.event.agent != row.attempt.event.agent
    )


def _at(row: Row) -> Hlc:
    return (row.commit or row.attempt).at  # type: ignore[union-attr]


def _event(row: Row) -> Event:
    return (row.commit or row.attempt).event  # type: ignore[union-attr]


def _claims(index: Index, wanted: Wanted, origin_us: int, end: int) -> list[Claim]:
    """Return the claims that were held at some moment of the range, by their beginning."""
    found = (lapsed_by(claim, end) for claim in read_claims(index, wanted.until))
    shown = [claim for claim in found if end_us(claim, end) >= origin_us and start_us(claim) <= end]
    return sorted(shown, key=lambda claim: (claim.start, claim.step, claim.fence))


def _deliveries(index: Index, rows: Sequence[Row], wanted: Wanted) -> list[Delivery]:
    if not any(_event(row).op == "message.send" for row in rows):
        return []
    since = wanted.since or ""
    return [d for d in read_deliveries(index, wanted.until) if d.sent > since]


def _text_chars(rows: Sequence[Row]) -> int:
    """Return at how many characters bodies are cut, so that the page stays of a size to send."""
    lengths = [len(orjson.dumps(_event(row).body)) for row in rows]
    for chars in TEXT_CHARS:
        if sum(min(length, chars) for length in lengths) <= TEXTS_CHARS_MAX:
            return chars
    return TEXT_CHARS[-1]


def _event_row(
    row: Row, origin_us: int, agents: Names, ops: Names, chains: Names, chars: int
) -> list[Any]:
    """Return ``[us, agent, op, chain, version, id, words, body, more]``.

    The body is a text and stays one: a browser's numbers would change a great integer in it.
    ``more`` has what few events have.
    """
    event = _event(row)
    chain: str = event.chains[0] if event.chains else ""
    version = None
    if row.commit is not None:
        chain, version = row.commit.chain, row.commit.seq
    body = orjson.dumps(event.body, option=orjson.OPT_INDENT_2).decode() if event.body else ""
    more: dict[str, Any] = {}
    if len(body) > chars:
        more["cut"] = len(body)
        body = body[:chars]
    made_us = parse_us(event.at)
    if made_us != parse_us(_at(row)):
        more["made"] = made_us - origin_us
    if row.commit is None:
        more["attempt"] = True
    if row.lost_to is not None:
        won = row.lost_to
        more["won"] = {
            "id": won.event.id, "agent": won.event.agent, "op": won.event.op, "version": won.seq,
            "chain": won.chain,
        }  # fmt: skip
        if not is_lost_race(row):
            more["retried"] = True
    if len(event.chains) > 1:
        more["chains"] = list(event.chains)
    if event.expect:
        more["expect"] = orjson.dumps(event.expect).decode()
    if event.key is not None:
        more["key"] = event.key
    return [
        parse_us(_at(row)) - origin_us,
        agents.place(event.agent),
        ops.place(event.op),
        chains.place(chain),
        version,
        event.id,
        words(event),
        body,
        more,
    ]


def _claim(claim: Claim, origin_us: int, end: int, agents: Names) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "step": claim.step,
        "agent": agents.place(claim.agent),
        "fence": claim.fence,
        "start": start_us(claim) - origin_us,
        "end": end_us(claim, end) - origin_us,
        "outcome": claim.outcome,
        "takeover": claim.takeover,
        "event": claim.start_event,
    }
    if claim.end_event is not None:
        shown["end_event"] = claim.end_event
    if claim.ended_by not in (None, claim.agent):
        shown["ended_by"] = claim.ended_by
    if claim.lease_end_us is not None:
        shown["lease_end"] = claim.lease_end_us - origin_us
    if claim.renewals:
        shown["renewals"] = [parse_us(at) - origin_us for at in claim.renewals]
    return shown


def _people(rows: Sequence[Row], agents: Sequence[str]) -> list[dict[str, Any] | None]:
    """Return for each agent what it did, counted before thinning, and its newest session.

    A list beside that of the agents, since an agent may be called as something that every object
    of a browser has. None for one that did nothing in the range.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        record = _event(row).record
        mine = found.setdefault(record["agent"], {"events": 0, "lost": 0})
        mine["events"] += row.commit is not None
        mine["lost"] += is_lost_race(row)
        mine |= {name: record[name] for name in ("session", "host", "client")}
    return [found.get(name) for name in agents]
