"""tclog state: everything as it was at a moment."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    Column,
    terminal,
    write_bytes,
    write_json,
    write_line,
    write_rows,
)

if TYPE_CHECKING:
    from tclog.history.state import Item


@operation(
    "state",
    example="""
    tclog state
    tclog state --at 10m --json
    """,
)
@options.at
@options.limit
@options.strict
def state(call: Invocation, at: str | None, limit: int | None) -> None:
    """Show everything as it was at a moment.

    That is memory, steps, inboxes, artifacts, barriers, agents and tags, from one consistent look.
    What a step waits for is judged at that moment. With --json these are the very objects that the
    commands for each of them print.
    """
    items = call.history(at).state(at, large=call.json)
    if call.json:
        # Ten thousand lines, written one by one, would take as long as finding out what they say.
        lines = io.TextIOWrapper(io.BytesIO(), "utf-8")
        for item in items[: limit or None]:
            write_json(item.as_json(), lines)
        write_bytes(lines.detach().getvalue())
        return
    _write_state(call, items, limit)


def _write_state(call: Invocation, items: list[Item], limit: int | None) -> None:
    from tclog.cli.descriptions import name_of, words_of

    details = [Column("what", "state"), Column("version"), Column("agent"), Column("at", "time")]
    groups: dict[str, list[list[Any]]] = {}
    for group, chain, shown in items:
        by = None if shown["type"] in ("agent", "inbox", "read", "barrier") else shown.get("agent")
        when = shown["last_seen"] if shown["type"] == "agent" else shown.get("at")
        # An inbox and what is acknowledged of it bear the same name.
        name = chain if shown["type"] == "read" or not terminal() else name_of(shown)
        groups.setdefault(group, []).append([name, words_of(shown), shown.get("version"), by, when])
    for nth, (group, rows) in enumerate(groups.items()):
        if nth and terminal():
            write_line("")
        columns = [Column(group), *details]
        write_rows(columns, rows, now_us=call.now_us(), limit=limit, more=call.all_rows())
