"""tclog diff: what changed between two moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Column,
    harmless,
    terminal,
    write_json,
    write_line,
    write_more,
    write_rows,
)
from tclog.event.names import chain_kind, chain_name

if TYPE_CHECKING:
    from tclog.history.diff import Change

EXIT_DIFFERENT = 1


@operation(
    "diff",
    example="""
    tclog diff 1h
    tclog diff yesterday 2h --stat
    tclog diff 10m @ --json
    """,
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="[B]", required=False)
@click.option("--stat", is_flag=True, help="Only how much changed, by groups.")
@click.option("--exit-code", is_flag=True, help="End with 1 if there is a difference, else with 0.")
@options.limit
@options.strict
def diff(
    call: Invocation, before: str, after: str | None, stat: bool, exit_code: bool, limit: int | None
) -> None:
    """Show what changed between two moments, and by whom.

    A and B (by default now) are times, ids of events or versions, or tags; B may be the earlier.
    Each thing is shown before and after, with who changed it last; what follows from it too, such
    as a step that became ready. With --exit-code the exit status says, as in git, whether
    there is a difference: 0 for none, 1 for some.
    """
    from tclog.history.diff import count_changes

    changes = call.history(before, after or None).diff(before, after or None)
    if stat:
        _write_stats(call, count_changes(changes))
    elif call.json:
        for change in changes[: limit or None]:
            write_json(change.as_json())
    else:
        _write_changes(call, changes, limit)
    if exit_code and changes:
        click.get_current_context().exit(EXIT_DIFFERENT)


def _write_stats(call: Invocation, stats: list[Any]) -> None:
    if call.json:
        for row in stats:
            write_json(row.as_json())
        return
    columns = [Column(name) for name in ("group", "added", "removed", "changed", "events")]
    write_rows(columns, [list(row) for row in stats], now_us=call.now_us(), limit=0)


def _write_changes(call: Invocation, changes: list[Change], limit: int | None) -> None:
    from tclog.cli.descriptions import change_words, line_changes, lines_words
    from tclog.history.rendering import short_id

    index = call.history().opened().index
    shown = changes[: call.shown(limit)]
    groups: dict[str, list[list[Any]]] = {}
    details: dict[str, list[tuple[str, list[str]]]] = {}
    for change in shown:
        lines = line_changes(change.before, change.after) if terminal() else []
        what = lines_words(lines) if lines else change_words(change.before, change.after)
        last = change.last
        name = chain_name(change.chain) if terminal() else change.chain
        if chain_kind(change.chain) == "read":
            name = change.chain
        by, at, event = (None, None, None)
        if last is not None:
            by, at, event = last.event.agent, last.at[:27], short_id(index, last.event.id)
        groups.setdefault(change.group, []).append([name, what, by, at, event])
        if lines:
            details.setdefault(change.group, []).append((name, lines))
    columns = [Column("change"), Column("agent"), Column("at", "time"), Column("id")]
    for nth, (group, rows) in enumerate(groups.items()):
        if nth and terminal():
            write_line("")
        write_rows([Column(group), *columns], rows, now_us=call.now_us(), limit=0)
        for name, lines in details.get(group, ()):
            write_line(harmless(f"\n  {name}"))
            for line in lines:
                write_line(harmless(f"  {line}"))
    if terminal() and len(shown) < len(changes):
        write_more(len(changes) - len(shown), call.all_rows())
