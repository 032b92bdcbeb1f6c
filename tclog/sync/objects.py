"""The objects of a project as they stand in its store: listing them, reading many, naming them.

For whoever reads the store itself and not the index: ``fsck``, ``export`` and ``clone``. Memory is
bounded by a page of a listing and a batch of objects, however long the log is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from tclog.chain.drive import Protocol
from tclog.errors import Damaged, StoreDenied, StoreError, StoreMissing, StoreUnreachable
from tclog.event import (
    MARK,
    ChainId,
    chain_folder,
    decode,
)
from tclog.event.names import (
    ALL,
    PACKS,
    chain_of_slot,
    folder_of,
    is_chain_folder,
    validate_chain,
)
from tclog.store.base import Entry, Found, Get, List

ALL_FOLDER = chain_folder(ALL)
PACKS_FOLDER = chain_folder(PACKS)
PAGE = 5000
PAGES_MAX = 10_000_000
AT_ONCE = 256
BATCH_BYTES = 16 << 20
# What is larger is read in pieces.
WHOLE_BYTES_MAX = 1 << 20
# No client writes a record that comes near this.
RECORD_BYTES_MAX = 64 << 20

Progress = Callable[[str, int], None]
_KIND = re.compile(r"[a-z][a-z0-9_-]*")
_BLOB = re.compile(r"[0-9a-f]{64}")


def unseen(what: str, count: int) -> None:
    """Show no progress."""
    del what, count


class Listing:
    """The entries below a folder in the order of their keys, page by page."""

    def __init__(self, folder: str, mount: str = "") -> None:
        self._folder = mount + folder
        self._cut = len(mount)
        self._after = ""
        self._left: list[Entry] = []
        self._pages_left = PAGES_MAX

    def page(self) -> Protocol[list[Entry]]:
        """Return the next entries; none at the end."""
        if self._left:
            left, self._left = self._left, []
            return left
        if not self._pages_left:
            return []
        rows: Sequence[Entry] = yield List(self._folder, self._after, PAGE)
        self._pages_left = self._pages_left - 1 if rows else 0
        if rows:
            self._after = rows[-1].key
        return [row._replace(key=row.key[self._cut :]) for row in rows]

    def until(self, key: str, pages: int = PAGES_MAX) -> Protocol[list[Entry]]:
        """Return the next entries up to a key, of so many pages at most; none at the end."""
        found: list[Entry] = []
        for _ in range(pages):
            page = yield from self.page()
            if not page:
                break
            found += [row for row in page if row.key <= key]
            self._left = [row for row in page if row.key > key]
            if self._left:
                break
        return found


def batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut entries into batches that are read at once, bounded in number and bytes."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == AT_ONCE or size + entry.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def read_each(keys: Sequence[str], mark: str = MARK) -> Protocol[list[Found | StoreError | None]]:
    """Read objects side by side; an error stands in the place of one that cannot be read.

    Raises:
        StoreError: nothing at all can be read any more.
    """
    replies = list((yield tuple(Get(key) for key in keys)))
    for place, reply in enumerate(replies):
        if not isinstance(reply, StoreError):
            continue
        if isinstance(reply, StoreUnreachable | StoreMissing):
            raise reply
        try:
            replies[place] = yield Get(keys[place])
        except StoreError as error:
            if isinstance(error, StoreDenied):
                yield Get(mark)  # where even this is denied, it is no matter of one object
            replies[place] = error
    return replies


def chain_in(key: str, raw: bytes) -> ChainId:
    """Return the chain of a slot: by its key or, where that was cut short, by its record.

    Raises:
        Damaged: the key is no slot's, or the record belongs elsewhere.
    """
    if not is_chain_folder(folder_of(key)):
        raise Damaged(f"{key} is not a slot of a chain", hint="tclog fsck")
    chain = chain_of_slot(key)
    if chain is not None:
        return chain
    record = decode(raw, key)
    named = record.get("chain") if isinstance(record, dict) else None
    if not isinstance(named, str) or not validate_chain(named):
        named = None
    if named is None or chain_folder(ChainId(named)) != folder_of(key):
        raise Damaged(f"{key} does not name the chain that it stands in", hint="tclog fsck")
    return ChainId(named)
