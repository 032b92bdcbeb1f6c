"""The heads that processes of one user remember for each other."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from tclog.chain import heads
from tclog.chain.heads import ClockFile, FileHeads, MemoryHeads
from tclog.clock import HybridClock, Stamp
from tclog.errors import Forked, RolledBack
from tclog.event import Version, chain_id, slot_key, slot_seq
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.file import FileStore
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


def written(count: int, key: str = "k") -> list[Version]:
    """Return the versions 1 to ``count`` of a key."""
    log = Log(MemoryStore(), Project("p", "id", ""), agent="alice")
    found = []
    for nth in range(count):
        log.memory.set(key, f"{nth}" * 200)
        version = log.client.known(chain_id("memory", key))
        assert version is not None
        found.append(version)
    return found


def test_a_chain_that_grows_pushes_out_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    (other,), versions = written(1, "other"), written(30)
    monkeypatch.setattr(heads, "KEPT_BYTES_MAX", len(other.raw) + 2 * len(versions[-1].raw))
    kept = MemoryHeads()
    kept.put(other)
    for version in versions:
        kept.put(version)
    assert kept.get(other.chain) is other
    assert kept.get(KEY) is versions[-1]


def test_what_is_too_large_to_be_kept_pushes_out_the_rest_but_not_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (other,), (version,) = written(1, "other"), written(1)
    monkeypatch.setattr(heads, "KEPT_BYTES_MAX", 10)
    kept = MemoryHeads()
    kept.put(other)
    kept.put(version)
    assert kept.get(other.chain) is None
    assert kept.get(KEY) is version


@pytest.mark.parametrize("kept", [MemoryHeads(), FileHeads("/dev/null/no-folder")])
def test_who_was_denied_to_remove_remembers_it_also_without_a_cache(kept: MemoryHeads) -> None:
    assert kept.may_remove()
    kept.deny_removal()
    assert not kept.may_remove()


def test_a_denial_is_believed_for_an_hour_by_all_processes(tmp_path: Path) -> None:
    FileHeads(tmp_path).deny_removal()
    assert not FileHeads(tmp_path).may_remove()
    for age_s, may in ((3590, False), (3600.4, True)):
        then = time.time() - age_s
        os.utime(tmp_path / "denied-removal", (then, then))
        assert FileHeads(tmp_path).may_remove() == may


def test_a_clock_that_was_never_kept_is_none(tmp_path: Path) -> None:
    file = ClockFile(tmp_path, "alice")
    assert file.read() == (None, 0, 0, 0)
    clock = HybridClock(lambda: 1_800_000_000_000_000)
    clock.tick()
    file.write(clock, 5, 7)
    assert file.read() == (clock.last, 0, 5, 7)
    next(tmp_path.rglob("clocks/*")).write_text("garbled")
    assert file.read() == (None, 0, 0, 0)


def test_a_folder_that_was_set_back_gets_no_gap(tmp_path: Path) -> None:
    """A process that remembers a version which is not there any more writes nothing above it."""
    store = FileStore(tmp_path / "store", fsync=False)

    def write(value: str, cache: str = "cache") -> int:
        log = Log(store, Project("p", "id", ""), agent="alice", cache=tmp_path / cache)
        return log.memory.set("k", value).version

    assert [write("one"), write("two"), write("three")] == [1, 2, 3]
    for seq in (2, 3):
        store.delete(slot_key(KEY, seq))
    with pytest.raises(RolledBack):
        write("other")
    assert write("other", "fresh") == 2
    assert [slot_seq(row.key) for row in store.list("chains/memory/k", "", 10, False)] == [2, 1]


def test_no_byte_of_a_head_can_be_changed_into_a_lie(tmp_path: Path) -> None:
    """Believed, it would be named as the version before the next, or answer a question wrongly."""
    for version in (written(2)[-1], written(1)[-1]._replace(stored=None)):
        folder = tmp_path / str(version.seq)
        FileHeads(folder).put(version)
        (path,) = (folder / "heads").iterdir()
        raw = path.read_bytes()
        found = FileHeads(folder).get(KEY)
        assert found is not None
        assert found.raw == version.raw
        beside = raw.index(b"\n")
        # All of the first line, where the check stands, and some of the rest.
        for place in (*range(beside + 1), *range(beside + 1, len(raw), 5)):
            for bit in range(0, 8, 2) if place <= beside else (place % 8,):
                path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :])
                assert FileHeads(folder).get(KEY) is None, (place, bit)


def test_of_two_processes_that_have_seen_different_versions_one_is_told(tmp_path: Path) -> None:
    """Also where neither had remembered one of that number when they read it."""
    mine, theirs = written(2), written(2)
    slow, quick = FileHeads(tmp_path), FileHeads(tmp_path)
    slow.put(mine[0])
    quick.put(theirs[1])
    with pytest.raises(Forked):
        slow.put(mine[1])
    known = FileHeads(tmp_path).get(KEY)
    assert known is not None
    assert known.id == theirs[1].id


def test_of_two_processes_that_have_seen_the_same_none_is_told_anything(tmp_path: Path) -> None:
    versions = written(2)
    slow, quick = FileHeads(tmp_path), FileHeads(tmp_path)
    slow.put(versions[0])
    quick.put(versions[1])
    slow.put(versions[1])
    assert slow.get(KEY) is versions[1]


def test_what_is_remembered_is_for_its_user_alone(tmp_path: Path) -> None:
    FileHeads(tmp_path / "cache").put(written(1)[0])
    ClockFile(tmp_path / "cache", "alice").write(HybridClock(lambda: 0), 0, 0)
    for path in (tmp_path / "cache").rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_a_folder_is_fit_and_a_bucket_is_found_to_be_for_a_while(tmp_path: Path) -> None:
    assert FileHeads(tmp_path, lambda _: None).fitness(0.0) == ""
    local = MemoryHeads(lambda _: None)
    assert local.fitness(0.0) == ""
    assert local.fitness(heads.FIT_KEPT_S + 1) == ""
    assert FileHeads(tmp_path).fitness(0.0) is None
    one = FileHeads(tmp_path)
    one.keep_fitness(0.0, "")
    (file,) = tmp_path.iterdir()
    for age_s, told in (
        (1.0, ""),
        (heads.FIT_KEPT_S - 5, ""),
        (heads.FIT_KEPT_S + 0.1, None),
        (-60, None),
    ):
        then = time.time() - age_s
        os.utime(file, (then, then))
        for other in (one, FileHeads(tmp_path)):
            assert other.fitness(0.0) == told, age_s
    # That it is unfit is believed for good.
    one.keep_fitness(0.0, "it ignores conditions")
    os.utime(file, (0, 0))
    assert FileHeads(tmp_path).fitness(0.0) == "it ignores conditions"


def test_agents_of_this_machine_are_known_by_their_clocks_and_others_when_they_were_met(
    tmp_path: Path,
) -> None:
    kept = FileHeads(tmp_path)
    ClockFile(tmp_path, "alice").write(HybridClock(lambda: 0), 0, 0)
    kept.remember_agent("bob")
    for one in (kept, FileHeads(tmp_path)):
        assert [one.acted(name) for name in ("alice", "bob", "carol")] == [True, True, False]
    # Also where nothing can be kept.
    for lone in (MemoryHeads(), FileHeads("/dev/null/no-folder")):
        lone.remember_agent("bob")
        assert [lone.acted(name) for name in ("bob", "carol")] == [True, False]
