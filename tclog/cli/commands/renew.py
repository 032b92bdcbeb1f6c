"""tclog renew."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.claim import held_line
from tclog.cli.invocation import Invocation


@operation(
    "renew",
    example="""
    tclog renew design --lease 1h --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@options.lease
@options.fence
@options.id_key
def renew(
    call: Invocation, step_id: str, lease: float | None, fence: int | None, id_key: str | None
) -> None:
    """Extend the lease of a step that you hold.

    The lease starts again from now.
    """
    from tclog.log.claims import renew_step

    fence = call.fence_of(step_id) if fence is None else fence
    log = call.log()
    done = log.run(renew_step(log.client, step_id, lease_s=lease, fence=fence, id=id_key))
    call.emit(done.as_json(), lambda: held_line(call, "Renewed", done))
