"""Forged transactions that name slots of innocent chains: these go on, and so do all writers."""

from simulation.interleaving import World
from tclog.chain.fold import fold, place_after, rules_of, state_of
from tclog.chain.read import read_head
from tclog.errors import StoreError
from tclog.event import chain_id, seal_version, slot_key
from tclog.log import memory
from tclog.store.base import Create

MINE, OTHER = chain_id("memory", "mine"), chain_id("memory", "other")
AHEAD = (3, 60, 9_999_999)


def forge(client, seq):
    """Put a version of a transaction that also names slot ``seq`` of the other chain."""
    head = yield from read_head(client, MINE)
    place, rules = place_after(head), rules_of(MINE)
    state = rules.pack(fold(MINE, state_of(MINE, head), (), place), ())
    at = client.clock.tick(after=head.at)
    slots = {MINE: place.seq, OTHER: seq}
    txn = {"agent": client.agent, "at": at, "events": [], "id": "t" * 32, "slots": slots}
    version = seal_version(
        chain=MINE,
        seq=place.seq,
        prev=head.id,
        prev_stored=head.stored,
        at=at,
        by=client.agent,
        events=(),
        state=state,
        txn=txn,
        otherwise=state,
    )
    yield Create(slot_key(MINE, version.seq), version.raw)


def check_forged_transactions():
    """Nobody writes to the chain that is named, and writers of both go on."""
    for seq in AHEAD:
        world = World()
        alice, bob = world.client("alice"), world.client("bob")
        for key in ("mine", "other"):
            world.run(memory.incr_value(alice, key))
        world.run(forge(world.client("mallory"), seq))
        world.now_us += 10_000_000
        for key, chain, wanted in (("mine", MINE, 3), ("other", OTHER, 2)):
            try:
                told = world.run(memory.incr_value(bob, key))
            except StoreError as error:
                told = error
            if (getattr(told, "version", None), getattr(told, "value", None)) != (wanted, 2):
                yield f"beside a forged transaction of slot {seq}, {chain}: {told!r}"
            for reader in (alice, world.client("cold")):
                seen = world.run(memory.get_value(reader, key))
                if getattr(seen, "value", None) != 2:
                    yield f"{reader.agent} reads {seen!r} of {chain}"
