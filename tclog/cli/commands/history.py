"""tclog state, diff, blame: what was so, what changed since, who made it so."""

from __future__ import annotations

import gc
import io
from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
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
from tclog.errors import NotFound, to_run

if TYPE_CHECKING:
    from tclog.clock import Hlc
    from tclog.history.blame import Blame
    from tclog.history.diff import Change
    from tclog.history.state import Item

EXIT_DIFFERENT = 1
# The kinds of rows of blame whose value is part of a JSON value.
JSON_KINDS = ("member", "element", "value")


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
def state(here: Here, at: str | None, limit: int | None) -> None:
    """Show everything as it was at a moment.

    That is memory, steps, inboxes, artifacts, barriers, agents and tags, from one consistent look.
    What a step waits for is judged at that moment. With --json these are the very objects that the
    commands for each of them print.
    """
    from tclog.history.snapshot import END
    from tclog.history.state import read_state

    point = here.point(at) or END
    history = here.history()

    def read() -> list[Item]:
        with history.index.reading():
            return history.run(read_state(history.index, point, large=here.json))

    # Whatever is made now lives until it is printed: looking for garbage would find none.
    gc.disable()
    try:
        items = history.asked(read)
    finally:
        gc.enable()
    if here.json:
        # Ten thousand lines, written one by one, would take as long as finding out what they say.
        lines = io.TextIOWrapper(io.BytesIO(), "utf-8")
        for item in items[: limit or None]:
            write_json(item.shown, lines)
        write_bytes(lines.detach().getvalue())
        return
    _write_state(here, items, limit)


def _write_state(here: Here, items: list[Item], limit: int | None) -> None:
    from tclog.cli.wording import name_of, words_of

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
        write_rows(columns, rows, now_us=here.now_us(), limit=limit, more=here.all_rows())


# -- diff -----------------------------------------------------------------------------------------


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
    here: Here, before: str, after: str | None, stat: bool, exit_code: bool, limit: int | None
) -> None:
    """Show what changed between two moments, and by whom.

    A and B (by default now) are times, ids of events or versions, or tags; B may be the earlier.
    Each thing is shown before and after, with who changed it last; what follows from it too, such
    as a step that became ready. With --exit-code the exit status says, as in git, whether
    there is a difference: 0 for none, 1 for some.
    """
    from tclog.history.diff import count_changes, read_diff
    from tclog.index import derived

    first, last = _points(here, before, after)
    history = here.history()

    def read() -> list[Change]:
        with derived.reading(history.index):
            return history.run(read_diff(history.index, first, last))

    changes = history.asked(read)
    if stat:
        _write_stats(here, count_changes(changes))
    elif here.json:
        for change in changes[: limit or None]:
            write_json(change.as_json())
    else:
        _write_changes(here, changes, limit)
    if exit_code and changes:
        click.get_current_context().exit(EXIT_DIFFERENT)


def _points(here: Here, before: str, after: str | None) -> tuple[Hlc, Hlc]:
    """Read both points; that they are not settled is said once."""
    from tclog.history.snapshot import END

    points = [here.boundary(before), here.boundary(after) if after else None]
    given = [point for point in points if point is not None]
    here.say_settled(max(given))
    return points[0] or END, points[1] or END


def _write_stats(here: Here, stats: list[Any]) -> None:
    if here.json:
        for row in stats:
            write_json(row.as_json())
        return
    columns = [Column(name) for name in ("group", "added", "removed", "changed", "events")]
    write_rows(columns, [list(row) for row in stats], now_us=here.now_us(), limit=0)


def _write_changes(here: Here, changes: list[Change], limit: int | None) -> None:
    from tclog.cli.wording import change_words, line_changes, lines_words
    from tclog.history.rendering import short_id

    index = here.history().index
    shown = changes[: here.shown(limit)]
    groups: dict[str, list[list[Any]]] = {}
    details: dict[str, list[tuple[str, list[str]]]] = {}
    for change in shown:
        lines = line_changes(change.before, change.after) if terminal() else []
        what = lines_words(lines) if lines else change_words(change.before, change.after)
        last = change.last
        name = change.chain.partition("/")[2] if terminal() else change.chain
        if change.chain.startswith("read/"):
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
        write_rows([Column(group), *columns], rows, now_us=here.now_us(), limit=0)
        for name, lines in details.get(group, ()):
            write_line(harmless(f"\n  {name}"))
            for line in lines:
                write_line(harmless(f"  {line}"))
    if terminal() and len(shown) < len(changes):
        write_more(len(changes) - len(shown), here.all_rows())


# -- blame ----------------------------------------------------------------------------------------


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
def blame(here: Here, name: str, kind: str | None, at: str | None, limit: int | None) -> None:
    """Show which event each line or field comes from.

    That is each line of a text, each member of a JSON object, each element of an array, each field
    of a step. Of a step also the events are shown that had no effect, because they were not allowed
    at their place. A name that is both a key and a step is taken for the key.
    """
    from tclog.history.blame import blame_memory, blame_step
    from tclog.history.snapshot import END

    point = here.point(at) or END
    history = here.history()
    kind = kind or _kind_of(here, name, point)
    ask = blame_step if kind == "step" else blame_memory

    def read() -> list[Blame]:
        with history.index.reading():
            return history.run(ask(history.index, name, point))

    rows = history.asked(read)
    if here.json:
        for row in rows[: limit or None]:
            write_json(row.as_json())
        return
    _write_blame(here, rows, kind, limit)


def _kind_of(here: Here, name: str, point: Hlc) -> str:
    """Find out whether a name was a key or a step, then or ever; a key goes first."""
    from tclog.event import chain_id

    index = here.history().index
    key, step = chain_id("memory", name), chain_id("step", name)
    is_key, is_step = (index.version_at(chain, point) is not None for chain in (key, step))
    if not is_key and not is_step:
        is_key, is_step = (index.head(chain) > 0 for chain in (key, step))
    if is_key and is_step:
        here.note(f"{name} is also a step: {to_run('tclog blame', name, then='--step')}")
    if not is_key and not is_step:
        raise NotFound(
            f"there is neither a key nor a step {name}",
            code="name-missing",
            hint="tclog state",
            name=name,
        )
    return "memory" if is_key else "step"


def _write_blame(here: Here, rows: list[Blame], kind: str, limit: int | None) -> None:
    from tclog.cli.wording import cut
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
    index = here.history().index
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
    write_rows(columns, cells, now_us=here.now_us(), limit=limit, more=here.all_rows())
