"""The generated logs that other tests rest on: valid, complete, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.logs.generate import BEGIN_US, PROJECT, SPAN_S, generate, generate_project

from history.clocks import Clock
from tclog.chain.drive import run
from tclog.chain.fold import rules_of, unknown_ops, verify
from tclog.clock import parse_us
from tclog.event import (
    ALL,
    PACKS,
    ChainId,
    Version,
    chain_kind,
    chain_of_slot,
    decode,
    decode_event,
    decode_version,
    digest,
    event_key_parts,
    slot_seq,
)
from tclog.event import packs as format_of_packs
from tclog.index import Index
from tclog.log.project import read_project
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.fsck.findings import Damage
from tclog.maintenance.gc import collect
from tclog.maintenance.pack import pack
from tclog.store.base import Store
from tclog.store.file import FileStore
from tclog.store.memory import MemoryStore
from tclog.sync.packfiles import read_packs_head
from tclog.sync.sync import sync

EVENTS = 3000


def read_versions(store: Store) -> dict[ChainId, list[Version]]:
    """Read every slot, past the code that is tested with them."""
    chains: dict[ChainId, list[Version]] = {}
    for entry in store.list("chains", "", 10**9, False):
        raw = store.get(entry.key)
        chain = chain_of_slot(entry.key) or decode(raw.data, entry.key)["chain"]
        seq = slot_seq(entry.key)
        version = decode_version(raw.data, chain=chain, seq=seq, stored=raw.stored)
        chains.setdefault(chain, []).insert(0, version)
    return chains


@pytest.mark.parametrize("seed", [0, 1])
def test_every_record_is_valid_and_every_kind_of_thing_happens(seed: int) -> None:
    store = MemoryStore()
    made = generate(store, events=EVENTS, seed=seed)
    committed: Counter[str] = Counter()
    ops: Counter[str] = Counter()
    for chain, versions in read_versions(store).items():
        before = None
        for seq, version in enumerate(versions, 1):
            assert version.seq == seq
            assert not unknown_ops(chain, version)
            verify(chain, before, version)
            before = version
            for event in version.events:
                committed[event.id] += 1
                ops[event.op] += 1
                assert event.at < version.at
                assert chain in event.chains
    events = store.list("events", "", 10**9, False)
    for entry in events:
        at, chain, event_id = event_key_parts(entry.key)
        event = decode_event(store.get(entry.key).data, expect=event_id)
        assert event.at == at
        assert chain in (None, event.chains[0])
        assert committed[event_id] in (0, len(event.chains))
        assert BEGIN_US < parse_us(at) < BEGIN_US + 2 * SPAN_S * 1e6
    for entry in store.list("blobs", "", 10**9, False):
        assert digest(store.get(entry.key).data) == entry.key.rpartition("/")[2]
    assert made.events == len(events) == EVENTS
    assert made.attempts == EVENTS - len(committed) > 10
    assert made.versions == len(store.list("chains", "", 10**9, False))
    for kind in ("memory", "step", "inbox", "read", "barrier", "artifact", "agent", "tag"):
        known = rules_of(ChainId(f"{kind}/x")).ops.keys() - {"step.withdraw", "tag.delete"}
        assert known <= ops.keys(), kind


def test_a_state_is_never_folded_to_nothing() -> None:
    """Each event changes its chain's state or is one that may leave it: no rule was broken."""
    store = MemoryStore()
    generate(store, events=EVENTS)
    merges = several = 0
    for chain, versions in read_versions(store).items():
        merges += sum(1 for v in versions if v.merge is not None and not v.events)
        several += sum(1 for v in versions for e in v.events if len(e.chains) > 1)
        states = [v.state for v in versions]
        if chain_kind(chain) == "step" or chain == ALL:
            assert all(a != b for a, b in pairwise(states)), chain
    assert merges
    assert several


def test_the_same_seed_gives_the_same_bytes_on_any_store(tmp_path: Path) -> None:
    folder, memory = FileStore(tmp_path / "a", fsync=False), MemoryStore()
    assert generate(folder, events=300, seed=5) == generate(memory, events=300, seed=5)
    for part in ("events", "chains", "blobs"):
        keys = [entry.key for entry in memory.list(part, "", 10**9, False)]
        assert [entry.key for entry in folder.list(part, "", 10**9, False)] == keys
        assert all(folder.get(key).data == memory.get(key).data for key in keys)
    other = MemoryStore()
    generate(other, events=300, seed=6)
    assert not {e.key for e in other.list("events", "", 10**9, False)} & set(memory._objects)


def test_a_folder_has_the_stamps_of_the_virtual_time(tmp_path: Path) -> None:
    made = generate_project(tmp_path, events=300)
    store = FileStore(tmp_path / "default")
    assert run(read_project("default"), store).name == "default"
    for entry in store.list("chains", "", 10**9, False):
        found = store.get(entry.key)
        record = decode(found.data, entry.key)
        assert abs(parse_us(found.stored) - parse_us(record["at"])) < 20_000
        assert made.begin_us < parse_us(found.stored) <= made.end_us
        if record["prev_stored"] is not None:
            number = int(entry.key[-15:-5]) + 1
            before = f"{entry.key[:-15]}{number:010d}.json"
            assert store.stat(before).stored == record["prev_stored"]


@pytest.fixture(scope="module", name="archived")
def given_archived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give one log of some days twice: packed by the commands' own code, and generated packed."""
    by_hand, at_once = (tmp_path_factory.mktemp(name) for name in ("by-hand", "at-once"))
    span_s = 3 * SPAN_S
    made = generate_project(by_hand, events=EVENTS, span_s=span_s)
    generate_project(at_once, events=EVENTS, span_s=span_s, packed=True)
    named = FileStore(at_once / PROJECT).stat(_keys(at_once / PROJECT, "events", of_packs=True)[0])
    clock, store = Clock(made.end_us + 1_000_000), FileStore(by_hand / PROJECT, fsync=False)
    index = Index(tmp_path_factory.mktemp("cache"))
    assert run(pack(clock.client("packer"), index), store).packs > 3
    index.close()
    clock.us = parse_us(named.stored)
    assert run(collect(clock.client("packer"), remove=True), store).events > EVENTS / 2
    return by_hand / PROJECT, at_once / PROJECT


@pytest.fixture(autouse=True, scope="module")
def given_small_packs() -> Iterator[None]:
    """Cut packs early, so that a small log has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(format_of_packs, "LINES_BYTES_MAX", 300_000)
        yield


def _keys(folder: Path, part: str, *, of_packs: bool = False) -> list[str]:
    """List the objects below a folder: those by which packing is written down, or the others."""
    keys = [entry.key for entry in FileStore(folder).list(part, "", 10**9, False)]
    return [key for key in keys if of_packs == ("/pack/" in key or "-pack." in key)]


def _objects(folder: Path, part: str) -> dict[str, bytes]:
    store = FileStore(folder)
    return {key: store.get(key).data for key in _keys(folder, part)}


@pytest.mark.parametrize("part", ["packs", "chains", "events", "blobs"])
def test_a_packed_log_is_what_pack_and_gc_make_of_it(
    archived: tuple[Path, Path], part: str
) -> None:
    by_hand, at_once = (_objects(folder, part) for folder in archived)
    assert by_hand.keys() == at_once.keys() != set()
    assert by_hand == at_once


def test_a_packed_log_is_whole_and_says_the_same(
    archived: tuple[Path, Path], tmp_path: Path
) -> None:
    clock, said = Clock(BEGIN_US + round(3 * SPAN_S * 1e6)), []
    for nth, store in enumerate(map(FileStore, archived)):
        damages: list[Damage] = []
        assert run(fsck(PROJECT, damages.append), store).damaged == 0, damages
        index = Index(tmp_path / str(nth))
        run(sync(clock.client("reader"), index), store)
        _, state = run(read_packs_head(clock.client("reader")), store)
        assert state.floor
        rows = [row for row in index.commits() if row.chain != PACKS]
        attempts = [row for row in index.attempts() if PACKS not in row.event.chains]
        said.append((state, rows, attempts))
        index.close()
    assert said[0] == said[1]
