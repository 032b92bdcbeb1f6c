"""tclog artifact get."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    STDIN,
    size,
    write_bytes,
)
from tclog.cli.progress import bar
from tclog.errors import Refused, UsageError, to_run

if TYPE_CHECKING:
    from tclog.chain.results import Artifact
    from tclog.log.log import Log


@operation(
    "get",
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
def get(call: Invocation, name: str, out: str | None, version: int | None, at: str | None) -> None:
    """Write an artifact to a file, which appears only when every byte was checked."""
    if call.json and out == STDIN:
        raise UsageError("-o - prints the artifact itself, which --json excludes")
    from tclog.log.artifacts import fetch_artifact, find_artifact, get_artifact, hash_file
    from tclog.log.operation import declared
    from tclog.log.outfile import file_to_write, is_plain, last_part, unwritable, written

    declared(fetch_artifact).check({"version": version, "at": at})
    log = call.log(reader=True)
    found = log.run(find_artifact(log.client, name, version=version, at=call.point(at)))
    if out == STDIN:
        _hand_on(log, found, write_bytes)
        return
    if out is None:
        target = os.path.join(os.getcwd(), last_part(found.name))  # noqa: PTH109, PTH118
    else:
        target = file_to_write(out, "artifact get", found.name, into=True)
    if out is None and os.path.lexists(target):
        if os.path.isfile(target) and hash_file(Path(target))[0] == found.blake3:  # noqa: PTH113
            call.emit(found._replace(path=target).as_json(), f"{target} is up to date")
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
        call.emit(found._replace(path=target).as_json(), f"Wrote {target}")
        return
    with bar(call, f"Fetching {found.name}", found.size) as progress:
        done = log.run(get_artifact(found, Path(target), progress=progress))
    call.emit(done.as_json(), f"Wrote {target} (version {done.version}, {size(done.size)})")


def _hand_on(log: Log, found: Artifact, write: Callable[[bytes], object]) -> None:
    """Write an artifact to a stream, but only after every byte was checked."""
    from tclog.log.artifacts import get_artifact

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "artifact"
        log.run(get_artifact(found, part))
        with part.open("rb") as file:
            while data := file.read(1 << 20):
                write(data)
