"""tclog memory set."""

from __future__ import annotations

from typing import Any, Literal

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.commands.memory import confirm
from tclog.cli.invocation import Invocation
from tclog.errors import UsageError


@operation(
    "set",
    example="""
    tclog memory set design.contract 'POST /v1/items' --as alice
    tclog memory set limits '{"retries": 3}' --type json --if-absent --as alice
    tclog memory set design.contract 'POST /v2/items' --if-version 1 --as alice
    """,
)
@click.argument("key")
@click.argument("value", required=False, type=options.SAID)
@click.option(
    "--file",
    type=options.FILE_IN,
    metavar="F",
    help="Read the value from a file; - is standard input.",
)
@click.option(
    "--type", "kind", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--if-version", type=click.IntRange(0), metavar="N", help="Only if the key is at N.")
@click.option("--if-absent", is_flag=True, help="Only if the key has no value.")
@options.id_key
def set_(
    call: Invocation,
    key: str,
    value: str | None,
    file: str | None,
    kind: Literal["text", "json"],
    if_version: int | None,
    if_absent: bool,
    id_key: str | None,
) -> None:
    """Set KEY to VALUE, or to standard input if VALUE is -. Every byte of a text is kept.

    Every set makes a new version. With --if-version or --if-absent, a write that would overwrite
    another agent's is refused (exit 4); the error shows the current version, value and author.
    """
    if value is not None and file is not None:
        raise UsageError("VALUE and --file exclude each other")
    if value is None and file is None:
        raise UsageError("give a value, - for standard input, or --file", code="value-missing")
    if file is not None:
        from tclog.cli.files import read_text

        value = read_text(file)
    text = str(value)
    content: Any = options.parse_json(text) if kind == "json" else text
    from tclog.log.memory import set_value

    log = call.log()
    done = log.run(
        set_value(
            log.client,
            key,
            content,
            value_type=kind,
            if_version=if_version,
            if_absent=if_absent,
            id=id_key,
        )
    )
    confirm(call, f"Set {done.key}", done)
