"""The whole public API, as a program uses it. Nothing runs: mypy and pyright check the types.

``assert_type`` fails where a signature has lost its types, since anything would then be ``Any``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_type

import tclog
from tclog.clock import Hlc
from tclog.history.blame import Blame
from tclog.history.diff import Change
from tclog.history.log import Row
from tclog.history.replay import Beat
from tclog.history.revert import Reverted
from tclog.history.state import Item
from tclog.history.watch import Cursor, Watching
from tclog.log.inbox import Mailbox


def opening() -> None:
    with tclog.open() as log:
        assert_type(log, tclog.Log)
    assert_type(tclog.open("./store", agent="alice", create=True), tclog.Log)
    settings: Mapping[str, Any] = {"addressing": "path"}
    tclog.open("s3://b/p", agent="alice", region="eu-central-1", s3=settings, cache=Path("cache"))
    assert_type(log.twin(session="mine"), tclog.Log)
    assert_type(log.agent, str)
    assert_type(log.warnings, Sequence[str])
    assert_type(log.left_out, Mapping[str, tclog.Damaged])
    log.close()


def memory(log: tclog.Log) -> None:
    assert_type(log.memory.set("k", {"v": 1}, if_version=3, id="key"), tclog.Memory)
    assert_type(log.memory.set("k", "text", if_absent=True), tclog.Memory)
    found = log.memory.get("k", at=log.history.point("10m ago"))
    assert_type(found, tclog.Memory)
    assert_type((found.key, found.version, found.agent, found.at), tuple[str, int, str, str])
    assert_type(log.memory.list("prefix"), list[tclog.Memory])
    assert_type(log.memory.delete("k"), tclog.Memory)
    assert_type(log.memory.incr("n", 2), tclog.Memory)
    assert_type(log.memory.append("k", "line"), tclog.Memory)
    for version in log.memory.history("k"):
        assert_type(version, tclog.Memory)
    log.memory.set("k")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    log.memory.set("k", 1, if_version="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def steps(log: tclog.Log) -> None:
    assert_type(log.steps.add("build", title="Build it", after=["design"]), tclog.Step)
    step = log.steps.claim("build", lease_s=600)
    assert_type(step, tclog.Step)
    assert_type((step.state, step.fence, step.waiting), tuple[str, int | None, tuple[str, ...]])
    assert_type(log.steps.claim(next=True, wait=True, timeout_s=5), tclog.Step)
    assert_type(log.steps.renew("build", fence=step.fence), tclog.Step)
    assert_type(log.steps.note("build", "half done"), tclog.Step)
    assert_type(log.steps.complete("build", outcome="failed", to="bob"), tclog.Step)
    assert_type(log.steps.release("build", force=True, reason="stuck"), tclog.Step)
    assert_type(log.steps.reopen("build"), tclog.Step)
    assert_type(log.steps.list(state="ready"), list[tclog.Step])
    assert_type(log.steps.show("build"), tclog.Step)
    assert_type(log.wait_for("build", "design", count=1), list[tclog.Step])
    with log.steps.hold("build", lease_s=600) as claim:
        assert_type(claim, tclog.Hold)
        assert_type((claim.step, claim.fence), tuple[str, int])
        assert_type(claim.lost, tclog.TclogError | None)
        claim.check()
    log.steps.hold(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def messages_and_more(log: tclog.Log) -> None:
    assert_type(log.send("bob,carol", "hello", step="build"), tclog.Message)
    mail = log.inbox(all=True)
    assert_type(mail, Mailbox)
    for message in mail.messages:
        assert_type((message.n, message.sender, message.text), tuple[int, str, str])
    assert_type(log.ack(mail), tclog.Message | None)
    log.ack(3)
    assert_type(log.barrier("ready", parties=3, timeout_s=60), tclog.Barrier)
    assert_type(log.agents(), list[tclog.Agent])
    assert_type(log.artifacts.put(Path("report.md"), step="build"), tclog.Artifact)
    assert_type(log.artifacts.get("report.md", "copy.md"), tclog.Artifact)
    assert_type(log.artifacts.list(), list[tclog.Artifact])
    for version in log.artifacts.history("report.md"):
        assert_type(version, tclog.Artifact)
    assert_type(log.tags.set("kickoff", at=log.history.point("2h")), tclog.Tag)
    assert_type(log.tags.list(), list[tclog.Tag])
    assert_type(log.tags.delete("kickoff"), tclog.Tag)


def together(log: tclog.Log) -> None:
    transaction = log.transaction()
    assert_type(transaction.memory_incr("budget.alice", -5), int)
    transaction.memory_incr("budget.bob", 5)
    results = log.transact(transaction, id="key")
    assert_type(results, list[tclog.Memory | tclog.Message | tclog.Step])


def looking_back(log: tclog.Log) -> None:
    history = log.history
    rows = history.log(op="step.*", since="2h", until=datetime.now(UTC), attempts=True)
    assert_type(rows, Iterator[Row])
    for row in rows:
        assert_type((row.event.agent, row.at), tuple[str, Hlc])
        assert_type(row.as_json(), dict[str, Any])
    assert_type(history.show("4d579556"), Mapping[str, Any])
    assert_type(history.state(1_700_000_000_000_000), list[Item])
    assert_type(history.diff("yesterday", "kickoff"), list[Change])
    assert_type(history.blame("api.contract", kind="memory"), list[Blame])
    assert_type(history.replay(since="1h"), Iterator[Beat])
    watch = history.watch(since="1h", op="memory.*", timeout_s=60)
    assert_type(watch, Watching)
    for row in watch:
        assert_type(row, Row)
        assert_type(watch.cursor, Cursor | None)
    assert_type(history.tags("1h"), list[tclog.Tag])
    assert_type(history.revert("4d579556", force=True), Reverted)
    assert_type(history.point("10m ago"), Hlc | None)
    history.state(1.5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def errors(log: tclog.Log) -> None:
    try:
        log.steps.claim("build")
    except tclog.Refused as refused:
        assert_type((refused.code, refused.message, refused.hint), tuple[str, str, str])
    except (tclog.NotFound, tclog.OutcomeUnknown, tclog.StoreError, tclog.UsageError) as error:
        assert_type(error.exit, int)
