"""Where a project is copied from and to: a store, or a working folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tclog import config
from tclog.cli import configure
from tclog.cli.invocation import Invocation
from tclog.config.search import FOLDER, file_in, folder_of
from tclog.errors import Damaged, NotFound, UsageError, to_run
from tclog.store import Location, check_folder, scheme_of

if TYPE_CHECKING:
    from tclog.store.base import Store


def source_of(call: Invocation, word: str, project: str | None) -> Location:
    """Return where a project is copied from: a store's URL, or a working folder's."""
    url = _folder_or_url(word)
    if _is_set_up(url):
        return config.location_of(_configured(call, url, project))
    mine = call.config
    said = config.said(mine.settings)
    return Location(
        url,
        project or _only_project(url) or mine.project.value or "default",
        said if mine.store.value == url else of_machine(said),
    )


def of_machine(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of this machine, which hold for both stores of a copy."""
    return {name: said[name] for name in ("client", "fsync") if name in said}


def target_of(call: Invocation, word: str, to: Location) -> tuple[Location, str | None]:
    """Return where a project is copied to, and the folder that is to be set up for it, if any.

    Args:
        call: where the command was started.
        word: a store, or a working folder: one with a project, or the current one.
        to: the other options for it, and the project's name.

    Raises:
        UsageError: the folder is set up for another project, or is inside one.
    """
    url = _folder_or_url(word)
    if scheme_of(url):
        return to._replace(url=url), None
    if _is_set_up(url):
        found = _configured(call, url)
        if (found.project.value or config.PROJECT_DEFAULT) != to.project:
            raise UsageError(
                f"{url} is set up for project {found.project.value}, not for {to.project}",
                code="project-differs",
                hint=to_run("cat", file_in(url)),
            )
        return config.location_of(found), None
    if url != call.start:
        return to._replace(url=url), None
    above = call.configured().file
    if above is not None:
        raise UsageError(
            f"{url} is inside the working folder {folder_of(above)}: name that folder, or a store",
            code="already-configured",
            hint=to_run("cat", above),
        )
    return to._replace(url=os.path.join(url, FOLDER, "store")), url  # noqa: PTH118 - as above


def set_up(folder: str | None, location: Location) -> None:
    """Write the configuration of a folder that a project was copied into."""
    if folder is not None:
        store = os.path.relpath(location.url, folder)
        configure.write_config(folder, {"store": store, "project": location.project})


def probe_new(opened: Store) -> None:
    """Probe the store that a log goes into, if the place is new."""
    from tclog.event import MARK
    from tclog.store.probe import probe

    if opened.stat(MARK) is None:
        probe(opened, os.urandom(8).hex())


def _folder_or_url(word: str) -> str:
    if not word:
        raise UsageError("the store is empty", code="bad-store")
    if scheme_of(word):
        return word
    check_folder(word)
    return os.path.abspath(word)  # noqa: PTH100 - keeps links as they are


def _is_set_up(folder: str) -> bool:
    return not scheme_of(folder) and Path(file_in(folder)).is_file()


def _configured(call: Invocation, folder: str, project: str | None = None) -> config.Config:
    """Return the configuration in the file of a working folder.

    Raises:
        NotFound: it names no store.
    """
    found = call.configured(folder, project=project)
    if found.store.value is None:
        raise NotFound(f"{found.file} names no store", code="project-missing", hint="tclog where")
    fsync = call.config.settings["fsync"]
    return found._replace(settings={**found.settings, "fsync": fsync})


def _only_project(url: str) -> str | None:
    """Return the name of the only project in a folder."""
    if scheme_of(url):
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
