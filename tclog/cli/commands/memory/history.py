"""tclog memory history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import value_text
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Column,
    terminal,
    write_more,
)

if TYPE_CHECKING:
    from tclog.chain.results import Memory


@operation(
    "history",
    example="""
    tclog memory history design.contract -n 5
    """,
)
@click.argument("key")
@options.at
@options.limit
def history(call: Invocation, key: str, at: str | None, limit: int | None) -> None:
    """Show the versions of KEY, newest first: who wrote what, and when."""
    from tclog.log.memory import read_history

    log = call.log(reader=True)
    found = log.run(read_history(log.client, key, limit=call.shown(limit), at=call.point(at)))
    columns = [
        Column("version"),
        Column("at", "time"),
        Column("agent"),
        Column("op"),
        Column("value"),
    ]

    def cells(row: Memory) -> list[Any]:
        return [row.version, row.at, row.agent, row.op, None if row.deleted else value_text(row)]

    call.emit_list(found, columns, cells, limit=0)
    left = found[-1].version - 1
    if left and terminal() and not call.json:
        # Some may be of transactions that did not come about; only reading them would tell.
        write_more(f"up to {left}", call.all_rows())
