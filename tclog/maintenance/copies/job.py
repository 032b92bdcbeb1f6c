"""One copy of a log: where from, where to, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from typing import Protocol as Structural

from tclog.chain.drive import Protocol
from tclog.errors import StoreError
from tclog.event import MARK, VersionId
from tclog.store.base import Entry, Found
from tclog.sync.objects import Listing, Progress, read_each, unseen

Tell = Callable[[str, str], None]


def unseen_junk(key: str, why: str) -> None:
    """Tell nobody of junk."""
    del key, why


class Copied(NamedTuple):
    """How many objects of each kind were handed on; how many were there, damaged or foreign.

    ``junk`` counts the slots that were handed on and hold no version.
    """

    blobs: int = 0
    keys: int = 0
    events: int = 0
    versions: int = 0
    bytes: int = 0
    packs: int = 0
    present: int = 0
    damaged: int = 0
    foreign: int = 0
    junk: int = 0
    redacted: int = 0


class Sink(Structural):
    """Where objects go. What it returns are protocols, driven with those that read."""

    def begin(self, mark: bytes) -> Protocol[None]:
        """Look at the mark before anything is copied."""

    def listing(self, folder: str) -> Listing | None:
        """Return what is there already; None if nothing ever is."""

    def put(self, objects: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        """Take whole objects, in any order."""

    def put_large(self, entry: Entry, pieces: Iterator[bytes]) -> Protocol[None]:
        """Take a blob in pieces; they raise ``Damaged`` at the end if its hash is wrong."""

    def slot_id(self, key: str) -> Protocol[VersionId | None]:
        """Return the id of a version that is there already."""

    def put_slot(self, key: str, raw: bytes, *, junk: bool = False) -> Protocol[None]:
        """Take the next version of a chain, or the junk that its slot holds."""

    def end(self, mark: bytes) -> Protocol[None]:
        """Finish: everything was handed on."""


class Job:
    """A copy under way.

    Args:
        sink: where to.
        tell: told the key and the reason of each object that is left out as damaged.
        note: told the key and the reason of each slot that is copied and holds junk.
        mount: what stands before the keys of the store that is read.
        progress: told what is copied.
    """

    def __init__(
        self,
        sink: Sink,
        tell: Tell,
        note: Tell = unseen_junk,
        mount: str = "",
        progress: Progress = unseen,
    ) -> None:
        self.sink = sink
        self.note = note
        self.mount = mount
        self.mark = mount + MARK
        self.progress = progress
        self.copied = Copied()
        self._tell = tell

    def count(self, **more: int) -> None:
        """Add to the counts."""
        counts = {name: getattr(self.copied, name) + count for name, count in more.items()}
        self.copied = self.copied._replace(**counts)

    def damaged(self, key: str, why: str) -> None:
        """Count an object that is left out, and tell of it."""
        self.count(damaged=1)
        self._tell(key, why)

    def read(self, keys: Sequence[str]) -> Protocol[list[Found | StoreError | None]]:
        """Read objects side by side; see ``read_each``."""
        return (yield from read_each([self.mount + key for key in keys], self.mark))


def why_unread(reply: Found | StoreError | None) -> str:
    """Say why an object was not read."""
    return f"cannot be read: {reply.message}" if isinstance(reply, StoreError) else "is missing"
