"""A long-lived agent: one process that works through the Python API, as harnesses do.

Reads operations from stdin, one JSON object a line, and answers each with one line: the exit
status that the command would have had, and what it would have printed. It can be killed or stopped
at any moment like any other process.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import tclog
from chaos.trade import transact
from tclog.errors import EXIT_BUG, TclogError


def main() -> None:
    """Say that it is ready, then answer operations until stdin ends."""
    settings = json.loads(sys.argv[1])
    off_ns = int(settings.pop("clock_off_s") * 1_000_000_000)
    if off_ns:
        true_ns = time.time_ns
        time.time_ns = lambda: true_ns() + off_ns
    bug = settings.pop("bug")
    if bug:
        from chaos.planted import plant

        plant(bug)
    url, agent = settings.pop("url"), settings.pop("agent")
    logs: dict[str, tclog.Log] = {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        known = asked["arguments"]
        who = known.get("reader", agent)
        try:
            if who not in logs:
                logs[who] = tclog.open(url, agent=who, **settings)
            log = logs[who]
            log.client.session = asked["session"]
            answer = {"code": 0, "out": act(log, asked["name"], known), "err": None}
        except TclogError as error:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            answer = {"code": error.exit, "out": [], "err": error.details | told}
        except Exception as error:
            answer = {"code": EXIT_BUG, "out": [], "err": {"message": repr(error)}}
        print(json.dumps(answer, default=str), flush=True)


def act(log: tclog.Log, name: str, known: dict[str, Any]) -> list[dict[str, Any]]:
    """Carry out one operation; return the objects that the command would print."""
    key = {"id": known["id_key"]} if "id_key" in known else {}
    lease_s = known.get("lease_ms", 0) / 1000
    if name.startswith("inbox."):
        mailbox = log.inbox(all=name == "inbox.read")
        if name == "inbox.ack" and mailbox.messages:
            log.ack(mailbox)
        return [message.as_json() for message in mailbox.messages]
    if name.startswith("txn."):
        return transact(log, known)
    done: Any
    match name:
        case "memory.get" | "account.get":
            done = log.memory.get(known.get("key") or known["account"])
        case "memory.incr" | "account.incr":
            done = log.memory.incr(known.get("key") or known["account"], known["by"], **key)
        case "memory.append":
            done = log.memory.append(known["key"], known["token"], **key)
        case "memory.set" | "memory.guarded":
            guard = {"if_version": known["if_version"]} if "if_version" in known else {}
            done = log.memory.set(known["key"], known["token"], **guard, **key)
        case "message.send":
            done = log.send(known["to"], known["token"], **key)
        case "artifact.put":
            done = log.artifacts.put(known["path"], name=known["artifact"], **key)
        case "artifact.get":
            done = log.artifacts.get(known["artifact"], known["path"])
        case "barrier.pass":
            wait = {"parties": known["parties"], "timeout_s": known["timeout_s"]}
            done = log.barrier(known["barrier"], **wait, **key)
        case "step.wait":
            wait = {"count": known["count"], "timeout_s": known["timeout_s"]}
            return [step.as_json() for step in log.wait_for(*known["steps"], **wait)]
        case "step.add":
            words = {"after": known["after"], "priority": known["priority"]}
            done = log.steps.add(known["step"], **words)
        case "step.next":
            done = log.steps.claim(next=True, lease_s=lease_s)
        case "step.claim":
            done = log.steps.claim(known["step"], lease_s=lease_s, **key)
        case "step.note":
            done = log.steps.note(known["step"], known["token"], **key)
        case "step.renew":
            done = log.steps.renew(known["step"], lease_s=lease_s, fence=known["fence"])
        case "step.reopen":
            done = log.steps.reopen(known["step"])
        case "step.release":
            done = log.steps.release(known["step"], fence=known["fence"])
        case "step.complete":
            outcome, fence = known["outcome"], known["fence"]
            done = log.steps.complete(known["step"], outcome=outcome, fence=fence)
        case _:
            raise ValueError(f"no such operation: {name}")
    return [done.as_json()]


if __name__ == "__main__":
    main()
