"""What commands print: one JSON object per line, aligned text for people, tab-separated for pipes.

Text that other agents wrote is untrusted: control characters and direction overrides are made
visible before they reach a terminal.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from tclog.errors import TclogError

ROWS_MAX = 20
ID_SHOWN = 12
# C0 (but tab and newline), DEL, C1, line separators and bidirectional overrides.
_HARMFUL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOURS = {
    "complete": "32",
    "ready": "36",
    "claimed": "33",
    "blocked": "31",
    "failed": "31",
    "needs_review": "35",
    "ok": "32",
    "bad": "31",
}


def harmless(text: str) -> str:
    """Make control characters visible; newlines and tabs stay."""
    return _HARMFUL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str) -> str:
    """Make a text fit into one cell of one row."""
    plain = (
        text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    )
    return harmless(plain)


def coloured() -> bool:
    """Whether state words get a colour."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Print one line as UTF-8, whatever the locale says."""
    stream = stream or sys.stdout
    data = (text + "\n").encode(errors="backslashreplace")
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    except AttributeError:
        stream.write(text + "\n")


def write_json(record: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print one JSON object on one line."""
    import orjson

    write_line(orjson.dumps(record, default=str).decode(), stream)


class Column(NamedTuple):
    """A column: its heading, and whether it is a time, a state word or free text."""

    name: str
    kind: str = "text"


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
    terminal = sys.stdout.isatty()
    shown = rows[: (ROWS_MAX if terminal and limit is None else limit) or len(rows)]
    if not terminal:
        for row in shown:
            write_line("\t".join("-" if cell is None else one_line(str(cell)) for cell in row))
        return
    if not rows:
        return
    cells = [
        [_cell(cell, column.kind, now_us) for cell, column in zip(row, columns, strict=True)]
        for row in shown
    ]
    widths = [
        max(len(column.name), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)
    ]
    write_line(
        "  ".join(c.name.upper().ljust(w) for c, w in zip(columns, widths, strict=True)).rstrip()
    )
    for row in cells:
        parts = [
            _paint(text.ljust(width), column.kind)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        write_line("  ".join(parts).rstrip())
    if len(shown) < len(rows):
        write_line(f"... and {len(rows) - len(shown)} more: {more}", sys.stderr)


def _cell(cell: Any, kind: str, now_us: int) -> str:
    if cell is None:
        return "-"
    if kind == "time":
        return ago(str(cell), now_us)
    return one_line(str(cell))


def _paint(text: str, kind: str) -> str:
    colour = _COLOURS.get(text.strip()) if kind == "state" and coloured() else None
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


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


def write_error(error: TclogError, *, as_json: bool) -> None:
    """Print an error on stderr: one JSON object, or a line and its hint."""
    if as_json:
        write_json(
            {
                "type": "error",
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "exit": error.exit,
                **{k: v for k, v in error.details.items() if k not in ("type", "code", "exit")},
            },
            sys.stderr,
        )
        return
    write_line(f"error: {one_line(error.message)}", sys.stderr)
    if error.hint:
        write_line(f"hint: {one_line(error.hint)}", sys.stderr)
