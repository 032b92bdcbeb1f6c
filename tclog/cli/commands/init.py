"""tclog init."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclog.cli import config
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.search import FILE, FOLDER, file_in, folder_of
from tclog.errors import Refused, StoreMissing, UsageError, quote, to_run

if TYPE_CHECKING:
    from tclog.log.project import Location, Project
    from tclog.store.base import Store
    from tclog.store.probe import Report


@operation(
    "init",
    example="""
    tclog init
    tclog init ./shared-store --project demo --as alice
    """,
)
@click.argument("store", required=False)
@click.option("--project", metavar="NAME", help="Its name (default: this folder's).")
@click.option("--endpoint", metavar="URL", help="The S3 endpoint, where it is not AWS.")
@click.option("--region", metavar="R", help="The S3 region.")
@click.option("--profile", metavar="P", help="An AWS profile, instead of the standard chain.")
@click.option("--shared", is_flag=True, help="Let the group of the folder read and write it.")
@click.option("--create-bucket", is_flag=True, help="Make the bucket if it does not exist.")
def init(
    here: Here,
    store: str | None,
    project: str | None,
    endpoint: str | None,
    region: str | None,
    profile: str | None,
    shared: bool,
    create_bucket: bool,
) -> None:
    """Set up a project on a folder or a bucket; safe to repeat.

    STORE is a folder (default .tclog/store) or s3://bucket/prefix. It is probed first: 32 writers
    race to create one object, several times. A store that lets more than one of them win is
    refused, and nothing is configured.

    With --shared all users of the folder's group may work in it, whatever their umask: files of the
    store get the mode 660, folders 2770. Choose the group with chgrp, and repeat it for what is
    there.
    """
    if store == "":
        raise UsageError("the store is empty", code="bad-store")
    here.begins = True
    here.say(
        store=store or here.flags.store,
        project=project or here.flags.project,
        endpoint=endpoint,
        region=region,
        profile=profile,
    )
    folder = _folder(here)
    location = _location(here, folder)
    if create_bucket:
        _create_bucket(here, location)
    new = _begin_shared(location) if shared else False
    probed, made, opened = _set_up(here, location)
    agent = here.config.agent
    path = config.write(
        folder,
        {
            "store": _written(folder, location.url),
            "project": location.project,
            # An identity from the environment belongs to one shell, not to everybody here.
            "agent": agent.value if agent.source == "flag" else None,
            "s3": _s3_settings(here, opened),
        },
    )
    where = opened.url
    if shared:
        _share(here, folder, opened.url, new=new)
    here.emit(
        {
            "type": "project",
            "project": made.name,
            "id": made.id,
            "store": where,
            "config": str(path),
            "agent": agent.value,
            "probe": {"racers": probed.racers, "rounds": probed.rounds, "winners_each": 1},
        },
        f"Initialized project {made.name} in {where}",
    )
    if not here.json:
        here.note(
            f"{probed.racers} writers raced for one name {probed.rounds} times; one won each time"
        )
    if agent.value is None:
        here.note("say who acts: export TCLOG_AGENT=NAME, or --as NAME with each command")


def _folder(here: Here) -> str:
    """Return the folder whose configuration this is: one that was found, or a new one's.

    Raises:
        Refused: this folder's own configuration says otherwise.
    """
    before = here.configured()
    if before.file is None:
        return here.start
    found, wanted = (
        (each.project.value or "default", each.store.value, each.endpoint.value)
        for each in (before, here.config)
    )
    if found == wanted or before.store.source != before.file:
        return folder_of(before.file)
    if folder_of(before.file) == here.start:
        raise Refused(
            f"{here.start} is already set up for project {found[0]} in {found[1]}; use another"
            " folder, or change its file",
            code="already-configured",
            hint=to_run("cat", before.file),
        )
    return here.start


def _location(here: Here, folder: str) -> Location:
    """Return where the project will be: what was said, then what is usual."""
    # A file that names a store and no project has meant its project "default" until now.
    named = here.configured().store.source == here.config.file
    if here.config.store.value is None:
        here.say(store=str(Path(folder, FOLDER, "store")))
    found = here.config
    if found.file == file_in(folder):
        usual = found.project.value is None and not named
    else:  # the name in a file further up belongs to what is set up there
        usual = found.project.source in ("default", found.file)
    if usual:
        here.say(project=Path(folder).name or "default")
    return here.location()


def _create_bucket(here: Here, location: Location) -> None:
    opened = here.open_store(location, create=True)
    if not opened.concurrent:
        raise UsageError(f"--create-bucket goes with s3://bucket/prefix, not {location.url}")
    from tclog.store.s3 import S3Store
    from tclog.store.s3.bucket import create_bucket

    assert isinstance(opened, S3Store)  # noqa: S101 - the URL says so
    create_bucket(opened.settings, here.environ)


def _begin_shared(location: Location) -> bool:
    """Make the folder of a shared store, and return whether the one that holds it is new."""
    from tclog.log.project import open_store
    from tclog.store.shared import share

    if "://" in location.url:
        raise UsageError(f"--shared goes with a folder, not {location.url}")
    new = not Path(location.url).is_dir()
    root = Path(open_store(location).url)
    with contextlib.suppress(OSError):  # the probe says what is wrong
        root.mkdir(parents=True, exist_ok=True)
        share(str(root))
    return new


def _share(here: Here, folder: str, root: str, *, new: bool) -> None:
    """Open what is there to the group: the store, and the way to it."""
    from tclog.store.shared import group_of, share

    above, own = Path(root).parent, Path(folder, FOLDER)
    way = [own, own / ".gitignore", own / FILE]
    if new or own in above.parents:
        way.insert(0, above)
    closed = share(root, *map(str, way))
    here.note(f"the users of group {group_of(root)} may read and write {root}")
    if closed:
        here.note(
            f"{len(closed)} files or folders of other users are still closed to the group, such as"
            f" {closed[0]}; their owners open them with tclog init --shared"
        )


def _set_up(here: Here, location: Location) -> tuple[Report, Project, Store]:
    """Probe, make or find the project, learn the clock's offset, introduce the agent."""
    from tclog.chain.drive import run
    from tclog.log.agents import join_project
    from tclog.log.log import Log
    from tclog.log.project import create_project
    from tclog.store.probe import probe

    opened = here.open_store(location, create=True)
    try:
        probed = probe(opened, os.urandom(8).hex())
    except StoreMissing as missing:
        if opened.concurrent:
            from tclog.store.s3 import S3Store
            from tclog.store.s3.bucket import check_new_bucket

            assert isinstance(opened, S3Store)  # noqa: S101 - only buckets are concurrent
            check_new_bucket(opened.settings.bucket)
            said = {"region": here.flags.region, "profile": here.flags.profile}
            at = "".join(
                f" --{name} {quote(value)}"
                for name, value in {"endpoint": location.endpoint, **said}.items()
                if value
            )
            missing.hint = f"tclog init {quote(location.url)}{at} --create-bucket"
        raise
    now_us = time.time_ns() // 1000 + probed.offset_us
    made = run(create_project(location.project, os.urandom(16).hex(), now_us), opened)
    if opened.concurrent:
        here.keep_mark(location, made)
    agent = here.config.agent.value
    if agent is not None:
        log = Log(
            opened,
            made,
            agent=agent,
            session=here.config.session.value,
            cache=Path(here.config.cache, location.digest(made.id)),
        )
        log.run(join_project(log.client))
        here._log = log  # noqa: SLF001 - so that its warnings are shown
    return probed, made, opened


def _s3_settings(here: Here, opened: Store) -> dict[str, str | None]:
    """What has to be written so that other shells reach the same bucket."""
    if not opened.concurrent:
        return {}
    from tclog.store.s3 import S3Store

    assert isinstance(opened, S3Store)  # noqa: S101 - only buckets are concurrent
    effective = opened.settings
    client = here.config.client
    return {
        "endpoint": effective.endpoint,
        "region": effective.region,
        "profile": effective.profile,
        "client": None if client.source == "default" else client.value,
    }


def _written(folder: str, url: str) -> str:
    """Write a folder below this one as a relative path, so that the tree can be moved."""
    if "://" in url:
        return url
    try:
        return str(Path(url).relative_to(folder))
    except ValueError:
        return url
