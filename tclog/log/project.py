"""Projects: the one object that says what a project is, and which projects a store holds."""

from __future__ import annotations

from typing import NamedTuple

from tclog.chain.drive import Protocol, settled
from tclog.clock import stamp
from tclog.errors import (
    UPGRADE,
    Damaged,
    FormatNewer,
    NotFound,
    Refused,
    StoreDenied,
    StoreError,
)
from tclog.event import (
    FORMAT,
    MARK,
    decode_record,
    encode,
    validate_new,
)
from tclog.event.names import BLOBS, CHAINS, EVENTS, ONCE, PACK_OBJECTS
from tclog.store.base import Create, Entry, Found, Get, List

# What else a copy begins with.
FOLDERS = (BLOBS, CHAINS, EVENTS, ONCE, PACK_OBJECTS)
# It also names the folder of the project's caches on each user's disk.
PROJECT_ID_MAX = 64
# How many of a store's folders are searched for projects, and how many at once.
PROJECTS_MAX = 1000
AT_ONCE = 32


class Project(NamedTuple):
    """What ``tclog.json`` says."""

    name: str
    id: str
    created_at: str


def read_projects() -> Protocol[list[Project]]:
    """Read the marks of all projects of a store, in the order of their names.

    A folder without a mark is not a project. One with a damaged or unreadable mark is left out.
    """
    rows: list[Entry] = yield List("", limit=PROJECTS_MAX, folders=True)
    found: list[Project] = []
    for start in range(0, len(rows), AT_ONCE):
        keys = [f"{row.key.strip('/')}/{MARK}" for row in rows[start : start + AT_ONCE]]
        replies = yield tuple(map(Get, keys))
        for mark in settled(tuple(None if isinstance(r, StoreDenied) else r for r in replies)):
            try:
                record = {} if mark is None else decode_record(mark.data, "project", MARK)
                found.append(Project(record["project"], record["id"], record["created_at"]))
            except (Damaged, FormatNewer, KeyError):
                continue
    return sorted(found)


def read_project(name: str) -> Protocol[Project]:
    """Read what the project's mark says.

    Raises:
        NotFound: there is no project.
        FormatNewer: a later client made it.
        Damaged: the mark does not say what it should.
    """
    found = yield Get(MARK)
    if found is None:
        raise NotFound(
            f"there is no project {name} in the store; tclog init would begin a new one",
            code="project-missing",
            hint="tclog projects",
        )
    return _project(found.data, name)


def _project(raw: bytes, name: str) -> Project:
    what = f"{MARK} of project {name}"
    record = decode_record(raw, "project", what)
    shards = record.get("shards", 1)
    if shards > 1:
        raise FormatNewer(
            f"project {name} is spread over {shards} shards; this client reads one",
            hint=UPGRADE,
        )
    project = Project(record["project"], record["id"], record["created_at"])
    if project.name != name:
        raise Damaged(f"{what} names the project {project.name}", hint="tclog doctor")
    return project


def is_project_id(text: str) -> bool:
    """Whether a text may be the id of a project; it becomes part of the names of files."""
    plain = text.replace("-", "0").replace("_", "0")
    return len(text) <= PROJECT_ID_MAX and plain.isascii() and plain.isalnum()


def create_project(name: str, project_id: str, now_us: int) -> Protocol[Project]:
    """Make the project's mark, or read the one that is there; safe to repeat and to race.

    Raises:
        Refused: there is a log without a mark.
    """
    raw = encode(
        {
            "created_at": stamp(now_us),
            "format": FORMAT,
            "id": project_id,
            "project": name,
        }
    )
    failure: StoreError | None = None
    found = yield from _look(name)
    if found is not None:
        return _project(found.data, name)
    validate_new("project", name)
    for nth in range(5):
        try:
            yield Create(MARK, raw)
            found = yield Get(MARK)
        except StoreError as error:
            if nth == 0:
                raise
            failure, found = error, None
        if found is not None:
            return _project(found.data, name)
    raise failure or StoreError(f"{MARK} was written but cannot be read", hint="tclog doctor")


def _look(name: str) -> Protocol[Found | None]:
    """Return the mark, if any; refuse half a copy, whose mark comes last and is another project's.

    Whoever makes a project begins to work in it only then, so the mark of one that was made
    meanwhile is found by the second look.
    """
    found: Found | None = yield Get(MARK)
    if found is not None:
        return found
    if not any(settled((yield tuple(List(folder, limit=1) for folder in FOLDERS)))):
        return None
    found = yield Get(MARK)
    if found is None:
        raise Refused(
            f"a log of project {name} is there, but no {MARK}: of a clone or an import that was"
            " stopped and is completed by repeating it, or the mark was lost",
            code="mark-missing",
            hint="tclog clone --help",
        )
    return found
