"""Packs and gc in a small world: what is packed is looked at again, and what is young stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tclog.chain.slots import newest_slot
from tclog.errors import Damaged
from tclog.event import blob_key, chain_id, slot_key
from tclog.event.names import pack_of
from tclog.event.packs import PackReader, decode_seen, events_of
from tclog.index import Index
from tclog.log.memory import get_value, set_value
from tclog.maintenance.copies.copy import _Copy, _Keys
from tclog.maintenance.copies.job import Job
from tclog.maintenance.gc import _Collecting, _Held, collect
from tclog.maintenance.pack import pack
from tclog.maintenance.void import void
from tclog.sync.objects import PACKS_FOLDER, unseen
from tclog.sync.packfiles import read_packs_head
from tclog.sync.sync import sync

from .test_copying import Kept
from .world import World

HOUR_S, DAY_S = 3600, 86_400
A = chain_id("memory", "a")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "cache")
    yield made
    made.close()


def write(world: World, agent: str, key: str) -> str:
    """Set a key; return the second of that."""
    return world.run(set_value(world[agent], key, f"of {agent}")).at[:19]


def packed(world: World, index: Index, after_s: float = DAY_S) -> int:
    """Pack after some time; return how many packs were made."""
    world.clock.pass_s(after_s)
    write(world, "keeper", "time")
    done = world.run(pack(world.client("keeper"), index))
    return done.packs


# -- what is packed -------------------------------------------------------------------------------


def seen(world: World) -> dict[str, str]:
    """Return when each agent acted last, as the packs say."""
    _, state = world.run(read_packs_head(world.client("reader")))
    assert state.agents is not None
    found = world.store.get(blob_key(state.agents["blob"]))
    assert found is not None
    return {agent: row[0][:19] for agent, row in decode_seen(found.data).items()}


def test_packs_say_when_each_agent_acted_last(world: World, index: Index) -> None:
    """Whichever of its keys that was; packs go through them in the order of their names."""
    last = {}
    for agent, keys in (("alice", "bca"), ("bob", "ayz"), ("carol", "m")):
        for key in keys:
            world.clock.pass_s(60)
            last[agent] = write(world, agent, f"{agent}-{key}")
    assert packed(world, index) == 1
    assert seen(world) == last  # the keeper acted in an hour that is open yet
    # The next pack goes on from there.
    last["bob"] = write(world, "bob", "bob-b")
    assert packed(world, index) == 1
    assert {agent: at for agent, at in seen(world).items() if agent != "keeper"} == last


@pytest.mark.parametrize("raw", [b"junk", b"other junk", None])
def test_what_a_version_ended_is_packed_as_it_was_when_it_ended(
    world: World, index: Index, raw: bytes | None
) -> None:
    write(world, "alice", "a")
    slot = slot_key(A, 2)
    world.store.put(slot, b"junk")
    world.run(void(world.client("carol"), None, A, 2, "a test"))
    world.run(sync(world.client("reader"), index))
    if raw is None:
        world.store.delete(slot)
    else:
        world.store.put(slot, raw)
    if raw == b"junk":
        assert packed(world, index) == 1
        assert world.run(get_value(world.client("bob"), "a")).value == "of alice"
        return
    with pytest.raises(Damaged, match="does not hold the junk that was ended"):
        packed(world, index)
    assert not world.store.list("packs", "", 9, False)


# -- what is removed ------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", [False, True])
def test_an_announcement_goes_when_it_is_more_than_a_day_old(world: World, remove: bool) -> None:
    """By the newest stamp of an event, which is of the store's clock."""
    begun_us = world.clock.us
    for nth, us in enumerate((-2, -1, 0, 1)):
        world.clock.us = begun_us + us
        world.store.put(f"pending/inbox/bob/{nth}", b"")
    world.clock.us = begun_us + DAY_S * 1_000_000
    world.store.put("events/2027-01-16T08/x", b"")
    done = world.run(collect(world["keeper"], remove=remove))
    assert (done.announcements, done.removed) == (2, remove)
    left = [row.key[-1] for row in world.store.list("pending", "", 9, False)]
    assert left == (["2", "3"] if remove else ["0", "1", "2", "3"])


def test_one_stamp_of_the_future_lets_nothing_go(world: World) -> None:
    world.store.put("pending/inbox/bob/0", b"")
    begun_us = world.clock.us
    world.clock.pass_s(30 * DAY_S)
    world.store.put("events/2027-02-16T08/x", b"")
    world.clock.us = begun_us + (DAY_S - 60) * 1_000_000
    assert world.run(collect(world["keeper"], remove=True)).announcements == 0
    world.clock.pass_s(120)
    assert world.run(collect(world["keeper"], remove=True)).announcements == 1


def test_an_event_goes_when_it_is_packed_and_more_than_a_day_old(
    world: World, index: Index
) -> None:
    write(world, "alice", "a")
    (row,) = world.store.list("events", "", 9, False)
    assert row.stored is not None
    assert packed(world, index, after_s=DAY_S - 600) == 1
    keeper = world.client("keeper")
    young = world.run(collect(keeper, remove=True))
    assert (young.events, young.announcements, young.unpacked) == (0, 0, 0)
    world.clock.pass_s(700)
    write(world, "alice", "b")
    done = world.run(collect(world.client("keeper"), remove=True))
    assert (done.events, done.bytes, done.unpacked) == (1, row.size, 0)
    assert row.key not in [one.key for one in world.store.list("events", "", 9, False)]


def test_a_pack_is_held_if_all_of_its_events_are(world: World, index: Index) -> None:
    for key in "abc":
        write(world, "alice", key)
    assert packed(world, index) == 1
    (row,) = world.store.list("packs", "", 9, False)
    found = world.store.get(row.key)
    assert found is not None
    name = pack_of(row.key)
    assert name is not None
    events = [event for event, _ in events_of(PackReader(found.data, name))]
    assert len(events) == 3
    with _Held() as held:
        collecting = _Collecting(world["keeper"], held, unseen)
        for event in events:
            assert not world.run(collecting._is_held(name))
            held.hold(event)
        assert world.run(collecting._is_held(name))
        assert not world.run(collecting._is_held("0" * 64))


def test_a_copy_tells_of_events_after_the_last_hour_of_which_some_may_be_missing(
    world: World, index: Index
) -> None:
    write(world, "alice", "a")
    packed(world, index)
    world.clock.pass_s(DAY_S)
    write(world, "keeper", "time")
    floor = world.run(collect(world["keeper"], remove=True)).through
    assert floor
    told: list[str] = []
    gone = [f"events/{hour}/x.json" for hour in (floor[:-2] + "00", floor, floor[:-2] + "99")]
    with _Keys() as seen_keys:
        copy = _Copy(Job(Kept(), lambda key, _: told.append(key)), seen_keys)
        copy._gone = gone
        head = world.run(newest_slot(PACKS_FOLDER))
        for row in world.store.list("packs", "", 9, False):
            seen_keys.add(row.key)
        world.run(copy.tell_missing(head))
        assert told == gone[2:]
        # A pack that is named and not there is told, once.
        told.clear()
        copy._gone = [row.key for row in world.store.list("packs", "", 9, False)]
        world.run(copy.tell_missing(head))
        assert told == copy._gone
