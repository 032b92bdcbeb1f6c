"""The heads that processes of one user remember for each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tclog.chain import heads
from tclog.chain.heads import FileHeads, MemoryHeads
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


def test_a_process_that_meets_many_chains_remembers_the_last_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(MemoryStore(), Project("p", "id", ""), agent="alice")
    found = []
    for nth in range(20):
        log.memory.set(f"k{nth}", "v" * 1000)
        version = log.client.known(chain_id("memory", f"k{nth}"))
        assert version is not None
        found.append(version)
    size = max(len(version.raw) for version in found)
    monkeypatch.setattr(heads, "KEPT_BYTES_MAX", 5 * size)
    in_memory, in_files = MemoryHeads(), FileHeads(tmp_path)
    for version in found:
        in_memory.put(version)
        in_files.put(version)
    known = [in_memory.get(version.chain) for version in found]
    assert known == [None] * 15 + found[15:]
    # What one has forgotten, files still tell.
    told = [in_files.get(version.chain) for version in found]
    assert [version and version.id for version in told] == [version.id for version in found]
    # One that is larger than all that is kept is still known to whoever has just read it.
    monkeypatch.setattr(heads, "KEPT_BYTES_MAX", 10)
    in_memory.put(found[0])
    assert in_memory.get(found[0].chain) is found[0]
