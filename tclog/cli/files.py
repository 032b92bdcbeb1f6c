"""Files that a user names: what may be stored, where one may be written, and writing it whole."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from stat import S_ISDIR, S_ISREG
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


def size_of(file: Path) -> int:
    """Return the size of a file that can be read twice: once for its name, once to send it."""
    try:
        found = file.stat()
    except OSError as error:
        raise unreadable(file, error) from None
    if S_ISDIR(found.st_mode):
        raise UsageError(
            f"{file} is a folder",
            code="file-unreadable",
            hint=to_run(f"tar -cf {quote(f'{_named(file)}.tar')}", file),
        )
    if not S_ISREG(found.st_mode):
        raise UsageError(
            f"{file} is not a regular file; pipe its content to standard input",
            code="file-unreadable",
            hint="tclog artifact put --help",
        )
    return found.st_size


def _named(folder: Path) -> str:
    """Return a folder's path, by its real name if it was given as ``.`` or ``..``."""
    return str(folder) if folder.name not in ("", "..") else folder.resolve().name or "root"


def file_to_write(out: str, command: str, usual: str, *, into: bool = False) -> str:
    """Return the file that a command writes; refuse an unusable path before the work is done.

    Args:
        out: the path from the user; a link stands for its target.
        command: the words that go before the file, for hints.
        usual: a name that such a file has.
        into: whether a folder stands for the file of that name in it.

    Raises:
        UsageError: the path cannot be a file, or its folder does not exist.
    """
    from tclog.log.outfile import is_plain

    # The functions of os.path say no where those of Path would raise.
    try:
        if os.path.isdir(out) and into:
            out = os.path.join(out, last_part(usual))
        if os.path.isdir(out):
            raise UsageError(
                f"{out} is a folder",
                code="file-unwritable",
                hint=to_run(f"tclog {command}", out.rstrip("/") + "/" + usual),
            )
        if is_plain(out):
            return out
        target = os.path.realpath(out)
        # What ends with a slash is meant to be a folder.
        parent = target if out.endswith("/") else os.path.dirname(target)
        if not os.path.isdir(parent):
            raise UsageError(
                f"there is no folder {parent}",
                code="folder-missing",
                hint=to_run("mkdir -p", parent),
            )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{out!r} is not a path: {error}",
            code="file-unwritable",
            hint=to_run(f"tclog {command}", usual),
        ) from None
    return target


def last_part(name: str) -> str:
    """Return a file name for an artifact, whose name must not choose a folder here.

    Raises:
        UsageError: the artifact's name gives no file name.
    """
    last = os.path.basename(name)
    if last in ("", ".", ".."):
        raise UsageError(
            f"{name} gives no file name", hint=to_run("tclog artifact get", name, then="-o FILE")
        )
    return last


def write_whole(path: str | os.PathLike[str], raw: bytes, *, durable: bool = True) -> None:
    """Write a file, whole or not at all; see ``tclog.log.outfile``.

    Raises:
        OSError: it cannot be written, and is unchanged.
    """
    from tclog.log.outfile import written

    with written(path, durable=durable) as file:
        file.write(raw)
