"""The examples of docs/format-examples.md: what stands in its fenced blocks, by their labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tclog.event import ChainId, encode
from tclog.event.names import event_key, pending_key, slot_key
from tclog.store.memory import MemoryStore
from vectors.making import Line
from vectors.protocol import World

_BLOCK = re.compile(r"^```(?:json|text) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    """Return the lines of each block."""
    return {**_transaction(), **_merge(), **_announcement()}


def written(page: str) -> str:
    """Return a page with its blocks written anew."""
    known = examples()
    left = set(known) ^ {found[1] for found in _BLOCK.finditer(page)}
    assert not left, f"blocks and examples differ: {left}"

    def block(found: re.Match[str]) -> str:
        head = found[0].partition("\n")[0]
        return f"{head}\n{known[found[1]]}\n```"

    return _BLOCK.sub(block, page)


def blocks(page: str) -> Mapping[str, list[str]]:
    """Return the lines of each block that a page has."""
    return {found[1]: found[2].splitlines() for found in _BLOCK.finditer(page)}


def _bytes(store: MemoryStore, key: str) -> str:
    found = store.get(key)
    assert found is not None, key
    return found.data.decode()


def _transaction() -> dict[str, str]:
    world = World()
    for key in "ab":
        world.log("alice").memory.set(key, 100)
    log = world.log("alice")
    transaction = log.transaction()
    transaction.memory_incr("a", -5)
    transaction.memory_incr("b", 5)
    log.transact(transaction, id="move#1")
    (once,) = world.objects("once")
    slots = {name: slot_key(ChainId(f"memory/{name}"), 2) for name in "ab"}
    found = {"once": _bytes(world.store, once), "once-key": once}
    for name, key in slots.items():
        found[f"transaction-{name}"] = _bytes(world.store, key)
        found[f"transaction-{name}-key"] = key
    return found


def _merge() -> dict[str, str]:
    world = World()
    world.log("alice").send("@all", "stop at noon")
    world.log("bob").send("carol", "the draft is ready")
    keys = [slot_key(ChainId(chain), 1) for chain in ("inbox/@all", "inbox/carol")]
    return {
        "broadcast": _bytes(world.store, keys[0]),
        "broadcast-key": keys[0],
        "merge": _bytes(world.store, keys[1]),
        "merge-key": keys[1],
    }


def _announcement() -> dict[str, str]:
    line = Line("inbox/carol")

    def message(agent: str, words: str) -> Any:
        body = {"text": {"type": "text", "value": words}, "to": ["carol"]}
        return line.event("message.send", body, agent=agent)

    line.add(message("bob", "the draft is ready"))
    dave, erin = message("dave", "reading it"), message("erin", "so am I")
    version = line.add(dave, erin, by="erin")
    event = dave.event
    return {
        "announced": encode(event.record).decode(),
        "announced-keys": "\n".join(
            [
                event_key(event.at, event.chains[0], event.id),
                pending_key(line.chain, event.at, 1, event.id),
            ]
        ),
        "combined": version.raw.decode(),
        "combined-key": slot_key(line.chain, 2),
    }
