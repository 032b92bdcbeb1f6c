"""What one acts on has been seen: a head that another agent put into the cache moves the clock."""

from pathlib import Path

import tclog
from tclog.chain.client import Client
from tclog.clock import HybridClock, parse_us


def test_a_remembered_head_is_merged_into_the_clock(tmp_path: Path):
    folder, cache = tmp_path / "store", tmp_path / "cache"
    bob = tclog.open(folder, agent="bob", create=True, cache=cache)
    wall_us = bob.client.clock.wall_us
    # Within what is trusted, and beyond what anybody's own clock says now.
    bob.client.clock = HybridClock(lambda: wall_us() + 60_000_000)
    bob.client.learnt_us = bob.client.clock.wall_us()
    bob.client.epoch_us = bob.client._epoch_us()
    bob.memory.set("k", "ahead")
    alice = tclog.open(folder, agent="alice", cache=cache)
    assert isinstance(alice.client, Client)
    seen = alice.memory.get("k")
    assert seen.value == "ahead"
    mine = alice.memory.set("other", "after")
    assert parse_us(mine.at) >= parse_us(seen.at)
