"""The simulated bucket: a ``MemoryStore`` for one thread that finds what a chain has at once."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable

from tclog.clock import Stamp, stamp
from tclog.event.names import CHAINS, PENDING, folder_of, kind_of
from tclog.store.base import Created, Entry, Found, Outcome
from tclog.store.memory import MemoryStore

# Keys below these are KIND/NAME/OBJECT: the slots of a chain, and what is announced to it.
_OF_CHAINS = (CHAINS, PENDING)
_EXISTS = Created(Outcome.EXISTS, cause="the object exists")


class Bucket(MemoryStore):
    """A store without locks, for a scheduler: a listing of one chain looks at that chain only.

    Args:
        now_us: the store's clock.
        tells: whether a put is answered with the stamp of what was put.
    """

    def __init__(self, now_us: Callable[[], int], *, tells: bool = True) -> None:
        super().__init__(now_us)
        self._tells = tells
        # As Ceph RGW does once versioning is on: it creates an existing object again.
        self.ignores_conditions = False
        self._folders: dict[str, list[str]] = {}

    def put(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``."""
        if key not in self._objects:
            self._index(key)
        stored = stamp(self._now_us())
        self._objects[key] = Found(data, stored)
        return stored if self._tells else None

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``."""
        if key not in self._objects:
            self._index(key)
        elif not self.ignores_conditions:
            return _EXISTS
        stored = stamp(self._now_us())
        self._objects[key] = Found(data, stored)
        return Created(Outcome.WON, stored)

    def delete(self, *keys: str) -> None:
        """See ``Store``."""
        for key in keys:
            if self._objects.pop(key, None) is not None and kind_of(key) in _OF_CHAINS:
                self._folders[folder_of(key)].remove(key)

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        if folders or prefix.count("/") != 2 or kind_of(prefix) not in _OF_CHAINS:
            return super().list(prefix, after, limit, folders)
        keys, objects = self._folders.get(prefix, []), self._objects
        start = bisect_right(keys, after)
        return [
            Entry(key, len(objects[key].data), objects[key].stored)
            for key in keys[start : start + limit]
        ]

    def copied(self) -> dict[str, Found]:
        """Make a copy of everything, for ``set_back``."""
        return dict(self._objects)

    def set_back(self, kept: dict[str, Found]) -> None:
        """Become what the store was when it was copied: stamps and bytes."""
        self._objects, self._folders = dict(kept), {}
        for key in kept:
            self._index(key)

    def _index(self, key: str) -> None:
        if kind_of(key) in _OF_CHAINS:
            insort(self._folders.setdefault(folder_of(key), []), key)
