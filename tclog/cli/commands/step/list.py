"""tclog step list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column, write_json, write_rows

if TYPE_CHECKING:
    from tclog.log.steps import StepState

STATES = [
    "pending", "ready", "claimed", "lapsed", "complete", "blocked", "needs_review", "failed"
]  # fmt: skip


@operation(
    "list",
    example="""
    tclog step list --ready
    """,
)
@click.option("--state", type=click.Choice(STATES), help="Only steps in this state.")
@click.option(
    "--ready", is_flag=True, help="Only steps that can be claimed now, lapsed claims last."
)
@options.at
@options.limit
@options.strict
def list_(
    call: Invocation, state: StepState | None, ready: bool, at: str | None, limit: int | None
) -> None:
    """List the steps in the order in which claim --next would take them."""
    from tclog.log.steps import list_steps

    log = call.log(reader=True)
    asked = list_steps(log.client, state=state, ready=ready, at=call.point(at))
    found = log.run(asked)
    if call.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    columns = [
        Column("id"),
        Column("state", "state"),
        Column("agent"),
        Column("lease until", "time"),
        Column("waiting for"),
        Column("title"),
    ]
    rows = [
        [s.id, s.word, s.agent, s.lease_until, ",".join(s.waiting) or None, s.title] for s in found
    ]
    write_rows(columns, rows, now_us=call.now_us(), limit=limit, more=call.all_rows())
