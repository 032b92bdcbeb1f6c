"""A file reader that proves, before its last byte leaves, that the file is what was promised."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from blake3 import blake3

from tclog.errors import UsageError, to_run

if TYPE_CHECKING:
    from pathlib import Path

CHUNK_BYTES = 1 << 20


class CheckedReader:
    """Reads a file once, hashing as it goes.

    Invariant: if the file's bytes do not have ``digest``, ``read`` raises instead of returning the
    end of the file, so that an upload under a content hash is aborted and never completed.
    """

    def __init__(
        self, path: Path, digest: str, progress: Callable[[int], None] | None = None
    ) -> None:
        self._path = path
        self._digest = digest
        self._progress = progress
        self._hasher = blake3()
        try:
            self._file = path.open("rb")
            self._left = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> UsageError:
        return UsageError(
            f"{self._path} cannot be read: {error.strerror}",
            code="file-unreadable",
            hint=to_run("ls -l", self._path),
        )

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` bytes; b"" only after the hash was found right."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from None
        self._hasher.update(data)
        # Bounded by the size at the beginning: to a file that grows all the time there is no end.
        self._left -= len(data)
        if self._progress is not None and data:
            self._progress(len(data))
        ended = not data or size < 0
        if self._left < 0 or (ended and self._hasher.hexdigest() != self._digest):
            raise UsageError(
                f"{self._path} changed while it was being read",
                code="file-changed",
                hint="run the same command again",
            )
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
