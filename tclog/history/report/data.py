"""The JSON object that the page draws: a range of the log, and what follows from it.

Invariant: the same log and range give the same object; no clock is asked. Times are microseconds
since ``origin_us``. Agents, ops and chains are named by their place in a list, because an event
names all three and there are thousands of events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import orjson

from tclog.clock import Hlc, format_us, parse_us, rfc3339
from tclog.history.log import Row, read_log
from tclog.history.rendering import words
from tclog.history.report import tables
from tclog.history.report.claims import Claim, end_us, lapsed_by, read_claims, start_us
from tclog.history.report.messages import Delivery, read_deliveries
from tclog.history.report.survey import Survey, event_of, is_lost_race, stamp_of
from tclog.history.report.thin import kept_places
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
    rows = _read(index, wanted)
    begin = list(islice(rows, wanted.events_max + 1))
    survey = Survey(chain(begin, rows))
    places = kept_places(survey.common, wanted.events_max)
    if len(begin) > wanted.events_max:
        begin = [row for nth, row in enumerate(_read(index, wanted)) if nth in places]
    return _report(index, wanted, survey, begin)


def _read(index: Index, wanted: Wanted) -> Iterator[Row]:
    asked = Filter(since=wanted.since, until=wanted.until)
    return read_log(index, asked, attempts=True, newest_first=False)


def _report(index: Index, wanted: Wanted, survey: Survey, kept: Sequence[Row]) -> dict[str, Any]:
    """Return the object, given the sums over all events and the events that are shown."""
    some = survey.first is not None
    origin_us = 0 if survey.first is None else parse_us(survey.first)
    # The picture ends with its last event, not today, or each reading would give another page.
    end = 0 if survey.last is None else parse_us(survey.last)
    claims = _claims(index, wanted, origin_us, end) if some else []
    readers, deliveries = _deliveries(index, kept, wanted) if survey.sent else (set(), [])
    agents, ops, chains = Names(), Names(), Names()
    # Who only receives has a lane too, below those who act; and so has who holds a step all along.
    for name in (*survey.people, *sorted(readers | {claim["agent"] for claim in claims})):
        agents.place(name)
    for claim in claims:
        claim["agent"] = agents.place(claim["agent"])
    chars = _text_chars(kept)
    return {
        "format": 1,
        "project": wanted.project,
        "title": wanted.title or wanted.project,
        "from": format_us(origin_us) if some else None,
        "to": format_us(end) if some else None,
        "asked": {
            "from": None if wanted.since is None else rfc3339(wanted.since),
            "to": None if wanted.until is None else rfc3339(wanted.until),
        },
        "origin_us": origin_us,
        "length_us": end - origin_us,
        "counts": {
            "events": survey.events,
            "attempts": survey.attempts,
            "shown": len(kept),
            "claims": len(claims),
            "takeovers": sum(1 for claim in claims if claim["takeover"]),
            "lost_races": survey.lost_races,
            "messages": survey.messages,
        },
        "events": [_event_row(row, origin_us, agents, ops, chains, chars) for row in kept],
        "claims": claims,
        "messages": tables.message_rows(kept, deliveries, origin_us, agents.place),
        "steps": tables.step_rows(index, survey, claims, wanted.until),
        "memory": tables.memory_rows(index, survey, wanted.until),
        "artifacts": tables.artifact_rows(index, survey, wanted.until),
        # A list beside that of the agents, since an agent may be called as something that every
        # object of a browser has. None for one that did nothing in the range.
        "people": [survey.people.get(name) for name in agents.all],
        "agents": agents.all,
        "ops": ops.all,
        "chains": chains.all,
    }


def _claims(index: Index, wanted: Wanted, origin_us: int, end: int) -> list[dict[str, Any]]:
    """Return the claims that were held at some moment of the range, by their beginning."""
    found = (lapsed_by(claim, end) for claim in read_claims(index, wanted.until))
    shown = [
        _claim(claim, origin_us, end)
        for claim in found
        if end_us(claim, end) >= origin_us and start_us(claim) <= end
    ]
    return sorted(shown, key=lambda claim: (claim["start"], claim["step"], claim["fence"]))


def _deliveries(
    index: Index, kept: Sequence[Row], wanted: Wanted
) -> tuple[set[str], list[Delivery]]:
    """Return who got messages in the range, and the deliveries of those that are shown."""
    shown = {event_of(row).id for row in kept if event_of(row).op == "message.send"}
    since = wanted.since or ""
    readers: set[str] = set()
    found: list[Delivery] = []
    for delivery in read_deliveries(index, wanted.until):
        if delivery.sent > since:
            readers.add(delivery.reader)
            if delivery.event in shown:
                found.append(delivery)
    return readers, found


def _text_chars(rows: Sequence[Row]) -> int:
    """Return at how many characters bodies are cut, so that the page stays of a size to send."""
    lengths = [len(orjson.dumps(event_of(row).body)) for row in rows]
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
    event = event_of(row)
    place: str = event.chains[0] if event.chains else ""
    version = None
    if row.commit is not None:
        place, version = row.commit.chain, row.commit.seq
    body = orjson.dumps(event.body, option=orjson.OPT_INDENT_2).decode() if event.body else ""
    more: dict[str, Any] = {}
    if len(body) > chars:
        more["cut"] = len(body)
        body = body[:chars]
    made_us = parse_us(event.at)
    if made_us != parse_us(stamp_of(row)):
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
        parse_us(stamp_of(row)) - origin_us,
        agents.place(event.agent),
        ops.place(event.op),
        chains.place(place),
        version,
        event.id,
        words(event),
        body,
        more,
    ]


def _claim(claim: Claim, origin_us: int, end: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "step": claim.step,
        "agent": claim.agent,
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
