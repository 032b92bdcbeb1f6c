"""A kind of store as somebody would add it: dictionaries of this process, as ``kept://NAME``.

It has one module, this one, and one row in ``tclog.store.KINDS``, which a test adds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tclog.store import Location, Registered
from tclog.store.base import Kind, Store
from tclog.store.memory import MemoryStore
from tclog.store.probe import Fact

ROW = Registered(__name__, "kept://NAME", "kept", ("colour",))
# The store of each place, and the settings by which it was opened.
PLACES: dict[tuple[str, str], MemoryStore] = defaultdict(MemoryStore)
SAID: list[Mapping[str, str]] = []


class Projects(MemoryStore):
    """The marks of all projects at one place."""

    def __init__(self, url: str) -> None:
        super().__init__()
        for (place, segment), store in PLACES.items():
            if place == url:
                self._objects |= {f"{segment}/{k}": v for k, v in store._objects.items()}


class Kept(Kind):
    mark_kept_s = 60.0

    def open(self, location: Location, environ: Mapping[str, str], *, create: bool) -> Store:
        SAID.append(location.said)
        store = PLACES[location.url, location.segment]
        store.url = location.url
        return store

    def open_outer(self, location: Location, environ: Mapping[str, str]) -> Store:
        return Projects(location.url)

    def written(self, location: Location) -> Mapping[str, str | None]:
        return {"colour": location.said.get("colour")}

    def facts(self, location: Location, environ: Mapping[str, str], *, fit: bool) -> Sequence[Fact]:
        return [Fact("colour", str(location.said.get("colour")), ok=fit)]


KIND = Kept()
