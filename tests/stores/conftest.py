"""The places that the conformance suite runs in."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from support.stores import Server, fresh_bucket, open_s3

from tclog.store.base import Store
from tclog.store.file import FileStore
from tclog.store.memory import MemoryStore
from tclog.store.s3 import S3Settings

MANY = 1100

PLACES = [
    "memory",
    "file",
    "file-ignores-case",
    "moto-obstore",
    "moto-boto3",
    "ceph-obstore",
    "ceph-boto3",
]


class Place(NamedTuple):
    """An empty place. ``open`` opens it as a process of its own would, ``twin`` by another client.

    ``server`` is None for what is not S3.
    """

    name: str
    open: Callable[[], Store]
    twin: Callable[[], Store]
    server: Server | None = None


def _place(name: str, folder: Path, request: pytest.FixtureRequest) -> Place:
    if name == "memory":
        store = MemoryStore()
        return Place(name, lambda: store, lambda: store)
    if name.startswith("file"):
        # The file system here does not ignore case; the names must be right all the same.
        ignores_case = True if name.endswith("case") else None
        make = partial(FileStore, folder / "store", fsync=True, ignores_case=ignores_case)
        return Place(name, make, make)
    server_name, client = name.split("-")
    server: Server = request.getfixturevalue(server_name)
    settings = fresh_bucket(server, client=client)
    other = "boto3" if client == "obstore" else "obstore"
    make = partial(open_s3, server, settings)
    return Place(name, make, partial(make, client=other), server)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return _place(request.param, tmp_path, request)


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


def fill(store: Store, keys: list[str]) -> None:
    """Put many small objects, several at once where that helps."""
    with ThreadPoolExecutor(16 if store.concurrent else 1) as pool:
        list(pool.map(lambda key: store.put(key, key.encode()), keys))


_filled: dict[str, S3Settings] = {}


@pytest.fixture(autouse=True)
def _boto3_clients(shared_boto3: None) -> None:
    """Share clients in all of these tests."""


@pytest.fixture
def crowded(place: Place) -> Store:
    """Give a store with MANY folders of one object each; one such place serves both clients."""
    keys = [f"many/{index:04d}/x" for index in range(MANY)]
    if place.server is None:
        store = place.open()
        if isinstance(store, FileStore):
            store._fsync = False
        fill(store, keys)
        return store
    name = place.server.name
    if name not in _filled:
        _filled[name] = fresh_bucket(place.server)
        fill(open_s3(place.server, _filled[name]), keys)
    return open_s3(place.server, _filled[name], client=place.name.split("-")[1])


@pytest.fixture
def junk(tmp_path: Path) -> Path:
    """Give a file of 20 MB that no compression or luck makes smaller."""
    path = tmp_path / "junk"
    path.write_bytes(os.urandom(20_000_000))
    return path
