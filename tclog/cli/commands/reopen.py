"""tclog reopen."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "reopen",
    example="""
    tclog reopen design --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@options.id_key
def reopen(call: Invocation, step_id: str, id_key: str | None) -> None:
    """Make an ended or stuck step pending again.

    That is one that is complete, blocked, failed or in review.
    """
    from tclog.log.steps import reopen_step

    log = call.log()
    done = log.run(reopen_step(log.client, step_id, id=id_key))
    call.emit(done.as_json(), f"Reopened step {done.id}")
