"""Senders in a small world that are made to join others, or die at their announcement."""

from collections import Counter

import pytest

from simulation.interleaving import World
from tclog.chain import append as append_module
from tclog.chain.combine import BATCH_MAX
from tclog.event import chain_id
from tclog.log import inbox
from tclog.testing import oracles

CAROL = chain_id("inbox", "carol")


def carry(world, protocol, until=None):
    """Run a protocol to its end, or until it has put an object of a folder; return its key.

    Requests that go out together are carried out together.
    """
    reply = None
    while True:
        try:
            step = protocol.send(reply)
        except StopIteration:
            return None
        reply = world.reply(step)
        for one in step if type(step) is tuple else (step,):
            key = getattr(one, "key", "")
            if until and key.startswith(until):
                protocol.close()
                return key


def send(world, agent, text, *, client=None, **options):
    carry(world, inbox.send_message(client or world.client(agent), "carol", text, **options))


def announce(world, agent, text, *, to="carol", until="pending/", **options):
    """Leave an announcement behind, as a sender does that dies right after it."""
    return carry(world, inbox.send_message(world.client(agent), to, text, **options), until=until)


def texts(world):
    chains, broken = oracles.read_chains(world.store)
    assert not broken
    return [e.body["text"]["value"] for v in chains.versions[CAROL] for e in v.events]


def check_repeated_announcements():
    """Yield where the message of a repeated command is not there exactly once.

    The first try was announced and its sender died; the second finds it, or makes it void.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_module, "_is_hot", lambda *args: True)
        for key in (None, "my-key"):
            for helped in (False, True):
                world = World()
                announced = announce(world, "alice", "hi", id=key)
                if helped:
                    send(world, "bob", "one")
                send(world, "alice", "hi", id=key or f"{announced[-69:-53]}.1")
                send(world, "bob", "two")
                count = texts(world).count("hi")
                if count != 1:
                    yield f"applied {count} times under {key}, {helped=}"


def check_many_that_died():
    """Yield what is sent wrongly after more senders died than one listing names.

    Theirs are too old to be committed; one that was announced just now is helped.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_module, "_is_hot", lambda *args: True)
        world = World()
        for nth in range(BATCH_MAX + 1):
            announce(world, f"dead-{nth}", "from the dead")
        world.now_us += 24 * 3600 * 1_000_000
        announce(world, "alice", "just now")
        send(world, "bob", "one")
        if sorted(texts(world)) != ["just now", "one"]:
            yield f"sent: {Counter(texts(world))}"
