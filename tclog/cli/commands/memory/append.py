"""tclog memory append."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import confirm
from tclog.cli.invocation import Invocation


@operation(
    "append",
    example="""
    tclog memory append findings 'auth uses sessions' --as alice
    """,
)
@click.argument("key")
@click.argument("text", type=options.SAID)
@click.option(
    "--separator", type=options.TEXT, default="\n", help="The separator (default: a newline)."
)
@options.id_key
def append(call: Invocation, key: str, text: str, separator: str, id_key: str | None) -> None:
    """Append TEXT (or standard input, for -) to KEY as a new line. No append is ever lost.

    A newline at the end of TEXT or of the value is not doubled, so no empty line appears. If KEY
    holds a JSON array, TEXT becomes its last element.
    """
    from tclog.log.memory import append_value

    log = call.log()
    done = log.run(
        append_value(
            log.client,
            key,
            text.removesuffix(separator),
            separator=separator,
            id=id_key,
        )
    )
    confirm(call, f"Appended to {done.key}", done)
