"""tclog txn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.files import reading, unreadable
from tclog.cli.invocation import Invocation
from tclog.cli.output import STDIN, Column, write_json, write_rows
from tclog.errors import TclogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tclog.cli.operations import Asked
    from tclog.log.transactions import Result


@operation(
    "txn",
    example="""
    tclog txn -f operations.jsonl --as alice
    tclog txn -f operations.jsonl --id nightly-1 --as alice
    """,
)
@click.option(
    "-f",
    "--file",
    type=options.FILE_IN,
    metavar="FILE",
    help="Read the operations from a file; - is standard input.",
)
@options.id_key
def txn(call: Invocation, file: str | None, id_key: str | None) -> None:
    """Do several operations together, or none of them.

    Each line of standard input, or of FILE, is an object with op and its fields, as for tclog
    batch: {"op":"memory.set","key":"a","value":"90","if_version":3}. All are committed at one
    moment, and what they read with memory.get or step.show is unchanged until then. If one is
    refused (exit 4), nothing is written, and the error says which. Answers one line for each.
    """
    from tclog.cli.operations import read_lines, read_operation

    file = STDIN if file is None else file
    try:
        with reading(file) as stream:
            asked = [
                read_operation(nth, raw, together=True) for nth, raw in read_lines(stream, file)
            ]
    except OSError as error:
        raise unreadable(file, error) from None
    if not asked:
        raise UsageError("there are no operations", code="bad-count", hint="tclog txn --help")
    log = call.log()
    call.agent()
    collected = log.transaction()
    try:
        for one in asked:
            one.fenced(call.fence_of).collect(collected)
        results = log.transact(collected, id=id_key)
    except TclogError as error:
        raise _of_line(error, asked, len(collected)) from None
    _answer(call, asked, results)


def _of_line(error: TclogError, asked: Sequence[Asked], collected: int) -> TclogError:
    """Say on which line the operation stands that was refused."""
    nth = error.details.pop("operation", collected if isinstance(error, UsageError) else None)
    if nth is not None and nth < len(asked):
        error.details["line"] = asked[nth].line
        error.message = f"line {asked[nth].line} ({asked[nth].op}): {error.message}"
    if isinstance(error, UsageError):
        error.hint = error.hint or "tclog txn --help"
    return error


def _answer(call: Invocation, asked: Sequence[Asked], results: Sequence[Result]) -> None:
    records = [result.as_json() for result in results]
    if call.json:
        for record in records:
            write_json(record)
        return
    rows = [[one.op, *_cells(record)] for one, record in zip(asked, records, strict=True)]
    columns = [Column("op"), Column("about"), Column("now"), Column("value")]
    write_rows(columns, rows, now_us=0, limit=0)


def _cells(record: dict[str, Any]) -> list[str | None]:
    """Return what a line is about, how that stands now, and its value."""
    from tclog.cli.descriptions import value_text

    match record["type"]:
        case "memory" if record.get("deleted"):
            return [record["key"], "deleted" if record["version"] else "absent", None]
        case "memory":
            return [record["key"], f"version {record['version']}", value_text(record)]
        case "message":
            return [record["to"], "sent", record["text"]]
    fence = f" (fence {record['fence']})" if record["state"] == "claimed" else ""
    return [record["id"], f"{record['state']}{fence}", None]
