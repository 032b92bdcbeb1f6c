"""tclog artifact list."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.artifact import COLUMNS
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    write_json,
    write_rows,
)


@operation(
    "list",
    example="""
    tclog artifact list
    """,
)
@click.option("--step", metavar="S", help="Only what this step made.")
@options.at
@options.limit
@options.strict
def list_(call: Invocation, step: str | None, at: str | None, limit: int | None) -> None:
    """List the artifacts, each at its newest version."""
    from tclog.log.artifacts import list_artifacts

    log = call.log(reader=True)
    found = log.run(list_artifacts(log.client, step=step, at=call.point(at)))
    if call.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    rows = [[r.name, r.version, r.size, r.agent, r.at, r.step, r.blake3] for r in found]
    write_rows(COLUMNS, rows, now_us=call.now_us(), limit=limit, more=call.all_rows())
