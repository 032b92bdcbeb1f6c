"""The states after each op of each primitive, and the events that the fold ignores."""

from __future__ import annotations

from typing import Any

from tclog.domain.content import Blob, make_content
from tclog.event import digest
from vectors.making import Line

BIG = 10_000
KINDS = ("memory", "step", "inbox", "read", "barrier", "artifact", "agent", "tag", "pack")


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "value": value}


def inline(value: Any) -> dict[str, Any]:
    return {"type": "json", "value": value}


def memory_ops() -> dict[str, Any]:
    line = Line("memory/k")
    line.one("memory.set", text("one"))
    line.one("memory.set", inline({"a": [1, None, True, "é"]}), agent="bob")
    line.one("memory.delete", {})
    line.one("memory.incr", {"by": 5})
    line.one("memory.incr", {"by": -7})
    line.one("memory.set", text(" +41\n"))
    line.one("memory.incr", {"by": 1})
    line.one("memory.set", {"type": "json", "text": "[1e16,0.5]"})
    line.add(
        line.event("memory.set", text("first")),
        line.event("memory.set", text("second"), agent="bob"),
    )
    line.add(line.event("memory.set", inline(1)), line.event("memory.incr", {"by": 1}))
    line.one("memory.set", text("by revert"), expect={"version": 10})
    line.one("memory.set", text("again") | {"reverts": digest(b"an event")})
    # The body is the value as it stands, also where a later version has to hold it.
    line.add(by="carol")
    line.one("memory.append", {"added": text("more"), "separator": "\n"})
    return line.case("memory: set, delete, incr, several events in one version")


def memory_expectations() -> dict[str, Any]:
    line = Line("memory/expected")
    line.one("memory.set", text("a"), expect={"version": 0})
    stale = "expect.version is not the newest version before that is not void"
    line.one("memory.set", text("b"), expect={"version": 0}, why="version 0 expects no value")
    line.one("memory.set", text("c"), expect={"version": 1}, why=stale)
    line.one("memory.set", text("d"), expect={"version": 3})
    line.one("memory.delete", {}, expect={"version": 4})
    line.one("memory.set", text("e"), expect={"version": 0})
    not_first = "an event with expect.version is the first of its version"
    line.add(
        line.event("memory.set", text("f"), expect={"version": 6}),
        line.event("memory.set", text("g"), agent="bob", expect={"version": 6}, why=not_first),
    )
    line.add(by="carol")
    line.add(by="carol")
    line.one("memory.set", text("h"), expect={"version": 9}, why=stale)
    line.one("memory.set", text("i"), expect={"version": 10})
    return line.case("memory: expectations, and void versions between")


def memory_ignored() -> dict[str, Any]:
    line = Line("memory/ignored")
    wrong = "the value is no integer"
    for value in ("1.0", "", "1 2", "\u00a01", "\u0661", "1" * 20):
        line.add(
            line.event("memory.set", text(value)),
            line.event("memory.incr", {"by": 1}, why=wrong),
        )
    for value in (True, "1", [1], None):
        line.add(
            line.event("memory.set", inline(value)),
            line.event("memory.incr", {"by": 1}, why=wrong),
        )
    line.add(
        line.event("memory.set", inline(2**63 - 1)),
        line.event("memory.incr", {"by": 1}, why="the sum is over 2^63 - 1"),
        line.event("memory.incr", {"by": -(2**63 - 1)}),
    )
    line.add(
        line.event("memory.set", inline(-(2**63 - 1))),
        line.event("memory.incr", {"by": -1}, why="the sum is below -(2^63 - 1)"),
    )
    line.one("memory.frobnicate", {"by": 1}, why="the op is not known")
    return line.case("memory: increments that are ignored, an unknown op")


def memory_append() -> dict[str, Any]:
    line = Line("memory/log")

    def append(added: Any, separator: str = "\n", why: str | None = None) -> None:
        line.one("memory.append", {"added": added, "separator": separator}, why=why)

    append(text("one"))
    append(text("two"))
    append(text("three"), separator=", ")
    append(text("a" * BIG))
    # The tail outgrows 16 KiB and becomes a part.
    append(text("b" * BIG))
    _keep_parts(line)
    append(text("tail"))
    large = text_blob("c" * (2 * BIG))
    line.keep(large)
    append({"type": "text", "blob": large.hash, "size": len(large.data)})
    line.keep(Blob(digest(b"\ntail\n"), b"\ntail\n"))
    append(text("after a blob"))
    line.one("memory.set", text(""))
    append(text("instead of an empty text"))
    line.one("memory.set", inline([1]))
    append(text("two"))
    # An array with a float stands as it was written, and stays so.
    line.one("memory.set", {"type": "json", "text": " [1e16, 0.50 ] "})
    append(text('é "x"'))
    append(text("y"), separator=", ")
    line.one("memory.set", {"type": "json", "text": "[]"})
    append(text("first"))
    line.add(
        line.event("memory.set", {"type": "json", "text": '{"a":0.5}'}),
        line.event("memory.append", {"added": text("x"), "separator": "\n"}, why="it is no array"),
    )
    refused = "it is no text and no inline array"
    line.add(
        line.event("memory.set", inline({"a": 1})),
        line.event("memory.append", {"added": text("x"), "separator": "\n"}, why=refused),
    )
    line.add(
        line.event("memory.set", inline(["a" * 9000])),
        line.event(
            "memory.append",
            {"added": text("b" * 9000), "separator": "\n"},
            why="the array's canonical form would exceed 16384 bytes",
        ),
    )
    return line.case("memory: append")


def text_blob(value: str) -> Blob:
    return make_content("text", value)[1][0]


def _keep_parts(line: Line) -> None:
    spilled = f"one\ntwo, three\n{'a' * BIG}\n{'b' * BIG}".encode()
    line.keep(Blob(digest(spilled), spilled))


def step_ops() -> dict[str, Any]:
    line = Line("step/build")
    line.one("step.add", {"after": ["design"], "priority": 3, "title": "Build it"})
    line.one("step.claim", {"lease_ms": 60_000, "seen": {"design": 4}}, agent="bob")
    line.one("step.note", {"note": text("half done")}, agent="carol")
    line.one("step.note", {"note": text("mine")}, agent="bob")
    line.one("step.renew", {"lease_ms": 90_000}, agent="bob", expect={"fence": 2})
    line.one("step.move", {"lease_ms": 80_000}, agent="bob", session="s2", expect={"fence": 2})
    line.one("step.renew", {"lease_ms": 70_000}, agent="bob", expect={"fence": 6})
    line.one("step.note", {"note": text("weak")}, agent="bob", session="~0.1.2@host")
    line.one("step.release", {}, agent="bob", session="s2")
    line.one("step.claim", {"lease_ms": 1000}, agent="bob")
    line.one(
        "step.takeover",
        {"fence": 10, "from": "bob", "lease_ms": 60_000},
        agent="carol",
        wait_s=3,
        now_s=2.0,
    )
    forced = {"force": True, "reason": "it is urgent"}
    line.one("step.takeover", {"fence": 11, "from": "carol", "lease_ms": 1000} | forced)
    line.one("step.release", forced, agent="carol")
    line.one("step.claim", {"lease_ms": 60_000}, agent="carol")
    handoff = {"to": "dave", "next_action": "ship", "note": text("green"), "exit_status": 0}
    line.one("step.complete", {"outcome": "needs_review", "handoff": handoff}, agent="carol")
    line.one("step.complete", {"outcome": "complete"}, agent="dave")
    line.one("step.reopen", {}, agent="dave")
    line.one("step.claim", {"lease_ms": 60_000}, agent="alice")
    line.one(
        "step.complete",
        {"outcome": "failed", "force": True, "reason": "gone"},
        agent="bob",
    )
    line.one("step.reopen", {}, agent="bob")
    line.one("step.withdraw", {}, agent="alice")
    return line.case("step: every op")


def step_ignored() -> dict[str, Any]:
    line = Line("step/contested")
    line.one("step.note", {"note": text("of what?")}, why="it is not known")
    line.one("step.add", {"after": [], "priority": 0})
    line.one("step.add", {"after": [], "priority": 9}, agent="bob", why="it is added already")
    line.one("step.withdraw", {}, agent="bob", why="another agent has added it")
    line.one("step.release", {}, agent="bob", why="nobody holds it")
    line.one("step.reopen", {}, agent="bob", why="it is pending")
    line.one("step.complete", {"outcome": "complete"}, agent="bob", why="nobody holds it")
    line.one("step.claim", {"lease_ms": 10_000}, agent="alice")
    line.one("step.claim", {"lease_ms": 10_000}, agent="bob", why="it is claimed")
    line.one("step.renew", {"lease_ms": 10_000}, agent="bob", why="another agent holds it")
    line.one("step.release", {}, agent="bob", why="another agent holds it")
    line.one("step.complete", {"outcome": "complete"}, agent="bob", why="another agent holds it")
    line.one("step.reopen", {}, agent="bob", why="it is claimed")
    line.one("step.withdraw", {}, why="it is claimed")
    other = {"agent": "alice", "session": "s2", "why": "another strong session holds it"}
    line.one("step.renew", {"lease_ms": 10_000}, **other)
    line.one("step.release", {}, **other)
    line.one("step.complete", {"outcome": "complete"}, **other)
    line.one("step.move", {"lease_ms": 10_000}, **other)
    line.one("step.move", {"lease_ms": 10_000}, why="it has no expect.fence")
    line.one(
        "step.move", {"lease_ms": 9}, agent="bob", expect={"fence": 8}, why="another agent holds it"
    )
    stale = "expect.fence is not the fence"
    line.one("step.renew", {"lease_ms": 10_000}, expect={"fence": 1}, why=stale)
    line.one("step.complete", {"outcome": "done"}, why="there is no such outcome")
    take = {"fence": 8, "from": "alice", "lease_ms": 60_000}
    line.one("step.takeover", take, agent="bob", wait_s=60, why="the version has no now")
    line.one(
        "step.takeover", take | {"fence": 1}, agent="bob", now_s=0.5, why="fence is not the fence"
    )
    line.one("step.note", {"note": text("I am alive")})
    line.one("step.note", {"note": text("so am I")}, agent="alice", session="s2")
    line.one("step.takeover", take, agent="bob", now_s=0.5, why="the lease has not ended")
    line.one(
        "step.takeover",
        take,
        agent="bob",
        wait_s=9,
        now_s=8.9,
        why="the second after the lease's end has not passed",
    )
    line.one("step.takeover", take, agent="bob", wait_s=1, now_s=0.1)
    bobs = {"agent": "bob", "expect": {"fence": line.head.seq}}
    line.one("step.complete", {"outcome": "needs_review"}, **bobs)
    line.one("step.complete", {"outcome": "needs_review"}, agent="bob", why="it is so already")
    line.one("step.complete", {"outcome": "complete"}, **bobs)
    line.one("step.complete", {"outcome": "failed"}, agent="bob", why="it is complete")
    return line.case("step: events that are ignored, and a lease that ends")


def wrong_clocks() -> dict[str, Any]:
    line = Line("step/clocks")
    line.one("step.claim", {"lease_ms": 600_000})
    # It says that the claim was stored an hour earlier than it was.
    line.one("step.note", {"note": text("soon mine")}, agent="bob", early_s=3600)
    take = {"fence": 1, "from": "alice", "lease_ms": 60_000}
    why = "the lease has not ended"
    line.one("step.takeover", take, agent="bob", wait_s=400, now_s=399, why=why)
    why = "now is over 120 seconds after the version's at"
    slow = {"wait_s": 400, "now_s": 399, "slow_s": 300}
    line.one("step.takeover", take, agent="bob", why=why, **slow)
    slow = {"wait_s": 400, "now_s": 399, "slow_s": 118}
    line.one("step.takeover", take, agent="bob", **slow)
    return line.case("step: stamps that are not believed")


def void_steps() -> dict[str, Any]:
    line = Line("step/void")
    line.one("step.claim", {"lease_ms": 60_000})
    line.add(by="bob")
    line.one("step.note", {"note": text("still mine")})
    return line.case("step: a void version records the stamp of the claim")


BODIES: dict[str, list[tuple[str, Any]]] = {
    "memory": [
        ("memory.set", {"type": "text"}),
        ("memory.set", {"type": "text", "value": 1}),
        ("memory.set", {"type": "list", "value": []}),
        ("memory.set", {"type": "text", "value": "x", "blob": digest(b"x"), "size": 1}),
        ("memory.set", {"type": "json", "blob": "../../x", "size": 1}),
        ("memory.set", {"type": "json", "text": "{"}),
        ("memory.incr", {}),
        ("memory.incr", {"by": "1"}),
        ("memory.incr", {"by": True}),
        ("memory.incr", {"by": 2**63}),
        ("memory.append", {"added": text("x")}),
        ("memory.append", {"added": inline(1), "separator": "\n"}),
        ("memory.delete", {"reverts": "x"}),
    ],
    "step": [
        ("step.add", {"after": ["a,b"], "priority": 0}),
        ("step.add", {"after": [], "priority": 2**31}),
        ("step.add", {"after": ["a", "a"], "priority": 0}),
        ("step.claim", {}),
        ("step.claim", {"lease_ms": 99}),
        ("step.claim", {"lease_ms": 10**15}),
        ("step.claim", {"lease_ms": 1000, "seen": {"a": 0}}),
        ("step.note", {"note": "x"}),
        ("step.complete", {"outcome": "claimed"}),
        ("step.complete", {"outcome": "complete", "force": 1}),
    ],
    "inbox": [
        ("message.send", {"text": "x", "to": ["bob"]}),
        ("message.send", {"text": inline(1), "to": ["bob"]}),
        ("message.send", {"text": text("x"), "to": []}),
        ("message.send", {"text": text("x"), "to": ["bob", "bob"]}),
        ("message.send", {"text": text("x"), "to": ["a,b"]}),
        ("message.send", {"text": text("x"), "to": ["bob"], "urgent": 1}),
    ],
    "read": [
        ("message.ack", {"ranges": [[2, 1]], "version": 0}),
        ("message.ack", {"ranges": [[0, 1]], "version": 0}),
        ("message.ack", {"ranges": [[1]], "version": 0}),
        ("message.ack", {"ranges": [], "version": -1}),
    ],
    "barrier": [
        ("barrier.arrive", {"parties": 0}),
        ("barrier.arrive", {"parties": 1001}),
        ("barrier.arrive", {"parties": "2"}),
    ],
    "artifact": [("artifact.put", {"blob": "x", "size": 1})],
    "tag": [("tag.set", {"at": "soon"}), ("tag.set", {"at": "2026-02-30T00:00:00.000000Z-0000"})],
    "pack": [("pack.floor", {"floor": "2026"})],
}


def bodies() -> list[dict[str, Any]]:
    """Return a case for each kind: events whose bodies are not what their ops ask for."""
    cases = []
    for kind in KINDS:
        rows = BODIES.get(kind, [])
        line = Line("pack/log" if kind == "pack" else f"{kind}/bob")
        line.one(f"{kind}.unheard", {}, why="the op is not known")
        for op, body in rows:
            line.one(op, body, why="the body is not what the op asks for")
        if kind == "memory":
            elsewhere = "it was made for another chain"
            line.one("memory.set", text("x"), chains=["memory/other"], why=elsewhere)
        cases.append(line.case(f"{kind}: bodies that are not what their ops ask for"))
    return cases


def inboxes() -> list[dict[str, Any]]:
    everybody = Line("inbox/@all")
    for number in range(3):
        everybody.one(
            "message.send", {"text": text(f"to all {number}"), "to": ["@all"]}, agent="zoe"
        )
    mine = Line("inbox/bob", begin_s=60)
    mine.one("message.send", {"text": text("hi"), "to": ["bob"]}, key="k-1")
    merge = {"after": 0, "chain": "inbox/@all", "count": 2, "taken": 2, "through": 2}
    mine.add(
        mine.event("message.send", {"text": text("one"), "to": ["bob"]}),
        mine.event(
            "message.send",
            {"text": text("two"), "to": ["bob", "carol"], "step": "build"},
            chains=["inbox/bob", "inbox/carol"],
            agent="carol",
        ),
        merge=merge,
    )
    mine.add(
        merge={"after": 2, "chain": "inbox/@all", "count": 3, "taken": 1, "through": 3}, by="bob"
    )
    # Behind what is merged already: it is ignored, and no writer makes it.
    mine.add(
        mine.event("message.send", {"text": text("late"), "to": ["bob"]}),
        merge=merge,
    )
    read = Line("read/bob", begin_s=120)
    read.one("message.ack", {"ranges": [[1, 2], [4, 4]], "version": 1}, agent="bob")
    read.one("message.ack", {"ranges": [[3, 3], [6, 9]], "version": 0}, agent="bob")
    return [
        everybody.case("inbox/@all: broadcasts"),
        mine.case("inbox: direct messages, merges, a merge that is ignored"),
        read.case("read: acknowledgements"),
    ]


def barrier() -> dict[str, Any]:
    line = Line("barrier/gate")
    line.one("barrier.arrive", {"parties": 3})
    line.one("barrier.arrive", {"parties": 3}, why="the agent has arrived already")
    line.one("barrier.arrive", {"parties": 2}, agent="bob", why="it forms for 3 parties")
    line.one("barrier.leave", {"generation": 2}, why="it is another generation")
    line.one("barrier.leave", {"generation": 1}, agent="bob", why="the agent has not arrived")
    line.one("barrier.arrive", {"parties": 3}, agent="bob")
    line.one("barrier.leave", {"generation": 1})
    line.one("barrier.leave", {"generation": 1}, agent="bob")
    line.one("barrier.arrive", {"parties": 2}, agent="bob")
    line.one("barrier.arrive", {"parties": 2}, agent="carol")
    line.one("barrier.arrive", {"parties": 1}, agent="carol")
    return line.case("barrier: arrive, leave, the next generation")


def rest() -> list[dict[str, Any]]:
    artifact = Line("artifact/report.md")
    artifact.one("artifact.put", {"blob": digest(b"one"), "size": 3})
    artifact.one("artifact.put", {"blob": digest(b"other"), "size": 5, "step": "build"})
    agent = Line("agent/alice")
    agent.one("agent.join", {})
    agent.one("agent.join", {}, session="another")
    tag = Line("tag/v1")
    tag.one("tag.set", {"at": "2026-11-23T19:00:00.000000Z-0000"})
    tag.one("tag.delete", {})
    return [
        artifact.case("artifact: put"),
        agent.case("agent: join"),
        tag.case("tag: set, delete"),
    ]


def packs() -> dict[str, Any]:
    line = Line("pack/log")

    def pack(name: str, hour: str) -> dict[str, Any]:
        return {
            "events": 1,
            "last": hour,
            "pack": digest(name.encode()),
            "size": 100,
            "versions": 2,
        }

    agents = {"blob": digest(b"{}"), "size": 2}

    def add(packs: list[dict[str, Any]], replaces: int, through: str) -> dict[str, Any]:
        return {"agents": agents, "packs": packs, "replaces": replaces, "through": through}

    first, second, third = "2026-11-23T10", "2026-11-23T11", "2026-11-23T12"
    line.one("pack.add", add([pack("a", first)], 0, first), expect={"version": 0})
    line.one("pack.add", add([pack("b", second)], 0, second), expect={"version": 1})
    stale = "expect.version is not the version before"
    line.one("pack.add", add([pack("c", third)], 0, third), expect={"version": 1}, why=stale)
    line.one("pack.add", add([], 0, first), expect={"version": 3}, why="through would become less")
    line.one(
        "pack.add", add([], 3, third), expect={"version": 4}, why="there are fewer packs than that"
    )
    line.one("pack.floor", {"floor": third}, expect={"version": 5}, why="it is after through")
    line.one("pack.floor", {"floor": first}, expect={"version": 6})
    line.one("pack.floor", {"floor": first}, expect={"version": 7}, why="it is not after the floor")
    line.one("pack.add", add([pack("d", third)], 2, third), expect={"version": 8})
    line.one("pack.floor", {"floor": third}, expect={"version": 9})
    return line.case("pack: add, floor, events that are ignored")


def cases() -> list[dict[str, Any]]:
    """Return all cases."""
    return [
        memory_ops(),
        memory_expectations(),
        memory_ignored(),
        memory_append(),
        step_ops(),
        step_ignored(),
        wrong_clocks(),
        void_steps(),
        *inboxes(),
        barrier(),
        *rest(),
        packs(),
        *bodies(),
    ]
