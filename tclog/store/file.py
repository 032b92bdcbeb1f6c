"""The embedded default: a store in a folder, for any number of processes, without lock files.

A write goes to a temporary file in the same file system, is fsynced, then gets its name: ``link``
for a create and a keep (it fails if the name exists, and that is the whole consensus), ``rename``
for a put; then the folder is fsynced, and only then the temporary name goes. So no reader ever sees
half an object, and a kill at any moment leaves at most a temporary name.

Nothing survives a power cut that loses what it depends on. An object that still has a second name
is not known by its writer to be on the disk, so its reader fsyncs its folder first. Otherwise a
reader could report a version as committed, or build on it in another folder, and then the power
cut would take it back.

On a file system that ignores case, every upper-case letter of a key is written as ``^`` and its
lower-case form, so that ``A`` and ``a`` stay apart; ``^`` is in no key.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tclog.clock import Stamp, stamp
from tclog.errors import (
    BadName,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreUnfit,
    StoreUnreachable,
    to_run,
)
from tclog.store.base import Created, Entry, Found, Kind, Outcome, Store, refuse_other
from tclog.store.reader import CHUNK_BYTES, CheckedReader
from tclog.store.shared import adopt, make_folder, modes_of

if TYPE_CHECKING:
    from pathlib import Path

    from tclog.store import Location
    from tclog.store.probe import Fact

TEMPORARY = ".tmp"
# When ``doctor`` counts a temporary file as left behind.
LEFTOVER_AGE_S = 86_400
PROBE = "probe-"
# Windows opens no folder, so that none can be fsynced; and files as text, unless told otherwise.
WINDOWS = os.name == "nt"
BINARY = getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
# Devices, whatever follows the dot; and names of which Windows drops the last dot.
_RESERVED = re.compile(r"(?i)(^|/)(con|prn|aux|nul|com\d|lpt\d)(?=[./]|$)|\.(?=/|$)")
# A folder is no object, though both are files to the kernel.
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# After these a name may have been given all the same: an NFS server's answer was lost.
_UNTOLD = (errno.EIO, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT)
# What these tell of is no file: a socket, or a link to itself. As an object it holds nothing.
_NO_FILE = (errno.ENXIO, errno.ELOOP)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class FileStore(Store):
    """A folder as a store.

    Args:
        root: the folder.
        create: make the folder on the first write. Without it a store that was removed under a
            running process is missing, and not begun anew with what that process writes next.
        fsync: whether writes reach the disk before they are acknowledged. Without it a process
            may die at any time and nothing acknowledged is lost, but a power cut may lose some.
        ignores_case: whether the file system does; found out when None.
    """

    local = True
    # The kernel stamps files with its coarse clock: one tick is at most 10 ms.
    resolution_us = 10_000

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        create: bool = True,
        fsync: bool = True,
        ignores_case: bool | None = None,
    ) -> None:
        self._root = os.fspath(root)
        self._create = create
        self._fsync = fsync
        self._ignores_case = ignores_case
        self._made: set[str] = set()
        # What the names of this process's temporary files begin with, and how many it has made.
        self._mine = (0, "")
        self._count = itertools.count()
        # For each folder the time up to which its names are known to be on the disk, by the
        # machine's clock; and by how much that has been ahead of the clock that nobody sets.
        self._confirmed: dict[str, int] = {}
        self._ahead_ns = 0
        self._seen = False
        self.url = self._root

    # -- reading ------------------------------------------------------------------------------

    def get(self, key: str) -> Found | None:
        """See ``Store``."""
        path = self._path(key)
        try:
            with open(path, "rb", opener=_open) as file:
                status = os.fstat(file.fileno())
                data = file.read() if stat.S_ISREG(status.st_mode) else b""
                found = Found(data, _stamp(status))
            self._confirm(path, status)
        except _ABSENT:
            self._check_there()
            return None
        except OSError as error:
            status = self._no_file(error, key)
            found = Found(b"", _stamp(status))
        self._seen = True
        return found

    def _no_file(self, error: OSError, key: str) -> os.stat_result:
        """Return what is told of something that has a key's name and is no file.

        Raises:
            StoreError: the error tells of something else.
        """
        if error.errno in _NO_FILE:
            with contextlib.suppress(OSError):
                return os.lstat(self._path(key))  # a folder above may be such a link, too
        raise self._error(error, f"cannot read {key}") from error

    def _check_there(self) -> None:
        """Refuse to call an object absent when it is the whole store that has gone away."""
        if self._seen and not os.path.isdir(self._root):  # noqa: PTH112 - as above
            raise StoreMissing(f"the folder {self._root} is not there any more", hint="tclog where")

    def stat(self, key: str) -> Entry | None:
        """See ``Store``."""
        path = self._path(key)
        try:
            found = os.stat(path)  # noqa: PTH116 - as above
            if stat.S_ISDIR(found.st_mode):
                return None
            self._confirm(path, found)
        except _ABSENT:
            self._check_there()
            return None
        except OSError as error:
            found = self._no_file(error, key)
        return Entry(key, found.st_size, _stamp(found))

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        try:
            if folders:
                with os.scandir(self._path(prefix)) as rows:
                    names = list(self._unfold(row.name for row in rows if _is_folder(row)))
                keys = sorted(f"{prefix}/{name}/" for name in names)
                return [Entry(key) for key in keys if key > after][:limit]
            entries: list[Entry] = []
            for key in self._walk(prefix, after):
                found = self.stat(key)
                if found is not None:
                    entries.append(found)
                    if len(entries) == limit:
                        break
        except (FileNotFoundError, NotADirectoryError):
            self._check_there()
            return []
        except OSError as error:
            self._no_file(error, prefix)
            return []
        return entries

    def _walk(self, folder: str, after: str) -> Iterator[str]:
        # A folder sorts where its name with a slash would, as in a bucket's flat listing.
        with os.scandir(self._path(folder)) as rows:
            names = sorted(self._unfold(f"{row.name}{'/' * _is_folder(row)}" for row in rows))
        for name in names:
            key = f"{folder}/{name}"
            if not name.endswith("/"):
                if key > after:
                    yield key
            elif key > after or after.startswith(key):
                yield from self._walk(key[:-1], after)

    def get_file(self, key: str) -> Iterator[bytes] | None:
        """See ``Store``."""
        try:
            file = open(self._path(key), "rb", opener=_open)  # noqa: SIM115 - the generator closes it
        except _ABSENT:
            return None
        except OSError as error:
            self._no_file(error, key)
            return iter(())

        def pieces() -> Iterator[bytes]:
            with file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return  # some devices never end
                while data := file.read(CHUNK_BYTES):
                    yield data

        return pieces()

    # -- writing ------------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``."""
        temporary = ""
        try:
            temporary = self._temporary()
            stored = self._write(temporary, data)
            self._replace(temporary, self._path(key))
        except OSError as error:
            raise self._error(error, f"cannot write {key}") from error
        except KeyboardInterrupt:
            _discard(temporary)
            raise
        return stored

    def keep(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``."""
        created = self.create(key, data)
        if created.outcome is Outcome.WON:
            return created.stored
        found = self.get(key)
        if found is None:
            raise StoreUnreachable(f"cannot write {key}: {created.cause}", hint="dmesg")
        refuse_other(key, same=found.data == data)
        return found.stored

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``."""
        temporary = ""
        try:
            temporary = self._temporary()
            path = self._path(key)
            # Who comes late need not write, and flush, what will be thrown away.
            if os.path.lexists(path):
                return _there(path)
            stored = self._write(temporary, data)
            failed = self._name(temporary, path)
        except OSError as error:
            raise self._error(error, f"cannot write {key}") from error
        except KeyboardInterrupt:
            _discard(temporary)
            raise
        return failed or Created(Outcome.WON, stored)

    def _name(self, temporary: str, path: str) -> Created | None:
        """Give a temporary file its name if it is free; return what is known if it may not be."""
        try:
            self._make_folder(os.path.dirname(path))  # noqa: PTH120 - as above
            failed = self._link(temporary, path)
        except BaseException:
            _unlink(temporary)
            raise
        if failed is not None:
            # If it may have its name, the second one stays, as below.
            if failed.outcome is not Outcome.UNKNOWN:
                _unlink(temporary)
            return failed
        try:
            self._sync_folder(path)
        except OSError as error:
            # The second name stays: what the disk did not confirm, a read-back has to.
            return Created(Outcome.UNKNOWN, cause=f"{error.strerror} while writing {path}")
        _unlink(temporary)
        return None

    def _replace(self, temporary: str, path: str) -> None:
        """Give a temporary file its name, whether or not another has it."""
        moved = temporary
        try:
            self._make_folder(os.path.dirname(path))  # noqa: PTH120 - as above
            if self._fsync:
                self._link(temporary, moved := f"{temporary}-put")
            os.replace(moved, path)  # noqa: PTH105 - as above
        except BaseException as error:
            _unlink(moved)
            # If it may have its name, the second one stays, as in ``create``.
            if not isinstance(error, OSError) or error.errno not in _UNTOLD:
                _unlink(temporary)
            raise
        try:
            self._sync_folder(path)
        except OSError as error:
            raise StoreUnreachable(
                f"{path} has its name, but the disk does not confirm it: {error.strerror}",
                hint="dmesg",
            ) from error
        if self._fsync:
            _unlink(temporary)

    def _link(self, temporary: str, path: str) -> Created | None:
        """Give a file a further name; return what is known if it may not have got it."""
        try:
            os.link(temporary, path)
        except OSError as error:
            # NFS may repeat a link whose reply was lost and then report its own success as a
            # conflict; that both names are one file tells the truth. How many names the file has
            # does not: a backup by hard links gives it some.
            with contextlib.suppress(OSError):
                if os.path.samefile(temporary, path):  # noqa: PTH121 - as above
                    return None
            if error.errno == errno.EEXIST:
                return _there(path)
            if error.errno in _UNTOLD:
                return Created(Outcome.UNKNOWN, cause=f"{error.strerror} while writing {path}")
            if error.errno in _NO_LINKS and not _can_link(temporary):
                raise StoreUnfit(
                    f"the file system of {self._root} has no hard links, and tclog's only atomic"
                    f" step is link(2): {error.strerror}",
                    hint="tclog init --help",
                ) from error
            raise
        return None

    def delete(self, *keys: str) -> None:
        """See ``Store``."""
        for key in keys:
            self._delete(key)

    def _delete(self, key: str) -> None:
        try:
            os.unlink(self._path(key))  # noqa: PTH108 - as above
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error(error, f"cannot delete {key}") from error
        if key.startswith(PROBE):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self._path(key)))  # noqa: PTH106, PTH120 - as above

    def put_file(
        self, key: str, path: Path, digest: str, progress: Callable[[int], None] | None
    ) -> None:
        """See ``Store``."""
        temporary = ""
        try:
            from blake3 import blake3

            temporary = self._temporary()
            try:
                with (
                    CheckedReader(path, digest, progress) as source,
                    open(temporary, "xb", opener=self._opener) as out,
                ):
                    while data := source.read(CHUNK_BYTES):
                        out.write(data)
                    out.flush()
                    if self._fsync:
                        os.fsync(out.fileno())
            except BaseException:
                _unlink(temporary)
                raise
            failed = self._name(temporary, self._path(key))
        except OSError as error:
            raise self._error(error, f"cannot write {key}") from error
        except KeyboardInterrupt:
            _discard(temporary)
            raise
        if failed is None:
            return
        # Opened anew, what has a second name reaches the disk first.
        there = self.stat(key) and self.get_file(key)
        if there is None:
            raise StoreUnreachable(f"cannot write {key}: {failed.cause}", hint="dmesg")
        hasher = blake3()
        for piece in there:
            hasher.update(piece)
        refuse_other(key, same=hasher.hexdigest() == digest)

    def _temporary(self) -> str:
        folder = f"{self._root}/{TEMPORARY}"
        if folder not in self._made:
            self._make_folder(folder)
        pid, mine = self._mine
        if pid != os.getpid():
            pid = os.getpid()
            mine = f"{folder}/{pid}-{os.urandom(8).hex()}"
            self._mine = pid, mine
        return f"{mine}-{next(self._count)}"

    def _write(self, temporary: str, data: bytes) -> Stamp:
        handle = self._opener(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
                if self._fsync:
                    os.fsync(handle)
                stored = _stamp(os.fstat(handle))
            finally:
                os.close(handle)
        except BaseException:
            _unlink(temporary)
            raise
        return stored

    def _opener(self, temporary: str, flags: int) -> int:
        """Open a new file, for the group too if this store is shared."""
        handle = os.open(temporary, flags, 0o666)
        modes = modes_of(self._root)
        if modes is not None:
            adopt(handle, modes.file, modes.group)
        return handle

    def _mkdir(self, folder: str) -> None:
        modes = None
        if folder == self._root or folder.startswith(f"{self._root}/"):
            modes = modes_of(self._root)
        temporary = f"{self._root}/{TEMPORARY}"
        if modes is None:
            os.mkdir(folder)  # noqa: PTH102 - as above
        elif folder in (self._root, temporary):
            # Made by the process that creates the store, before others write there.
            os.mkdir(folder)  # noqa: PTH102 - as above
            adopt(folder, modes.folder, modes.group)
        elif not os.path.isdir(folder):  # noqa: PTH112 - as above
            make_folder(folder, self._temporary(), modes)

    def _make_folder(self, folder: str) -> None:
        """Make a folder of the store, and see that its name is on the disk.

        Also where it is there already: its maker may not have come to its fsync yet, and what is
        acknowledged in it must not vanish with it. Once for each folder and process. The
        store's own folder, and those above it, concern only the process that begins the store.
        """
        if folder in self._made:
            return
        inside = folder.startswith(f"{self._root}/")
        there = not inside and os.path.isdir(folder)  # noqa: PTH112 - as above
        if folder == self._root and not there and not self._create:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        above = os.path.dirname(folder)  # noqa: PTH120 - as above
        if not there:
            self._make_folder(above)
            with contextlib.suppress(FileExistsError):
                self._mkdir(folder)
            self._sync_folder(folder)
        elif self._create and above != folder:
            self._make_folder(above)
            # A folder above may be one that this user cannot read, and did not make.
            with contextlib.suppress(OSError):
                self._sync_folder(folder)
        self._made.add(folder)

    def _sync_folder(self, path: str) -> None:
        if not self._fsync or WINDOWS:
            return
        handle = os.open(os.path.dirname(path) or ".", os.O_RDONLY)  # noqa: PTH120 - as above
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _confirm(self, path: str, found: os.stat_result) -> None:
        """Bring to the disk the name of what its writer has not seen there yet.

        A backup by hard links also gives second names, to all there is: so once for each folder.
        """
        if found.st_nlink == 1:
            return
        folder = os.path.dirname(path)  # noqa: PTH120 - as above
        ahead_ns = time.time_ns() - time.monotonic_ns()
        if ahead_ns < self._ahead_ns - self.resolution_us * 1000:
            # The clock was set back: what is new since looks older than what was confirmed.
            self._confirmed.clear()
            self._ahead_ns = ahead_ns
        self._ahead_ns = max(ahead_ns, self._ahead_ns)
        if found.st_ctime_ns >= self._confirmed.get(folder, 0):
            begun_ns = time.time_ns() - self.resolution_us * 1000
            self._sync_folder(path)
            self._confirmed[folder] = begun_ns

    # -- names --------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        if WINDOWS and _RESERVED.search(key):
            raise BadName(f"Windows allows no file with the name of the object {key}")
        return f"{self._root}/{self._fold(key)}"

    def _fold(self, key: str) -> str:
        if not self._folds():
            return key
        return "".join([f"^{c.lower()}" if "A" <= c <= "Z" else c for c in key])

    def _unfold(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the keys' names for these file names, without those that no key has."""
        if not self._folds():
            yield from names
            return
        for name in names:
            head, *rest = name.split("^")
            key = head + "".join(part[:1].upper() + part[1:] for part in rest)
            if self._fold(key) == name:
                yield key

    def _folds(self) -> bool:
        if self._ignores_case is None:
            # The temporary folder has a lower-case name in any store; if it also answers to the
            # upper-case one, the file system ignores case.
            if not os.path.isdir(f"{self._root}/{TEMPORARY}"):  # noqa: PTH112 - as above
                return False  # nothing was ever written here
            self._ignores_case = os.path.exists(f"{self._root}/{TEMPORARY.upper()}")  # noqa: PTH110
        return self._ignores_case

    def _error(self, error: OSError, what: str) -> StoreError:
        reason = error.strerror or str(error)
        text = f"{what} in {self._root}: {reason}"
        if error.errno == errno.EXDEV:
            return StoreUnfit(
                f"{what} in {self._root}: its folder is on another disk than {TEMPORARY}, where"
                " tclog writes first; link(2) cannot cross disks",
                hint=to_run("df", self._root),
            )
        if error.errno in _FULL:
            return StoreFull(text, hint=to_run("df -h", self._root))
        if error.errno in _DENIED:
            return StoreDenied(text, hint=to_run("ls -ld", self._root))
        if error.errno == errno.EISDIR and error.filename:
            return StoreError(text, hint=to_run("ls -ld", error.filename))
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            return StoreMissing(text, hint="tclog where")
        if error.errno in _UNTOLD:
            return StoreUnreachable(text, hint="dmesg")
        return StoreError(text, hint="tclog doctor")


def _open(path: str, flags: int) -> int:
    """Open a file; whoever opens a pipe does not wait for its other end."""
    return os.open(path, flags | _AT_ONCE)


def _there(path: str) -> Created:
    """Return that a name is taken; refuse a folder there, which can never be read as an object."""
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - as above
        raise IsADirectoryError(errno.EISDIR, "a folder has its name", path)
    return Created(Outcome.EXISTS, cause="the object exists")


def _is_folder(row: os.DirEntry[str]) -> bool:
    """Whether a name is a folder's. A link is none: it may lead in a circle."""
    return row.is_dir(follow_symlinks=False)


def _stamp(found: os.stat_result) -> Stamp:
    return stamp(found.st_mtime_ns // 1000)


def _can_link(temporary: str) -> bool:
    """Tell a file system without hard links from a folder that may not be changed."""
    try:
        os.link(temporary, f"{temporary}-link")
    except OSError:
        return False
    _unlink(f"{temporary}-link")
    return True


def _discard(temporary: str) -> None:
    """Remove a file after an interrupt, which may come just before or after it is made.

    A file that already has its final name keeps the temporary one: the disk may not have it yet.
    """
    with contextlib.suppress(OSError):
        if os.stat(temporary).st_nlink == 1:  # noqa: PTH116 - as above
            os.unlink(temporary)  # noqa: PTH108 - as above


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - as above
    except OSError:
        # A temporary file that cannot be removed harms nothing; `doctor` clears old ones.
        return


# -- the kind -------------------------------------------------------------------------------------


class Folders(Kind):
    """Stores in folders, each project in a folder of its own."""

    def reach(self, location: Location, environ: Mapping[str, str]) -> Location:  # noqa: ARG002
        """See ``Kind``."""
        from tclog.store import check_folder

        check_folder(location.url)
        return location._replace(url=os.path.abspath(location.url))  # noqa: PTH100 - keeps links

    def open(
        self,
        location: Location,
        environ: Mapping[str, str],  # noqa: ARG002
        *,
        create: bool,
    ) -> Store:
        """See ``Kind``."""
        root = os.path.join(os.path.abspath(location.url), location.segment)  # noqa: PTH100, PTH118
        return FileStore(root, create=create, fsync=location.said.get("fsync", True))

    def open_outer(self, location: Location, environ: Mapping[str, str]) -> Store:  # noqa: ARG002
        """See ``Kind``."""
        return FileStore(os.path.abspath(location.url), create=False)  # noqa: PTH100 - as above

    def folder(self, location: Location) -> str | None:
        """See ``Kind``."""
        return location.url

    def facts(
        self,
        location: Location,
        environ: Mapping[str, str],  # noqa: ARG002
        *,
        fit: bool,  # noqa: ARG002
    ) -> Sequence[Fact]:
        """See ``Kind``."""
        from tclog.store.probe import Fact

        old = time.time() - LEFTOVER_AGE_S
        try:
            rows = list(os.scandir(f"{location.url}/{location.segment}/{TEMPORARY}"))
        except OSError:
            rows = []
        count = sum(row.stat().st_mtime < old for row in rows)
        return [Fact("temporary files", f"{count} left by killed processes, older than a day")]


KIND = Folders()
