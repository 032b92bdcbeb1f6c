"""Folders of several users: the permissions of a store's files and folders.

A store is shared if its folder is group-writable or setgid. Then the group may read and write each
of its files and folders, and the umask of a process does not matter. Otherwise one command under
077 would close chains to all other users for good. Other users may read if they may read the
store's folder, and never write. In other folders the umask decides.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

_FILE = 0o660
_FOLDER = 0o2770
_READ = 0o004
_ENTER = 0o005


class Modes(NamedTuple):
    """The permissions of a shared store's files and folders, and their group."""

    file: int
    folder: int
    group: int


def modes_of(root: str) -> Modes | None:
    """Return the modes of a store, or None if it is not shared.

    If the store does not exist yet, the folder around it decides.
    """
    if not hasattr(os, "chown"):
        return None  # on Windows, where every folder looks open to its group
    for folder in (root, os.path.dirname(root)):
        try:
            found = os.stat(folder)
        except OSError:
            continue
        if found.st_mode & (stat.S_IWGRP | stat.S_ISGID):
            others = found.st_mode
            return Modes(_FILE | others & _READ, _FOLDER | others & _ENTER, found.st_gid)
        return None
    return None


def adopt(name: str | int, mode: int, group: int) -> None:
    """Set the mode and group of this user's own file or folder, or of an open file.

    On a file system without them, or for a user outside the group, this changes nothing.
    """
    with contextlib.suppress(OSError):
        found = os.stat(name)
        if found.st_gid != group:
            os.chown(name, -1, group)
        if stat.S_IMODE(found.st_mode) != mode or found.st_gid != group:
            os.chmod(name, mode)


def make_folder(folder: str, temporary: str, modes: Modes) -> None:
    """Make a folder that is open to the group from the start; it may exist already.

    If it were opened only after it was made, another process could be denied in between.
    """
    os.mkdir(temporary)
    try:
        adopt(temporary, modes.folder, modes.group)
        os.rename(temporary, folder)  # replaces an empty folder that another process made
    except OSError:
        os.rmdir(temporary)
        if not os.path.isdir(folder):
            raise


def share(root: str, *outer: str) -> list[str]:
    """Open a store's folder, and all in it, to its group.

    Args:
        root: the folder, which exists.
        outer: the folders around it, the nearest first, and files beside it: made readable only.

    Returns:
        Paths of other users that stayed closed to the group.
    """
    group = os.stat(root).st_gid
    adopt(root, _FOLDER, group)
    modes = modes_of(root)
    if modes is None:
        return [root]
    closed = []
    for path, is_folder in _below(root):
        mode = modes.folder if is_folder else modes.file
        adopt(path, mode, group)
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
            if found.st_mode & 0o070 != mode & 0o070 or found.st_gid != group:
                closed.append(path)
    for path in outer:
        with contextlib.suppress(OSError):
            mode = os.stat(path).st_mode
            wanted = stat.S_IMODE(mode) | (0o050 if stat.S_ISDIR(mode) else 0o040)
            # Its owner trusts such a file, so nobody else may write it.
            adopt(path, wanted if stat.S_ISDIR(mode) else wanted & ~0o022, group)
    return closed


def group_of(path: str) -> str:
    """Return the name of a path's group."""
    import grp

    group = os.stat(path).st_gid
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def _below(folder: str) -> Iterator[tuple[str, bool]]:
    """Yield files and folders, without links: their targets are not the store's."""
    for above, folders, files in os.walk(folder):
        for names, is_folder in ((folders, True), (files, False)):
            for name in names:
                path = os.path.join(above, name)
                if not os.path.islink(path):
                    yield path, is_folder
