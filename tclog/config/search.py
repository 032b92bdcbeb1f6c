"""Where the project's file is: upwards from a folder, or in a git worktree's main checkout.

Invariant: a file that exists but cannot be read is an error. A search further up would find another
project. This module also checks owners (``strangers``): a file that another user has put above the
working folder must not choose where values and credentials go.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from stat import S_ISREG
from typing import Any, NamedTuple

from tclog.errors import ConfigNotYours, UsageError, to_run
from tclog.store import scheme_of

FOLDER = ".tclog"
FILE = "config.toml"
ROOT = 0
# The setting in the user's own file: folders whose file is trusted, whoever owns it.
TRUSTED = "trusted"
# What the file of another user may set. Its store must be a folder below its own folder.
HARMLESS = ("store", "project", "agent", "file.fsync")


class Place(NamedTuple):
    """A project's file, and the paths that led to it; their owners decide whether it is trusted.

    ``git`` is the ``.git`` file of the worktree whose main checkout has the project.
    """

    file: str
    git: str | None = None


def find(start: str, *, begin: bool = False) -> Place | None:
    """Find the project's file; ``begin`` is true for a command that sets up the folder ``start``.

    Raises:
        UsageError: a ``.tclog`` exists but cannot be read.
    """
    for folder in _upwards(start):
        if _is_set_up(folder, empty=begin and folder == start):
            return Place(file_in(folder))
        git = os.path.join(folder, ".git")
        main = _main_checkout(git)
        if main is None:
            continue
        for shared in _upwards(main):
            if _is_set_up(shared):
                return Place(file_in(shared), git)
        if not os.path.isdir(main):
            return None  # what it would have said is not known: its disk is not mounted, perhaps
    return None


def file_in(folder: str) -> str:
    """Return where the file of a project that is set up in a folder is."""
    return os.path.join(folder, FOLDER, FILE)


def folder_of(file: str) -> str:
    """Return the folder in which the project with this file is set up."""
    folder = os.path.dirname(file)
    return os.path.dirname(folder) if os.path.basename(folder) == FOLDER else folder


def strangers(place: Place, environ: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the paths on the way to a file that belong to another user, with that user.

    Root's files count as the user's own, and under ``sudo`` those of the caller.
    """
    ours = _ours(environ)
    names = (os.path.dirname(place.file), place.file)
    for path in names if place.git is None else (place.git, *names):
        for look in (os.lstat, os.stat):
            try:
                owner = look(path).st_uid
            except OSError as error:
                raise unreadable(path, error) from None
            if owner not in ours:
                yield path, owner


def _ours(environ: Mapping[str, str]) -> set[int]:
    ours = {_user(), ROOT}
    if _user() == ROOT and environ.get("SUDO_UID", "").isdecimal():
        ours.add(int(environ["SUDO_UID"]))
    return ours


def are_ours(environ: Mapping[str, str], *paths: str) -> bool:
    """Whether no path belongs to another user; raises OSError if a path is missing."""
    return all(os.lstat(path).st_uid in _ours(environ) for path in paths)


def git_folder(start: str) -> str | None:
    """Return the git folder of the working tree that a folder is in; a worktree has its own."""
    for folder in _upwards(start):
        git = os.path.join(folder, ".git")
        found = git if os.path.isdir(git) else _linked(git)
        if found is not None and os.path.isfile(os.path.join(found, "HEAD")):
            return found
    return None


def foreign(
    place: Place, environ: Mapping[str, str], user: Mapping[str, Any], user_file: str
) -> ConfigNotYours | None:
    """Return the error for a file of another user that this user does not trust, else None.

    Args:
        place: where the file was found.
        environ: says who called ``sudo``.
        user: the settings of the user's own file.
        user_file: where that is.

    Raises:
        ConfigNotYours: the link from a worktree to its main checkout is another user's.
    """
    trusted = user.get(TRUSTED, [])
    if not isinstance(trusted, list) or not all(isinstance(row, str) for row in trusted):
        raise UsageError(
            f"{TRUSTED} in {user_file} is not a list of folders",
            code="bad-config",
            hint=to_run("cat", user_file),
        )
    met: ConfigNotYours | None = None
    for path, owner in strangers(place, environ):
        linked = path == place.git
        folder = os.path.realpath(os.path.dirname(path) if linked else folder_of(place.file))
        if folder in (os.path.realpath(os.path.expanduser(row)) for row in trusted):
            continue
        import json

        line = f"{TRUSTED} = {json.dumps([*trusted, folder], ensure_ascii=False)}"
        met = met or ConfigNotYours(
            f"{path} belongs to {_name(owner)}; to trust it, add this line at the top of"
            f" {user_file}: {line}",
            hint=to_run("cat", path if linked else place.file),
            file=place.file,
            owner=owner,
            user_file=user_file,
            line=line,
        )
        if linked:
            raise met
    return met


def check_foreign(name: str, value: str, met: ConfigNotYours) -> None:
    """Refuse a setting that the file of another user may not have.

    Raises:
        ConfigNotYours: a setting that is not harmless, or a store outside the file's folder.
    """
    if name not in HARMLESS:
        met.message = f"refused to use {name} = {value}: {met.message}"
        raise met
    if name == "store":
        own = os.path.realpath(folder_of(met.details["file"]))
        store = os.path.realpath(os.path.join(own, os.path.expanduser(value)))
        if scheme_of(value) or not store.startswith(os.path.join(own, "")):
            met.message = f"refused to use the store {value}, not below {own}: {met.message}"
            raise met


def is_own(path: str) -> bool:
    """Whether a path belongs to this user."""
    try:
        return os.stat(path).st_uid == _user()
    except OSError:
        return False


def _user() -> int:
    """Return who owns this user's files; on Windows all files belong to 0."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _name(owner: int) -> str:
    """Name a user of this machine."""
    import pwd

    try:
        return f"{pwd.getpwuid(owner).pw_name} (uid {owner})"
    except KeyError:
        return f"uid {owner}"


def unreadable(path: str, error: OSError) -> UsageError:
    """Return the error for a file of settings that exists but cannot be read."""
    reason = str(error.strerror)
    if error.errno == errno.ENOENT:
        reason = "it is a link to a missing file or folder"
    return _unusable(path, f"cannot be read: {reason}")


def _upwards(folder: str) -> Iterator[str]:
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _is_set_up(folder: str, *, empty: bool = False) -> bool:
    """Whether a folder has a project's file; most have none, which costs one look.

    Args:
        folder: to look at.
        empty: whether its ``.tclog`` may be empty.
    """
    own, file = os.path.join(folder, FOLDER), file_in(folder)
    try:
        os.lstat(own)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(own, error) from None
    try:
        found = os.stat(file)
    except OSError as error:
        if error.errno == errno.ENOTDIR and os.path.exists(own) and not os.path.isdir(own):
            raise _unusable(own, "is not a folder") from None
        for path in (own, file):
            # A dangling link: to a disk that is not mounted, perhaps, or in a circle.
            if os.path.islink(path) and not os.path.exists(path):
                raise unreadable(path, error) from None
        if error.errno != errno.ENOENT:
            raise unreadable(file, error) from None
        if not empty:
            _refuse_empty(own)
        return False
    if not S_ISREG(found.st_mode):
        raise _unusable(file, "is not a file")
    return True


def _refuse_empty(own: str) -> None:
    """Refuse an empty folder, such as the mount point of a disk that is not mounted."""
    try:
        with os.scandir(own) as rows:
            empty = next(rows, None) is None
    except OSError as error:
        raise unreadable(own, error) from None
    if empty:
        raise UsageError(
            f"{own} is empty: is its disk not mounted? tclog init sets up a new project there",
            code="bad-config",
            hint=to_run("ls -ld", own),
        )


def _unusable(path: str, what: str) -> UsageError:
    return UsageError(
        f"{path} {what}", code="bad-config", hint=to_run("ls -ld", os.path.dirname(path))
    )


def _main_checkout(git: str) -> str | None:
    """Return the main checkout of the worktree whose ``.git`` file this is."""
    folder = _linked(git)
    above = os.path.dirname(folder or "")
    if os.path.basename(above) != "worktrees":
        return None
    return os.path.dirname(os.path.dirname(above))


def _linked(git: str) -> str | None:
    """Return the git folder that a ``.git`` file names.

    Raises:
        UsageError: it is a file, and this user may not read it.
    """
    if not os.path.isfile(git):
        return None
    try:
        with open(git, "rb") as file:
            word, _, target = file.read().decode().rstrip("\r\n").partition(": ")
        folder = os.path.realpath(os.path.join(os.path.dirname(git), target))
    except PermissionError as error:
        raise unreadable(git, error) from None
    except (OSError, ValueError):
        return None  # not what git writes: not UTF-8, a NUL, a circle of links
    return folder if word == "gitdir" else None
