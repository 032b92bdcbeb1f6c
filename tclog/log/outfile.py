"""Files that tclog writes for people: the one way in which all of them are written.

A file appears whole or not at all. Its mode, its owner and symbolic links to it stay the same. A
device, a pipe or a descriptor such as /dev/stdout gets the bytes as they come.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE, S_ISREG
from typing import IO

from tclog.errors import TclogError, UsageError, to_run

LINKS_MAX = 40
_ACL = "system.posix_acl_access"


def descriptor_of(path: str) -> int | None:
    """Return the open descriptor of a path such as /dev/stdout, None for other paths."""
    own = (f"/proc/{os.getpid()}/fd", "/dev/fd")
    for _ in range(LINKS_MAX):
        folder, name = os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path)
        if folder in own and name.isdecimal():
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def is_plain(path: str) -> bool:
    """Whether a path is a device or a pipe, which is written to and not replaced."""
    return descriptor_of(path) is not None or (os.path.exists(path) and not os.path.isfile(path))


@contextlib.contextmanager
def written(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file to write to, which replaces ``path`` when it is complete.

    After an error or an interrupt, ``path`` is unchanged.

    Args:
        path: a link stands for the file that it leads to, and stays.
        durable: whether it survives a power cut once this has returned.

    Raises:
        OSError: it cannot be written, or its owner could not be kept.
    """
    path = os.fspath(path)
    if is_plain(path):
        number = descriptor_of(path)
        handle = os.dup(number) if number is not None else os.open(path, os.O_WRONLY)
        with open(handle, "wb") as plain:
            yield plain
        return
    target = Path(os.path.realpath(path))
    before = target.stat() if os.path.lexists(target) else None
    mode = 0o666 if before is None else S_IMODE(before.st_mode) & 0o777
    # Names are limited in bytes, and a character has up to four. The number is drawn: a process of
    # the same id may have left such a file when it was killed.
    part = target.with_name(f".{target.name[:48]}.{os.urandom(4).hex()}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(handle, "wb") as file:
            if before is not None and S_ISREG(before.st_mode):
                _keep(handle, before, target)
            yield file
            file.flush()
            if durable:
                os.fsync(handle)
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _keep(handle: int, before: os.stat_result, target: Path) -> None:
    """Give a new file the owner, the rights and the mode of the one that it will replace."""
    now = os.fstat(handle)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(handle, before.st_uid, before.st_gid)
        except PermissionError:
            raise PermissionError(
                errno.EPERM, "it belongs to another user or group, and that could not be kept"
            ) from None
    if hasattr(os, "getxattr"):
        # With an access control list the bits of the group are only its mask.
        with contextlib.suppress(OSError):
            os.removexattr(handle, _ACL)
        with contextlib.suppress(OSError):
            os.setxattr(handle, _ACL, os.getxattr(target, _ACL))
    if hasattr(os, "fchmod"):  # on Windows not before Python 3.13
        os.fchmod(handle, S_IMODE(before.st_mode) & 0o777)


def unwritable(file: str | os.PathLike[str], error: OSError) -> TclogError:
    """Return the error for a file that cannot be written: a full disk, or missing rights."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    folder = Path(file).parent
    return TclogError(
        f"{os.fspath(file)} cannot be written: {error.strerror}",
        code="file-unwritable",
        hint=to_run("df -h", folder) if full else to_run("ls -ld", folder),
    )


def file_to_write(out: str, command: str, usual: str, *, into: bool = False) -> str:
    """Return the file that a command writes; refuse an unusable path before the work is done.

    Args:
        out: the path from the user; a link stands for its target.
        command: the words that go before the file, for hints.
        usual: a name that such a file has.
        into: whether a folder stands for the file of that name in it.

    Raises:
        UsageError: the path cannot be a file, or its folder does not exist.
    """
    # The functions of os.path say no where those of Path would raise.
    try:
        if os.path.isdir(out) and into:
            out = os.path.join(out, last_part(usual))
        if os.path.isdir(out):
            raise UsageError(
                f"{out} is a folder",
                code="file-unwritable",
                hint=to_run(f"tclog {command}", out.rstrip("/") + "/" + usual),
            )
        if is_plain(out):
            return out
        target = os.path.realpath(out)
        # What ends with a slash is meant to be a folder.
        parent = target if out.endswith("/") else os.path.dirname(target)
        if not os.path.isdir(parent):
            raise UsageError(
                f"there is no folder {parent}",
                code="folder-missing",
                hint=to_run("mkdir -p", parent),
            )
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{out!r} is not a path: {error}",
            code="file-unwritable",
            hint=to_run(f"tclog {command}", usual),
        ) from None
    return target


def last_part(name: str) -> str:
    """Return a file name for an artifact, whose name must not choose a folder here.

    Raises:
        UsageError: the artifact's name gives no file name.
    """
    last = os.path.basename(name)
    if last in ("", ".", ".."):
        raise UsageError(
            f"{name} gives no file name", hint=to_run("tclog artifact get", name, then="-o FILE")
        )
    return last
