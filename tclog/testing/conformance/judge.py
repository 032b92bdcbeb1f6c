"""The judgement: every answer against the log that is there, by the simulator's oracles.

The log is read once, past the protocol. Whatever a client answered has to be in it, once, and what
it refused must not. Each sentence says what was broken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from tclog.clock import parse_us
from tclog.domain.content import content_blobs
from tclog.errors import TclogError
from tclog.event import ALL, ChainId, Event, blob_key, chain_id
from tclog.event.canonical import decode_json
from tclog.event.names import CHAINS
from tclog.store.base import Store
from tclog.testing import oracles
from tclog.testing.conformance.member import Asked
from tclog.testing.oracles import Append, Chains
from tclog.testing.scheduler import EVERYTHING, Operation

# Which events an acknowledged operation may have committed; the others commit none.
EVENTS = {
    "memory.set": {"memory.set"},
    "memory.delete": {"memory.delete"},
    "memory.incr": {"memory.incr"},
    "memory.append": {"memory.append"},
    "message.send": {"message.send"},
    "step.claim": {"step.claim", "step.takeover", "step.move", "step.renew"},
    "step.renew": {"step.renew"},
    "step.note": {"step.note"},
    "step.release": {"step.release"},
    "step.complete": {"step.complete"},
    "step.reopen": {"step.reopen"},
}


_WITH_ID = ("memory.set", "memory.incr", "memory.append", "memory.delete", "message.send")


class Judged(NamedTuple):
    """One promise and what broke it."""

    promise: str
    broken: list[str]


def chains_of(asked: Asked) -> tuple[ChainId, ...]:
    """Return the chains that an operation is about."""
    line = asked.line
    if asked.op.startswith("memory."):
        return (chain_id("memory", line["key"]),)
    if asked.op.startswith("step."):
        return (chain_id("step", line["id"]),)
    if asked.op == "message.send":
        names = str(line["to"]).split(",")
        return tuple(ALL if name == "@all" else chain_id("inbox", name) for name in names)
    return ()


def judge(rows: Sequence[Asked], store: Store) -> list[Judged]:
    """Check every promise on the log in a store."""
    chains, broken = oracles.read_chains(store)
    entries = store.list(CHAINS, "", EVERYTHING, False)
    stored_us = {entry.key: parse_us(entry.stored or "") for entry in entries}
    operations = [(asked, _operation(asked)) for asked in rows]
    appends, strange = _matched(operations, chains)
    asked_for = [operation for _, operation in operations]
    single = [row for row in appends if len(row.operation.arguments["chains"]) == 1]
    checks: list[tuple[str, Iterator[str] | list[str]]] = [
        ("chains", broken),
        ("writes", [*strange, *oracles.check_appends(appends)]),
        ("answers", [*_silent(rows), *_answers(appends)]),
        ("order", oracles.check_real_time(single)),
        ("values", [*_values(appends, chains), *_reads(asked_for, single, chains, store)]),
        ("guards", _guards(asked_for, chains)),
        ("claims", [*oracles.check_claims(asked_for, chains), *_winners(rows)]),
        ("fences", oracles.check_fences(single, chains)),
        ("leases", oracles.check_leases(chains, stored_us)),
        ("inboxes", oracles.check_inboxes(asked_for)),
        ("arrivals", oracles.check_arrivals(asked_for)),
        ("broadcasts", oracles.check_broadcasts(chains)),
    ]
    return [Judged(promise, list(sentences)) for promise, sentences in checks]


def _operation(asked: Asked) -> Operation:
    """Return an operation as the oracles know it."""
    line, answer = asked.line, asked.answer or {}
    chains = chains_of(asked)
    known = {"chains": chains if asked.op in EVENTS else (), **line}
    if chains:
        known["chain"] = chains[0]
    made = Operation(asked.agent, asked.op, known)
    made.session = asked.session
    made.invoked_us = made.began_us = asked.begun_us
    made.returned_us = asked.ended_us
    missing = asked.op == "memory.get" and asked.exit == 3
    if asked.exit is None or asked.exit == 6 or ill_typed(asked):
        made.outcome = "unknown"
    elif asked.ok or missing:
        made.outcome = "ok"
        made.result = None if missing else _result(asked.op, answer)
    else:
        made.outcome = "refused"
        made.error = TclogError(str(answer.get("message")), code=asked.code)
        made.error.exit = asked.exit
    return made


def ill_typed(asked: Asked) -> str:
    """Name a field of an acknowledgement that is missing or of a wrong type; empty if none is."""
    answer = asked.answer
    if answer is None or not asked.ok:
        return ""
    if asked.op == "inbox.read":
        items = answer.get("items")
        sound = isinstance(items, list) and all(
            isinstance(row, dict) and type(row.get("n")) is int and type(row.get("id")) is str
            for row in items
        )
        return "" if sound else "items"
    numbers = ["version"] if asked.op != "message.send" else []
    numbers += ["fence"] if asked.op in ("step.claim", "step.renew") else []
    wrong = [name for name in numbers if type(answer.get(name)) is not int]
    if asked.op in _WITH_ID and type(answer.get("id")) is not str:
        wrong.append("id")
    return wrong[0] if wrong else ""


def _result(op: str, answer: Mapping[str, Any]) -> SimpleNamespace:
    if op == "inbox.read":
        return SimpleNamespace(messages=[SimpleNamespace(**row) for row in answer["items"]])
    return SimpleNamespace(**{"value": None, "fence": None, **answer})


def _matched(
    operations: Sequence[tuple[Asked, Operation]], chains: Chains
) -> tuple[list[Append], list[str]]:
    """Match what each process asked for with its events: within a chain they come in that order.

    Only the last operation of a process can have an open fate, so there is one way to match.
    """
    left: dict[tuple[str, ChainId], list[tuple[int, Event]]] = defaultdict(list)
    sessions = {asked.session for asked, _ in operations}
    for chain, versions in chains.versions.items():
        for version in versions:
            for event in version.events:
                if event.session in sessions and event.op != "agent.join":
                    left[event.session, chain].append((version.seq, event))
    appends, keyed = [], set()
    for asked, operation in operations:
        for chain in operation.arguments["chains"]:
            rows = left[asked.session, chain]
            key = asked.line.get("id_key")
            if key is not None and (asked.agent, chain, key) in keyed:
                continue  # a repetition, which has no event of its own
            took = bool(rows) and operation.outcome != "refused" and _fits(asked, rows[0][1])
            appends.append(Append(operation, chain, (rows.pop(0),) if took else ()))
            if took and key is not None:
                keyed.add((asked.agent, chain, key))
    strange = [
        f"nobody asked for {event.op} by {event.agent} in version {seq} of {chain}"
        for (_, chain), rows in left.items()
        for seq, event in rows
    ]
    return appends, strange


def _fits(asked: Asked, event: Event) -> bool:
    return event.op in EVENTS[asked.op]


def _silent(rows: Sequence[Asked]) -> Iterator[str]:
    """A client that was not killed answers, and with what the document says."""
    for asked in rows:
        if wrong := ill_typed(asked):
            yield f"the field {wrong} is missing or of a wrong type: {asked}"
        if asked.answer is None and not asked.line.get("id_key", "").startswith("killed"):
            yield f"no answer, or none that is a JSON object: {asked}"


def _answers(appends: Sequence[Append]) -> Iterator[str]:
    """What an acknowledgement tells is what was committed: the version, the id."""
    for append in appends:
        operation, result = append.operation, append.operation.result
        if operation.outcome != "ok" or not append.events or result is None:
            continue
        seq, event = append.events[-1]
        if operation.name.startswith("memory.") and result.version != seq:
            yield f"told version {result.version}, committed as {seq} of {append.chain}"
        if operation.name.startswith(("memory.", "message.")) and result.id != event.id:
            yield f"told id {result.id}, committed as {event.id} in {append.chain}"


def _values(appends: Sequence[Append], chains: Chains) -> Iterator[str]:
    """The value that an acknowledgement tells is the one at its version."""
    for append in appends:
        operation, result = append.operation, append.operation.result
        if operation.name not in ("memory.set", "memory.incr") or not append.events:
            continue
        content = chains.state(append.chain, append.events[-1][0]).content or {}
        if operation.outcome == "ok" and "value" in content and content["value"] != result.value:
            yield (
                f"told the value {result.value!r} of version {result.version} of {append.chain},"
                f" which holds {content['value']!r}"
            )


def _reads(
    operations: Sequence[Operation], appends: Sequence[Append], chains: Chains, store: Store
) -> Iterator[str]:
    """Reads show all that was acknowledged before, and what their version holds, blobs included."""
    inline = []
    # Of a key without a value no answer tells a version.
    deleted = {row.chain for row in appends if row.operation.name == "memory.delete"}
    for operation in operations:
        result = operation.result
        if operation.name != "memory.get" or operation.outcome != "ok":
            continue
        chain = operation.arguments["chain"]
        if chain in deleted:
            continue
        if result is None or type(result.version) is not int:
            inline.append(operation)
            continue
        content = chains.state(chain, result.version).content
        if content is None or ("value" in content and "parts" not in content):
            inline.append(operation)
        elif _whole(content, store) != result.value:
            yield f"{chain}: version {result.version} never held what was read: {operation}"
    yield from oracles.check_reads(inline, appends, chains)


def _whole(content: Mapping[str, Any], store: Store) -> Any:
    """Return the value of a content whose bytes are not all in it, or that is JSON as text."""
    blobs = [store.get(blob_key(blob)) for blob, _ in content_blobs(content)]
    raw = b"".join(b"" if found is None else found.data for found in blobs)
    raw += str(content.get("text", content.get("value", ""))).encode()
    return decode_json(raw) if content["type"] == "json" else raw.decode()


def _guards(operations: Sequence[Operation], chains: Chains) -> Iterator[str]:
    """A set under an expectation follows the very version that it expects."""
    for operation in operations:
        expected = operation.arguments.get("if_version")
        if not expected or operation.outcome != "ok" or operation.name != "memory.set":
            continue
        chain, seq = operation.arguments["chain"], operation.result.version
        versions = chains.versions.get(chain, [])
        if not isinstance(seq, int) or not 1 < seq <= len(versions):
            continue  # told as lost
        if versions[seq - 2].base != expected:
            yield f"{chain}: version {seq} was acknowledged under the expectation {expected}"


def _winners(rows: Sequence[Asked]) -> Iterator[str]:
    """Each token was given to one session: of one agent there may be several."""
    holders: dict[tuple[str, int], set[str]] = defaultdict(set)
    for asked in rows:
        if asked.op == "step.claim" and asked.answer and asked.ok and not ill_typed(asked):
            holders[asked.line["id"], asked.answer["fence"]].add(f"{asked.agent} {asked.session}")
    for (step, fence), several in holders.items():
        if len(several) > 1:
            words = ", ".join(sorted(several))
            yield f"{words} were all told that they hold {step} (fence {fence})"
