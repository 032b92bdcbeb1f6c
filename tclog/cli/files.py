"""Files that a user names: reading one, and writing one whole."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from tclog.cli.output import STDIN
from tclog.errors import BadValue, UsageError, quote, to_run

if TYPE_CHECKING:
    from pathlib import Path


def read_text(file: str) -> str:
    """Return the text in a file, or on standard input for ``-``: every byte of it.

    Raises:
        BadValue: it is not UTF-8.
        UsageError: it cannot be read.
    """
    try:
        with reading(file) as opened:
            raw = opened.read()
    except OSError as error:
        raise unreadable(file, error) from None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        what = "standard input" if file == STDIN else file
        raise BadValue(
            f"{what} is not UTF-8 at byte {error.start}; an artifact may hold any bytes",
            hint="tclog artifact put --help",
        ) from None


@contextlib.contextmanager
def reading(file: str) -> Iterator[IO[bytes]]:
    """Open a file that a command reads; ``-`` is standard input, which stays open.

    Raises:
        UsageError: standard input is closed.
        OSError: the file cannot be opened.
    """
    if file != STDIN:
        with open(file, "rb") as opened:
            yield opened
        return
    if sys.stdin is None:
        raise UsageError("standard input is closed", code="file-unreadable")
    yield sys.stdin.buffer


def unreadable(file: Path | str, error: OSError) -> UsageError:
    """Return the error for a file that cannot be read; ``-`` is standard input."""
    piped = file == STDIN
    named = "standard input" if piped else str(file) or quote(file)
    return UsageError(
        f"{named} cannot be read: {error.strerror}",
        code="file-unreadable",
        hint="" if piped else to_run("ls -l", file),
    )


def write_whole(path: str | os.PathLike[str], raw: bytes, *, durable: bool = True) -> None:
    """Write a file, whole or not at all; see ``tclog.log.outfile``.

    Raises:
        OSError: it cannot be written, and is unchanged.
    """
    from tclog.log.outfile import written

    with written(path, durable=durable) as file:
        file.write(raw)
