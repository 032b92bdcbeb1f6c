"""What the index returns: rows of the log, and which of them are asked for."""

from __future__ import annotations

from typing import NamedTuple

from tclog.clock import Hlc
from tclog.event import ChainId, Event


class Commit(NamedTuple):
    """A committed event in its place: entry ``place`` of version ``seq`` of a chain.

    ``at`` is the version's stamp, which orders the log; the event's own stamp is older.
    """

    at: Hlc
    chain: ChainId
    seq: int
    place: int
    event: Event


class Attempt(NamedTuple):
    """An event that has no slot: it lost its race, or is on its way."""

    at: Hlc
    event: Event


class Filter(NamedTuple):
    """Which rows are asked for; every field narrows, None does not.

    ``since`` is exclusive and ``until`` inclusive. ``op`` and ``chain`` are shell patterns.
    ``text`` is looked for in the record as it is stored, whatever the case of ASCII letters.
    """

    agent: str | None = None
    op: str | None = None
    chain: str | None = None
    since: Hlc | None = None
    until: Hlc | None = None
    text: str | None = None
