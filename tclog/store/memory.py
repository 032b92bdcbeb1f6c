"""A store in a dictionary, for tests and simulation. Its invariant is kept by one lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tclog.clock import Stamp, stamp
from tclog.store.base import Created, Entry, Found, Outcome, Store, refuse_other
from tclog.store.reader import CHUNK_BYTES, CheckedReader


def folders_of(keys: list[str], prefix: str) -> list[str]:
    """Return the direct sub-folders of ``prefix`` in a sorted list of keys, each with a slash."""
    cut = len(prefix) + bool(prefix)
    seen = {key[: key.index("/", cut) + 1] for key in keys if "/" in key[cut:]}
    return sorted(seen)


class MemoryStore(Store):
    """A dictionary that behaves like a bucket; ``now_us`` is the store's clock."""

    url = "memory:"

    def __init__(self, now_us: Callable[[], int] | None = None) -> None:
        self._objects: dict[str, Found] = {}
        self._lock = threading.Lock()
        self._now_us = now_us or (lambda: time.time_ns() // 1000)

    def get(self, key: str) -> Found | None:
        """See ``Store``."""
        return self._objects.get(key)

    def put(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``."""
        stored = stamp(self._now_us())
        with self._lock:
            self._objects[key] = Found(bytes(data), stored)
        return stored

    def keep(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``."""
        found = self._objects.get(key)
        if found is None:
            return self.put(key, data)
        refuse_other(key, same=found.data == data)
        return found.stored

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``."""
        stored = stamp(self._now_us())
        with self._lock:
            if key in self._objects:
                return Created(Outcome.EXISTS, cause="the object exists")
            self._objects[key] = Found(bytes(data), stored)
        return Created(Outcome.WON, stored)

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        inside = f"{prefix}/" * bool(prefix)
        with self._lock:
            keys = sorted([key for key in self._objects if key.startswith(inside)])
        if folders:
            return [Entry(key) for key in folders_of(keys, prefix) if key > after][:limit]
        return [
            Entry(key, len(self._objects[key].data), self._objects[key].stored)
            for key in keys
            if key > after
        ][:limit]

    def stat(self, key: str) -> Entry | None:
        """See ``Store``."""
        found = self._objects.get(key)
        return found and Entry(key, len(found.data), found.stored)

    def delete(self, *keys: str) -> None:
        """See ``Store``."""
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)

    def put_file(
        self, key: str, path: Path, digest: str, progress: Callable[[int], None] | None
    ) -> None:
        """See ``Store``."""
        with CheckedReader(path, digest, progress) as reader:
            self.keep(key, reader.read())

    def get_file(self, key: str) -> Iterator[bytes] | None:
        """See ``Store``."""
        found = self._objects.get(key)
        if found is None:
            return None
        data = found.data
        return (data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES))
