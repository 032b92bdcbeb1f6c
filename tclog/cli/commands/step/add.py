"""tclog step add."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "add",
    example="""
    tclog step add build --after design --title 'Build the API' --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@click.option(
    "--after",
    "--depends-on",
    multiple=True,
    metavar="A,B",
    help="Steps that must be complete first.",
)
@click.option("--title", type=options.SAID, metavar="T", help="A short description.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@options.id_key
def add(
    call: Invocation,
    step_id: str,
    after: tuple[str, ...],
    title: str | None,
    priority: int,
    id_key: str | None,
) -> None:
    """Define step ID. A step that would come after itself is refused.

    Adding a step again with the same words changes nothing.
    """
    from tclog.event import split_names
    from tclog.log.steps import add_step

    names = [name for words in after for name in split_names("step", words)]
    log = call.log()
    done = log.run(
        add_step(
            log.client,
            step_id,
            title=title,
            priority=priority,
            after=names,
            id=id_key,
        )
    )
    call.emit(done.as_json(), f"Added step {done.id} ({done.state})")
