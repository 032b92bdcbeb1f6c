"""tclog import."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from tclog import config
from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.files import reading, unreadable
from tclog.cli.invocation import Invocation
from tclog.cli.options import FILE_IN
from tclog.cli.output import STDIN
from tclog.cli.places import probe_new, set_up, target_of
from tclog.cli.progress import counting
from tclog.errors import NotFound, UsageError, quote, to_run
from tclog.store import Location, reached, registered

if TYPE_CHECKING:
    from tclog.maintenance.copies.transfer import Reader

# Words that will say where a log of another tool comes from; a file is given as ./WORD.
SOURCES = ("tracecraft",)


@operation(
    "import",
    example="""
    tclog import log.jsonl ./restored
    """,
)
@click.argument("file", type=FILE_IN)
@options.place()
def import_(call: Invocation, file: str, store: options.StoreArgument) -> None:
    """Read an export back: the same project, the same bytes.

    FILE is what tclog export wrote, or - for standard input. STORE is a folder or
    s3://bucket/prefix (default: the configured one), or the working folder of a project; "." is set
    up as one. The project keeps its name and id; another project of that name there is refused.
    Every object is checked before it is written, and nothing is replaced. Repeat an interrupted
    import to complete it. Leases count from the import.
    """
    from tclog.chain.drive import run
    from tclog.maintenance.copies.transfer import import_log

    if file in SOURCES:
        raise UsageError(
            f"{file} logs cannot be imported yet; a file of this name is ./{file}",
            code="not-there-yet",
            hint=to_run("tclog import", f"./{file}"),
        )
    call.say(store=call.flags.store if store.word is None else store.word, **store.settings)
    new = None
    with _opened(file) as reader:
        wanted = call.flags.project
        if wanted is not None and wanted != reader.head.project:
            raise UsageError(
                f"the export is of project {reader.head.project}, not {wanted}; a project keeps"
                " its name",
                code="project-differs",
            )
        call.say(project=reader.head.project)
        try:
            location = call.location()
        except NotFound as missing:
            missing.hint = to_run("tclog import", file, ".")
            raise
        if store.word is not None:
            location, new = target_of(call, store.word, location)
            location = reached(location, call.environ)
        opened = call.open_store(location, create=True)
        probe_new(opened)
        with counting(call, "Importing") as progress:
            done = run(import_log(reader, progress), opened)
    set_up(new, location)
    call.emit(
        {
            "type": "import",
            "project": location.project,
            "store": opened.url,
            "objects": done.objects,
            "present": done.present,
        },
        f"Imported project {location.project} into {opened.url}: {done.objects} objects"
        + (f", {done.present} of them were there" if done.present else ""),
    )
    _say_init(call, location)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[Reader]:
    """Open an export that was read to its end before anything of it is written.

    What comes from standard input, or a pipe, is kept in a temporary file meanwhile: some of it can
    only be judged by the digest in the last line.
    """
    from tclog.maintenance.copies.transfer import Reader, check_export, lines_of
    from tclog.maintenance.tempfiles import write_temporary

    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(reading(file))
            if file == STDIN or not source.seekable():
                source = stack.enter_context(
                    write_temporary(iter(partial(source.read, 1 << 20), b""))
                )
            check_export(Reader(lines_of(source)))
            source.seek(0)
        except OSError as error:
            raise unreadable(file, error) from None
        yield Reader(lines_of(source))


def _say_init(call: Invocation, location: Location) -> None:
    """Say how to work in what was just made, where that is not what is configured here."""
    before = config.load(config.Flags(), call.environ, call.start)
    if (before.store.value, before.project.value) != (location.url, location.project):
        words = ["tclog", "init", location.url, "--project", location.project]
        for name in ("endpoint", "region", "profile"):
            value = location.said.get(name) if name in registered(location.url).settings else None
            words += [] if value is None else [f"--{name}", value]
        call.note(f"to work in it, in a folder of its own: {' '.join(map(quote, words))}")
