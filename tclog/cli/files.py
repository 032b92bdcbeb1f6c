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
        with open(file, "rb") as opened:  # noqa: PTH123 - pathlib costs on the hot path
            yield opened
        return
    if sys.stdin is None:
        raise UsageError("standard input is closed", code="file-unreadable")
    yield sys.stdin.buffer


def unreadable(file: Path | str, error: OSError) -> UsageError:
    """Return what to say of a file that cannot be read; ``-`` is standard input."""
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
            hint=to_run(f"tar -cf {quote(f'{file}.tar')}", file),
        )
    if not S_ISREG(found.st_mode):
        raise UsageError(
            f"{file} is not a file; give what it holds on standard input",
            code="file-unreadable",
            hint="tclog artifact put --help",
        )
    return found.st_size


def target_of(name: str, out: Path | None) -> Path:
    """Return the file that an artifact goes to: ``out``, in the folder ``out``, or by its name.

    Raises:
        UsageError: it is no file, or its folder does not exist.
    """
    from pathlib import Path

    if out is None:
        return Path.cwd() / _last(name)
    # The file that a link leads to: a link such as /dev/stdout must not itself be replaced.
    target = out.resolve()
    if target.is_dir():
        return target / _last(name)
    if not target.parent.is_dir():
        raise UsageError(
            f"there is no folder {target.parent}",
            code="folder-missing",
            hint=to_run("mkdir -p", target.parent),
        )
    if target.exists() and not target.is_file():
        raise UsageError(
            f"{target} is not a file",
            hint=to_run("tclog artifact get", name, then=f"-o - > {quote(target)}"),
        )
    return target


def file_to_write(out: str, start: str, command: str, usual: str) -> Path:
    """Return the file that a command writes; what cannot be one is said before the work is done.

    Args:
        out: what the user named; a link stands for the file that it leads to, for a link such as
            /dev/stdout must not itself be replaced.
        start: the folder that a relative path begins in.
        command: the words that go before the file, for hints.
        usual: a name that such a file may have, for hints.

    Raises:
        UsageError: it is no file, or its folder does not exist.
    """
    from pathlib import Path

    if not out:
        raise UsageError(
            "the path is empty", code="file-unwritable", hint=to_run(f"tclog {command}", usual)
        )
    # The functions of os.path say no where those of Path would raise.
    try:
        target = os.path.realpath(Path(start, out))
        if os.path.isdir(target):  # noqa: PTH112
            raise UsageError(
                f"{target} is a folder",
                code="file-unwritable",
                hint=to_run(f"tclog {command}", out.rstrip("/") + "/" + usual),
            )
        parent = os.path.dirname(target)  # noqa: PTH120
        if not os.path.isdir(parent):  # noqa: PTH112
            raise UsageError(
                f"there is no folder {parent}",
                code="folder-missing",
                hint=to_run("mkdir -p", parent),
            )
        if os.path.exists(target) and not os.path.isfile(target):  # noqa: PTH110, PTH113
            raise UsageError(f"{target} is not a file", hint=f"tclog {command} - > {quote(target)}")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{out!r} is no path: {error}",
            code="file-unwritable",
            hint=to_run(f"tclog {command}", usual),
        ) from None
    return Path(target)


def _last(name: str) -> str:
    """Only the last part: another agent's name must not choose a folder of this machine."""
    from pathlib import Path

    last = Path(name).name
    if last in ("", ".", ".."):
        raise UsageError(
            f"{name} gives no file name", hint=to_run("tclog artifact get", name, then="-o FILE")
        )
    return last


def write_whole(path: Path, raw: bytes) -> None:
    """Write a file beside its place, then put it there; raises OSError, and then leaves nothing."""
    part = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}.part")
    try:
        part.write_bytes(raw)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
