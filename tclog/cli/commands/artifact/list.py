"""tclog artifact list."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.artifact import COLUMNS
from tclog.cli.here import Here
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
def list_(here: Here, step: str | None, at: str | None, limit: int | None) -> None:
    """List the artifacts, each at its newest version."""
    from tclog.log.artifacts import list_artifacts

    log = here.log(reader=True)
    found = log.run(list_artifacts(log.client, step=step, at=here.point(at)))
    if here.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    rows = [[r.name, r.version, r.size, r.agent, r.at, r.step, r.blake3] for r in found]
    write_rows(COLUMNS, rows, now_us=here.now_us(), limit=limit, more=here.all_rows())
