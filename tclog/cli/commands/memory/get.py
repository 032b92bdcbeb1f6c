"""tclog memory get."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import value_text
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    harmless,
    terminal,
    write_bytes,
    write_json,
    write_line,
)


@operation(
    "get",
    example="""
    tclog memory get design.contract
    tclog memory get design.contract --version 1 --json
    """,
)
@click.argument("key")
@click.option("--version", type=click.IntRange(1), metavar="N", help="This version of it.")
@options.at
def get(call: Invocation, key: str, version: int | None, at: str | None) -> None:
    """Print the value of KEY: now, at a version, or as it was at a time.

    In a pipe, a text is printed byte for byte as it was set, and JSON on one line.
    """
    from tclog.log.memory import get_value
    from tclog.log.operation import declared

    declared(get_value).check({"version": version, "at": at})
    log = call.log(reader=True)
    found = log.run(get_value(log.client, key, version=version, at=call.point(at)))
    if call.json:
        write_json(found.as_json())
        return
    text = value_text(found)
    if found.type == "text" and not terminal():
        write_bytes(text.encode())
        return
    # A terminal must not get control sequences of another agent.
    text = harmless(text) if terminal() else text
    write_line(text.removesuffix("\n"))
