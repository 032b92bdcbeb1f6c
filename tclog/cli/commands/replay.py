"""tclog replay: a run once more, in the terminal."""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.interrupt import status_of
from tclog.cli.invocation import Invocation
from tclog.cli.output import Cell, coloured, one_line, terminal, write_bytes, write_json
from tclog.errors import TclogError, UsageError, unsupported

if TYPE_CHECKING:
    from tclog.history.replay import Beat, Standing

SPEED = 60.0
# Not red, which stands for what was lost, nor black and white, of which one is the background.
AGENT_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)
FAINT, LOST, PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[0m"
ERASE_LINE = "\r\x1b[K"


@operation(
    "replay",
    example="""
    tclog replay --speed 600
    tclog replay --from 2h --attempts --json
    """,
)
@click.option("--from", "since", metavar="POINT", help="Only what came after this.")
@click.option("--to", "until", metavar="POINT", help="Only what came until this.")
@click.option(
    "--speed",
    type=float,
    metavar="N",
    help="Times as fast as it was (default: 60 on a terminal, else without pauses).",
)
@click.option(
    "--max-pause",
    "pause_max_s",
    type=options.DURATION,
    default="2s",
    show_default=True,
    metavar="D",
    help="No pause is longer than this.",
)
@click.option("--step", "by_key", is_flag=True, help="Go on at Enter or space; q ends.")
@options.attempts
@options.strict
def replay(
    call: Invocation,
    since: str | None,
    until: str | None,
    speed: float | None,
    pause_max_s: float,
    by_key: bool,
    attempts: bool,
) -> None:
    """Replay a run in the terminal, with its pauses.

    One line an event, oldest first, in the order of the log; on a terminal a last line says which
    claims are held and what is unread. With --json the objects of `tclog log`, each with elapsed_s,
    the seconds since the first.
    """
    if speed is not None and not (math.isfinite(speed) and speed > 0):
        raise UsageError(
            f"a speed is a number above 0, not {speed:g}", hint="tclog replay --speed 60"
        )
    if by_key and speed is not None:
        raise UsageError("--step and --speed exclude each other")
    if by_key and not (sys.stdin is not None and sys.stdin.isatty()):
        raise UsageError(
            "--step waits for keys, and standard input is not a terminal",
            code="no-terminal",
            hint="tclog replay --speed 60",
        )
    from tclog.history.replay import Standing

    looking = call.history(since, until)
    beats = looking.replay(since=since, until=until, attempts=attempts)
    if speed is None and terminal() and not call.json:
        speed = SPEED
    standing = None
    if terminal() and not call.json:
        history, end = looking.opened(), looking.boundary(until)
        standing = history.asked(lambda: Standing(history.index, end))
    _play(beats, _Show(call, standing), by_key, speed, pause_max_s)


def _play(
    beats: Iterator[Beat], show: _Show, by_key: bool, speed: float | None, pause_max_s: float
) -> None:
    shown: Beat | None = None
    with contextlib.ExitStack() as stack:
        stack.callback(show.end)
        wait_for_key = stack.enter_context(_keys()) if by_key else None
        try:
            for beat in beats:
                if wait_for_key is not None:
                    if shown is not None and not wait_for_key():
                        return
                elif speed is not None and beat.pause_s > 0:
                    time.sleep(min(beat.pause_s / speed, pause_max_s))
                show.beat(beat)
                shown = beat
        except KeyboardInterrupt as interrupt:
            raise _interrupted(shown, interrupt) from None
    if shown is None:
        show.nothing()


def _interrupted(shown: Beat | None, interrupt: KeyboardInterrupt) -> TclogError:
    error = TclogError(
        "interrupted" if shown is None else f"interrupted at {shown.at[:27]}",
        code="interrupted",
        hint="tclog replay" if shown is None else f"tclog replay --from {shown.event.id[:12]}",
    )
    error.exit = status_of(interrupt)
    return error


class _Show:
    """Prints beats: JSON, tab-separated for a pipe, or coloured above a line that says what stands.

    No cursor is hidden, so that there is none to be brought back by whoever kills this.
    """

    def __init__(self, call: Invocation, standing: Standing | None) -> None:
        self._call = call
        self._standing = standing
        self._colours: dict[str, int] = {}
        self._coloured = coloured()
        self._lively = standing is not None and self._coloured

    def beat(self, beat: Beat) -> None:
        """Print one event."""
        if self._call.json:
            write_json(beat.as_json())
            return
        cells = _cells(beat)
        if self._standing is None:
            _print("\t".join(map(one_line, [beat.at[:27], *cells])) + "\n")
            return
        self._standing.move_to(beat.at)
        line = self._line(beat, cells)
        _print(f"{ERASE_LINE}{line}\n{self._status()}" if self._lively else f"{line}\n")

    def _line(self, beat: Beat, cells: list[str]) -> str:
        elapsed, agent, op, chain, what, _ = map(one_line, cells)
        width = shutil.get_terminal_size().columns - 1
        text = f"{elapsed:>9}  {agent:<10}  {op:<16}  {chain}  {what}".rstrip()
        text = _cut(text, width)
        if not self._coloured:
            return text
        colour = self._colours.setdefault(
            beat.event.agent, AGENT_COLOURS[len(self._colours) % len(AGENT_COLOURS)]
        )
        at = 11
        name = text[at : at + max(10, len(agent))]
        rest = text[at + len(name) :]
        rest = f"{LOST}{rest}{PLAIN}" if beat.row.commit is None else rest
        return f"{FAINT}{text[:at]}{PLAIN}\x1b[{colour}m{name}{PLAIN}{rest}"

    def _status(self) -> str:
        assert self._standing is not None  # noqa: S101 - only with a terminal
        held, unread = map(one_line, self._standing.words())
        text = f"held: {held} | unread: {unread}"
        return f"{FAINT}{_cut(text, shutil.get_terminal_size().columns - 1)}{PLAIN}"

    def end(self) -> None:
        """Leave the terminal as it was found: colours off, the last line kept."""
        if self._lively:
            with contextlib.suppress(OSError, TclogError):
                _print(f"{PLAIN}\n" if self._colours else PLAIN)

    def nothing(self) -> None:
        """Say that there was nothing to replay."""
        if self._standing is not None:
            self._call.note("nothing happened in this range")


def _cells(beat: Beat) -> list[str]:
    from tclog.cli.descriptions import event_words

    row, event = beat.row, beat.event
    what = event_words(event)
    chain = event.chains[0] if event.chains else ""
    if row.commit is not None:
        return [f"+{beat.elapsed_s:.3f}", event.agent, event.op, row.commit.chain, what, event.id]
    lost = "not committed" if row.lost_to is None else f"lost to {row.lost_to.event.agent}"
    what = Cell(f"{one_line(lost)} ({what})") if what else one_line(lost)
    return [f"+{beat.elapsed_s:.3f}", event.agent, event.op, chain, what, event.id]


def _cut(text: str, width: int) -> str:
    """Cut a text to so many columns, since a line that wraps cannot be erased."""
    from unicodedata import combining, east_asian_width

    if text.isascii():
        return text[:width]
    taken = 0
    for nth, char in enumerate(text):
        taken += 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1
        if taken > width:
            return text[:nth]
    return text


def _print(text: str) -> None:
    write_bytes(text.encode(errors="backslashreplace"))


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], bool]]:
    """Read single keys from the terminal, whose settings come back however this ends."""
    import os

    try:
        import termios
        import tty
    except ImportError:
        raise unsupported("replay --step", "way to read single keys") from None
    terminal_in = sys.stdin.fileno()
    before = termios.tcgetattr(terminal_in)

    def wait() -> bool:
        """Return whether to go on: Enter and space do, q and the end of input do not."""
        while True:
            key = os.read(terminal_in, 1)
            if key in (b"\n", b"\r", b" ", b"n", b"j"):
                return True
            if key in (b"", b"q", b"Q", b"\x04"):
                return False

    try:
        tty.setcbreak(terminal_in)
        yield wait
    finally:
        termios.tcsetattr(terminal_in, termios.TCSADRAIN, before)
