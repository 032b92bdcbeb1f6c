"""tclog watch: the log as it grows."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.files import write_whole
from tclog.cli.interrupt import interrupt_of, status_of
from tclog.cli.invocation import Invocation
from tclog.cli.output import one_line, terminal, write_json, write_line
from tclog.errors import TclogError, UsageError, to_run

if TYPE_CHECKING:
    from tclog.history.log import Row
    from tclog.history.watch import Cursor, Watching


@operation(
    "watch",
    example="""
    tclog watch --from 1h --count 1
    tclog watch --cursor seen --from 1h --op 'memory.*' --count 1 --json
    """,
)
@click.option("--from", "since", metavar="POINT", help="Begin after this event or moment.")
@click.option(
    "--cursor",
    "cursor_file",
    type=options.FILE_KEPT,
    metavar="FILE",
    help="Keep the position in this file, and resume from it.",
)
@click.option("--exec", "command", metavar="CMD", help="Run a command of the shell for each event.")
@click.option(
    "--interval",
    "interval_s",
    type=options.DURATION,
    default="1s",
    show_default=True,
    metavar="D",
    help="How often to look; less often while nothing happens.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=options.DURATION,
    metavar="D",
    help="End after this long without an event, with exit status 5 (7: the store did not answer).",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N events.")
@options.filters
@options.strict
def watch(
    call: Invocation,
    since: str | None,
    cursor_file: str | None,
    command: str | None,
    interval_s: float,
    timeout_s: float | None,
    count: int | None,
    agent: str | None,
    op: str | None,
    chain: str | None,
    text: str | None,
) -> None:
    """Follow the log: each event when it is committed, once.

    Cause comes before effect, and the events of a chain come in order. By default it starts with
    the next commit; with --from, after an event (its id) or a moment. With --cursor FILE, it saves
    its position in FILE after each event and resumes from there; --from then counts only if there
    is no FILE yet. An event that was printed only in part comes again. If the local index is
    rebuilt in between, events of the last 41 minutes may come again, and a note says so. No event
    is left out.

    CMD gets the JSON of the event on stdin. Its environment has TCLOG_EVENT_ID, _OP, _AGENT,
    _CHAIN, _VERSION and _AT, and the project's settings. If CMD fails, tclog ends with exit status
    1, and the cursor stays before the event. CMD must not react to its own events: select events
    with --op or --agent.
    """
    if interval_s <= 0:
        raise UsageError("the interval is not above 0", hint="tclog watch --interval 1s")
    file = None if cursor_file is None else _CursorFile(Path(call.start, cursor_file))
    if command is not None:
        from tclog.cli.child import check_supported

        check_supported("watch --exec")
    options.note_op(call, op)
    history = call.history(since)
    history.opened().synced = call.say_left_out
    watching = history.watch(
        since=since,
        cursor=None if file is None else file.read(),
        agent=agent,
        op=op,
        chain=chain,
        text=text,
        interval_s=interval_s,
        timeout_s=timeout_s,
        pause=_pause,
    )
    if file is not None:
        # At once: what is committed between this start and the next must not be lost.
        file.write(watching.cursor)
    before = watching.cursor
    interrupt: KeyboardInterrupt | None = None
    try:
        for printed, row in enumerate(_saved(watching, file), 1):
            _print(call, row)
            interrupt = None if command is None else _run(call, command, row)
            if interrupt is not None or (count is not None and printed >= count):
                break
    except KeyboardInterrupt as caught:
        # The usual end of a watch, about which there is nothing to say.
        raise click.exceptions.Exit(status_of(caught)) from None
    if file is not None and watching.cursor != before:
        file.write(watching.cursor)
    if interrupt is not None:
        raise click.exceptions.Exit(status_of(interrupt))


def _saved(watching: Watching, file: _CursorFile | None) -> Iterator[Row]:
    """Keep the cursor when the one who takes the events has done with each."""
    for row in watching:
        yield row
        if file is not None:
            file.write(watching.cursor)


class _CursorFile:
    """A file that says how far a watch has got; replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Cursor | None:
        from tclog.history.watch import read_cursor

        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(
                f"the cursor {self.path} cannot be read: {error.strerror}",
                code="file-unreadable",
                hint=to_run("ls -l", self.path),
            ) from None
        return read_cursor(raw, str(self.path))

    def write(self, cursor: Cursor | None) -> None:
        """Keep a cursor; a follower without one starts again at its first position."""
        if cursor is None:
            return
        try:
            # Not durable: after a power cut, an older position is fine.
            write_whole(str(self.path), cursor.write(), durable=False)
        except OSError as error:
            raise TclogError(
                f"the cursor {self.path} cannot be written: {error.strerror}",
                code="file-unwritable",
                hint=to_run("ls -ld", self.path.parent),
            ) from None


def _pause(seconds: float) -> None:
    """Let time pass, but end if whoever reads the output has left meanwhile."""
    try:
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        time.sleep(seconds)
        return
    if any(event & select.POLLERR for _, event in watched.poll(seconds * 1000)):
        raise BrokenPipeError


def _print(call: Invocation, row: Row) -> None:
    from tclog.cli.descriptions import event_words
    from tclog.history.rendering import short_id

    if call.json:
        write_json(row.as_json())
        return
    event, commit = row.event, row.commit
    assert commit is not None  # noqa: S101 - a watch gives what is committed
    found = short_id(call.history().opened().index, event.id)
    place = f"{commit.chain} {commit.seq}" if terminal() else f"{commit.chain}\t{commit.seq}"
    cells = (f"{commit.at[:27]}", event.agent, event.op, place, event_words(event), found)
    if terminal():
        cells = (commit.at[11:19], *cells[1:])
        write_line(" ".join(one_line(cell) for cell in cells if cell))
    else:
        write_line("\t".join(one_line(cell) if cell is not place else cell for cell in cells))


def _run(call: Invocation, command: str, row: Row) -> KeyboardInterrupt | None:
    """Run the command for an event; if it succeeded, return a signal that came meanwhile."""
    import tempfile

    import orjson

    from tclog.cli.child import Child

    record: Mapping[str, Any] = row.as_json()
    more = {
        f"TCLOG_EVENT_{name.upper()}": str(record[name])
        for name in ("id", "op", "agent", "chain", "version", "at")
    }
    child = Child()
    # A file, not a pipe: nothing must feed it while the command runs.
    with tempfile.TemporaryFile() as given, child.forwarding():
        given.write(orjson.dumps(record) + b"\n")
        given.seek(0)
        child.check_wanted()
        environ = {**call.environ_for_child(), **more}
        child.start(("/bin/sh", "-c", command), environ, call.start, stdin=given)
        status = child.wait_to_end()
    interrupt = None if child.ended_by is None else interrupt_of(child.ended_by)
    if status != 0:
        if interrupt is not None:
            raise interrupt
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise TclogError(
            f"the command ended with {how} for event {record['id'][:12]}",
            code="command-failed",
            hint=f"tclog show {record['id'][:12]}",
            status=status,
            event=record["id"],
        )
    return interrupt
