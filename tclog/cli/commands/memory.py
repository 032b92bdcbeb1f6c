"""tclog memory: set, get, list, history, delete, incr, append."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import SETTINGS, Group, operation
from tclog.cli.here import Here
from tclog.cli.output import (
    Column,
    harmless,
    json_text,
    terminal,
    write_bytes,
    write_json,
    write_line,
    write_more,
    write_rows,
)
from tclog.errors import UsageError

if TYPE_CHECKING:
    from tclog.chain.results import Memory


@click.group(
    cls=Group,
    context_settings=SETTINGS,
    example="""
    tclog memory set design.contract 'POST /v1/items' --as alice
    tclog memory get design.contract
    """,
)
def memory() -> None:
    """Share facts: versioned values with conflict detection."""


def _confirm(here: Here, what: str, done: Memory) -> None:
    here.emit(done.as_json(), lambda: f"{what} (version {done.version} by {done.agent})")


@operation(
    "set",
    parent=memory,
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
    here: Here,
    key: str,
    value: str | None,
    file: str | None,
    kind: str,
    if_version: int | None,
    if_absent: bool,
    id_key: str | None,
) -> None:
    """Set KEY to VALUE, or to standard input if VALUE is -. Every byte of a text is kept.

    Every set makes a new version. With --if-version or --if-absent, a write that would overwrite
    another agent's is refused (exit 4); the error shows the current version, value and author.
    """
    if if_absent and if_version is not None:
        raise UsageError("--if-absent and --if-version exclude each other")
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

    log = here.log()
    done = log.run(
        set_value(
            log.client,
            key,
            content,
            kind=kind,
            if_version=0 if if_absent else if_version,
            id_key=options.check_key(id_key),
        )
    )
    _confirm(here, f"Set {done.key}", done)


@operation(
    "get",
    parent=memory,
    example="""
    tclog memory get design.contract
    tclog memory get design.contract --version 1 --json
    """,
)
@click.argument("key")
@click.option("--version", type=click.IntRange(1), metavar="N", help="This version of it.")
@options.at
def get(here: Here, key: str, version: int | None, at: str | None) -> None:
    """Print the value of KEY: now, at a version, or as it was at a time.

    In a pipe, a text is printed byte for byte as it was set, and JSON on one line.
    """
    if version is not None and at is not None:
        raise UsageError("--version and --at exclude each other")
    from tclog.log.memory import get_value

    log = here.log(reader=True)
    found = log.run(get_value(log.client, key, version=version, at=here.point(at)))
    if here.json:
        write_json(found.as_json())
        return
    text = value_text(found)
    if found.type == "text" and not terminal():
        write_bytes(text.encode())
        return
    # A terminal must not get control sequences of another agent.
    text = harmless(text) if terminal() else text
    write_line(text.removesuffix("\n"))


def value_text(found: Memory) -> str:
    """Return a value as it is printed: a text unchanged, JSON on one line."""
    return str(found.value) if found.type == "text" else json_text(found.value)


@operation(
    "list",
    parent=memory,
    example="""
    tclog memory list design. --values
    """,
)
@click.argument("prefix", default="")
@click.option("--values", is_flag=True, help="Show the values too.")
@options.at
@options.limit
@options.strict
def list_(here: Here, prefix: str, values: bool, at: str | None, limit: int | None) -> None:
    """List the keys that begin with PREFIX and have a value."""
    from tclog.log.memory import list_values

    log = here.log(reader=True)
    found = log.run(list_values(log.client, prefix, values=values or here.json, at=here.point(at)))
    if here.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    columns = [Column("key"), Column("version"), Column("agent"), Column("at", "time")]
    rows = [[row.key, row.version, row.agent, row.at] for row in found]
    if values:
        columns.append(Column("value"))
        rows = [[*cells, value_text(row)] for cells, row in zip(rows, found, strict=True)]
    write_rows(columns, rows, now_us=here.now_us(), limit=limit, more=here.all_rows())


@operation(
    "history",
    parent=memory,
    example="""
    tclog memory history design.contract -n 5
    """,
)
@click.argument("key")
@options.at
@options.limit
def history(here: Here, key: str, at: str | None, limit: int | None) -> None:
    """Show the versions of KEY, newest first: who wrote what, and when."""
    from tclog.log.memory import read_history

    log = here.log(reader=True)
    found = log.run(read_history(log.client, key, limit=here.shown(limit), at=here.point(at)))
    if here.json:
        for row in found:
            write_json(row.as_json())
        return
    columns = [
        Column("version"),
        Column("at", "time"),
        Column("agent"),
        Column("op"),
        Column("value"),
    ]
    rows = [
        [row.version, row.at, row.agent, row.op, None if row.deleted else value_text(row)]
        for row in found
    ]
    write_rows(columns, rows, now_us=here.now_us(), limit=0)
    left = found[-1].version - 1
    if left and terminal():
        # Some may be of transactions that did not come about; only reading them would tell.
        write_more(f"up to {left}", here.all_rows())


@operation(
    "delete",
    parent=memory,
    example="""
    tclog memory delete design.contract --as alice
    """,
)
@click.argument("key")
@click.option("--if-version", type=click.IntRange(1), metavar="N", help="Only if the key is at N.")
@options.id_key
def delete(here: Here, key: str, if_version: int | None, id_key: str | None) -> None:
    """Remove the value of KEY. Its history stays, and so do its version numbers."""
    from tclog.log.memory import delete_value

    log = here.log()
    done = log.run(
        delete_value(log.client, key, if_version=if_version, id_key=options.check_key(id_key))
    )
    _confirm(here, f"Deleted {done.key}", done)


memory.add_command(delete, "rm")


@operation(
    "incr",
    parent=memory,
    example="""
    tclog memory incr builds --by 2 --as alice
    """,
)
@click.argument("key")
@click.option("--by", type=int, default=1, show_default=True, metavar="N", help="What to add.")
@options.id_key
def incr(here: Here, key: str, by: int, id_key: str | None) -> None:
    """Add to the integer in KEY; a key without a value counts as 0. None is ever lost."""
    from tclog.log.memory import incr_value

    log = here.log()
    done = log.run(incr_value(log.client, key, by, id_key=options.check_key(id_key)))
    _confirm(here, f"{done.key} = {done.value}", done)


@operation(
    "append",
    parent=memory,
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
def append(here: Here, key: str, text: str, separator: str, id_key: str | None) -> None:
    """Append TEXT (or standard input, for -) to KEY as a new line. No append is ever lost.

    A newline at the end of TEXT or of the value is not doubled, so no empty line appears. If KEY
    holds a JSON array, TEXT becomes its last element.
    """
    from tclog.log.memory import append_value

    log = here.log()
    done = log.run(
        append_value(
            log.client,
            key,
            text.removesuffix(separator),
            separator=separator,
            id_key=options.check_key(id_key),
        )
    )
    _confirm(here, f"Appended to {done.key}", done)
