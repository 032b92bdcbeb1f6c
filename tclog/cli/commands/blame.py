"""tclog blame: which event each line or field comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from tclog.errors import NotFound, to_run

if TYPE_CHECKING:
    from tclog.clock import Hlc
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
def blame(call: Invocation, name: str, kind: str | None, at: str | None, limit: int | None) -> None:
    """Show which event each line or field comes from.

    That is each line of a text, each member of a JSON object, each element of an array, each field
    of a step. Of a step also the events are shown that had no effect, because they were not allowed
    at their place. A name that is both a key and a step is taken for the key.
    """
    from tclog.history.blame import blame_memory, blame_step
    from tclog.history.snapshot import END

    point = call.point(at) or END
    history = call.history()
    kind = kind or _kind_of(call, name, point)
    ask = blame_step if kind == "step" else blame_memory

    def read() -> list[Blame]:
        with history.index.reading():
            return history.run(ask(history.index, name, point))

    rows = history.asked(read)
    if call.json:
        for row in rows[: limit or None]:
            write_json(row.as_json())
        return
    _write_blame(call, rows, kind, limit)


def _kind_of(call: Invocation, name: str, point: Hlc) -> str:
    """Find out whether a name was a key or a step, then or ever; a key goes first."""
    from tclog.event import chain_id

    index = call.history().index
    key, step = chain_id("memory", name), chain_id("step", name)
    is_key, is_step = (index.version_at(chain, point) is not None for chain in (key, step))
    if not is_key and not is_step:
        is_key, is_step = (index.head(chain) > 0 for chain in (key, step))
    if is_key and is_step:
        call.note(f"{name} is also a step: {to_run('tclog blame', name, then='--step')}")
    if not is_key and not is_step:
        raise NotFound(
            f"there is neither a key nor a step {name}",
            code="name-missing",
            hint="tclog state",
            name=name,
        )
    return "memory" if is_key else "step"


def _write_blame(call: Invocation, rows: list[Blame], kind: str, limit: int | None) -> None:
    from tclog.cli.descriptions import cut
    from tclog.history.rendering import short_id

    columns = [
        Column("field" if kind == "step" else rows[0].kind),
        Column("value"),
        Column("version"),
        Column("agent"),
        Column("at", "time"),
        Column("op"),
        Column("id"),
    ]
    index = call.history().index
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
