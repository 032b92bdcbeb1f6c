"""Folder markers and doubled slashes of other programs change nothing and stop nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.logs.generate import BEGIN_US, generate
from support.stores import Counting, Server, fresh_bucket, open_s3, raw_client

from history.clocks import Clock
from tclog.chain.drive import run
from tclog.chain.read import read_newest
from tclog.event import ChainId
from tclog.history.log import read_log
from tclog.index import Filter, Index
from tclog.log.agents import list_agents
from tclog.log.log import Log
from tclog.log.project import Project, create_project
from tclog.log.steps import list_rows
from tclog.maintenance.clocks import read_clocks
from tclog.maintenance.copies.copy import copy_log
from tclog.maintenance.copies.destination import Mounted, Target
from tclog.maintenance.copies.transfer import export
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.gc import collect
from tclog.maintenance.pack import pack
from tclog.store.base import Store
from tclog.store.memory import MemoryStore
from tclog.sync.sync import sync

END_US = BEGIN_US + 26 * 3_600_000_000
PROJECT = Project("demo", "0" * 32, "")
MARKERS = (
    *("events/", "chains/", "packs/", "once/", "blobs/", "pending/"),
    *("events/2030-01-01T00/", "chains/memory/", "chains/memory/z/", "chains/zz/", "packs/ff/"),
    *("once/z/", "blobs/ff/", "pending/memory/", "pending/memory/z/", "chains/pack/log/"),
)
SLASHES = (
    *("events//x", "chains//x", "chains/memory//x", "chains/memory/z//x", "packs//x"),
    *("once//x", "blobs//x", "blobs/ff//", "pending//x", "pending/inbox//x", "//x"),
)


@pytest.fixture(scope="module", name="made")
def given_made(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    """Make a log whose first hours are packed, with an announcement and keys."""
    clock = Clock(END_US)
    store = MemoryStore(lambda: clock.us)
    run(create_project("demo", "0" * 32, BEGIN_US), store)
    generate(store, events=40, seed=3)
    index = Index(tmp_path_factory.mktemp("packer"))
    run(pack(clock.client("packer"), index), store)
    index.close()
    return store


class Site:
    """The same log in a place of its own, with what other programs have left there."""

    def __init__(self, store: Store, leave: Callable[[str], Any]) -> None:
        self.store = Counting(store)
        self.leave = leave


@pytest.fixture(scope="module", params=["shown", "moto"])
def site(request: pytest.FixtureRequest, made: MemoryStore) -> Iterator[Site]:
    objects = {key: found.data for key, found in made._objects.items()}
    if request.param == "shown":  # a store that lists the markers as it does all objects
        shown = MemoryStore(lambda: END_US)
        shown._objects.update(made._objects)
        yield Site(shown, lambda key: shown.put(key, b""))
        return
    server: Server = request.getfixturevalue("moto")
    settings = fresh_bucket(server)
    store = open_s3(server, settings)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: store.put(*row), objects.items()))
    raw, place = raw_client(server), {"Bucket": settings.bucket}
    yield Site(store, lambda key: raw.put_object(**place, Key=f"{settings.prefix}/{key}", Body=b""))


def looks(folder: Path) -> dict[str, Callable[[Store], Any]]:
    """Return all that goes through listings, and what it found."""
    clock = Clock(END_US)
    client = clock.client("reader")

    def synced(store: Store) -> Any:
        index = Index(folder / str(len(list(folder.iterdir()))))
        run(sync(clock.client("reader"), index, full=True), store)
        told = [row.commit for row in read_log(index, Filter())]
        index.close()
        return told

    def copied(store: Store) -> Any:
        target = MemoryStore()
        left: list[Any] = []
        run(
            copy_log(Target("to/"), lambda *words: left.append(words), mount="from/"),
            Mounted(**{"from": store, "to": target}),
        )
        return {key: found.data for key, found in target._objects.items()}, left

    def exported(store: Store) -> Any:
        lines: list[bytes] = []
        run(export(lines.append, lambda *_: None, software="test"), store)
        return lines[1:]

    def checked(store: Store) -> Any:
        told: list[Any] = []
        found = run(fsck("demo", told.append), store)
        return found, [one for one in told if not one.harmless]

    return {
        "fsck": checked,
        "clone": copied,
        "export": exported,
        "gc": lambda store: run(collect(clock.client("keeper")), store),
        "sync": synced,
        "agents": lambda store: run(list_agents(client), store),
        "memory list": lambda store: Log(store, PROJECT, agent="reader").memory.list(),
        "artifact list": lambda store: Log(store, PROJECT, agent="reader").artifacts.list(),
        "step list": lambda store: [row.id for row in run(list_rows(client), store)],
        "clocks": lambda store: run(read_clocks(END_US), store),
        "newest": lambda store: run(read_newest(client, ChainId("memory/z")), store),
    }


def test_other_programs_keys_change_nothing(site: Site, tmp_path: Path) -> None:
    asked, expected = looks(tmp_path), {}
    for name, look in asked.items():
        site.store.clear()
        expected[name] = look(site.store), site.store.count()["list"]
    assert len(expected["sync"][0]) > 30
    # What a store in memory lists is up to the test.
    slashes = () if isinstance(site.store.inner, MemoryStore) else SLASHES
    for key in (*MARKERS, *slashes):
        site.leave(key)
    for name, look in asked.items():
        site.store.clear()
        found, (told, lists) = look(site.store), expected[name]
        assert found == told, name
        assert site.store.count()["list"] <= 2 * lists + len(MARKERS), name
