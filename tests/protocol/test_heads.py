"""The heads that processes of one user remember for each other."""

from __future__ import annotations

from pathlib import Path

from tclog.chain.heads import FileHeads
from tclog.clock import Stamp
from tclog.event import chain_id
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.memory import MemoryStore

KEY = chain_id("memory", "k")


def test_an_older_version_that_is_read_later_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    log = Log(MemoryStore(), Project("p", "id", ""), agent="alice")
    heads = FileHeads(tmp_path)
    found = []
    for value in ("one", "two"):
        log.memory.set("k", value)
        version = log.client.known(KEY)
        assert version is not None
        found.append(version)
        heads.put(version)
    heads.put(found[0]._replace(stored=Stamp("2026-11-27T00:00:00.000000Z")))
    for known in (heads.get(KEY), FileHeads(tmp_path).get(KEY)):
        assert known is not None
        assert known.seq == 2
