"""tclog init."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from tclog import config
from tclog.cli import configure, options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.config import identity
from tclog.config.search import FILE, FOLDER, file_in, folder_of
from tclog.errors import Refused, StoreError, StoreMissing, UsageError, quote, to_run, unsupported
from tclog.store import kind_of, open_store, registered, scheme_of

if TYPE_CHECKING:
    from tclog.log.project import Project
    from tclog.store import Location
    from tclog.store.base import Store
    from tclog.store.probe import Report


@operation(
    "init",
    example="""
    tclog init
    tclog init ./shared-store --project demo --as alice
    """,
)
@click.option("--project", metavar="NAME", help="Its name (default: this folder's).")
@options.place()
@click.option("--shared", is_flag=True, help="Let the folder's group read and write the store.")
@click.option("--create-bucket", is_flag=True, help="Make the bucket if it does not exist.")
def init(
    call: Invocation,
    store: options.StoreArgument,
    project: str | None,
    shared: bool,
    create_bucket: bool,
) -> None:
    """Set up a project on a folder or a bucket; safe to repeat.

    STORE is a folder (default .tclog/store) or s3://bucket/prefix. If it holds other projects, pass
    --project; tclog projects lists them. With --as, tclog acts as NAME in this folder from now on,
    on this machine. STORE is probed first: 32 writers race to create one object, several times. A
    store that lets more than one of them win is refused, and nothing is configured.

    With --shared, all users of the folder's group can work in the store, whatever their umask:
    files get the mode 660, folders 2770. Choose the group with chgrp. Repeat the command to open
    existing files.
    """
    if store.word == "":
        raise UsageError("the store is empty", code="bad-store")
    call.begins = True
    call.say(
        store=store.word or call.flags.store,
        project=project or call.flags.project,
        **store.settings,
    )
    if store.word is not None:
        _check_said(call, call.config.store.value or store.word)
    folder = _folder(call)
    location, usual = _location(call, folder)
    if create_bucket:
        _create_bucket(call, location)
    if usual:
        _ask_which(call, location)
    new = _begin_shared(location) if shared else False
    project_id = os.urandom(16).hex()
    probed, made, opened = _set_up(call, location, project_id, usual=usual)
    agent = call.config.agent
    settings = {
        "store": _written(folder, location.url),
        "project": location.project,
        registered(location.url).table: kind_of(location.url).written(location),
    }
    path, changed = configure.write_config(folder, settings)
    if agent.source == "flag":
        _keep_agent(call, path, str(agent.value))
    if shared:
        _share(call, folder, opened.url, new=new)
    call.emit(
        {
            "type": "project",
            "project": made.name,
            "id": made.id,
            "store": opened.url,
            "config": str(path),
            "agent": agent.value,
            "new": made.id == project_id,
            "probe": {"racers": probed.racers, "rounds": probed.rounds, "winners_each": 1},
        },
        _done(f"project {made.name} in {opened.url}", new=made.id == project_id, changed=changed),
    )
    if not call.json:
        call.note(
            f"{probed.racers} writers raced for one name {probed.rounds} times; one won each time"
        )
    if made.id == project_id and not usual:
        _note_others(call, location)
    if agent.value is None:
        call.note("no agent name yet: export TCLOG_AGENT=NAME, or pass --as NAME to each command")


def _done(what: str, *, new: bool, changed: bool) -> str:
    if new:
        return f"Initialized {what}"
    return f"Joined the existing {what}" if changed else f"Already set up: {what}"


def _check_said(call: Invocation, store: str) -> None:
    """Use the default store if STORE is the working folder itself, as in ``init .``.

    Raises:
        UsageError: STORE is the working folder of another project, which cannot be a store.
    """
    if store == call.start:
        call.say(store=None)
    elif not scheme_of(store) and Path(file_in(store)).is_file():
        _refuse_working_folder(call, store)


def _refuse_working_folder(call: Invocation, folder: str) -> NoReturn:
    found = call.configured(folder)
    project, store = found.project.value or config.PROJECT_DEFAULT, found.store.value
    raise UsageError(
        f"{folder} is the working folder of project {project}, not a store",
        code="bad-store",
        hint=f"tclog init {quote(store)} --project {quote(project)}" if store else "",
    )


def _keep_agent(call: Invocation, file: str, name: str) -> None:
    """Keep the agent name for this machine; it does not belong in the shared file."""
    kept = identity.agent_file(call.start, file)
    assert kept is not None  # noqa: S101 - there is a file of the project
    try:
        configure.keep_agent(kept, name)
    except OSError as error:
        call.note(
            f"{kept} cannot be written ({error.strerror}), so the agent name was not saved;"
            f" instead: export TCLOG_AGENT={quote(name)}"
        )
    said = call.environ.get("TCLOG_AGENT") or name
    if said != name:
        call.note(f"TCLOG_AGENT is {said}; it goes before the name that init has saved here")


def _folder(call: Invocation) -> str:
    """Return the folder whose configuration this is: one that was found, or a new one's.

    Raises:
        Refused: this folder's own configuration says otherwise.
    """
    before = call.configured()
    if before.file is None:
        return call.start
    found, wanted = (
        (each.project.value or "default", each.store.value, each.settings["endpoint"].value)
        for each in (before, call.config)
    )
    if found == wanted or before.store.source != before.file:
        return folder_of(before.file)
    if folder_of(before.file) == call.start:
        at = f" at {found[2] or 'AWS'}" if found[:2] == wanted[:2] else ""
        raise Refused(
            f"{call.start} is already set up for project {found[0]} in {found[1]}{at}; use another"
            " folder, or change its file",
            code="already-configured",
            hint=to_run("cat", before.file),
        )
    return call.start


def _location(call: Invocation, folder: str) -> tuple[Location, bool]:
    """Return where the project will be, and whether its name is only the default."""
    # A file that names a store and no project has meant its project "default" until now.
    named = call.configured().store.source == call.config.file
    if call.config.store.value is None:
        call.say(store=str(Path(folder, FOLDER, "store")))
    found = call.config
    if found.file == file_in(folder):
        usual = found.project.value is None and not named
    else:  # the name in a file further up belongs to what is set up there
        usual = found.project.source in ("default", found.file)
    if usual:
        call.say(project=Path(folder).name or "default")
    return call.location(), usual


def _ask_which(call: Invocation, location: Location) -> None:
    """Refuse to create another project in a store unless the user asked for it.

    From a folder of another name, the default name would silently make a second, empty project.

    Raises:
        UsageError: the store has projects, but none of this name.
    """
    names = _projects_in(call, location)
    if not names or location.project in names:
        return
    raise UsageError(
        f"{location.url} holds {_some(names)}, but no project {location.project}: pass"
        f" --project with one of them, or --project {quote(location.project)} to create it",
        code="project-unsaid",
        hint=_again(call, location, names[0])
        if len(names) == 1
        else to_run("tclog projects", location.url, then=_places(call, location)),
        projects=names,
    )


def _projects_in(call: Invocation, location: Location) -> list[str]:
    from tclog.chain.drive import run
    from tclog.log.project import read_projects

    try:
        outer = kind_of(location.url).open_outer(location, call.environ)
        return [row.name for row in run(read_projects(), outer)]
    except StoreError:
        return []  # perhaps this user may not list it


def _note_others(call: Invocation, location: Location) -> None:
    """Note the other projects of a store: a mistyped name has just created another project."""
    from tclog.log.nearby import meant, nearest

    others = [name for name in _projects_in(call, location) if name != location.project]
    if others:
        near = meant(nearest(location.project, others))
        call.note(f"{location.project} is new; {location.url} also holds {_some(others)}{near}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _places(call: Invocation, location: Location) -> str:
    """Return the options for the place of a bucket, as they were given."""
    said = {name: getattr(call.flags, name, None) for name in registered(location.url).settings}
    own = {
        "endpoint": location.server,
        "region": said.get("region"),
        "profile": said.get("profile"),
    }
    words = [f"--{name} {quote(value)}" for name, value in own.items() if value]
    others = said.keys() - own.keys()
    words += [f"--s3 {quote(f'{name}={said[name]}')}" for name in sorted(others) if said[name]]
    return " ".join(words)


def _again(call: Invocation, location: Location, project: str | None, *more: str) -> str:
    """Return this command with all its arguments, for hints."""
    given = call.given
    words = ["tclog", *(f"{o} {quote(given[o])}" for o in ("-C",) if o in given), "init"]
    words += [quote(location.url), f"--project {quote(project)}" if project else ""]
    words += [_places(call, location)]
    words += [f"--as {quote(call.flags.agent)}" if call.flags.agent else "", *more]
    return " ".join(filter(None, words))


def _create_bucket(call: Invocation, location: Location) -> None:
    if not kind_of(location.url).make(location, call.environ):
        raise UsageError(f"--create-bucket works only with s3://bucket/prefix, not {location.url}")


def _begin_shared(location: Location) -> bool:
    """Make the project's folder in a shared store; return whether the store's folder is new."""
    from tclog.store.shared import share

    folder = kind_of(location.url).folder(location)
    if folder is None:
        raise UsageError(f"--shared works only with a folder, not with {location.url}")
    if not hasattr(os, "chown"):
        raise unsupported("init --shared", "groups of users")
    new = not Path(folder).is_dir()
    root = Path(open_store(location).url)
    with contextlib.suppress(OSError):  # the probe says what is wrong
        root.mkdir(parents=True, exist_ok=True)
        share(str(root))
    return new


def _share(call: Invocation, folder: str, root: str, *, new: bool) -> None:
    """Open the store, and the folders and files on the way to it, to the group."""
    from tclog.store.shared import group_of, share

    above, own = Path(root).parent, Path(folder, FOLDER)
    way = [own, own / ".gitignore", own / FILE]
    if new or own in above.parents:
        way.insert(0, above)
    closed = share(root, *map(str, way))
    call.note(f"the users of group {group_of(root)} may read and write {root}")
    if closed:
        call.note(
            f"{len(closed)} files or folders of other users are still closed to the group, such as"
            f" {closed[0]}; each owner can open them with tclog init --shared"
        )


def _set_up(
    call: Invocation, location: Location, project_id: str, *, usual: bool
) -> tuple[Report, Project, Store]:
    """Probe, make or find the project, learn the clock's offset, introduce the agent."""
    from tclog.chain.drive import run
    from tclog.log.agents import join_project
    from tclog.log.log import Log
    from tclog.log.project import create_project
    from tclog.store.probe import probe

    opened = call.open_store(location, create=True)
    try:
        probed = probe(opened, os.urandom(8).hex())
    except StoreMissing as missing:
        if kind_of(location.url).may_make(location):
            said = None if usual else call.flags.project
            missing.hint = _again(call, location, said, "--create-bucket")
        raise
    now_us = time.time_ns() // 1000 + probed.offset_us
    made = run(create_project(location.project, project_id, now_us), opened)
    call.keep_mark(location, made)
    agent = call.config.agent.value
    if agent is not None:
        log = Log(
            opened,
            made,
            agent=agent,
            session=call.config.session.value,
            cache=Path(call.config.cache, location.digest(made.id)),
        )
        log.run(join_project(log.client))
        call._log = log  # noqa: SLF001 - so that its warnings are shown
    return probed, made, opened


def _written(folder: str, url: str) -> str:
    """Write a folder below this one as a relative path, so that the tree can be moved."""
    if scheme_of(url):
        return url
    try:
        return str(Path(url).relative_to(folder))
    except ValueError:
        return url
