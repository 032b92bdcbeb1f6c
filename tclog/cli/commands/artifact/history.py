"""tclog artifact history."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.artifact import COLUMNS, cells_of
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    terminal,
    write_more,
)


@operation(
    "history",
    example="""
    tclog artifact history report.md
    """,
)
@click.argument("name")
@options.at
@options.limit
def history(call: Invocation, name: str, at: str | None, limit: int | None) -> None:
    """Show the versions of an artifact, newest first."""
    from tclog.log.artifacts import read_history

    log = call.log(reader=True)
    found = log.run(read_history(log.client, name, limit=call.shown(limit), at=call.point(at)))
    call.emit_list(found, COLUMNS, cells_of, limit=0)
    left = found[-1].version - 1
    if left and terminal() and not call.json:
        write_more(left, call.all_rows())
