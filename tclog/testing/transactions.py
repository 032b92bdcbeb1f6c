"""Transactions in simulated work: what clients do with a few accounts, and what must hold then.

The accounts are keys of their own, so that nothing else is judged by them: transfers between two,
audits that read all, copies that write one as it was read in another, single increments and single
reads. Every operation records what it was told to have read. The oracle makes a graph of all of
them: who wrote what another read, who overwrote it, who ended before another began. A cycle means
that no order of the operations explains what they were told (G0, G1 and G2 of Adya 1999, and
real-time order).
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.errors import NotFound
from tclog.event import ChainId, chain_id
from tclog.log import memory
from tclog.log.transactions import Transaction
from tclog.testing.oracles import Append, Chains
from tclog.testing.scheduler import Operation

ACCOUNTS = ("x", "y", "z")
_WORK = ("transfer", "transfer", "transfer", "copy", "audit", "mixed", "mixed", "incr", "get")
_READS = ("txn.audit", "txn.copy", "account.get")

Act = Callable[[Client, str | None], Protocol[Any]]
Drawn = tuple[str, Act, dict[str, Any]]


def draw(one_of: Callable[[Sequence[Any]], Any], agents: Sequence[str], token: str) -> Drawn:
    """Draw one operation."""
    what, source = one_of(_WORK), one_of(ACCOUNTS)
    target = one_of([name for name in ACCOUNTS if name != source])
    match what:
        case "transfer":
            chains = _chains(source, target)
            return f"txn.{what}", lambda c, i: transfer(c, source, target, i), _told(chains, token)
        case "copy":
            act: Act = lambda c, i: copy(c, source, target, i)  # noqa: E731
            return f"txn.{what}", act, _told(_chains(target), token, reads=_chains(source))
        case "audit":
            return f"txn.{what}", lambda c, _: audit(c), {"reads": _chains(*ACCOUNTS)}
        case "mixed":
            return _mixed(one_of, agents, token)
        case "incr":
            act = lambda c, i: memory.incr_value(c, source, 0, id=i)  # noqa: E731
            return "account.incr", act, _told(_chains(source), token)
    return "account.get", lambda c, _: get(c, source), {"reads": _chains(source)}


def _told(chains: tuple[ChainId, ...], token: str, **more: Any) -> dict[str, Any]:
    return {"chains": chains, "token": token, **more}


def _chains(*names: str) -> tuple[ChainId, ...]:
    return tuple(chain_id("memory", name) for name in names)


def _mixed(one_of: Callable[[Sequence[Any]], Any], agents: Sequence[str], token: str) -> Drawn:
    """Draw a hand-over: a step, a key and a message change together."""
    step, claims, to = one_of(("build", "test")), one_of((True, False)), one_of(agents[:2])
    chains = (chain_id("step", step), chain_id("memory", "stage"), chain_id("inbox", to))

    def act(client: Client, id_key: str | None) -> Protocol[Any]:
        txn = Transaction(client)
        if claims:
            txn.step_claim(step, lease_s=10)
        else:
            txn.step_note(step, token)
        txn.memory_set("stage", token)
        txn.message_send(to, token)
        return txn.protocol(id_key)

    # The step may be held: then nothing is told, and nothing set.
    return "txn.mixed", act, {**_told(chains, token), "to": to}


def transfer(client: Client, source: str, target: str, id_key: str | None = None) -> Protocol[Any]:
    """Move a unit."""
    txn = Transaction(client)
    txn.memory_incr(source, -1)
    txn.memory_incr(target, 1)
    return txn.protocol(id_key)


def copy(client: Client, source: str, target: str, id_key: str | None = None) -> Protocol[Any]:
    """Add nothing to one account, while another stays as it is read."""
    txn = Transaction(client)
    txn.memory_get(source)
    txn.memory_incr(target, 0)
    return txn.protocol(id_key)


def audit(client: Client) -> Protocol[Any]:
    """Read all accounts as they are at one moment."""
    txn = Transaction(client)
    for name in ACCOUNTS:
        txn.memory_get(name)
    return txn.protocol()


def get(client: Client, name: str) -> Protocol[Any]:
    """Read one account; one that was never touched holds nothing."""
    try:
        return [(yield from memory.get_value(client, name))]
    except NotFound:
        return []


# -- oracles --------------------------------------------------------------------------------------


def check_units(done: Iterable[Operation], chains: Chains) -> Iterator[str]:
    """No unit is lost or invented, in the end and in whatever an audit has seen."""
    held = {name: _held(chains, chain_id("memory", name), -1) for name in ACCOUNTS}
    if sum(held.values()):
        yield f"units were lost or invented: {held}"
    for operation in done:
        if operation.name == "txn.audit" and operation.outcome == "ok":
            seen = [found.value or 0 for found in operation.result]
            if sum(seen):
                yield f"an audit saw half a transfer: {seen}: {operation}"


def _held(chains: Chains, chain: ChainId, seq: int) -> int:
    states = chains.states.get(chain)
    content = states[seq].content if states else None
    return 0 if content is None else int(content["value"])


def check_whole(appends: Iterable[Append]) -> Iterator[str]:
    """What a transaction changes is changed by all of it, or by none."""
    held: dict[int, list[Append]] = {}
    for append in appends:
        if append.operation.name.startswith("txn."):
            held.setdefault(id(append.operation), []).append(append)
    for parts in held.values():
        if len({len(part.events) for part in parts}) > 1:
            yield f"half a transaction stands in the log: {parts[0].operation}"


def check_serial(
    done: Sequence[Operation], appends: Iterable[Append], chains: Chains
) -> Iterator[str]:
    """Some order of the operations explains all that they were told, and when."""
    if not any(_counts(operation) for operation in done):
        return
    accounts = {chain_id("memory", name) for name in ACCOUNTS}
    writers: dict[tuple[ChainId, int], int] = {}
    # All tries of one operation are one: whichever of them it was that wrote.
    first: dict[Any, int] = {}
    known = {id(o): first.setdefault(o.place, node) for node, o in enumerate(done)}
    for append in appends:
        if append.chain in accounts:
            for seq, _ in append.events:
                writers.setdefault((append.chain, seq), known[id(append.operation)])
    graph: dict[int, set[int]] = {node: set() for node in range(2 * len(done) + 2)}
    for chain in accounts:
        changes = [v.seq for v in chains.versions.get(chain, ()) if not v.void]
        for before, after in itertools.pairwise(changes):
            _edge(graph, writers.get((chain, before)), writers.get((chain, after)))
        yield from _link_reads(done, chains, chain, changes, writers, graph)
    _link_times(done, known, writers, graph)
    stuck = _in_cycles(graph)
    if stuck:
        names = [repr(done[node]) for node in sorted(stuck) if node < len(done)]
        yield f"no order explains {len(names)} operations: {'; '.join(names[:6])}"


def _counts(operation: Operation) -> bool:
    return operation.name.startswith(("txn.", "account."))


def _link_reads(
    done: Sequence[Operation],
    chains: Chains,
    chain: ChainId,
    changes: Sequence[int],
    writers: dict[tuple[ChainId, int], int],
    graph: dict[int, set[int]],
) -> Iterator[str]:
    """Put who reads a version after its writer, and before who wrote the next one."""
    for node, operation in enumerate(done):
        if operation.outcome != "ok" or operation.name not in _READS or operation.repeats:
            continue
        if chain not in operation.arguments["reads"]:
            continue
        told = [found for found in operation.result if chain_id("memory", found.key) == chain]
        version = told[0].version if told else 0
        after = bisect_right(changes, version)
        if version and (not after or changes[after - 1] != version):
            yield f"{chain}: version {version} changed nothing, and was read: {operation}"
            continue
        value = told[0].value if told else None
        if version and value != _held(chains, chain, version):
            yield f"{chain}: version {version} never held {value}: {operation}"
        _edge(graph, writers.get((chain, version)), node)
        if after < len(changes):
            _edge(graph, node, writers.get((chain, changes[after])))


def _link_times(
    done: Sequence[Operation],
    known: dict[int, int],
    writers: dict[tuple[ChainId, int], int],
    graph: dict[int, set[int]],
) -> None:
    """Put who ended before another began before it, by a row of nodes for the moments."""
    wrote = set(writers.values())
    moments = []
    for operation in done:
        node = known[id(operation)]
        if not _counts(operation) or (operation.outcome != "ok" and node not in wrote):
            continue
        moments.append((operation.began_us, 1, node))
        if operation.outcome == "ok":
            moments.append((operation.returned_us, 0, node))
    at = len(done)
    for _, begins, node in sorted(moments):
        if begins:
            _edge(graph, at, node)
        else:
            graph.setdefault(at + 1, set())
            _edge(graph, at, at + 1)
            at += 1
            _edge(graph, node, at)


def _edge(graph: dict[int, set[int]], before: int | None, after: int | None) -> None:
    if before is not None and after is not None and before != after:
        graph[before].add(after)


def _in_cycles(graph: dict[int, set[int]]) -> set[int]:
    """Return the nodes that cannot be put in an order, without those that only follow them."""
    for _ in range(2):
        degree = dict.fromkeys(graph, 0)
        for afters in graph.values():
            for after in afters:
                degree[after] += 1
        free = [node for node, count in degree.items() if count == 0]
        while free:
            for after in graph[free.pop()]:
                degree[after] -= 1
                if degree[after] == 0:
                    free.append(after)
        stuck = {node for node, count in degree.items() if count > 0}
        back: dict[int, set[int]] = {node: set() for node in stuck}
        for node in stuck:
            for after in graph[node] & stuck:
                back[after].add(node)
        graph = back
    return set(graph)
