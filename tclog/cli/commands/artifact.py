"""tclog artifact: put, get, list, history."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import SETTINGS, Group, operation
from tclog.cli.files import file_to_write, last_part, reading, size_of, unreadable
from tclog.cli.here import Here
from tclog.cli.output import (
    STDIN,
    Column,
    size,
    terminal,
    write_bytes,
    write_json,
    write_more,
    write_rows,
)
from tclog.errors import Refused, UsageError, to_run

if TYPE_CHECKING:
    from tclog.chain.results import Artifact
    from tclog.log.log import Log

BAR_FROM_BYTES = 8 << 20


@click.group(
    cls=Group,
    context_settings=SETTINGS,
    example="""
    tclog artifact put report.md --as alice
    tclog artifact get report.md -o copy.md
    """,
)
def artifact() -> None:
    """Hand over files by name and version."""


@contextlib.contextmanager
def _progress(here: Here, label: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on a terminal's stderr, for transfers that take a while."""
    if here.json or total < BAR_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


@operation(
    "put",
    parent=artifact,
    example="""
    tclog artifact put report.md --step build --as alice
    """,
)
@click.argument("path", type=options.FILE_IN)
@click.option("--name", metavar="N", help="Its name (default: the file's).")
@click.option("--step", metavar="S", help="The step that made it.")
@options.id_key
def put(here: Here, path: str, name: str | None, step: str | None, id_key: str | None) -> None:
    """Store a file under a name. The same bytes are never sent twice.

    PATH is - for standard input, which needs --name.
    """
    from tclog.log.artifacts import put_artifact

    if path == STDIN and name is None:
        raise UsageError(
            "standard input has no name: give --name (for a file named -, write ./-)",
            code="name-missing",
            hint="tclog artifact put --help",
        )
    with _file_of(path) as file:
        total = size_of(file)
        log = here.log()
        with _progress(here, f"Storing {name or file.name}", total) as progress:
            done = log.run(
                put_artifact(
                    log.client,
                    file,
                    name=name,
                    step=step,
                    progress=progress,
                    id_key=options.check_key(id_key),
                )
            )
    here.emit(
        done.as_json(),
        f"Stored {done.name} (version {done.version}, {size(done.size)}, {done.blake3[:12]})",
    )


artifact.add_command(put, "upload")


@contextlib.contextmanager
def _file_of(path: str) -> Iterator[Path]:
    """Yield the file to store, which is read twice: standard input is first copied to a file."""
    if path != STDIN:
        yield Path(path)
        return
    from tclog.maintenance.tempfiles import write_temporary

    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(reading(path))
            kept = stack.enter_context(write_temporary(iter(partial(source.read, 1 << 20), b"")))
        except OSError as error:
            raise unreadable(path, error) from None
        yield Path(kept.name)


@operation(
    "get",
    parent=artifact,
    example="""
    tclog artifact get report.md -o copy.md
    """,
)
@click.argument("name")
@click.option(
    "-o",
    "out",
    type=options.FILE_OUT,
    metavar="OUT",
    help="File to write (default: the name's last part; - for standard output).",
)
@click.option("--version", type=click.IntRange(1), metavar="N", help="This version of it.")
@options.at
def get(here: Here, name: str, out: str | None, version: int | None, at: str | None) -> None:
    """Write an artifact to a file, which appears only when every byte was checked."""
    if version is not None and at is not None:
        raise UsageError("--version and --at exclude each other")
    if here.json and out == STDIN:
        raise UsageError("-o - prints the artifact itself, which --json excludes")
    from tclog.log.artifacts import find_artifact, get_artifact, hash_file
    from tclog.log.outfile import is_plain, unwritable, written

    log = here.log(reader=True)
    found = log.run(find_artifact(log.client, name, version=version, at=here.point(at)))
    if out == STDIN:
        _hand_on(log, found, write_bytes)
        return
    if out is None:
        target = os.path.join(os.getcwd(), last_part(found.name))  # noqa: PTH109, PTH118
    else:
        target = file_to_write(out, "artifact get", found.name, into=True)
    if out is None and os.path.lexists(target):
        if os.path.isfile(target) and hash_file(Path(target))[0] == found.blake3:  # noqa: PTH113
            here.emit(found._replace(path=target).as_json(), f"{target} is up to date")
            return
        raise Refused(
            f"{target} exists and is not this artifact",
            code="file-exists",
            hint=to_run("tclog artifact get", name, then="-o OTHER-FILE"),
        )
    if is_plain(target):
        try:
            with written(target) as file:
                _hand_on(log, found, file.write)
        except OSError as error:
            raise unwritable(target, error) from None
        here.emit(found._replace(path=target).as_json(), f"Wrote {target}")
        return
    with _progress(here, f"Fetching {found.name}", found.size) as progress:
        done = log.run(get_artifact(found, Path(target), progress=progress))
    here.emit(done.as_json(), f"Wrote {target} (version {done.version}, {size(done.size)})")


artifact.add_command(get, "download")


def _hand_on(log: Log, found: Artifact, write: Callable[[bytes], object]) -> None:
    """Write an artifact to a stream, but only after every byte was checked."""
    from tclog.log.artifacts import get_artifact

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "artifact"
        log.run(get_artifact(found, part))
        with part.open("rb") as file:
            while data := file.read(1 << 20):
                write(data)


COLUMNS = [
    Column("name"),
    Column("version"),
    Column("size"),
    Column("agent"),
    Column("at", "time"),
    Column("step"),
    Column("blake3"),
]


@operation(
    "list",
    parent=artifact,
    example="""
    tclog artifact list
    """,
)
@click.option("--step", metavar="S", help="Only what this step made.")
@options.at
@options.limit
@options.strict
def list_(here: Here, step: str | None, at: str | None, limit: int | None) -> None:
    """List the artifacts, each at its newest version."""
    from tclog.log.artifacts import list_artifacts

    log = here.log(reader=True)
    found = log.run(list_artifacts(log.client, at=here.point(at)))
    found = [row for row in found if step is None or row.step == step]
    if here.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    rows = [[r.name, r.version, r.size, r.agent, r.at, r.step, r.blake3] for r in found]
    write_rows(COLUMNS, rows, now_us=here.now_us(), limit=limit, more=here.all_rows())


@operation(
    "history",
    parent=artifact,
    example="""
    tclog artifact history report.md
    """,
)
@click.argument("name")
@options.at
@options.limit
def history(here: Here, name: str, at: str | None, limit: int | None) -> None:
    """Show the versions of an artifact, newest first."""
    from tclog.log.artifacts import read_history

    log = here.log(reader=True)
    found = log.run(read_history(log.client, name, limit=here.shown(limit), at=here.point(at)))
    if here.json:
        for row in found:
            write_json(row.as_json())
        return
    rows = [[r.name, r.version, r.size, r.agent, r.at, r.step, r.blake3] for r in found]
    write_rows(COLUMNS, rows, now_us=here.now_us(), limit=0)
    left = found[-1].version - 1
    if left and terminal():
        write_more(left, here.all_rows())
