"""What commands print: one JSON object per line, aligned text for people, tab-separated for pipes.

Text that other agents wrote is untrusted: control characters and direction overrides are made
visible before they reach a terminal.
"""

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from tclog.errors import TclogError

# Standard input where a text or a file to read is asked for, standard output where one to write is.
STDIN = "-"
ROWS_MAX = 20
ID_SHOWN = 12
# Columns that hold names.
NAMES = frozenset(("about", "agent", "chain", "from", "id", "key", "name", "step", "to"))
# C0 (but tab and newline), DEL, C1, line separators and bidirectional overrides.
# Compiled when first needed, for most of what is printed holds none of them.
_HARMFUL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_COLOURS = {
    "complete": "32",
    "ready": "36",
    "claimed": "33",
    "lapsed": "31",
    "blocked": "31",
    "failed": "31",
    "needs_review": "35",
    "ok": "32",
    "bad": "31",
}


# -- text that is safe to show --------------------------------------------------------------------


def harmless(text: str) -> str:
    """Make control characters visible; newlines and tabs stay."""
    return text if text.isprintable() else re.sub(_HARMFUL, _visible, text)


class Cell(str):
    """A text that fits into one cell of one row: escaped already, or without need of it."""

    __slots__ = ()


def one_line(value: object) -> Cell:
    """Escape a text for one cell of one row, reversibly; a ``Cell`` stays as it is."""
    if isinstance(value, Cell):
        return value
    return Cell(unbroken(str(value).replace("\\", "\\\\")))


def shown_name(name: str) -> str:
    """Return a name for display: quoted and escaped if it looks like another name."""
    if name.isascii() and name == name.strip():
        return name
    from tclog.event import why_odd

    if why_odd(name) is None:
        return name
    from tclog.event.ignorable import IGNORABLE, JOINERS

    hidden = f"[{IGNORABLE}]|^[{JOINERS}]|[{JOINERS}]$|[^\\S ]"
    return Cell("'" + re.sub(hidden, _visible, one_line(name)) + "'")


def unbroken(text: str) -> str:
    """Make a text one line; its backslashes stay as they are, for a hint is a command to run."""
    return harmless(text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


# -- streams --------------------------------------------------------------------------------------


def open_streams() -> None:
    """Put the null device where the caller closed a standard stream; make the others wait.

    Otherwise the next file that is opened gets the stream's number, and what is printed, here or
    by a child process, would go into it. A pipe that another program made non-blocking would look
    as if it had ended, or drop what is printed; shells put that right for their commands, too.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            with contextlib.suppress(OSError, AttributeError):  # Windows had it late
                os.set_blocking(number, True)
        else:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            if number:
                setattr(sys, name, os.fdopen(number, "w", closefd=False))


def discard(stream: TextIO) -> None:
    """Throw away what a stream still holds, and all that follows: its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def terminal() -> bool:
    """Whether a person looks at what is printed."""
    return sys.stdout.isatty()


def coloured() -> bool:
    """Whether state words get a colour."""
    return terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Print one line as UTF-8, whatever the locale says."""
    write_bytes((text + "\n").encode(errors="backslashreplace"), stream)


def write_bytes(data: bytes, stream: TextIO | None = None) -> None:
    """Print bytes at once. On stderr they may be lost: what is done matters more than a note on it.

    Raises:
        BrokenPipeError: the reader has left.
        TclogError: they cannot be written.
    """
    stream = stream or sys.stdout
    try:
        stream.flush()
        # Where Python does not buffer (PYTHONUNBUFFERED), a write may take a part of it.
        left = memoryview(data)
        while left:
            left = left[stream.buffer.write(left) :]
        stream.buffer.flush()
    except OSError as error:
        if stream is sys.stderr:
            # Only this process gives up: a child that is started later has the real one.
            sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
            return
        if isinstance(error, BrokenPipeError):
            raise
        discard(stream)
        raise TclogError(
            f"the output cannot be written: {error.strerror}", code="output-failed", hint="df -h"
        ) from None


def write_json(record: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print one JSON object on one line, with what would harm a terminal as escapes of JSON."""
    write_line(_json(record), stream)


def json_text(value: Any) -> Cell:
    """Return a JSON value as one line of JSON, with the members of objects in order."""
    import orjson

    return Cell(_json(value, orjson.OPT_SORT_KEYS))


def _json(value: Any, option: int | None = None) -> str:
    import orjson

    try:
        text = orjson.dumps(value, default=str, option=option).decode()
    except TypeError:
        # Words of the command line that are not UTF-8 come back in errors.
        import json

        text = json.dumps(value, default=str)
    if not text.isprintable():
        text = re.sub(_HARMFUL, lambda found: f"\\u{ord(found[0]):04x}", text)
    return text


# -- rows and facts -------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column: its heading, and whether it is a time, a state word or free text."""

    name: str
    kind: str = "text"


class Fact(NamedTuple):
    """A named fact about one thing; ``kind`` as for a column."""

    name: str
    value: Any
    kind: str = "text"


def write_facts(facts: Sequence[Fact], *, now_us: int) -> None:
    """Print facts: aligned on a terminal, where a text may have several lines; else as rows."""
    if not terminal():
        for fact in facts:
            write_line(f"{one_line(fact.name)}\t{one_line(fact.value)}")
        return
    width = max(_width(harmless(fact.name)) for fact in facts)
    for fact in facts:
        name = _padded(harmless(fact.name), width)
        text = when(fact.value, now_us) if fact.kind == "time" else harmless(str(fact.value))
        lines = text.replace("\n", "\n" + " " * (width + 2))
        write_line(f"{name}  {_paint(lines, fact.kind)}".rstrip())


def write_rows(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    *,
    now_us: int,
    limit: int | None = None,
    more: str = "",
) -> None:
    """Print rows: aligned with a heading on a terminal, else tab-separated and complete.

    Args:
        columns: what the cells are.
        rows: the cells; None prints as ``-``.
        now_us: the present, for "3m ago".
        limit: rows shown on a terminal; 0 for all, None for 20. A pipe gets all unless it is set.
        more: the command that shows the rest.
    """
    names = [nth for nth, column in enumerate(columns) if column.name in NAMES]
    rows = [_with_names(row, names) for row in rows]
    shown = rows[: (ROWS_MAX if terminal() and limit is None else limit) or len(rows)]
    if not terminal():
        for row in shown:
            write_line("\t".join("-" if cell is None else one_line(cell) for cell in row))
        return
    if not rows:
        return
    cells = [
        [_cell(cell, column.kind, now_us) for cell, column in zip(row, columns, strict=True)]
        for row in shown
    ]
    widths = [
        max(len(column.name), *(_width(row[i]) for row in cells))
        for i, column in enumerate(columns)
    ]
    write_line(
        "  ".join(c.name.upper().ljust(w) for c, w in zip(columns, widths, strict=True)).rstrip()
    )
    for row in cells:
        parts = [
            _paint(_padded(text, width), column.kind)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        write_line("  ".join(parts).rstrip())
    if len(shown) < len(rows):
        write_more(len(rows) - len(shown), more)


def _with_names(row: Sequence[Any], names: Sequence[int]) -> list[Any]:
    cells = list(row)
    for nth in names:
        if isinstance(cells[nth], str):
            cells[nth] = shown_name(cells[nth])
    return cells


def write_more(count: int | str, more: str) -> None:
    """Say that a list goes on, and which command shows all of it."""
    write_line(unbroken(f"... and {count} more: {more}"), sys.stderr)


def _cell(cell: Any, kind: str, now_us: int) -> str:
    if cell is None:
        return "-"
    if kind == "time":
        return when(str(cell), now_us)
    return one_line(cell)


def _paint(text: str, kind: str) -> str:
    colour = _COLOURS.get(text.strip()) if kind == "state" and coloured() else None
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def when(rfc3339: str, now_us: int) -> str:
    """Write a time for whoever reads it: ``3m ago`` on a terminal, RFC 3339 in a pipe."""
    return ago(rfc3339, now_us) if terminal() else rfc3339


def ago(rfc3339: str, now_us: int) -> str:
    """Write a time as people say it: ``12s ago``, ``3m ago``, ``in 5m``."""
    from tclog.clock import parse_us

    seconds = (now_us - parse_us(rfc3339)) / 1_000_000
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """Write a duration with one unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def size(count: int) -> str:
    """Write a number of bytes."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError


def error_record(error: TclogError) -> dict[str, Any]:
    """Return the JSON object of an error."""
    return {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "exit": error.exit,
        **{k: v for k, v in error.details.items() if k not in ("type", "code", "exit")},
    }


def write_error(error: TclogError, *, as_json: bool) -> None:
    """Print an error on stderr: one JSON object, or a line and its hint."""
    if as_json:
        write_json(error_record(error), sys.stderr)
        return
    write_line(f"error: {unbroken(error.message)}", sys.stderr)
    if error.hint:
        write_line(f"hint: {unbroken(error.hint)}", sys.stderr)
