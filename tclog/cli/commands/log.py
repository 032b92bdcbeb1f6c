"""tclog log: what happened."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Cell,
    Column,
    one_line,
    terminal,
    write_json,
    write_line,
    write_more,
    write_rows,
)

if TYPE_CHECKING:
    from tclog.history.log import Row

ROWS_AT_ONCE = 500

# More that is not shown is not counted: it takes as long as reading it.
COUNTED_MAX = 1_000

COLUMNS = [
    Column("at", "time"),
    Column("agent"),
    Column("op"),
    Column("chain"),
    Column("version"),
    Column("what"),
    Column("id"),
]


@operation(
    "log",
    example="""
    tclog log --op 'step.*' --since 2h
    tclog log --agent alice --attempts --oneline
    """,
)
@options.filters
@click.option("--since", metavar="POINT", help="Only what came after this.")
@click.option("--until", metavar="POINT", help="Only what came until this.")
@options.attempts
@click.option("--reverse", is_flag=True, help="Oldest first.")
@click.option("--oneline", is_flag=True, help="One short line an event.")
@options.limit
@options.strict
def log(
    call: Invocation,
    agent: str | None,
    op: str | None,
    chain: str | None,
    since: str | None,
    until: str | None,
    text: str | None,
    attempts: bool,
    reverse: bool,
    oneline: bool,
    limit: int | None,
) -> None:
    """Show what happened: all committed events, the newest first.

    The order is that of the hybrid logical clock: cause comes before effect, and the events of one
    chain stand in the order of its versions.
    """
    options.note_op(call, op)
    shown = min(call.shown(limit) or sys.maxsize, sys.maxsize)
    rows = call.history(since, until).log(
        agent=agent,
        op=op,
        chain=chain,
        text=text,
        since=since,
        until=until,
        attempts=attempts,
        reverse=reverse,
        at_once=min(shown, ROWS_AT_ONCE) + 1,
    )
    # A long log is streamed, so that its first lines come at once and memory stays small.
    rest = islice(rows, shown)
    _write(call, list(islice(rest, ROWS_AT_ONCE)), oneline)
    while part := list(islice(rest, ROWS_AT_ONCE)):
        _write(call, part, oneline)
    # Who reads in a pipe has asked for so many and no more.
    counted = terminal() and not call.json
    left = sum(1 for _ in islice(rows, COUNTED_MAX + 1)) if counted else 0
    if left:
        write_more(left if left <= COUNTED_MAX else f"over {COUNTED_MAX}", call.all_rows())


def _write(call: Invocation, rows: list[Row], oneline: bool) -> None:
    from tclog.cli.descriptions import event_words
    from tclog.history.rendering import short_ids

    if call.json:
        for row in rows:
            write_json(row.as_json())
        return
    ids = short_ids(call.history().opened().index, [row.event.id for row in rows])
    cells = []
    for row in rows:
        commit, attempt = row.commit, row.attempt
        event = row.event
        version: Any = None if commit is None else commit.seq
        what = event_words(event, short=oneline)
        if row.lost_to is not None:
            lost = one_line(f"lost to {row.lost_to.event.agent}, version {row.lost_to.seq}")
            what = Cell(f"{lost} ({what})") if what else lost
        elif attempt is not None:
            what = Cell(f"not committed ({what})" if what else "not committed")
        at = row.at[:27]
        chain = event.chains[0] if commit is None else commit.chain
        op = event.op if commit is not None else f"{event.op} (attempt)"
        cells.append([at, event.agent, op, chain, version, what, ids[event.id]])
    if oneline:
        for _, agent, op, chain, _, what, event_id in cells:
            write_line(" ".join(map(one_line, (event_id, agent, op, chain, what))).rstrip())
        return
    write_rows(COLUMNS, cells, now_us=call.now_us(), limit=0)
