"""Inboxes: one order for everybody, nothing lost, nothing twice, broadcasts in their places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from support.project import Machine, Project, Result, side_by_side, together

SENDERS = [f"sender-{n:02}" for n in range(16)]
EACH = 25


def read_all(machine: Machine, agent: str) -> list[dict[str, Any]]:
    """Return an inbox as a machine sees it."""
    return machine.json("inbox", "--all", agent=agent)


def check_dense(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that messages are numbered 1, 2, 3, ... and that none is there twice."""
    assert [message["n"] for message in messages] == list(range(1, len(messages) + 1))
    assert len({message["id"] for message in messages}) == len(messages)


def check_time(messages: Iterable[Mapping[str, Any]], sent: Mapping[str, Result]) -> None:
    """Check that what was sent after another message was acknowledged comes after it.

    The worker of a message noted when its command began and ended, by the clock that all
    processes of this machine share.
    """
    known = [sent[message["id"]] for message in messages if message["id"] in sent]
    latest = float("-inf")
    for result in known:
        assert result.ended > latest, f"{result} stands after a message that was sent after it"
        latest = max(latest, result.begun)


def by_id(results: Iterable[Result]) -> dict[str, Result]:
    """Return the sends among the results by the id of their message."""
    return {result.one()["id"]: result for result in results if result.args[0] == "send"}


@pytest.mark.slow
def test_400_messages_of_16_senders_have_one_order(project: Project) -> None:
    def words(sender: str, nth: int) -> tuple[str, ...]:
        return ("send", "hub", f"{sender} says {nth}", "--json")

    crew = project.crew(SENDERS[1:])
    commands = [[words(sender, nth) for nth in range(EACH)] for sender in SENDERS[1:]]

    def plainly() -> list[Result]:
        """Send as a shell would: a process for each message."""
        return [project.run(*words(SENDERS[0], nth), agent=SENDERS[0]) for nth in range(EACH)]

    plain, *worked = side_by_side(
        plainly, lambda: together(crew, commands, project.folder / "gate", timeout=300)
    )
    (rows,) = worked
    told = [*plain, *(result for row in rows for result in row)]
    assert {result.code for result in told} == {0}
    assert len({result.one()["id"] for result in told}) == len(SENDERS) * EACH

    readers = [project, project.machine(), project.machine()]
    seen = [read_all(reader, "hub") for reader in readers]
    assert seen[0] == seen[1] == seen[2]
    check_dense(seen[0])
    assert len(seen[0]) == len(SENDERS) * EACH
    assert {message["id"] for message in seen[0]} == {result.one()["id"] for result in told}
    for sender in SENDERS:
        texts = [message["text"] for message in seen[0] if message["from"] == sender]
        assert texts == [f"{sender} says {nth}" for nth in range(EACH)]
    check_time(seen[0], by_id(result for row in rows for result in row))

    assert read_all(readers[1], "hub") == seen[0], "reading has changed something"
    # Senders that lose races share versions: tests/simulation/test_combining.py.
    assert len(project.objects.keys("chains/inbox/hub/")) <= len(SENDERS) * EACH
    assert not project.objects.keys("pending/")


TEAM = [f"agent-{n}" for n in range(6)]


def plan(nth: int) -> list[tuple[str, ...]]:
    """Return what one agent of the team does: direct messages, broadcasts, and reading."""
    me, right, left = TEAM[nth], TEAM[(nth + 1) % len(TEAM)], TEAM[nth - 1]
    targets = ["@all", right, f"{left},{right}", "@all", "@all", left, right, "@all"]
    commands: list[tuple[str, ...]] = []
    for turn, to in enumerate(targets):
        commands.append(("send", to, f"{me} turn {turn}", "--json"))
        if (turn + nth) % 3 == 0:
            commands.append(("inbox", "--all", "--json"))
    return commands


@pytest.mark.slow
def test_broadcasts_and_direct_messages_share_one_order(project: Project) -> None:
    crew = project.crew(TEAM)
    commands = [plan(nth) for nth in range(len(TEAM))]
    rows = together(crew, commands, project.folder / "gate", timeout=300)
    assert {result.code for row in rows for result in row} == {0}
    sent = by_id(result for row in rows for result in row)
    other = project.machine()
    orders = []
    for name, row in zip(TEAM, rows, strict=True):
        seen = read_all(project, name)
        assert read_all(other, name) == seen
        check_dense(seen)
        check_time(seen, sent)
        mine = {id_ for id_, result in sent.items() if goes_to(result, name)}
        assert {message["id"] for message in seen} == mine
        for sender in TEAM:
            texts = [message["text"] for message in seen if message["from"] == sender]
            assert texts == sorted(texts), f"the order of {sender} is lost at {name}"
        check_numbers_were_final(seen, row)
        check_unread(project, name, seen)
        orders.append([message["id"] for message in seen if message["to"] == "@all"])
    assert all(order == orders[0] for order in orders), "broadcasts stand in different orders"


def goes_to(result: Result, agent: str) -> bool:
    """Whether a send was for an agent."""
    return result.args[1] == "@all" or agent in result.args[1].split(",")


def check_numbers_were_final(seen: Sequence[Mapping[str, Any]], row: Sequence[Result]) -> None:
    """Check that what the agent read in between stands in the same places at the end."""
    final = {message["n"]: message["id"] for message in seen}
    reads = [result.json() for result in row if result.args[0] == "inbox"]
    assert reads
    for messages in reads:
        check_dense(messages)
        for message in messages:
            assert final[message["n"]] == message["id"]


def check_unread(project: Project, name: str, seen: Sequence[Mapping[str, Any]]) -> None:
    """Check that own broadcasts are never unread, and that acknowledging takes the rest."""
    own = {m["n"] for m in seen if m["from"] == name and m["to"] == "@all"}
    assert own, "the agent has sent broadcasts"
    unread = [message["n"] for message in project.json("inbox", agent=name)]
    assert unread == [message["n"] for message in seen if message["n"] not in own]
    acknowledged = project.json("inbox", "--ack", agent=name)
    assert [message["n"] for message in acknowledged] == unread
    assert project.json("inbox", agent=name) == []
    again = read_all(project, name)
    assert [(m["n"], m["id"]) for m in again] == [(m["n"], m["id"]) for m in seen]
    assert not any(message["unread"] for message in again)


@pytest.mark.slow
def test_what_follows_an_acknowledged_broadcast_comes_after_it_everywhere(
    project: Project,
) -> None:
    """Everybody answers the broadcast to everybody, on machines that have never seen ``@all``."""
    everybody = ",".join(TEAM)
    broadcast = project.json("send", "@all", "the schema is frozen", agent="lead")[0]["id"]
    machines = [project.machine() for _ in TEAM]
    crew = [machine.worker(name) for machine, name in zip(machines, TEAM, strict=True)]
    commands = [[("send", everybody, f"{name} heard it", "--json")] for name in TEAM]
    rows = together(crew, commands, project.folder / "gate")
    assert {row[0].code for row in rows} == {0}
    for machine, name in zip(machines, TEAM, strict=True):
        seen = read_all(machine, name)
        check_dense(seen)
        assert seen[0]["id"] == broadcast
        assert sorted(message["from"] for message in seen[1:]) == TEAM


@pytest.mark.slow
def test_a_newcomer_takes_in_300_broadcasts_with_one_version(project: Project) -> None:
    crew = project.crew(["alice", "bob", "carol"])
    commands = [
        [("send", "@all", f"{worker.agent} says {nth:03}", "--json") for nth in range(100)]
        for worker in crew
    ]
    rows = together(crew, commands, project.folder / "gate", timeout=300)
    sent = {result.one()["id"] for row in rows for result in row}
    assert len(sent) == 300

    seen = project.json("inbox", agent="newcomer")
    check_dense(seen)
    assert {message["id"] for message in seen} == sent
    assert len(project.objects.keys("chains/inbox/newcomer/")) == 1

    # One that is sent to first has the broadcasts before the message, in the same version.
    project.run("send", "latecomer", "welcome", agent="alice").ok()
    seen = project.json("inbox", agent="latecomer")
    check_dense(seen)
    assert [message["text"] for message in seen if message["to"] != "@all"] == ["welcome"]
    assert (len(seen), seen[-1]["text"]) == (301, "welcome")
    assert len(project.objects.keys("chains/inbox/latecomer/")) == 1

    # And one that has sent broadcasts itself has none of them unread.
    unread = project.json("inbox", agent="alice")
    assert len(unread) == 200
    assert {message["from"] for message in unread} == {"bob", "carol"}
    assert len(project.json("inbox", "--all", agent="alice")) == 300
