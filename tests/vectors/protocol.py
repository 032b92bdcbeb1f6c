"""What clients leave in a store: transactions, merges, idempotency keys, announcements, packs.

They are tclog's own protocol, run over a store in memory with a clock, nonces and randomness that
are the same each time.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tclog.chain.drive import run
from tclog.chain.read import read_newest
from tclog.clock import Stamp, format_us
from tclog.event import ChainId, chain_id, decode_version, digest, encode, once_key
from tclog.event.names import encode_name, event_key, pack_key, pending_key, slot_key
from tclog.event.packs import PackReader, PackWriter, Row
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.maintenance.void import void
from tclog.store.base import Created
from tclog.store.memory import MemoryStore
from tclog.testing.scheduler import EVERYTHING
from vectors.making import BEGIN_US, HOST, Line

MILLISECOND_US = 1000


class Died(BaseException):
    """An author dies here."""


class World:
    """A store and its clients; each write takes a millisecond, and nothing else takes time.

    So the vectors do not change when tclog's code looks at its clock more often than before.
    """

    def __init__(self) -> None:
        self.now_us = BEGIN_US
        self.store = MemoryStore(self.tick)
        self.slots_left: int | None = None
        self._logs: dict[str, Log] = {}
        create = self.store.create

        def creates(key: str, data: bytes) -> Created:
            if self.slots_left is not None and key.startswith("chains/"):
                if self.slots_left == 0:
                    raise Died
                self.slots_left -= 1
            return create(key, data)

        self.store.create = creates  # type: ignore[method-assign]

    def tick(self) -> int:
        self.now_us += MILLISECOND_US
        return self.now_us

    def sleep(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)

    def log(self, agent: str) -> Log:
        """Return the log of an agent, which remembers nothing from one call to the next."""
        count = self._logs.setdefault(agent, itertools.count())  # type: ignore[arg-type]
        made = Log(
            self.store,
            Project("vectors", "0" * 32, ""),
            agent=agent,
            session=f"session-{agent}",
            host=HOST,
            wall_us=lambda: self.now_us,
        )
        made.client.nonce = lambda: digest(f"{agent} {next(count)}".encode())[:32]
        made.client.jitter = lambda: 0.5
        made.client.monotonic_s = lambda: self.now_us / 1_000_000
        made.client.software = "vectors/1"
        made.run = lambda protocol: run(protocol, self.store, self.sleep)  # type: ignore[method-assign]
        return made

    def objects(self, *folders: str) -> dict[str, Any]:
        """Return the objects below some folders, as records where they are JSON."""
        found = {}
        for folder in folders:
            for entry in self.store.list(folder, "", EVERYTHING, False):
                data = self.store.get(entry.key).data
                found[entry.key] = json.loads(data) if data else None
        return found

    def standing(self, *chains: str) -> dict[str, Any]:
        """Return what a reader answers: for each chain the newest version that counts."""
        found = {}
        for chain in chains:
            head = run(
                read_newest(self.log("reader").client, ChainId(chain)), self.store, self.sleep
            )
            found[chain] = (
                {"version": 0, "state": {}}
                if head is None
                else {"version": head.seq, "state": head.state}
            )
        return found


# -- transactions ---------------------------------------------------------------------------------


def transfer(world: World, agent: str = "alice", slots: int | None = None, **named: Any) -> None:
    """Move 5 from a to b and look at c; the author dies after so many slots."""
    log = world.log(agent)
    world.slots_left = slots
    transaction = log.transaction()
    transaction.memory_incr("a", -5)
    transaction.memory_incr("b", 5)
    transaction.memory_get("c")
    with suppress(Died):
        log.transact(transaction, **named)
    world.slots_left = None


def _begin() -> World:
    world = World()
    for key in "abc":
        world.log("alice").memory.set(key, 100)
    return world


CHAINS = ("memory/a", "memory/b", "memory/c")


def _case(name: str, world: World, *chains: str) -> dict[str, Any]:
    answers = world.standing(*(chains or CHAINS))
    return {"name": name, "slots": world.objects("chains"), "answers": answers}


def transactions() -> Iterator[dict[str, Any]]:
    """Yield cases: the slots in a store, and what a reader answers for each chain."""
    world = _begin()
    transfer(world, id="move-1")
    yield _case("committed: every slot holds it; memory/c is only read", world)
    world.log("bob").memory.set("c", 7, if_version=1)
    yield _case("committed, and a write after the slot that only read: stands is 1", world)

    world = _begin()
    transfer(world, slots=2)
    yield _case("undecided: one slot is empty, so readers answer with the version before", world)
    world.log("bob").memory.set("a", "mine")
    yield _case(
        "aborted: a writer in its way has filled the empty slot (fills), and goes on", world
    )

    world = _begin()
    transfer(world, slots=1)
    empty = next(c for c in CHAINS if world.store.get(slot_key(ChainId(c), 2)) is None)
    world.log("bob").memory.set(empty.removeprefix("memory/"), "mine")
    yield _case("aborted: a write has taken one of its slots", world)

    world = World()
    log = world.log("alice")
    transaction = log.transaction()
    transaction.memory_set("alone", 1)
    transaction.memory_incr("alone", 1)
    log.transact(transaction)
    yield _case("one slot: there is no otherwise", world, "memory/alone")

    world = World()
    log = world.log("alice")
    transaction = log.transaction()
    transaction.step_claim("build", lease_s=60)
    transaction.message_send("bob", "I build")
    log.transact(transaction)
    yield _case("a claim and a message together", world, "step/build", "inbox/bob")


# -- inboxes --------------------------------------------------------------------------------------


def merges() -> Iterator[dict[str, Any]]:
    """Yield cases: the slots of inboxes, and the numbers that messages have there."""
    world = World()
    world.log("alice").send("@all", "one")
    world.log("alice").send("bob", "two")
    world.log("carol").send("@all", "three")
    world.log("carol").send("@all", "four")
    world.log("dave").send("bob,carol", "five")
    world.log("alice").send("@all", "six")
    world.log("bob").inbox()
    inboxes = {agent: _numbers(world, agent) for agent in ("bob", "carol")}
    yield {
        "name": "broadcasts take their place before the next message, and when an agent reads",
        "slots": world.objects("chains"),
        "inboxes": inboxes,
    }


def _numbers(world: World, agent: str) -> list[list[Any]]:
    mailbox = world.log(agent).inbox(all=True)
    return [[message.n, message.id, message.text] for message in mailbox.messages]


# -- voided slots ---------------------------------------------------------------------------------


def voids() -> Iterator[dict[str, Any]]:
    """Yield cases: slots that hold junk, those that end it, and what a reader answers."""
    yield _voided("junk in slot 3, ended by version 4; the chain goes on", [b"{}"])
    yield _voided("junk in slots 3 and 4, ended by version 5", [b"", b"\x00\xff junk"])


def _voided(name: str, junk: list[bytes]) -> dict[str, Any]:
    world, chain = World(), ChainId("memory/k")
    for value in ("one", "two"):
        world.log("alice").memory.set("k", value)
    for seq, raw in enumerate(junk, 3):
        world.store.put(slot_key(chain, seq), raw)
    log = world.log("carol")
    log.run(void(log.client, None, chain, 3, "a disk error"))
    world.log("bob").memory.set("k", "three")
    slots = world.store.list("chains", "", EVERYTHING, False)
    bytes_of = {entry.key: world.store.get(entry.key).data for entry in slots}
    return {
        "name": name,
        "junk": {slot_key(chain, seq): raw.hex() for seq, raw in enumerate(junk, 3)},
        "slots": {key: json.loads(raw) for key, raw in bytes_of.items() if raw not in junk},
        "answers": world.standing("memory/k"),
    }


# -- keys -----------------------------------------------------------------------------------------


NAMES = [
    "design", "S1.A", "api/v2", "Zoë 1", "a~b@c", "..", ".", "...", "é" * 50, "k" * 200, "%41", "#",
    "a\\b", "-", "_", "\u00a0", "e\u0301", "\u00e9", "x" * 199 + "#", "😀" * 50,
]  # fmt: skip


def keys() -> dict[str, Any]:
    """Return object keys of everything: what they are made from, and what they are."""
    line = Line("memory/api/v2")
    event = line.event("memory.set", {"type": "text", "value": "x"}).event
    long = Line(f"memory/{'é' * 60}")
    other = long.event("memory.set", {"type": "text", "value": "x"}).event
    broadcast = Line("inbox/@all")
    sent = broadcast.event("message.send", {"text": {"type": "text", "value": "x"}, "to": ["@all"]})
    chains = ["memory/design", "step/S1.A", "inbox/@all", "memory/a/b", "read/Zoë 1"]
    numbers = [1, 2, 1000, 9_999_999_998]
    return {
        "names": [{"name": name, "segment": encode_name(name)} for name in NAMES],
        "slots": [
            {"chain": chain, "version": seq, "key": slot_key(ChainId(chain), seq)}
            for chain in chains
            for seq in numbers
        ],
        "events": [
            {
                "record": made.record,
                "id": made.id,
                "key": event_key(made.at, made.chains[0], made.id),
            }
            for made in (event, other, sent.event)
        ],
        "once": [
            {"agent": agent, "key": key, "chain": chain, "object": _once(agent, key, chain)}
            for agent, key, chain in (
                ("alice", "k", "memory/n"),
                ("alice", "a#b/é", "memory/n"),
                ("Zoë 1", "031321824fe6f6aa.7", "inbox/bob"),
                ("alice", "k" * 200, "memory/n"),
            )
        ],
        "pending": [
            {
                "chain": "inbox/bob",
                "at": event.at,
                "after": 7,
                "event": event.id,
                "key": pending_key(chain_id("inbox", "bob"), event.at, 7, event.id),
            }
        ],
        "blobs": [
            {
                "text": text,
                "hash": digest(text.encode()),
                "key": f"blobs/{digest(text.encode())[:2]}/{digest(text.encode())}",
            }
            for text in ("", "é\n")
        ],
    }


def _once(agent: str, key: str, chain: str) -> str:
    return once_key(agent, key, chain)


def once_objects() -> dict[str, Any]:
    """Return a store after a write under an idempotency key that was repeated."""
    world = World()
    for _ in range(2):
        world.log("alice").memory.incr("n", 1, id="a#b/é")
    return {
        "name": "memory incr n under --id 'a#b/é', twice: it applies once",
        "objects": world.objects("once", "chains"),
    }


# -- canonical bytes ------------------------------------------------------------------------------

VALUES: list[Any] = [
    {"b": 1, "a": 1, "B": 1, "é": 1, "": 1, "aa": 1, "\uffff": 1, "\U00010000": 1},
    '\b\t\n\f\r"\\/\x00\x1f\x7f\u2028\u20ac😀',
    [-(2**63), 2**64 - 1, 0, True, False, None],
    {},
    [],
    {"a": {"c": [], "b": {}}},
]
REFUSED: list[tuple[bytes, str]] = [
    (b'{"a": 1}', "white space between tokens"),
    (b'{"a":1}\n', "a final line feed"),
    (b'\xef\xbb\xbf{"a":1}', "a byte order mark"),
    (b'{"b":1,"a":1}', "members are not sorted"),
    ('{"\U00010000":1,"\uffff":1}'.encode(), "members are sorted by UTF-16, not by UTF-8"),
    (b'{"a":1,"a":1}', "a key stands twice"),
    (b'"\\u00e9"', "é is escaped"),
    (b'"\\/"', "/ is escaped"),
    (b'"\\u000a"', "a line feed has a short form"),
    (b'"\\u001F"', "hex digits are lower-case"),
    (b'"\\u007f"', "U+007F stands for itself"),
    (b'"\x1f"', "U+001F is not escaped"),
    (b'"\\ud800"', "a lone surrogate"),
    (b'"\xff"', "no UTF-8"),
    (b'"\xc0\xaf"', "an overlong form is no UTF-8"),
    (b"01", "a leading zero"),
    (b"+1", "a plus sign"),
    (b"-0", "minus zero"),
    (b"18446744073709551616", "over 2^64 - 1"),
    (b"-9223372036854775809", "below -2^63"),
    (b"1e3", "an exponent"),
    (b"NaN", "no JSON"),
    (b"[1,]", "no JSON"),
    (b"", "nothing"),
]


def canonical() -> dict[str, Any]:
    """Return values with their bytes, and bytes that are not canonical, with why."""
    return {
        "encoded": [
            {"value": value, "hex": encode(value).hex(), "blake3": digest(encode(value))}
            for value in VALUES
        ],
        "refused": [{"hex": raw.hex(), "why": why} for raw, why in REFUSED],
    }


# -- packs ----------------------------------------------------------------------------------------


def packs(known: dict[str, Any] | None) -> dict[str, Any]:
    """Return a small pack: its bytes, and the lines in them.

    Releases of zstd may compress otherwise. So the bytes that are ``known`` stay, if their lines
    are the same.
    """
    line = Line("memory/k")
    line.one("memory.set", {"type": "text", "value": "one"})
    line.one("memory.incr", {"by": 1}, agent="bob", why="the value is no integer")
    attempt = line.event("memory.set", {"type": "text", "value": "lost"}, agent="carol").event
    writer = PackWriter()
    for version in line.versions:
        writer.add_version(version.chain, version.seq, Row(version.raw, Stamp(str(version.stored))))
    stored = Stamp(format_us(BEGIN_US))
    writer.add_event(attempt.id, Row(encode(attempt.record), stored))
    data = writer.finish()
    lines = lines_of(data)
    if known is not None and known.get("lines") == lines:
        data = base64.b64decode(known["base64"])
    pack = digest(data)
    return {
        "hash": pack,
        "key": pack_key(pack),
        "base64": base64.b64encode(data).decode(),
        "lines": lines,
    }


def lines_of(data: bytes) -> list[str]:
    """Return the lines in a pack, and see that it can be read."""
    reader = PackReader(data, digest(data))
    rows = [row for _, _, row in reader.versions()]
    events = [row for _, row in reader.events()]
    header = {
        "type": "pack",
        "format": 1,
        "chains": [list(run) for run in reader.header.chains],
        "events": list(reader.header.events),
    }
    for ((chain, first, last),) in [reader.header.chains]:
        for seq in range(first, last + 1):
            decode_version(rows[seq - first].raw, chain=chain, seq=seq)
    return [
        json.dumps(header, separators=(",", ":")),
        *(f'{{"stored":"{row.stored}","version":{row.raw.decode()}}}' for row in rows),
        *(f'{{"stored":"{row.stored}","event":{row.raw.decode()}}}' for row in events),
    ]


def read_known(path: Path) -> dict[str, Any] | None:
    """Return what a file of vectors holds; None if it is not there."""
    return json.loads(path.read_text()) if path.exists() else None
