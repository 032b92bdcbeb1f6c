"""tclog clone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog import config
from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.left_out import end_copy, note_junk, tell_damage
from tclog.cli.output import size
from tclog.cli.places import of_machine, probe_new, set_up, source_of, target_of
from tclog.cli.progress import counting
from tclog.errors import NotFound, UsageError
from tclog.store import Location, reached

if TYPE_CHECKING:
    from tclog.store.base import Store


@operation(
    "clone",
    example="""
    tclog clone . ./backup
    """,
)
@options.place("source", "FROM")
@options.place("target", "TO")
@click.option("--project", metavar="NAME", help="Which project, where FROM holds several.")
def clone(
    call: Invocation,
    source: options.StoreArgument,
    target: options.StoreArgument,
    project: str | None,
) -> None:
    """Copy a project to another store; again, to copy what is new.

    FROM and TO are each a store (a folder or s3://bucket/prefix) or the working folder of a
    project, such as ".". The project keeps its name and id. Every object is checked before it is
    written, and nothing is ever replaced. A clone may be stopped and repeated at any moment. A
    target with writes of its own is refused. A clone is also a backup: to restore, clone back. If
    TO is "." and no project is set up there, clone sets it up.
    """
    from tclog.chain.drive import run
    from tclog.maintenance.copies.copy import copy_log
    from tclog.maintenance.copies.destination import Mounted, Target

    begin = source_of(call, str(source.word), project or call.flags.project)
    of_begin, of_end = _said(source.settings), _said(target.settings)
    machine = of_machine(begin.said)
    if of_begin:
        begin = begin._replace(said=machine | of_begin)
    begin = reached(begin, call.environ)
    end, new = target_of(call, str(target.word), Location("", begin.project, machine | of_end))
    end = reached(end, call.environ)
    if (begin.url, begin.server) == (end.url, end.server):
        raise UsageError(f"FROM and TO are the same store, {begin.url}")
    call.say(store=begin.url, project=begin.project)
    ours = call.open_store(begin)
    theirs = call.open_store(end, create=True)
    _look_at_source(begin, ours)
    probe_new(theirs)
    with counting(call, "Cloning") as progress:
        sink = Target("to/")
        copied = run(
            copy_log(
                sink, tell_damage(call), note=note_junk(call), mount="from/", progress=progress
            ),
            Mounted(**{"from": ours, "to": theirs}),
        )
    set_up(new, end)
    contents = copied.blobs + copied.keys + copied.events + copied.packs
    objects = contents + copied.versions - sink.present
    present = copied.present + sink.present
    call.emit(
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
    end_copy(call, copied, "copy")


def _said(settings: dict[str, str]) -> dict[str, Any]:
    """Return the bucket settings of the command line, which go before all configured ones."""
    return config.said({name: config.Setting(value, "--s3") for name, value in settings.items()})


def _look_at_source(begin: Location, ours: Store) -> None:
    """Say that there is nothing to copy before a place for the copy is made."""
    from tclog.chain.drive import run
    from tclog.log.project import read_project

    try:
        run(read_project(begin.project), ours)
    except NotFound as missing:
        missing.hint = "tclog clone --help"
        raise
