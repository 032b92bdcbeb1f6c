"""What the agents ask for: drawn from a seed, and from what they were told before.

Few names, so that everybody meets everybody: claims of a handful of steps with leases of a few
seconds, counters, guarded and blind sets, appends, messages to two inboxes and to all, artifacts;
transactions (``chaos.trade``), steps that come after others (``chaos.plan``), two barriers.
Keys and inboxes change after some hundred operations, because a search for a linear order and
reading a whole inbox take longer the more there is; steps stay, so that their tokens have far to
rise.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from chaos import plan, trade
from chaos.trade import EPOCH, inboxes
from tclog.domain import steps
from tclog.event import chain_id

STEPS = ("design", "build", "test", "deploy")
LEASES_MS = (1000, 2000, 4000)
FAILS = 11  # the exit status of a command under `exec` that fails
WORK = {
    "incr": 12,
    "set": 5,
    "guarded": 10,
    "append": 8,
    "get": 8,
    "send": 16,
    "send-both": 2,
    "broadcast": 2,
    "read": 4,
    "ack": 4,
    "claim": 14,
    "exec": 4,
    "note": 3,
    "renew": 4,
    "release": 5,
    "complete": 6,
    "reopen": 5,
    "put": 4,
    "fetch": 3,
    **trade.WORK,
    **plan.WORK,
}
_KINDS, _WEIGHTS = tuple(WORK), tuple(WORK.values())


class Asked(NamedTuple):
    """One operation: its number, what the oracles call it, and its arguments.

    ``arguments["id_key"]`` is set where it is asked for under an idempotency key.
    """

    n: int
    name: str
    arguments: dict[str, Any]


class Drawer:
    """Draws the operations of one agent."""

    def __init__(self, seed: int, agent: str, *, files: Path, execs: bool) -> None:
        self.rng = random.Random(f"{seed} {agent}")
        self.seed = seed
        self.agent = agent
        self.files = files
        self.execs = execs
        self.held: dict[str, int] = {}
        self.seen: dict[str, int] = {}

    def draw(self, n: int) -> Asked:
        """Draw the operation with this number."""
        kind = self.rng.choices(_KINDS, _WEIGHTS)[0]
        epoch, token = n // EPOCH, f"t{n}"
        if plan.is_barrier(n):
            return Asked(n, "barrier.pass", self._keyed(n, plan.barrier(self.rng, n)))
        if any(map(plan.is_task, self.held)) and self.rng.random() < plan.ENDS:
            kind = "complete"
        if kind in trade.WORK:
            return self._trade(n, kind, token)
        if kind in plan.WORK:
            return Asked(n, *plan.draw(self.rng, self.seed, kind, epoch))
        match kind:
            case "incr" | "set" | "guarded" | "append" | "get":
                return self._memory(n, kind, epoch, token)
            case "send" | "send-both" | "broadcast":
                return self._message(n, kind, epoch, token)
            case "read" | "ack":
                reader = self.rng.choice(inboxes(epoch))
                arguments: dict[str, Any] = {"reader": reader}
                if kind == "ack":
                    arguments |= {"chains": [chain_id("read", reader)], "idle": True}
                return Asked(n, f"inbox.{kind}", arguments)
            case "put" | "fetch":
                return self._artifact(n, kind, epoch)
        return self._step(n, kind, token)

    def _keyed(self, n: int, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.rng.random() < 0.5:
            arguments["id_key"] = f"id-{n}"
        return arguments

    def _trade(self, n: int, kind: str, token: str) -> Asked:
        name, arguments = trade.draw(self.rng, kind, n, token)
        if "operations" in arguments:
            path = self.files / f"txn-{n}.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in arguments["operations"]))
            arguments["path"] = str(path)
        return Asked(n, name, self._keyed(n, arguments) if "chains" in arguments else arguments)

    def _memory(self, n: int, kind: str, epoch: int, token: str) -> Asked:
        stem = {"incr": "count", "append": "lines"}.get(kind, "value")
        if kind == "get":
            stem = self.rng.choice(("count", "lines", "value", "value"))
        key = f"{stem}-{epoch}"
        if kind == "get":
            return Asked(n, "memory.get", {"key": key, "chain": chain_id("memory", key)})
        arguments: dict[str, Any] = {"key": key, "chains": [chain_id("memory", key)]}
        # An amount of its own for each increment, so that a sum tells which of them it holds.
        arguments |= {"by": n + 1} if kind == "incr" else {"token": token}
        if kind == "guarded":
            arguments["if_version"] = self.seen.get(key, 0)
        return Asked(n, f"memory.{kind}", self._keyed(n, arguments))

    def _message(self, n: int, kind: str, epoch: int, token: str) -> Asked:
        both = inboxes(epoch)
        names = {"send": (self.rng.choice(both),), "send-both": both, "broadcast": ("@all",)}[kind]
        chains = [chain_id("inbox", name) for name in names]
        arguments = {"to": ",".join(names), "token": token, "chains": chains}
        return Asked(n, "message.send", self._keyed(n, arguments))

    def _artifact(self, n: int, kind: str, epoch: int) -> Asked:
        name = f"report-{epoch}"
        if kind == "fetch":
            return Asked(
                n, "artifact.get", {"artifact": name, "path": str(self.files / f"got-{n}")}
            )
        # Sometimes the same bytes as before: those are not sent again.
        content = n if self.rng.random() < 0.7 else n // 10
        path = self.files / f"put-{n}"
        path.write_bytes(random.Random(content).randbytes(100 + content * 37 % 40_000))
        arguments = {"artifact": name, "path": str(path), "chains": [chain_id("artifact", name)]}
        return Asked(n, "artifact.put", self._keyed(n, arguments))

    def _step(self, n: int, kind: str, token: str) -> Asked:
        step = self.rng.choice(STEPS)
        mine = [step for step in self.held if plan.is_task(step)] or list(self.held)
        if kind in ("renew", "release", "complete"):
            kind, step = (kind, self.rng.choice(mine)) if mine else ("claim", step)
        if kind == "exec" and not self.execs:
            kind = "claim"
        chain = chain_id("step", step)
        arguments: dict[str, Any] = {"step": step, "chain": chain, "chains": [chain]}
        match kind:
            case "claim":
                arguments["lease_ms"] = self.rng.choice(LEASES_MS)
                self._keyed(n, arguments)
            case "exec":
                arguments["lease_ms"] = self.rng.choice(LEASES_MS)
                arguments["status"] = self.rng.choice((0, 0, FAILS))
            case "note":
                self._keyed(n, arguments)["token"] = token
            case "reopen":
                arguments["idle"] = True
            case _:
                arguments["fence"] = self.held[step]
                if kind == "renew":
                    arguments["lease_ms"] = self.rng.choice(LEASES_MS)
                if kind == "complete":
                    # Ending once more what one has ended oneself changes nothing.
                    arguments["idle"] = True
                    arguments["outcome"] = self.rng.choice((*[steps.COMPLETE] * 9, steps.FAILED))
                if kind != "renew" and self.rng.random() < 0.8:
                    del self.held[step]  # else it is tried again some time, with a stale token
        return Asked(n, f"step.{kind}", arguments)

    def learn(self, asked: Asked, told: list[dict[str, Any]]) -> None:
        """Remember what a success told of tokens and versions."""
        if asked.name in ("step.claim", "step.next") or asked.arguments.get("claims"):
            (step,) = (row for row in told if row["type"] == "step")
            self.held[step["id"]] = step["fence"]
        elif asked.name.startswith("memory."):
            self.seen[asked.arguments["key"]] = told[0]["version"]


def words_of(asked: Asked, journal: Path) -> list[str]:
    """Return the command line that asks for an operation."""
    known = asked.arguments
    lease = f"{known.get('lease_ms', 0) / 1000:g}s"
    fence = str(known.get("fence"))
    match asked.name:
        case "memory.get" | "account.get":
            words = ["memory", "get", known.get("key") or known["account"]]
        case "memory.incr" | "account.incr":
            key = known.get("key") or known["account"]
            words = ["memory", "incr", key, "--by", str(known["by"])]
        case "memory.append":
            words = ["memory", "append", known["key"], known["token"]]
        case "memory.set":
            words = ["memory", "set", known["key"], known["token"]]
        case "memory.guarded":
            guard = str(known["if_version"])
            words = ["memory", "set", known["key"], known["token"], "--if-version", guard]
        case "message.send":
            words = ["send", known["to"], known["token"]]
        case "inbox.read":
            words = ["inbox", "--all", "-n", "0", "--as", known["reader"]]
        case "inbox.ack":
            words = ["inbox", "--ack", "-n", "0", "--as", known["reader"]]
        case "artifact.put":
            words = ["artifact", "put", known["path"], "--name", known["artifact"]]
        case "artifact.get":
            words = ["artifact", "get", known["artifact"], "-o", known["path"]]
        case "txn.transfer" | "txn.copy" | "txn.audit" | "txn.mixed":
            words = ["txn", "-f", known["path"]]
        case "barrier.pass":
            words = ["barrier", known["barrier"], "--parties", str(known["parties"])]
            words += ["--timeout", f"{known['timeout_s']}s"]
        case "step.add":
            words = ["step", "add", known["step"], "--priority", str(known["priority"])]
            words += ["--after", ",".join(known["after"])] if known["after"] else []
        case "step.next":
            words = ["claim", "--next", "--lease", lease]
        case "step.wait":
            words = ["wait-for", *known["steps"], "--count", str(known["count"])]
            words += ["--timeout", f"{known['timeout_s']}s"]
        case "step.claim":
            words = ["claim", known["step"], "--lease", lease]
        case "step.note":
            words = ["note", known["step"], known["token"]]
        case "step.exec":
            line = 'echo "$TCLOG_STEP $TCLOG_FENCE $TCLOG_AGENT" >> "$0"; sleep 0.6; exit "$1"'
            command = ["sh", "-c", line, str(journal), str(known["status"])]
            return ["exec", known["step"], "--json", "--lease", lease, "--", *command]
        case "step.reopen":
            words = ["reopen", known["step"]]
        case _:
            words = [asked.name.partition(".")[2], known["step"]]
            words += ["--fence", fence]
            words += ["--lease", lease] if asked.name == "step.renew" else []
            words += ["--failed"] if known.get("outcome") == steps.FAILED else []
    if "id_key" in known:
        words += ["--id", known["id_key"]]
    return [*words, "--json"]
