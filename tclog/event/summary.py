"""What an index keeps of a version beside its bytes: all that it is asked by, and nothing else.

A first sync reads millions of versions. A parsed record costs little to make, but much to keep: so
it is let go at once, and this is what stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tclog.clock import Hlc, Stamp
from tclog.event.ids import ChainId
from tclog.event.records import Event, Version, stored_bytes


class EventSummary(NamedTuple):
    """An event that a version holds; ``id`` are the bytes of its hash."""

    id: bytes
    agent: str
    op: str
    chains: Sequence[ChainId]


class Summary(NamedTuple):
    """A version: ``id`` and ``prev`` are the bytes of hashes, ``raw`` what ``stored_bytes`` gives.

    ``at`` is the version's moment, and ``earlier`` says that this is before its stamp. ``stored``
    is the store's stamp; where it is not known, the version's own. ``voids`` says how many slots
    with junk right below it ends.
    """

    chain: ChainId
    seq: int
    id: bytes
    prev: bytes | None
    at: Hlc
    stored: Stamp
    raw: bytes
    earlier: bool
    voids: int
    events: Sequence[EventSummary]


def summarize(version: Version) -> Summary:
    """Summarize a version that was checked, and judged if it is part of a transaction."""
    prev = version.prev
    return Summary(
        version.chain,
        version.seq,
        bytes.fromhex(version.id),
        None if prev is None else bytes.fromhex(prev),
        version.moment,
        version.stored or Stamp(version.at[:27]),
        stored_bytes(version),
        version.moment < version.at,
        len(version.voids),
        [_summarize_event(event) for event in version.events],
    )


def _summarize_event(event: Event) -> EventSummary:
    return EventSummary(bytes.fromhex(event.id), event.agent, event.op, event.chains)
