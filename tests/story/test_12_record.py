"""A run of eight agents, recorded: what each saw at the time is what history says of that moment.

The agents work through the real command line in processes of their own, and the test keeps what
they were told. Afterwards every value, claim and inbox that was shown to somebody is asked for
again: all of them of the index, a sample by ``--at`` on the command line.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from support.project import Project, Result, side_by_side

from tclog.chain.drive import run
from tclog.clock import last_of, parse_us
from tclog.event import ChainId, chain_id
from tclog.history.snapshot import show_chain
from tclog.index import Index
from tclog.store.memory import MemoryStore

AGENTS = 8
COMMANDS = 460
SAMPLE = 40
# Through a bucket a command costs several times as much, and history asks the same index.
BUCKET_SHARE = 4
STEPS = [f"s{n}" for n in range(12)] + ["docs/page 1", "étape ✓"]
KEYS = ["api.contract", "db/schema", "план", "k 🙂", *(f"k{n}" for n in range(8))]
# What is only told where it is asked for, and what is told of the present beside a version.
_NOT_COMPARED = {"type", "op", "note", "note_by", "handoff", "waiting"}


class Seen(NamedTuple):
    """An object that an agent was shown, and the moment that it was true of."""

    chain: ChainId
    moment: str
    record: dict[str, Any]


def work(number: int, count: int) -> Iterator[list[str]]:
    """Return what an agent does."""
    rng = random.Random(f"record {number}")
    for nth in range(count):
        key, step = rng.choice(KEYS), rng.choice(STEPS)
        other = f"agent-{rng.randrange(AGENTS)}"
        text = f"{number} {nth} ✓"
        writes = [
            ["memory", "set", key, text],
            ["memory", "set", key, text],
            ["memory", "set", key, text, "--if-version", str(rng.randrange(9))],
            ["memory", "set", key, f'{{"n":{nth}}}', "--type", "json"],
            ["memory", "incr", "counter", "--by", str(rng.randrange(-2, 5))],
            ["memory", "incr", "counter"],
            ["memory", "append", "journal", text],
            ["memory", "append", f"journal.{number}", text],
            ["memory", "delete", key],
            ["send", other, text],
            ["send", f"{other},agent-{number}", text],
            ["send", "@all", text],
            ["step", "add", step, "--title", f"step {step}"],
            ["claim", step, "--lease", rng.choice(["200ms", "30m"])],
            ["claim", step],
            ["renew", step],
            ["note", step, text],
            ["note", step, text],
            ["release", step],
            ["complete", step, "--note", text, "--to", other],
            ["complete", step, "--failed"],
            ["reopen", step],
        ]
        reads = [
            ["memory", "get", key],
            ["memory", "get", "counter"],
            ["memory", "list", "--values"],
            ["inbox", "--all"],
            ["inbox", "--ack"],
            ["step", "show", step],
        ]
        yield [*rng.choice(writes if rng.random() < 0.85 else reads), "--json"]


def record(project: Project, share: int) -> list[tuple[str, Result]]:
    """Let the agents work beside each other; return all that they were told."""
    workers = project.crew([f"agent-{n}" for n in range(AGENTS)])
    for number, worker in enumerate(workers):
        worker.post(list(work(number, COMMANDS // share)))
    told = []
    for worker in workers:
        told += [(worker.agent, result) for result in worker.results(300)]
    for _, result in told:
        assert result.code in (0, 3, 4), result
    return told


def seen_in(told: list[tuple[str, Result]]) -> list[Seen]:
    """Return every value and step that somebody was shown, with its moment."""
    seen = []
    for _, result in told:
        for found in result.json() if result.code == 0 else []:
            if found["type"] == "memory" and found.get("id"):
                seen.append(Seen(chain_id("memory", found["key"]), found["id"], found))
            elif found["type"] == "step" and found["version"]:
                seen.append(Seen(chain_id("step", found["id"]), found["at"], found))
    return seen


def same(told: dict[str, Any], found: dict[str, Any] | None) -> None:
    """Compare what was told with what is told of that moment later."""
    if told.get("deleted") or (told["type"] == "memory" and found is None):
        assert found is None or found.get("deleted"), (told, found)
        return
    if found is None and told["type"] == "step" and told["fence"] is None:
        assert told["state"] in ("ready", "pending"), told
        return  # only noted, never defined nor claimed: no list and no state shows such a step
    assert found is not None, told
    common = (told.keys() & found.keys()) - _NOT_COMPARED
    until = [record.get("lease_until") for record in (told, found)]
    if told["type"] == "step" and None not in until:
        # A bucket stamps in whole seconds; whoever has just written does not know the stamp yet.
        assert abs(parse_us(until[0]) - parse_us(until[1])) < 2_000_000, (told, found)
        common -= {"lease_until"}
    assert {name: told[name] for name in common} == {name: found[name] for name in common}


@pytest.mark.slow
def test_every_state_that_was_seen_is_what_history_says(project: Project) -> None:
    share = BUCKET_SHARE if project.site.url.startswith("s3://") else 1
    told = record(project, share)
    seen = seen_in(told)
    project.run("sync").ok()
    counts = project.run("sync", "--json").ok().one()
    assert counts["events"] > 2000 // share, counts
    assert len(seen) > 1500 // share
    (path,) = (project.folder / "cache").glob("*/*/index-*/")
    index = Index(path.parent)
    try:
        for one in seen:
            look_again(index, one)
        inboxes = list(inboxes_in(index, told))
    finally:
        index.close()
    assert len(inboxes) > 30 // share
    rng = random.Random(1)
    sample = rng.sample(inboxes, min(len(inboxes), SAMPLE // 2))
    by_command_line(project, rng.sample(seen, SAMPLE // share), sample)
    whole_states(project, seen, [one for one in rng.sample(seen, 60) if len(one.moment) == 64][:6])


def look_again(index: Index, one: Seen) -> None:
    """Ask the index for a chain at the moment of an event, or of a stamp."""
    if len(one.moment) == 64:
        at = next(
            version.at
            for version in index.versions(one.chain)
            if any(event.id == one.moment for event in version.events)
        )
    else:
        at = last_of(parse_us(one.moment))
    head = index.version_at(one.chain, at)
    assert head is not None, one
    assert head.seq == one.record["version"], one
    same(one.record, run(show_chain(index, one.chain, head, at), MemoryStore()))


class Inbox(NamedTuple):
    """A whole inbox that its agent was shown, and the version that it stood at."""

    agent: str
    version: str
    messages: list[dict[str, Any]]


def inboxes_in(index: Index, told: list[tuple[str, Result]]) -> Iterator[Inbox]:
    """Return every whole inbox that was shown, with the version whose last message it ends with."""
    for agent, result in told:
        if result.args[:2] != ("inbox", "--all") or result.code:
            continue
        messages = result.json()
        if not messages:
            continue
        versions = index.versions(chain_id("inbox", agent))
        count = messages[-1]["n"]
        (version,) = [v for v in versions if v.state["count"] == count]
        yield Inbox(agent, version.id, messages)


def by_command_line(project: Project, seen: list[Seen], inboxes: list[Inbox]) -> None:
    """Ask again with --at, for a sample."""

    def ask(agent: str, commands: list[list[str]]) -> list[Result]:
        worker = project.worker(agent)
        worker.post(commands)
        return worker.results(240)

    commands = []
    for one in seen:
        name = one.chain.partition("/")[2]
        what = ["memory", "get"] if one.chain.startswith("memory/") else ["step", "show"]
        commands.append([*what, name, "--at", one.moment, "--json"])
    half = len(commands) // 2
    first, second = side_by_side(
        lambda: ask("reader-1", commands[:half]), lambda: ask("reader-2", commands[half:])
    )
    for one, result in zip(seen, first + second, strict=True):
        if one.record.get("deleted"):
            assert result.code == 3, result
        else:
            same(one.record, result.one())
    asked = [
        ["inbox", "--all", "--as", one.agent, "--at", one.version, "--json"] for one in inboxes
    ]
    for one, result in zip(inboxes, ask("reader-3", asked), strict=True):
        found = result.ok().json()
        fields = ("n", "id", "from", "to", "text", "at")
        assert [[m[f] for f in fields] for m in found] == [
            [m[f] for f in fields] for m in one.messages
        ]


def whole_states(project: Project, seen: list[Seen], moments: list[Seen]) -> None:
    """Ask for everything at a few moments: each object in it is one that was seen, if any was."""
    known = {(one.chain, one.record["version"]): one.record for one in seen}
    compared = 0
    assert moments
    for moment in moments:
        state = project.json("state", "--at", moment.moment)
        found = {}
        for record in state:
            if record["type"] in ("memory", "step"):
                chain = chain_id(record["type"], record.get("key") or record["id"])
                found[chain] = record
                if (chain, record["version"]) in known:
                    same(known[chain, record["version"]], record)
                    compared += 1
        if moment.record.get("deleted"):
            assert moment.chain not in found
        else:
            assert found[moment.chain]["version"] == moment.record["version"]
    assert compared > 20
