"""The interface of both clients to the store, and helpers for both."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Protocol

from tclog.store.base import Entry, Found
from tclog.store.reader import CheckedReader
from tclog.store.s3 import limits


class Plane(Protocol):
    """One client library. Raises only ``RequestError``."""

    def get(self, key: str) -> Found | None:
        """Read an object."""
        ...

    # Keys that listings have left out, up to ``limits.SKIPPED_MAX``.
    skipped: set[str]

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing any that exists."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Create an object if its key is free; sent once."""
        ...

    def page(self, prefix: str, after: str, limit: int) -> list[Entry]:
        """List keys, sorted by the server."""
        ...

    def folders(self, prefix: str) -> list[Entry]:
        """List the folders below one."""
        ...

    def stat(self, key: str) -> Entry | None:
        """Ask for size and stamp."""
        ...

    def look(self, key: str) -> Entry | None:
        """Ask for size and stamp by a GET, whose refusal has a body."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove up to ``limits.DELETE_MAX`` objects."""
        ...

    def upload(self, key: str, reader: CheckedReader) -> None:
        """Write a file, large ones in parts."""
        ...

    def download(self, key: str) -> Iterator[bytes] | None:
        """Read a large object piece by piece."""
        ...


class OddKeysError(Exception):
    """A listing has keys that this client cannot show as they are."""


def tag(text: str | None) -> str:
    """Return an ETag without its quotes."""
    return (text or "").strip('"')


def parts(first: bytes, reader: CheckedReader) -> Iterator[bytes]:
    """Read the rest of a file after its first part, which was read already."""
    part = first
    while part:
        yield part
        part = filled(reader)


def filled(reader: CheckedReader) -> bytes:
    """Read one part in full: short only at the end of the file."""
    part = io.BytesIO()
    while part.tell() < limits.PART_BYTES and (
        data := reader.read(limits.PART_BYTES - part.tell())
    ):
        part.write(data)
    return part.getvalue()
