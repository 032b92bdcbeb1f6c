"""tclog memory incr."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import confirm
from tclog.cli.invocation import Invocation


@operation(
    "incr",
    example="""
    tclog memory incr builds --by 2 --as alice
    """,
)
@click.argument("key")
@click.option("--by", type=int, default=1, show_default=True, metavar="N", help="What to add.")
@options.id_key
def incr(call: Invocation, key: str, by: int, id_key: str | None) -> None:
    """Add to the integer in KEY; a key without a value counts as 0. None is ever lost."""
    from tclog.log.memory import incr_value

    log = call.log()
    done = log.run(incr_value(log.client, key, by, id=id_key))
    confirm(call, f"{done.key} = {done.value}", done)
