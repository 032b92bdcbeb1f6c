"""A bucket as a store: which requests are retried, and what each answer decides.

Reads and idempotent puts are retried, a bounded number of times. Creates never are: their answer is
won, exists or unknown, and the protocol reads back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from tclog.clock import SECOND_US, Stamp
from tclog.errors import StoreError, StoreUnfit, StoreUnreachable
from tclog.store.base import Created, Entry, Found, Outcome, Store, refuse_other
from tclog.store.reader import CheckedReader
from tclog.store.room import has_threads, workers
from tclog.store.s3 import _obstore, limits
from tclog.store.s3._boto3 import Boto3Plane
from tclog.store.s3.failures import Failure, RequestError, explain, found_there, may_help_again
from tclog.store.s3.plane import OddKeysError, Plane
from tclog.store.s3.settings import S3Settings, check

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
# Trying more threads than this would take longer than a request.
TRIED_MAX = 8
Rows = list[Entry]


class S3Store(Store):
    """A bucket, or a prefix of one, as a store.

    Args:
        settings: how to reach it, as ``resolve`` gives them.
        environ: where the credentials are looked up, if they are not in a file.

    Raises:
        UsageError: a setting is invalid.
    """

    concurrent = True
    resolution_us = SECOND_US
    backoff_s = 0.05

    def __init__(self, settings: S3Settings, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._settings = check(settings)
        self._planes: dict[tuple[str, int], Plane] = {}
        # Whether this process may have obstore's threads, once that was tried.
        self._threads: bool | None = None
        # Whether a listing was met that obstore cannot show.
        self._odd_keys = False
        self._skipped: set[str] = set()
        # Whether any answer was one that only an S3 server gives.
        self._is_s3 = False
        self._region: str | None = None
        self.url = f"s3://{settings.bucket}" + (f"/{settings.prefix}" if settings.prefix else "")

    @property
    def skipped(self) -> Collection[str]:
        """See ``Store``."""
        return self._skipped

    def plane(self, client: str = "") -> Plane:
        """Return this process's client: the given one, or the one of the settings."""
        client = client or self._settings.client
        if client == "obstore" and not self._can_use_obstore():
            client = "boto3"
        # A forked child must not speak on its parent's connections: each could be given the
        # other's reply, and so be told that it won what the other won.
        mine = client, os.getpid()
        plane = self._planes.get(mine)
        if plane is None:
            plane = self._planes[mine] = self._open(client)
        return plane

    def _can_use_obstore(self) -> bool:
        """Whether obstore works here: its runtime needs threads, and is lost after a fork."""
        if self._threads is None:
            # One for each processor, and one for names and certificates.
            self._threads = has_threads(min(workers(), TRIED_MAX) + 1)
        return self._threads and not _obstore.forked_after_use()

    def _open(self, client: str) -> Plane:
        try:
            kind = _obstore.ObstorePlane if client == "obstore" else Boto3Plane
            plane: Plane = kind(self._settings, self._environ)
        except RequestError as error:
            raise self._explain(error.failure) from error
        plane.skipped = self._skipped
        return plane

    def _sent(self, request: Callable[[], T]) -> T:
        """Send a read or an idempotent write, with retries bounded in number and time."""
        begun, lost = time.monotonic(), False
        for nth in range(1, limits.TRIES_MAX + 1):
            try:
                return request()
            except RequestError as error:
                told = explain(error.failure, self._settings)
                spent = time.monotonic() - begun
                if (
                    nth == limits.TRIES_MAX
                    or spent > limits.AGAIN_WITHIN_S
                    or not may_help_again(error.failure)
                ):
                    told = self._explain(error.failure)
                    # A refusal of the last try proves nothing about the tries before it.
                    if lost and not isinstance(told, StoreUnreachable):
                        told = StoreUnreachable(told.message, hint=told.hint)
                    raise told from error
                lost = lost or isinstance(told, StoreUnreachable)
            time.sleep(0.05 * 3**nth * (0.5 + os.urandom(1)[0] / 256))
        raise AssertionError

    def _explain(self, failure: Failure) -> StoreError:
        """Return the error for a failure; if the bucket is in another region, ask which."""
        if failure.status in (301, 307) and not failure.region:
            from tclog.store.s3.bucket import region_of

            if self._region is None:
                self._region = region_of(self._settings, self._environ)
            failure = failure._replace(region=self._region)
        return explain(failure, self._settings)

    def check_pages(self, keys: Sequence[str]) -> None:
        """See ``Store``."""
        from tclog.store.s3.bucket import check_pages

        check_pages(self._settings, self._environ, keys)

    def name_cause(self, error: StoreUnfit) -> None:
        """See ``Store``."""
        from tclog.store.s3.bucket import name_cause

        name_cause(error, self._settings, self._environ)

    def get(self, key: str) -> Found | None:
        """See ``Store``."""
        found = self._sent(lambda: self.plane().get(key))
        self._is_s3 = True
        return found

    def put(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``. S3 does not tell the stamp of what it just stored."""
        self._sent(lambda: self.plane().put(key, data))
        return None

    def keep(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``. One request, unless the object exists already."""
        for nth in range(limits.TRIES_MAX):
            if self._sent(lambda: self._is_new(key, data)):
                return None
            same = self._is_same(key, data)
            if same is not None:
                refuse_other(key, same=same)
                return None
            # obstore reports a 409 (two writers at once) as if the object existed.
            time.sleep(0.05 * 3**nth)
        raise StoreUnreachable(f"the store says that {key} exists, but it cannot be read")

    def _is_same(self, key: str, data: bytes) -> bool | None:
        """Compare the existing object; None without one. For a large one, only the size is read."""
        if len(data) > limits.RECORD_BYTES_MAX:
            entry = self.stat(key)
            return None if entry is None else entry.size == len(data)
        found = self.get(key)
        return None if found is None else found.data == data

    def _is_new(self, key: str, data: bytes) -> bool:
        try:
            self.plane().create(key, data)
        except RequestError as error:
            if found_there(error.failure):
                return False
            raise
        return True

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``. Sent once; any answer but a plain success must be read back."""
        try:
            self.plane().create(key, data)
        except RequestError as error:
            failure = error.failure
            cause = f"{failure.status or 'no answer'} {failure.code}".strip()
            if found_there(failure):
                return Created(Outcome.EXISTS, cause=cause)
            if may_help_again(failure):
                return Created(Outcome.UNKNOWN, cause=cause)
            raise self._explain(failure) from error
        return Created(Outcome.WON)

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        if folders:
            rows = self._listed(prefix, lambda plane: plane.folders(prefix))
            return [row for row in sorted(rows) if row.key > after][:limit]
        # Not sorted here: a server that does not sort must not pass the probe.
        return self._listed(prefix, lambda plane: plane.page(prefix, after, limit))

    def _listed(self, prefix: str, ask: Callable[[Plane], Rows]) -> Rows:
        rows = self._asked(ask)
        if not rows and not self._is_s3:
            # obstore reads a proxy's page as an empty listing; the refusal of a GET shows it.
            self.get(prefix)
        return rows

    def _asked(self, ask: Callable[[Plane], T]) -> T:
        """List by obstore; by boto3 after meeting keys that obstore cannot show."""
        if not self._odd_keys:
            try:
                return self._sent(lambda: ask(self.plane()))
            except OddKeysError:
                self._odd_keys = True
        return self._sent(lambda: ask(self.plane("boto3")))

    def stat(self, key: str) -> Entry | None:
        """See ``Store``.

        A HEAD has no body. So it shows neither whether a proxy answered, nor why a request is
        refused; a GET shows both.
        """
        found: Entry | None = None
        try:
            found = self._sent(lambda: self.plane().stat(key))
        except StoreUnreachable:
            raise
        except StoreError:
            pass
        return found or self._sent(lambda: self.plane().look(key))

    def delete(self, *keys: str) -> None:
        """See ``Store``. One request for up to a thousand."""
        for start in range(0, len(keys), limits.DELETE_MAX):
            some = keys[start : start + limits.DELETE_MAX]
            self._sent(lambda some=some: self.plane().delete(some))  # type: ignore[misc]

    def put_file(
        self, key: str, path: Path, digest: str, progress: Callable[[int], None] | None
    ) -> None:
        """See ``Store``. Large files go up in parts; the object exists only when all are there.

        obstore completes parts without a condition. An existing object gets the same bytes again,
        unless the caller has checked first.
        """
        with CheckedReader(path, digest, progress) as reader:
            try:
                self.plane().upload(key, reader)
            except RequestError as error:
                failure = error.failure
                if not found_there(failure) and failure.status != 409:
                    raise self._explain(failure) from error
                found = self.stat(key)
                if found is None:  # a 409: another upload ends at this moment
                    raise StoreUnreachable(
                        f"two writers wrote {key} at once: {failure.text}",
                        hint="run the same command again",
                    ) from error
                refuse_other(key, same=found.size == path.stat().st_size)

    def get_file(self, key: str) -> Iterator[bytes] | None:
        """See ``Store``."""
        pieces = self._sent(lambda: self.plane().download(key))
        return None if pieces is None else self._pieces(pieces)

    def _pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except RequestError as error:
            raise self._explain(error.failure) from error
