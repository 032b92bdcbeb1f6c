"""What a store is: its verbs as request records, its answers, and the protocol class.

The protocol code yields these requests; a driver hands them to a ``Store``. Invariant that every
store must keep, and that ``probe`` checks on real servers: of all ``create`` calls for one key,
ever, exactly one stores its bytes.

A store raises ``StoreError`` when it *knows* that it did nothing (denied, missing, full), and its
``StoreUnreachable`` when a read failed for good, or a put that may have been carried out all the
same. ``create`` never raises for a lost reply: that is ``Outcome.UNKNOWN``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tclog.clock import Stamp

if TYPE_CHECKING:
    from pathlib import Path

    from tclog.errors import StoreUnfit
    from tclog.store import Location
    from tclog.store.probe import Fact

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
    concurrent: bool = False
    # Whether a read is so cheap that what is remembered is compared whenever it is used.
    local: bool = False
    # How coarse its stamps are, in microseconds.
    resolution_us: int = 1
    # How long a writer that lost a race waits at first: about as long as a request takes.
    backoff_s: float = 0.004

    @property
    def skipped(self) -> Collection[str]:
        """Keys of other programs that its listings have left out, since no file could have them."""
        return ()

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

    def check_pages(self, keys: Sequence[str]) -> None:  # noqa: ARG002
        """Check, for the probe, that a listing in pages shows these keys of one folder, in order.

        Raises:
            StoreUnfit: it does not.
        """
        return

    def name_cause(self, error: StoreUnfit) -> None:  # noqa: ARG002
        """Add to the probe's error why this store is unfit, if its settings show it."""
        return


class Kind:
    """What commands need to know about a kind of store before they use its verbs.

    A kind of store is one module with an instance of this as ``KIND``, and a row in
    ``tclog.store.KINDS``. Only ``open`` and ``open_outer`` have no default.
    """

    # For how long the id in a project's mark is taken from the cache; 0 where reading it is cheap.
    mark_kept_s = 0.0

    def reach(self, location: Location, environ: Mapping[str, str]) -> Location:  # noqa: ARG002
        """Fill in the settings that the environment has."""
        return location

    def open(self, location: Location, environ: Mapping[str, str], *, create: bool) -> Store:
        """Open a project's store; see ``tclog.store.open_store``."""
        raise NotImplementedError

    def open_outer(self, location: Location, environ: Mapping[str, str]) -> Store:
        """Open the store that holds all projects as folders; it is only read."""
        raise NotImplementedError

    def folder(self, location: Location) -> str | None:  # noqa: ARG002
        """Return the folder of this machine that holds all projects, if it is one."""
        return None

    def make(self, location: Location, environ: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Do what ``--create-bucket`` asks for; False if this kind has no buckets."""
        return False

    def may_make(self, location: Location) -> bool:  # noqa: ARG002
        """Whether ``make`` may help if the store is missing.

        Raises:
            UsageError: its name is not valid for a new one.
        """
        return False

    def written(self, location: Location) -> Mapping[str, str | None]:  # noqa: ARG002
        """Return the settings that ``init`` writes, so that other shells reach the same store."""
        return {}

    def sources(
        self,
        location: Location,  # noqa: ARG002
        environ: Mapping[str, str],  # noqa: ARG002
    ) -> Mapping[str, tuple[str | None, str | None]]:
        """Return, for ``where``, the settings that were found outside tclog's own.

        By name: the value, and its source, or None for the source that is known already.
        """
        return {}

    def facts(
        self,
        location: Location,  # noqa: ARG002
        environ: Mapping[str, str],  # noqa: ARG002
        *,
        fit: bool,  # noqa: ARG002
    ) -> Sequence[Fact]:
        """Return what ``doctor`` prints about a project's store.

        Args:
            location: from ``reached``.
            environ: where credentials are looked up.
            fit: whether the probe passed.
        """
        return ()


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
