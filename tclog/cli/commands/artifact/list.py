"""tclog artifact list."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.artifact import COLUMNS, cells_of
from tclog.cli.invocation import Invocation


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
    call.emit_list(found, COLUMNS, cells_of, limit)
