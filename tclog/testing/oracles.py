"""Oracles: the promises, checked on what a schedule left in the store and what clients were told.

The slots give the order of versions, so nothing has to be searched for: every check is a walk.
Each returns sentences that say what was broken; none means that the promise held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tclog.chain.fold import state_of, verify
from tclog.clock import parse_us
from tclog.domain import steps
from tclog.domain.decision import Place
from tclog.errors import Refused, TclogError
from tclog.event import (
    ALL,
    ChainId,
    Event,
    Version,
    decode_event,
    decode_version,
    digest,
    slot_key,
    slot_seq,
)
from tclog.store.memory import MemoryStore
from tclog.testing.scheduler import Operation

EVERYTHING = 10_000_000


class Chains(NamedTuple):
    """All chains of a store, each from version 1 on; and which versions hold an event."""

    versions: dict[ChainId, list[Version]]
    places: dict[str, list[tuple[ChainId, int]]]


def read_chains(store: MemoryStore) -> tuple[Chains, list[str]]:
    """Read every chain without the protocol, checking density, links, stamps, folds and objects."""
    broken: list[str] = []
    slots: dict[str, list[tuple[int, bytes]]] = {}
    for entry in store.list("chains", "", EVERYTHING, False):
        folder, _, _ = entry.key.rpartition("/")
        seq, found = slot_seq(entry.key), store.get(entry.key)
        if seq is None or found is None:
            broken.append(f"{entry.key} is no slot")
            continue
        slots.setdefault(folder, []).append((seq, found.data))
    objects = {entry.key[-69:-5] for entry in store.list("events", "", EVERYTHING, False)}
    chains = Chains({}, {})
    for folder, rows in slots.items():
        broken += _read_chain(folder, sorted(rows), objects, chains)
    broken += _check_objects(store)
    return chains, broken


def _read_chain(
    folder: str, rows: Sequence[tuple[int, bytes]], objects: set[str], chains: Chains
) -> Iterator[str]:
    before: Version | None = None
    for place, (seq, raw) in enumerate(rows, 1):
        if seq != place:
            yield f"{folder} has a gap: version {place} is missing"
            return
        try:
            chain = _chain_of(raw)
            version = decode_version(raw, chain=chain, seq=seq)
            verify(chain, before, version)
        except TclogError as error:
            yield f"{folder}: {error.message}"
            return
        for event in version.events:
            chains.places.setdefault(event.id, []).append((chain, seq))
            if event.id not in objects:
                yield f"version {seq} of {chain} names event {event.id}, which has no object"
        chains.versions.setdefault(chain, []).append(version)
        before = version


def _chain_of(raw: bytes) -> ChainId:
    import orjson

    return ChainId(str(orjson.loads(raw)["chain"]))


def _check_objects(store: MemoryStore) -> Iterator[str]:
    for entry in store.list("events", "", EVERYTHING, False):
        found = store.get(entry.key)
        if found is None or digest(found.data) != entry.key[-69:-5]:
            yield f"{entry.key} does not hold what its name says"
            continue
        decode_event(found.data)
    for entry in store.list("blobs", "", EVERYTHING, False):
        found = store.get(entry.key)
        if found is None or digest(found.data) != entry.key.rpartition("/")[2]:
            yield f"{entry.key} does not hold what its name says"


# -- appends --------------------------------------------------------------------------------------


class Append(NamedTuple):
    """What the oracles know of an operation that changes a chain.

    ``token`` is a text that no other operation has; every event of the operation carries it.
    """

    operation: Operation
    chain: ChainId
    events: tuple[tuple[int, Event], ...]


def appends_of(operations: Iterable[Operation], chains: Chains) -> list[Append]:
    """Match every changing operation with its committed events, by its token (the key)."""
    by_key: dict[tuple[str, str, str], list[tuple[int, Event]]] = {}
    for chain, versions in chains.versions.items():
        for version in versions:
            for event in version.events:
                token = _token(event)
                by_key.setdefault((chain, event.agent, token), []).append((version.seq, event))
    return [
        Append(o, chain, tuple(by_key.get((chain, o.agent, o.arguments["token"]), ())))
        for o in operations
        for chain in o.arguments.get("chains", ())
    ]


def _token(event: Event) -> str:
    """Where the workload puts an operation's token: the idempotency key, or the body."""
    if event.key is not None:
        return event.key.partition("/")[0]
    body = event.body
    for text in (body.get("value"), body.get("text"), body.get("note"), body.get("added")):
        if isinstance(text, dict):
            text = text.get("value")  # noqa: PLW2901 - a content holds its text
        if isinstance(text, str) and text.startswith("t-"):
            return text
    return f"untold-{event.id}"


def check_appends(appends: Sequence[Append]) -> Iterator[str]:
    """Acknowledged means there, once; refused means not there; unknown means at most once."""
    for append in appends:
        operation, count = append.operation, len(append.events)
        if count > 1:
            yield f"applied {count} times in {append.chain}: {operation}"
        if operation.outcome == "ok" and count == 0 and not operation.arguments.get("idle"):
            yield f"acknowledged and lost in {append.chain}: {operation}"
        if operation.outcome == "refused" and count and not _may_be_there(operation):
            yield f"refused, yet in {append.chain}: {operation}"


def _may_be_there(operation: Operation) -> bool:
    """Whether an unreachable store does not mean that nothing was written.

    A repetition may find the store gone before it finds its first try; a completion may have
    been written before the message of its hand-off could not be.
    """
    unreached = operation.error is not None and operation.error.exit == 7
    return unreached and (operation.repeats or operation.name == "step.complete")


def check_real_time(appends: Sequence[Append]) -> Iterator[str]:
    """An append that was acknowledged before another began has the lower slot."""
    by_chain: dict[ChainId, list[Append]] = {}
    for append in appends:
        if append.operation.outcome == "ok" and append.events:
            by_chain.setdefault(append.chain, []).append(append)
    for chain, rows in by_chain.items():
        rows.sort(key=lambda row: row.operation.began_us)
        ended = sorted(rows, key=lambda row: row.operation.returned_us)
        highest, index = 0, 0
        for row in rows:
            while (
                index < len(ended) and ended[index].operation.returned_us < row.operation.began_us
            ):
                highest = max(highest, ended[index].events[-1][0])
                index += 1
            seq = row.events[-1][0]
            if seq < highest:
                yield f"{chain}: version {seq} was appended after {highest}: {row.operation}"


def check_reads(
    operations: Iterable[Operation], appends: Sequence[Append], chains: Chains
) -> Iterator[str]:
    """A read sees everything that was acknowledged before it began, and a version that exists."""
    for read in operations:
        if read.name != "memory.get" or read.outcome != "ok":
            continue
        chain, seen = read.arguments["chain"], read.result
        version = 0 if seen is None else seen.version
        floor = max(
            (
                a.events[-1][0]
                for a in appends
                if a.chain == chain
                and a.events
                and a.operation.outcome == "ok"
                and a.operation.returned_us < read.invoked_us
            ),
            default=0,
        )
        if version < floor:
            yield f"{chain}: read version {version} after version {floor} was acknowledged: {read}"
        if seen is not None:
            held = chains.versions[chain][version - 1]
            if state_of(chain, held).content.get("value") != seen.value:
                yield f"{chain}: version {version} never held {seen.value!r}: {read}"


def check_guards(
    operations: Iterable[Operation], chains: Chains, created_us: dict[str, int]
) -> Iterator[str]:
    """A set took effect where it was acknowledged; a refused guard was stale before it returned."""
    for operation in operations:
        if operation.name not in ("memory.set", "memory.guarded"):
            continue
        chain, token = operation.arguments["chains"][0], operation.arguments["token"]
        if operation.outcome == "ok":
            version = chains.versions[chain][operation.result.version - 1]
            if state_of(chain, version).content.get("value") != token:
                yield f"{chain}: version {version.seq} does not hold what was set: {operation}"
        error = operation.error
        if error is not None and error.code == "version-conflict":
            next_seq = operation.arguments["if_version"] + 1
            overtaken_us = created_us.get(slot_key(chain, next_seq))
            if overtaken_us is None or overtaken_us > operation.returned_us:
                yield f"{chain}: refused although nothing had changed: {operation}"


# -- steps ----------------------------------------------------------------------------------------


def check_leases(chains: Chains, created_us: dict[str, int]) -> Iterator[str]:
    """No takeover before the lease has ended in the store's true time; tokens only grow."""
    for chain, versions in chains.versions.items():
        if not chain.startswith("step/"):
            continue
        fence, held_us = 0, 0
        before = steps.EMPTY
        for version in versions:
            state: steps.State = state_of(chain, version)
            now_us = created_us[slot_key(chain, version.seq)]
            taken = before.state == steps.CLAIMED
            if state.state == steps.CLAIMED and not (taken and _same_claim(before, state)):
                if taken and now_us < held_us + before.lease_ms * 1000:
                    yield f"{chain}: version {version.seq} took over a lease that had not ended"
                if (state.fence or 0) <= fence:
                    yield f"{chain}: the token {state.fence} does not grow beyond {fence}"
                fence = state.fence or 0
            # By the rule's own words, not by what the state says: whatever the holder writes.
            if any(event.agent == state.agent for event in version.events):
                held_us = now_us
            before = state


def _same_claim(before: steps.State, after: steps.State) -> bool:
    return (before.agent, before.fence) == (after.agent, after.fence)


def check_refusals(
    operations: Iterable[Operation], chains: Chains, created_us: dict[str, int]
) -> Iterator[str]:
    """A refusal rests on a state that was the newest at some moment of the operation."""
    for operation in operations:
        command = operation.arguments.get("command")
        if command is None or not isinstance(operation.error, Refused):
            continue
        chain = operation.arguments["chain"]
        newest = list(_newest_during(operation, chain, chains, created_us))
        decisions = [steps.decide(state_of(chain, head), command, place) for head, place in newest]
        # A takeover's refusal also rests on the store's clock, which other checks look at.
        if not any(isinstance(d, Refused) or getattr(d, "judged", False) for d in decisions):
            yield f"{chain}: {operation.error.code}, but not in any state it met: {operation}"


def _newest_during(
    operation: Operation, chain: ChainId, chains: Chains, created_us: dict[str, int]
) -> Iterator[tuple[Version | None, Place]]:
    """Yield each head that a chain had while an operation was under way, and the place after it."""
    versions = chains.versions.get(chain, [])
    for seq in range(len(versions) + 1):
        began_us = created_us[slot_key(chain, seq)] if seq else 0
        ended_us = created_us[slot_key(chain, seq + 1)] if seq < len(versions) else None
        if began_us <= operation.returned_us and (
            ended_us is None or ended_us >= operation.invoked_us
        ):
            yield versions[seq - 1] if seq else None, Place(seq + 1)


def check_claims(operations: Iterable[Operation], chains: Chains) -> Iterator[str]:
    """Who was told that it holds a step holds it at that version, with that token."""
    for claim in operations:
        if claim.name != "step.claim" or claim.outcome != "ok":
            continue
        step = claim.result
        chain = claim.arguments["chain"]
        state: steps.State = state_of(chain, chains.versions[chain][step.version - 1])
        if state.state != steps.CLAIMED or state.agent != claim.agent or state.fence != step.fence:
            yield f"{chain}: {claim.agent} was told that it holds version {step.version}: {claim}"


def check_clocks(chains: Chains, created_us: dict[str, int]) -> Iterator[str]:
    """A chain's stamps stay near the store's time, whatever the writers' clocks say."""
    for chain, versions in chains.versions.items():
        for version in versions:
            off_s = (parse_us(version.at[:27]) - created_us[slot_key(chain, version.seq)]) / 1e6
            if off_s > 3700:
                yield f"{chain}: version {version.seq} is stamped {off_s:.0f} s ahead"


# -- inboxes --------------------------------------------------------------------------------------


def check_inboxes(operations: Sequence[Operation]) -> Iterator[str]:
    """One order for all reads of an inbox: dense numbers, nothing lost, real time respected."""
    orders: dict[str, dict[int, str]] = {}
    reads = [o for o in operations if o.name == "inbox.read" and o.outcome == "ok"]
    sends = [o for o in operations if o.name == "message.send" and o.outcome == "ok"]
    for read in reads:
        yield from _check_read(read, orders.setdefault(read.agent, {}), sends)
    for agent, order in orders.items():
        yield from _check_order(agent, {message: n for n, message in order.items()}, sends)


def _check_read(
    read: Operation, order: dict[int, str], sends: Sequence[Operation]
) -> Iterator[str]:
    messages = read.result.messages
    seen = {m.id for m in messages}
    if [m.n for m in messages] != list(range(1, len(messages) + 1)):
        yield f"the numbers of {read.agent}'s inbox have gaps: {read}"
    if len(seen) != len(messages):
        yield f"{read.agent} was given a message twice: {read}"
    for message in messages:
        if order.setdefault(message.n, message.id) != message.id:
            yield f"message {message.n} of {read.agent} is not the same in two reads: {read}"
    for send in sends:
        mine = send.arguments["to"] in ("@all", read.agent)
        if mine and send.returned_us < read.invoked_us and send.result.id not in seen:
            yield f"{read.agent} does not see what was acknowledged before: {send}"


def _check_order(agent: str, places: dict[str, int], sends: Sequence[Operation]) -> Iterator[str]:
    known = sorted((s for s in sends if s.result.id in places), key=lambda s: s.began_us)
    for index, later in enumerate(known):
        for earlier in known[:index]:
            acknowledged = earlier.returned_us < later.began_us
            if acknowledged and places[earlier.result.id] > places[later.result.id]:
                yield f"{agent}: {later} comes before {earlier}, which was acknowledged first"


def check_broadcasts(chains: Chains) -> Iterator[str]:
    """Every merge names a range of broadcasts that exists, right after the one before it."""
    broadcasts = chains.versions.get(ALL, [])
    for chain, versions in chains.versions.items():
        if not chain.startswith("inbox/") or chain == ALL:
            continue
        through = 0
        for version in versions:
            merge = version.merge
            if merge is None:
                continue
            if merge["after"] != through or merge["through"] > len(broadcasts):
                yield f"{chain}: version {version.seq} merges a range that does not follow"
            through = merge["through"]
            if merge["count"] != state_of(ALL, broadcasts[through - 1]).count:
                yield f"{chain}: version {version.seq} miscounts the broadcasts"
