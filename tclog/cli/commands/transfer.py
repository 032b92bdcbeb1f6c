"""tclog export, import, clone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tclog import config
from tclog.cli import configure, options
from tclog.cli.app import operation
from tclog.cli.files import file_to_write, reading, unreadable
from tclog.cli.here import Here
from tclog.cli.options import FILE_IN, FILE_KEPT, FILE_OUT, s3_option
from tclog.cli.output import STDIN, one_line, size, write_bytes, write_json, write_line
from tclog.config.search import FOLDER, file_in, folder_of
from tclog.errors import Damaged, NotFound, UsageError, quote, to_run

if TYPE_CHECKING:
    from tclog.log.project import Location
    from tclog.maintenance.copies.copy import Copied
    from tclog.maintenance.copies.transfer import Reader
    from tclog.store.base import Store

# Words that will say where a log of another tool comes from; a file is given as ./WORD.
SOURCES = ("tracecraft",)


def _tell(here: Here) -> Callable[[str, str], None]:
    """Say on stderr which object was left out."""

    def tell(key: str, why: str) -> None:
        if here.json:
            record = {"type": "damage", "object": key, "code": "left-out", "message": why}
            write_json(record, sys.stderr)
        else:
            write_line(f"damaged: {one_line(key)} {one_line(why)}", sys.stderr)

    return tell


def _note(here: Here) -> Callable[[str, str], None]:
    """Say on stderr which slot was copied though it holds junk."""
    return lambda key, why: here.note(f"{key} holds junk, which is copied as it is: {why}")


def _end(here: Here, copied: Copied, what: str) -> None:
    """Say what was left out.

    Raises:
        Damaged: something was that belongs to the log.
    """
    if copied.foreign:
        here.note(f"{copied.foreign} object(s) that are not tclog's were left out")
    if copied.damaged:
        raise Damaged(
            f"{copied.damaged} damaged object(s) are not in the {what}",
            code="store-damaged",
            hint="tclog fsck",
            damaged=copied.damaged,
        )


# -- export ---------------------------------------------------------------------------------------


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
def export(here: Here, out: str | None, git: str | None) -> None:
    """Write the whole log as JSON lines or as a git repository.

    What tclog import reads back is the same byte for byte. With --git, every version becomes a
    commit, and its tree is the state at that moment; running it again adds what is new.
    """
    if git is not None:
        if out is not None:
            raise UsageError("--git and -o exclude each other")
        from tclog.cli.gitrepo import export_git

        export_git(here, Path(git))
        return
    out = None if out == STDIN else out
    from tclog.chain.drive import run
    from tclog.log.log import SOFTWARE
    from tclog.maintenance.copies.transfer import export as write_log

    store = here.open_store(here.location())
    with _written(out) as write, here.progress("Exporting") as progress:
        copied = run(
            write_log(write, _tell(here), note=_note(here), software=SOFTWARE, progress=progress),
            store,
        )
    objects = copied.blobs + copied.keys + copied.events + copied.packs + copied.versions
    record = {"type": "export", "file": out, "objects": objects, "bytes": copied.bytes}
    if out is not None:
        here.emit(record, f"Exported {objects} objects ({size(copied.bytes)}) to {out}")
    _end(here, copied, "export")


@contextlib.contextmanager
def _written(out: str | None) -> Iterator[Callable[[bytes], None]]:
    """Give a way to write lines; a file appears only when it is whole."""
    if out is None:
        yield write_bytes
        return
    from tclog.log.outfile import unwritable, written

    target = file_to_write(out, "export -o", "log.jsonl")
    try:
        with written(target) as file:
            yield lambda line: _put(file, line)
    except OSError as error:
        raise unwritable(target, error) from None


def _put(file: IO[bytes], line: bytes) -> None:
    file.write(line)


# -- import ---------------------------------------------------------------------------------------


@operation(
    "import",
    example="""
    tclog import log.jsonl ./restored
    """,
)
@click.argument("file", type=FILE_IN)
@click.argument("store", required=False)
@options.place
def import_(
    here: Here,
    file: str,
    store: str | None,
    endpoint: str | None,
    region: str | None,
    profile: str | None,
    s3: dict[str, str],
) -> None:
    """Read an export back: the same project, the same bytes.

    FILE is what tclog export wrote, or - for standard input. STORE is a folder or
    s3://bucket/prefix (default: the configured one), or the working folder of a project; "." is set
    up as one. The project keeps its name and id; another project of that name there is refused.
    Every object is checked before it is written, and nothing is replaced. Repeat an interrupted
    import to complete it. Leases count from the import.
    """
    from tclog.chain.drive import run
    from tclog.log.project import reached
    from tclog.maintenance.copies.transfer import import_log

    if file in SOURCES:
        raise UsageError(
            f"{file} logs cannot be imported yet; a file of this name is ./{file}",
            code="not-there-yet",
            hint=to_run("tclog import", f"./{file}"),
        )
    flags = {"store": store, "endpoint": endpoint, "region": region, "profile": profile}
    here.say(**{name: value for name, value in flags.items() if value is not None}, **s3)
    new = None
    with _opened(file) as reader:
        wanted = here.flags.project
        if wanted is not None and wanted != reader.head.project:
            raise UsageError(
                f"the export is of project {reader.head.project}, not {wanted}; a project keeps"
                " its name",
                code="project-differs",
            )
        here.say(project=reader.head.project)
        try:
            location = here.location()
        except NotFound as missing:
            missing.hint = to_run("tclog import", file, ".")
            raise
        if store is not None:
            location, new = _target(here, store, location)
            location = reached(location, here.environ)
        opened = here.open_store(location, create=True)
        _probe_new(opened)
        with here.progress("Importing") as progress:
            done = run(import_log(reader, progress), opened)
    _set_up(new, location)
    here.emit(
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
    _say_init(here, location)


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


def _probe_new(opened: Store) -> None:
    """Probe the store that a log goes into, if the place is new."""
    from tclog.event import MARK
    from tclog.store.probe import probe

    if opened.stat(MARK) is None:
        probe(opened, os.urandom(8).hex())


def _say_init(here: Here, location: Location) -> None:
    """Say how to work in what was just made, where that is not what is configured here."""
    before = config.load(config.Flags(), here.environ, here.start)
    if (before.store.value, before.project.value) != (location.url, location.project):
        words = ["tclog", "init", location.url, "--project", location.project]
        for name in ("endpoint", "region", "profile") if "://" in location.url else ():
            value = location.s3.get(name)
            words += [] if value is None else [f"--{name}", value]
        here.note(f"to work in it, in a folder of its own: {' '.join(map(quote, words))}")


# -- clone ----------------------------------------------------------------------------------------


@operation(
    "clone",
    example="""
    tclog clone . ./backup
    """,
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--project", metavar="NAME", help="Which project, where FROM holds several.")
@click.option("--from-endpoint", metavar="URL", help="The S3 endpoint of FROM, if not AWS.")
@click.option("--from-region", metavar="R", help="The S3 region of FROM.")
@click.option("--from-profile", metavar="P", help="The AWS profile for FROM.")
@click.option("--to-endpoint", metavar="URL", help="The S3 endpoint of TO, if not AWS.")
@click.option("--to-region", metavar="R", help="The S3 region of TO.")
@click.option("--to-profile", metavar="P", help="The AWS profile for TO.")
@s3_option("--from-s3", "from_s3", "An S3 setting of FROM, such as sse=AES256; repeatable.")
@s3_option("--to-s3", "to_s3", "An S3 setting of TO; repeatable.")
def clone(
    here: Here,
    source: str,
    target: str,
    project: str | None,
    from_endpoint: str | None,
    from_region: str | None,
    from_profile: str | None,
    to_endpoint: str | None,
    to_region: str | None,
    to_profile: str | None,
    from_s3: dict[str, str],
    to_s3: dict[str, str],
) -> None:
    """Copy a project to another store; again, to copy what is new.

    FROM and TO are each a store (a folder or s3://bucket/prefix) or the working folder of a
    project, such as ".". The project keeps its name and id. Every object is checked before it is
    written, and nothing is ever replaced. A clone may be stopped and repeated at any moment. A
    target with writes of its own is refused. A clone is also a backup: to restore, clone back. If
    TO is "." and no project is set up there, clone sets it up.
    """
    from tclog.chain.drive import run
    from tclog.log.project import reached
    from tclog.maintenance.copies.copy import copy_log
    from tclog.maintenance.copies.destination import Mounted, Target

    begin = _source(here, source, project or here.flags.project)
    client = begin.s3.get("client", "obstore")
    of_begin = _said(
        from_s3, endpoint=from_endpoint, region=from_region, profile=from_profile, client=client
    )
    of_end = _said(to_s3, endpoint=to_endpoint, region=to_region, profile=to_profile, client=client)
    if len(of_begin) > 1:
        begin = begin._replace(s3=of_begin)
    begin = reached(begin, here.environ)
    end, new = _target(here, target, begin._replace(url="", s3=of_end))
    end = reached(end, here.environ)
    if (begin.url, begin.endpoint) == (end.url, end.endpoint):
        raise UsageError(f"FROM and TO are the same store, {begin.url}")
    here.say(store=begin.url, project=begin.project)
    ours = here.open_store(begin)
    theirs = here.open_store(end, create=True)
    _look_at_source(begin, ours)
    _probe_new(theirs)
    with here.progress("Cloning") as progress:
        sink = Target("to/")
        copied = run(
            copy_log(sink, _tell(here), note=_note(here), mount="from/", progress=progress),
            Mounted(**{"from": ours, "to": theirs}),
        )
    _set_up(new, end)
    contents = copied.blobs + copied.keys + copied.events + copied.packs
    objects = contents + copied.versions - sink.present
    present = copied.present + sink.present
    here.emit(
        {
            "type": "clone",
            "project": begin.project,
            "from": ours.url,
            "to": theirs.url,
            "objects": objects,
            "present": present,
            "bytes": copied.bytes,
        },
        f"Copied {objects} objects ({size(copied.bytes)}) of project {begin.project} to"
        f" {theirs.url}; {present} were there",
    )
    _end(here, copied, "copy")


def _said(s3: dict[str, str], **flags: str | None) -> dict[str, Any]:
    """Return the bucket settings of the command line, which go before all configured ones."""
    said = {name: config.Setting(value, "--s3") for name, value in {**flags, **s3}.items()}
    return config.read_s3(said)


def _look_at_source(begin: Location, ours: Store) -> None:
    """Say that there is nothing to copy before a place for the copy is made."""
    from tclog.chain.drive import run
    from tclog.log.project import read_project

    try:
        run(read_project(begin.project), ours)
    except NotFound as missing:
        missing.hint = "tclog clone --help"
        raise


def _folder_or_url(word: str) -> str:
    from tclog.store.base import check_folder

    if not word:
        raise UsageError("the store is empty", code="bad-store")
    if "://" in word:
        return word
    check_folder(word)
    return os.path.abspath(word)  # noqa: PTH100 - keeps links as they are


def _target(here: Here, word: str, to: Location) -> tuple[Location, str | None]:
    """Return where a project is copied to, and the folder that is to be set up for it, if any.

    Args:
        here: where the command was started.
        word: a store, or a working folder: one with a project, or the current one.
        to: the other options for it, and the project's name.

    Raises:
        UsageError: the folder is set up for another project, or is inside one.
    """
    url = _folder_or_url(word)
    if "://" in url:
        return to._replace(url=url), None
    if _is_set_up(url):
        found = _configured(here, url)
        if (found.project.value or config.PROJECT_DEFAULT) != to.project:
            raise UsageError(
                f"{url} is set up for project {found.project.value}, not for {to.project}",
                code="project-differs",
                hint=to_run("cat", file_in(url)),
            )
        from tclog.log.project import location_of

        return location_of(found), None
    if url != here.start:
        return to._replace(url=url), None
    above = here.configured().file
    if above is not None:
        raise UsageError(
            f"{url} is inside the working folder {folder_of(above)}: name that folder, or a store",
            code="already-configured",
            hint=to_run("cat", above),
        )
    return to._replace(url=os.path.join(url, FOLDER, "store")), url  # noqa: PTH118 - as above


def _set_up(folder: str | None, location: Location) -> None:
    """Write the configuration of a folder that a project was copied into."""
    if folder is not None:
        store = os.path.relpath(location.url, folder)
        configure.write_config(folder, {"store": store, "project": location.project})


def _is_set_up(folder: str) -> bool:
    return "://" not in folder and Path(file_in(folder)).is_file()


def _configured(here: Here, folder: str, project: str | None = None) -> config.Config:
    """Return the configuration in the file of a working folder.

    Raises:
        NotFound: it names no store.
    """
    found = here.configured(folder, project=project)
    if found.store.value is None:
        raise NotFound(f"{found.file} names no store", code="project-missing", hint="tclog where")
    return found._replace(fsync=here.config.fsync)


def _source(here: Here, word: str, project: str | None) -> Location:
    """Return where a project is copied from: a store's URL, or a working folder's."""
    from tclog.log.project import Location, location_of

    url = _folder_or_url(word)
    if _is_set_up(url):
        return location_of(_configured(here, url, project))
    mine = here.config
    same = mine.store.value == url
    return Location(
        url=url,
        project=project or _only_project(url) or mine.project.value or "default",
        s3=config.said_of_s3(mine) if same else {"client": mine.client.value},
        fsync=config.truth(mine.fsync, "fsync"),
    )


def _only_project(url: str) -> str | None:
    """Return the name of the only project in a folder."""
    if "://" in url:
        return None
    from tclog.event import MARK, decode, decode_name

    try:
        marks = [row / MARK for row in Path(url).iterdir() if (row / MARK).is_file()]
        if len(marks) != 1:
            return None
        return decode_name(marks[0].parent.name) or str(
            decode(marks[0].read_bytes(), MARK)["project"]
        )
    except (OSError, Damaged, KeyError, TypeError):
        return None
