"""tclog clone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog import config
from tclog.cli.app import operation
from tclog.cli.copied import end_copy, note_junk, tell_damage
from tclog.cli.here import Here
from tclog.cli.options import s3_option
from tclog.cli.output import size
from tclog.cli.places import of_machine, probe_new, set_up, source_of, target_of
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
    from tclog.maintenance.copies.copy import copy_log
    from tclog.maintenance.copies.destination import Mounted, Target

    begin = source_of(here, source, project or here.flags.project)
    of_begin = _said(from_s3, endpoint=from_endpoint, region=from_region, profile=from_profile)
    of_end = _said(to_s3, endpoint=to_endpoint, region=to_region, profile=to_profile)
    machine = of_machine(begin.said)
    if of_begin:
        begin = begin._replace(said=machine | of_begin)
    begin = reached(begin, here.environ)
    end, new = target_of(here, target, Location("", begin.project, machine | of_end))
    end = reached(end, here.environ)
    if (begin.url, begin.server) == (end.url, end.server):
        raise UsageError(f"FROM and TO are the same store, {begin.url}")
    here.say(store=begin.url, project=begin.project)
    ours = here.open_store(begin)
    theirs = here.open_store(end, create=True)
    _look_at_source(begin, ours)
    probe_new(theirs)
    with here.progress("Cloning") as progress:
        sink = Target("to/")
        copied = run(
            copy_log(
                sink, tell_damage(here), note=note_junk(here), mount="from/", progress=progress
            ),
            Mounted(**{"from": ours, "to": theirs}),
        )
    set_up(new, end)
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
    end_copy(here, copied, "copy")


def _said(s3: dict[str, str], **flags: str | None) -> dict[str, Any]:
    """Return the bucket settings of the command line, which go before all configured ones."""
    said = {name: config.Setting(value, "--s3") for name, value in {**flags, **s3}.items()}
    return config.said(said)


def _look_at_source(begin: Location, ours: Store) -> None:
    """Say that there is nothing to copy before a place for the copy is made."""
    from tclog.chain.drive import run
    from tclog.log.project import read_project

    try:
        run(read_project(begin.project), ours)
    except NotFound as missing:
        missing.hint = "tclog clone --help"
        raise
