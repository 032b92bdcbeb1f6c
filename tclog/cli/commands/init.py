"""tclog init."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclog.cli import config
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.errors import Refused

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
@click.option("--create-bucket", is_flag=True, help="Make the bucket if it does not exist.")
def init(
    here: Here,
    store: str | None,
    project: str | None,
    endpoint: str | None,
    region: str | None,
    profile: str | None,
    create_bucket: bool,
) -> None:
    """Set up a project: STORE is a folder (default .tclog/store) or s3://bucket/prefix.

    The store is probed first: 32 writers race to create one object, several times. One that lets
    more than one of them win is refused, and nothing is configured. Running init again is safe.
    """
    here.flags = here.flags._replace(
        store=store or here.flags.store,
        project=project or here.flags.project,
        endpoint=endpoint,
        region=region,
        profile=profile,
    )
    _check_unconfigured(here)
    location = _location(here)
    if create_bucket and location.url.startswith("s3://"):
        _create_bucket(here, location)
    probed, made, opened = _set_up(here, location)
    s3 = _s3_settings(here, location, opened)
    agent = here.config.agent
    path = config.write(
        here.start,
        {
            "store": _written(here.start, location.url),
            "project": location.project,
            # An identity from the environment belongs to one shell, not to everybody here.
            "agent": agent.value if agent.source == "flag" or _from_here(here, agent) else None,
        },
        s3,
    )
    where = opened.url
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
        f"Initialized project {made.name} in {where}\n"
        f"Probe: {probed.racers} writers raced for one name {probed.rounds} times;"
        " one won each time",
    )
    if agent.value is None:
        here.note("say who acts: export TCLOG_AGENT=NAME, or --as NAME with each command")


def _check_unconfigured(here: Here) -> None:
    """Refuse to point a configured folder somewhere else without a word."""
    file = here.start / config.FOLDER / config.FILE
    if not file.is_file() or (here.flags.store is None and here.flags.project is None):
        return
    before = config.load(config.Flags(), {}, here.start)
    wanted = here.config
    changed = (before.project.value, before.store.value) != (
        wanted.project.value,
        wanted.store.value,
    )
    if changed:
        raise Refused(
            f"{here.start} is already set up for project {before.project.value}"
            f" in {before.store.value}",
            code="already-configured",
            hint=f"tclog -C OTHER-FOLDER init ..., or edit {file}",
        )


def _location(here: Here) -> Location:
    found = here.config
    if found.store.value is None:
        default = here.start / config.FOLDER / "store"
        here.flags = here.flags._replace(store=str(default))
        here._config = None  # noqa: SLF001 - the flags changed: find everything anew
    if found.project.value is None:
        here.flags = here.flags._replace(project=here.start.name or "default")
        here._config = None  # noqa: SLF001 - as above
    return here.location()


def _create_bucket(here: Here, location: Location) -> None:
    from tclog.log.project import open_store
    from tclog.store.s3 import S3Store, create_bucket

    opened = open_store(location, here.environ)
    assert isinstance(opened, S3Store)  # noqa: S101 - the URL says so
    create_bucket(opened.settings, here.environ)


def _set_up(here: Here, location: Location) -> tuple[Report, Project, Store]:
    """Probe, make or find the project, learn the clock's offset, introduce the agent."""
    from tclog.chain.drive import run
    from tclog.log.agents import join_project
    from tclog.log.log import Log
    from tclog.log.project import create_project, open_store
    from tclog.store.probe import probe

    opened = open_store(location, here.environ)
    probed = probe(opened, os.urandom(8).hex())
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
            cache=here.config.cache / made.id,
        )
        log.run(join_project(log.client))
        here._log = log  # noqa: SLF001 - so that its warnings are shown
    return probed, made, opened


def _s3_settings(here: Here, location: Location, opened: Store) -> dict[str, str | None]:
    """What has to be written so that other shells reach the same bucket."""
    if not location.url.startswith("s3://"):
        return {}
    from tclog.store.s3 import S3Store

    assert isinstance(opened, S3Store)  # noqa: S101 - the URL says so
    effective = opened.settings
    client = here.config.client
    return {
        "endpoint": effective.endpoint,
        "region": effective.region,
        "profile": effective.profile,
        "client": None if client.source == "default" else client.value,
    }


def _from_here(here: Here, agent: config.Setting) -> bool:
    return agent.source == str(here.start / config.FOLDER / config.FILE)


def _written(folder: Path, url: str) -> str:
    """Write a folder below this one as a relative path, so that the tree can be moved."""
    if "://" in url:
        return url
    try:
        return str(Path(url).relative_to(folder))
    except ValueError:
        return url
