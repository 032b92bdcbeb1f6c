"""tclog artifact: the group, and what its commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tclog.cli.app import group
from tclog.cli.output import Column

if TYPE_CHECKING:
    from tclog.chain.results import Artifact

COLUMNS = [
    Column("name"),
    Column("version"),
    Column("size"),
    Column("agent"),
    Column("at", "time"),
    Column("step"),
    Column("blake3"),
]


def cells_of(row: Artifact) -> list[Any]:
    """Return what a listing shows of an artifact."""
    return [row.name, row.version, row.size, row.agent, row.at, row.step, row.blake3]


@group(
    *("put", "get", "list", "history"),
    aliases={"upload": "put", "download": "get"},
    example="""
    tclog artifact put report.md --as alice
    tclog artifact get report.md -o copy.md
    """,
)
def artifact() -> None:
    """Hand over files by name and version."""
