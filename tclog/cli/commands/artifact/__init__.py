"""tclog artifact: the group, and what its commands share."""

from __future__ import annotations

from tclog.cli.app import group
from tclog.cli.output import Column

COLUMNS = [
    Column("name"),
    Column("version"),
    Column("size"),
    Column("agent"),
    Column("at", "time"),
    Column("step"),
    Column("blake3"),
]


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
