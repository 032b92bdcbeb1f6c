"""Oracles: the promises, checked on what a schedule left in the store and what clients were told.

The slots give the order of versions, so nothing has to be searched for: every check is a walk.
Each returns sentences that say what was broken; none means that the promise held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from tclog.chain.client import Decode
from tclog.chain.fold import fold, place_of, rules_of
from tclog.clock import ARRIVES_US, TRIED_US, Stamp, parse_us, stamp
from tclog.domain import steps
from tclog.domain.decision import Place
from tclog.errors import Refused, TclogError
from tclog.event import (
    ALL,
    VOID,
    ChainId,
    Event,
    Version,
    chain_folder,
    chain_id,
    decode_event,
    decode_version,
    digest,
    encode,
    event_key_parts,
    slot_key,
    slot_seq,
)
from tclog.event.names import BLOBS, CHAINS, EVENTS, chain_kind, folder_of, segment_of
from tclog.store.base import Found, Store
from tclog.sync.chains import UNDECIDED_US
from tclog.testing.scheduler import EVERYTHING, Operation, nonce_of

_stamp = lru_cache(maxsize=4096)(stamp)


class Chains(NamedTuple):
    """All chains of a store, each from version 1 on, with the state after each version.

    ``states`` begins with the empty state, so the state after version n stands at place n.
    """

    versions: dict[ChainId, list[Version]]
    states: dict[ChainId, list[Any]]

    def state(self, chain: ChainId, seq: int) -> Any:
        """Return the state after a version; the empty one before the first and beyond the last."""
        known = self.states.get(chain, ())
        return known[seq] if seq < len(known) else rules_of(chain).empty


def read_chains(
    store: Store,
    created_us: Mapping[str, int] | None = None,
    decode: Decode = decode_version,
    *,
    foreign: bool = False,
) -> tuple[Chains, list[str]]:
    """Read every chain without the protocol, checking density, links, stamps, folds and objects.

    Args:
        store: what is left after all is over.
        created_us: when each slot was created, if it is to be checked that nothing else wrote them.
        decode: what reads a version's bytes.
        foreign: whether others have put objects there: stray names, and junk into slots.
    """
    broken: list[str] = []
    slots: dict[str, list[tuple[int, Found]]] = {}
    for entry in store.list(CHAINS, "", EVERYTHING, False):
        folder = folder_of(entry.key)
        seq, found = slot_seq(entry.key), store.get(entry.key)
        if seq is None or found is None:
            broken += [] if foreign else [f"{entry.key} is no slot"]
            continue
        if created_us is not None and entry.key not in created_us:
            broken.append(f"{entry.key} was written without being created")
        elif created_us is not None and entry.stored != _stamp(created_us[entry.key]):
            broken.append(f"{entry.key} was written again after it was created")
        slots.setdefault(folder, []).append((seq, found))
    events = store.list(EVENTS, "", EVERYTHING, False)
    objects = {
        e.key[-69:-5]: e.key for e in events if not foreign or event_key_parts(e.key) is not None
    }
    chains = Chains({}, {})
    for folder, rows in slots.items():
        reading = decode if not foreign else _or_none(folder, decode)
        broken += _read_chain(folder, sorted(rows), store, objects, chains, reading)
    broken += _check_objects(store, objects, chains)
    return chains, broken


def _read_chain(
    folder: str,
    rows: Sequence[tuple[int, Found]],
    store: Store,
    objects: Mapping[str, str],
    chains: Chains,
    decode: Callable[..., Version | None],
) -> Iterator[str]:
    """Walk one chain. Nothing here is the protocol's own check: that may be what is broken."""
    chain = ChainId("")
    before: Version | None = None
    state: Any = None
    junk: list[dict[str, Any]] = []
    for place, (seq, found) in enumerate(rows, 1):
        if seq != place:
            yield f"{folder} has a gap: version {place} is missing"
            return
        try:
            chain = chain or _chain_named(found.data)
            version = decode(found.data, chain=chain, seq=seq, stored=found.stored)
            if version is None:
                junk.insert(0, {"hash": digest(found.data), "seq": seq})
                continue
            chain = version.chain
            yield from _check_voids(folder, version, junk)
            if before is None:
                state = rules_of(chain).empty
                chains.states[chain], chains.versions[chain] = [state], []
            chains.states[chain] += [state] * len(junk)
            if version.txn is not None:
                aborted = _was_aborted(store, version.txn)
                if aborted is None:
                    later = (
                        decode(f.data, chain=chain, seq=n, stored=f.stored) for n, f in rows[place:]
                    )
                    if any(one is not None for one in later):
                        yield f"{folder}: version {seq} is undecided, and others follow it"
                    return
                version = version.judged(aborted=aborted)
                yield from _check_otherwise(folder, before, state, version)
            at = place_of(version, before)
            state = fold(chain, state, version.events, at, version.merge)
        except TclogError as error:
            yield f"{folder}: {error.message}"
            return
        if not junk and version.prev != (None if before is None else digest(before.raw)):
            yield f"{folder}: version {seq} does not name the version before it"
        yield from _check_version(folder, before, version, state, objects)
        junk = []
        chains.versions[chain].append(version)
        chains.states[chain].append(state)
        before = version


def _check_voids(folder: str, version: Version, junk: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A version names the junk right below it, all of it and nothing else."""
    if list(version.voids) != junk:
        yield f"{folder}: version {version.seq} ends {version.voids}, and below it is {junk}"
    if junk and version.prev != junk[0]["hash"]:
        yield f"{folder}: version {version.seq} does not name the slot before it"


def _chain_named(raw: bytes) -> ChainId:
    """Return the chain that a record names, whatever else it is."""
    try:
        return ChainId(str(orjson.loads(raw)["chain"]))
    except (ValueError, KeyError, TypeError):
        return ChainId("")


def _or_none(folder: str, decode: Decode) -> Callable[..., Version | None]:
    """Make what reads a version that stands in its place, and gives None for anything else."""

    def read(raw: bytes, *, chain: ChainId, seq: int, stored: Stamp | None) -> Version | None:
        del chain
        named = _chain_named(raw)
        try:
            if chain_folder(named) != folder:
                return None
            return decode(raw, chain=named, seq=seq, stored=stored)
        except (TclogError, ValueError):
            return None

    return read


def _check_otherwise(
    folder: str, before: Version | None, state: Any, version: Version
) -> Iterator[str]:
    """A version of a transaction says what stands if that is aborted."""
    packed = version.record.get("otherwise")
    rules = rules_of(version.chain)
    stays = fold(version.chain, state, (), place_of(version, before))
    if packed is not None and encode(rules.pack(stays, ())) != encode(packed):
        yield f"{folder}: version {version.seq} misstates what stands if it is aborted"


def _check_version(
    folder: str,
    before: Version | None,
    version: Version,
    state: Any,
    objects: Mapping[str, str],
) -> Iterator[str]:
    """Check a version against the one before it, and the state that its events give."""
    stands = before.base if before is not None and before.void else None
    if version.record.get("stands") != stands:
        yield f"{folder}: version {version.seq} misnames the version that stands before it"
    last = None if before is None else before.last_txn
    if version.record.get("last_txn") != last:
        yield f"{folder}: version {version.seq} misnames the transaction before it"
    if last is not None and version.moment <= last["at"]:
        yield f"{folder}: version {version.seq} counts from before the transaction that it follows"
    if before is not None and version.at <= before.at:
        yield f"{folder}: version {version.seq} is not later than the version before it"
    if encode(rules_of(version.chain).pack(state, version.events)) != encode(version.state):
        yield f"{folder}: version {version.seq} holds a state that the events up to it do not give"
    for event in version.events:
        if event.id not in objects:
            what = f"version {version.seq} of {version.chain}"
            yield f"{what} names event {event.id}, which has no object"


def _was_aborted(store: Store, txn: Mapping[str, Any]) -> bool | None:
    """Judge a transaction by its slots, in words of our own; None while it is undecided."""
    found = [store.get(slot_key(ChainId(chain), seq)) for chain, seq in txn["slots"].items()]
    if any(one is not None and _txn_named(one.data) != txn for one in found):
        return True
    return None if None in found else False


def _txn_named(raw: bytes) -> Any:
    """Return the transaction that a record names; None if it is junk."""
    try:
        return orjson.loads(raw).get("txn")
    except (ValueError, AttributeError):
        return None


def shown_since(chains: Chains, created_us: Mapping[str, int]) -> dict[str, int]:
    """Return when each version was to be seen: those of a transaction with the last of its slots.

    An undecided one was never seen, so it is not there. Junk has the time of what ends it.
    """
    shown_us = {}
    for chain, versions in chains.versions.items():
        for version in versions:
            slots = {chain: version.seq}
            if version.txn is not None and not version.aborted:
                slots = version.txn["slots"]
            since_us = max(created_us[slot_key(*s)] for s in slots.items())
            shown_us[slot_key(chain, version.seq)] = since_us
            shown_us |= {slot_key(chain, junk["seq"]): since_us for junk in version.voids}
    return shown_us


def _check_objects(store: Store, objects: Mapping[str, str], chains: Chains) -> Iterator[str]:
    """Events and blobs are what their names say; attempts too can be read."""
    committed = {
        event.id for versions in chains.versions.values() for v in versions for event in v.events
    }
    for name, key in objects.items():
        found = store.get(key)
        if found is None or digest(found.data) != name:
            yield f"{key} does not hold what its name says"
        elif name not in committed:
            try:
                decode_event(found.data)
            except TclogError as error:
                yield f"{key}: {error.message}"
    for entry in store.list(BLOBS, "", EVERYTHING, False):
        found = store.get(entry.key)
        if found is None or digest(found.data) != segment_of(entry.key):
            yield f"{entry.key} does not hold what its name says"


def check_stamps(chains: Chains, created_us: Mapping[str, int]) -> Iterator[str]:
    """What a version says of the store's clock is what the store's clock said."""
    for chain, versions in chains.versions.items():
        for version in versions:
            if version.prev_stored is not None:
                before = _stamp(created_us[slot_key(chain, version.after)])
                if version.prev_stored != before:
                    yield f"{chain}: version {version.seq} gives the one before a stamp of its own"
            elif version.after and rules_of(chain).stamped:
                yield f"{chain}: version {version.seq} misses the stamp of the one before"
            now = version.now
            if now is not None and now > _stamp(created_us[slot_key(chain, version.seq)]):
                yield f"{chain}: version {version.seq} was judged at a time that was yet to come"


def check_windows(
    chains: Chains, created_us: Mapping[str, int], *, set_clocks: bool
) -> Iterator[str]:
    """No version comes after its moment is settled, nor after a sync has given its event up.

    ``set_clocks`` says that clocks were set while clients worked: then one takes an old event for
    a young one until it learns the store's time again.
    """
    for chain, versions in chains.versions.items():
        for version in versions:
            came_us = created_us[slot_key(chain, version.seq)]
            if came_us - parse_us(version.moment) > TRIED_US + ARRIVES_US:
                yield f"{chain}: version {version.seq} came long after its moment {version.moment}"
            for event in version.events if not set_clocks else ():
                late_us = came_us - parse_us(event.at)
                if len(event.chains) == 1 and late_us > UNDECIDED_US:
                    yield f"{chain}: version {version.seq} came long after its event {event.at}"


# -- appends --------------------------------------------------------------------------------------


class Append(NamedTuple):
    """An operation that changes a chain, and the events of it that the chain holds."""

    operation: Operation
    chain: ChainId
    events: tuple[tuple[int, Event], ...]


def appends_of(operations: Iterable[Operation], chains: Chains) -> list[Append]:
    """Match every changing operation with its committed events, by how their nonces begin."""
    committed: dict[tuple[ChainId, str], list[tuple[int, Event]]] = {}
    for chain, versions in chains.versions.items():
        for version in versions:
            for event in version.events:
                begins = event.record["nonce"][:12]
                committed.setdefault((chain, begins), []).append((version.seq, event))
    appends = []
    for operation in operations:
        chains_of = operation.arguments.get("chains")
        if chains_of is None or operation.place is None:
            continue
        begins = nonce_of(operation.place)
        appends += [
            Append(operation, chain, tuple(committed.get((chain, begins), ())))
            for chain in chains_of
        ]
    return appends


def check_appends(appends: Sequence[Append], *, fresh: bool = True) -> Iterator[str]:
    """Acknowledged means there, once; refused means not there; unknown means at most once.

    Without ``fresh`` a repetition may be refused on an old state that lacks its first try. A
    repeated `claim --next` has no key: it may take over its own claim once that has lapsed, or be
    refused after a try that won.
    """
    tries = Counter((append.chain, append.operation.place) for append in appends)
    refused = Counter(
        (append.chain, append.operation.place)
        for append in appends
        if append.operation.outcome == "refused"
    )
    for append in appends:
        operation, count = append.operation, len(append.events)
        place = append.chain, operation.place
        again = operation.name == "step.next"
        if count > (tries[place] if again else 1):
            yield f"applied {count} times in {append.chain}: {operation}"
        known = operation.arguments
        idle = known.get("idle") and known.get("id_key") is None
        if operation.outcome == "ok" and count == 0 and not idle:
            yield f"acknowledged and lost in {append.chain}: {operation}"
        excused = _may_be_there(operation) or (operation.repeats and not fresh)
        excused = excused or (again and count <= tries[place] - refused[place])
        if operation.outcome == "refused" and count and not excused:
            yield f"refused, yet in {append.chain}: {operation}"


def _may_be_there(operation: Operation) -> bool:
    """Whether an error, as of a store that is gone, does not mean that nothing was written.

    A repetition may find the store gone before it finds its first try; a message to two may have
    come to one of them.
    """
    if operation.error is not None and operation.error.code == "claim-lost":
        return operation.repeats  # the claim was made, and is held no more
    unreached = operation.error is not None and operation.error.exit in (7, 8)
    several = len(operation.arguments["chains"]) > 1 and operation.name == "message.send"
    return unreached and (operation.repeats or several)


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
            held = chains.state(chain, version).content
            if held is None or held.get("value") != seen.value:
                yield f"{chain}: version {version} never held {seen.value!r}: {read}"


def check_guards(
    operations: Iterable[Operation], chains: Chains, created_us: Mapping[str, int]
) -> Iterator[str]:
    """A set took effect where it was acknowledged; a refused guard was stale before it returned."""
    for operation in operations:
        if operation.name not in ("memory.set", "memory.guarded"):
            continue
        chain, token = operation.arguments["chains"][0], operation.arguments["token"]
        if operation.outcome == "ok":
            version = operation.result.version
            content = chains.state(chain, version).content
            if content is None or content.get("value") != token:
                yield f"{chain}: version {version} does not hold what was set: {operation}"
        error = operation.error
        if error is not None and error.code == "version-conflict":
            held = operation.arguments["if_version"]
            later = (v.seq for v in chains.versions.get(chain, ()) if v.seq > held and not v.void)
            overtaken_us = created_us.get(slot_key(chain, next(later, held + 1)))
            if overtaken_us is None or overtaken_us > operation.returned_us:
                yield f"{chain}: refused although nothing had changed: {operation}"


# -- steps ----------------------------------------------------------------------------------------


def check_leases(chains: Chains, created_us: Mapping[str, int]) -> Iterator[str]:
    """No takeover before the lease has ended in the store's true time; tokens only grow."""
    for chain, versions in chains.versions.items():
        if chain_kind(chain) != "step":
            continue
        fence, held_us = 0, 0
        before = steps.EMPTY
        for version in versions:
            state: steps.State = chains.state(chain, version.seq)
            now_us = created_us[slot_key(chain, version.seq)]
            taken = before.state == steps.CLAIMED
            if state.state == steps.CLAIMED and not (taken and _same_claim(before, state)):
                handed = any(_hands_over(event, before) for event in version.events)
                if taken and not handed and now_us < held_us + before.lease_ms * 1000:
                    yield f"{chain}: version {version.seq} took over a lease that had not ended"
                if (state.fence or 0) <= fence:
                    yield f"{chain}: the token {state.fence} does not grow beyond {fence}"
                fence = state.fence or 0
            # By the rule's own words, not by what the state says: whatever the holder writes.
            if any(_is_holders(event, state) for event in version.events if event.op != VOID):
                held_us = now_us
            before = state


def _hands_over(event: Event, before: steps.State) -> bool:
    """Whether an event may end a lease before its time: by the claim's token, or by force."""
    if event.op == "step.takeover":
        return bool(event.body.get("force"))
    proof = (event.agent, event.expect.get("fence"))
    return event.op == "step.move" and proof == (before.agent, before.fence)


def _is_holders(event: Event, state: steps.State) -> bool:
    """Whether an event is of the session that a claim stands for, or proves to act for it."""
    if event.agent != state.agent:
        return False
    by_name = event.session.startswith("~") or (state.session or "~").startswith("~")
    return by_name or event.session == state.session or event.expect.get("fence") == state.fence


def _same_claim(before: steps.State, after: steps.State) -> bool:
    return (before.agent, before.fence) == (after.agent, after.fence)


def check_refusals(
    operations: Iterable[Operation], chains: Chains, created_us: Mapping[str, int]
) -> Iterator[str]:
    """A refusal rests on a state that was the newest at some moment of the operation."""
    for operation in operations:
        command = operation.arguments.get("command")
        if command is None or not isinstance(operation.error, Refused):
            continue
        chain = operation.arguments["chain"]
        newest = list(_newest_during(operation, chain, chains, created_us))
        if operation.error.code == "claim-lost":
            # Found by its key: whatever might be decided now, its session lacks that very claim.
            fence = _claimed_under(operation, chains.versions.get(chain, ()))
            if all(_has_claim(operation, fence, chains.state(chain, seq)) for seq in newest):
                yield f"{chain}: claim-lost, and never while it met it: {operation}"
            continue
        decisions = [
            steps.decide(chains.state(chain, seq), command, Place(seq + 1)) for seq in newest
        ]
        # A takeover's refusal also rests on the store's clock, which other checks look at.
        if not any(isinstance(d, Refused) or getattr(d, "judged", False) for d in decisions):
            yield f"{chain}: {operation.error.code}, but not in any state it met: {operation}"


def _claimed_under(operation: Operation, versions: Iterable[Version]) -> int | None:
    """Return the fence that was granted under an operation's key, None if no event has that key."""
    who = operation.agent, operation.arguments.get("id_key")
    found = (v.seq for v in versions for event in v.events if (event.agent, event.key) == who)
    return next(found, None)


def _has_claim(operation: Operation, fence: int | None, state: steps.State) -> bool:
    """Whether an operation's session holds a step by a fence; None stands for any."""
    held = steps.holds(state, operation.agent, operation.session)
    return held and fence in (None, state.fence)


def _newest_during(
    operation: Operation, chain: ChainId, chains: Chains, created_us: Mapping[str, int]
) -> Iterator[int]:
    """Yield the number of each head that a chain had while an operation was under way."""
    last = len(chains.states.get(chain, (None,))) - 1
    for seq in range(last + 1):
        began_us = created_us[slot_key(chain, seq)] if seq else 0
        ended_us = created_us[slot_key(chain, seq + 1)] if seq < last else None
        if began_us <= operation.returned_us and (
            ended_us is None or ended_us >= operation.invoked_us
        ):
            yield seq


def check_claims(operations: Iterable[Operation], chains: Chains) -> Iterator[str]:
    """Who was told that it holds a step holds it at that version, with that token."""
    for chain, claim in _told_claims(operations):
        step = claim.result
        state: steps.State = chains.state(chain, step.version)
        holder = (steps.CLAIMED, claim.agent, claim.session, step.fence)
        if (state.state, state.agent, state.session, state.fence) != holder:
            yield f"{chain}: {claim.agent} was told that it holds version {step.version}: {claim}"


def _told_claims(operations: Iterable[Operation]) -> Iterator[tuple[ChainId, Operation]]:
    """Yield the claims that were answered with success, each with its step's chain."""
    for claim in operations:
        if claim.name in ("step.claim", "step.next") and claim.outcome == "ok":
            yield chain_id("step", claim.result.id), claim


def check_sessions(operations: Iterable[Operation], chains: Chains) -> Iterator[str]:
    """One session holds a claim: no other one is given it, or acts for it without proof."""
    granted: dict[tuple[ChainId, int], Operation] = {}
    for chain, claim in _told_claims(operations):
        fence = claim.result.fence
        if not claim.result.renewed:
            first = granted.setdefault((chain, fence), claim)
            if claim.place != first.place:
                yield f"{chain}: {claim} was given the claim of {first}"
            continue
        holder: steps.State = chains.state(chain, fence)
        same = (claim.agent, claim.session) == (holder.agent, holder.session)
        if not same or claim.name == "step.next" or claim.session.startswith("~"):
            yield f"{chain}: renewed what it could not know for its own: {claim}"
    yield from _check_strangers(chains)


def _check_strangers(chains: Chains) -> Iterator[str]:
    """Nothing that is not the holder's renews its lease, or ends its claim without force."""
    for chain, versions in chains.versions.items():
        if chain_kind(chain) != "step":
            continue
        for version in versions:
            before, after = chains.state(chain, version.seq - 1), chains.state(chain, version.seq)
            held = before.state == steps.CLAIMED and len(version.events) == 1
            if not held or _is_holders(version.events[0], before):
                continue
            event = version.events[0]
            kept = _same_claim(before, after) and after.state == steps.CLAIMED
            if kept and after.held_version == version.seq:
                yield f"{chain}: version {version.seq} renews the lease of another session"
            if not kept and event.op != "step.takeover" and not event.body.get("force"):
                yield f"{chain}: version {version.seq} ends the claim of another session"


def check_kept(
    operations: Iterable[Operation], chains: Chains, created_us: Mapping[str, int]
) -> Iterator[str]:
    """Who was told that it holds a step held it at some moment since it asked."""
    for chain, claim in _told_claims(operations):
        held = (steps.CLAIMED, claim.result.fence)
        newest = [
            chains.state(chain, seq) for seq in _newest_during(claim, chain, chains, created_us)
        ]
        if held not in [(state.state, state.fence) for state in newest]:
            yield f"{chain}: was told of a claim that had ended before it asked: {claim}"


def check_fences(appends: Iterable[Append], chains: Chains) -> Iterator[str]:
    """What was acknowledged under a token was done by its holder, and took effect."""
    for append in appends:
        operation, chain = append.operation, append.chain
        fence = operation.arguments.get("fence")
        if fence is None or operation.outcome != "ok":
            continue
        for seq, _ in append.events:
            before: steps.State = chains.state(chain, seq - 1)
            if operation.arguments.get("idle") and chains.state(chain, seq) == before:
                continue  # it was ended so before: the event binds the key
            if (before.state, before.agent, before.fence) != (
                steps.CLAIMED,
                operation.agent,
                fence,
            ):
                yield f"{chain}: version {seq} was let in with a stale token: {operation}"
            elif chains.state(chain, seq) == before:
                yield f"{chain}: version {seq} was acknowledged and changed nothing: {operation}"


# -- inboxes --------------------------------------------------------------------------------------


def check_inboxes(operations: Sequence[Operation]) -> Iterator[str]:
    """All reads of an inbox give one order: dense numbers, none twice, one for all readers."""
    orders: dict[str, dict[int, str]] = {}
    for read in operations:
        if read.name != "inbox.read" or read.outcome != "ok":
            continue
        messages = read.result.messages
        if [m.n for m in messages] != list(range(1, len(messages) + 1)):
            yield f"the numbers of {read.agent}'s inbox have gaps: {read}"
        if len({m.id for m in messages}) != len(messages):
            yield f"{read.agent} was given a message twice: {read}"
        order = orders.setdefault(read.agent, {})
        for message in messages:
            if order.setdefault(message.n, message.id) != message.id:
                yield f"message {message.n} of {read.agent} is not the same in two reads: {read}"


def check_arrivals(operations: Sequence[Operation]) -> Iterator[str]:
    """A read gives what was acknowledged before it; what was sent later stands later."""
    sends = [o for o in operations if o.name == "message.send" and o.outcome == "ok"]
    longest: dict[str, Operation] = {}
    for read in operations:
        if read.name != "inbox.read" or read.outcome != "ok":
            continue
        messages = read.result.messages
        if read.agent not in longest or len(longest[read.agent].result.messages) < len(messages):
            longest[read.agent] = read
        seen = {m.id for m in messages}
        for send in sends:
            mine = send.arguments["to"] == "@all" or read.agent in send.arguments["to"].split(",")
            if mine and send.returned_us < read.invoked_us and send.result.id not in seen:
                yield f"{read.agent} does not see what was acknowledged before: {send}"
    for agent, read in longest.items():
        yield from _check_order(agent, {m.id: m.n for m in read.result.messages}, sends)


def _check_order(agent: str, places: dict[str, int], sends: Sequence[Operation]) -> Iterator[str]:
    known = sorted((s for s in sends if s.result.id in places), key=lambda s: s.began_us)
    for index, later in enumerate(known):
        for earlier in known[:index]:
            acknowledged = earlier.returned_us < later.began_us
            if acknowledged and places[earlier.result.id] > places[later.result.id]:
                yield f"{agent}: {later} comes before {earlier}, which was acknowledged first"


def check_broadcasts(chains: Chains) -> Iterator[str]:
    """Every merge names a range of broadcasts that exists, right after the one before it."""
    broadcasts = len(chains.states.get(ALL, (None,))) - 1
    for chain, versions in chains.versions.items():
        if chain_kind(chain) != "inbox" or chain == ALL:
            continue
        through = 0
        for version in versions:
            merge = version.merge
            if merge is None:
                continue
            if merge["after"] != through or merge["through"] > broadcasts:
                yield f"{chain}: version {version.seq} merges a range that does not follow"
            through = merge["through"]
            if merge["count"] != chains.state(ALL, through).count:
                yield f"{chain}: version {version.seq} miscounts the broadcasts"
