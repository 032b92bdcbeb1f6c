"""Sync misses nothing: late and slow writers, wrong clocks, faults, kills, races of processes."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from history.clocks import Clock
from history.truth import assert_numbers, assert_same, read_truth
from support.logs.generate import generate

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, answer, run
from tclog.clock import parse_us, stamp
from tclog.errors import Forked, RolledBack
from tclog.event import (
    ALL,
    ChainId,
    chain_id,
    decode,
    decode_version,
    event_key_parts,
    seal_version,
    slot_key,
)
from tclog.history.history import History
from tclog.history.log import read_log
from tclog.index import Commit, Filter, Index, asking
from tclog.log.inbox import read_inbox, send_message
from tclog.log.memory import set_value
from tclog.store.base import Create, Entry, Get, Keep, List, Put, Request
from tclog.store.memory import MemoryStore
from tclog.sync import chains as chains_module
from tclog.sync.chains import WINDOW_US
from tclog.sync.objects import unseen
from tclog.sync.sync import sync
from tclog.testing import Faults, Operation, Plan, Schedule, run_schedule
from tclog.testing.faults import NONE

Make = Callable[..., Client]
HOUR_S = 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Make:
    return clock.client


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(lambda: clock.us)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "cache")
    yield made
    made.close()


def until(protocol: Protocol[Any], store: MemoryStore, stop: Callable[[Any], bool]) -> Request:
    """Run a protocol up to a request, which is not carried out yet."""
    reply = None
    while True:
        step = protocol.send(reply)
        if type(step) is tuple:
            reply = [answer(one, store, lambda _: None) for one in step]
        elif stop(step):
            return step
        else:
            reply = answer(step, store, lambda _: None)


def finish(protocol: Protocol[Any], store: MemoryStore, step: Request) -> Any:
    """Carry out the request that a protocol stands at, and run it to its end."""
    try:
        while True:
            steps = step if type(step) is tuple else (step,)
            replies = [answer(one, store, lambda _: None) for one in steps]
            step = protocol.send(replies if type(step) is tuple else replies[0])
    except StopIteration as end:
        return end.value


def is_slot(step: Any) -> bool:
    return isinstance(step, Create) and step.key.startswith("chains/")


# -- everything at random -------------------------------------------------------------------------


def delayed(source: MemoryStore, rng: random.Random) -> list[tuple[int, str, bytes]]:
    """Return the objects of a log with the times at which they come to be, off in every way.

    Clocks are up to 110 s off, some events are put 4 minutes late and some slots land up to 15
    minutes after their time; a slot never comes before its event or the slot below it.
    """
    skew_us: dict[str, int] = {}
    put_us: dict[str, int] = {}
    plan: list[tuple[int, str, bytes]] = []
    for entry in source.list("events", "", 10**9, False):
        at, _, event = event_key_parts(entry.key)
        raw = source.get(entry.key).data
        off = skew_us.setdefault(decode(raw, "")["agent"], round(rng.uniform(-110e6, 110e6)))
        late = rng.uniform(0, 240e6) if rng.random() < 0.05 else 0
        put_us[event] = parse_us(at) + off + round(late)
        plan.append((put_us[event], entry.key, raw))
    truth = read_truth(source)
    for chain, versions in truth.chains.items():
        before_us = 0
        for version in versions:
            late = rng.uniform(0, 880e6) if rng.random() < 0.03 else 1000
            us = max(
                before_us + 1,
                *(put_us[event.id] for event in version.events),
                *((parse_us(version.at) + skew_us.get(version.by, 0),) * (not version.events)),
            )
            if version.merge is not None:
                # What is merged stands in its own chain by then.
                through = version.merge["through"]
                us = max(us, parse_us(truth.chains[ALL][through - 1].at) + 1_200_000_000)
            before_us = us + round(late)
            plan.append((before_us, slot_key(chain, version.seq), version.raw))
    return sorted(plan)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_committed_before_a_sync_is_found_by_it(
    seed: int, clock: Clock, client: Make, index: Index
) -> None:
    rng = random.Random(seed)
    source = MemoryStore()
    generate(source, events=900, seed=seed, span_s=rng.choice((600, 7200)))
    store = MemoryStore(lambda: clock.us)
    reader = client("reader", off_s=rng.choice((-HOUR_S * 3, -60, 0, 60, HOUR_S * 3)))
    due_us, syncs = 0, 0
    there: dict[str, int] = {}
    for us, key, raw in delayed(source, rng):
        clock.us = us
        store.put(key, raw)
        if key.startswith("chains/"):
            version = decode(raw, key)
            there[version["chain"]] = version["seq"]
        if us >= due_us:
            run(sync(reader, index), store)
            due_us = us + round(rng.choice((1e3, 1e6, 60e6, 400e6)) * rng.random())
            syncs += 1
            assert {chain: index.head(chain) for chain in there} == there
    for _ in range(3):  # to a clock that is behind, all stamps are of the future
        run(sync(reader, index), store)
    assert syncs > 10
    assert_same(index, read_truth(store))
    assert_numbers(index)


def simulated(seed: int, folder: Path, faults: Faults) -> None:
    """Let two clients sync beside a schedule's clients, and check each sync and the end."""
    indexes = [Index(folder / f"{seed}-{n}") for n in range(2)]
    seen: list[tuple[Operation, dict[str, int]]] = []

    def syncing(number: int) -> Callable[[random.Random], Iterator[Plan]]:
        index = indexes[number]

        def plans(rng: random.Random) -> Iterator[Plan]:
            for nth in range(10):
                operation = Operation(f"sync-{number}", "sync", {}, (90 + number, nth))

                def look(client: Client, operation: Operation = operation) -> Protocol[None]:
                    yield from sync(client, index)
                    seen.append((operation, {c: index.head(c) for c in index.chains()}))

                yield Plan(operation, look)

        return plans

    report = run_schedule(Schedule(seed, faults=faults), [syncing(0), syncing(1)])
    assert not report.violations
    clock = Clock(0)
    store = MemoryStore(lambda: clock.us)
    created_us: dict[tuple[str, int], int] = {}
    for us, _, what, request, _reply in report.happened:
        if what != "request":
            continue
        clock.us = us
        if isinstance(request, Keep):
            store.keep(request.key, request.data)
        elif isinstance(request, Put):
            store.put(request.key, request.data)
        elif isinstance(request, Create):
            made = store.create(request.key, request.data).stored
            if made and request.key.startswith("chains/"):
                record = decode(request.data, "")
                created_us[record["chain"], record["seq"]] = us
    for operation, heads in seen:
        for (chain, seq), us in created_us.items():
            assert us >= operation.invoked_us or heads.get(chain, 0) >= seq, (operation, chain, seq)
    clock.us += 60_000_000
    for index in indexes:
        client = clock.client("late")
        run(sync(client, index), store)
        run(sync(client, index), store)
        truth = read_truth(store)
        # An event's object that came later than the window, and was never committed, may be missed.
        found = {attempt.event.id for attempt in index.attempts()} | {e for e, _ in truth.committed}
        assert truth.events - found <= came_late(store)
        run(sync(client, index, full=True), store)
        assert_same(index, truth)
        assert_numbers(index)
        index.close()


def came_late(store: MemoryStore) -> set[str]:
    """Return the events whose objects came later than the window after their time."""
    listed = [(event_key_parts(e.key), e.stored) for e in store.list("events", "", 10**9, False)]
    return {
        parts[2]
        for parts, stored in listed
        if parts is not None and parse_us(stored) - parse_us(parts[0]) > WINDOW_US
    }


@pytest.mark.parametrize("seed", range(40))
def test_two_clients_sync_while_others_write_under_faults(seed: int, tmp_path: Path) -> None:
    simulated(seed, tmp_path, Faults(foreign=0))


@pytest.mark.parametrize("seed", range(100, 112))
def test_two_clients_sync_while_others_write(seed: int, tmp_path: Path) -> None:
    simulated(seed, tmp_path, NONE)


@pytest.mark.parametrize("seed", range(3))
def test_a_generated_log_comes_out_as_it_is(
    seed: int, client: Make, index: Index, clock: Clock
) -> None:
    store = MemoryStore()
    generate(store, events=2500, seed=seed)
    done = run(sync(client("x"), index), store)
    truth = read_truth(store)
    assert done.full
    assert done.versions == sum(map(len, truth.chains.values()))
    assert_same(index, truth)
    again = run(sync(client("x"), index), store)
    assert again[:2] == (0, 0)
    assert_numbers(index)


# -- late and slow --------------------------------------------------------------------------------


def written(client: Client, store: MemoryStore, key: str, value: str) -> None:
    run(set_value(client, key, value), store)


@pytest.mark.parametrize("off_s", [0, -110, 110])
def test_an_event_put_late_is_found(
    off_s: float, store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    """Its name is minutes old when it appears, and the newest listing was beyond it long ago."""
    slow, quick, reader = client("slow", off_s), client("quick"), client("reader")
    protocol = set_value(slow, "late", "v")
    step = until(protocol, store, lambda step: getattr(step, "key", "")[:7] == "events/")
    for _ in range(4):
        clock.pass_s(60)
        written(quick, store, "other", str(clock.us))
        run(sync(reader, index), store)
    finish(protocol, store, step)
    clock.pass_s(1)
    run(sync(reader, index), store)
    assert_same(index, read_truth(store))


@pytest.mark.parametrize("away_s", [1, 290, 899, 24.5 * 60])
def test_a_slot_that_lands_long_after_its_event_is_found(
    away_s: float, store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    slow, quick, reader = client("slow"), client("quick"), client("reader")
    protocol = set_value(slow, "late", "v")
    step = until(protocol, store, is_slot)
    written(quick, store, "other", "1")
    run(sync(reader, index), store)
    assert [a.event.agent for a in index.attempts()] == ["slow"]
    clock.pass_s(away_s)
    written(quick, store, "other", "2")
    run(sync(reader, index), store)
    answer(step, store, lambda _: None)
    run(sync(reader, index), store)
    assert index.head(chain_id("memory", "late")) == 1
    assert not list(index.attempts())
    assert_same(index, read_truth(store))


def test_a_slot_that_lands_just_after_a_sync_is_found_by_the_next_hours_later(
    store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    writing = set_value(client("slow"), "k", "v")
    step = until(writing, store, is_slot)
    run(sync(client("reader"), index), store)
    clock.pass_s(4)
    finish(writing, store, step)
    clock.pass_s(7 * HOUR_S)
    written(client("other"), store, "other", "x")
    run(sync(client("reader"), index), store)
    assert_same(index, read_truth(store))


def test_a_slot_that_lands_after_hours_is_found_within_a_day_or_when_asked(
    store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    slow, quick, reader = client("slow"), client("quick"), client("reader")
    protocols = [set_value(slow, name, "v") for name in ("a", "b", "c")]
    steps = [until(protocol, store, is_slot) for protocol in protocols]
    run(sync(reader, index), store)
    clock.pass_s(5 * HOUR_S)
    written(quick, store, "other", "1")
    run(sync(reader, index), store)
    for step in steps:
        answer(step, store, lambda _: None)
    written(quick, store, "a", "2")  # whatever touches the chain again brings all of it
    run(sync(reader, index), store)
    assert index.head(chain_id("memory", "a")) == 2
    assert index.head(chain_id("memory", "b")) == 0
    run(sync(reader, index, full=True), store)
    assert index.head(chain_id("memory", "b")) == 1
    other = Index(index.folder.parent / "other")
    run(sync(reader, other), store)
    assert_same(other, read_truth(store))
    clock.pass_s(25 * HOUR_S)
    written(quick, store, "other", "2")
    run(sync(reader, index), store)
    clock.pass_s(25 * HOUR_S)
    written(quick, store, "other", "3")
    assert run(sync(reader, index), store).full
    assert_same(index, read_truth(store))


def test_a_message_committed_to_its_second_inbox_days_later_is_found(
    store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    """The sender died between the two inboxes, and the command was repeated with the same --id."""
    alice, reader = client("alice"), client("reader")
    protocol = send_message(alice, "bob,carol", "hi", id="k")
    step = until(protocol, store, lambda s: is_slot(s) and s.key.startswith("chains/inbox/carol/"))
    assert isinstance(step, Create)
    run(sync(reader, index), store)
    (place,) = index.commits()
    assert (place.chain, place.event.chains) == ("inbox/bob", ["inbox/bob", "inbox/carol"])
    for _ in range(20):
        clock.pass_s(6 * HOUR_S)
        written(reader, store, "clock", str(clock.us))
        run(sync(reader, index), store)
    index.set_meta("full", stamp(clock.us))  # not by the daily round
    answer(step, store, lambda _: None)
    assert not run(sync(reader, index), store).full
    assert len(index.places(place.event.id)) == 2
    assert_same(index, read_truth(store))


def test_a_message_to_many_is_in_the_log_once_and_read_once_for_each_inbox(
    store: MemoryStore, index: Index, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names all inboxes in each: read for each again it took minutes with a thousand of them."""
    run(send_message(client("alice"), ",".join(f"a{n:02}" for n in range(40)), "hi"), store)
    run(sync(client("reader"), index), store)
    read: list[Commit] = []
    decode_commit = asking._commit
    monkeypatch.setattr(asking, "_commit", lambda row: read.append(decode_commit(row)) or read[-1])

    def logged(wanted: Filter, *, newest_first: bool) -> list[str | None]:
        rows = read_log(index, wanted, newest_first=newest_first)
        return [row.commit and row.commit.chain for row in rows]

    for newest_first in (True, False):
        assert logged(Filter(), newest_first=newest_first) == ["inbox/a00"]
        assert logged(Filter(chain="inbox/a1*"), newest_first=newest_first) == ["inbox/a10"]
    assert len(read) == 2 * (40 + 10)


def test_inboxes_that_only_took_in_broadcasts_are_found_newcomers_too(
    store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    alice, bob, reader = client("alice"), client("bob"), client("reader")
    newcomer = client("é" * 100)
    run(send_message(alice, "@all", "one"), store)
    run(read_inbox(bob), store)
    run(sync(reader, index), store)
    assert index.head(chain_id("inbox", "bob")) == 1
    run(send_message(alice, "@all", "two"), store)
    run(sync(reader, index), store)
    clock.pass_s(HOUR_S)
    written(alice, store, "clock", "1")
    run(sync(reader, index), store)
    run(read_inbox(bob), store)
    run(read_inbox(newcomer), store)
    run(sync(reader, index), store)
    assert index.head(chain_id("inbox", "bob")) == 2
    assert index.head(chain_id("inbox", "é" * 100)) == 1
    assert_same(index, read_truth(store))


@pytest.mark.parametrize(
    "name", ["é" * 100, "x" * 200, "a/b c", "~", "emoji 🎉", "@x", "..", "A", "a"]
)
def test_names_that_are_encoded_or_cut(
    name: str, store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    writer, reader = client("w"), client("reader")
    written(writer, store, "first", "1")
    run(sync(reader, index), store)
    written(writer, store, name, "1")
    lost = set_value(client("loser"), name, "2")
    step = until(lost, store, is_slot)
    written(writer, store, name, "3")
    run(sync(reader, index), store)
    assert_same(index, read_truth(store))
    finish(lost, store, step)
    run(sync(reader, index), store)
    assert_same(index, read_truth(store))
    again = Index(index.folder.parent / "again")
    run(sync(reader, again), store)
    assert_same(again, read_truth(store))


@pytest.mark.parametrize("slept", [False, True])
def test_what_is_put_behind_the_back_of_a_slow_sync_is_found_by_the_next(
    slept: bool,
    store: MemoryStore,
    index: Index,
    client: Make,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sync that takes 20 minutes has passed the place of an event that is put meanwhile."""
    monkeypatch.setattr(chains_module, "PAGE", 2)
    quick, ahead, reader = client("quick"), client("ahead", 100), client("reader")
    if slept:  # the machine slept meanwhile, which its monotonic clock does not tell
        reader.monotonic_s = lambda: 0.0
    written(quick, store, "a", "1")
    written(ahead, store, "b", "1")
    protocol = sync(reader, index)
    step = until(
        protocol, store, lambda s: isinstance(s, List) and s.prefix == "events" and s.after
    )
    clock.pass_s(50)
    written(quick, store, "behind", "1")
    clock.pass_s(1150)
    written(quick, store, "late", "1")
    finish(protocol, store, step)
    assert index.head(chain_id("memory", "behind")) == 0
    run(sync(reader, index), store)
    assert_same(index, read_truth(store))


# -- clocks ---------------------------------------------------------------------------------------


def test_a_stamp_from_the_future_hides_nothing(
    store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    """A restored file with a wrong time, or a machine whose clock was off for a moment."""
    writer, reader = client("w"), client("reader")
    written(writer, store, "a", "1")
    key = store.list("events", "", 10, False)[0].key
    clock.pass_s(400 * 24 * HOUR_S)
    store.put(key, store.get(key).data)
    clock.pass_s(-400 * 24 * HOUR_S)
    run(sync(reader, index), store)
    for nth in range(3):
        clock.pass_s(3 * HOUR_S)
        written(writer, store, f"k{nth}", "1")
        run(sync(reader, index), store)
        assert_same(index, read_truth(store))
    clock.pass_s(30 * HOUR_S)
    written(writer, store, "late", "1")
    run(sync(reader, index), store)
    assert run(sync(reader, index), store).full


def test_a_clock_of_the_store_that_is_set_back_hides_nothing(
    store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    writer = client("w")
    written(writer, store, "a", "1")
    run(sync(client("reader"), index), store)
    clock.pass_s(-5 * HOUR_S)
    written(client("fresh"), store, "b", "1")
    run(sync(client("reader"), index), store)
    assert_same(index, read_truth(store))


@pytest.mark.parametrize("off_s", [-6 * HOUR_S, 6 * HOUR_S])
def test_agents_and_readers_whose_clocks_are_hours_off(
    off_s: float, store: MemoryStore, index: Index, client: Make, clock: Clock
) -> None:
    for nth in range(4):
        written(client("wrong", off_s), store, f"a{nth}", "1")
        written(client("right"), store, f"b{nth}", "1")
        run(sync(client("reader", off_s), index), store)
        assert_same(index, read_truth(store))
        clock.pass_s(2 * HOUR_S)


# -- what is no log -------------------------------------------------------------------------------


def test_strange_objects_are_left_out_and_told(
    store: MemoryStore, index: Index, client: Make
) -> None:
    written(client("w"), store, "a", "1")
    for key in ("events/.DS_Store", "events/2026-11-23T16/x.json", "chains/.DS_Store",
                "chains/memory/.DS_Store", "chains/memory/%zz/9999999998.json"):  # fmt: skip
        store.put(key, b"x")
    reader = client("reader")
    for full in (True, False):
        run(sync(reader, index, full=full), store)
    assert any(".DS_Store is not an event" in warning for warning in reader.warnings)
    assert any("%zz is not a chain" in warning for warning in reader.warnings)
    assert index.chains() == ["memory/a"]


def rewritten(store: MemoryStore, key: str, **changes: Any) -> None:
    """Put another version in a slot, valid by itself."""
    record = decode(store.get(key).data, key)
    version = decode_version(
        store.get(key).data, chain=record["chain"], seq=record["seq"], stored=None
    )
    fields = {
        name: record.get(name)
        for name in ("chain", "seq", "prev", "prev_stored", "at", "by", "state", "now", "merge")
    }
    store.put(key, seal_version(**{**fields, "events": version.events, **changes}).raw)


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("seq", [2, 3, 4])
def test_a_version_that_does_not_follow_is_named(
    cold: bool, seq: int, store: MemoryStore, index: Index, client: Make
) -> None:
    writer, reader = client("w"), client("reader")
    chain = chain_id("memory", "a")
    for nth in range(4):
        written(writer, store, "a", str(nth))
        if not cold and nth + 2 == seq:
            run(sync(reader, index), store)
    rewritten(store, slot_key(chain, seq), prev="0" * 64)
    run(sync(reader, index), store)
    left_out = reader.left_out[chain]
    assert f"version {seq} of memory/a does not follow" in left_out.message
    assert left_out.hint == "tclog fsck"
    assert index.head(chain) == seq - 1


def test_a_missing_slot_is_named(store: MemoryStore, index: Index, client: Make) -> None:
    for nth in range(4):
        written(client("w"), store, "a", str(nth))
    store.delete(slot_key(chain_id("memory", "a"), 2))
    reader = client("reader")
    run(sync(reader, index), store)
    assert "version 2 of memory/a is missing" in reader.left_out["memory/a"].message
    assert index.head(chain_id("memory", "a")) == 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("later", [0, 1, 2, 3])
def test_a_store_that_was_set_back_is_told_and_the_index_is_kept(
    later: int, full: bool, store: MemoryStore, tmp_path: Path, client: Make, clock: Clock
) -> None:
    """A backup was restored and work went on from there: the index holds another past."""
    for nth in range(4):
        written(client("w"), store, "a", str(nth))
    history = History(store, client("reader"), tmp_path)
    history.sync()
    epoch, rows = history.index.epoch, history.index.last_row()
    set_back(store, 2)
    clock.pass_s(90)
    for nth in range(later):
        written(client(f"w{nth}"), store, "a", f"other {nth}")
    for _ in range(2):
        with pytest.raises(RolledBack if later < 2 else Forked) as told:
            history.sync(full=full)
        error = told.value
        assert error.details["remembered"]["version"] == 4
        found = error.details.get("found")
        assert found is None or found["agent"] == "w1"
        assert error.details["index"] == str(history.index.folder)
    assert (history.index.epoch, history.index.last_row()) == (epoch, rows)


@pytest.mark.parametrize("full", [False, True])
def test_one_chain_that_was_set_back_is_told(
    full: bool, store: MemoryStore, tmp_path: Path, client: Make, clock: Clock
) -> None:
    """Also where newer versions of other chains are there: a new event of it stands in no slot."""
    for key, count in (("a", 4), ("b", 1)):
        for nth in range(count):
            written(client("w"), store, key, str(nth))
    history = History(store, client("reader"), tmp_path)
    history.sync()
    store.delete(slot_key(chain_id("memory", "a"), 4))
    written(client("other"), store, "a", "another 3")
    with pytest.raises(Forked) as told:
        history.sync(full=full)
    assert told.value.details["found"]["agent"] == "other"


def set_back(store: MemoryStore, count: int) -> None:
    chain = chain_id("memory", "a")
    for seq in range(4, 4 - count, -1):
        store.delete(slot_key(chain, seq))
    for entry in store.list("events", "", 99, False)[-count:]:
        store.delete(entry.key)


def test_what_a_sync_holds_does_not_grow_with_what_is_new_in_a_chain(tmp_path: Path) -> None:
    versions = 100_000
    index = Index(tmp_path)
    key = slot_key(ChainId("memory/k"), versions)
    reading = chains_module.ChainSync(Clock().client("x"), index, unseen).catch_up(
        [ChainId("memory/k")]
    )
    tracemalloc.start()
    try:
        step = next(reading)
        while not isinstance(step[0], Get):
            step = reading.send([[Entry(key, 10)]])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2_000_000
    index.close()
