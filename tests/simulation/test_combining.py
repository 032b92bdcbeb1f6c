"""Combining: a crowd of senders to one inbox shares versions, and every promise holds meanwhile."""

import os
import time
from collections import Counter

import pytest

from simulation.crowds import (
    announce,
    carry,
    check_many_that_died,
    check_repeated_announcements,
    send,
    texts,
)
from simulation.interleaving import Running, World
from simulation.teeth import CROWD, HARSH_CROWD
from tclog.chain import append as append_module
from tclog.chain import combine as combine_module
from tclog.chain.combine import Joined
from tclog.chain.drive import answer
from tclog.chain.heads import DENIAL_KEPT_S, FileHeads
from tclog.clock import HybridClock
from tclog.errors import OutcomeUnknown, StoreDenied
from tclog.event import ALL, chain_id, slot_key
from tclog.log import inbox
from tclog.store.base import Delete
from tclog.testing import oracles, simulate
from tclog.testing.faults import NONE
from tclog.testing.scheduler import Operation, Plan, Simulation
from tclog.testing.workload import judge

SCHEDULES = 50
# One way of a request, in seconds: about that of S3 from a machine of the same region.
LATENCY_S = 0.03
CAROL = chain_id("inbox", "carol")


@pytest.mark.parametrize("options", [CROWD, HARSH_CROWD], ids=["crowd", "harsh"])
def test_a_crowd_breaks_no_promise(options, monkeypatch):
    combined = count_calls(monkeypatch, combine_module, "combine")
    for seed in range(SCHEDULES):
        assert not simulate(seed, **options).violations, seed
    assert combined[0] > SCHEDULES


def count_calls(monkeypatch, module, name):
    shipped, count = getattr(module, name), [0]

    def counted(*args):
        count[0] += 1
        return (yield from shipped(*args))

    monkeypatch.setattr(module, name, counted)
    return count


def crowd(senders, each, *, to="carol", seed=1, removes=True):
    """Let senders send without a pause; return the simulation, and what it shows."""
    simulation = Simulation(seed, NONE._replace(latency_s=LATENCY_S, pause_s=0.0))
    if not removes:
        simulation._verbs[Delete] = lambda *keys: StoreDenied("no s3:DeleteObject")

    def plans(number):
        for nth in range(each):
            token = f"t-{number}-{nth}"
            arguments = {"chains": (ALL if to == "@all" else CAROL,), "token": token, "to": to}
            operation = Operation(f"agent-{number}", "message.send", arguments, (number, nth))
            yield Plan(operation, lambda c, token=token: inbox.send_message(c, to, token))

    for number in range(senders):
        simulation.spawn(f"agent-{number}", plans(number))
    assert any(simulation.run() for _ in range(100))
    assert not list(judge(simulation))
    assert all(operation.outcome == "ok" for operation in simulation.operations)
    ends = [operation.returned_us for operation in simulation.operations]
    begins = [operation.invoked_us for operation in simulation.operations]
    sent = senders * each
    rate = sent / ((max(ends) - min(begins)) / 1e6)
    chains, _ = oracles.read_chains(simulation.store)
    return rate, simulation.requests / sent, chains, simulation


@pytest.mark.parametrize(("senders", "each", "faster"), [(32, 24, 4), (100, 24, 10)])
def test_a_crowd_is_served_sooner_than_by_the_plain_loop(senders, each, faster, monkeypatch):
    with_rate, with_requests, chains, simulation = crowd(senders, each)
    versions = chains.versions[CAROL]
    assert sum(len(version.events) for version in versions) == senders * each
    assert max(len(version.events) for version in versions) > senders / 4
    assert not simulation.store.list("pending", "", 10_000, False)
    shipped = inbox.append
    monkeypatch.setattr(
        inbox, "append", lambda *args, **known: shipped(*args, **known | {"joinable": False})
    )
    rate, requests, _, _ = crowd(senders, each)
    print(
        f"{senders} senders: {with_rate / rate:.1f} times as many messages a second,"
        f" {with_requests:.1f} requests a message instead of {requests:.1f}"
    )
    assert with_rate > faster * rate
    # Four at best: the event, its announcement, the event read by one, the version read, and a
    # share of the rest. The first message of each has to find the head, and to lose a race.
    assert with_requests < 6


def test_a_crowd_that_broadcasts_is_served_too():
    _, _, chains, _ = crowd(32, 6, to="@all")
    assert sum(len(version.events) for version in chains.versions[ALL]) == 32 * 6
    assert len(chains.versions[ALL]) < 32 * 6 / 2


def test_who_may_not_remove_announcements_soon_makes_none():
    """What was committed long ago would be read again by all, more of it with each message."""
    plain_rate, plain_requests, *_ = crowd(16, 1, removes=False)
    rate, requests, chains, simulation = crowd(16, 16, removes=False)
    assert sum(len(version.events) for version in chains.versions[CAROL]) == 16 * 16
    assert len(simulation.store.list("pending", "", 1000, False)) < 16 * 16 / 4
    assert requests < 2 * plain_requests
    assert rate > plain_rate / 2


def test_that_removal_is_denied_is_remembered_for_a_while(tmp_path):
    assert FileHeads(tmp_path).may_remove()
    FileHeads(tmp_path).deny_removal()
    assert not FileHeads(tmp_path).may_remove()
    (denial,) = tmp_path.iterdir()
    long_ago_s = time.time() - DENIAL_KEPT_S - 60
    os.utime(denial, (long_ago_s, long_ago_s))
    assert FileHeads(tmp_path).may_remove()


def test_one_sender_pays_nothing():
    _, requests, chains, simulation = crowd(1, 30)
    assert len(chains.versions[CAROL]) == 30
    assert requests < 3.1  # the first of a process has to find the head
    assert not simulation.store.list("pending", "", 10, False)


@pytest.fixture
def always_crowded(monkeypatch):
    monkeypatch.setattr(append_module, "_is_hot", lambda *args: True)


@pytest.mark.usefixtures("always_crowded")
def test_what_a_dead_sender_announced_is_helped_through_for_a_while():
    world = World()
    announce(world, "alice", "from the dead")
    world.now_us += 4 * 60 * 1_000_000
    send(world, "bob", "one")
    assert sorted(texts(world)) == ["from the dead", "one"]
    assert not world.store.list("pending", "", 10, False)


@pytest.mark.usefixtures("always_crowded")
def test_after_five_minutes_it_is_left_alone():
    """As any other event, it is in no version that is made later."""
    world = World()
    announce(world, "alice", "from the dead")
    world.now_us += combine_module.LINGERS_US + 60_000_000
    send(world, "bob", "one")
    assert texts(world) == ["one"]


def test_the_many_that_died_hide_nobody():
    assert not list(check_many_that_died())


@pytest.mark.usefixtures("always_crowded")
def test_nor_is_it_when_all_others_are_served():
    """Bob makes the next version for those who wait, and only the dead one's is left."""
    world = World()
    announce(world, "zoe", "from the dead")
    world.now_us += combine_module.LINGERS_US + 60_000_000
    bob = Running(world, inbox.send_message(world.client("bob"), "carol", "two"))
    while not world.store.list("pending", "", 10, False)[1:]:
        bob.go(1)
    for name in ("dan", "eve"):
        announce(world, name, name)
    send(world, "alice", "one")
    assert sorted(texts(world)) == ["dan", "eve", "one", "two"]
    bob.go(1000)
    assert bob.ended
    assert "from the dead" not in texts(world)


@pytest.mark.usefixtures("always_crowded")
def test_who_meets_damage_after_the_announcement_does_not_know():
    """Once it is mended, another commits what was announced."""
    world = World()
    announced = announce(world, "alice", "zero")
    send(world, "bob", "one")
    send(world, "bob", "one more")
    world.store.put(announced, b"")  # arrives late, so the first version is looked at again
    first = slot_key(CAROL, 1)
    lost = world.store.get(first).data
    world.store.delete(first)
    with pytest.raises(OutcomeUnknown):
        send(world, "dan", "two")
    world.store.create(first, lost)
    send(world, "eve", "three")
    assert "two" in texts(world)


@pytest.mark.usefixtures("always_crowded")
def test_an_announcement_that_arrives_late_is_as_old_as_its_event():
    """A request may arrive long after its sender gave up; the store's stamp does not say so."""
    world = World()
    announced = announce(world, "alice", "from the dead")
    world.now_us += combine_module.LINGERS_US + 60_000_000
    world.store.put(announced, b"")
    send(world, "bob", "one")
    assert texts(world) == ["one"]


@pytest.mark.usefixtures("always_crowded")
@pytest.mark.parametrize(("passed_s", "expected"), [(-60, ["from the dead", "one"]), (60, ["one"])])
def test_an_announcement_lasts_no_longer_where_its_senders_clock_is_ahead(passed_s, expected):
    """Its name is younger than it is; the store's stamp tells."""
    world = World()
    dead = world.client("alice")
    dead.clock = HybridClock(lambda: world.now_us + 110_000_000)
    dead.learnt_us, dead.epoch_us = dead.clock.wall_us(), dead.clock.wall_us() - world.now_us
    assert dead.knows_offset()
    carry(world, inbox.send_message(dead, "carol", "from the dead"), until="pending/")
    world.now_us += combine_module.LINGERS_US + passed_s * 1_000_000
    send(world, "bob", "one")
    assert sorted(texts(world)) == expected


@pytest.mark.usefixtures("always_crowded")
@pytest.mark.parametrize("name", ["junk", f"0-{'0' * 64}", f"x-{'0' * 64}", f"-1-{'0' * 64}"])
@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"after":0}', b"\xff", b'{"event":{}}'])
def test_an_announcement_that_makes_no_sense_is_left_alone(name, raw):
    world = World()
    for day in ("2027-01-15", "2027-13-32"):
        world.store.put(f"pending/inbox/carol/{day}T080000.000000Z-0000-{name}.json", raw)
    send(world, "bob", "one")
    send(world, "bob", "two")
    assert texts(world) == ["one", "two"]


@pytest.mark.usefixtures("always_crowded")
def test_what_is_announced_is_committed_once_its_object_is_there_and_not_before():
    world = World()
    alice = world.client("alice")
    send(world, "alice", "first", client=alice)
    # From now on alice knows the store's clock, so an event and its announcement go out at once.
    protocol = inbox.send_message(alice, "carol", "late")
    step = protocol.send(None)
    late, announcement = step
    assert (late.key[:7], announcement.key[:8]) == ("events/", "pending/")
    protocol.close()
    answer(announcement, world.store, lambda seconds: None)
    send(world, "bob", "one")
    assert texts(world) == ["first", "one"]
    answer(late, world.store, lambda seconds: None)
    send(world, "bob", "two")
    assert sorted(texts(world)) == ["first", "late", "one", "two"]
    assert not world.store.list("pending", "", 10, False)


@pytest.mark.usefixtures("always_crowded")
def test_a_message_to_several_is_announced_to_a_further_inbox_with_its_event():
    world = World()
    announce(world, "alice", "to both", to="bob,carol", until="pending/inbox/carol")
    send(world, "dan", "one")
    assert sorted(texts(world)) == ["one", "to both"]


def test_each_version_that_several_share_says_who_makes_the_next_one():
    _, _, chains, _ = crowd(32, 12)
    versions = chains.versions[CAROL]
    shared = [v for v in versions if len(v.events) >= combine_module.SUCCEEDED]
    assert len(shared) > 5
    kept = 0
    for version in shared:
        told = [e for e in version.events if combine_module._succeeds(Joined(version, e))]
        assert len(told) == 1
        following = versions[version.seq : version.seq + 1]
        kept += bool(following) and following[0].record["by"] == told[0].agent
    assert kept > len(shared) * 0.8
    makers = Counter(version.record["by"] for version in shared)
    assert max(makers.values()) <= 4  # nobody does it for all


def test_the_message_of_a_repeated_command_is_there_once():
    assert not list(check_repeated_announcements())
