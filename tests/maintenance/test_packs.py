"""Packs hold what the store holds, whoever makes them; a cold reader needs them and little else."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from history.clocks import Clock
from history.truth import Truth, assert_numbers, assert_same, read_truth
from support.logs.generate import BEGIN_US, generate

from tclog.chain.drive import Protocol, answer, run
from tclog.clock import stamp
from tclog.errors import Damaged, Refused
from tclog.event import (
    PACKS,
    ChainId,
    chain_kind,
    decode,
    digest,
    encode,
    event_key_parts,
    pack_key,
    slot_key,
)
from tclog.event import packs as format_of_packs
from tclog.event.packs import PackReader, events_of
from tclog.history.diff import read_diff
from tclog.history.log import read_log
from tclog.history.replay import read_beats
from tclog.history.show import show_id
from tclog.history.state import read_state
from tclog.index import Filter, Index, derived
from tclog.log.agents import list_agents
from tclog.log.memory import set_value
from tclog.log.transactions import Transaction
from tclog.maintenance import gc as gc_module
from tclog.maintenance import pack as packing_module
from tclog.maintenance.copies.copy import copy_log
from tclog.maintenance.copies.destination import Mounted, Target
from tclog.maintenance.copies.transfer import Reader, export, import_log
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.fsck.findings import Damage
from tclog.maintenance.gc import Collected, collect
from tclog.maintenance.pack import Packed, pack
from tclog.store.base import Create, Delete, Found, Get, Put
from tclog.store.memory import MemoryStore
from tclog.sync import chains as chains_module
from tclog.sync import objects as objects_module
from tclog.sync.packfiles import read_packs_head
from tclog.sync.packs import PackSync
from tclog.sync.sync import sync

HOUR_US = 3_600_000_000
HALF = "2026-01-05T18"
END_US = BEGIN_US + 24 * HOUR_US


class Place(MemoryStore):
    """A store with a clock that only moves when told to."""

    def __init__(self, objects: dict[str, Found]) -> None:
        self.clock = Clock(END_US)
        super().__init__(lambda: self.clock.us)
        self._objects.update(objects)

    def twin(self) -> Place:
        return Place(self._objects)


def fscked(store: MemoryStore) -> list[Damage]:
    """Return all that fsck tells."""
    found: list[Damage] = []
    run(fsck("demo", found.append), store)
    return found


@pytest.fixture(scope="module", name="made")
def given_made() -> dict[str, Found]:
    made = Place({})
    generate(made, events=1500, seed=5)
    return made._objects


@pytest.fixture
def store(made: dict[str, Found]) -> Place:
    return Place(made)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "cache")
    yield made
    made.close()


def packed_at(store: Place, index: Index, us: int = END_US, name: str = "packer") -> Packed:
    store.clock.us = us
    done: Packed = run(pack(store.clock.client(name), index), store)
    return done


def cold(store: Place, folder: Path, us: int = END_US + HOUR_US) -> tuple[Index, Counter[str]]:
    """Fill an index that holds nothing; return it and the requests by verb and kind."""
    index = Index(folder)
    store.clock.us = us
    requests: Counter[str] = Counter()

    def reply(step: Any) -> Any:
        place = getattr(step, "key", "") or getattr(step, "prefix", "")
        requests[f"{type(step).__name__} {place.partition('/')[0]}"] += 1
        return answer(step, store, lambda _: None)

    protocol: Protocol[Any] = sync(store.clock.client("reader"), index)
    given: Any = None
    while True:
        try:
            step = protocol.send(given)
        except StopIteration:
            return index, requests
        given = [reply(one) for one in step] if type(step) is tuple else reply(step)


def held(store: Place) -> Counter[str]:
    """Return the ids of all events in the packs that the chain names, checked from end to end."""
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    ids: Counter[str] = Counter()
    for one in state.packs:
        found = store.get(f"packs/{one.pack[:2]}/{one.pack}.jsonl.zst")
        assert len(found.data) == one.size
        for event, raw in events_of(PackReader(found.data, one.pack)):
            assert digest(raw) == event
            ids[event] += 1
    return ids


def _is_after(store: Place, key: str) -> bool:
    """Whether an object was made in the second half of the log."""
    kind = key.partition("/")[0]
    if kind == "chains":
        return bool(decode(store.get(key).data, key)["at"][:13] >= HALF)
    return kind == "events" and key.split("/")[1] >= HALF


def closed_events(store: Place, through: str) -> set[str]:
    keys = [entry.key for entry in store.list("events", "", 10**9, False)]
    return {key[-69:-5] for key in keys if key.split("/")[1] <= through}


def test_a_pack_holds_every_event_of_its_hours(store: Place, index: Index) -> None:
    done = packed_at(store, index)
    assert done.through == "2026-01-06T06"
    assert set(held(store)) >= closed_events(store, done.through)
    assert done.packs == 1
    assert done.versions > 1000 < done.events + done.versions
    # Not so much as half of what is packed: the hashes and nonces in it cannot be made smaller.
    assert done.bytes < 0.25 * sum(e.size for e in store.list("chains", "", 10**9, False))


def test_packing_again_finds_it_done(store: Place, index: Index, tmp_path: Path) -> None:
    first = packed_at(store, index)
    before = {entry.key for entry in store.list("chains", "", 10**9, False)}
    again = packed_at(store, index)
    other = Index(tmp_path / "other")
    third = packed_at(store, other, name="another")
    assert again == third == Packed(through=first.through)
    assert before == {entry.key for entry in store.list("chains", "", 10**9, False)}
    other.close()


def test_the_same_hours_give_the_same_bytes(store: Place, index: Index, tmp_path: Path) -> None:
    twin = store.twin()
    other = Index(tmp_path / "other")
    packed_at(store, index)
    packed_at(twin, other, name="another")
    names = [{entry.key for entry in one.list("packs", "", 99, False)} for one in (store, twin)]
    assert names[0] == names[1] != set()
    other.close()


def test_two_at_once_do_no_harm(store: Place, index: Index, tmp_path: Path) -> None:
    other = Index(tmp_path / "other")
    late = pack(Clock(END_US).client("late"), other)
    given: Any = None
    while True:
        step = late.send(given)
        if isinstance(step, Create) and "/pack/" in step.key:
            break
        given = (
            [answer(one, store, lambda _: None) for one in step]
            if type(step) is tuple
            else answer(step, store, lambda _: None)
        )
    packed_at(store, index)
    assert run(_go_on(late, answer(step, store, lambda _: None)), store).through
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    assert len(state.packs) == 1
    assert store.stat(slot_key(PACKS, 2)) is None
    other.close()


def _go_on(protocol: Protocol[Any], reply: Any) -> Protocol[Any]:
    step = protocol.send(reply)
    while True:
        try:
            step = protocol.send((yield step))
        except StopIteration as end:
            return end.value


def test_a_cold_reader_reads_packs_and_what_came_after(
    store: Place, index: Index, tmp_path: Path
) -> None:
    done = packed_at(store, index)
    fresh, requests = cold(store, tmp_path / "fresh")
    assert_same(fresh, read_truth(store))
    run(sync(store.clock.client("reader"), fresh), store)
    assert_numbers(fresh)
    after = [v for vs in read_truth(store).chains.values() for v in vs if v.at[:13] > done.through]
    assert requests["Get packs"] == 1
    # Each new version, the slot after it, and that of each inbox which may lack broadcasts.
    assert requests["Get chains"] <= 2 * len(after) + 40 < 200
    assert requests["Get events"] < 30
    fresh.close()


def test_an_index_that_is_far_behind_takes_what_it_lacks_from_packs(
    store: Place, index: Index, tmp_path: Path
) -> None:
    behind = Index(tmp_path / "behind")
    early = store.twin()
    early.delete(*[key for key in early._objects if _is_after(early, key)])
    run(sync(early.clock.client("reader"), behind), early)
    behind.set_meta("horizon", f"{HALF}:00:00.000000Z")
    packed_at(store, index)
    store.clock.us += 40 * HOUR_US
    run(sync(store.clock.client("reader"), behind), store)
    assert_same(behind, read_truth(store))
    behind.close()


@pytest.mark.parametrize("seed", range(6))
def test_packing_hour_by_hour_keeps_few_packs_and_everything(
    seed: int, store: Place, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(packing_module, "WHOLE_VERSIONS", rng.choice((50, 400, 20_000)))
    monkeypatch.setattr(format_of_packs, "LINES_BYTES_MAX", rng.choice((20_000, 200_000, 1 << 25)))
    hours = sorted(rng.sample(range(4, 27), rng.randint(3, 9)))
    for hour in hours:
        done = packed_at(store, index, BEGIN_US + hour * HOUR_US)
        assert set(held(store)) >= closed_events(store, done.through)
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    assert [one.last for one in state.packs] == sorted(one.last for one in state.packs)
    fresh, _ = cold(store, tmp_path / "fresh")
    assert_same(fresh, read_truth(store))
    fresh.close()


def test_small_packs_are_folded_into_greater_ones(store: Place, index: Index) -> None:
    for hour in range(4, 27):
        packed_at(store, index, BEGIN_US + hour * HOUR_US)
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    assert len(state.packs) <= 5


def test_what_comes_late_is_in_the_next_pack(store: Place, index: Index) -> None:
    done = packed_at(store, index, BEGIN_US + 6 * HOUR_US)
    key = next(
        entry.key
        for entry in store.list("events", "", 10**9, False)
        if event_key_parts(entry.key)[0][:13] == done.through
    )
    raw = store.get(key).data.replace(b'"nonce":"', b'"nonce":"late')
    late = f"{key[:-69]}{digest(raw)}.json"
    store.put(late, raw)
    assert digest(raw) not in held(store)
    packed_at(store, index, BEGIN_US + 8 * HOUR_US)
    assert held(store)[digest(raw)] == 1


def test_a_killed_packer_leaves_nothing_that_is_read(
    store: Place, index: Index, tmp_path: Path
) -> None:
    packer = pack(Clock(END_US).client("killed"), index)
    given: Any = None
    while True:
        step = packer.send(given)
        given = (
            [answer(one, store, lambda _: None) for one in step]
            if type(step) is tuple
            else answer(step, store, lambda _: None)
        )
        if isinstance(step, Put) and step.key.startswith("packs/"):
            break
    packer.close()
    fresh, requests = cold(store, tmp_path / "fresh")
    assert requests["Get packs"] == 0
    assert_same(fresh, read_truth(store))
    fresh.close()


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_damaged_pack_is_named(what: str, store: Place, index: Index, tmp_path: Path) -> None:
    packed_at(store, index)
    (entry,) = store.list("packs", "", 9, False)
    if what == "changed":
        raw = bytearray(store.get(entry.key).data)
        raw[len(raw) // 2] ^= 1
        store.put(entry.key, bytes(raw))
    else:
        store.delete(entry.key)
    with pytest.raises(Damaged, match=entry.key.split("/")[2][:16]):
        cold(store, tmp_path / "fresh")


def test_an_index_that_lies_is_not_packed(store: Place, index: Index) -> None:
    client = Clock(END_US).client("packer")
    run(sync(client, index), store)
    chain = next(c for c in index.chains() if chain_kind(c) == "memory" and index.head(c) > 2)
    number = index._number_of_chain(chain)
    raw = index.version(chain, 2).raw.replace(b'"memory.', b'"memorx.')
    index._db.execute("UPDATE versions SET raw=? WHERE chain=? AND seq=2", (raw, number))
    with pytest.raises(Damaged, match="not the same in the store"):
        packed_at(store, index)
    assert not store.list("chains/pack", "", 9, False)


def test_packs_that_changed_meanwhile_are_looked_at_anew(
    store: Place, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise Refused("too late", code="packs-changed")
        yield Get("")

    monkeypatch.setattr(packing_module, "append", refuse)
    with pytest.raises(Refused):
        packed_at(store, index)
    assert len(asked) == packing_module.TRIES_MAX


# -- gc -------------------------------------------------------------------------------------------


def collected(store: Place, *, remove: bool = True, later_h: float = 0.0) -> Collected:
    """Let time pass, write something then, and remove."""
    store.clock.us += round(later_h * HOUR_US)
    client = store.clock.client("keeper")
    run(set_value(client, "time", "passes"), store)
    done: Collected = run(collect(client, remove=remove), store)
    return done


def keys(store: Place, folder: str) -> list[str]:
    return [entry.key for entry in store.list(folder, "", 10**9, False)]


def union(before: Truth, after: Truth) -> Truth:
    """Return what a store holds with the events that were removed."""
    return Truth(after.chains, before.events | after.events)


def test_gc_removes_only_what_is_packed_and_old(store: Place, index: Index) -> None:
    before = keys(store, "events")
    assert collected(store, later_h=30) == Collected(unpacked=len(before), removed=True)
    assert set(keys(store, "events")) > set(before)
    packed_at(store, index, END_US + 31 * HOUR_US)
    dry = collected(store, remove=False)
    assert dry.events >= len(before)
    assert set(keys(store, "events")) > set(before)
    slots, blobs = keys(store, "chains"), keys(store, "blobs")
    done = collected(store)
    assert done == dry._replace(removed=True)
    left = keys(store, "events")
    assert not set(left) & set(before)
    # What was written within the last day is there, packed or not.
    assert len(left) >= 4
    assert set(keys(store, "chains")) > set(slots)
    assert keys(store, "blobs") == blobs
    again = collected(store)
    assert again.events == 0
    assert again.through == done.through


def test_nothing_younger_than_a_day_goes(store: Place, index: Index) -> None:
    packed_at(store, index)
    done = collected(store, later_h=23.95)
    assert done.events == 0
    assert done.through == ""
    assert collected(store, later_h=0.1).events > 1000


def late_event(store: Place) -> str:
    """Put an event of an hour that is packed; schedules always pack one before it is a day old."""
    key = keys(store, "events")[5]
    raw = store.get(key).data.replace(b'"nonce":"', b'"nonce":"late')
    late = f"{key[:-69]}{digest(raw)}.json"
    store.put(late, raw)
    return late


def test_without_the_look_into_packs_something_would_be_lost(
    store: Place, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The planted bug: what is old and of a packed hour is taken to be in a pack.
    monkeypatch.setattr(gc_module._Held, "holds", lambda self, event: True)
    packed_at(store, index)
    late = late_event(store)
    collected(store, later_h=48)
    assert store.get(late) is None


def test_what_no_pack_holds_stays(store: Place, index: Index) -> None:
    packed_at(store, index)
    late = late_event(store)
    done = collected(store, later_h=48)
    # And the one that named the pack, which no pack holds yet.
    assert done.unpacked == 2
    assert store.get(late) is not None


@pytest.mark.parametrize("what", ["changed", "missing", "of something else"])
def test_nothing_goes_where_a_pack_is_damaged(what: str, store: Place, index: Index) -> None:
    packed_at(store, index)
    (entry,) = store.list("packs", "", 9, False)
    before = keys(store, "events")
    if what == "missing":
        store.delete(entry.key)
    else:
        raw = store.get(entry.key).data
        store.put(entry.key, raw[:-9] + b"x" * 9 if what == "changed" else b"x")
    with pytest.raises(Damaged):
        collected(store, later_h=48)
    assert set(keys(store, "events")) >= set(before)


def test_the_floor_is_raised_before_anything_goes(store: Place, index: Index) -> None:
    packed_at(store, index)
    store.clock.us += 48 * HOUR_US
    client = store.clock.client("keeper")
    run(set_value(client, "time", "passes"), store)
    gone = collect(client, remove=True)
    given: Any = None
    while True:
        step = gone.send(given)
        if isinstance(step, Delete):
            break
        given = answer(step, store, lambda _: None)
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    assert all(key.split("/")[1] <= state.floor <= state.through for key in step.keys)


def test_folded_packs_and_old_announcements_go_too(store: Place, index: Index) -> None:
    for hour in range(4, 27):
        packed_at(store, index, BEGIN_US + hour * HOUR_US)
    store.put("pending/inbox/alice/2026-01-05T080000.000000Z-0000-x.json", b"{}")
    store.put(pack_key("0" * 64), b"put by somebody who has not named it yet")
    done = collected(store, later_h=48)
    assert done.announcements == 1
    assert done.packs > 5
    assert keys(store, "pending") == []
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    named = {pack_key(one.pack) for one in state.packs}
    assert set(keys(store, "packs")) == {*named, pack_key("0" * 64)}


def answers(store: Place, folder: Path) -> dict[str, Any]:
    """Return what everything that looks back says, but for the chain of packs itself."""
    index = Index(folder)
    client = store.clock.client("anybody")
    for _ in range(2):
        run(sync(client, index), store)
    rows = list(read_log(index, Filter(), attempts=True))
    rows = [row for row in rows if (row.commit or row.attempt).event.chains[0] != PACKS]
    events = [(row.commit or row.attempt).event.id for row in rows]
    moments = [(row.commit or row.attempt).at for row in rows[:: max(1, len(rows) // 5)]]
    with derived.reading(index):
        states = [run(read_state(index, at), store) for at in moments]
        diffs = [
            run(read_diff(index, first, last), store)
            for first, last in zip(moments[1:], moments[:-1], strict=True)
        ]
    found: list[Damage] = []
    checked = run(fsck("demo", found.append), store)
    told = {
        "log": [repr(row) for row in rows],
        "show": [encode(run(show_id(index, event), store)) for event in events[::40]],
        "states": repr(states),
        "diffs": repr(diffs),
        "agents": [a for a in run(list_agents(client), store) if a.name != "keeper"],
        "fsck": [checked.attempts, checked.blobs, checked.damaged, [d.code for d in found]],
        "replay": [repr(beat) for beat in read_beats(index, until=moments[0])],
    }
    index.close()
    return told


class Died(Exception):  # noqa: N818 - it says what happened
    """A client is gone in the midst of a protocol."""


def moved(store: Place, agent: str, keys: tuple[str, str], dies_at: int | None = None) -> None:
    """Move one unit between two keys; the agent dies before its ``dies_at``-th create."""
    client = store.clock.client(agent)
    txn = Transaction(client)
    txn.memory_incr(keys[0], -1)
    txn.memory_incr(keys[1], 1)
    creates = 0

    def reply(step: Any) -> Any:
        nonlocal creates
        if isinstance(step, Create):
            if creates == dies_at:
                raise Died
            creates += 1
        return answer(step, store, store.clock.pass_s)

    protocol, given = txn.protocol(None), None
    while True:
        try:
            step = protocol.send(given)
        except StopIteration:
            return
        given = [reply(one) for one in step] if type(step) is tuple else reply(step)


def trade(store: Place, rng: random.Random) -> None:
    """Add transactions of some hours: committed, aborted by who was in the way, and left open."""
    store.clock.us = BEGIN_US + 2 * HOUR_US
    pairs = [("gold", "salt"), ("salt", "wool"), ("wool", "gold")]
    for nth in range(24):
        store.clock.pass_s(rng.uniform(60, 3000))
        dies = (None, 1, None)[nth % 3]
        with suppress(Died):
            moved(store, f"trader-{nth % 2}", rng.choice(pairs), dies)
    with suppress(Died):
        moved(store, "last", ("left", "open"), 1)


def test_transactions_are_packed_as_what_became_of_them(tmp_path: Path) -> None:
    store = Place({})
    trade(store, random.Random(3))
    chains = read_truth(store).chains.values()
    parts = [version for versions in chains for version in versions if version.txn is not None]
    held = Counter(version.txn["id"] for version in parts)
    ways = Counter(held[v.txn["id"]] == len(v.txn["slots"]) for v in parts)
    assert ways[True] > 10
    assert ways[False] > 3
    packer = Index(tmp_path / "packer")
    packed_at(store, packer)
    packer.close()
    fresh, requests = cold(store, tmp_path / "fresh")
    again = Index(tmp_path / "again")
    run(sync(store.clock.client("reader"), again, full=True), Place(without_packs(store)))
    assert requests["Get chains"] < len(parts) + 5
    for chain in ("memory/gold", "memory/salt", "memory/wool", "memory/left", "memory/open"):
        one, other = (
            [(v.raw, v.aborted, v.events) for v in index.versions(ChainId(chain))]
            for index in (fresh, again)
        )
        assert one == other, chain
    assert {a.event.id for a in fresh.attempts()} == {a.event.id for a in again.attempts()}
    fresh.close()
    again.close()


def without_packs(store: Place) -> dict[str, Found]:
    return {k: found for k, found in store._objects.items() if "pack" not in k}


@pytest.mark.parametrize("seed", range(4))
def test_after_gc_everything_answers_as_before(seed: int, tmp_path: Path) -> None:
    store = Place({})
    store.put(
        "tclog.json", encode({"created_at": stamp(0), "format": 1, "id": "x", "project": "demo"})
    )
    rng = random.Random(seed)
    generate(store, events=rng.randint(60, 500), seed=seed, agents=rng.randint(2, 8))
    if seed % 2:
        trade(store, rng)
    packer = Index(tmp_path / "packer")
    for hour in sorted(rng.sample(range(4, 27), rng.randint(1, 4))):
        packed_at(store, packer, BEGIN_US + hour * HOUR_US)
    store.clock.us = END_US + 48 * HOUR_US
    run(set_value(store.clock.client("keeper"), "time", "passes"), store)
    before, truth = answers(store, tmp_path / "before"), read_truth(store)
    store.clock.pass_s(60)
    removed = run(collect(store.clock.client("keeper"), remove=True), store)
    assert removed.events > 0
    after = answers(store, tmp_path / "after")
    for name, told in before.items():
        assert after[name] == told, name
    copies = Place({}), Place({})
    told: list[str] = []
    tell = lambda key, why: told.append(f"{key} {why}")  # noqa: E731
    run(
        copy_log(Target("to/"), tell, mount="from/"),
        Mounted(**{"from": store, "to": copies[0]}),
    )
    lines: list[bytes] = []
    run(export(lines.append, tell, software="test"), store)
    run(import_log(Reader(lines)), copies[1])
    assert not [one for one in told if not getattr(one, "harmless", False)]
    for nth, copy in enumerate(copies):
        copy.clock.us = store.clock.us
        assert {k: f.data for k, f in copy._objects.items()} == {
            k: f.data for k, f in store._objects.items()
        }
        fresh, _ = cold(copy, tmp_path / f"copy-{nth}", copy.clock.us)
        assert {a.event.id for a in fresh.attempts()} == truth.events - {
            event for event, _ in truth.committed
        }
        fresh.close()
    packer.close()


def test_fsck_names_what_is_wrong_with_packs(store: Place, index: Index) -> None:
    store.put(
        "tclog.json", encode({"created_at": stamp(0), "format": 1, "id": "x", "project": "demo"})
    )
    packed_at(store, index)
    collected(store, later_h=48)

    def codes() -> set[str]:
        return {damage.code for damage in fscked(store) if damage.code != "stamps-copied"}

    assert codes() == set()
    (entry,) = store.list("packs", "", 9, False)
    whole = store.get(entry.key).data
    store.delete(entry.key)
    # The committed events, and nothing else: their objects are gone, and now so is the pack.
    assert codes() == {"pack-missing", "event-missing"}
    store.put(entry.key, whole[:-1])
    assert codes() == {"pack-damaged", "event-missing"}
    store.put(entry.key, whole)
    store.put("packs/strange", b"")
    assert codes() == {"stray-object"}
    store.delete("packs/strange")
    chain = next(c for c in index.chains() if index.head(c) == 1)
    version = index.version(chain, 1)
    fields = {k: v for k, v in version.record.items() if k not in ("sum", "at")}
    fields["at"] = f"{version.at[:20]}000001Z-0000"
    fields["sum"] = digest(encode(fields))
    store.put(slot_key(chain, 1), encode(fields))
    assert "pack-mismatch" in codes()


def raced(store: Place, folder: Path, at: int) -> set[str]:
    """Pack and remove after so many requests of a cold reader; return the attempts it lacks."""
    truth = read_truth(store)
    attempts = truth.events - {event for event, _ in truth.committed}
    index, packer = Index(folder / f"reader-{at}"), Index(folder / f"packer-{at}")
    reading = sync(store.clock.client("reader"), index)
    given: Any = None
    for nth in range(100_000):
        if nth == at:
            packed_at(store, packer, store.clock.us)
            run(collect(store.clock.client("keeper"), remove=True), store)
        try:
            step = reading.send(given)
        except StopIteration:
            break
        given = (
            [answer(one, store, lambda _: None) for one in step]
            if type(step) is tuple
            else answer(step, store, lambda _: None)
        )
    seen = {attempt.event.id for attempt in index.attempts()}
    seen |= {commit.event.id for commit in index.commits()}
    index.close()
    packer.close()
    return attempts - seen


def aged(seed: int) -> Place:
    store = Place({})
    generate(store, events=150, seed=seed)
    store.clock.us += 48 * HOUR_US
    run(set_value(store.clock.client("keeper"), "time", "passes"), store)
    return store


CUTS = (0, 1, 2, 4, 8, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 25)


def test_a_reader_that_races_with_gc_sees_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains_module, "PAGE", 40)
    for at in CUTS:
        assert not raced(aged(7), tmp_path, at), at


def _no_floor(patch: pytest.MonkeyPatch) -> None:
    def append(*_: Any, **__: Any) -> Any:
        return None
        yield

    patch.setattr(gc_module, "append", append)


def _floor_ignored(patch: pytest.MonkeyPatch) -> None:
    def read_removed(*_: Any, **__: Any) -> Any:
        return
        yield

    patch.setattr(PackSync, "read_removed", read_removed)


@pytest.mark.parametrize("plant", [_no_floor, _floor_ignored])
def test_without_the_floor_something_would_be_missed(
    plant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains_module, "PAGE", 40)
    plant(monkeypatch)
    assert any(raced(aged(7), tmp_path, at) for at in CUTS)


def across_hours(store: Place) -> None:
    """Set a value in the last moment of an hour: the event is of that hour, the version is not."""
    store.clock.us = BEGIN_US + 5 * HOUR_US - 100_000
    writer = set_value(store.clock.client("alice"), "late", "value")
    given: Any = None
    with suppress(StopIteration):
        while True:
            step = writer.send(given)
            given = answer(step, store, lambda _: None)
            if isinstance(step, Put):
                store.clock.pass_s(0.2)


@pytest.mark.parametrize("later_h", [0, 26])
@pytest.mark.parametrize("who", ["new", "behind"])
def test_what_was_committed_as_a_packed_hour_ended_is_seen(
    who: str, later_h: int, index: Index, tmp_path: Path
) -> None:
    store = Place({})
    store.clock.us = BEGIN_US
    run(set_value(store.clock.client("bob"), "time", "passes"), store)
    reader = Index(tmp_path / "reader")
    if who == "behind":
        run(sync(store.clock.client("reader"), reader), store)
    across_hours(store)
    store.clock.us = BEGIN_US + 6 * HOUR_US + 600_000_000
    run(set_value(store.clock.client("bob"), "time", "passes"), store)
    done = packed_at(store, index, store.clock.us)
    assert (done.versions, done.events, done.through) == (1, 1, "2026-01-05T12")
    if later_h:
        assert collected(store, later_h=later_h).events == 2
    run(sync(store.clock.client("reader"), reader), store)
    assert reader.head(ChainId("memory/late")) == 1
    assert not list(reader.attempts())
    reader.close()


# -- packs that are made and folded while others read them ----------------------------------------


def named(store: Place) -> None:
    store.put(
        "tclog.json", encode({"created_at": stamp(0), "format": 1, "id": "x", "project": "demo"})
    )


def upset(
    store: Place, protocol: Protocol[Any], folder: str, meanwhile: Any, place: Any = None
) -> Any:
    """Drive a protocol; do something before its first request below a folder."""
    given: Any = None
    waiting = [meanwhile]
    while True:
        try:
            step = protocol.send(given)
        except StopIteration as end:
            return end.value
        steps = step if type(step) is tuple else (step,)
        names = [getattr(one, "key", "") or getattr(one, "prefix", "") for one in steps]
        if waiting and any(name.startswith(folder) for name in names):
            waiting.pop()()
        given = [answer(one, place or store, store.clock.pass_s) for one in steps]
        given = given if type(step) is tuple else given[0]


@pytest.fixture(name="aging")
def given_aging(tmp_path: Path) -> Place:
    """Give a store with a pack that is old enough to go once it was folded into another."""
    store = Place({})
    named(store)
    generate(store, events=150, seed=3)
    first = Index(tmp_path / "first")
    packed_at(store, first, BEGIN_US + 10 * HOUR_US)
    first.close()
    store.clock.us = END_US + 40 * HOUR_US
    return store


def fold(store: Place, folder: Path) -> None:
    """Fold the packs into one, and remove them."""
    index = Index(folder / "other")
    store.clock.pass_s(3 * 3600)
    run(set_value(store.clock.client("other"), "time", "passes"), store)
    assert packed_at(store, index, store.clock.us).replaced == 1
    assert collected(store).packs == 1
    index.close()


@pytest.mark.parametrize("who", ["pack", "gc", "fsck", "sync"])
def test_a_pack_that_was_folded_into_another_is_not_missed(
    who: str, aging: Place, index: Index, tmp_path: Path
) -> None:
    client = aging.clock.client("reader")
    told: list[Damage] = []
    if who == "pack":
        run(sync(client, index), aging)
    protocol: Protocol[Any] = {
        "pack": lambda: pack(client, index),
        "gc": lambda: collect(client, remove=True),
        "fsck": lambda: fsck("demo", told.append),
        "sync": lambda: sync(client, index),
    }[who]()
    upset(aging, protocol, "packs/", lambda: fold(aging, tmp_path))
    assert not [one for one in told if not getattr(one, "harmless", False)]
    fresh, _ = cold(aging, tmp_path / "fresh", aging.clock.us)
    assert fresh.head(PACKS) >= 3
    fresh.close()


def copied(store: Place, folder: str, meanwhile: Any) -> Place:
    """Copy a log, and do something to it before the copy comes to a folder."""
    copy = Place({})
    copy.clock.us = store.clock.us
    told: list[str] = []
    target = copy_log(Target("to/"), lambda key, why: told.append(f"{key} {why}"), mount="from/")
    both = Mounted(**{"from": store, "to": copy})
    done = upset(store, target, f"from/{folder}", meanwhile, both)
    assert not [one for one in told if not getattr(one, "harmless", False)]
    found = [damage for damage in fscked(copy) if not damage.harmless]
    assert not found
    assert (done.present, done.versions) == (0, len(keys(copy, "chains")))
    return copy


def assert_heads(index: Index, store: Place) -> None:
    """An index that was read from packs ends where the chains do."""
    chains = read_truth(store).chains
    assert {c: index.head(c) for c in index.chains()} == {c: len(vs) for c, vs in chains.items()}


@pytest.mark.parametrize("folder", ["events", "packs"])
def test_a_copy_has_the_packs_that_it_names(folder: str, aging: Place, tmp_path: Path) -> None:
    copy = copied(aging, folder, lambda: fold(aging, tmp_path))
    fresh, _ = cold(copy, tmp_path / "fresh", aging.clock.us)
    assert_heads(fresh, copy)
    fresh.close()


def test_a_copy_tells_of_a_pack_that_is_missing(store: Place, index: Index) -> None:
    named(store)
    packed_at(store, index)
    (pack,) = keys(store, "packs")
    store.delete(pack)
    told: list[tuple[str, str]] = []

    def tell(key: str, why: str) -> None:
        told.append((key, why))

    both = Mounted(**{"from": store, "to": MemoryStore()})
    done = run(copy_log(Target("to/"), tell, mount="from/"), both)
    assert (done.damaged, done.packs) == (1, 0)
    done = run(export(lambda _: None, tell, software="test"), store)
    assert (done.damaged, done.packs) == (1, 0)
    assert told == [(pack, "is missing, named by pack/log")] * 2


def test_a_copy_has_the_slots_of_what_was_packed_meanwhile(
    store: Place, index: Index, tmp_path: Path
) -> None:
    # A copy that takes hours: it has listed the slots, and more were made and packed since.
    def meanwhile() -> None:
        run(set_value(store.clock.client("bob"), "fresh", "value"), store)
        store.clock.pass_s(3 * 3600)
        run(set_value(store.clock.client("bob"), "time", "passes"), store)
        packed_at(store, index, store.clock.us)

    named(store)
    copy = copied(store, "events", meanwhile)
    fresh, _ = cold(copy, tmp_path / "fresh", store.clock.us)
    assert fresh.head(ChainId("memory/fresh")) == 1
    assert_heads(fresh, copy)
    fresh.close()


def test_fsck_misses_the_newest_version_that_a_pack_holds(store: Place, index: Index) -> None:
    named(store)
    packed_at(store, index)
    chain = next(c for c in index.chains("memory"))
    store.delete(slot_key(chain, index.head(chain)))
    found = [damage for damage in fscked(store) if not damage.harmless]
    assert [(one.code, one.where.chain) for one in found] == [("version-missing", chain)]


def test_an_event_whose_version_comes_while_its_pack_is_folded_stays_in_packs(
    index: Index, tmp_path: Path
) -> None:
    store = Place({})
    named(store)
    store.clock.us = BEGIN_US
    # Stopped for days between its event and its version.
    writer = set_value(store.clock.client("alice"), "late", "value")
    step = next(writer)
    while not isinstance(step, Create):
        step = writer.send(answer(step, store, lambda _: None))
    for key in "ab":
        run(set_value(store.clock.client("bob"), key, "value"), store)
    packed_at(store, index, BEGIN_US)
    store.clock.us += 3 * HOUR_US
    run(set_value(store.clock.client("bob"), "time", "passes"), store)
    assert packed_at(store, index, store.clock.us).events == 1
    assert collected(store, later_h=30).events == 3
    for n in range(9):
        run(set_value(store.clock.client("bob"), f"new-{n}", "value"), store)
    store.clock.us += 3 * HOUR_US
    run(set_value(store.clock.client("bob"), "time", "passes"), store)

    def arrive() -> None:
        # It is committed now, and another process of the machine, which shares the index, sees it.
        with suppress(StopIteration):
            writer.send(answer(step, store, lambda _: None))
        other = Index(tmp_path / "cache")
        run(sync(store.clock.client("other"), other, full=True), store)
        other.close()

    run(sync(store.clock.client("packer"), index), store)
    upset(store, pack(store.clock.client("packer"), index), "blobs/", arrive)
    found = [damage for damage in fscked(store) if not damage.harmless]
    assert not found


def test_so_many_objects_are_removed_at_once_as_s3_allows(store: Place, index: Index) -> None:
    packed_at(store, index)
    store.clock.us += 48 * HOUR_US
    client = store.clock.client("keeper")
    run(set_value(client, "time", "passes"), store)
    told: Counter[str] = Counter()
    removed: list[int] = []

    def delete(*names: str) -> None:
        removed.append(len(names))
        MemoryStore.delete(store, *names)

    store.delete = delete
    done = run(collect(client, remove=True, progress=lambda what, n: told.update({what: n})), store)
    assert done.events > 1000
    assert sum(removed) == done.events
    assert max(removed) <= 1000
    assert told == {"objects": done.events, "packs": 1}


def test_what_lies_beyond_the_first_page_of_a_listing_is_packed_too(
    store: Place, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "PAGE", 100)
    told: Counter[str] = Counter()
    store.clock.us = END_US
    client = store.clock.client("packer")
    done = run(pack(client, index, progress=lambda what, n: told.update({what: n})), store)
    assert set(held(store)) >= closed_events(store, done.through)
    assert told["versions"] == done.versions
    assert told["objects"] > 1000
    again = packed_at(store, index)
    assert again == Packed(through=done.through)
    assert (again.packs, again.versions, again.events, again.bytes, again.replaced) == (0,) * 5


def test_a_large_pack_is_not_made_anew(
    store: Place, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing_module, "WHOLE_VERSIONS", 50)
    first = packed_at(store, index, BEGIN_US + 12 * HOUR_US)
    assert first.versions >= 50
    kept = set(keys(store, "packs"))
    second = packed_at(store, index)
    assert second.packs >= 1
    assert second.replaced == 0
    _, state = run(read_packs_head(Clock(END_US).client("checker")), store)
    assert kept < {pack_key(one.pack) for one in state.packs}


@pytest.mark.parametrize("folder", ["events", "packs"])
def test_a_copy_tells_of_what_vanishes_after_it_was_listed(
    store: Place, index: Index, folder: str
) -> None:
    """Unless it was removed because packs hold it."""
    named(store)
    packed_at(store, index)
    run(set_value(store.clock.client("late"), "late", "x"), store)
    gone = keys(store, folder)[-1]
    shipped = store.get

    def get(key: str) -> Found | None:
        return None if key == gone else shipped(key)

    store.get = get
    told: list[tuple[str, str]] = []
    both = Mounted(**{"from": store, "to": MemoryStore()})
    target = copy_log(Target("to/"), lambda *words: told.append(words), mount="from/")
    done = run(target, both)
    assert told == [(gone, "is missing")]
    assert done.damaged == 1


def test_a_sync_says_what_it_found_in_packs_and_beside_them(
    store: Place, index: Index, tmp_path: Path
) -> None:
    packed_at(store, index, BEGIN_US + 12 * HOUR_US)
    fresh = Index(tmp_path / "fresh")
    store.clock.us = END_US + HOUR_US
    done = run(sync(store.clock.client("reader"), fresh), store)
    attempts = list(fresh.attempts())
    packed = {event for event in held(store) if any(a.event.id == event for a in attempts)}
    assert 0 < len(packed) < len(attempts)
    assert done.attempts == len(attempts)
    assert done.versions == sum(map(fresh.head, fresh.chains()))
    fresh.close()


def test_a_pack_that_says_other_things_than_the_slots_is_found_by_readers(
    store: Place, index: Index, tmp_path: Path
) -> None:
    """Each compares one version, drawn at random; what it took from the pack is not kept."""
    packed_at(store, index)
    for chain in index.chains("memory"):
        slot = slot_key(chain, 1)
        store._objects[slot] = store._objects[slot]._replace(data=b"{}")
    caught = 0
    for draw in range(20):
        fresh = Index(tmp_path / f"reader-{draw}")
        client = store.clock.client("reader")
        draws = iter([(draw + 0.5) / 20, *[0.0] * 1000])
        client.jitter = lambda draws=draws: next(draws)
        try:
            run(sync(client, fresh), store, lambda _: None)
        except Damaged as error:
            assert error.message.startswith("the pack packs/")
            assert error.details["object"] in error.message
            assert error.details["object"].startswith("chains/memory/")
            assert list(fresh.chains()) == []
            caught += 1
        fresh.close()
    assert 0 < caught < 20


def test_comparing_a_pack_costs_one_request_for_each(
    store: Place, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = packed_at(store, index)
    _, compared = cold(store, tmp_path / "compared")
    monkeypatch.setattr(PackSync, "_compare", lambda self, pack, firsts: iter(()))
    _, before = cold(store, tmp_path / "before")
    assert compared - before == Counter({"Get chains": made.packs})
