"""The judgement of a run: the simulator's oracles, on what a real store and real processes left.

The store is read once, past the protocol and past the proxy, into a store in memory. Each sentence
begins with the promise that was broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from blake3 import blake3

from chaos import plan
from chaos.history import (
    SESSION,
    Try,
    appends_of,
    asked_by,
    events_of,
    operations_of,
    session_of,
)
from chaos.work import FAILS
from tclog.chain.results import Message, Step
from tclog.clock import SECOND_US, parse_us
from tclog.domain import steps
from tclog.event import ChainId, chain_id
from tclog.store.base import Entry, Found, Store
from tclog.store.memory import MemoryStore
from tclog.testing import linear, oracles, transactions
from tclog.testing.oracles import Append, Chains
from tclog.testing.scheduler import Operation

READERS = 8
# A request may be stamped when it comes to the store and be carried out when its disk is back.
LATE_US = 120 * SECOND_US


class Verdict(NamedTuple):
    """What was broken, and what was judged."""

    broken: list[str]
    outcomes: dict[str, int]
    committed: int
    linear: dict[str, int]
    together: dict[str, int]


def copy_store(store: Store) -> tuple[MemoryStore, dict[str, int]]:
    """Read every object; return a copy in memory, and when each was stored by the store's clock."""
    copy, stored_us = MemoryStore(), {}
    entries = [row for folder in ("chains", "events", "blobs") for row in _list(store, folder)]
    with ThreadPoolExecutor(READERS) as pool:
        for entry, found in zip(
            entries, pool.map(store.get, [e.key for e in entries]), strict=True
        ):
            assert found is not None and entry.stored is not None, entry.key
            copy._objects[entry.key] = Found(found.data, entry.stored)
            stored_us[entry.key] = parse_us(entry.stored)
    return copy, stored_us


def _list(store: Store, folder: str) -> Iterator[Entry]:
    after = ""
    while page := store.list(folder, after, 1000, False):
        yield from page
        after = page[-1].key


def judge(tries: Sequence[Try], store: Store, journal: Path) -> Verdict:
    """Check every promise."""
    operations = operations_of(tries)
    outcomes = Counter(operation.outcome for operation in operations)
    copy, stored_us = copy_store(store)
    chains, broken = oracles.read_chains(copy)
    searched: Counter[str] = Counter()
    committed = sum(len(v.events) for rows in chains.versions.values() for v in rows)
    if not broken:
        checks = _checks(tries, operations, chains, stored_us, journal, searched)
        for promise, sentences in checks:
            broken += [f"{promise}: {sentence}" for sentence in sentences]
    else:
        broken = [f"chains: {sentence}" for sentence in broken]
    return Verdict(broken, dict(outcomes), committed, dict(searched), _tally(operations))


def _checks(
    tries: Sequence[Try],
    operations: list[Operation],
    chains: Chains,
    stored_us: dict[str, int],
    journal: Path,
    searched: Counter[str],
) -> Iterator[tuple[str, Iterator[str]]]:
    events = events_of(chains)
    appends = appends_of(operations, events)
    single = [row for row in appends if _single(row)]
    shown_us = oracles.shown_since(chains, stored_us)
    parts = [part for operation in operations for part in _parts(operation)]
    # Headers of a bucket give whole seconds, its listings more.
    coarse = {key: us - us % SECOND_US for key, us in stored_us.items()}
    stamps = [
        sentence
        for sentence in oracles.check_stamps(chains, stored_us)
        if sentence in set(oracles.check_stamps(chains, coarse))
    ]
    yield "stamps", iter(stamps)
    yield "writes", oracles.check_appends(single)
    yield "invented", _invented(operations, chains)
    yield "answers", _answers(single)
    yield "order", oracles.check_real_time(single)
    yield "leases", oracles.check_leases(chains, stored_us)
    yield "claims", oracles.check_claims([*operations, *parts], chains)
    yield "claims", plan.check_next(operations, events)
    yield "tasks", plan.check_tasks(operations, events, chains)
    yield "tasks", plan.check_left_out(_earlier(tries), chains, shown_us)
    yield "waits", plan.check_waits(operations, chains)
    yield "barriers", plan.check_barriers(operations, events, chains)
    yield "units", transactions.check_units(operations, chains)
    yield "whole", transactions.check_whole(appends)
    yield "serial", transactions.check_serial(operations, appends, chains)
    yield "fences", oracles.check_fences(single, chains)
    yield "exec", _execs(appends, chains, journal)
    full = [o for o in operations if o.name == "inbox.read"]
    yield "inboxes", oracles.check_inboxes(full)
    yield "inboxes", _partial_reads(operations)
    yield "broadcasts", oracles.check_broadcasts(chains)
    yield "reads", oracles.check_reads(operations, single, chains)
    guarded = [_as_set(operation) for operation in operations]
    yield "guards", oracles.check_guards(guarded, chains, shown_us)
    yield "refusals", oracles.check_refusals(_earlier(tries), chains, shown_us)
    yield "arrivals", oracles.check_arrivals([*operations, *parts])
    yield "artifacts", _artifacts(operations, chains)
    yield "counters", _counters(operations, appends)
    yield "errors", _errors(tries, operations)
    yield "linear", _linear(operations, searched)


def _tally(operations: Sequence[Operation]) -> dict[str, int]:
    """Count what was done together, for the record of a run."""
    well = [o for o in operations if o.outcome == "ok"]
    return {
        "transactions": sum(o.name.startswith("txn.") for o in well),
        "steps by claim --next": sum(o.name == "step.next" for o in well),
        "waits that ended": sum(o.name == "step.wait" for o in well),
        "passages of a barrier": sum(o.name == "barrier.pass" for o in well),
    }


def _single(append: Append) -> bool:
    """Whether an operation is one write, of which a refusal says that nothing is there.

    What ``exec`` and ``barrier`` do is several; and whether a step that was added closes a circle
    is looked at again when it stands.
    """
    operation = append.operation
    gone = operation.error is not None and operation.error.exit == 7
    looked = operation.name == "step.add" and bool(operation.arguments["after"])
    return operation.name != "step.exec" and not (gone and looked)


def _parts(operation: Operation) -> Iterator[Operation]:
    """Return the claim and the message that an operation of another name has made, if any."""
    if operation.outcome != "ok":
        return
    known, results = operation.arguments, operation.result
    if operation.name == "step.next":
        yield _part(operation, "step.claim", results, chain=chain_id("step", results.id))
    elif operation.name == "txn.mixed":
        (message,) = (one for one in results if isinstance(one, Message))
        (step,) = (one for one in results if isinstance(one, Step))
        yield _part(operation, "message.send", message, to=known["to"])
        if known["claims"]:
            yield _part(operation, "step.claim", step, chain=chain_id("step", step.id))


def _part(whole: Operation, name: str, result: Any, **arguments: Any) -> Operation:
    part = Operation(whole.agent, name, arguments, whole.place)
    part.session = whole.session
    part.invoked_us, part.began_us = whole.invoked_us, whole.began_us
    part.returned_us, part.outcome, part.result = whole.returned_us, "ok", result
    return part


def _as_set(operation: Operation) -> Operation:
    if operation.error is not None and operation.error.code == "version-conflict":
        operation.arguments.setdefault("if_version", 0)
    return operation


def _earlier(tries: Sequence[Try]) -> list[Operation]:
    """Return the operations as if each had begun earlier, by what stamps may be late."""
    found = operations_of(tries)
    for operation in found:
        operation.invoked_us -= LATE_US
    return found


def _invented(operations: Sequence[Operation], chains: Chains) -> Iterator[str]:
    known = {session_of(operation) for operation in operations}
    for chain, versions in chains.versions.items():
        for version in versions:
            for event in version.events:
                if event.session.startswith(SESSION) and asked_by(event) not in known:
                    yield f"nobody asked for {event.op} in version {version.seq} of {chain}"


def _answers(appends: Sequence[Append]) -> Iterator[str]:
    """What a success tells is what was committed: the version, the id."""
    for append in appends:
        operation, result = append.operation, append.operation.result
        if operation.outcome != "ok" or not append.events or result is None:
            continue
        seq, event = append.events[-1]
        told = getattr(result, "version", None)
        if operation.name.startswith(("memory.", "artifact.")) and told != seq:
            yield f"told version {told}, committed as {seq} of {append.chain}: {operation}"
        if operation.name.startswith(("memory.", "message.")) and result.id != event.id:
            yield f"told id {result.id}, committed as {event.id} in {append.chain}: {operation}"


def _execs(appends: Sequence[Append], chains: Chains, journal: Path) -> Iterator[str]:
    for append in appends:
        operation = append.operation
        if operation.name != "step.exec":
            continue
        ops = Counter(event.op for _, event in append.events)
        claims = ops["step.claim"] + ops["step.takeover"]
        if claims > 1 or ops["step.complete"] > 1:
            yield f"claimed or ended more than once in {append.chain}: {operation}"
        if operation.outcome == "ok" and (claims, ops["step.complete"]) != (1, 1):
            yield f"ended well without a claim and an end in {append.chain}: {operation}"
    for line in journal.read_text().splitlines() if journal.exists() else ():
        step, fence, agent = line.split()
        state: steps.State = chains.state(ChainId(f"step/{step}"), int(fence))
        if (state.state, state.agent, state.fence) != (steps.CLAIMED, agent, int(fence)):
            yield f"a command ran for {agent} under token {fence} of {step}, which it never had"


def _partial_reads(operations: Sequence[Operation]) -> Iterator[str]:
    """What a reader of unread messages was shown has the places that all others see."""
    order: dict[tuple[str, int], str] = {}
    for read in operations:
        if not read.name.startswith("inbox.") or read.outcome != "ok":
            continue
        for message in read.result.messages:
            if order.setdefault((read.agent, message.n), message.id) != message.id:
                yield f"message {message.n} of {read.agent} is not the same for two readers: {read}"


def _artifacts(operations: Sequence[Operation], chains: Chains) -> Iterator[str]:
    for operation in operations:
        if not operation.name.startswith("artifact.") or operation.outcome != "ok":
            continue
        result = operation.result
        chain = ChainId(f"artifact/{result.name}")
        versions = chains.versions.get(chain, [])
        body = (
            versions[result.version - 1].events[0].body if result.version <= len(versions) else {}
        )
        if body.get("blob") != result.blake3:
            yield f"version {result.version} of {chain} has other bytes: {operation}"
        if operation.name == "artifact.put":
            sent = blake3(Path(operation.arguments["path"]).read_bytes()).hexdigest()
            if sent != result.blake3:
                yield f"other bytes were stored than sent: {operation}"


def _counters(operations: Sequence[Operation], appends: Sequence[Append]) -> Iterator[str]:
    """The last value that anybody read is the sum of the committed amounts."""
    finals: dict[str, Any] = {}
    for operation in operations:
        if operation.name == "memory.get" and operation.outcome == "ok" and operation.result:
            finals[operation.arguments["key"]] = operation.result.value
    for key, value in finals.items():
        if not key.startswith("count"):
            continue
        rows = [a for a in appends if a.chain == f"memory/{key}"]
        amount = {a.operation.place: a.operation.arguments["by"] for a in rows if a.events}
        if value != sum(amount.values()):
            yield f"{key} is {value}, and its increments give {sum(amount.values())}"
        told = {a.operation.place for a in rows if a.operation.outcome == "ok"}
        if not told <= amount.keys():
            yield f"{key} lacks acknowledged increments {sorted(told - amount.keys())}"


def _errors(tries: Sequence[Try], operations: Sequence[Operation]) -> Iterator[str]:
    for operation in operations:
        error = operation.error
        if operation.outcome == "bug" or (error is not None and error.exit in (1, 2, 8)):
            yield f"no error that a sound log and a faulty store give: {operation}"
    for tried in tries:
        late = tried.code == 5 and tried.name in ("barrier.pass", "step.wait")
        if tried.code is not None and tried.code not in (0, 3, 4, 6, 7, FAILS) and not late:
            yield f"exit status {tried.code}: {tried.name} {tried.arguments} {tried.err}"
        if tried.fate == "stuck":
            yield f"it did not end: {tried.name} {tried.arguments}"


def _linear(operations: Sequence[Operation], searched: Counter[str]) -> Iterator[str]:
    for key, calls in linear.histories_of(operations).items():
        found = linear.is_linearizable(calls)
        searched["keys too long to search" if found is None else "keys searched"] += 1
        searched["calls"] += 0 if found is None else len(calls)
        if found is False:
            yield f"no order of the {len(calls)} calls of memory/{key} explains what they answered"
