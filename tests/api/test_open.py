"""``tclog.open``: a program finds its project, agent and settings as a command does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import User

import tclog

from .conftest import program_of


def where(user: User) -> dict[str, Any]:
    return user("where", "--json").object()


def test_a_program_works_in_the_project_of_the_commands(project: User):
    project("memory", "set", "k", "v").ok()
    with program_of(project):
        log = tclog.open()
        log.memory.append("k", "w")
    assert log.memory.get("k").value == "v\nw"
    assert project("memory", "get", "k").lines() == ["v", "w"]
    assert (log.project.name, log.agent) == ("work", "alice")


def test_a_program_remembers_what_commands_remember(project: User):
    project("memory", "set", "k", "v").ok()
    kept = Path(where(project)["cache"]["value"])
    with program_of(project):
        tclog.open().memory.set("from-python", "v")
    heads = {path.parent.parent for path in kept.glob("*/heads/*")}
    assert len(heads) == 1, "one folder for the place, whoever writes there"
    assert len(list(kept.glob("*/heads/*"))) == 2


# Each row: an argument, a variable, a line of the project's file, and one of the user's file.
SOURCES = [
    ("agent", {"agent": "argued"}, "TCLOG_AGENT", "agent"),
    ("project", {"project": "argued"}, "TCLOG_PROJECT", "project"),
]


@pytest.mark.parametrize(("name", "argument", "variable", "line"), SOURCES)
def test_the_nearest_source_of_a_setting_counts(
    user: User, name: str, argument: dict[str, str], variable: str, line: str
):
    own = user.work / ".tclog" / "config.toml"
    everywhere = user.folder / "home" / ".config" / "tclog" / "config.toml"
    for file in (own, everywhere):
        file.parent.mkdir(parents=True)
    rest = 'store = "store"\n' + ("" if name == "agent" else 'agent = "me"\n')

    def found(**arguments: Any) -> str:
        with program_of(user):
            log = tclog.open(create=True, **arguments)
        return log.agent if name == "agent" else log.project.name

    own.write_text(rest)
    everywhere.write_text(f'{line} = "user-file"\n')
    assert found() == "user-file"
    own.write_text(f'{rest}{line} = "file"\n')
    assert found() == "file"
    user.environ[variable] = "variable"
    assert found() == "variable"
    assert found(**argument) == "argued"


def test_the_project_is_found_from_below_and_from_a_worktree(project: User):
    below = project.work / "a" / "b"
    below.mkdir(parents=True)
    with program_of(project, below):
        assert tclog.open().project.name == "work"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(project.work)]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True, env=project.environ)
    tree = project.folder / "tree"
    subprocess.run([*git, "worktree", "add", "-q", str(tree)], check=True, env=project.environ)
    with program_of(project, tree):
        assert tclog.open().project.name == "work"


def test_a_bucket_is_reached_as_the_configuration_says(bucket: User):
    with program_of(bucket):
        log = tclog.open()
        log.memory.set("k", "v")
    assert bucket("memory", "get", "k").lines() == ["v"]
    with program_of(bucket), pytest.raises(tclog.UsageError, match="region"):
        tclog.open(region="no region")  # an argument goes before the file


@pytest.mark.parametrize("missing", ["project", "agent", "store"])
def test_a_program_is_told_what_is_missing(project: User, missing: str):
    if missing == "project":
        (project.work / ".tclog" / "config.toml").unlink()
        (project.work / ".tclog" / "store").rename(project.folder / "store")
        (project.work / ".tclog" / ".gitignore").unlink()
        (project.work / ".tclog").rmdir()
    elif missing == "store":  # its disk is not mounted, perhaps
        (project.work / ".tclog" / "store").rename(project.folder / "store")
    else:
        del project.environ["TCLOG_AGENT"]
    refused = project("memory", "set", "k", "v", "--json")
    told = refused.error(refused.code)
    with program_of(project), pytest.raises(tclog.TclogError) as raised:
        tclog.open()
    error = raised.value
    assert (error.code, error.hint, error.exit) == (told["code"], told["hint"], told["exit"])
    assert error.message == told["message"].replace("--as NAME", "agent=NAME")


def test_a_given_store_is_opened_whatever_is_configured(project: User, tmp_path: Path):
    project.environ |= {"TCLOG_PROJECT": "elsewhere", "TCLOG_REGION": "no region"}
    with program_of(project):
        log = tclog.open(tmp_path / "own", create=True)
        assert (log.project.name, log.agent) == ("default", "alice")
        assert tclog.open(tmp_path / "own", agent="bob").agent == "bob"


def test_each_log_is_a_weak_session_of_its_own(project: User):
    project.environ["TCLOG_SESSION"] = "named"
    with program_of(project):
        first, second = tclog.open(), tclog.open()
        named = tclog.open(session="named")
    sessions = {first.client.session, second.client.session}
    assert len(sessions) == 2
    assert all(session.startswith("~") for session in sessions)
    assert named.client.session == "named"


def test_settings_of_another_user_are_refused(project: User, monkeypatch: pytest.MonkeyPatch):
    file = project.work / ".tclog" / "config.toml"
    file.write_text(file.read_text().replace('store = "', f'store = "{project.folder}/'))
    monkeypatch.setattr("tclog.config.search.strangers", lambda *_: iter([(str(file), 4242)]))
    with program_of(project), pytest.raises(tclog.UsageError) as refused:
        tclog.open()
    assert refused.value.code == "config-not-yours"


def test_a_folder_that_was_removed_is_named(project: User):
    gone = project.folder / "gone"
    gone.mkdir()
    with program_of(project, gone):
        gone.rmdir()
        with pytest.raises(tclog.UsageError, match="working folder does not exist"):
            tclog.open()
