"""The store that a log is copied into, by ``clone`` and ``import``.

Nothing there is ever replaced: each object is created only if none has its key, and one that is
there with other bytes ends the copy. The project's mark comes last: a place without one is no
project yet, so nobody can begin to work in half a copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tclog.chain.drive import Protocol, Sleep
from tclog.errors import OutcomeUnknown, Refused, StoreError, StoreUnfit
from tclog.event import MARK, VersionId, digest
from tclog.event.canonical import digest_pieces
from tclog.event.names import blob_of
from tclog.maintenance.tempfiles import write_temporary
from tclog.store.base import (
    Create,
    Created,
    Entry,
    Found,
    Get,
    GetFile,
    Outcome,
    PutFile,
    Stat,
    Store,
)
from tclog.sync.objects import Listing

TRIES_MAX = 8
_WAIT_S = 0.1


class Target:
    """A store to copy into; ``mount`` stands before its keys."""

    def __init__(self, mount: str = "") -> None:
        self._mount = mount
        self.present = 0
        self._marked = False

    def begin(self, mark: bytes) -> Protocol[None]:
        """Refuse another project's place."""
        found = yield Get(self._mount + MARK)
        self._marked = found is not None
        if found is not None and found.data != mark:
            raise Refused(
                f"another project is there already: its {MARK} differs",
                code="project-differs",
                hint="tclog clone --help",
                object=MARK,
            )
        if found is not None:
            # An existing copy was probed when it was begun; its store may have changed since.
            created = yield Create(self._mount + MARK, mark)
            if created.outcome is Outcome.WON:
                raise StoreUnfit(
                    f"the target store accepted a second create of {MARK}, so several writers could"
                    " create one object (is versioning switched on?)",
                    hint="tclog doctor",
                )

    def listing(self, folder: str) -> Listing | None:
        """List what is there."""
        return Listing(folder, self._mount)

    def put(self, objects: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        """Create objects side by side."""
        if not objects:
            return
        replies = yield tuple(Create(self._mount + key, raw) for key, raw in objects)
        for (key, raw), reply in zip(objects, replies, strict=True):
            if not isinstance(reply, Created):
                raise reply
            if reply.outcome is not Outcome.WON:
                yield from self._settle(key, raw, reply)

    def put_slot(self, key: str, raw: bytes, *, junk: bool = False) -> Protocol[None]:
        """Create a version's slot; the one before it is there."""
        del junk  # its bytes are taken as they are
        created = yield Create(self._mount + key, raw)
        if created.outcome is not Outcome.WON:
            yield from self._settle(key, raw, created)

    def _settle(self, key: str, raw: bytes, created: Created) -> Protocol[None]:
        """Find out what became of a create that is not known to have been won."""
        for nth in range(TRIES_MAX):
            found: Found | None = yield Get(self._mount + key)
            if found is not None:
                if found.data != raw:
                    raise _differs(key)
                self.present += created.outcome is Outcome.EXISTS
                return
            yield Sleep(_WAIT_S * 2**nth)
            created = yield Create(self._mount + key, raw)
            if created.outcome is Outcome.WON:
                return
        raise OutcomeUnknown(
            f"it is not known whether {key} was written ({created.cause}); it is safe to run the"
            " same command again",
            hint="run the same command again",
        )

    def put_large(self, entry: Entry, pieces: Iterator[bytes]) -> Protocol[None]:
        """Write a large blob by way of a temporary file, so that only a whole one is ever there."""
        key, blob = self._mount + entry.key, blob_of(entry.key)
        there = yield Stat(key)
        if there is not None:
            yield from self._same_large(entry, pieces)
            return
        with write_temporary(pieces) as file:
            yield PutFile(key, Path(file.name), str(blob), None)

    def _same_large(self, entry: Entry, pieces: Iterator[bytes]) -> Protocol[None]:
        for _ in pieces:
            pass  # its own hash is looked at even so
        there = yield GetFile(self._mount + entry.key)
        if digest_pieces(there or ()) != blob_of(entry.key):
            raise _differs(entry.key)
        self.present += 1

    def slot_id(self, key: str) -> Protocol[VersionId | None]:
        """Return the id of the version in a slot."""
        found = yield Get(self._mount + key)
        return None if found is None else VersionId(digest(found.data))

    def end(self, mark: bytes) -> Protocol[None]:
        """Make the mark: from now on this is a project."""
        if not self._marked:
            present = self.present
            yield from self.put_slot(MARK, mark)
            self.present = present  # the mark is none of the objects that are counted


def _differs(key: str) -> Refused:
    return Refused(
        f"{key} is there already, with other bytes",
        code="object-differs",
        hint="tclog fsck",
        object=key,
    )


def _ask(verb: str) -> Any:
    """Return the method that asks the store of a key."""

    def ask(self: Mounted, key: str, *rest: Any) -> Any:
        name, _, inner = key.partition("/")
        return getattr(self._stores[name], verb)(inner, *rest)

    return ask


class Mounted(Store):
    """Two stores as one: the first part of a key says which."""

    def __init__(self, **stores: Store) -> None:
        self._stores = stores
        self.url = " and ".join(store.url for store in stores.values())
        self.concurrent = any(store.concurrent for store in stores.values())
        self.resolution_us = max(store.resolution_us for store in stores.values())

    @property
    def skipped(self) -> Collection[str]:
        """See ``Store``."""
        return {f"{name}/{key}" for name, store in self._stores.items() for key in store.skipped}

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        name, _, rest = prefix.partition("/")
        rows = self._stores[name].list(rest, after.removeprefix(f"{name}/"), limit, folders)
        return [row._replace(key=f"{name}/{row.key}") for row in rows]

    def delete(self, *keys: str) -> None:
        """See ``Store``. Copying removes nothing."""
        raise StoreError(f"{keys[0]} is not to be removed")

    get = _ask("get")
    put = _ask("put")
    keep = _ask("keep")
    create = _ask("create")
    stat = _ask("stat")
    put_file = _ask("put_file")
    get_file = _ask("get_file")
