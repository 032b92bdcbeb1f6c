"""tclog show: one event or version."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Fact,
    json_text,
    write_facts,
    write_json,
)


@operation(
    "show",
    example="""
    tclog show 4d579556
    """,
)
@click.argument("id_prefix", metavar="ID")
@options.strict
def show(call: Invocation, id_prefix: str) -> None:
    """Show one event or version by its id.

    The beginning of the id is enough. Shown are its fields, its place, what it changed and what it
    followed.
    """
    found = call.history().show(id_prefix)
    if call.json:
        write_json(found)
        return
    facts = [
        Fact(name, value if isinstance(value, str) else json_text(value))
        for name, value in found.items()
        if value is not None and name != "type"
    ]
    write_facts(facts, now_us=call.now_us())
