"""Which project `tclog init` means, what it says of it, who acts from then on, `tclog projects`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from support.stores import Server, fresh_bucket, url_of

from tclog.clock import Stamp
from tclog.errors import NotFound, StoreDenied, StoreUnreachable
from tclog.event import encode
from tclog.log.opening import open_log
from tclog.log.project import read_projects
from tclog.store.base import Entry, Found, Get

from .conftest import User, git


def folder(user: User, name: str) -> Path:
    made = user.folder / name
    made.mkdir(parents=True, exist_ok=True)
    return made


def run_hint(user: User, hint: str, cwd: Path) -> None:
    program, *words = shlex.split(hint)
    assert program == "tclog"
    user(*words, cwd=cwd).ok()


# -- one store, several folders -------------------------------------------------------------------


def test_a_second_project_is_begun_only_where_that_is_said(user: User) -> None:
    """From a folder of another name the same store silently got a second, empty project."""
    store = str(user.folder / "shared store")
    user("init", store, "--as", "alice", cwd=folder(user, "one")).ok()
    user("memory", "set", "k", "v", cwd=folder(user, "one")).ok()
    two = folder(user, "two")
    error = user("init", store, "--as", "bob", "--json", cwd=two).error(2)
    assert (error["code"], error["projects"]) == ("project-unsaid", ["one"])
    assert f"{store} holds one, but no project two" in error["message"]
    assert not (two / ".tclog").exists()
    assert sorted(os.listdir(store)) == ["one"]
    run_hint(user, error["hint"], two)
    assert user("memory", "get", "k", cwd=two).out == "v"
    assert user("where", "--json", cwd=two).object()["agent"]["value"] == "bob"
    # And where it is said, or named by the variable, it is begun.
    user("init", store, "--project", "three", cwd=folder(user, "three")).ok()
    user("init", store, cwd=folder(user, "4"), env={"TCLOG_PROJECT": "four"}).ok()
    user("init", store, cwd=folder(user, "elsewhere/one")).ok()
    error = user("init", store, "--json", cwd=folder(user, "five")).error(2)
    assert error["projects"] == ["four", "one", "three"]
    run_hint(user, error["hint"], two)


def test_a_new_project_beside_others_is_noted(user: User) -> None:
    """A name with a slip in it began a project of its own, without a word."""
    store = str(user.folder / "shared")
    made = user("init", store, "--project", "demo", cwd=folder(user, "one")).ok()
    assert "also holds" not in made.err
    made = user("init", store, "--project", "dmeo", cwd=folder(user, "two")).ok()
    assert f"note: dmeo is new; {store} also holds demo; did you mean demo?\n" in made.err
    joined = user("init", store, "--project", "demo", cwd=folder(user, "three")).ok()
    assert "also holds" not in joined.err


@pytest.mark.parametrize("words", [["--project", "other", "status"], ["--store", "{}", "status"]])
def test_a_project_that_is_missing_hints_at_those_that_are_there(
    project: User, words: list[str]
) -> None:
    two = str(project.folder / "two")
    project("init", two, "--project", "there", cwd=folder(project, "elsewhere")).ok()
    error = project(*(word.format(two) for word in words), "--json").error(3)
    names = ("there",) if "--store" in words else ("work",)
    rows = project(*shlex.split(error["hint"])[1:]).rows()
    assert tuple(row[0] for row in rows) == names
    with pytest.raises(NotFound) as missing:
        open_log(two, agent="a")
    assert shlex.split(missing.value.hint) == ["tclog", "projects", two]


def test_a_store_that_was_typed_wrong_is_not_said_to_be_configured(project: User) -> None:
    for words in (["--store", "nope", "status"], ["projects", "nope"], ["clone", "nope", "x"]):
        error = project(*words, "--json").error(7)
        assert error["message"] == f"there is no folder {project.work / 'nope'}"
        assert error["hint"] == f"ls -ld {project.work / 'nope'}"


def test_another_endpoint_is_named_where_it_is_all_that_differs(user: User) -> None:
    file = user.work / ".tclog" / "config.toml"
    file.parent.mkdir()
    file.write_text('store = "s3://b/x"\nproject = "p"\n[s3]\nendpoint = "http://127.0.0.1:1"\n')
    error = user("init", "s3://b/x", "--endpoint", "http://127.0.0.1:2", "--json").error(4)
    assert "for project p in s3://b/x at http://127.0.0.1:1; use" in error["message"]


def test_a_folder_that_was_renamed_keeps_its_project(project: User) -> None:
    (project.work / ".tclog" / "config.toml").unlink()
    moved = project.folder / "renamed"
    project.work.rename(moved)
    error = project("init", "--json", cwd=moved).error(2)
    assert error["projects"] == ["work"]
    run_hint(project, error["hint"], moved)
    assert project("where", "--json", cwd=moved).object()["project"]["value"] == "work"


def test_in_a_bucket_too(user: User, moto: Server) -> None:
    user.environ.update(moto.environ)
    url = url_of(fresh_bucket(moto))
    words = (url, "--endpoint", moto.endpoint)
    for _ in range(20):  # moto has no lock, so the probe may fail
        if user("init", *words, cwd=folder(user, "one")).code == 0:
            break
    error = user("init", *words, "--json", cwd=folder(user, "two")).error(2)
    assert error["projects"] == ["one"]
    assert error["hint"] == f"tclog init {url} --project one --endpoint {moto.endpoint}"
    for client in ("obstore", "boto3"):
        env = {"TCLOG_S3_CLIENT": client}
        rows = user("projects", *words, "--json", env=env).objects()
        assert [row["project"] for row in rows] == ["one"]
        # Also where the bucket itself is the store.
        assert user("projects", f"s3://{moto.bucket}", *words[1:], env=env).code == 0


def test_the_working_folder_is_no_store(user: User) -> None:
    user("init", ".", "--project", "p").ok()
    assert sorted(os.listdir(user.work)) == [".tclog"]
    user("init", ".").ok()
    other = folder(user, "other")
    error = user("init", str(user.work), "--json", cwd=other).error(2)
    assert f"{user.work} is the working folder of project p" in error["message"]
    run_hint(user, error["hint"], other)
    assert user("where", "--json", cwd=other).object()["store"]["value"] == str(
        user.work / ".tclog" / "store"
    )


def test_it_says_what_it_did(user: User) -> None:
    store = str(user.folder / "s")
    made = user("init", store, "--project", "p", "--json").object()
    assert made["new"] is True
    assert user("init").out == f"Already set up: project p in {store}/p\n"
    assert user("init", "--json").object()["new"] is False
    joined = user("init", store, "--project", "p", cwd=folder(user, "other"))
    assert joined.ok().out == f"Joined the existing project p in {store}/p\n"
    user("init", "--project", "q", cwd=folder(user, "q")).ok().out.startswith("Initialized")


def test_the_hint_for_a_missing_bucket_repeats_what_was_said(user: User, moto: Server) -> None:
    user.environ.update(moto.environ)
    url = f"s3://missing-{os.urandom(4).hex()}/x"
    said = ("--project", "p q", "--endpoint", moto.endpoint, "--region", "eu-west-1", "--as", "al")
    error = user("-C", str(folder(user, "one")), "init", url, *said, "--json").error(7)
    words = shlex.split(error["hint"])
    assert words == [
        "tclog", "-C", str(folder(user, "one")), "init", url, *said, "--create-bucket"
    ]  # fmt: skip


# -- tclog projects -------------------------------------------------------------------------------


def test_projects_are_listed(user: User) -> None:
    store = folder(user, "s")
    names = ["b", "a ü/ö", "x" * 200, "work"]
    for nth, name in enumerate(names):
        user("init", str(store), "--project", name, cwd=folder(user, str(nth))).ok()
    (store / "no project").mkdir()
    (store / "a file").touch()
    (store / "broken").mkdir()
    (store / "broken" / "tclog.json").write_text("junk")
    rows = user("projects", str(store), "--json").objects()
    assert [row["project"] for row in rows] == sorted(names)
    assert {row["store"] for row in rows} == {str(store)}
    assert not any(row["here"] for row in rows)
    here = user("projects", cwd=folder(user, "0")).rows()
    assert [row[0] for row in here if row[3] == "here"] == ["b"]
    assert user("projects", "--json", cwd=folder(user, "0")).objects()[1]["here"] is True
    empty = folder(user, "empty")
    assert user("projects", str(empty)).ok().out == ""
    assert user("projects", str(user.folder / "nowhere"), "--json").error(7)
    assert user("projects", "--json").error(3)["code"] == "project-missing"


def test_a_project_that_is_closed_to_this_user_is_left_out() -> None:
    asking = read_projects()
    next(asking)
    assert asking.send([Entry("/a/"), Entry("/b/")]) == (Get("a/tclog.json"), Get("b/tclog.json"))
    mark = {"created_at": "2026-11-30T00:00:00.000000Z", "format": 1, "id": "x", "project": "b"}
    with pytest.raises(StopIteration) as ended:
        asking.send((StoreDenied("closed"), Found(encode(mark), Stamp(""))))
    assert [row.name for row in ended.value.value] == ["b"]
    asking = read_projects()
    next(asking)
    asking.send([Entry("/a/")])
    with pytest.raises(StoreUnreachable):
        asking.send((StoreUnreachable("no answer"),))


# -- who acts -------------------------------------------------------------------------------------


def who(user: User, cwd: Path | None = None, **env: str) -> tuple[str, str]:
    found = user("where", "--json", cwd=cwd, env=env).object()["agent"]
    return found["value"], found["source"]


def test_init_as_says_that_the_variable_goes_before(user: User) -> None:
    env = {"TCLOG_AGENT": "ann"}
    words = "note: TCLOG_AGENT is ann; it goes before the name that init has saved here\n"
    assert words in user("init", "--as", "bob", env=env).ok().err
    assert who(user, **env) == ("ann", "TCLOG_AGENT")
    assert "goes before" not in user("init", "--as", "ann", env=env).ok().err


def test_init_as_keeps_the_name_for_this_machine_alone(user: User) -> None:
    """`init --as bob` made bob of everybody who shares the configuration."""
    user("init", "--as", "alice").ok()
    kept = user.work / ".tclog" / "live" / "agent"
    assert who(user) == ("alice", str(kept))
    file = user.work / ".tclog" / "config.toml"
    assert "agent" not in tomllib.loads(file.read_text())
    user("init", "--as", "bob").ok()
    assert who(user) == ("bob", str(kept))
    below = user.work / "below"
    below.mkdir()
    assert who(user, below)[0] == "bob"
    # What is nearer wins; what everybody is told does not.
    assert who(user, TCLOG_AGENT="carol") == ("carol", "TCLOG_AGENT")
    assert user("--as", "dave", "where", "--json").object()["agent"]["value"] == "dave"
    file.write_text('agent = "everybody"\n' + file.read_text())
    assert who(user)[0] == "bob"
    # An identity from the environment belongs to one shell.
    user("init", env={"TCLOG_AGENT": "erin"}).ok()
    assert who(user)[0] == "bob"


def test_a_name_in_the_shared_file_counts_last_and_is_noted(project: User) -> None:
    del project.environ["TCLOG_AGENT"]
    file = project.work / ".tclog" / "config.toml"
    file.write_text(file.read_text() + 'agent = "everybody"\n')
    done = project("memory", "set", "k", "v").ok()
    assert done.err.count("note: acting as everybody, which ") == 1
    assert project("memory", "list").ok().err == ""
    project("init", "--as", "alice").ok()
    assert project("memory", "set", "k", "v").ok().err == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_each_git_worktree_has_a_name_of_its_own(project: User) -> None:
    del project.environ["TCLOG_AGENT"]
    git(project.work, "init", "-q")
    git(project.work, "commit", "-q", "--allow-empty", "-m", "one")
    git(project.work, "worktree", "add", "-q", "../tree")
    tree = project.folder / "tree"
    project("init", "--as", "alice").ok()
    assert who(project) == ("alice", str(project.work / ".git" / "tclog-agent"))
    assert who(project, tree)[0] is None
    project("init", "--as", "bob", cwd=tree).ok()
    own = project.work / ".git" / "worktrees" / "tree" / "tclog-agent"
    assert who(project, tree) == ("bob", str(own))
    assert who(project)[0] == "alice"
    assert not (project.work / ".tclog" / "live").exists()
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.work, capture_output=True, check=True
    )
    assert done.stdout == b""


# What may be in the file, and the name that is read; None where there is none, an error else.
KEPT = {
    "a line": (b"alice\n", "alice"),
    "no newline": (b"alice", "alice"),
    "white space": (b" alice \r\n", "alice"),
    "empty": (b"", None),
    "not text": (b"\xff", UnicodeError),
}


@pytest.mark.parametrize(("raw", "name"), KEPT.values(), ids=KEPT)
def test_what_is_kept_is_one_name(project: User, raw: bytes, name: object) -> None:
    del project.environ["TCLOG_AGENT"]
    kept = project.work / ".tclog" / "live" / "agent"
    kept.parent.mkdir()
    kept.write_bytes(raw)
    if name is UnicodeError:
        error = project("where", "--json").error(2)
        assert (error["code"], str(kept) in error["message"]) == ("bad-config", True)
    else:
        assert who(project)[0] == name


def test_a_name_that_cannot_be_read_is_an_error(project: User) -> None:
    del project.environ["TCLOG_AGENT"]
    kept = project.work / ".tclog" / "live" / "agent"
    kept.parent.mkdir()
    kept.symlink_to("/mnt/away")
    assert "link to a missing file" in project("where", "--json").error(2)["message"]
    kept.unlink()
    kept.mkdir()
    assert "Is a directory" in project("where", "--json").error(2)["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")
@pytest.mark.parametrize("whose", ["agent", "."])
def test_the_name_that_another_user_keeps_is_not_ours(project: User, whose: str) -> None:
    del project.environ["TCLOG_AGENT"]
    project("init", "--as", "mallory").ok()
    live = project.work / ".tclog" / "live"
    os.chown(live / whose, 4711, 4711)
    assert who(project)[0] is None
    assert who(project, SUDO_UID="4711")[0] == "mallory"


def test_a_name_that_cannot_be_kept_is_told(project: User) -> None:
    (project.work / ".tclog" / "live").write_text("in the way")
    done = project("init", "--as", "alice").ok()
    assert "the agent name was not saved; instead: export TCLOG_AGENT=alice" in done.err
