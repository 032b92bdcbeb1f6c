"""What a store is: its verbs as request records, its answers, and the protocol class.

The protocol code yields these requests; a driver hands them to a ``Store``. Invariant that every
store must keep, and that ``probe`` checks on real servers: of all ``create`` calls for one key,
ever, exactly one stores its bytes.

A store raises ``StoreError`` when it *knows* that it did nothing (denied, missing, full), and its
``StoreUnreachable`` when a read failed for good, or a put that may have been carried out all the
same. ``create`` never raises for a lost reply: that is ``Outcome.UNKNOWN``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tclog.clock import Stamp
from tclog.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tclog.errors import StoreUnfit

LIST_PAGE_MAX = 1000


class Outcome(Enum):
    """What is known after one create request. Only WON is proof of anything."""

    WON = "won"
    EXISTS = "exists"
    UNKNOWN = "unknown"


class Created(NamedTuple):
    """The answer to a create; ``cause`` says why it is not WON, for messages."""

    outcome: Outcome
    stored: Stamp | None = None
    cause: str = ""


class Found(NamedTuple):
    """An object as read, with the store's own last-modified stamp."""

    data: bytes
    stored: Stamp


class Entry(NamedTuple):
    """One row of a listing. For a folder, ``key`` ends in a slash and the rest is empty.

    ``tag`` is a bucket's ETag, where one object was looked at.
    """

    key: str
    size: int = 0
    stored: Stamp | None = None
    tag: str = ""


class Get(NamedTuple):
    """Read an object. Answer: ``Found`` or None."""

    key: str


class Put(NamedTuple):
    """Write an object, whether or not it exists. Answer: a ``Stamp``, or None if not told."""

    key: str
    data: bytes


class Keep(Put):
    """Write an object whose name is its content: an event, a blob, a pack. Answer: as for ``Put``.

    What is there already is compared and stays. So it may be sent again after any answer.
    """

    __slots__ = ()


class Create(NamedTuple):
    """Write an object only if none has its key. Answer: ``Created``."""

    key: str
    data: bytes


class List(NamedTuple):
    """List keys in byte order. Answer: a list of ``Entry``, at most ``limit``.

    ``prefix`` is a whole folder without its final slash; ``after`` is a full key, exclusive. With
    ``folders`` only the direct sub-folders are listed.
    """

    prefix: str
    after: str = ""
    limit: int = LIST_PAGE_MAX
    folders: bool = False


class Stat(NamedTuple):
    """Look at an object without its bytes. Answer: ``Entry`` or None."""

    key: str


class Delete(NamedTuple):
    """Remove objects, whether or not they exist: announcements and maintenance. Answer: None."""

    keys: Sequence[str]


class PutFile(NamedTuple):
    """Write an object whose name is its content from a local file, streamed; see ``Keep``.

    ``digest`` is the BLAKE3 that the bytes must have: it is computed again while they are sent,
    and a file that changed meanwhile is refused before the object exists. ``progress`` is told
    the number of bytes of each step. Answer: None.
    """

    key: str
    path: Path
    digest: str
    progress: Callable[[int], None] | None = None


class GetFile(NamedTuple):
    """Read an object in pieces. Answer: an iterator of bytes, or None if it does not exist."""

    key: str


Request = Get | Put | Keep | Create | List | Stat | Delete | PutFile | GetFile


class Store(Protocol):
    """The verbs. All are safe to call from several threads and processes at once."""

    url: str
    # Whether requests have latency worth hiding by threads.
    concurrent: bool
    # Whether a read is so cheap that what is remembered is compared whenever it is used.
    local: bool
    # How coarse its stamps are, in microseconds.
    resolution_us: int

    @property
    def skipped(self) -> Collection[str]:
        """Keys of other programs that its listings have left out, since no file could have them."""

    def get(self, key: str) -> Found | None:
        """Answer ``Get``."""

    def put(self, key: str, data: bytes) -> Stamp | None:
        """Answer ``Put``."""

    def keep(self, key: str, data: bytes) -> Stamp | None:
        """Answer ``Keep``.

        Raises:
            Damaged: the object is there, with other bytes.
        """

    def create(self, key: str, data: bytes) -> Created:
        """Answer ``Create``."""

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """Answer ``List``."""

    def stat(self, key: str) -> Entry | None:
        """Answer ``Stat``."""

    def delete(self, *keys: str) -> None:
        """Answer ``Delete``."""

    def put_file(
        self, key: str, path: Path, digest: str, progress: Callable[[int], None] | None
    ) -> None:
        """Answer ``PutFile``.

        Raises:
            Damaged: as for ``keep``.
        """

    def get_file(self, key: str) -> Iterator[bytes] | None:
        """Answer ``GetFile``."""


def refuse_other(key: str, *, same: bool) -> None:
    """Refuse an object that was to be kept and is there with other bytes.

    Raises:
        Damaged: it is not the same.
    """
    if not same:
        from tclog.errors import Damaged

        raise Damaged(
            f"{key} is there already, with other bytes than its name stands for", hint="tclog fsck"
        )


def check_forward(url: str, rows: Sequence[Entry], after: str) -> None:
    """Refuse a listing that repeats keys or goes back: a loop over its pages would never end.

    Raises:
        StoreUnfit: a key does not follow the one before it.
    """
    for row in rows:
        if row.key <= after:
            raise not_forward(url, after)
        after = row.key


def not_forward(url: str, key: str) -> StoreUnfit:
    """Return the error for a listing that repeats keys or goes back."""
    from tclog.errors import StoreUnfit

    return StoreUnfit(
        f"{url} is not fit for tclog: its listing repeats keys or goes back after {key!a}",
        hint="tclog doctor",
    )


def check_folder(word: str) -> None:
    """Refuse a word that was meant to be a bucket and would make a folder.

    Raises:
        UsageError: it begins with ``s3:``; such a folder can be given as ``./s3:``.
    """
    if word.lower().startswith("s3:"):
        raise not_a_store(word)


def not_a_store(url: str) -> UsageError:
    """Return the error for a place that is no kind of store."""
    return UsageError(
        f"{url} is neither a folder nor s3://bucket/prefix",
        code="bad-store",
        hint="tclog init --help",
    )
