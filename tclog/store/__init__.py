"""Stores: nine verbs over a folder, a bucket or a dictionary, and the registry of their kinds.

No meaning, no retries of creates. ``KINDS`` is the only place that knows which kinds there are: the
rest of the package asks the ``Kind`` of a location, or the ``Store``, what it can do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tclog.errors import StoreMissing, UsageError, to_run

if TYPE_CHECKING:
    from tclog.store.base import Kind, Store


class Registered(NamedTuple):
    """A kind of store: the module that has it as ``KIND``, and what is read before that is loaded.

    ``form`` is the URL as a user writes it. ``settings`` are the names in the table ``table`` of a
    configuration file; ``truths`` are those that are true or false, ``paths`` those that name a
    file. The variable of a setting is TCLOG_NAME, unless ``variables`` has another.
    """

    module: str
    form: str
    table: str
    settings: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    defaults: Mapping[str, str] = {}
    variables: Mapping[str, str] = {}


# By the scheme of the URL; a URL without a scheme is a folder.
KINDS = {
    "s3": Registered(
        "tclog.store.s3",
        "s3://bucket/prefix",
        "s3",
        (
            "endpoint",
            "region",
            "profile",
            "client",
            "addressing",
            "ca_bundle",
            "checksum",
            "sse",
            "sse_kms_key",
            "request_payer",
        ),
        truths=("request_payer",),
        paths=("ca_bundle",),
        defaults={"client": "obstore"},
        variables={"client": "TCLOG_S3_CLIENT"},
    ),
    "": Registered(
        "tclog.store.file", "a folder", "file", ("fsync",), ("fsync",), defaults={"fsync": "true"}
    ),
}


class Location(NamedTuple):
    """Where a project is: the URL of its store, and the project's name.

    ``said`` has the given settings by name; those of other kinds of store are ignored. A location
    from ``reached`` also has the ``server``, if the URL does not name it, and all ``settings``, as
    its kind has resolved them.
    """

    url: str
    project: str
    said: Mapping[str, Any] = {}
    server: str = ""
    settings: Any = None

    @property
    def segment(self) -> str:
        """The part of a path or key that stands for the project."""
        from tclog.event import encode_name, validate_name

        return encode_name(validate_name("project", self.project))

    def digest(self, project_id: str = "") -> str:
        """Name what is remembered of this place: a copy elsewhere, with the same id, is another."""
        from tclog.event import digest

        words = (self.url, self.server, self.project, project_id)
        return digest("\n".join(words).encode())[:32]


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, "" for a folder."""
    scheme, found, _ = url.partition("://")
    return scheme if found else ""


def registered(url: str) -> Registered:
    """Return what the registry has about a store.

    Raises:
        UsageError: no kind of store has this scheme.
    """
    found = KINDS.get(scheme_of(url))
    if found is None:
        raise _no_store(url)
    return found


def kind_of(url: str) -> Kind:
    """Return the kind of a store.

    Raises:
        UsageError: no kind of store has this scheme.
    """
    from importlib import import_module

    kind: Kind = import_module(registered(url).module).KIND
    return kind


def check_folder(word: str) -> None:
    """Refuse a word that was meant to be a URL and would make a folder.

    Raises:
        UsageError: it begins with ``s3:``; such a folder can be given as ``./s3:``.
    """
    if word.partition(":")[0].lower() in KINDS.keys() - {""} and ":" in word:
        raise _no_store(word)


def _no_store(url: str) -> UsageError:
    forms = " nor ".join(kind.form for scheme, kind in KINDS.items() if scheme)
    return UsageError(
        f"{url} is neither a folder nor {forms}", code="bad-store", hint="tclog init --help"
    )


def reached(location: Location, environ: Mapping[str, str]) -> Location:
    """Return a location with the settings of the working folder and the environment filled in.

    What a machine remembers of a place is filed under this, and must not be used for another place.

    Raises:
        UsageError: the URL is of an unknown kind, or a setting is invalid.
    """
    known = {name for kind in KINDS.values() for name in kind.settings}
    unknown = sorted(location.said.keys() - known)
    if unknown:
        raise UsageError(f"no store has a setting {unknown[0]}", code="bad-config")
    return kind_of(location.url).reach(location, environ)


def open_store(
    location: Location, environ: Mapping[str, str] | None = None, *, create: bool = False
) -> Store:
    """Open the store of a project; nothing is read or written yet.

    Args:
        location: where it is, as ``reached`` returns it.
        environ: where credentials are looked up, if they are not in a file.
        create: whether what can be made without asking, a folder, is made by the first write.
    """
    return kind_of(location.url).open(location, environ or {}, create=create)


def check_there(location: Location, source: str) -> None:
    """Refuse a store whose folder is missing: its disk is not mounted, perhaps.

    Args:
        location: where it should be.
        source: what names it; ``flag`` for the words that were typed.

    Raises:
        StoreMissing: there is no such folder.
    """
    folder = kind_of(location.url).folder(location)
    if folder is None or os.path.isdir(folder):  # noqa: PTH112 - loading pathlib costs
        return
    if source == "flag":
        said, hint = "", to_run("ls -ld", folder)
    else:
        said, hint = f", the store from {source}", "tclog where"
    raise StoreMissing(f"there is no folder {folder}{said}", hint=hint)
