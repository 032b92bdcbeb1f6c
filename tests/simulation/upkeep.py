"""Schedules with maintenance: writers, packers, gc and readers of every kind at once, for days.

All meet every few hours, so that each does its work while the others are at theirs; pages and
batches are small, so that much can come between two requests of one. The oracle knows from the
trace which events and versions there ever were, and asks nobody.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.chain.fold import state_of
from tclog.clock import Hlc, hlc, parse_us
from tclog.errors import Refused
from tclog.event import chain_id, decode, digest, event_key, seal_event, slot_key, slot_seq
from tclog.event.packs import PackReader, events_of
from tclog.history.snapshot import END, standing
from tclog.index import Index
from tclog.log import claims, inbox, memory
from tclog.log.transactions import Transaction
from tclog.maintenance import gc as gc_module
from tclog.maintenance import pack as packing_module
from tclog.maintenance.gc import collect
from tclog.maintenance.pack import pack
from tclog.store.base import Create, Put
from tclog.sync import chains as chains_module
from tclog.sync import objects as objects_module
from tclog.sync import packs as sync_packs_module
from tclog.sync.sync import sync
from tclog.testing import Faults, Operation, Plan, Simulation
from tclog.testing.scheduler import BEGIN_US, EVERYTHING

HOUR_S = 3600
TICKS = 13
TICK_S = 7 * HOUR_S
# Nothing is packed or removed before this tick, so that the first time there is much of both.
FIRST_UPKEEP = 5
MESSAGES = ("agent-0", "agent-1", "@all")
# Packing and gc are hundreds of requests each, and few would end if as many were denied as usual.
FAULTS = Faults(zombie=0.03, denied=0.0002, foreign=0)
# Transactions move units between these; together they hold none.
ACCOUNTS = ("x", "y", "z")


class Look(NamedTuple):
    """What a reader saw: when its sync began, its kind, and the index's content after it."""

    who: str
    began_us: int
    cold: bool
    heads: dict[str, int]
    events: set[str]
    units: list[dict[str, int]]


class Upkeep:
    """One schedule."""

    def __init__(self, seed: int, faults: Faults, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.simulation = Simulation(seed, faults)
        self.folder = folder
        self.looks: list[Look] = []
        self.indexes: list[Index] = []

    def index(self, name: str) -> Index:
        made = Index(self.folder / name)
        self.indexes.append(made)
        return made

    # -- who there is -------------------------------------------------------------------------

    def at(self, tick: int) -> int:
        """Return when something of a tick begins, shortly after all the others."""
        return round((tick * TICK_S + self.rng.random() ** 3 * 20) * 1e6)

    def writer(self, number: int) -> Iterator[Plan]:
        rng = random.Random(self.rng.random())
        for tick in range(TICKS):
            for nth in range(rng.randint(1, 3)):
                what = rng.choice(("set", "send", "claim", "guarded", "move", "move"))
                act = self._act(rng, what, f"{number}-{tick}-{nth}")
                yield Plan(Operation(f"agent-{number}", what, {}), act, begin_us=self.at(tick))

    @staticmethod
    def _act(rng: random.Random, what: str, text: str) -> Callable[[Client], Protocol[Any]]:
        to, key, step = rng.choice(MESSAGES), rng.choice("ab"), rng.choice("st")
        match what:
            case "send":
                return lambda c: inbox.send_message(c, to, text)
            case "claim":
                return lambda c: claims.claim_step(c, step, lease_s=2.0)
            case "guarded":
                return lambda c: memory.set_value(c, key, text, if_version=rng.randint(0, 3))
            case "move":
                source, target, guard = rng.sample(ACCOUNTS, 3)
                return lambda c: _move(c, source, target, guard, text)
        return lambda c: memory.set_value(c, key, text)

    def ghost(self) -> Iterator[Plan]:
        """Make an event, be stopped for days, and put it when its hour was closed long ago."""

        def act(client: Client) -> Protocol[None]:
            event, raw = seal_event(
                op="memory.set",
                chains=(chain_id("memory", "a"),),
                agent=client.agent,
                session="s",
                host="h",
                client="c",
                at=client.clock.tick(),
                nonce=client.nonce(),
                body={"type": "text", "value": "late"},
            )
            yield Sleep(self.rng.uniform(5, 40) * HOUR_S)
            yield Put(event_key(event.at, event.chains[0], event.id), raw)

        for tick in (0, 3):
            yield Plan(Operation("ghost", "put", {}), act, begin_us=self.at(tick))

    def keeper(self, number: int) -> Iterator[Plan]:
        index = self.index(f"keeper-{number}")
        often = self.rng.choice((0.8, 0.8, 0.1))
        for tick in range(FIRST_UPKEEP, TICKS):
            if self.rng.random() < often:
                operation = Operation("keeper", "pack", {})
                yield Plan(operation, lambda c: pack(c, index), begin_us=self.at(tick))
            if self.rng.random() < 0.8:
                operation = Operation("keeper", "gc", {})
                yield Plan(operation, lambda c: collect(c, remove=True), begin_us=self.at(tick))

    def follower(self, number: int, every: int) -> Iterator[Plan]:
        index = self.index(f"follower-{number}")
        for tick in range(0, TICKS, every):
            yield self._look(f"follower-{number}", tick, index, cold=False)

    def newcomer(self, number: int) -> Iterator[Plan]:
        for tick in range(FIRST_UPKEEP, TICKS):
            index = self.index(f"newcomer-{number}-{tick}")
            yield self._look(f"newcomer-{number}", tick, index, cold=True)

    def _look(self, who: str, tick: int, index: Index, *, cold: bool, late_s: float = 0.0) -> Plan:
        operation = Operation(who, "sync", {})

        def look(client: Client) -> Protocol[None]:
            yield from sync(client, index)
            heads = {str(chain): index.head(chain) for chain in index.chains()}
            events = {c.event.id for c in index.commits()} | {a.event.id for a in index.attempts()}
            units = [_units(index, at) for at in (END, *self.rng.sample(_moments(index), 3))]
            self.looks.append(Look(who, operation.invoked_us, cold, heads, events, units))

        return Plan(operation, look, begin_us=self.at(tick))

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Run it; return what was broken."""
        simulation = self.simulation
        for number in range(3):
            simulation.spawn(f"writer-{number}", self.writer(number), agent=f"agent-{number}")
        for number in range(2):
            simulation.spawn(f"keeper-{number}", self.keeper(number), agent="keeper")
        for number in range(3):
            simulation.spawn(f"ghost-{number}", self.ghost())
        for number, every in enumerate((1, 4)):
            simulation.spawn(f"follower-{number}", self.follower(number, every))
        for number in range(2):
            simulation.spawn(f"newcomer-{number}", self.newcomer(number))
        ended = simulation.run()
        broken = [] if ended else ["ends: the schedule does not end"]
        broken += self._check_operations()
        broken += self._check_store()
        broken += self._check_looks()
        for index in self.indexes:
            index.close()
        return broken

    def _check_operations(self) -> Iterator[str]:
        for done in self.simulation.operations:
            if done.outcome == "bug" or (done.error is not None and done.error.exit == 8):
                yield f"errors: {done}"
            others = isinstance(done.error, Refused) and done.error.code != "packs-changed"
            if done.name in ("pack", "gc") and others:
                yield f"errors: {done}"

    def _put(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield when each event and slot came to be, once."""
        seen = set()
        for us, _, what, request, reply in self.simulation.happened:
            if what != "request" or not isinstance(request, Put | Create):
                continue
            won = isinstance(request, Put) or reply.stored is not None
            if won and request.key not in seen:
                seen.add(request.key)
                yield us, request.key, request.data

    def _check_store(self) -> Iterator[str]:
        """Every event that ever was is there yet, and no slot has gone."""
        store = self.simulation.store
        slots = {entry.key for entry in store.list("chains", "", EVERYTHING, False)}
        events = {entry.key[-69:-5] for entry in store.list("events", "", EVERYTHING, False)}
        heads = [key for key in slots if key.startswith("chains/pack/log/")]
        packed: dict[str, bytes] = {}
        if heads:
            state = decode(store.get(min(heads)).data, "head")["state"]
            for one in state.get("packs", ()):
                found = store.get(f"packs/{one['pack'][:2]}/{one['pack']}.jsonl.zst")
                if found is None:
                    yield f"packs: {one['pack'][:12]} is named and is not there"
                else:
                    packed.update(events_of(PackReader(found.data, one["pack"])))
        for event, raw in packed.items():
            if digest(raw) != event:
                yield f"packs: the event {event[:12]} is not what its id says"
        self.removed = 0
        for _, key, data in self._put():
            if key.startswith("chains/") and key not in slots:
                yield f"slots: {key} is gone"
            if key.startswith("events/"):
                event = digest(data)
                self.removed += event not in events
                if event not in events and event not in packed:
                    yield f"events: {key} is neither there nor in a pack"

    def _check_looks(self) -> Iterator[str]:
        """Each sync showed all that was there when it began."""
        slots: list[tuple[int, str, int]] = []
        events: list[tuple[int, str]] = []
        put = [(us, key, data) for us, key, data in self._put()]
        shown_us = _shown({key: (us, decode(data, key)) for us, key, data in put if _is_slot(key)})
        for us, key, data in put:
            if not key.startswith(("chains/", "events/")):
                continue
            if key in shown_us:
                slots.append((shown_us[key], decode(data, key)["chain"], slot_seq(key)))
            elif us - parse_us(decode(data, key)["at"]) < HOUR_S * 1e6:
                # What was put when its hour had closed is only seen with the next pack.
                events.append((us, digest(data)))
        for look in self.looks:
            if any(sum(units.values()) for units in look.units):
                yield f"units: {look.who} saw half a transaction at {self._s(look)}: {look.units}"
            for us, chain, seq in slots:
                if us < look.began_us and look.heads.get(chain, 0) < seq:
                    yield f"reads: {look.who} lacks version {seq} of {chain} at {self._s(look)}"
            for us, event in events:
                if look.cold and us < look.began_us and event not in look.events:
                    yield f"reads: {look.who} lacks the event {event[:12]} at {self._s(look)}"

    @staticmethod
    def _s(look: Look) -> str:
        return f"{(look.began_us - BEGIN_US) / 1e6:.3f} s"


def _move(client: Client, source: str, target: str, guard: str, text: str) -> Protocol[Any]:
    """Move a unit in a transaction that reads one key more, and tells somebody."""
    txn = Transaction(client)
    txn.memory_incr(source, -1)
    txn.memory_incr(target, 1)
    txn.memory_get(guard)
    txn.message_send("agent-1", text)
    return txn.protocol()


def _moments(index: Index) -> list[Hlc]:
    """Return moments to look back at: those of the accounts' versions, and three before all."""
    chains = [chain_id("memory", name) for name in ACCOUNTS]
    return [hlc(1, n) for n in range(3)] + [
        version.moment for chain in chains for version in index.versions(chain)
    ]


def _units(index: Index, at: Hlc) -> dict[str, int]:
    """Return what the accounts held at a moment."""
    held = {}
    for name in ACCOUNTS:
        head = standing(index, index.version_at(chain_id("memory", name), at))
        held[name] = 0 if head is None else int(state_of(head.chain, head).content["value"])
    return held


def _is_slot(key: str) -> bool:
    return key.startswith("chains/")


def _shown(slots: dict[str, tuple[int, Any]]) -> dict[str, int]:
    """Return when each version was to be seen: those of a transaction once it was decided."""
    shown = {}
    for key, (us, record) in slots.items():
        txn = record.get("txn")
        if txn is None:
            shown[key] = us
            continue
        others = [slots.get(slot_key(*slot)) for slot in txn["slots"].items()]
        ended = [one[0] for one in others if one is not None and one[1].get("txn") != txn]
        if ended:
            shown[key] = max(us, min(ended))
        elif None not in others:
            shown[key] = max(one[0] for one in others if one is not None)
    # What follows in a chain waits for what is before it.
    for key in sorted(shown, reverse=True):
        record = slots[key][1]
        before = slot_key(record["chain"], max(1, record["seq"] - 1))
        shown[key] = max(shown[key], shown.get(before, 0))
    return shown


def run_upkeep(seed: int, faults: Faults = FAULTS) -> tuple[list[str], Upkeep]:
    """Run the schedule of a seed, with small pages; return what was broken, and the schedule."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        size = random.Random(seed).choice((2, 3, 7, 50))
        patch.setattr(chains_module, "PAGE", size)
        patch.setattr(objects_module, "PAGE", size)
        patch.setattr(gc_module, "DELETES_AT_ONCE", size)
        patch.setattr(sync_packs_module, "BATCH", size)
        patch.setattr(packing_module, "WHOLE_VERSIONS", 20)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tclog-upkeep-"))
        upkeep = Upkeep(seed, faults, Path(folder))
        return upkeep.run(), upkeep
