"""tclog artifact: the group, and what its commands share."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click

from tclog.cli.app import group
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column

BAR_FROM_BYTES = 8 << 20

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


@contextlib.contextmanager
def transfer_bar(
    call: Invocation, label: str, total: int
) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on a terminal's stderr, for transfers that take a while."""
    if call.json or total < BAR_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update
