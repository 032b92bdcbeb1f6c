"""Where a project is copied from and to: a store, or a working folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tclog import config
from tclog.cli import configure
from tclog.cli.here import Here
from tclog.config.search import FOLDER, file_in, folder_of
from tclog.errors import Damaged, NotFound, UsageError, to_run

if TYPE_CHECKING:
    from tclog.log.project import Location
    from tclog.store.base import Store


def source_of(here: Here, word: str, project: str | None) -> Location:
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


def target_of(here: Here, word: str, to: Location) -> tuple[Location, str | None]:
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
    from tclog.store.base import check_folder

    if not word:
        raise UsageError("the store is empty", code="bad-store")
    if "://" in word:
        return word
    check_folder(word)
    return os.path.abspath(word)  # noqa: PTH100 - keeps links as they are


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
