"""tclog step-status."""

from __future__ import annotations

import click

from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "step-status",
    hidden=True,
    example="""
    tclog step-status build
    """,
)
@click.argument("step_id", metavar="ID")
def step_status(call: Invocation, step_id: str) -> None:
    """Show the state of one step."""
    from tclog.chain.results import Step as Record
    from tclog.chain.show import show_step
    from tclog.log.steps import has_lapsed, read_rows

    log = call.log(reader=True)
    (row,) = log.run(read_rows(log.client, [step_id]))
    found: Record = show_step(row.id, row.head, row.state, ())
    found = found._replace(lapsed=has_lapsed(log.client, row))
    who = f" (agent: {found.agent})" if found.agent else ""
    call.emit(found.as_json(), f"{found.id}: {found.word}{who}")
