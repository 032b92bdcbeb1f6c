"""What packing asks of the index: the versions of closed hours, and the events that they hold."""

from __future__ import annotations

from collections.abc import Sequence

from tclog.event import ChainId, EventId
from tclog.index import Index
from tclog.index.asking import IDS_AT_ONCE


def newest_before(index: Index, before: str) -> list[tuple[ChainId, int]]:
    """Return each chain with its newest version before a stamp, in byte order of the chains."""
    rows = index._db.execute(  # noqa: SLF001 - this module is a part of the index
        "SELECT chains.name, max(versions.seq) FROM versions JOIN chains"
        " ON chains.id=versions.chain WHERE versions.at<? GROUP BY versions.chain",
        (before,),
    )
    return sorted(((ChainId(name), seq) for name, seq in rows), key=lambda row: row[0].encode())


def held_before(index: Index, ids: Sequence[EventId], before: str) -> set[EventId]:
    """Return those of some events that a version before a stamp holds."""
    held: set[EventId] = set()
    for start in range(0, len(ids), IDS_AT_ONCE):
        part = [bytes.fromhex(one) for one in ids[start : start + IDS_AT_ONCE]]
        marks = ",".join("?" * len(part))
        rows = index._db.execute(  # noqa: SLF001 - as above
            f"SELECT id FROM events WHERE id IN ({marks}) AND at<?",  # noqa: S608 - question marks
            (*part, before),
        )
        held.update(EventId(row[0].hex()) for row in rows)
    return held
