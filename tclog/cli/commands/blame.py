"""tclog blame: which event each line or field comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Column,
    json_text,
    write_json,
    write_rows,
)
from tclog.event import chain_kind

if TYPE_CHECKING:
    from tclog.history.blame import Blame

# The kinds of rows of blame whose value is part of a JSON value.
JSON_KINDS = ("member", "element", "value")


@operation(
    "blame",
    example="""
    tclog blame design.contract
    tclog blame design --step
    """,
)
@click.argument("name", metavar="KEY|STEP")
@click.option("--memory", "kind", flag_value="memory", help="NAME is a key.")
@click.option("--step", "kind", flag_value="step", help="NAME is a step.")
@options.at
@options.limit
@options.strict
def blame(
    call: Invocation,
    name: str,
    kind: Literal["memory", "step"] | None,
    at: str | None,
    limit: int | None,
) -> None:
    """Show which event each line or field comes from.

    That is each line of a text, each member of a JSON object, each element of an array, each field
    of a step. Of a step also the events are shown that had no effect, because they were not allowed
    at their place. A name that is both a key and a step is taken for the key.
    """
    rows = call.history(at).blame(name, kind=kind, at=at)
    if call.json:
        for row in rows[: limit or None]:
            write_json(row.as_json())
        return
    _write_blame(call, rows, limit)


def _write_blame(call: Invocation, rows: list[Blame], limit: int | None) -> None:
    from tclog.cli.descriptions import cut
    from tclog.history.rendering import short_id

    columns = [
        Column("field" if not rows or chain_kind(rows[0].chain) == "step" else rows[0].kind),
        Column("value"),
        Column("version"),
        Column("agent"),
        Column("at", "time"),
        Column("op"),
        Column("id"),
    ]
    index = call.history().opened().index
    cells: list[list[Any]] = []
    ids: dict[str, str] = {}
    for row in rows:
        value = row.value
        if row.kind in JSON_KINDS or not isinstance(value, str | None):
            value = json_text(value)
        value = None if value is None else cut(value)
        if row.kind == "ignored":
            cells.append(["(ignored)", None])
        else:
            cells.append([row.name, value])
        commit = row.commit
        if commit is None:
            cells[-1] += [None] * 5
            continue
        version = commit.seq if commit.chain == row.chain else f"{commit.chain} {commit.seq}"
        event = commit.event
        if event.id not in ids:
            ids[event.id] = short_id(index, event.id)
        cells[-1] += [version, event.agent, commit.at[:27], event.op, ids[event.id]]
    write_rows(columns, cells, now_us=call.now_us(), limit=limit, more=call.all_rows())
