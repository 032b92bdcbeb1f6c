"""tclog memory list."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import value_text
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Column,
    write_json,
    write_rows,
)


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
    if call.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    columns = [Column("key"), Column("version"), Column("agent"), Column("at", "time")]
    rows = [[row.key, row.version, row.agent, row.at] for row in found]
    if values:
        columns.append(Column("value"))
        rows = [[*cells, value_text(row)] for cells, row in zip(rows, found, strict=True)]
    write_rows(columns, rows, now_us=call.now_us(), limit=limit, more=call.all_rows())
