"""A write that asks to be protected is never lost to another, and its author is told why."""

from __future__ import annotations

from collections import Counter

from support.project import Project, together

NAMES = [f"agent-{n}" for n in range(8)]


def test_a_stale_write_is_refused_and_shows_what_is_there(project: Project) -> None:
    project.run("memory", "set", "design", "first", agent="alice").ok()
    project.run("memory", "set", "design", "second", "--if-version", "1", agent="bob").ok()
    before = project.objects.keys("chains/")

    words = ("memory", "set", "design", "mine", "--if-version", "1")
    told = project.run(*words, agent="carol")
    assert told.code == 4
    assert told.out == ""
    assert "design is at version 2, written by bob at " in told.err
    assert "expected version 1, found version 2" in told.err
    assert "hint: tclog memory get design" in told.err

    (now,) = project.json("memory", "get", "design")
    error = project.run(*words, "--json", agent="carol").error()
    assert (error["code"], error["exit"]) == ("version-conflict", 4)
    assert {name: error[name] for name in ("key", "value", "version", "agent", "at")} == {
        "key": "design",
        "value": "second",
        "version": 2,
        "agent": "bob",
        "at": now["at"],
    }
    assert error["current"] == now

    assert (now["value"], now["version"], now["agent"]) == ("second", 2, "bob")
    assert len(project.json("memory", "history", "design")) == 2
    assert project.objects.keys("chains/") == before, "a refused write has left a version"


def test_a_version_that_never_was_is_refused(project: Project) -> None:
    error = project.run(
        "memory", "set", "design", "x", "--if-version", "3", "--json", agent="alice"
    ).error()
    assert (error["code"], error["exit"], error["version"]) == ("version-conflict", 4, 0)
    assert project.run("memory", "get", "design").code == 3
    project.run("memory", "set", "design", "x", agent="alice").ok()
    assert project.run("memory", "set", "design", "y", "--if-version", "2", agent="bob").code == 4
    assert project.run("memory", "delete", "design", "--if-version", "2", agent="bob").code == 4
    assert project.json("memory", "get", "design")[0]["value"] == "x"


def test_of_8_writes_with_the_same_expectation_one_wins(project: Project) -> None:
    crew = project.crew(NAMES)
    for nth in range(5):
        commands = [
            [("memory", "set", "plan", f"{name} {nth}", "--if-version", str(nth), "--json")]
            for name in NAMES
        ]
        rows = together(crew, commands, project.folder / f"gate-{nth}")
        check_one_winner(project, "plan", [row[0] for row in rows], version=nth + 1)


def test_of_8_writes_if_absent_one_wins(project: Project) -> None:
    crew = project.crew(NAMES)
    for nth in range(4):
        commands = [
            [("memory", "set", "plan", f"{name} {nth}", "--if-absent", "--json")] for name in NAMES
        ]
        rows = together(crew, commands, project.folder / f"gate-{nth}")
        # A key whose value was deleted is absent again; its version numbers go on.
        check_one_winner(project, "plan", [row[0] for row in rows], version=2 * nth + 1)
        project.run("memory", "delete", "plan", agent="cleaner").ok()


def check_one_winner(project: Project, key: str, results: list, version: int) -> None:
    """Check that one write went through, and that all others were told whose."""
    assert Counter(result.code for result in results) == {0: 1, 4: len(NAMES) - 1}, results
    (won,) = [result.one() for result in results if result.code == 0]
    assert won["version"] == version
    (now,) = project.json("memory", "get", key)
    assert now == won
    for result in results:
        if result.code == 4:
            error = result.error()
            assert error["code"] == "version-conflict"
            assert (error["agent"], error["value"]) == (won["agent"], won["value"])
            assert error["version"] == version
            assert f"written by {won['agent']} at {won['at']}" in error["message"]


def test_a_stale_write_is_told_that_the_key_was_deleted(project: Project) -> None:
    project.run("memory", "set", "design", "first", agent="alice").ok()
    project.run("memory", "delete", "design", agent="bob").ok()
    told = project.run("memory", "set", "design", "mine", "--if-version", "1", agent="carol")
    assert told.code == 4
    assert "design is at version 2, deleted by bob at " in told.err
    *_, hint = told.err.splitlines()
    assert hint == "hint: tclog memory history design"
    project.run(*hint.removeprefix("hint: tclog ").split()).ok()
