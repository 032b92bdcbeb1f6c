"""Projects: where one lives in a store, and the one object that says what it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
    UsageError,
)
from tclog.event import (
    FORMAT,
    MARK,
    decode_record,
    digest,
    encode,
    encode_name,
    validate_name,
    validate_new,
)
from tclog.event.names import KEY_BYTES_MAX
from tclog.store.base import Create, Entry, Found, Get, List, Store, check_folder, not_a_store

if TYPE_CHECKING:
    from tclog.config import Config
    from tclog.store.s3 import S3Settings

# What else a copy begins with.
FOLDERS = ("blobs", "chains", "events", "once", "packs")
# It also names the folder of the project's caches on each user's disk.
PROJECT_ID_MAX = 64
# How many of a store's folders are searched for projects, and how many at once.
PROJECTS_MAX = 1000
AT_ONCE = 32


class Location(NamedTuple):
    """Where a project is: a folder or a bucket with its settings, and the project's name.

    ``url`` is a path, or ``s3://bucket/prefix``. ``s3`` has the given settings of the bucket, by
    the names of ``S3Settings``. In a location from ``reached``, ``bucket`` has all settings.
    """

    url: str
    project: str
    s3: Mapping[str, Any] = {}
    fsync: bool = True
    bucket: S3Settings | None = None

    @property
    def endpoint(self) -> str | None:
        """The S3 server, if it is not AWS."""
        return self.bucket.endpoint if self.bucket is not None else None

    def digest(self, project_id: str = "") -> str:
        """Name what is remembered of this place: a copy elsewhere, with the same id, is another."""
        words = (self.url, self.endpoint or "", self.project, project_id)
        return digest("\n".join(words).encode())[:32]


def location_of(found: Config) -> Location:
    """Return where a project is, by a configuration.

    Raises:
        NotFound: it names no store.
    """
    from tclog.config import PROJECT_DEFAULT, need_store, said_of_s3, truth

    return Location(
        url=need_store(found),
        project=found.project.value or PROJECT_DEFAULT,
        s3=said_of_s3(found),
        fsync=truth(found.fsync, "fsync"),
    )


def reached(location: Location, environ: Mapping[str, str]) -> Location:
    """Return a location with the settings of the working folder and the environment filled in.

    What a machine remembers of a place is filed under this, and must not be used for another place.

    Raises:
        UsageError: the URL is of an unknown kind, or a setting is invalid.
    """
    if "://" not in location.url:
        check_folder(location.url)
        return location._replace(url=os.path.abspath(location.url))  # noqa: PTH100 - keeps links
    from tclog.store.s3.resolve import resolve

    return location._replace(bucket=resolve(said_of(location), environ).settings)


class Project(NamedTuple):
    """What ``tclog.json`` says."""

    name: str
    id: str
    created_at: str


def open_store(
    location: Location, environ: Mapping[str, str] | None = None, *, create: bool = False
) -> Store:
    """Open the store of a project; nothing is read or written yet.

    Args:
        location: where it is, as ``reached`` returns it if it is a bucket.
        environ: where the keys to a bucket are looked up, if they are not in a file.
        create: whether a folder that does not exist is made by the first write.
    """
    if "://" not in location.url:
        from tclog.store.file import FileStore

        segment = encode_name(validate_name("project", location.project))
        root = os.path.join(os.path.abspath(location.url), segment)  # noqa: PTH100, PTH118
        return FileStore(root, create=create, fsync=location.fsync)
    from tclog.store.s3 import S3Store

    assert location.bucket is not None  # noqa: S101 - `reached` has filled it in
    return S3Store(location.bucket, environ or {})


def said_of(location: Location) -> S3Settings:
    """Return a location's own settings of a bucket, with nothing filled in.

    Raises:
        UsageError: the URL is of an unknown kind.
    """
    segment = encode_name(validate_name("project", location.project))
    scheme, _, rest = location.url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise not_a_store(location.url)
    from tclog.store.s3 import S3_KEY_BYTES_MAX, S3Settings

    parts = [validate_name("prefix", part) for part in prefix.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise UsageError(
            f"{location.url} has a part that is . or ..",
            code="bad-store",
            hint="tclog init --help",
        )
    size, most = len("/".join([*parts, segment]).encode()), S3_KEY_BYTES_MAX - KEY_BYTES_MAX - 1
    if size > most:
        raise UsageError(
            f"the prefix and the project's name have {size} bytes; at most {most} are allowed,"
            f" because an S3 key has at most {S3_KEY_BYTES_MAX}",
            code="bad-store",
            hint="tclog init --help",
        )
    return S3Settings(bucket, "/".join([*parts, segment]), **location.s3)


def open_outer(location: Location, environ: Mapping[str, str] | None = None) -> Store:
    """Open the store that holds all projects as folders; only ``read_projects`` uses it."""
    one = open_store(location, environ)
    if not one.concurrent:
        from tclog.store.file import FileStore

        return FileStore(os.path.dirname(one.url), create=False)  # noqa: PTH120 - as above
    from tclog.store.s3 import S3Store

    assert isinstance(one, S3Store)  # noqa: S101 - only buckets are concurrent
    prefix = one.settings.prefix.rpartition("/")[0]
    return S3Store(one.settings._replace(prefix=prefix), environ or {})


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
