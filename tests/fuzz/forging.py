"""Forgeries: records with right sums, ids and links, of which some fields are not what they should.

A forger knows the format. It takes a small log and makes the next version of some chain as an
honest client would, or an event, an idempotency key, a mark, an announcement, a transaction. It
changes a few places of the record and mends the sums. A seed decides all of it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unit.test_schema import BODY_SAMPLES, STATE_SAMPLES

from tclog.chain.drive import run
from tclog.chain.fold import rules_of
from tclog.clock import hlc, stamp
from tclog.event import (
    ChainId,
    decode_version,
    digest,
    encode,
    event_key,
    once_key,
    pack_key,
    pending_key,
    slot_key,
    slot_seq,
)
from tclog.event.bodies import RESERVED_KINDS, RESERVED_OPS
from tclog.event.packs import PackWriter, Row
from tclog.log.log import Log
from tclog.log.project import Project, create_project
from tclog.store.base import Found
from tclog.store.memory import MemoryStore

T0_US = 1_795_448_525_512_345
NAMES = ("alice", "bob", "carol")
HASH = "ab" * 32

_base: dict[str, Found] = {}


def base() -> dict[str, Found]:
    """Return the objects of a small log that used every primitive; made once."""
    if _base:
        return _base
    store = MemoryStore()
    run(create_project("demo", "0" * 32, T0_US), store)
    alice, bob = open_log(store, "alice"), open_log(store, "bob")
    alice.memory.set("k", "one", id="once")
    bob.memory.append("k", "two")
    alice.memory.set("j", {"a": [1, 2]})
    alice.memory.incr("n", 4)
    alice.steps.add("design", title="Design it")
    alice.steps.add("build", after=["design"], priority=3)
    alice.steps.claim("design", lease_s=600)
    bob.steps.note("design", "half done")
    alice.steps.complete("design", note="done", to="bob", next_action="build")
    bob.steps.claim("build", lease_s=60)
    bob.send("@all", "all of you")
    alice.send("bob", "hi")
    bob.send("alice,carol", "to two")
    bob.ack(bob.inbox())
    alice.barrier("solo", parties=1)
    together = alice.transaction()
    together.memory_set("k", "3")
    together.memory_incr("n")
    alice.transact(together)
    _base.update(store._objects)
    return _base


def open_log(store: MemoryStore, agent: str) -> Log:
    """Open the log in a store as an agent, in a session of its own."""
    return Log(store, Project("demo", "0" * 32, ""), agent=agent, session=f"{agent}-1")


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 99, 2**31, 10**15, 2**63 - 1, 2**64 - 1, -(2**63), 1.5),
    *("", "a", "a,b", "@all", "../../fifo", "\0", "a\nb", "é" * 120, "x" * 5000, HASH, "A" * 64),
    *("inbox/@all", "memory/k", "step/design", "zzz/x", "reserve/x", "pack/log", "step/a,b"),
    *("2026-11-23T00:00:00.000000Z", "2026-02-30T00:00:00.000000Z-0000", "9999-12-31T23"),
    *("8999-12-31T23:59:59.999999Z-ffff", "9999-12-31T23:59:59.999999Z-ffff"),
    *("2020-01-01T00:00:00.000000Z", "2026-11-23T19"),
    *([], {}, [[]], [{}], [1, 2, 3], {"a": 1}, [[3, 1]], [[0, 10**18]], ["a"] * 1001),
    *({"type": "text"}, {"type": "json", "text": "[1"}, {"type": "text", "value": 5}),
    *({"type": "text", "blob": "../../fifo", "size": 3}, {"type": "json", "value": {"x": 1}}),
    *({"type": "text", "blob": HASH, "size": 3}, {"in": 3}, {"in": -1}),
    {"type": "text", "value": "x", "parts": [{"blob": HASH, "size": -1}]},
    {"memory/k": 3, "step/design": 500},
)  # fmt: skip


class Forger:
    """Makes one forgery in a store, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = MemoryStore()
        self.store._objects.update(base())
        self.told: list[str] = []

    def forge(self) -> MemoryStore:
        """Put one to three forgeries into the store."""
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            self.random.choice(
                [self._version] * 8
                + [self._head, self._transaction, self._transaction]
                + [self._event, self._once, self._mark, self._announcement]
                + [self._pack, self._object]
            )()
        return self.store

    def _put(self, key: str, data: bytes) -> None:
        self.told.append(f"{key} {data!r}")
        self.store.put(key, data)

    # -- what is forged -----------------------------------------------------------------------

    def _version(self) -> None:
        chain = self._chain()
        record = self._next(chain, [self._made(chain)] if self.random.random() < 0.9 else [])
        key = slot_key(chain, record["seq"])
        self._put(key, self._sealed(self._changed(record)))

    def _head(self) -> None:
        keys = [key for key in self.store._objects if key.startswith("chains/")]
        key = self.random.choice(sorted(keys))
        record = json.loads(self.store._objects[key].data)
        self._put(key, self._sealed(self._changed(record)))

    def _transaction(self) -> None:
        chains = [self._chain() for _ in range(self.random.randint(1, 4))]
        slots = {chain: (self._newest(chain) or {"seq": 0})["seq"] + 1 for chain in chains}
        for chain in slots:
            if self.random.random() < 0.4:
                slots[chain] += self.random.choice((1, 2, 150, 10**6))
        txn = {
            "agent": "mallory",
            "at": hlc(self._us(chains), 0),
            "events": [],
            "id": f"{self.random.getrandbits(128):032x}",
            "slots": slots,
        }
        if self.random.random() < 0.2:
            txn = self._changed(txn)
        for chain in list(slots)[: self.random.randint(1, len(slots))]:
            record = self._next(chain, [])
            record |= {"txn": txn} | ({"otherwise": record["state"]} if len(slots) > 1 else {})
            self._put(slot_key(chain, record["seq"]), self._sealed(record))

    def _event(self) -> None:
        event = self._changed(self._made(self._chain()))
        raw = encode(event)
        try:
            key = event_key(event["at"], event["chains"][0], digest(raw))
        except Exception:
            key = event_key(hlc(T0_US, 0), ChainId("memory/k"), digest(raw))
        self._put(key, raw)

    def _object(self) -> None:
        """Change an event, an idempotency key or an announcement that is there, under its name."""
        folders = ("events/", "once/", "pending/")
        key = self.random.choice(sorted(key for key in self.store._objects if key[:5] != "chain"))
        if key.startswith(folders):
            self._put(key, encode(self._changed(json.loads(self.store._objects[key].data))))

    def _pack(self) -> None:
        """Make a pack of versions and events, of which some are forged, and name it."""
        writer, stored = PackWriter(), stamp(T0_US)
        for key in sorted(self.store._objects):
            raw, seq = self.store._objects[key].data, slot_seq(key)
            if self.random.random() < 0.2 and key.startswith(("chains/", "events/")):
                raw = encode(self._changed(json.loads(raw)))
            if key.startswith("chains/") and seq is not None:
                junk = self.random.random() < 0.1
                chain = ChainId(str(json.loads(self.store._objects[key].data).get("chain")))
                writer.add_version(chain, seq, Row(raw, stored, junk))
            elif key.startswith("events/"):
                writer.add_event(digest(raw), Row(raw, stored))
        raw = writer.finish()
        key = pack_key(digest(raw))
        self._put(key, raw)
        named = {
            "events": len(writer.header.events),
            "last": hlc(T0_US, 0)[:13],
            "pack": digest(raw),
            "size": len(raw),
            "versions": writer.header.versions,
        }
        event = self._made(ChainId("pack/log"))
        event |= {"op": "pack.add", "body": BODY_SAMPLES["pack.add"] | {"packs": [named]}}
        record = self._next(ChainId("pack/log"), [event])
        record["state"] = {"packs": [named], "through": named["last"]}
        if self.random.random() < 0.3:
            record = self._changed(record)
        self._put(slot_key(ChainId("pack/log"), 1), self._sealed(record))

    def _once(self) -> None:
        chain = self._chain()
        record = {
            "after": 0,
            "agent": "alice",
            "chain": chain,
            "command": "c",
            "format": 1,
            "key": "again",
        }
        key = once_key("alice", "again", chain)
        self._put(key, encode(self._changed(record)))

    def _mark(self) -> None:
        record = json.loads(self.store._objects["tclog.json"].data)
        self._put("tclog.json", encode(self._changed(record)))

    def _announcement(self) -> None:
        chain = ChainId(f"inbox/{self.random.choice(NAMES)}")
        event = self._changed(self._made(chain))
        raw = encode(event)
        after = self.random.choice((0, 1, 3, 9_999_999_999))
        self._put(pending_key(chain, hlc(self._us([chain]), 0), after, digest(raw)), raw)

    # -- how ----------------------------------------------------------------------------------

    def _chain(self) -> ChainId:
        there = sorted(
            {key.rpartition("/")[0] for key in self.store._objects if key[:7] == "chains/"}
        )
        chains = [folder.removeprefix("chains/") for folder in there]
        new = ["memory/new", "step/new", "tag/v1", "artifact/a", "agent/dora", "zzz/x", "barrier/b"]
        more = [f"{kind}/x" for kind in sorted(RESERVED_KINDS)]
        return ChainId(self.random.choice(chains * 3 + new + more))

    def _newest(self, chain: ChainId) -> dict[str, Any] | None:
        folder = slot_key(chain, 1).rpartition("/")[0]
        keys = [key for key in self.store._objects if key.startswith(f"{folder}/")]
        if not keys:
            return None
        key = min(keys)
        raw = self.store._objects[key].data
        return {"seq": slot_seq(key) or 0, "prev": digest(raw), "record": json.loads(raw)}

    def _us(self, chains: list[ChainId]) -> int:
        return self.store._now_us() + self.random.randint(0, 10**6)

    def _next(self, chain: ChainId, events: list[dict[str, Any]]) -> dict[str, Any]:
        """Make the next version of a chain, with the state that it has or an odd one."""
        newest = self._newest(chain)
        kind = chain.partition("/")[0]
        state = newest["record"].get("state", {}) if newest else {}
        if newest is not None and isinstance(state, dict) and state.keys() == {"in"}:
            held = newest["record"].get("events")
            first = held[0] if isinstance(held, list) and held else None
            state = {"content": first.get("body", {})} if isinstance(first, dict) else {}
        if self.random.random() < 0.3:
            state = STATE_SAMPLES.get(kind, state)
        if events and events[-1]["op"] == "memory.set":
            state = {"in": len(events) - 1}
        return {
            "at": hlc(self._us([chain]), 0),
            "by": "mallory",
            "chain": chain,
            "events": events,
            "format": 1,
            "prev": newest["prev"] if newest else None,
            "prev_stored": None,
            "seq": (newest["seq"] if newest else 0) + 1,
            "state": state,
        }

    def _made(self, chain: ChainId) -> dict[str, Any]:
        """Make an event as the rules of a chain ask for it, mostly."""
        kind = chain.partition("/")[0]
        try:
            ops = sorted(rules_of(chain).ops) or sorted(BODY_SAMPLES)
        except Exception:
            ops = [f"{kind}.thing"]
        if self.random.random() < 0.1:
            ops = [*sorted(BODY_SAMPLES), *sorted(RESERVED_OPS), "zzz.op"]
        op = self.random.choice(ops)
        event: dict[str, Any] = {
            "agent": self.random.choice((*NAMES, "mallory")),
            "at": hlc(self._us([chain]), 0),
            "body": BODY_SAMPLES.get(op, {}),
            "chains": [chain],
            "client": "forger",
            "format": 1,
            "host": "h",
            "nonce": f"{self.random.getrandbits(128):032x}",
            "op": op,
            "session": "mallory-1",
        }
        if self.random.random() < 0.2:
            event["expect"] = self.random.choice(({"version": 1}, {"fence": 1}, {}))
        return event

    def _changed(self, record: dict[str, Any]) -> dict[str, Any]:
        """Change up to three places of a record; also of an event in it, and of its body."""
        record = json.loads(json.dumps(record))
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))):
            path = self.random.choice([path for path in _places(record) if path])
            # What stands deep is met seldom otherwise: bodies and states are what forgers like.
            inner = [one for one in _places(record) if "body" in one or "state" in one]
            if inner and self.random.random() < 0.6:
                path = self.random.choice(inner)
            at = record
            for key in path[:-1]:
                at = at[key]
            was, last = at[path[-1]], path[-1]
            match self.random.randrange(6):
                case 0:
                    del at[last]
                case 1 if isinstance(was, dict):
                    was[self.random.choice(FIELDS)] = self._odd()
                case 2 if isinstance(at, dict):
                    at[last] = at[self.random.choice(sorted(at))]
                case _:
                    at[last] = self._odd()
        return record

    def _odd(self) -> Any:
        return json.loads(json.dumps(self.random.choice(ODD)))

    def _sealed(self, record: dict[str, Any]) -> bytes:
        record.pop("sum", None)
        record["sum"] = digest(encode(record))
        return encode(record)


FIELDS = (
    *("merge", "txn", "fills", "voids", "stands", "now", "otherwise", "expect", "key", "last_txn"),
    *("reads", "sig", "auth", "parts", "blob", "handoff", "reverts", "seen", "after", "ranges"),
    "later",
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(one, (*path, key))


def ill_bodied(store: MemoryStore) -> list[str]:
    """Return the slots whose version is valid and holds an event that does not count."""
    from tclog.domain import misfit
    from tclog.errors import TclogError

    found = []
    for key in set(store._objects) - set(base()):
        seq = slot_seq(key)
        if not key.startswith("chains/") or seq is None:
            continue
        raw = store._objects[key].data
        try:
            chain = ChainId(json.loads(raw)["chain"])
            version = decode_version(raw, chain=chain, seq=seq)
        except (TclogError, KeyError, TypeError):
            continue
        if version.txn is not None:
            continue  # what became of it decides whether its events count
        if slot_key(chain, seq) == key and any(misfit(one, chain) for one in version.events):
            found.append(key)
    return found


def folder_of(path: Path, seed: int) -> Path:
    """Return the place of the index of one forgery."""
    return path / f"index-{seed}"
