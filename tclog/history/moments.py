"""Points in time: what a time, an id prefix or a tag stands for, as a stamp."""

from __future__ import annotations

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.read import read_head
from tclog.clock import Hlc, last_of
from tclog.errors import NotFound, UsageError
from tclog.event import EventId, Version, VersionId, chain_id, validate_name
from tclog.index import Index
from tclog.moment import Moment

ID_CHARS = 64


def resolve(client: Client, index: Index, moment: Moment) -> Protocol[Hlc]:
    """Return the last stamp that belongs to a point.

    An event stands for the moment at which it was committed, to the last of its chains; one that
    never was, for the moment at which it was made. Hex digits are an id before they are a tag.

    Raises:
        NotFound: there is no such event, version or tag.
        UsageError: several ids begin so.
    """
    if moment.us is not None:
        return last_of(moment.us)
    if moment.id_prefix is not None:
        found = find_id(index, moment.id_prefix)
        if isinstance(found, Version):
            return found.moment
        if found is not None:
            return stamp_of_event(index, found)
    name = moment.tag or moment.id_prefix or ""
    chain = chain_id("tag", validate_name("tag", name))
    at: Hlc | None = state_of(chain, (yield from read_head(client, chain))).at
    if at is None:
        what = "event, version or tag" if moment.id_prefix else "tag"
        times = "" if moment.id_prefix else "; a time is 2h, yesterday or 2026-11-23T15:42:05Z"
        raise NotFound(
            f"there is no {what} {name}{times}",
            code="point-missing",
            hint="tclog tag" if moment.tag else "tclog log",
        )
    return at


def find_id(index: Index, prefix: str) -> EventId | Version | None:
    """Return the event, or else the version, whose id begins so; None if there is none.

    Raises:
        UsageError: several ids begin so.
    """
    events: list[EventId] = index.find_event(prefix)
    versions: list[Version] = index.find_version(prefix)
    ids: list[EventId | VersionId] = [*events, *(version.id for version in versions)]
    if len(ids) > 1:
        raise UsageError(
            f"{prefix} is the beginning of several ids: {', '.join(i[:16] for i in ids)}, ...",
            code="ambiguous-id",
            hint="tclog log --json",
        )
    if events:
        return events[0]
    return versions[0] if versions else None


def need_id(index: Index, word: str) -> EventId | Version:
    """Return what a user's word for an id stands for: 4 or more hex digits, also behind a ``#``.

    Raises:
        NotFound: no id begins so.
        UsageError: several do, or it is no beginning of an id.
    """
    prefix = word.lower().removeprefix("#")
    if not 4 <= len(prefix) <= ID_CHARS or not set(prefix) <= set("0123456789abcdef"):
        raise UsageError(
            f"{word!r} is not an id prefix of 4 or more hex digits", code="bad-id", hint="tclog log"
        )
    found = find_id(index, prefix)
    if found is None:
        raise NotFound(f"there is no event or version {word}", code="id-missing", hint="tclog log")
    return found


def stamp_of_event(index: Index, event: EventId) -> Hlc:
    """Return when an event was committed (to the last of its chains), or else when it was made."""
    places = index.places(event)
    if places:
        return places[-1].at
    attempt = index.attempt(event)
    assert attempt is not None  # noqa: S101 - the id was found in the index
    return attempt.at
