"""tclog memory delete."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import confirm
from tclog.cli.invocation import Invocation


@operation(
    "delete",
    example="""
    tclog memory delete design.contract --as alice
    """,
)
@click.argument("key")
@click.option("--if-version", type=click.IntRange(1), metavar="N", help="Only if the key is at N.")
@options.id_key
def delete(call: Invocation, key: str, if_version: int | None, id_key: str | None) -> None:
    """Remove the value of KEY. Its history stays, and so do its version numbers."""
    from tclog.log.memory import delete_value

    log = call.log()
    done = log.run(delete_value(log.client, key, if_version=if_version, id=id_key))
    confirm(call, f"Deleted {done.key}", done)
