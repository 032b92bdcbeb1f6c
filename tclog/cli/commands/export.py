"""tclog export."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import click

from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.left_out import end_copy, note_junk, tell_damage
from tclog.cli.options import FILE_KEPT, FILE_OUT
from tclog.cli.output import STDIN, size, write_bytes
from tclog.cli.progress import counting
from tclog.errors import UsageError


@operation(
    "export",
    example="""
    tclog export -o log.jsonl
    tclog export --git run
    """,
)
@click.option(
    "-o",
    "out",
    type=FILE_OUT,
    metavar="FILE",
    help="File to write (default, and for -: standard output).",
)
@click.option("--git", "git", type=FILE_KEPT, metavar="DIR", help="Write a git repository instead.")
def export(call: Invocation, out: str | None, git: str | None) -> None:
    """Write the whole log as JSON lines or as a git repository.

    What tclog import reads back is the same byte for byte. With --git, every version becomes a
    commit, and its tree is the state at that moment; running it again adds what is new.
    """
    if git is not None:
        if out is not None:
            raise UsageError("--git and -o exclude each other")
        from tclog.cli.gitrepo import export_git

        export_git(call, Path(git))
        return
    out = None if out == STDIN else out
    from tclog.chain.drive import run
    from tclog.log.log import SOFTWARE
    from tclog.maintenance.copies.transfer import export as write_log

    store = call.open_store(call.location())
    with _written(out) as write, counting(call, "Exporting") as progress:
        copied = run(
            write_log(
                write, tell_damage(call), note=note_junk(call), software=SOFTWARE, progress=progress
            ),
            store,
        )
    objects = copied.blobs + copied.keys + copied.events + copied.packs + copied.versions
    record = {"type": "export", "file": out, "objects": objects, "bytes": copied.bytes}
    if out is not None:
        call.emit(record, f"Exported {objects} objects ({size(copied.bytes)}) to {out}")
    end_copy(call, copied, "export")


@contextlib.contextmanager
def _written(out: str | None) -> Iterator[Callable[[bytes], None]]:
    """Give a way to write lines; a file appears only when it is whole."""
    if out is None:
        yield write_bytes
        return
    from tclog.log.outfile import file_to_write, unwritable, written

    target = file_to_write(out, "export -o", "log.jsonl")
    try:
        with written(target) as file:
            yield lambda line: _put(file, line)
    except OSError as error:
        raise unwritable(target, error) from None


def _put(file: IO[bytes], line: bytes) -> None:
    file.write(line)
