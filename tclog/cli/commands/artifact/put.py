"""tclog artifact put."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.files import reading, unreadable
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    STDIN,
    size,
)
from tclog.cli.progress import bar
from tclog.errors import UsageError


@operation(
    "put",
    example="""
    tclog artifact put report.md --step build --as alice
    """,
)
@click.argument("path", type=options.FILE_IN)
@click.option("--name", metavar="N", help="Its name (default: the file's).")
@click.option("--step", metavar="S", help="The step that made it.")
@options.id_key
def put(
    call: Invocation, path: str, name: str | None, step: str | None, id_key: str | None
) -> None:
    """Store a file under a name. The same bytes are never sent twice.

    PATH is - for standard input, which needs --name.
    """
    from tclog.log.artifacts import put_artifact, size_of

    if path == STDIN and name is None:
        raise UsageError(
            "standard input has no name: give --name (for a file named -, write ./-)",
            code="name-missing",
            hint="tclog artifact put --help",
        )
    with _file_of(path) as file:
        total = size_of(file)
        log = call.log()
        with bar(call, f"Storing {name or file.name}", total) as progress:
            done = log.run(
                put_artifact(
                    log.client,
                    file,
                    name=name,
                    step=step,
                    progress=progress,
                    id=id_key,
                )
            )
    call.emit(
        done.as_json(),
        f"Stored {done.name} (version {done.version}, {size(done.size)}, {done.blake3[:12]})",
    )


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
