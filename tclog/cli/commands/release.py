"""tclog release."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "release",
    example="""
    tclog release design --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@options.fence
@click.option("--force", is_flag=True, help="Even if another agent or session holds it.")
@click.option(
    "--reason", type=options.SAID, metavar="T", help="The reason for --force, kept in the log."
)
@options.id_key
def release(
    call: Invocation,
    step_id: str,
    fence: int | None,
    force: bool,
    reason: str | None,
    id_key: str | None,
) -> None:
    """Give a claim back.

    Others can claim the step at once. Only its holder may, or anybody with --force --reason.
    """
    from tclog.log.claims import release_step

    fence = call.fence_of(step_id) if fence is None else fence
    log = call.log()
    done = log.run(
        release_step(log.client, step_id, fence=fence, force=force, reason=reason, id=id_key)
    )
    call.emit(done.as_json(), f"Released step {done.id}")
