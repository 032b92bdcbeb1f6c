"""A log that grows: some agents at work over a virtual day, and what they write."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol, run, settled
from tclog.chain.fold import fold, rules_of
from tclog.chain.seal import merge_of
from tclog.clock import SECOND_US, Hlc, Stamp, hlc, stamp
from tclog.domain import agents, artifacts, barriers, inbox, memory, steps, tags
from tclog.domain.content import Blob, Content, make_content
from tclog.domain.decision import Decision, Draft, Place
from tclog.event import (
    ALL,
    BlobHash,
    ChainId,
    Event,
    Version,
    VersionId,
    blob_key,
    chain_id,
    chain_kind,
    digest,
    event_key,
    seal_event,
    seal_version,
    slot_key,
)
from tclog.store.base import Put, Store
from tclog.store.file import FileStore

BEGIN_US = 1_767_600_000_000_000  # 2026-01-05T08:00:00Z
SPAN_S = 86_400.0
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
KEYS = ("api.contract", "db/schema", "план", "naïve key 🙂", "n" * 200, "é" * 100, "S1.A", "s1-a")
PROJECT = "default"
_WRITES_AT_ONCE = 256
_OPEN_STEPS = 24
# Who goes on with one journal for ever writes it anew, as a blob, with each line.
_JOURNAL_LINES = 500
_LEASES_S = (1800, 1800, 600, 60)
_TEXT = """
the parser accepts trailing commas now; tests cover the empty list, the nested one and the one that
ends in a comment. Reviewed by carol. Next: error positions, then the formatter.
"""
_WORDS = tuple(_TEXT.split())

Decide = Callable[[Any, Place], Decision]


class Generated(NamedTuple):
    """What was written: ``events`` counts those committed and the attempts."""

    events: int
    attempts: int
    versions: int
    chains: int
    begin_us: int
    end_us: int


class Offer(NamedTuple):
    """An event whose object is written and that no slot holds yet."""

    agent: str
    event: Event
    stored: Stamp


class Writer:
    """Writes objects, many at once; in a folder with the stamps that they are said to have."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: list[Put] = []

    def write(self, key: str, data: bytes, us: int) -> None:
        """Write an object that the store is to have got at a moment."""
        if not isinstance(self.store, FileStore):
            self._waiting.append(Put(key, data))
            if len(self._waiting) >= _WRITES_AT_ONCE:
                self.flush()
            return
        self.store.put(key, data)
        # Not there under this name only where the file system ignores case: then it keeps its own.
        with contextlib.suppress(FileNotFoundError):
            os.utime(f"{self.store.url}/{key}", ns=(us * 1000, us * 1000))

    def offer(self, event: Event, data: bytes, us: int) -> None:
        """Write an event that no slot holds yet."""
        self.write(event_key(event.at, event.chains[0], event.id), data, us)

    def hold(self, event: Event, at: Hlc) -> None:
        """Take note that a version with a stamp holds an event."""

    def flush(self) -> None:
        """Write what waits."""
        # Not all at once: the newest slot of a chain must not be there before those below it.
        for kind in ("blobs/", "events/", "chains/"):
            puts = tuple(put for put in self._waiting if put.key.startswith(kind))
            if puts:
                run(_put_all(puts), self.store)
        self._waiting.clear()


def _put_all(puts: Sequence[Put]) -> Protocol[None]:
    settled((yield puts))


class Head(NamedTuple):
    """The newest version of a chain: what the next one has to know of it, and the state folded."""

    seq: int
    id: VersionId
    stored: Stamp
    state: Any


class Growing:
    """Appends to chains in virtual time: one event after the other, none refused later."""

    def __init__(
        self, writer: Writer, events: int, rng: random.Random, begin_us: int, span_s: float
    ) -> None:
        self.writer = writer
        self.rng = rng
        self.wanted = events
        self.begin_us = self.now_us = begin_us
        self.pace_us = max(span_s * SECOND_US / max(events, 1), 10.0)
        self.heads: dict[ChainId, Head] = {}
        self.broadcasts: Version | None = None
        self.hosts: dict[str, str] = {}
        self.events = self.attempts = self.versions = 0

    def full(self) -> bool:
        """Whether there are as many events as wanted."""
        return self.events >= self.wanted

    def done(self) -> Generated:
        """Write what waits, and say what was made."""
        self.writer.flush()
        return Generated(
            self.events, self.attempts, self.versions, len(self.heads), self.begin_us, self.now_us
        )

    def state(self, chain: ChainId) -> Any:
        """Return the state of a chain."""
        head = self.heads.get(chain)
        return rules_of(chain).empty if head is None else head.state

    def _pass(self, share: float, most_us: int) -> int:
        """Let a part of the time between two events pass."""
        self.now_us += min(max(round(self.pace_us * share), 1), most_us)
        return self.now_us

    def offer(
        self, agent: str, chain: ChainId, decide: Decide, chains: Sequence[ChainId] = ()
    ) -> Offer | None:
        """Write the event that an agent wants to commit; None if the rules refuse it."""
        draft = decide(self.state(chain), self._place(chain))
        if not isinstance(draft, Draft) or self.full():
            return None
        self.now_us += round(self.pace_us * self.rng.uniform(0.2, 1.4)) + 1
        event, raw = seal_event(
            op=draft.op,
            chains=chains or (chain,),
            agent=agent,
            session=f"{agent}-1",
            host=self.hosts.get(agent, "host-1"),
            client="tclog/generated",
            at=hlc(self.now_us, 0),
            nonce=f"{self.rng.getrandbits(128):032x}",
            body=draft.body,
            expect=draft.expect,
        )
        us = self._pass(0.05, 3_000)
        self.writer.offer(event, raw, us)
        self.events += 1
        self.attempts += 1  # until a slot holds it
        return Offer(agent, event, stamp(us))

    def commit(self, offer: Offer, chain: ChainId, decide: Decide) -> Version | None:
        """Create the next slot with an event that was offered; None if the rules refuse it now."""
        place = self._place(chain)._replace(now=offer.stored)
        draft = decide(self.state(chain), place)
        if not isinstance(draft, Draft) or draft.body != offer.event.body:
            return None
        if chain == offer.event.chains[0]:
            self.attempts -= 1
        return self._append(chain, offer.agent, (offer.event,), place if draft.judged else None)

    def act(
        self, agent: str, chain: ChainId, decide: Decide, chains: Sequence[ChainId] = ()
    ) -> Version | None:
        """Decide and commit, as nearly always nothing comes between."""
        offer = self.offer(agent, chain, decide, chains)
        return None if offer is None else self.commit(offer, chain, decide)

    def take_in(self, chain: ChainId, agent: str) -> None:
        """Give broadcasts their place by a version without events, as a reader does."""
        if merge_of(self.state(chain), self.broadcasts) is not None:
            self._append(chain, agent, (), None)

    def blob(self, blob: Blob) -> None:
        """Write a blob."""
        self.writer.write(blob_key(blob.hash), blob.data, self.now_us)

    def _place(self, chain: ChainId) -> Place:
        head = self.heads.get(chain)
        return Place(1) if head is None else Place(head.seq + 1, 0, head.stored)

    def _append(
        self, chain: ChainId, agent: str, events: Sequence[Event], judged: Place | None
    ) -> Version:
        rules = rules_of(chain)
        before = self.heads.get(chain)
        state = self.state(chain)
        place = judged or self._place(chain)
        merge = None
        if chain_kind(chain) == "inbox" and chain != ALL:
            merge = merge_of(state, self.broadcasts)
        if chain_kind(chain) == "memory":
            for blob in memory.blobs_of(state, events[0]):
                self.blob(blob)
        at_us = self._pass(0.1, 9_000)
        if not rules.stamped and self.rng.random() < 0.5:
            place = place._replace(prev_stored=None)  # a writer that did not happen to know it
        folded = fold(chain, state, events, place, merge)
        version = seal_version(
            chain=chain,
            seq=place.seq,
            prev=None if before is None else before.id,
            prev_stored=place.prev_stored,
            at=hlc(at_us, 0),
            by=agent,
            events=events,
            state=rules.pack(folded, events),
            now=place.now,
            merge=merge,
        )
        us = self._pass(0.1, 7_000)
        self.writer.write(slot_key(chain, place.seq), version.raw, us)
        for event in events:
            self.writer.hold(event, version.at)
        self.heads[chain] = Head(version.seq, version.id, stamp(us), folded)
        if chain == ALL:
            self.broadcasts = version
        self.versions += 1
        return version


class Work:
    """What the agents do, one scene after the other, until there are as many events as wanted."""

    def __init__(self, log: Growing, events: int, count: int, rng: random.Random) -> None:
        self.log = log
        self.rng = rng
        self.agents = [NAMES[i] if i < len(NAMES) else f"agent-{i + 1}" for i in range(count)]
        self.log.hosts = {agent: f"host-{i % 3 + 1}" for i, agent in enumerate(self.agents)}
        self.keys = [*KEYS, *(f"facts.{i}" for i in range(max(events // 40, 4)))]
        self.open: list[str] = []
        self.done: list[str] = []
        self.steps = 0
        self.tags = 0
        self.lines: Counter[str] = Counter()

    def run(self) -> None:
        log = self.log
        for agent in self.agents:
            command = agents.Join(log.hosts[agent], f"{agent}-1")
            log.act(agent, chain_id("agent", agent), _by(agents.decide, command))
        scenes = (
            (self._work_on_step, 46),
            (self._set, 14),
            (self._count, 7),
            (self._journal, 5),
            (self._send, 10),
            (self._broadcast, 2),
            (self._read, 8),
            (self._put_artifact, 3),
            (self._meet, 2),
            (self._tag, 1),
        )
        weights = [weight for _, weight in scenes]
        while not log.full():
            (scene,) = self.rng.choices(scenes, weights)
            scene[0](self.rng.choice(self.agents))

    # -- steps --------------------------------------------------------------------------------

    def _work_on_step(self, agent: str) -> None:
        if len(self.open) < _OPEN_STEPS:
            self._add_step(agent)
            return
        step = self.rng.choice(self.open)
        chain = chain_id("step", step)
        state: steps.State = self.log.state(chain)
        if state.state == steps.PENDING:
            self._claim(agent, step, chain, state)
        elif state.state == steps.CLAIMED:
            assert state.agent is not None
            self._continue(agent, state.agent, step, chain, state)
        else:  # blocked, failed, or waiting for review
            self.log.act(agent, chain, _by(steps.decide, steps.Reopen(step)))

    def _add_step(self, agent: str) -> None:
        self.steps += 1
        step = f"{self.rng.choice(('design', 'build', 'test', 'docs/page'))}-{self.steps:05d}"
        known = [*self.open[-6:], *self.done[-6:]]
        count = min(len(known), self.rng.choice((0, 0, 1, 2)))
        after = tuple(sorted(self.rng.sample(known, count)))
        title = self._text(6) if self.rng.random() < 0.7 else None
        command = steps.Add(step, agent, title, self.rng.choice((0, 0, 0, 1, 5)), after)
        if self.log.act(agent, chain_id("step", step), _by(steps.decide, command)):
            self.open.append(step)

    def _claim(self, agent: str, step: str, chain: ChainId, state: steps.State) -> None:
        waits = [s for s in state.after if self._step_state(s) != steps.COMPLETE]
        if waits:
            return
        seen = {s: self.log.heads[chain_id("step", s)].seq for s in state.after}
        lease_ms = self.rng.choice(_LEASES_S) * 1000
        decide = _by(steps.decide, steps.Claim(step, agent, lease_ms, seen=seen or None))
        rival = None
        if self.rng.random() < 0.1:
            other = self.rng.choice(self.agents)
            claim = steps.Claim(step, other, lease_ms)
            rival = self.log.offer(other, chain, _by(steps.decide, claim)) and other
        if self.log.act(agent, chain, decide) and rival is not None:
            # The rival's event stays without a slot, and so does that of its try to take over.
            claim = steps.Claim(step, rival, lease_ms)
            if rival != agent and self.rng.random() < 0.5:
                self.log.act(rival, chain, _by(steps.decide, claim))

    def _step_state(self, step: str) -> str:
        state: str = self.log.state(chain_id("step", step)).state
        return state

    def _continue(
        self, agent: str, holder: str, step: str, chain: ChainId, state: steps.State
    ) -> None:
        chance = self.rng.random()
        command: steps.Command
        fence = state.fence if self.rng.random() < 0.5 else None
        if self._lapsed(state, chain) and agent != holder:
            holder, command = agent, steps.Claim(step, agent, 1_800_000)
        elif state.lease_ms <= 60_000 and chance < 0.7:
            return  # the holder is not heard of any more
        elif chance < 0.03:
            command = steps.Claim(step, holder, 1_800_000, fence=state.fence)
        elif chance < 0.3:
            command = steps.Renew(step, holder, None, fence)
        elif chance < 0.5:
            content, blobs = make_content("text", self._text(self.rng.randint(3, 40)))
            command = steps.Note(step, content)
            for blob in blobs:
                self.log.blob(blob)
        elif chance < 0.55:
            command = steps.Release(step, holder, fence)
        else:
            self._end(holder, step, chain, fence)
            return
        self.log.act(holder, chain, _by(steps.decide, command))

    def _lapsed(self, state: steps.State, chain: ChainId) -> bool:
        head = self.log.heads[chain]
        ends_us = steps.lease_ends_us(state, head.seq, head.stored, "")
        return ends_us is not None and self.log.now_us > ends_us + steps.LEASE_MARGIN_US

    def _end(self, holder: str, step: str, chain: ChainId, fence: int | None) -> None:
        outcome = self.rng.choice((*(steps.COMPLETE,) * 8, *steps.OUTCOMES[1:]))
        handoff: dict[str, Any] = {}
        to = self.rng.choice(self.agents)
        if self.rng.random() < 0.3:
            note, _ = make_content("text", self._text(12))
            handoff = {"to": to, "note": note, "next_action": self._text(4)}
        command = steps.Complete(step, holder, outcome, fence, handoff=handoff or None)
        if self.log.act(holder, chain, _by(steps.decide, command)) is None:
            return
        if outcome == steps.COMPLETE:
            self.open.remove(step)
            self.done.append(step)
        if handoff:
            self._message(holder, [to], f"step {step} is {outcome}", step)

    # -- memory -------------------------------------------------------------------------------

    def _set(self, agent: str) -> None:
        # Some keys are written often and most of them seldom, as everywhere.
        key = self.keys[int(len(self.keys) * self.rng.random() ** 3)]
        chain = chain_id("memory", key)
        chance = self.rng.random()
        if chance < 0.05:
            self.log.act(agent, chain, _by(memory.decide, memory.Delete()))
            return
        content, blobs = self._content(chance)
        for blob in blobs:
            self.log.blob(blob)
        seq = self.log.heads[chain].seq if chain in self.log.heads else 0
        if_version = seq if self.log.state(chain).content is not None and chance < 0.6 else None
        decide = _by(memory.decide, memory.Set(content, if_version))
        if chance < 0.2:
            rival, other = self.rng.choice(self.agents), make_content("text", self._text(5))[0]
            theirs = _by(memory.decide, memory.Set(other, if_version))
            offer = self.log.offer(rival, chain, theirs)
            self.log.act(agent, chain, decide)
            if offer is not None:
                self.log.commit(offer, chain, theirs)  # refused if it had expected a version
            return
        self.log.act(agent, chain, decide)

    def _content(self, chance: float) -> tuple[Content, list[Blob]]:
        if chance > 0.995:
            return make_content("text", self._text(4000))
        if chance > 0.7:
            value = {"status": self.rng.choice(_WORDS), "count": self.rng.randint(0, 999)}
            return make_content("json", value if chance < 0.95 else [value, 0.5, None])
        return make_content("text", self._text(self.rng.randint(1, 30)))

    def _count(self, agent: str) -> None:
        key = self.rng.choice(("counter.builds", "counter.builds", "counter.tests"))
        command = memory.Incr(self.rng.choice((1, 1, 1, 5, -1)))
        self.log.act(agent, chain_id("memory", key), _by(memory.decide, command))

    def _journal(self, agent: str) -> None:
        added, _ = make_content("text", f"{agent}: {self._text(8)}")
        name = f"journal.{self.rng.choice(self.agents)}"
        nth = self.lines[name] // _JOURNAL_LINES
        self.lines[name] += 1
        chain = chain_id("memory", f"{name}.{nth + 1}" if nth else name)
        self.log.act(agent, chain, _by(memory.decide, memory.Append(added)))

    # -- messages -----------------------------------------------------------------------------

    def _send(self, agent: str) -> None:
        count = 1 if self.rng.random() < 0.85 else min(3, len(self.agents))
        self._message(agent, self.rng.sample(self.agents, count), self._text(10))

    def _broadcast(self, agent: str) -> None:
        self._message(agent, ["@all"], self._text(10))

    def _message(self, agent: str, to: Sequence[str], text: str, step: str | None = None) -> None:
        content, _ = make_content("text", text)
        body: dict[str, Any] = {"text": content, "to": list(to)}
        if step is not None:
            body["step"] = step
        chains = [chain_id("inbox", name) for name in to]
        decide = _by(inbox.decide, inbox.Send(body))
        offer = self.log.offer(agent, chains[0], decide, chains)
        for chain in chains if offer is not None else ():
            self.log.commit(offer, chain, decide)  # type: ignore[arg-type]

    def _read(self, agent: str) -> None:
        chain = chain_id("inbox", agent)
        self.log.take_in(chain, agent)
        count = self.log.state(chain).count
        read: inbox.Read = self.log.state(chain_id("read", agent))
        if count == read.floor:
            return
        first = read.floor + 1
        last = count if self.rng.random() < 0.8 else self.rng.randint(first, count)
        version = self.log.heads[chain].seq if last == count else 0
        command = inbox.Ack(((first, last),), version)
        self.log.act(agent, chain_id("read", agent), _by(inbox.decide_ack, command))

    # -- the rest -----------------------------------------------------------------------------

    def _put_artifact(self, agent: str) -> None:
        content = self._text(self.rng.randint(20, 400)).encode()
        blob = Blob(BlobHash(digest(content)), content)
        self.log.blob(blob)
        name = self.rng.choice(("report.md", "plan.md", "src/main.py", "figures/one.svg"))
        command = artifacts.PutArtifact(blob.hash, len(content), None)
        self.log.act(agent, chain_id("artifact", name), _by(artifacts.decide, command))

    def _meet(self, agent: str) -> None:
        chain = chain_id("barrier", self.rng.choice(("release", "standup")))
        parties = min(3, len(self.agents))
        state: barriers.State = self.log.state(chain)
        command: barriers.Command = barriers.Arrive(agent, state.parties or parties)
        if agent in state.arrived:
            command = barriers.Leave(agent, state.generation)
        self.log.act(agent, chain, _by(barriers.decide, command))

    def _tag(self, agent: str) -> None:
        self.tags += 1
        name = f"milestone-{self.tags}" if self.tags % 10 else "latest"
        command = tags.SetTag(name, hlc(self.log.now_us, 0), move=True)
        self.log.act(agent, chain_id("tag", name), _by(tags.decide, command))

    def _text(self, words: int) -> str:
        return " ".join(self.rng.choices(_WORDS, k=words))


def _by(decide: Callable[..., Decision], command: Any) -> Decide:
    return lambda state, place: decide(state, command, place)
