"""The stores of the tests of what copies and checks a log: a folder and a bucket of Ceph's."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.places import given_project, given_seeds
from support.project import Project
from support.stores import fresh_bucket, open_s3

from tclog.store.base import Store
from tclog.store.file import FileStore

__all__ = ["busy", "given_project", "given_seeds", "given_store", "objects"]


def objects(store: Store) -> dict[str, bytes]:
    """Return all objects of a project, past the code that is tested with them."""
    keys = ["tclog.json"] if store.stat("tclog.json") is not None else []
    for folder in ("blobs", "chains", "events", "once", "packs"):
        keys += [entry.key for entry in store.list(folder, "", 10**9, False)]
    return {key: store.get(key).data for key in keys}


@pytest.fixture(name="store", params=["file", "ceph"])
def given_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Give an empty store of each kind."""
    if request.param == "file":
        return FileStore(tmp_path / "store" / "demo", fsync=False)
    server = request.getfixturevalue("ceph")
    settings = fresh_bucket(server)
    return open_s3(server, settings._replace(prefix=f"{settings.prefix}/demo"))


def busy(project: Project, agents: int = 4, rounds: int = 12) -> list[list[list[str]]]:
    """Return commands for some agents that use everything at once, for ``Worker.post``."""
    names = [f"agent-{nth}" for nth in range(agents)]
    work = []
    for nth, name in enumerate(names):
        mine: list[list[str]] = []
        for turn in range(rounds):
            other = names[(nth + 1 + turn) % agents]
            mine += [
                ["memory", "incr", "count"],
                ["memory", "append", "journal", f"{name} {turn} " + "x" * 3000],
                ["send", other, f"hello {turn}"],
                ["send", "@all", f"all {turn}"],
                ["claim", f"step-{turn}"],
                ["complete", f"step-{turn}"],
                ["inbox", "--ack"],
                ["memory", "set", f"key-{nth}-{turn}", "y" * 20_000],
            ]
        work.append(mine)
    return work
