"""The simulated bucket: a ``MemoryStore`` for one thread that finds a chain's slots at once."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from tclog.clock import Stamp, stamp
from tclog.store.base import Created, Entry, Found, Outcome
from tclog.store.memory import MemoryStore

_EXISTS = Created(Outcome.EXISTS, cause="the object exists")


class Bucket(MemoryStore):
    """A store without locks, for a scheduler: a listing of one chain looks at that chain only."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        super().__init__(now_us)
        self._slots: dict[str, list[str]] = {}

    def put(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``."""
        if key not in self._objects:
            self._index(key)
        stored = stamp(self._now_us())
        self._objects[key] = Found(data, stored)
        return stored

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``."""
        if key in self._objects:
            return _EXISTS
        self._index(key)
        stored = stamp(self._now_us())
        self._objects[key] = Found(data, stored)
        return Created(Outcome.WON, stored)

    def delete(self, *keys: str) -> None:
        """See ``Store``."""
        for key in keys:
            if self._objects.pop(key, None) is not None and key.startswith("chains/"):
                self._slots[key.rpartition("/")[0]].remove(key)

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        if folders or prefix.count("/") != 2 or not prefix.startswith("chains/"):
            return super().list(prefix, after, limit, folders)
        found: list[Entry] = []
        for key in self._slots.get(prefix, ()):
            if len(found) == limit:
                break
            if key > after:
                one = self._objects[key]
                found.append(Entry(key, len(one.data), one.stored))
        return found

    def _index(self, key: str) -> None:
        if key.startswith("chains/"):
            insort(self._slots.setdefault(key.rpartition("/")[0], []), key)
