"""tclog step list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column

if TYPE_CHECKING:
    from tclog.chain.results import Step
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
    columns = [
        Column("id"),
        Column("state", "state"),
        Column("agent"),
        Column("lease until", "time"),
        Column("waiting for"),
        Column("title"),
    ]

    def cells(step: Step) -> list[Any]:
        waiting = ",".join(step.waiting) or None
        return [step.id, step.word, step.agent, step.lease_until, waiting, step.title]

    call.emit_list(found, columns, cells, limit)
