"""Transactions in the work of the agents: transfers between accounts, audits, hand-overs.

The names of operations and accounts are those of ``tclog.testing.transactions``, whose oracles
judge them: some order of all of them explains what everybody was told, and no unit is lost or
invented.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import tclog
from tclog.event import chain_id
from tclog.testing.transactions import ACCOUNTS

EPOCH = 500
WORK = {"transfer": 9, "copy": 3, "audit": 4, "mixed": 6, "account-get": 3, "account-incr": 2}
STAGE = "stage"
STEPS = ("design", "build")
LEASE_S = 4


def inboxes(epoch: int) -> tuple[str, str]:
    """Return the recipients of an epoch."""
    return f"hub-{epoch}", f"aux-{epoch}"


def draw(rng: random.Random, kind: str, n: int, token: str) -> tuple[str, dict[str, Any]]:
    """Draw an operation of this kind: what the oracles call it, and its arguments."""
    source, target = rng.sample(ACCOUNTS, 2)
    match kind:
        case "transfer":
            lines = [_incr(source, -1), _incr(target, 1)]
            return "txn.transfer", {"operations": lines, "chains": _chains(source, target)}
        case "copy":
            # One account changes (by nothing) while another stays as it is read.
            lines = [{"op": "memory.get", "key": source}, _incr(target, 0)]
            more = {"chains": _chains(target), "reads": _chains(source)}
            return "txn.copy", {"operations": lines} | more
        case "audit":
            lines = [{"op": "memory.get", "key": name} for name in ACCOUNTS]
            return "txn.audit", {"operations": lines, "reads": _chains(*ACCOUNTS)}
        case "mixed":
            return "txn.mixed", _handover(rng, n, token)
        case "account-get":
            return "account.get", {"account": source, "reads": _chains(source)}
    return "account.incr", {"account": source, "by": 0, "chains": _chains(source)}


def _handover(rng: random.Random, n: int, token: str) -> dict[str, Any]:
    """A step, a key and a message change together; the step, which may be held, at any place."""
    step, to, claims = rng.choice(STEPS), rng.choice(inboxes(n // EPOCH)), rng.random() < 0.5
    lines: list[dict[str, Any]] = [
        {"op": "step.claim", "id": step, "lease": LEASE_S}
        if claims
        else {"op": "step.note", "id": step, "text": token},
        {"op": "memory.set", "key": STAGE, "value": token},
        {"op": "message.send", "to": to, "text": token},
    ]
    rng.shuffle(lines)
    chains = [chain_id("step", step), chain_id("memory", STAGE), chain_id("inbox", to)]
    return {"operations": lines, "chains": chains, "to": to, "step": step, "claims": claims}


def _incr(key: str, by: int) -> dict[str, Any]:
    return {"op": "memory.incr", "key": key, "by": by}


def _chains(*names: str) -> list[str]:
    return [chain_id("memory", name) for name in names]


COLLECT: Mapping[str, Callable[[Any, Mapping[str, Any]], int]] = {
    "memory.get": lambda txn, line: txn.memory_get(line["key"]),
    "memory.incr": lambda txn, line: txn.memory_incr(line["key"], line["by"]),
    "memory.set": lambda txn, line: txn.memory_set(line["key"], line["value"]),
    "message.send": lambda txn, line: txn.message_send(line["to"], line["text"]),
    "step.claim": lambda txn, line: txn.step_claim(line["id"], lease_s=line["lease"]),
    "step.note": lambda txn, line: txn.step_note(line["id"], line["text"]),
}


def transact(log: tclog.Log, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Carry out a transaction by the Python API; return what ``tclog txn`` would print."""
    txn = log.transaction()
    for line in known["operations"]:
        COLLECT[line["op"]](txn, line)
    return [result.as_json() for result in log.transact(txn, id=known.get("id_key"))]
