"""Windows in time: what is made late comes no later than syncs and looks at the past allow for.

On a bucket a request can be under way for half an hour: S3 judges its signature by the clock of the
machine that has signed it, and that clock may be 15 minutes fast. docs/sync.md adds it up.
"""

from contextlib import suppress

import pytest

from simulation.crowds import announce, send, texts
from simulation.interleaving import Running, World
from simulation.transfers import STEPS_MAX, Walker, filled, finish, warm
from tclog.chain import append as append_module
from tclog.chain import combine as combine_module
from tclog.chain.seal import EVENT_AGE_MAX_S
from tclog.clock import AHEAD_TRUSTED_US, ARRIVES_US, SETTLED_US, TRIED_US, format_us, parse_us
from tclog.errors import OutcomeUnknown
from tclog.event import ChainId
from tclog.index import Index
from tclog.log import inbox, memory
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Get, Keep, List, Outcome, Put
from tclog.sync.sync import sync
from tclog.testing import Faults, oracles, simulate
from tclog.testing.scheduler import SIGNED_US

LATE = Faults(zombie=0.05, conflict=0.1, lost_before=0.1, pause_s=0.5)


def test_the_windows_add_up():
    """A request has the 15 minutes of its signature, and those by which the clock is fast."""
    assert ARRIVES_US == 2 * SIGNED_US
    assert SETTLED_US == TRIED_US + ARRIVES_US + 2 * AHEAD_TRUSTED_US


@pytest.mark.parametrize("work", [("memory", "message", "step"), ("message", "txn")])
def test_nothing_comes_after_its_windows(work):
    expired = 0
    for seed in range(30):
        report = simulate(seed, faults=LATE, work=work)
        assert not report.violations, seed
        expired += sum(more == "expired" for *_, more in report.happened if isinstance(more, str))
    assert expired > 10


def slow_transfer(world, client, seconds):
    """Carry out a transaction over four keys that loses its slots while it creates all at once.

    Then it creates one after the other, and each takes some time.
    """
    txn = Transaction(client)
    for key in ("a", "b", "c", "d"):
        txn.memory_incr(key, 1)
    walker = Walker(world, txn.protocol())
    for _ in range(STEPS_MAX):
        if walker.ended:
            break
        if isinstance(walker.waiting[0], Create):
            if not walker.many:
                world.now_us += round(seconds * 1e6)
            elif not walker.replies:
                finish(world, memory.incr_value(world.client("bob"), "a", 1))
        walker.go(1)
    assert walker.ended
    return walker


@pytest.mark.parametrize("seconds", [1, 40, 100])
def test_no_slot_of_a_transaction_is_tried_long_after_its_stamp(seconds):
    world = filled()
    alice = warm(world, "alice")
    for key in ("c", "d"):
        finish(world, memory.set_value(alice, key, 0, value_type="json"))
    assert slow_transfer(world, alice, seconds).refused == (seconds > 1)
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    for versions in chains.versions.values():
        for version in versions:
            came_us = parse_us(version.stored)
            assert came_us - parse_us(version.moment) <= TRIED_US + (seconds + 1) * 1e6


@pytest.fixture
def always_crowded(monkeypatch):
    monkeypatch.setattr(append_module, "_is_hot", lambda *args: True)


def stopped_combiner(world, pause_s):
    """Bob lists what alice has announced after him, and is stopped before he commits both."""
    send(world, "zoe", "first")
    asked = []
    reply = world.reply

    def noted(step):
        asked.extend(step if type(step) is tuple else (step,))
        return reply(step)

    world.reply = noted
    bob = Running(world, inbox.send_message(world.client("bob"), "carol", "from bob"))
    while not any(isinstance(one, Put) and one.key.startswith("pending/") for one in asked):
        bob.go(1)
    announce(world, "alice", "from alice")
    while not any(isinstance(one, List) and one.prefix.startswith("pending/") for one in asked):
        bob.go(1)
    world.now_us += round(pause_s * 1e6)
    with suppress(OutcomeUnknown):  # his own is old by now, too
        bob.go(1000)


@pytest.mark.usefixtures("always_crowded")
@pytest.mark.parametrize("pause_s", [1, EVENT_AGE_MAX_S + 60])
def test_who_was_stopped_after_it_listed_commits_nothing_old(pause_s):
    world = World()
    stopped_combiner(world, pause_s)
    sent = ["first", "from alice", "from bob"]
    assert sorted(texts(world)) == (sent if pause_s < EVENT_AGE_MAX_S else sent[:1])


def test_an_event_that_was_raced_with_for_minutes_is_made_anew_before_it_is_announced():
    """What is announced stays what it is, and is still young when its sender gives up."""
    assert EVENT_AGE_MAX_S / 2 > combine_module.GIVE_UP_S + 10


def test_a_slot_that_comes_as_late_as_a_fast_clock_allows_is_found_by_the_next_sync(tmp_path):
    """Also where a sync before it had seen the event, and others had gone on meanwhile."""
    world, minute_us = filled(), 60_000_000
    index, looker = Index(tmp_path), world.client("looker")
    finish(world, sync(looker, index))
    late = Walker(world, memory.set_value(warm(world, "alice"), "a", "late"))
    while not isinstance(late.waiting[0], Create):
        late.go(1)
    create, sent_us = late.waiting[0], world.now_us
    for minutes in (14, 28):
        world.now_us = sent_us + minutes * minute_us
        finish(world, memory.set_value(world.client("bob"), "b", "meanwhile"))
        finish(world, sync(looker, index))
    world.now_us = sent_us + ARRIVES_US - minute_us
    assert world.store.create(create.key, create.data).outcome is Outcome.WON
    finish(world, sync(looker, index))
    assert index.head(ChainId("memory/a")) == 2
    assert index.meta("full") < format_us(sent_us)
    index.close()


@pytest.mark.parametrize(
    ("losses", "pauses"),
    [(0, [(Keep, EVENT_AGE_MAX_S + 60)]), (2, [(Get, EVENT_AGE_MAX_S - 20), (Create, 40)])],
)
def test_a_transaction_on_a_machine_that_slept_is_made_anew(losses, pauses):
    """Its own time stood still, so it goes on, and by then its events are old.

    It sleeps when it has put them, when it begins again after lost slots, and between two slots.
    """
    world, slept = filled(), [0.0]
    alice = warm(world, "alice")
    finish(world, memory.set_value(alice, "c", "by now the store's clock is known"))
    alice.monotonic_s = lambda: world.now_us / 1e6 - slept[0]
    txn = Transaction(alice)
    for key in ("a", "b"):
        txn.memory_incr(key, 1)
    walker = Walker(world, txn.protocol())
    left, reply, lost = list(pauses), world.reply, 0

    def sleeping(step):
        """Answer a request, and sleep before the answer is read."""
        answer = reply(step)
        if left and type(step) is left[0][0] and lost == losses:
            _, pause_s = left.pop(0)
            world.now_us += round(pause_s * 1e6)
            slept[0] += pause_s
        return answer

    world.reply = sleeping
    while not walker.ended:
        if type(walker.waiting[0]) is Create and not walker.replies and lost < losses:
            world.reply = reply
            finish(world, memory.incr_value(world.client("bob"), "a", 1))
            world.reply, lost = sleeping, lost + 1
        walker.go(1)
    assert not walker.refused, walker.result
    assert not left
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    for key in ("a", "b"):
        for version in chains.versions[ChainId(f"memory/{key}")]:
            for event in version.events:
                age_us = parse_us(version.stored) - parse_us(event.at)
                assert age_us <= EVENT_AGE_MAX_S * 1e6
