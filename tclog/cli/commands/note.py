"""tclog note."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "note",
    example="""
    tclog note design 'schema drafted, tests next' --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@click.argument("text", required=False, type=options.SAID)
@options.message
@options.fence
@options.id_key
def note(
    call: Invocation,
    step_id: str,
    text: str | None,
    message: str | None,
    fence: int | None,
    id_key: str | None,
) -> None:
    """Say something about a step.

    TEXT is - for standard input. A note by its holder also renews the lease.
    """
    from tclog.log.steps import note_step

    fence = call.fence_of(step_id) if fence is None else fence
    said = options.one_text(text, message)
    log = call.log()
    done = log.run(note_step(log.client, step_id, said, fence=fence, id=id_key))
    call.emit(done.as_json(), f"Noted on step {done.id}")
