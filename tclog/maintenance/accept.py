"""Accepting a store as it is: what this machine remembers and the store lacks is kept aside.

The only way in which a remembered version is ever given up, and the user's own decision. Nothing is
deleted: heads and index are moved into a folder of their own, as evidence of what there was.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol, together
from tclog.chain.heads import LOOKED, NEWEST, read_kept
from tclog.chain.remembered import Remembered, described, is_same
from tclog.chain.trust import newest_of
from tclog.errors import Damaged
from tclog.event import ChainId, Version, decode_version, slot_key
from tclog.index import Index
from tclog.index.database import FILE, FOLDER
from tclog.store.base import Get, Stat

AT_ONCE = 256


class Lost(NamedTuple):
    """Versions of a chain that this machine has seen and the store does not hold.

    ``first`` is the first of them that is known to be lost. ``remembered`` and ``found`` are the
    newest versions that the machine has seen and that the store has (None: none, or junk).
    """

    chain: ChainId
    first: int
    last: int
    remembered: Mapping[str, Any]
    found: Mapping[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return self._asdict()


def open_index(folder: Path) -> Index | None:
    """Open the index of a project's cache folder, if there is one."""
    return Index(folder) if (folder / FOLDER / FILE).exists() else None


def find_lost(folder: Path, index: Index | None) -> Protocol[list[Lost]]:
    """Compare everything that is remembered in a project's cache folder with the store."""
    lost: list[Lost] = []
    part: list[tuple[Remembered, Index | None]] = []
    for known in _remembered(folder, index):
        part.append((known, index))
        if len(part) == AT_ONCE:
            lost += yield from _compare(part)
            part = []
    lost += yield from _compare(part)
    return lost


def _remembered(folder: Path, index: Index | None) -> Iterable[Remembered]:
    """Yield the newest version that is remembered of each chain."""
    heads = {head.chain: head for head in _heads(folder)}
    for chain in [] if index is None else index.chains():
        assert index is not None  # noqa: S101 - there are chains
        head, seq = heads.pop(chain, None), index.head(chain)
        kept = index.kept(chain, seq)
        if head is not None and (kept is None or head.seq > seq):
            yield Remembered.of(head)
        elif kept is not None:
            yield Remembered(*kept)
    for head in heads.values():
        yield Remembered.of(head)


def _heads(folder: Path) -> Iterable[Version]:
    with suppress(OSError):
        for file in sorted((folder / "heads").iterdir()):
            head = read_kept(str(file))
            if head is not None:
                yield head


def _compare(part: Iterable[tuple[Remembered, Index | None]]) -> Protocol[list[Lost]]:
    found = yield from together(*(_lost(known, index) for known, index in part))
    return [one for one in found if one is not None]


def _lost(known: Remembered, index: Index | None) -> Protocol[Lost | None]:
    if (yield from _holds(known)):
        return None
    chain, low, first = known.chain, 0, known.seq
    # A store that holds a version holds all below it.
    high = min(known.seq - 1, 0 if index is None else index.head(chain))
    while low < high:
        middle = (low + high + 1) // 2
        kept = None if index is None else index.kept(chain, middle)
        if kept is not None and (yield from _holds(Remembered(*kept))):
            low = middle
        else:
            high, first = middle - 1, middle
    mine = described(decode_version(known.raw, chain=chain, seq=known.seq))
    found = None
    with suppress(Damaged):
        found = yield from newest_of(chain)
    return Lost(chain, first, known.seq, mine, found)


def _holds(known: Remembered) -> Protocol[bool]:
    key = slot_key(known.chain, known.seq)
    if is_same(known, (yield Stat(key))):
        return True
    found = yield Get(key)
    return found is not None and found.data == known.raw


def keep_aside(folder: Path, when: str) -> Path:
    """Move what is remembered of a project into a folder of its own; return that.

    Clocks stay: a stamp never goes back.
    """
    for nth in itertools.count(1):
        kept = folder / (f"kept-{when}" if nth == 1 else f"kept-{when}-{nth}")
        with suppress(FileExistsError):
            kept.mkdir(parents=True, mode=0o700)
            break
    for name in ("heads", NEWEST, LOOKED, FOLDER):
        with suppress(FileNotFoundError):
            (folder / name).rename(kept / name)
    return kept
