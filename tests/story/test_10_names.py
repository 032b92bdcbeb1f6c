"""Names: whatever users choose stays apart, and what cannot be a name is refused whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.project import Project

NAMES = [
    "A",
    "a",
    "S1.A",
    "s1-a",
    ".",
    "..",
    "...",
    "a/b",
    "a%2Fb",
    "/etc/passwd",
    "../../escape",
    "with space",
    "tclog.json",
    "%41",
    "~a",
    "^a",
    "@",
    "-",
    "--json",
    "$HOME `id` \"q\" 'q' \\ *",
    "naïve",
    "nai\u0308ve",
    "🚀 launch",
    "x" * 200,
    "x" * 199 + "y",
    "🚀" * 50,
    "🚀" * 49 + "🛸",
]
# An agent's name cannot begin with @, which is kept for @all.
AGENTS = [name for name in NAMES if not name.startswith("@")]


@pytest.mark.slow
def test_keys_stay_apart(project: Project) -> None:
    worker = project.worker("alice")
    sets = [["memory", "set", "--", name, f"value of {name}"] for name in NAMES]
    worker.post([["--json", *words] for words in sets])
    assert {result.one()["version"] for result in worker.results(120)} == {1}
    listed = project.json("memory", "list", "--values", "-n", "0")
    assert [row["key"] for row in listed] == sorted(NAMES, key=str.encode)
    for machine in (project, project.machine()):
        reader = machine.worker("bob")
        reader.post([["--json", "memory", "get", "--", name] for name in NAMES])
        for name, result in zip(NAMES, reader.results(120), strict=True):
            found = result.one()
            assert (found["key"], found["value"]) == (name, f"value of {name}")
    assert len(project.objects.keys("chains/memory/")) == len(NAMES)


@pytest.mark.slow
def test_steps_and_barriers_stay_apart(project: Project) -> None:
    worker = project.worker("alice")
    # As a title, - is what standard input says: nothing.
    worker.post([["--json", "step", "add", "--title", name, "--", name] for name in NAMES])
    assert {result.one()["version"] for result in worker.results(120)} == {1}
    worker.post([["--json", "claim", "--", name] for name in NAMES[::2]])
    assert {result.one()["fence"] for result in worker.results(120)} == {2}
    listed = project.machine().json("step", "list", "-n", "0")
    claimed = {row["id"] for row in listed if row["state"] == "claimed"}
    assert claimed == set(NAMES[::2])
    assert {row["id"] for row in listed} == set(NAMES)
    assert all(row["title"] == row["id"] for row in listed if row["id"] != "-")
    # One that comes after all others names them in full.
    project.run("step", "add", "last", "--after", ",".join(NAMES[:10]), agent="alice").ok()
    (shown,) = project.json("step", "show", "last")
    assert shown["after"] == NAMES[:10]
    worker.post([["--json", "barrier", "--parties", "1", "--", name] for name in NAMES])
    assert {result.one()["generation"] for result in worker.results(120)} == {1}


@pytest.mark.slow
def test_agents_stay_apart(project: Project) -> None:
    worker = project.worker("host")
    worker.post([["--json", "send", "--", name, f"to {name}"] for name in AGENTS])
    assert {result.code for result in worker.results(120)} == {0}
    worker.post([["--json", "inbox", f"--as={name}"] for name in AGENTS])
    for name, result in zip(AGENTS, worker.results(120), strict=True):
        message = result.one()
        assert (message["to"], message["text"]) == (name, f"to {name}")
    # Each is one holder, and each knows its own claims only.
    worker.post(
        [["--json", "claim", f"step of {n}", f"--as={name}"] for n, name in enumerate(AGENTS)]
    )
    assert {result.one()["fence"] for result in worker.results(120)} == {1}
    worker.post([["--json", "inbox", "--ack", f"--as={AGENTS[0]}"]])
    worker.results()
    assert len(project.json("inbox", agent=AGENTS[1])) == 1
    agents = {row["name"]: row["claims"] for row in project.json("agents")}
    for n, name in enumerate(AGENTS):
        assert agents[name] == [f"step of {n}"]


@pytest.mark.slow
def test_artifacts_stay_apart_and_write_where_they_are_told(
    project: Project, tmp_path: Path
) -> None:
    names = [name for name in NAMES if len(name) < 200]
    worker = project.worker("alice")
    source = tmp_path / "source"
    for name in names:
        source.write_text(name)
        worker.run("artifact", "put", str(source), f"--name={name}").ok()
    assert {row["name"] for row in project.json("artifact", "list", "-n", "0")} == set(names)
    out = tmp_path / "out"
    for name in names:
        worker.run("artifact", "get", "-o", str(out), "--", name).ok()
        assert out.read_text() == name
    # Without -o only the last part of a name counts: another agent's name chooses no folder.
    before = {path.name for path in project.work.iterdir()}
    worker.run("artifact", "get", "../../escape").ok()
    worker.run("artifact", "get", "/etc/passwd").ok()
    after = {path.name for path in project.work.iterdir()}
    assert after - before == {"escape", "passwd"}
    assert worker.run("artifact", "get", "..").code == 2


BAD = {
    "empty": "",
    "201 bytes": "x" * 201,
    "51 rockets": "🚀" * 51,
    "a new line": "two\nlines",
    "a tab": "tab\tbed",
    "escape": "\x1b[31mred",
    "delete": "del\x7f",
    "C1": "next\x85line",
    "a line separator": "line\u2028separator",
    "not UTF-8": "\udcff\udcfe",
}


@pytest.mark.slow
def test_what_cannot_be_a_name_is_refused_and_writes_nothing(
    project: Project, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("bytes")
    project.run("memory", "set", "key", "value", agent="alice").ok()
    worker = project.worker("alice")
    before = project.objects.keys()
    for what, name in BAD.items():
        told = [
            worker.run("--json", "memory", "set", "--", name, "value"),
            worker.run("--json", "memory", "get", "--", name),
            worker.run("--json", "memory", "incr", "--", name),
            worker.run("--json", "memory", "set", "key", "value", f"--as={name}"),
            worker.run("--json", "memory", "set", "key", "value", f"--id={name}"),
            worker.run("--json", "step", "add", "--", name),
            worker.run("--json", "step", "add", "build", f"--after={name}"),
            worker.run("--json", "claim", "--", name),
            worker.run("--json", "wait-for", "--", name),
            worker.run("--json", "send", "--", name, "text"),
            worker.run("--json", "send", "--", f"bob,{name}", "text"),
            worker.run("--json", "artifact", "put", str(source), f"--name={name}"),
            worker.run("--json", "artifact", "put", str(source), f"--step={name}"),
            worker.run("--json", "barrier", "--parties", "1", "--", name),
            worker.run("--json", "complete", "build", f"--to={name}"),
        ]
        for result in told:
            assert result.code == 2, f"{what}: {result}"
            assert result.out == ""
            assert result.error()["hint"]
            # Nothing in it moves a terminal's cursor: one line of printable characters.
            assert result.err.removesuffix("\n").isprintable(), f"{what}: {result}"
    for words in (
        ("claim", "a,b"),
        ("step", "add", "a,b"),
        ("note", "a,b", "text"),
        ("memory", "set", "key", "value", "--as", "a,b"),
        ("memory", "set", "key", "value", "--as", "@all"),
        ("memory", "set", "key", "value", "--as", "@bob"),
        ("send", "@bob", "text"),
        ("send", "bob,@all", "text"),
        ("send", "bob,,carol", "text"),
        ("send", ",", "text"),
    ):
        told_one = worker.run("--json", *words)
        assert (told_one.code, told_one.error()["code"]) == (2, "bad-name"), told_one
    assert project.objects.keys() == before, "a refused name has left something in the store"


def test_bytes_that_are_no_text_are_refused_by_the_real_command(project: Project) -> None:
    """The words of a process are bytes; these never were UTF-8."""
    before = project.objects.keys()
    for words in (
        (b"memory", b"set", b"\xff\xfe", b"value"),
        (b"memory", b"set", b"key", b"\xff"),
        (b"memory", b"append", b"key", b"\xff"),
        (b"memory", b"append", b"key", b"text", b"--separator", b"\xff"),
        (b"claim", b"st\xffep"),
        (b"step", b"add", b"build", b"--title", b"\xff"),
        (b"note", b"build", b"\xff"),
        (b"send", b"bob", b"\xff"),
        (b"send", b"\xff", b"text"),
        (b"send", b"bob", b"text", b"--reply-to", b"\xff"),
        (b"complete", b"build", b"--note", b"\xff"),
        (b"complete", b"build", b"--next-action", b"\xff"),
        (b"complete", b"build", b"--force", b"--reason", b"\xff"),
        (b"memory", b"set", b"key", b"value", b"--as", b"\xff"),
    ):
        told = project.run(*words, b"--json", agent="alice")
        assert told.code == 2, told
        assert told.error()["code"] in ("bad-name", "bad-value"), told
    assert project.objects.keys() == before


def test_surroundings_that_are_no_text_stop_no_work(project: Project) -> None:
    """The name of a harness's session comes from outside, like a host's."""
    environ = {"CODEX_SESSION_ID": "se\udcff\nssion"}
    project.run("memory", "set", "key", "value", agent="alice", env=environ).ok()
    project.run("claim", "build", agent="alice", env=environ).ok()
    assert project.json("memory", "get", "key")[0]["value"] == "value"
    assert "alice" in {row["name"] for row in project.json("agents")}
