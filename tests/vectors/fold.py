"""The fold of docs/format.md, written from docs alone: nothing of tclog is imported.

``fold(kind, state, version)`` returns the state after a version; ``packed`` is that state as the
record holds it. ``canonical`` and ``blake`` are the page's too.
"""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime
from typing import Any

from blake3 import blake3

from vectors import bodies

State = dict[str, Any]
INLINE, TEXT_MAX, INTEGER_MAX = 16384, 67108864, 2**63 - 1
# What a chain begins with; {} where it is not named.
EMPTY: dict[str, State] = {
    "read": {"ranges": [], "version": 0},
    "barrier": {"arrived": [], "generation": 1, "parties": 0},
}
OUTCOMES = ("complete", "blocked", "needs_review", "failed")


def canonical(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def blake(raw: bytes) -> str:
    return blake3(raw).hexdigest()


def micros(stamp: str) -> int:
    seconds = datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp()
    return int(seconds) * 1_000_000 + int(stamp[20:26])


def fold(kind: str, state: State, version: State, before: State | None) -> State:
    """Return the state after a version, which stands after ``state`` and the version before it."""
    if before is not None:
        version = {**version, "before_at": before["at"]}
    events = version["events"]
    state = state or EMPTY.get(kind, {})
    if kind == "memory":
        state = {} if state == {} else {"content": state["content"]}
    if version.get("merge") is not None:
        state = _merged(state, version["merge"])
    if kind == "step" and not events:
        return _recorded(dict(state), version)
    stands = version.get("stands", version["seq"] - 1)
    for index, event in enumerate(events):
        if version["chain"] in event["chains"] and bodies.is_valid(event["op"], event["body"]):
            state = FOLDS[kind](copy.deepcopy(state), event, version, index, stands)
        elif kind == "step":
            state = _recorded(dict(state), version)
    return state


def packed(kind: str, state: State, version: State) -> State:
    """Return the state as the record holds it: a value that was just set is pointed at."""
    if kind == "memory" and "set" in state:
        return {"in": state["set"]}
    return state


def memory(state: State, event: State, version: State, index: int, stands: int) -> State:
    expected = event.get("expect", {}).get("version")
    if expected is not None:
        holds = state == {} if expected == 0 else expected == stands
        if index > 0 or not holds:
            return state
    body, content = event["body"], state.get("content")
    if event["op"] == "memory.set":
        return {"content": body, "set": index}
    if event["op"] == "memory.delete":
        return {}
    if event["op"] == "memory.incr":
        total = _integer(content)
        if total is None or abs(total + body["by"]) > INTEGER_MAX:
            return state
        return {"content": {"type": "json", "value": total + body["by"]}}
    if event["op"] == "memory.append":
        after = _appended(content, body["added"], body["separator"])
        return state if after is None else {"content": after}
    return state


def _integer(content: State | None) -> int | None:
    if content is None:
        return 0
    value = content.get("value")
    if content["type"] == "json" and type(value) is int:
        return value
    if content["type"] == "text" and "parts" not in content and isinstance(value, str):
        found = re.fullmatch(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,19})[ \t\n\v\f\r]*", value)
        return int(found[1]) if found else None
    return None


def _appended(content: State | None, added: State, separator: str) -> State | None:
    if content is None or (
        content["type"] == "text" and content.get("value") == "" and "parts" not in content
    ):
        return added
    if content["type"] == "json" and "text" in content:
        return _spliced(content["text"], added)
    if content["type"] == "json":
        elements = content.get("value")
        if not isinstance(elements, list) or "blob" in added:
            return None
        elements = [*elements, added["value"]]
        fits = len(canonical(elements)) <= INLINE
        return {"type": "json", "value": elements} if fits else None
    parts = list(content.get("parts", []))
    if "blob" in content:
        parts.append({"blob": content["blob"], "size": content["size"]})
    tail = content.get("value", "")
    if sum(part["size"] for part in parts) + len(tail.encode()) > TEXT_MAX:
        return None
    tail += separator
    if "blob" in added:
        parts += [*_part(tail), {"blob": added["blob"], "size": added["size"]}]
        tail = ""
    else:
        tail += added["value"]
        if len(tail.encode()) > INLINE:
            parts, tail = parts + _part(tail), ""
    return {"type": "text", "value": tail} | ({"parts": parts} if parts else {})


def _spliced(array: str, added: State) -> State | None:
    white = " \t\n\r"
    if not isinstance(json.loads(array), list) or "blob" in added:
        return None
    body = array.rstrip(white)[:-1].rstrip(white)
    comma = "" if body.lstrip(white) == "[" else ","
    text = f"{body}{comma}{canonical(added['value']).decode()}]"
    return {"type": "json", "text": text} if len(text.encode()) <= INLINE else None


def _part(tail: str) -> list[State]:
    raw = tail.encode()
    return [{"blob": blake(raw), "size": len(raw)}] if raw else []


def _recorded(state: State, version: State) -> State:
    claimed = state.get("state") == "claimed" and "lease_from" not in state
    if claimed and state["held_version"] == version["seq"] - 1:
        least = micros(version["before_at"]) - 120_000_000
        if micros(version["prev_stored"]) < least:
            seconds, us = divmod(least, 1_000_000)
            whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            return _set(state, lease_from=f"{whole}.{us:06}Z")
        return _set(state, lease_from=version["prev_stored"])
    return state


def _clear(state: State, *names: str) -> State:
    for name in ("session", "lease_ms", "held_version", "lease_from", *names):
        state.pop(name, None)
    return state


def _set(state: State, /, **values: Any) -> State:
    defaults = {"state": "pending", "priority": 0, "after": [], "handoff_version": 0}
    for name, value in values.items():
        if value is None or (name in defaults and value == defaults[name]):
            state.pop(name, None)
        else:
            state[name] = value
    return state


def step(state: State, event: State, version: State, index: int, stands: int) -> State:
    state = _recorded(state, version)
    fence = event.get("expect", {}).get("fence")
    if fence is not None and fence != state.get("fence"):
        return state
    after = _step(copy.deepcopy(state), event, version)
    if after is None:
        return state
    if _holds(after, event):
        after["held_version"] = version["seq"]
        after.pop("lease_from", None)
    return after


def _same(state: State, event: State) -> bool:
    if state.get("agent") != event["agent"]:
        return False
    sessions = [state.get("session") or "~", event["session"]]
    weak = any(one.startswith(("~", "pid-", "ppid-")) for one in sessions)
    fence = event.get("expect", {}).get("fence")
    proven = fence is not None and fence == state.get("fence")
    return weak or proven or sessions[0] == sessions[1]


def _holds(state: State, event: State) -> bool:
    return state.get("state") == "claimed" and _same(state, event)


def _is_known(state: State) -> bool:
    names = ("added", "fence", "reopened_version")
    return any(state.get(name) for name in names) or state.get("state", "pending") != "pending"


def _step(state: State, event: State, version: State) -> State | None:
    body, agent, seq = event["body"], event["agent"], version["seq"]
    now, holds = state.get("state", "pending"), _holds(state, event)
    match event["op"]:
        case "step.add" if not state.get("added"):
            definition = {name: body.get(name) for name in ("title", "priority", "after")}
            return _set(state, added=True, added_by=agent, added_at=event["at"], **definition)
        case "step.withdraw" if state.get("added_by") == agent and now == "pending":
            names = ("added", "added_by", "added_at", "title", "priority", "after")
            return _set(state, **dict.fromkeys(names))
        case "step.claim" if now == "pending":
            return _granted(state, event, seq)
        case "step.takeover" if now == "claimed" and _is_taken(state, event, version):
            return _granted(state, event, seq)
        case "step.move" if holds and event.get("expect", {}).get("fence") is not None:
            return _granted(state, event, seq)
        case "step.renew" if holds:
            return _set(state, lease_ms=body["lease_ms"])
        case "step.note" if _is_known(state):
            return _set(state, note_version=seq)
        case "step.release" if holds or (now == "claimed" and body.get("force")):
            return _set(_clear(state, "agent"), state="pending")
        case "step.complete":
            allowed = holds or body.get("force") or now == "needs_review"
            again = now == body["outcome"] and _same(state, event)
            if body["outcome"] in OUTCOMES and now != "complete" and allowed and not again:
                handoff = seq if "handoff" in body else 0
                who = {"agent": agent, "session": event["session"]}
                return _set(_clear(state), state=body["outcome"], handoff_version=handoff, **who)
        case "step.reopen" if now not in ("pending", "claimed"):
            opened = {"state": "pending", "reopened_version": seq}
            return _set(_clear(state, "agent", "fence"), **opened)
    return None


def _granted(state: State, event: State, seq: int) -> State:
    who = {"agent": event["agent"], "session": event["session"]}
    lease = {"lease_ms": event["body"]["lease_ms"], "held_version": seq, "lease_from": None}
    return _set(state, state="claimed", fence=seq, **who, **lease)


def _is_taken(state: State, event: State, version: State) -> bool:
    if event["body"]["fence"] != state["fence"]:
        return False
    if event["body"].get("force"):
        return True
    if version.get("now") is None:
        return False
    if micros(version["now"]) - micros(version["at"]) > 120_000_000:
        return False
    if "lease_from" not in state:
        return False
    ends = micros(state["lease_from"]) + state["lease_ms"] * 1000
    return micros(version["now"]) >= ends + 1_000_000


def _merged(state: State, merge: State) -> State:
    if merge["through"] <= state.get("all_version", 0):
        return state
    count = state.get("count", 0) + merge["count"] - state.get("all_count", 0)
    after = {"count": count, "all_version": merge["through"], "all_count": merge["count"]}
    return {name: value for name, value in after.items() if value}


def inbox(state: State, event: State, version: State, index: int, stands: int) -> State:
    if event["op"] == "message.send":
        state["count"] = state.get("count", 0) + 1
    return state


def read(state: State, event: State, version: State, index: int, stands: int) -> State:
    if event["op"] != "message.ack":
        return state
    numbers: set[int] = set()
    for first, last in [*state.get("ranges", []), *event["body"]["ranges"]]:
        numbers |= set(range(first, last + 1))
    ranges = [n for n in sorted(numbers) if n - 1 not in numbers]
    ends = [n for n in sorted(numbers) if n + 1 not in numbers]
    version_seen = max(state.get("version", 0), event["body"]["version"])
    return {
        "ranges": [list(row) for row in zip(ranges, ends, strict=True)],
        "version": version_seen,
    }


def barrier(state: State, event: State, version: State, index: int, stands: int) -> State:
    agent, body, arrived = event["agent"], event["body"], state["arrived"]
    if event["op"] == "barrier.arrive":
        if agent in arrived or state["parties"] not in (0, body["parties"]):
            return state
        if len(arrived) + 1 >= body["parties"]:
            return {"arrived": [], "generation": state["generation"] + 1, "parties": 0}
        return state | {"arrived": [*arrived, agent], "parties": body["parties"]}
    if (
        event["op"] == "barrier.leave"
        and body["generation"] == state["generation"]
        and agent in arrived
    ):
        left = [name for name in arrived if name != agent]
        return state | {"arrived": left, "parties": state["parties"] if left else 0}
    return state


def artifact(state: State, event: State, version: State, index: int, stands: int) -> State:
    return event["body"] if event["op"] == "artifact.put" else state


def agent(state: State, event: State, version: State, index: int, stands: int) -> State:
    if event["op"] != "agent.join":
        return state
    return {"host": event["host"], "joined": True, "session": event["session"]}


def tag(state: State, event: State, version: State, index: int, stands: int) -> State:
    return {"tag.set": dict(event["body"]), "tag.delete": {}}.get(event["op"], state)


def pack(state: State, event: State, version: State, index: int, stands: int) -> State:
    if index or event.get("expect", {}).get("version") != version["seq"] - 1:
        return state
    body, packs = event["body"], state.get("packs", [])
    if event["op"] == "pack.add":
        kept = len(packs) - body["replaces"]
        if body["through"] < state.get("through", "") or kept < 0:
            return state
        after = state | {"packs": packs[:kept] + body["packs"], "through": body["through"]}
        return {k: v for k, v in (after | {"agents": body["agents"]}).items() if v}
    floor = body["floor"] if event["op"] == "pack.floor" else ""
    if state.get("floor", "") < floor <= state.get("through", ""):
        return state | {"floor": floor}
    return state


FOLDS = {
    "memory": memory, "step": step, "inbox": inbox, "read": read, "barrier": barrier,
    "artifact": artifact, "agent": agent, "tag": tag, "pack": pack,
}  # fmt: skip


# -- transactions and keys ------------------------------------------------------------------------


def verdict(slots: dict[str, State], version: State) -> str:
    """Say what became of the transaction that a version is a part of."""
    there = [slots.get(slot_key(chain, seq)) for chain, seq in version["txn"]["slots"].items()]
    if any(one is not None and one.get("txn") != version["txn"] for one in there):
        return "aborted"
    return "undecided" if None in there else "committed"


def voided(slots: dict[str, State], junk: dict[str, bytes], chain: str, seq: int) -> int:
    """Return the version that ends the junk in a slot and in those beside it; 0 if none does."""
    for above in range(seq + 1, seq + 9):
        version = slots.get(slot_key(chain, above))
        if version is not None:
            ends = {one["seq"]: one["hash"] for one in version.get("voids", [])}
            there = {n: junk.get(slot_key(chain, n)) for n in range(seq, above)}
            same = {n: blake(raw) for n, raw in there.items() if raw is not None}
            return above if ends == same and version["prev"] == ends[above - 1] else 0
    return 0


def answer(slots: dict[str, State], chain: str, junk: dict[str, bytes] | None = None) -> State:
    """Return what a reader answers for a chain: the newest version that counts, and its state."""
    found: State = {"version": 0, "state": {}}
    if junk:
        first = 9999999999 - int(max(junk).rpartition("/")[2][:10])
        after = voided(slots, junk, chain, first)
        assert after, "damaged"
        found = {"version": after - 1, "state": {}}
    while (version := slots.get(slot_key(chain, found["version"] + 1))) is not None:
        fate = verdict(slots, version) if "txn" in version else "committed"
        if fate == "undecided":
            break
        found = {
            "version": version["seq"],
            "state": version["otherwise" if fate == "aborted" else "state"],
        }
    return found


def segment(name: str) -> str:
    plain = re.compile(rb"[A-Za-z0-9._-]")
    raw = name.encode()
    found = "".join(chr(b) if plain.match(bytes([b])) else f"%{b:02X}" for b in raw)
    if not found.strip("."):
        found = found.replace(".", "%2E")
    return found if len(found) <= 239 else f"{found[:200]}~{blake(raw)[:32]}"


def slot_key(chain: str, seq: int) -> str:
    kind, _, name = chain.partition("/")
    folder = "@all" if chain == "inbox/@all" else segment(name)
    return f"chains/{kind}/{folder}/{9999999999 - seq:010d}.json"


def event_key(event: State) -> str:
    at, (kind, _, name) = event["at"], event["chains"][0].partition("/")
    folder = "@all" if event["chains"][0] == "inbox/@all" else segment(name)
    label, clock = f"{kind}.{folder}"[:80], at[11:26].replace(":", "")
    return f"events/{at[:13]}/{clock}-{at[28:]}-{label}-{blake(canonical(event))}.json"


def once_key(agent: str, key: str, chain: str) -> str:
    return f"once/{segment(agent)}/{segment(f'{key}#{blake(chain.encode())[:16]}')}.json"


def pending_key(chain: str, at: str, after: int, event: str) -> str:
    kind, _, name = chain.partition("/")
    return f"pending/{kind}/{segment(name)}/{at.replace(':', '')}-{after}-{event}.json"
