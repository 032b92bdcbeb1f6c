"""Points in time and transactions: every moment shows all of one, and a wrong stamp stays at home.

``World`` has clients of which each has a clock of its own; a foreign client writes stamps hours
ahead into one chain, as one that never looks at the store's clock would.
"""

import random

import pytest
from simulation.transfers import SUM, filled, finish, transfer

from tclog.chain.fold import place_after, verify
from tclog.chain.read import read_head, read_range
from tclog.chain.seal import seal_next
from tclog.chain.transact import _Transaction
from tclog.clock import AHEAD_TRUSTED_US, HybridClock, hlc, last_of, parse_us
from tclog.errors import Damaged
from tclog.event import ChainId, event_key, seal_event, slot_key
from tclog.history.snapshot import END
from tclog.history.state import read_state
from tclog.index import Index, derived
from tclog.log import memory
from tclog.log.transactions import Transaction
from tclog.sync.sync import sync

HOUR_S = 3600
KEYS = ("a", "b", "c")


def off(world, name, seconds):
    client = world.client(name)
    client.clock = HybridClock(lambda: world.now_us + round(seconds * 1e6))
    client.learnt_us = world.now_us  # it takes its clock for right
    client.epoch_us = client._epoch_us()
    return client


def write_ahead(world, key, ahead_s=3 * HOUR_S):
    """Set a key to what it is, with a stamp of the future, as a foreign client may."""
    client = off(world, "foreign", ahead_s)
    chain = ChainId(f"memory/{key}")
    head = finish(world, read_head(client, chain))
    value = finish(world, memory.get_value(client, key)).value
    event, raw = seal_event(
        op="memory.set",
        chains=(chain,),
        agent="foreign",
        session="s",
        host="h",
        client="c",
        at=hlc(world.now_us, 0),
        nonce=world.nonce(),
        body={"type": "json", "value": value},
    )
    world.store.put(event_key(event.at, chain, event.id), raw)
    version = seal_next(client, chain, head, place_after(head), (event,), None)
    world.store.create(slot_key(chain, version.seq), version.raw)
    return version


def started():
    world = filled()
    finish(world, memory.set_value(world.client("setter"), "c", 0, value_type="json"))
    return world


def heads(world):
    client = world.client("newcomer")
    return {k: finish(world, read_head(client, ChainId(f"memory/{k}"))) for k in KEYS}


def test_a_wrong_stamp_does_not_leave_its_chain():
    world = started()
    wrong = write_ahead(world, "a")
    txn = Transaction(world.client("alice"))
    txn.memory_get("a")
    txn.memory_incr("b", 1)
    finish(world, txn.protocol())
    finish(world, transfer(world.client("bob"), "b", "c"))
    found = heads(world)
    assert found["a"].at > wrong.at
    for key in "bc":
        assert parse_us(found[key].at) < world.now_us + AHEAD_TRUSTED_US
    world.now_us += 1_000_000
    reader, now = world.client("reader"), last_of(world.now_us)
    assert finish(world, memory.get_value(reader, "b", at=now)).value == SUM // 2
    assert finish(world, memory.get_value(reader, "c", at=now)).value == 1
    # What the transaction rests on belongs to its moment too.
    assert finish(world, memory.get_value(reader, "a", at=now)).version == wrong.seq


def shown_at(world, at, indexes):
    """Return what each way of looking back shows of the keys at a moment."""
    reader = world.client("reader")
    yield {k: finish(world, memory.get_value(reader, k, at=at)).value for k in KEYS}
    for index in indexes:
        with derived.reading(index):
            items = finish(world, read_state(index, at))
        yield {i.shown["key"]: i.shown["value"] for i in items if i.group == "memory"}


def moments(world):
    """Return every stamp there is, of versions and of transactions."""
    client, found = world.client("reader"), set()
    for key in KEYS:
        chain = ChainId(f"memory/{key}")
        head = finish(world, read_head(client, chain))
        for one in finish(world, read_range(client, chain, 1, head.seq)):
            found |= {one.at, one.moment}
    return sorted(found)


def play(seed, tmp_path):
    """Transfers between keys by clocks that are off, foreign stamps among them; yield what broke.

    Whatever came in, at every moment at which all keys are there they hold the same sum.
    """
    rng = random.Random(seed)
    world = started()
    begun = max(head.at for head in heads(world).values())
    clients = [off(world, f"agent-{n}", rng.uniform(-100, 100)) for n in range(3)]
    follower = Index(tmp_path / f"follower-{seed}")
    for _ in range(14):
        world.now_us += round(rng.expovariate(1 / 20) * 1e6)
        what = rng.choice(("transfer", "transfer", "transfer", "ahead", "set", "sync"))
        client, key = rng.choice(clients), rng.choice(KEYS)
        if what == "transfer":
            source, target, guard = rng.sample(KEYS, 3)
            finish(world, transfer(client, source, target, guard=rng.choice((None, guard))))
        elif what == "ahead":
            write_ahead(world, key, rng.choice((600, 3 * HOUR_S)))
        elif what == "set":
            value = finish(world, memory.get_value(client, key)).value
            finish(world, memory.set_value(client, key, value, value_type="json"))
        else:
            finish(world, sync(world.client("looker"), follower))
    yield from judge(world, begun, follower, Index(tmp_path / f"newcomer-{seed}"))


def judge(world, begun, follower, newcomer):
    """Look back to every moment since the keys were there, in every way."""
    for index in (follower, newcomer):
        finish(world, sync(world.client("looker"), index))
    for at in [*(one for one in moments(world) if one >= begun), END]:
        single, *others = shown_at(world, at, (follower, newcomer))
        if sum(single.values()) != SUM:
            yield f"half a transaction is shown at {at}: {single}"
        if any(other != single for other in others):
            yield f"the ways to look back differ at {at}: {single} {others}"
    if list(follower.commits()) != list(newcomer.commits()):
        yield "what an index shows depends on when it was synced"
    follower.close()
    newcomer.close()


def play_hidden(tmp_path):
    """A fast clock's transaction, hidden below a wrong stamp from the next, whose clock is slow."""
    world = started()
    begun = max(head.at for head in heads(world).values())
    finish(world, transfer(off(world, "fast", 100), "a", "b"))
    write_ahead(world, "a")
    finish(world, transfer(off(world, "slow", -100), "a", "c"))
    yield from judge(world, begun, Index(tmp_path / "follower"), Index(tmp_path / "newcomer"))


@pytest.mark.parametrize("seed", range(12))
def test_every_moment_shows_all_of_a_transaction_or_nothing(seed, tmp_path):
    assert not list(play(seed, tmp_path))


def test_the_next_transaction_is_after_one_that_a_wrong_stamp_hides(tmp_path):
    assert not list(play_hidden(tmp_path))


def by_the_stamp_of_each_slot(patch):
    patch.setattr("tclog.event.records.Version.moment", property(lambda self: self.at))


def before_an_earlier_transaction(patch):
    patch.setattr(_Transaction, "_moment", lambda self, heads: self.client.clock.tick())


def transactions_looked_for_by_their_stamps(patch):
    patch.setattr("tclog.chain.read._last_txn", lambda version, after: "")


def what_they_follow_left_where_it_was(patch):
    patch.setattr("tclog.index.writing.Writing._in_order", lambda self, number, new: new)


@pytest.mark.parametrize(
    "plant",
    [
        by_the_stamp_of_each_slot,
        before_an_earlier_transaction,
        transactions_looked_for_by_their_stamps,
        what_they_follow_left_where_it_was,
    ],
    ids=lambda plant: plant.__name__,
)
def test_each_way_to_show_half_of_one_is_noticed(plant, tmp_path, monkeypatch):
    plant(monkeypatch)
    assert list(play_hidden(tmp_path)) or any(list(play(n, tmp_path)) for n in range(12))


def test_the_log_has_what_a_transaction_rests_on_before_it(tmp_path):
    world = started()
    index = Index(tmp_path)
    wrong = write_ahead(world, "a")
    finish(world, sync(world.client("looker"), index))
    finish(world, transfer(world.client("alice"), "a", "b"))
    finish(world, sync(world.client("looker"), index))
    rows = [(row.chain, row.seq) for row in index.commits(newest_first=False)]
    places = [rows.index(one) for one in (("memory/a", wrong.seq), ("memory/a", wrong.seq + 1))]
    assert places == sorted(places)
    assert parse_us(index.version("memory/a", wrong.seq).moment) < world.now_us
    index.close()


def test_a_version_that_misnames_the_transaction_before_it_is_damaged():
    world = started()
    alice = world.client("alice")
    finish(world, transfer(alice, "a", "b"))
    finish(world, memory.incr_value(alice, "a", 1))
    before, after = finish(world, read_range(alice, ChainId("memory/a"), 2, 3))
    assert after.record["last_txn"] == {"at": before.record["txn"]["at"], "seq": 2}
    verify(after.chain, before, after)
    record = {k: v for k, v in after.record.items() if k != "last_txn"}
    with pytest.raises(Damaged, match="misnames the transaction"):
        verify(after.chain, before, after._replace(record=record))


def test_one_key_at_a_moment_costs_a_search_of_its_chain():
    world = started()
    alice = world.client("alice")
    for number in range(40):
        finish(world, transfer(alice, "a", "b") if number % 3 else memory.incr_value(alice, "a", 0))
    middle = finish(world, read_range(alice, ChainId("memory/a"), 20, 20))[0]
    asked = []
    reply = world.reply
    world.reply = lambda step: asked.append(step) or reply(step)
    found = finish(world, memory.get_value(world.client("reader"), "a", at=middle.at))
    assert found.version == 20
    assert len(asked) < 30  # two searches of 40, and one look at the other slots for each version
