"""A second client, written from docs/format.md alone: it imports nothing of tclog.

It speaks the lines of ``tclog batch`` for ``tclog conformance``, in a folder, and folds by
``vectors.fold``. It is a minimal writer: it has no transactions of its own, no announcements, no
packs, and no operation that a trial can do without.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from vectors import bodies, fold
from vectors.fold import State, blake, canonical, micros

INLINE, AHEAD_US, GRACE_US = 16384, 120_000_000, 2_000_000
Decide = Callable[["Head", str | None], tuple[str, State, State | None]]


class Refused(Exception):  # noqa: N818 - the word of the page
    def __init__(self, exit_: int, code: str) -> None:
        self.answer = {"type": "error", "code": code, "message": code, "exit": exit_}


# -- the folder -----------------------------------------------------------------------------------


class Folder:
    def __init__(self, root: str) -> None:
        self.root, self.count = root, 0

    def _write(self, data: bytes) -> str:
        self.count += 1
        path = f"{self.root}/.tmp/second-{os.getpid()}-{os.urandom(8).hex()}-{self.count}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
        return path

    def _place(self, key: str) -> str:
        os.makedirs(os.path.dirname(f"{self.root}/{key}"), exist_ok=True)
        return f"{self.root}/{key}"

    def create(self, key: str, data: bytes) -> bool:
        temporary = self._write(data)
        try:
            os.link(temporary, self._place(key))
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        return True

    def keep(self, key: str, data: bytes) -> None:
        if not self.create(key, data) and self.get(key) != data:
            raise Refused(8, "damaged")

    def get(self, key: str) -> bytes | None:
        try:
            with open(f"{self.root}/{key}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def stamp(self, key: str) -> str:
        return text_of(os.stat(f"{self.root}/{key}").st_mtime_ns // 1000)

    def newest(self, folder: str) -> int:
        try:
            names = os.listdir(f"{self.root}/{folder}")
        except FileNotFoundError:
            return 0
        slots = [name for name in names if re.fullmatch(r"[0-9]{10}\.json", name)]
        return 9999999999 - int(min(slots)[:10]) if slots else 0


def text_of(us: int) -> str:
    seconds, rest = divmod(us, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:06d}Z"


# -- chains ---------------------------------------------------------------------------------------


class Head:
    """A version as it counts: without events and with ``otherwise`` if it was aborted."""

    def __init__(self, record: State | None, raw: bytes = b"", aborted: bool = False) -> None:
        self.record = record or {}
        self.seq = self.record.get("seq", 0)
        self.id = blake(raw) if record else None
        self.at = self.record.get("at", "")
        self.events = [] if aborted else self.record.get("events", [])
        self.merge = None if aborted else self.record.get("merge")
        voids = self.record.get("voids", [])
        self.after = self.seq - 1 - len(voids)
        empty = not self.events and self.merge is None
        self.void = record is not None and (empty or bool(voids))
        state = self.record.get("otherwise" if aborted else "state", {})
        self.state = {"content": self.events[state["in"]]["body"]} if "in" in state else state
        self.base = self.record.get("stands", self.after) if self.void else self.seq


class Client:
    def __init__(self, environ: dict[str, str]) -> None:
        project = fold.segment(environ["TCLOG_PROJECT"])
        self.store = Folder(f"{environ['TCLOG_STORE']}/{project}")
        self.agent, self.session = environ["TCLOG_AGENT"], environ["TCLOG_SESSION"]
        self.wrong_us = int(environ.get("TCLOG_TEST_CLOCK_OFFSET_S", "0")) * 1_000_000
        self.correction_us: int | None = None
        self.last = (0, 0)

    # -- the clock

    def wall_us(self) -> int:
        return time.time_ns() // 1000 + self.wrong_us

    def now_us(self) -> int:
        return self.wall_us() + (self.correction_us or 0)

    def observe(self, at: str) -> None:
        if at and micros(at) <= self.now_us() + AHEAD_US:
            self.last = max(self.last, (micros(at), int(at[28:], 16)))

    def tick(self, after: str = "") -> str:
        self.observe(after)
        now = self.now_us()
        self.last = (now, 0) if now > self.last[0] else _next(*self.last)
        issued = f"{text_of(self.last[0])}-{self.last[1]:04x}"
        if issued > after:
            return issued
        us, counter = _next(micros(after), int(after[28:], 16))
        return f"{text_of(us)}-{counter:04x}"

    # -- reading

    def slot(self, chain: str, seq: int) -> tuple[State, bytes] | None:
        raw = self.store.get(fold.slot_key(chain, seq))
        if raw is None:
            return None
        record = _sound(raw, chain, seq)
        if record is None:
            raise Refused(8, "damaged")
        for one in record.get("voids", []):
            junk = self.store.get(fold.slot_key(chain, one["seq"])) or b""
            if blake(junk) != one["hash"] or _sound(junk, chain, one["seq"]) is not None:
                raise Refused(8, "damaged")
        self.observe(record["at"])
        return record, raw

    def judge(self, record: State) -> str:
        slots = record["txn"]["slots"].items()
        there = {fold.slot_key(*slot): found[0] for slot in slots if (found := self.slot(*slot))}
        return fold.verdict(there, record)

    def version(self, chain: str, seq: int) -> Head | None:
        """Return a version as it counts; None if it is undecided."""
        found = self.slot(chain, seq)
        assert found is not None
        fate = self.judge(found[0]) if "txn" in found[0] else "committed"
        return None if fate == "undecided" else Head(*found, aborted=fate == "aborted")

    def head(self, chain: str, end: bool = False) -> Head:
        """Return what counts now; with ``end`` a transaction in the way ends first."""
        seq = self.store.newest(fold.slot_key(chain, 1).rpartition("/")[0])
        while seq:
            found = self.version(chain, seq)
            if found is not None:
                return found
            if end:
                self.fill(chain, seq)
            else:
                seq -= 1
        return Head(None)

    def fill(self, chain: str, seq: int) -> None:
        found = self.slot(chain, seq)
        assert found is not None
        if micros(self.store.stamp(fold.slot_key(chain, seq))) + GRACE_US > time.time_ns() // 1000:
            time.sleep(0.05)
            return
        for other, number in found[0]["txn"]["slots"].items():
            if self.slot(other, number) is None:
                head = self.head(other, end=True)
                if head.seq == number - 1:
                    fills = {"chain": chain, "seq": seq}
                    self.create(self.seal(other, head, [], None, None, fills=fills))
                return

    # -- writing

    def event(
        self, chains: list[str], op: str, body: State, expect: State | None, key: str | None
    ) -> tuple[State, str]:
        """Put an event and return it with its stamp; a wrong clock is corrected by it."""
        for _ in range(3):
            wall_us = self.wall_us()
            record = {
                "agent": self.agent, "at": self.tick(), "body": body, "chains": chains,
                "client": "second/1", "format": 1, "host": "second",
                "nonce": os.urandom(16).hex(), "op": op, "session": self.session,
            }  # fmt: skip
            record |= {"expect": expect} if expect else {}
            record |= {"key": key} if key else {}
            self.store.keep(fold.event_key(record), canonical(record))
            stored = self.store.stamp(fold.event_key(record))
            if self.correction_us is None:
                off = micros(stored) - wall_us
                self.correction_us = 0 if abs(off) <= 2_000_000 else off
                if self.last[0] > self.now_us() + AHEAD_US:
                    self.last = (0, 0)
            if abs(micros(record["at"]) - micros(stored)) < AHEAD_US:
                break
        return record, stored

    def seal(
        self,
        chain: str,
        head: Head,
        events: list[State],
        merge: State | None,
        now: str | None,
        **more: Any,
    ) -> State:
        stored = self.store.stamp(fold.slot_key(chain, head.seq)) if head.seq else None
        record = {
            "at": self.tick(head.at), "by": self.agent, "chain": chain, "events": events,
            "format": 1, "prev": head.id, "prev_stored": stored, "seq": head.seq + 1, **more,
        }  # fmt: skip
        record |= {"merge": merge} if merge else {}
        record |= {"now": now} if now else {}
        record |= {"stands": head.base} if head.void else {}
        last = head.record.get("last_txn")
        if "txn" in head.record:
            last = {"at": head.record["txn"]["at"], "seq": head.seq}
        record |= {"last_txn": last} if last else {}
        kind = chain.partition("/")[0]
        record["state"] = fold.packed(kind, self.after(head, record), record)
        record["sum"] = blake(canonical(record))
        return record

    def after(self, head: Head, record: State) -> State:
        kind = record["chain"].partition("/")[0]
        return fold.fold(kind, head.state, record, head.record or None)

    def create(self, record: State) -> bool:
        key, raw = fold.slot_key(record["chain"], record["seq"]), canonical(record)
        return self.store.create(key, raw) or self.store.get(key) == raw

    def append(
        self,
        chain: str,
        decide: Decide,
        key: str | None = None,
        command: Any = None,
        chains: list[str] | None = None,
        event: State | None = None,
    ) -> Head:
        after = self.bind(chain, key, command) if key else 0
        asked: Any = None
        stored = None
        for nth in range(10_000):
            head = self.head(chain, end=True)
            applied = self.applied(chain, key, after, head) if key else None
            if applied is not None:
                return applied
            op, body, expect = decide(head, stored)
            if event is None or (asked is not None and asked != (op, body, expect)):
                event, stored = self.event(chains or [chain], op, body, expect, key)
            asked = (op, body, expect)
            if op == "step.takeover":
                decide(head, stored)
            merge = (
                self.merge(head) if chain.startswith("inbox/") and chain != "inbox/@all" else None
            )
            now = stored if op == "step.takeover" else None
            record = self.seal(chain, head, [event], merge, now)
            if self.create(record):
                return Head(record, canonical(record))
            time.sleep(random.random() * 0.004 * 2 ** min(nth, 6))
        raise Refused(4, "contended")

    def merge(self, head: Head) -> State | None:
        everybody, had = self.head("inbox/@all"), head.state
        after, counted = had.get("all_version", 0), had.get("all_count", 0)
        if everybody.seq <= after:
            return None
        count = everybody.state.get("count", 0)
        numbers = {"after": after, "count": count, "taken": count - counted}
        return {"chain": "inbox/@all", "through": everybody.seq, **numbers}

    # -- idempotency keys

    def bind(self, chain: str, key: str, command: Any) -> int:
        name = fold.once_key(self.agent, key, chain)
        bound = {
            "after": self.head(chain).seq, "agent": self.agent, "chain": chain,
            "command": blake(canonical(command)), "format": 1, "key": key,
        }  # fmt: skip
        self.store.create(name, canonical(bound))
        found = json.loads(self.store.get(name) or b"{}")
        if found["command"] != bound["command"]:
            raise Refused(4, "key-reused")
        return int(found["after"])

    def numbers(self, chain: str, after: int, last: int) -> list[int]:
        """Return the numbers of the versions after one, up to another; junk is passed over."""
        found: list[int] = []
        while last > after:
            found.insert(0, last)
            slot = self.slot(chain, last)
            last -= 1 + len(slot[0].get("voids", []) if slot else [])
        return found

    def applied(self, chain: str, key: str, after: int, head: Head) -> Head | None:
        for seq in self.numbers(chain, after, head.seq):
            version = self.version(chain, seq)
            events = [] if version is None else version.events
            if any(e["agent"] == self.agent and e.get("key") == key for e in events):
                return version
        return None


def _sound(raw: bytes, chain: str, seq: int) -> State | None:
    """Return the record of a slot; None if it holds junk."""
    try:
        record = json.loads(raw)
        whole = {name: value for name, value in record.items() if name != "sum"}
        sound = canonical(record) == raw and record["sum"] == blake(canonical(whole))
        return record if sound and (record["chain"], record["seq"]) == (chain, seq) else None
    except (ValueError, AttributeError, KeyError):
        return None


def _next(us: int, counter: int) -> tuple[int, int]:
    return (us, counter + 1) if counter < 0xFFFF else (us + 1, 0)


# -- operations -----------------------------------------------------------------------------------


class Batch:
    def __init__(self, client: Client) -> None:
        self.client = client

    def do(self, line: State) -> State:
        known = {
            "memory.set": self.set, "memory.get": self.get, "memory.incr": self.incr,
            "message.send": self.send, "inbox.read": self.inbox, "step.claim": self.claim,
            "step.complete": self.end, "step.release": self.end,
        }  # fmt: skip
        if line["op"] not in known:
            raise Refused(2, "op-unknown")
        return known[line["op"]](line)

    def set(self, line: State) -> State:
        content = self.content(line["value"])
        expected = line.get("if_version")

        def decide(head: Head, _: str | None) -> tuple[str, State, State | None]:
            holds = not head.state if expected == 0 else expected == head.base
            if expected is not None and not holds:
                raise Refused(4, "version-conflict")
            return "memory.set", content, None if expected is None else {"version": expected}

        return self.shown(line, self.append(line, decide))

    def incr(self, line: State) -> State:
        def decide(head: Head, _: str | None) -> tuple[str, State, State | None]:
            body = {"by": line["by"]}
            event = {"op": "memory.incr", "body": body}
            if fold.memory(head.state, event, {}, 0, 0) == head.state and line["by"]:
                raise Refused(4, "not-an-integer")
            return "memory.incr", body, None

        return self.shown(line, self.append(line, decide))

    def append(self, line: State, decide: Decide) -> Head:
        command = {name: value for name, value in line.items() if name != "id_key"}
        chain = f"memory/{line['key']}"
        return self.client.append(chain, decide, line.get("id_key"), json.dumps(command))

    def get(self, line: State) -> State:
        head = self.client.head(f"memory/{line['key']}")
        while head.void and head.base:
            found = self.client.version(f"memory/{line['key']}", head.base)
            assert found is not None
            head = found
        if not head.state:
            raise Refused(3, "key-missing")
        return self.shown(line, head)

    def shown(self, line: State, head: Head) -> State:
        told = {
            "type": "memory",
            "key": line["key"],
            "version": head.seq,
            "agent": self.client.agent,
        }
        if head.events:
            told["id"] = blake(canonical(head.events[-1]))
        return {**told, "value": self.value(head.state["content"])}

    def content(self, value: Any) -> State:
        kind = "text" if isinstance(value, str) else "json"
        raw = value.encode() if kind == "text" else canonical(value)
        if len(raw) > INLINE:
            self.client.store.keep(f"blobs/{blake(raw)[:2]}/{blake(raw)}", raw)
            return {"type": kind, "blob": blake(raw), "size": len(raw)}
        if kind == "json" and b"." in canonical(value) + json.dumps(value).encode():
            return {"type": kind, "text": raw.decode()}
        return {"type": kind, "value": value}

    def value(self, content: State) -> Any:
        names = [part["blob"] for part in content.get("parts", [])]
        names += [content["blob"]] if "blob" in content else []
        blobs = [self.client.store.get(f"blobs/{name[:2]}/{name}") or b"" for name in names]
        text = b"".join(blobs).decode()
        if content["type"] == "text":
            return text + content.get("value", "")
        return content["value"] if "value" in content else json.loads(content.get("text") or text)

    # -- messages

    def send(self, line: State) -> State:
        names = line["to"].split(",")
        chains = [f"inbox/{name}" for name in names]
        body = {"text": self.content(line["text"]), "to": names}

        def decide(head: Head, _: str | None) -> tuple[str, State, State | None]:
            return "message.send", body, None

        key, event = line.get("id_key"), None
        for chain in chains:
            head = self.client.append(chain, decide, key, [line["to"], line["text"]], chains, event)
            event = next(
                e
                for e in head.events
                if e["body"] == body
                and e["agent"] == self.client.agent
                and (not key or e.get("key") == key)
            )
        told = {"type": "message", "to": line["to"], "text": line["text"]}
        return {**told, "id": blake(canonical(event)), "from": self.client.agent}

    def inbox(self, line: State) -> State:
        chain = f"inbox/{self.client.agent}"
        while True:
            head = self.client.head(chain, end=True)
            merge = self.client.merge(head)
            if merge is None:
                break
            self.client.create(self.client.seal(chain, head, [], merge, None))
        rows: list[State] = []
        for seq in self.client.numbers(chain, 0, head.seq):
            version = self.client.version(chain, seq)
            assert version is not None
            merge = version.merge or {"after": 0, "through": 0}
            between = self.client.numbers("inbox/@all", merge["after"], merge["through"])
            taken = [self.client.version("inbox/@all", number) for number in between]
            sent = [(e, "inbox/@all") for one in taken if one is not None for e in one.events]
            sent += [(e, chain) for e in version.events]
            events = [e for e, where in sent if _counts(e, where)]
            rows += [
                {
                    "type": "message", "n": len(rows) + nth, "id": blake(canonical(event)),
                    "from": event["agent"], "text": self.value(event["body"]["text"]),
                }
                for nth, event in enumerate(events, 1)
            ]  # fmt: skip
        return {"type": "list", "op": "inbox.read", "items": rows}

    # -- steps

    def claim(self, line: State) -> State:
        number, unit = re.fullmatch(r"([0-9]+)(ms|s)", line["lease"]).groups()
        lease = {"lease_ms": int(number) * (1 if unit == "ms" else 1000)}

        def decide(head: Head, now: str | None) -> tuple[str, State, State | None]:
            state = head.state.get("state", "pending")
            if state == "pending":
                return "step.claim", lease, None
            if state != "claimed":
                raise Refused(4, f"step-{state}")
            if head.state["agent"] == self.client.agent:
                raise Refused(4, "step-held")
            taken = {"fence": head.state["fence"], "from": head.state["agent"], **lease}
            if now is not None:
                since = head.state.get("lease_from") or self.client.store.stamp(
                    fold.slot_key(f"step/{line['id']}", head.state["held_version"])
                )
                if micros(now) < micros(since) + head.state["lease_ms"] * 1000 + 1_000_000:
                    raise Refused(4, "step-held")
            return "step.takeover", taken, None

        return self.step(line, self.client.append(f"step/{line['id']}", decide))

    def end(self, line: State) -> State:
        fence = line.get("fence")

        def decide(head: Head, _: str | None) -> tuple[str, State, State | None]:
            if fence is not None and fence != head.state.get("fence"):
                raise Refused(4, "stale-fence")
            if head.state.get("state") != "claimed":
                raise Refused(4, "step-not-claimed")
            if head.state["agent"] != self.client.agent:
                raise Refused(4, "not-yours")
            body = {"outcome": "complete"} if line["op"] == "step.complete" else {}
            return line["op"], body, None if fence is None else {"fence": fence}

        return self.step(line, self.client.append(f"step/{line['id']}", decide))

    def step(self, line: State, head: Head) -> State:
        told = {name: head.state.get(name) for name in ("agent", "fence")}
        state = head.state.get("state", "pending")
        return {"type": "step", "id": line["id"], "state": state, "version": head.seq, **told}


def _counts(event: State, chain: str) -> bool:
    fits = chain in event["chains"] and bodies.is_valid(event["op"], event["body"])
    return fits and event["op"] == "message.send"


def main() -> None:
    batch = Batch(Client(dict(os.environ)))
    for line in sys.stdin:
        try:
            answer = batch.do(json.loads(line))
        except Refused as refused:
            answer = refused.answer
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
