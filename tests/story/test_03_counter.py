"""Increments and appends are operations: none of them is lost, however many come at once."""

from __future__ import annotations

from collections import Counter

import pytest
from support.project import Project, Result, together

NAMES = [f"agent-{n:02}" for n in range(16)]
EACH = 25
TOTAL = len(NAMES) * EACH


def work(project: Project, verb: str, *words: str) -> list[Result]:
    """Let every agent do the same 25 times, all at once."""
    crew = project.crew(NAMES)
    commands = [
        [
            ("memory", verb, "key", *(word.format(name, nth) for word in words), "--json")
            for nth in range(EACH)
        ]
        for name in NAMES
    ]
    rows = together(crew, commands, project.folder / "gate", timeout=300)
    return [result for row in rows for result in row]


def check_history(project: Project, op: str) -> list[str]:
    """Check that all versions are there, 25 by each agent; return the authors, oldest first."""
    history = project.json("memory", "history", "key", "-n", "0")
    assert [row["version"] for row in history] == list(range(TOTAL, 0, -1))
    assert {row["op"] for row in history} == {op}
    assert len({row["id"] for row in history}) == TOTAL
    authors = [row["agent"] for row in reversed(history)]
    assert Counter(authors) == dict.fromkeys(NAMES, EACH)
    stamps = [row["at"] for row in reversed(history)]
    assert stamps == sorted(stamps)
    return authors


@pytest.mark.slow
def test_400_increments_by_16_processes_make_400(project: Project) -> None:
    told = [result.one() for result in work(project, "incr")]
    assert sorted(row["value"] for row in told) == list(range(1, TOTAL + 1))
    assert all(row["value"] == row["version"] for row in told)
    for machine in (project, project.machine()):
        (now,) = machine.json("memory", "get", "key")
        assert (now["value"], now["version"]) == (TOTAL, TOTAL)
    check_history(project, "memory.incr")


# The race for the slots is that of the increments; what is added up differs, not the store.
@pytest.mark.slow
@pytest.mark.parametrize("project", ["file"], indirect=True)
def test_400_appends_by_16_processes_make_400_lines(project: Project) -> None:
    told = [result.one() for result in work(project, "append", "{0} line {1:02}")]
    assert sorted(row["version"] for row in told) == list(range(1, TOTAL + 1))
    plain = project.run("memory", "get", "key").ok().out
    lines = plain.splitlines()
    assert sorted(lines) == [f"{name} line {nth:02}" for name in NAMES for nth in range(EACH)]
    for name in NAMES:
        mine = [line for line in lines if line.startswith(name)]
        assert mine == sorted(mine), f"{name} appended in another order"
    authors = check_history(project, "memory.append")
    assert [line.partition(" ")[0] for line in lines] == authors
    # What each was told is the text as it was then: all lines up to its own.
    for row in told:
        assert row["value"].splitlines() == lines[: row["version"]]
