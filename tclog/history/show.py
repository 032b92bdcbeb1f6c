"""One event or version by its id: its fields, its place, what it changed and what it followed."""

from __future__ import annotations

from typing import Any

from tclog.chain.drive import Protocol, together
from tclog.event import ChainId, EventId, Version
from tclog.history.log import lost_to
from tclog.history.moments import need_id
from tclog.history.rendering import attempt_json, commit_json
from tclog.history.snapshot import show_chain
from tclog.index import Commit, Index


def show_id(index: Index, prefix: str) -> Protocol[dict[str, Any]]:
    """Return an event, or else a version, with what it changed.

    Raises:
        NotFound: no id begins so.
        UsageError: several do, or it is no beginning of an id.
    """
    found = need_id(index, prefix)
    if isinstance(found, Version):
        return (yield from _version(index, found))
    return (yield from _event(index, found))


def _event(index: Index, event: EventId) -> Protocol[dict[str, Any]]:
    places = index.places(event)
    if not places:
        attempt = index.attempt(event)
        assert attempt is not None  # noqa: S101 - the id was found in the index
        won = lost_to(index, attempt)
        return attempt_json(attempt) | {
            "lost_to": None if won is None else {"id": won.event.id, "agent": won.event.agent}
        }
    changes = yield from together(*(_change(index, place) for place in places))
    shown = commit_json(places[0])
    return shown | {"changes": changes}


def _change(index: Index, place: Commit) -> Protocol[dict[str, Any]]:
    chain, seq = place.chain, place.seq
    version = index.version(chain, seq)
    assert version is not None  # noqa: S101 - the index holds the versions of its events
    before = index.version_up_to(chain, seq - 1)
    return {
        "chain": chain,
        "version": seq,
        "version_id": version.id,
        "follows": version.prev,
        "before": (yield from show_chain(index, chain, before)),
        "after": (yield from show_chain(index, chain, version)),
    }


def _version(index: Index, version: Version) -> Protocol[dict[str, Any]]:
    chain: ChainId = version.chain
    before = index.version_up_to(chain, version.after)
    return {
        "type": "version",
        "id": version.id,
        "chain": chain,
        "version": version.seq,
        "at": version.at[:27],
        "hlc": version.at,
        "by": version.by,
        "stored_at": version.stored,
        "follows": version.prev,
        "events": [
            commit_json(Commit(version.moment, chain, version.seq, place, event))
            for place, event in enumerate(version.events)
        ],
        "merge": version.merge,
        "before": (yield from show_chain(index, chain, before)),
        "after": (yield from show_chain(index, chain, version)),
    }
