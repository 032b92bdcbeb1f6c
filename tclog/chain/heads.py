"""Known heads: the newest version of each chain that this user's processes have seen.

A cache and nothing more: slots never change, nor does what became of a transaction, so a remembered
version is true for ever, and whether it is still the newest is always asked of the store (by
reading, or by creating, the slot after it). It may be deleted at any moment. Many processes may use
it: files are replaced whole, and one that does not decode is ignored. No version is kept whose
transaction has not ended.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Protocol

from tclog.clock import Hlc, HybridClock, Stamp, parse_hlc
from tclog.errors import TclogError
from tclog.event import ChainId, Version, decode_version, digest, slot_key

DENIAL_KEPT_S = 3600.0
# What one process remembers at most, as the store holds it; in memory it takes about three times
# as much. A process that lives long meets any number of chains.
KEPT_BYTES_MAX = 16 << 20


class Heads(Protocol):
    """Where known heads are kept between commands, and whether objects may be removed."""

    def get(self, chain: ChainId) -> Version | None:
        """Return the newest version known, or None."""

    def put(self, version: Version) -> None:
        """Remember a version, unless a newer one is known."""

    def may_remove(self) -> bool:
        """Return whether the store was not seen lately to deny the removal of an object."""

    def deny_removal(self) -> None:
        """Remember that it did."""


class MemoryHeads:
    """Known heads of one process: of the chains that it met last, up to ``KEPT_BYTES_MAX``."""

    def __init__(self) -> None:
        # In the order in which they were put.
        self._versions: dict[ChainId, Version] = {}
        self._kept_bytes = 0
        self._denied = False

    def get(self, chain: ChainId) -> Version | None:
        """See ``Heads``."""
        return self._versions.get(chain)

    def put(self, version: Version) -> None:
        """See ``Heads``."""
        known = self._versions.get(version.chain)
        if known is None or (known.seq, known.stored or "") <= (version.seq, version.stored or ""):
            self._forget(version.chain)
            self._versions[version.chain] = version
            self._kept_bytes += len(version.raw)
            while self._kept_bytes > KEPT_BYTES_MAX and len(self._versions) > 1:
                self._forget(next(iter(self._versions)))

    def _forget(self, chain: ChainId) -> None:
        gone = self._versions.pop(chain, None)
        self._kept_bytes -= 0 if gone is None else len(gone.raw)

    def may_remove(self) -> bool:
        """See ``Heads``."""
        return not self._denied

    def deny_removal(self) -> None:
        """See ``Heads``."""
        self._denied = True


class FileHeads(MemoryHeads):
    """Known heads of one user on one machine, for one project.

    Args:
        folder: a folder of its own under the user's cache; made when first needed.
        exists: whether the store still has an object; asked of a remembered slot where that costs
            nothing (a folder), so that a store which was set back to a backup is noticed.
    """

    def __init__(
        self, folder: str | os.PathLike[str], exists: Callable[[str], bool] | None = None
    ) -> None:
        super().__init__()
        self._folder = os.fspath(folder)
        self._denial = f"{self._folder}/denied-removal"
        self._exists = exists

    def get(self, chain: ChainId) -> Version | None:
        """See ``Heads``."""
        known = super().get(chain)
        if known is not None:
            return known
        raw = _read(self._path(chain))
        line, found, body = (raw or b"").partition(b"\n")
        if not found:
            return None
        try:
            seq, stored, verdict, _ = line.decode().split(" ")
            version = decode_version(
                body, chain=chain, seq=int(seq), stored=Stamp(stored) if stored != "-" else None
            )
            if version.txn is not None:
                version = version.judged(aborted=verdict == "aborted")
        except (ValueError, TclogError):
            return None
        if line != _line(version):
            return None  # believed, it would be named as the version before the next
        if self._exists is not None and not self._exists(slot_key(chain, version.seq)):
            return None
        super().put(version)
        return version

    def put(self, version: Version) -> None:
        """See ``Heads``."""
        before = super().get(version.chain)
        super().put(version)
        if super().get(version.chain) is not version:
            return
        if before is None or before.seq < version.seq or before.stored != version.stored:
            replace_cached(self._path(version.chain), _line(version) + b"\n" + version.raw)

    def may_remove(self) -> bool:
        """See ``Heads``. After an hour it is tried again: permissions change."""
        try:
            age_s = time.time() - os.stat(self._denial).st_mtime  # noqa: PTH116 - as in _read
        except OSError:
            return super().may_remove()
        return age_s > DENIAL_KEPT_S

    def deny_removal(self) -> None:
        """See ``Heads``."""
        super().deny_removal()
        replace_cached(self._denial, b"")

    def _path(self, chain: ChainId) -> str:
        return f"{self._folder}/heads/{digest(chain.encode())[:32]}"


def _line(version: Version) -> bytes:
    """Return the first line of a head's file: what stands beside the bytes, and a check of all."""
    verdict = {None: "-", True: "aborted", False: "committed"}[version.aborted]
    known = f"{version.seq} {version.stored or '-'} {verdict}"
    return f"{known} {digest(f'{known} {version.id}'.encode())[:32]}".encode()


class ClockFile:
    """An agent's clock between processes: the last stamp and the offset towards the store's clock.

    Disposable like the heads. The text is ``HLC OFFSET_US LEARNT_US EPOCH_US`` (see ``Client`` for
    the last two); a zero for ``LEARNT_US`` means that the offset was never learnt.
    """

    def __init__(self, folder: str | os.PathLike[str], agent: str) -> None:
        self._path = f"{os.fspath(folder)}/clocks/{digest(agent.encode())[:32]}"

    def read(self) -> tuple[Hlc | None, int, int, int]:
        """Return the last stamp (or None), the offset, when it was learnt, and the epoch."""
        try:
            last, offset, learnt, epoch = (_read(self._path) or b"").decode().split(" ")
            parse_hlc(last)
            return Hlc(last), int(offset), int(learnt), int(epoch)
        except ValueError:
            return None, 0, 0, 0

    def write(self, clock: HybridClock, learnt_us: int, epoch_us: int) -> None:
        """Remember a clock, merged with what other processes of the agent have written meanwhile.

        Of two offsets the one that was learnt later stays.
        """
        last, *known = self.read()
        clock.observe(last or "")
        mine = [clock.offset_us, learnt_us, epoch_us]
        offset_us, learnt_us, epoch_us = known if known[1] > learnt_us else mine
        text = f"{clock.last} {offset_us} {learnt_us} {epoch_us}"
        replace_cached(self._path, text.encode())


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs on the hot path
            return file.read()
    except OSError:
        return None


def replace_cached(path: str, data: bytes) -> None:
    """Replace a cache file whole; a cache that cannot be written is no cache, not an error."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
        os.rename(temporary, path)  # noqa: PTH104 - as above
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
