"""``log.history`` answers what the commands that look back print with ``--json``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any, NamedTuple

import pytest
from cli.conftest import User

import tclog
from tclog.history.watch import Cursor

from .conftest import program_of


class Run(NamedTuple):
    """A project in which something has happened, and what its events are called."""

    user: User
    first: str  # the id of the first event: memory.set
    second: str
    middle: datetime  # a time between the two halves


STORY = (
    ("memory", "set", "k", "one\ntwo"),
    ("memory", "set", "other", "1"),
    ("step", "add", "build"),
    ("claim", "build"),
    ("tag", "middle"),
    ("send", "bob", "hello"),
    ("memory", "append", "k", "three"),
    ("note", "build", "half done"),
    ("complete", "build"),
    ("step", "add", "k"),  # a step that has the name of a key
)


@pytest.fixture
def played(project: User) -> Run:
    ids, middle = [], datetime.now(UTC)
    for words in STORY:
        done = project(*words, "--json").ok()
        if words[0] == "tag":
            middle = datetime.now(UTC)
            time.sleep(0.002)
        if words[0] == "memory":
            ids.append(json.loads(done.out)["id"])
    project("memory", "set", "k", "lost", "--if-version", "1")  # an attempt
    return Run(project, ids[0], ids[1], middle)


def plain(rows: Iterable[Any]) -> list[Any]:
    """Return what a program would write as JSON."""
    found = [row if isinstance(row, dict) else row.as_json() for row in rows]
    return json.loads(json.dumps(found))


class Case(NamedTuple):
    """A question, as a command and as a call."""

    words: Callable[[Run], list[str]]
    ask: Callable[[tclog.Log, Run], Iterable[Any]]


CASES: dict[str, Case] = {
    "log": Case(lambda _: ["log"], lambda log, _: log.history.log()),
    "log, all options": Case(
        lambda run: ["log", "--agent", "alice", "--op", "memory.*", "--chain", "memory/k", "--grep",
                     "o", "--since", run.first, "--until", "now", "--attempts", "--reverse"],
        lambda log, run: log.history.log(
            agent="alice", op="memory.*", chain="memory/k", text="o", since=run.first, until="now",
            attempts=True, reverse=True,
        ),
    ),
    "log, streamed": Case(lambda _: ["log"], lambda log, _: log.history.log(at_once=2)),
    "log -n": Case(lambda _: ["log", "-n", "3"], lambda log, _: islice(log.history.log(), 3)),
    "show": Case(
        lambda run: ["show", run.second[:12]], lambda log, run: [log.history.show(run.second[:12])]
    ),
    "state": Case(lambda _: ["state"], lambda log, _: log.history.state()),
    "state --at": Case(
        lambda _: ["state", "--at", "middle"], lambda log, _: log.history.state("middle")
    ),
    "diff": Case(
        lambda run: ["diff", run.first], lambda log, run: log.history.diff(run.first)
    ),
    "diff A B": Case(
        lambda run: ["diff", "now", run.first], lambda log, run: log.history.diff("now", run.first)
    ),
    "blame": Case(lambda _: ["blame", "k"], lambda log, _: log.history.blame("k")),
    "blame --step": Case(
        lambda _: ["blame", "build", "--step", "--at", "middle"],
        lambda log, _: log.history.blame("build", kind="step", at="middle"),
    ),
    "replay": Case(
        lambda run: ["replay", "--from", run.first, "--attempts"],
        lambda log, run: log.history.replay(since=run.first, attempts=True),
    ),
    "watch": Case(
        lambda _: ["watch", "--from", "1h", "--count", "5"],
        lambda log, _: islice(log.history.watch(since="1h"), 5),
    ),
    "watch, filtered": Case(
        lambda run: ["watch", "--from", run.first, "--op", "step.*", "--count", "3"],
        lambda log, run: islice(log.history.watch(since=run.first, op="step.*"), 3),
    ),
    "tags": Case(lambda _: ["tag"], lambda log, _: log.history.tags()),
    "tags --at": Case(
        lambda run: ["tag", "--at", run.first], lambda log, run: log.history.tags(run.first)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_question_has_the_answer_of_the_command(played: Run, name: str) -> None:
    case = CASES[name]
    printed = played.user(*case.words(played), "--json").objects()
    assert printed or name == "tags --at"
    with program_of(played.user), tclog.open() as log:
        assert plain(case.ask(log, played)) == printed


def test_writes_answer_as_the_commands_do(played: Run) -> None:
    """Each is done by a call, then by a command under the same key: it is one event."""
    user, first = played.user, played.first
    with program_of(user), tclog.open() as log:
        mine = log.history.revert(played.second, id="key")
        assert plain([mine]) == user("revert", played.second, "--id", "key", "--json").objects()
        tagged = log.tags.set("here", at=log.history.point(first))
        assert [tag.hlc for tag in log.history.tags() if tag.name == "here"] == [tagged.hlc]
        assert log.history.state("here") == log.history.state(first)
        log.tags.delete("here")
        assert [tag.name for tag in log.history.tags()] == ["middle"]


def test_a_moment_may_be_written_in_many_ways(played: Run) -> None:
    us = int(played.middle.timestamp() * 1_000_000)
    zone = timezone(timedelta(hours=5, minutes=30))
    moments = [
        "middle",
        played.middle,
        played.middle.astimezone(zone),
        played.middle.replace(tzinfo=None),
        us,
        played.middle.isoformat(),
    ]
    with program_of(played.user), tclog.open() as log:
        answers = [
            [
                (item.chain, item.shown["version"])
                for item in log.history.state(moment)
                if item.group in ("memory", "steps")
            ]
            for moment in moments
        ]
        now = [(item.chain, item.shown.get("version")) for item in log.history.state()]
        assert all(answer == answers[0] for answer in answers)
        assert ("memory/k", 1) in answers[0]
        assert ("memory/k", 2) in now
        for bad in ("", "2026-13-01", "no-such-tag", "ffffffff"):
            with pytest.raises(tclog.TclogError):
                log.history.state(bad)


def test_each_question_sees_what_was_committed_before_it(played: Run) -> None:
    with program_of(played.user), tclog.open() as log:
        before = len(list(log.history.log()))
        played.user("memory", "set", "new", "v").ok()
        assert len(list(log.history.log())) == before + 1
        log.memory.set("newer", "v")
        newest = next(log.history.log())
        assert (newest.event.op, list(newest.event.chains)) == ("memory.set", ["memory/newer"])


def test_a_watch_goes_on_where_another_stood(played: Run) -> None:
    with program_of(played.user), tclog.open() as log:
        whole = [row.event.id for row in islice(log.history.watch(since="1h"), 6)]
        watch = log.history.watch(since="1h")
        first = [row.event.id for row in islice(watch, 2)]
        cursor = watch.cursor
        assert isinstance(cursor, Cursor)
    with program_of(played.user), tclog.open() as log:
        rest = [row.event.id for row in islice(log.history.watch(cursor=cursor), 4)]
        assert first + rest == whole
        with pytest.raises(tclog.WaitTimeout):
            next(log.history.watch(timeout_s=0.1, interval_s=0.05))


def test_a_moment_that_is_not_settled_is_said_to_be_so(played: Run) -> None:
    with program_of(played.user), tclog.open() as log:
        log.history.diff(played.first)
        assert [text for text in log.warnings if "not settled" in text]
        log.history.blame("k")
        assert "k is also a step: tclog blame k --step" in log.warnings


def test_a_log_without_a_cache_keeps_its_index_in_memory(played: Run) -> None:
    with program_of(played.user):
        mine = tclog.open(".tclog/store", project="work")
        assert plain(mine.history.log()) == played.user("log", "--json").objects()
        mine.close()
        with pytest.raises(tclog.UsageError, match="closed"):
            mine.history.state()


def test_a_name_that_is_neither_is_said_to_be_so(played: Run) -> None:
    with program_of(played.user), tclog.open() as log, pytest.raises(tclog.NotFound) as missing:
        log.history.blame("nothing")
    assert missing.value.code == "name-missing"
