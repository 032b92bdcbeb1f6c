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
    from tclog.history.history import History
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
    from tclog.history.log import read_log, read_on
    from tclog.index import Filter

    options.note_op(call, op)
    history = call.history()
    wanted = Filter(agent, op, chain, call.boundary(since), call.boundary(until), text or None)
    shown = min(call.shown(limit) or sys.maxsize, sys.maxsize)

    def read() -> list[Row]:
        with history.index.reading():
            rows = read_log(history.index, wanted, attempts=attempts, newest_first=not reverse)
            return list(islice(rows, min(shown, ROWS_AT_ONCE) + 1))

    first = history.asked(read)
    written = first[:shown]
    _write(call, history, written, oneline)
    if len(first) <= min(shown, ROWS_AT_ONCE):
        return
    # A long log is streamed, so that its first lines come at once and memory stays small.
    with history.index.reading():
        rows = read_on(history.index, wanted, written, attempts=attempts, newest_first=not reverse)
        rest = islice(rows, shown - len(written))
        while part := list(islice(rest, ROWS_AT_ONCE)):
            _write(call, history, part, oneline)
        # Who reads in a pipe has asked for so many and no more.
        counted = terminal() and not call.json
        left = sum(1 for _ in islice(rows, COUNTED_MAX + 1)) if counted else 0
    if left:
        write_more(left if left <= COUNTED_MAX else f"over {COUNTED_MAX}", call.all_rows())


def _write(call: Invocation, history: History, rows: list[Row], oneline: bool) -> None:
    from tclog.cli.descriptions import event_words
    from tclog.history.rendering import attempt_json, commit_json, short_ids

    if call.json:
        for row in rows:
            if row.commit is not None:
                write_json(commit_json(row.commit))
            elif row.attempt is not None:
                won = None if row.lost_to is None else _winner(row)
                write_json(attempt_json(row.attempt) | {"lost_to": won})
        return
    ids = short_ids(history.index, [(row.commit or row.attempt).event.id for row in rows])  # type: ignore[union-attr]
    cells = []
    for row in rows:
        commit, attempt = row.commit, row.attempt
        event = (commit or attempt).event  # type: ignore[union-attr]
        version: Any = None if commit is None else commit.seq
        what = event_words(event, short=oneline)
        if row.lost_to is not None:
            lost = one_line(f"lost to {row.lost_to.event.agent}, version {row.lost_to.seq}")
            what = Cell(f"{lost} ({what})") if what else lost
        elif attempt is not None:
            what = Cell(f"not committed ({what})" if what else "not committed")
        at = (commit or attempt).at[:27]  # type: ignore[union-attr]
        chain = event.chains[0] if commit is None else commit.chain
        op = event.op if commit is not None else f"{event.op} (attempt)"
        cells.append([at, event.agent, op, chain, version, what, ids[event.id]])
    if oneline:
        for _, agent, op, chain, _, what, event_id in cells:
            write_line(" ".join(map(one_line, (event_id, agent, op, chain, what))).rstrip())
        return
    write_rows(COLUMNS, cells, now_us=call.now_us(), limit=0)


def _winner(row: Row) -> dict[str, Any]:
    assert row.lost_to is not None  # noqa: S101 - the caller has looked
    won = row.lost_to
    return {
        "id": won.event.id,
        "op": won.event.op,
        "agent": won.event.agent,
        "version": won.seq,
    }
