"""The versions of all chains in the order of the log: by stamp, then by chain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from tclog.clock import Hlc
from tclog.event import Version, VersionId, decode_stored_version
from tclog.index import Index


def version_ids(index: Index) -> Iterator[tuple[VersionId, Hlc]]:
    """Yield the id and the stamp of every version, in order."""
    rows = index._db.execute(  # noqa: SLF001 - this module is a part of the index
        "SELECT at, chains.name, seq, versions.id FROM versions"
        " JOIN chains ON chains.id=versions.chain WHERE seq<=head ORDER BY at"
    )
    # The index holds chains in the order in which it met them, which is another after a rebuild.
    for at, same in groupby(rows, key=lambda row: row[0]):
        for _, _, name in sorted(row[1:] for row in same):
            yield VersionId(name.hex()), Hlc(at)


def versions_in_order(index: Index, since: Hlc | None = None) -> Iterator[Version]:
    """Yield every version whose stamp is not before ``since``, in order."""
    rows = index._db.execute(  # noqa: SLF001 - as above
        "SELECT at, chains.name, seq, versions.raw, versions.stored FROM versions"
        " JOIN chains ON chains.id=versions.chain WHERE at>=? AND seq<=head ORDER BY at",
        (since or "",),
    )
    for at, same in groupby(rows, key=lambda row: row[0]):
        for _, _, raw, stored in sorted(row[1:] for row in same):
            yield decode_stored_version(raw, stored, at)
