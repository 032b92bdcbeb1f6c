"""tclog memory list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import value_text
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Column,
)

if TYPE_CHECKING:
    from tclog.chain.results import Memory


@operation(
    "list",
    example="""
    tclog memory list design. --values
    """,
)
@click.argument("prefix", default="")
@click.option("--values", is_flag=True, help="Show the values too.")
@options.at
@options.limit
@options.strict
def list_(call: Invocation, prefix: str, values: bool, at: str | None, limit: int | None) -> None:
    """List the keys that begin with PREFIX and have a value."""
    from tclog.log.memory import list_values

    log = call.log(reader=True)
    found = log.run(list_values(log.client, prefix, values=values or call.json, at=call.point(at)))
    columns = [Column("key"), Column("version"), Column("agent"), Column("at", "time")]
    if values:
        columns.append(Column("value"))

    def cells(row: Memory) -> list[Any]:
        return [row.key, row.version, row.agent, row.at, *([value_text(row)] if values else [])]

    call.emit_list(found, columns, cells, limit)
