"""tclog wait-for."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import harmless, write_json, write_line


@operation(
    "wait-for",
    example="""
    tclog wait-for design --timeout 1s
    tclog wait-for a b c --any
    """,
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--any", "any_", is_flag=True, help="One of them is enough.")
@click.option("--count", type=click.IntRange(1), metavar="K", help="K of them are enough.")
@options.timeout()
def wait_for(
    call: Invocation, ids: tuple[str, ...], any_: bool, count: int | None, timeout: float | None
) -> None:
    """Wait until steps are complete.

    If a step is blocked, failed or cancelled, the wait ends at once with exit status 4 and says
    why. A step that needs review is not done: the wait goes on.
    """
    from tclog.log.steps import wait_for_steps

    log = call.log(reader=True)
    waiting = wait_for_steps(
        log.client, *ids, any=any_, count=count, timeout_s=timeout, tell=call.note
    )
    done = log.run(waiting)
    if call.json:
        for step in done:
            write_json(step.as_json())
    else:
        write_line(harmless(f"Complete: {', '.join(step.id for step in done)}"))
