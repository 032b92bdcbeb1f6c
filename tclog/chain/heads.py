"""Known heads: the newest version of each chain that this user's processes have seen.

A cache: slots never change, nor does what became of a transaction, so a remembered version is true
for as long as the store is the same; whether it is still the newest is always asked of the store
(by reading, or by creating, the slot after it). A store may be set back to an older copy, though.
So a remembered version is compared with the store by its bytes (``tclog.chain.trust``): in a folder
whenever it is used, in a bucket once a minute and project by the newest that is remembered. It is
never replaced by another version of its number: what does not fit is evidence.

Many processes may use it: files are replaced whole, and one that does not decode is ignored. No
version is kept whose transaction has not ended. Deleting it costs requests and the evidence.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from tclog.clock import Hlc, HybridClock, Stamp, parse_hlc
from tclog.errors import Damaged, TclogError
from tclog.event import ChainId, Version, decode, decode_version, digest, slot_key
from tclog.store.base import Found

DENIAL_KEPT_S = 3600.0
LOOK_EVERY_S = 60.0
# Beside ``heads/``: the chain with the newest version, and when the store was asked for that last.
NEWEST = "newest"
LOOKED = "looked"
# The result of the last trial of the store: empty, or the time when it failed.
FIT = "fit"
FIT_KEPT_S = 86_400.0
# What one process remembers at most, as the store holds it; in memory it takes about three times
# as much. A process that lives long meets any number of chains.
KEPT_BYTES_MAX = 16 << 20
# Below the project's folder: the clocks of this machine's agents, and which other agents were seen.
CLOCKS = "clocks"
ACTED = "acted"
# How many heads are searched for names, and how much of each: names are at its beginning.
REMEMBERED_MAX = 4_000
BEGINNING_BYTES = 2_048

Read = Callable[[str], Found | None]


class Heads(Protocol):
    """Where known heads are kept between commands, and whether objects may be removed.

    ``local``: remembered versions are compared with the store whenever they are used.
    """

    local: bool

    def get(self, chain: ChainId) -> Version | None:
        """Return the newest version known, or None.

        Raises:
            Forked, RolledBack: ``local``, and the store does not hold it.
        """

    def put(self, version: Version) -> None:
        """Remember a version, unless a newer one is known.

        Raises:
            Forked: another version of its number is known.
        """

    def where(self, chain: ChainId) -> str:
        """Return the file that holds the bytes of a known version below a line, "" for none."""

    def witness(self) -> Version | None:
        """Return the newest version that is remembered of the project, unless ``local``."""

    def due(self, now_s: float) -> Sequence[Version]:
        """Return what the store must hold, if it was not asked within ``LOOK_EVERY_S``.

        That is the witness, and the head of the chain that had the witness at the look before:
        what others wrote since may have moved the witness past a loss.
        """

    def looked(self, now_s: float, *, found: bool) -> None:
        """Remember that the store was asked for them; not ``found``: without an answer."""

    def remembered(self) -> Iterator[tuple[ChainId, Sequence[str]]]:
        """Yield known chains, each with agents that wrote to it; sends no request."""

    def acted(self, agent: str) -> bool:
        """Return whether this machine has seen an agent act in the project."""

    def remember_agent(self, agent: str) -> None:
        """Remember that it has."""

    def may_remove(self) -> bool:
        """Return whether the store was not seen lately to deny the removal of an object."""

    def deny_removal(self) -> None:
        """Remember that it did."""

    def fitness(self, now_s: float) -> str | None:
        """Return when the store was seen to be unfit, "" if it is fit, None to try it again."""

    def keep_fitness(self, now_s: float, unfit: str) -> None:
        """Remember the result of a trial; see ``fitness``."""


class MemoryHeads:
    """Known heads of one process: of the chains that it met last, up to ``KEPT_BYTES_MAX``.

    Args:
        read: reads an object where that costs nothing (a folder); makes the heads ``local``.
    """

    def __init__(self, read: Read | None = None) -> None:
        self.local = read is not None
        self._read = read
        # In the order in which they were put.
        self._versions: dict[ChainId, Version] = {}
        self._kept_bytes = 0
        self._denied = False
        self._acted: set[str] = set()
        # Stamp and chain of the newest version, and when the store was asked for it last.
        self._newest: tuple[str, ChainId] | None = None
        self._looked_s = -LOOK_EVERY_S
        # The chain that had the newest version at that look.
        self._looked: ChainId | None = None
        self._tried: tuple[float, str] | None = None

    def get(self, chain: ChainId) -> Version | None:
        """See ``Heads``."""
        known = self._known(chain)
        if known is not None and self._read is not None:
            found = self._read(slot_key(chain, known.seq))
            if found is None or found.data != known.raw:
                raise _difference(known, found)
        return known

    def _known(self, chain: ChainId) -> Version | None:
        return self._versions.get(chain)

    def put(self, version: Version) -> None:
        """See ``Heads``."""
        known = self._versions.get(version.chain)
        if known is not None and known.seq == version.seq and known.id != version.id:
            raise _difference(known, Found(version.raw, version.stored or Stamp("")))
        if known is None or (known.seq, known.stored or "") <= (version.seq, version.stored or ""):
            self._forget(version.chain)
            self._versions[version.chain] = version
            self._kept_bytes += len(version.raw)
            while self._kept_bytes > KEPT_BYTES_MAX and len(self._versions) > 1:
                self._forget(next(iter(self._versions)))
            if not self.local and (self._newest is None or self._newest[0] <= version.at):
                self._looked = self._looked or version.chain
                self._newest = version.at, version.chain

    def _forget(self, chain: ChainId) -> None:
        gone = self._versions.pop(chain, None)
        self._kept_bytes -= 0 if gone is None else len(gone.raw)

    def where(self, chain: ChainId) -> str:  # noqa: ARG002 - as ``Heads`` says
        """See ``Heads``."""
        return ""

    def witness(self) -> Version | None:
        """See ``Heads``."""
        return None if self._newest is None else self._known(self._newest[1])

    def due(self, now_s: float) -> Sequence[Version]:
        """See ``Heads``."""
        if self.local or now_s - self._looked_s < LOOK_EVERY_S:
            return ()
        witness = self.witness()
        if witness is None:
            self._looked_s = now_s  # what is put from now on was seen since
            return ()
        before = None if self._looked in (None, witness.chain) else self._known(self._looked)
        return (witness,) if before is None else (witness, before)

    def looked(self, now_s: float, *, found: bool) -> None:
        """See ``Heads``."""
        self._looked_s = now_s
        if found and self._newest is not None:
            self._looked = self._newest[1]

    def remembered(self) -> Iterator[tuple[ChainId, Sequence[str]]]:
        """See ``Heads``."""
        for chain, version in list(self._versions.items()):
            yield chain, [event.agent for event in version.events]

    def acted(self, agent: str) -> bool:
        """See ``Heads``."""
        return agent in self._acted

    def remember_agent(self, agent: str) -> None:
        """See ``Heads``."""
        self._acted.add(agent)

    def may_remove(self) -> bool:
        """See ``Heads``."""
        return not self._denied

    def deny_removal(self) -> None:
        """See ``Heads``."""
        self._denied = True

    def fitness(self, now_s: float) -> str | None:
        """See ``Heads``. Without a cache, a process tries the store once it is a day old."""
        self._tried = self._tried or (now_s, "")
        tried_s, unfit = self._tried
        return unfit if unfit or self.local or now_s - tried_s < FIT_KEPT_S else None

    def keep_fitness(self, now_s: float, unfit: str) -> None:
        """See ``Heads``."""
        self._tried = now_s, unfit


class FileHeads(MemoryHeads):
    """Known heads of one user on one machine, for one project.

    Args:
        folder: a folder of its own under the user's cache; made when first needed.
        read: as ``MemoryHeads`` takes it.
    """

    def __init__(self, folder: str | os.PathLike[str], read: Read | None = None) -> None:
        super().__init__(read)
        self._folder = os.fspath(folder)
        self._denial = f"{self._folder}/denied-removal"
        self._look = f"{self._folder}/{LOOKED}"
        self._newest_file = f"{self._folder}/{NEWEST}"
        self._fit_file = f"{self._folder}/{FIT}"

    def _known(self, chain: ChainId) -> Version | None:
        known = super()._known(chain)
        if known is None:
            known = read_kept(self._path(chain), chain)
            if known is not None:
                MemoryHeads.put(self, known)
        return known

    def put(self, version: Version) -> None:
        """See ``Heads``."""
        before = self._known(version.chain)  # a process that reads old versions forgets no newer
        super().put(version)
        if super()._known(version.chain) is not version:
            return
        if before is None or before.seq < version.seq or before.stored != version.stored:
            path = self._path(version.chain)
            # Another process may have got further, or have seen another version.
            line, _, body = (_read(path) or b"").partition(b"\n")
            seq = line.partition(b" ")[0]
            if seq == b"%d" % version.seq and body != version.raw:
                kept = read_kept(path, version.chain)
                if kept is not None:
                    raise _difference(kept, Found(version.raw, version.stored or Stamp("")))
            if not (seq.isdigit() and int(seq) > version.seq):
                replace_cached(path, _line(version) + b"\n" + version.raw)
            self._keep_newest(version)

    def _keep_newest(self, version: Version) -> None:
        if self.local:
            return
        kept = _newest(_read(self._newest_file))
        if kept is None:
            replace_cached(self._look, version.chain.encode())
        if kept is None or kept[0] < version.at:
            text = f"{version.at} {version.chain}"
            replace_cached(self._newest_file, text.encode())

    def witness(self) -> Version | None:
        """See ``Heads``."""
        self._newest = _newest(_read(self._newest_file)) or self._newest
        return super().witness()

    def due(self, now_s: float) -> Sequence[Version]:
        """See ``Heads``. Other processes of this user look, too."""
        if not self.local and now_s - self._looked_s >= LOOK_EVERY_S:
            with contextlib.suppress(OSError):
                age_s = time.time() - os.stat(self._look).st_mtime  # noqa: PTH116 - as in _read
                if age_s >= 0:
                    self._looked_s = now_s - age_s
                self._looked = ChainId((_read(self._look) or b"").decode(errors="replace")) or None
        return super().due(now_s)

    def looked(self, now_s: float, *, found: bool) -> None:
        """See ``Heads``."""
        super().looked(now_s, found=found)
        if found:
            replace_cached(self._look, (self._looked or "").encode())

    def remembered(self) -> Iterator[tuple[ChainId, Sequence[str]]]:
        """See ``Heads``. Looks at the beginnings of at most ``REMEMBERED_MAX`` files."""
        yield from super().remembered()
        with contextlib.suppress(OSError), os.scandir(f"{self._folder}/heads") as entries:
            for entry in islice(entries, REMEMBERED_MAX):
                yield from _names(_read(entry.path, BEGINNING_BYTES))

    def acted(self, agent: str) -> bool:
        """See ``Heads``. An agent of this machine has a clock here."""
        return super().acted(agent) or any(
            os.path.exists(self._of_agent(folder, agent))  # noqa: PTH110 - as in _read
            for folder in (CLOCKS, ACTED)
        )

    def remember_agent(self, agent: str) -> None:
        """See ``Heads``."""
        super().remember_agent(agent)
        replace_cached(self._of_agent(ACTED, agent), b"")

    def _of_agent(self, folder: str, agent: str) -> str:
        return agent_file(self._folder, folder, agent)

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

    def fitness(self, now_s: float) -> str | None:
        """See ``Heads``. Other processes of this user try the store, too."""
        if self.local:
            return ""
        raw = _read(self._fit_file)
        if raw is None:
            return None if self._tried is None else super().fitness(now_s)
        with contextlib.suppress(OSError):
            age_s = time.time() - os.stat(self._fit_file).st_mtime  # noqa: PTH116 - as in _read
            if raw or 0 <= age_s < FIT_KEPT_S:
                return raw.decode(errors="replace")
        return None

    def keep_fitness(self, now_s: float, unfit: str) -> None:
        """See ``Heads``."""
        super().keep_fitness(now_s, unfit)
        replace_cached(self._fit_file, unfit.encode())

    def where(self, chain: ChainId) -> str:
        """See ``Heads``."""
        return self._path(chain)

    def _path(self, chain: ChainId) -> str:
        return f"{self._folder}/heads/{digest(chain.encode())[:32]}"


def _difference(known: Version, found: Found | None) -> Damaged:
    from tclog.chain.remembered import Remembered, difference

    error = difference(Remembered.of(known), found)
    assert error is not None  # noqa: S101 - the caller has compared
    return error


def _newest(raw: bytes | None) -> tuple[str, ChainId] | None:
    """Read which chain has the newest version that is remembered, and the stamp of that."""
    try:
        at, found, chain = (raw or b"").decode().partition(" ")
        parse_hlc(at)
    except ValueError:
        return None
    return (at, ChainId(chain)) if found and "/" in chain else None


def read_kept(path: str, chain: ChainId | None = None) -> Version | None:
    """Read a head's file; None if there is none, or it is not whole.

    Args:
        path: of the file.
        chain: whose head it must be; by default that of the version in it.
    """
    raw = _read(path)
    line, found, body = (raw or b"").partition(b"\n")
    if not found:
        return None
    try:
        if chain is None:
            chain = ChainId(str(decode(body, path)["chain"]))
        seq, stored, verdict, _ = line.decode().split(" ")
        version = decode_version(
            body, chain=chain, seq=int(seq), stored=Stamp(stored) if stored != "-" else None
        )
        if version.txn is not None:
            version = version.judged(aborted=verdict == "aborted")
    except (ValueError, KeyError, TypeError, TclogError):
        return None
    # One that was cut short and still decodes would be named as the version before the next.
    return version if line == _line(version) else None


def agent_file(root: str, folder: str, agent: str) -> str:
    """Return the file that remembers an agent."""
    return f"{root}/{folder}/{digest(agent.encode())[:32]}"


def _names(raw: bytes | None) -> Iterator[tuple[ChainId, Sequence[str]]]:
    """Read the chain and some of the agents out of the beginning of a head's file."""
    import json
    import re

    found: dict[str, list[str]] = {"chain": [], "by": [], "agent": []}
    text = (raw or b"").partition(b"\n")[2].decode(errors="ignore")
    for field, name in re.findall(r'"(chain|by|agent)":("(?:[^"\\]|\\.)*")', text):
        with contextlib.suppress(ValueError):
            found[field].append(json.loads(name))
    if found["chain"]:
        yield ChainId(found["chain"][0]), found["by"] + found["agent"]


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
        self._path = agent_file(os.fspath(folder), CLOCKS, agent)

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


def _read(path: str, size: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs on the hot path
            return file.read(size)
    except OSError:
        return None


def replace_cached(path: str, data: bytes) -> None:
    """Replace a cache file whole; a cache that cannot be written is no cache, not an error."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    # Windows opens files as text, unless told otherwise.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        try:
            handle = os.open(temporary, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
            handle = os.open(temporary, flags, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
        os.replace(temporary, path)  # noqa: PTH105 - as above
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
