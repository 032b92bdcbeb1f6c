"""Where settings are found, what `tclog init` writes, and who acts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import Server

import tclog
from tclog.config import read_plain
from tclog.config.identity import VARIABLES, find_session
from tclog.errors import UsageError

from .conftest import User, git

SETTINGS = {
    # name in `where`: (flag, variable, table in the file, name there)
    "store": ("--store", "TCLOG_STORE", None, "store"),
    "project": ("--project", "TCLOG_PROJECT", None, "project"),
    "agent": ("--as", "TCLOG_AGENT", None, "agent"),
    "endpoint": (None, "TCLOG_ENDPOINT", "s3", "endpoint"),
    "region": (None, "TCLOG_REGION", "s3", "region"),
    "profile": (None, "TCLOG_PROFILE", "s3", "profile"),
    "client": (None, "TCLOG_S3_CLIENT", "s3", "client"),
    "fsync": (None, "TCLOG_FSYNC", "file", "fsync"),
}


PIECES = st.sampled_from(
    ["store", "s3", "a b", "1", '"', '""', "'", "#", " # c", "=", " = ", "[", "]", "[s3]", "[[s3]]",
     "\n", "\n", "\r\n", "\t", "\\", "\\n", "true", "é", "\x7f", "\u2028", "s3.endpoint", " "]
)  # fmt: skip
ROWS = st.sampled_from(
    ['store = "x"', 's3 = "x"', 'endpoint = "http://h:1/#"', "[s3]", "[file]", "# c", "", 'a = ""',
     "fsync = true", 'store = "x" # c', '"s3" = "x"', 'é = "x"', "store", "[]", "[s3.x]", '= "x"']
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join) | st.lists(ROWS, max_size=8).map("\n".join))
def test_what_is_read_without_a_parser_is_what_the_parser_reads(text: str) -> None:
    plain = read_plain(text)
    if plain is not None:
        assert plain == tomllib.loads(text)


def test_what_init_writes_is_read_without_a_parser(bucket: User) -> None:
    text = config(bucket).read_text()
    assert read_plain(text) == tomllib.loads(text)
    assert "[s3]" in text


def config(user: User) -> Path:
    """Return the project's file."""
    return user.work / ".tclog" / "config.toml"


def user_config(user: User) -> Path:
    """Return the user's file."""
    return user.folder / "home" / ".config" / "tclog" / "config.toml"


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def where(user: User, *words: str, **options: object) -> dict[str, tuple[str | None, str]]:
    found = user(*words, "where", "--json", **options).object()  # type: ignore[arg-type]
    return {k: (v["value"], v["source"]) for k, v in found.items() if k != "type"}


@pytest.mark.parametrize("name", SETTINGS)
def test_flags_then_variables_then_the_project_then_the_user_then_defaults(user: User, name: str):
    flag, variable, table, key = SETTINGS[name]
    default = {"client": "obstore", "fsync": "true"}.get(name)
    assert where(user)[name] == (default, "default")

    def text(value: str) -> str:
        return (f"[{table}]\n" if table else "") + f'{key} = "{value}"\n'

    theirs = write(user_config(user), text("/user"))
    assert where(user)[name] == ("/user", str(theirs))
    ours = write(config(user), text("/project"))
    below = user.work / "a" / "b"
    below.mkdir(parents=True)
    assert where(user, cwd=below)[name] == ("/project", str(ours))
    env = {variable: "/variable"}
    assert where(user, env=env)[name] == ("/variable", variable)
    assert where(user, env={variable: ""})[name] == ("/project", str(ours))
    if flag is not None:
        assert where(user, flag, "/flag", env=env)[name] == ("/flag", "flag")


def test_where_says_where_the_files_are(user: User):
    assert where(user)["config"] == (None, "searched upwards")
    assert where(user)["user_config"] == (str(user_config(user)), "absent")
    assert where(user)["cache"][0] == str(user.folder / "cache" / "tclog")
    write(user_config(user), "")
    write(config(user), "")
    assert where(user)["config"][0] == str(config(user))
    assert where(user)["user_config"][1] == "present"
    elsewhere = {"XDG_CONFIG_HOME": str(user.folder / "x"), "TCLOG_CACHE": "c"}
    assert where(user, env=elsewhere)["user_config"][0] == str(user.folder / "x/tclog/config.toml")
    assert where(user, env=elsewhere)["cache"] == (str(user.work / "c"), "TCLOG_CACHE")
    # A relative one is no base directory, says its standard.
    assert where(user, env={"XDG_CACHE_HOME": "rel"})["cache"][0].startswith(str(user.folder))


def test_sessions_of_harnesses_are_found(user: User):
    for nth, variable in enumerate(VARIABLES):
        env = dict.fromkeys(VARIABLES[nth:], "id")
        assert where(user, env=env)["session"] == ("id", variable)
    both = {"CLAUDE_CODE_SESSION_ID": "a", "TCLOG_SESSION": "t"}
    assert where(user, env=both)["session"] == ("t", "TCLOG_SESSION")
    # What nobody sets is not looked at.
    assert where(user, env={"CLAUDE_SESSION_ID": "a"})["session"][1] == "default"


def test_without_a_name_the_session_is_that_of_the_terminal(user: User):
    with open(f"/proc/{os.getsid(0)}/stat") as file:
        start = file.read().rpartition(")")[2].split()[19]
    told = f"~{os.getuid()}.{os.getsid(0)}.{start}@{os.uname().nodename}"
    assert where(user)["session"] == (told, "default")


def test_a_leader_that_cannot_be_seen_gives_way_to_the_parent(monkeypatch):
    monkeypatch.setattr(os, "getsid", lambda process: 0)
    monkeypatch.setattr(os, "getppid", os.getpid)
    found, _ = find_session({})
    assert found.startswith(f"~{os.getuid()}.{os.getpid()}.")
    assert not found.startswith(f"~{os.getuid()}.{os.getpid()}.0@")


@pytest.mark.parametrize("name", ["~x", "x" * 201, "a\nb", "\udcff"])
def test_the_name_of_a_session_is_checked(user: User, name: str):
    told = user("where", env={"TCLOG_SESSION": name}).said(2)
    assert "hint: unset TCLOG_SESSION" in told
    assert where(user, env={"TCLOG_SESSION": "x" * 200})["session"][0] == "x" * 200


def test_a_relative_store_is_relative_to_where_it_was_written(user: User):
    below = user.work / "sub"
    below.mkdir()
    write(config(user), 'store = "shared/../s"\n')
    assert where(user, cwd=below)["store"][0] == str(user.work / "s")
    assert where(user, cwd=below, env={"TCLOG_STORE": "s"})["store"][0] == str(below / "s")
    assert where(user, "--store", "s", cwd=below)["store"][0] == str(below / "s")
    assert where(user, "-C", "sub", "--store", "../s")["store"][0] == str(user.work / "s")
    assert where(user, "--store", "~/s")["store"][0] == str(user.folder / "home" / "s")
    shutil.rmtree(config(user).parent)
    write(user_config(user), 'store = "s"\n')
    assert where(user, cwd=below)["store"][0] == str(user_config(user).parent / "s")


def test_a_tree_that_was_moved_finds_its_store(project: User):
    project("memory", "set", "k", "v").ok()
    moved = project.folder / "moved"
    shutil.move(project.work, moved)
    assert project("memory", "get", "k", cwd=moved).out == "v"
    assert project("-C", str(moved), "memory", "get", "k", cwd=project.folder).out == "v"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_worktrees_share_the_configuration_of_their_main_checkout(project: User):
    git(project.work, "init", "-q")
    git(project.work, "commit", "-q", "--allow-empty", "-m", "one")
    tree = project.folder / "tree"
    git(project.work, "worktree", "add", "-q", str(tree))
    project("memory", "set", "k", "v").ok()
    (tree / "deep").mkdir()
    for folder in (tree, tree / "deep"):
        assert project("memory", "get", "k", cwd=folder).out == "v"
        assert where(project, cwd=folder)["config"][0] == str(config(project))
    assert project("init", cwd=tree).ok()
    assert not (tree / ".tclog").exists()
    project("memory", "set", "from", "tree", cwd=tree).ok()
    assert project("memory", "get", "from").out == "tree"
    # tclog's own files are not offered to git.
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.work, capture_output=True, check=True
    )
    assert done.stdout == b""
    # A worktree may have a project of its own.
    (user_dir := project.folder / "own").mkdir()
    project("init", str(user_dir / "s"), "--project", "own", cwd=tree).ok()
    assert where(project, cwd=tree)["project"][0] == "own"


def test_a_broken_git_file_is_nobodys_worktree(user: User):
    for text in (b"", b"gitdir: ", b"gitdir: /nowhere/worktrees/x", b"\xff\xfe", b"gitdir: \0"):
        (user.work / ".git").write_bytes(text)
        assert where(user)["config"][0] is None


def test_where_names_settings_that_mean_nothing(project: User):
    """A slip in a name was a setting that nobody made, and the project was not found."""
    file = config(project)
    lines = file.read_text().replace("project =", "projct =")
    file.write_text(f'endpoint = "http://x"\n{lines}\n[s3]\nregoin = "r"\n[fiel]\nfsync = true\n')
    user_config(project).parent.mkdir(parents=True, exist_ok=True)
    user_config(project).write_text('agent = "al"\ntrusted = []\n[file]\nsync = true\n')
    notes = project("where").ok().err.splitlines()
    of = {
        str(file): ["endpoint", "projct", "s3.regoin", "fiel"],
        str(user_config(project)): ["file.sync"],
    }
    assert notes == [
        f"note: {path} has an unknown setting {name}"
        for path, names in of.items()
        for name in names
    ]


# -- files that are wrong -------------------------------------------------------------------------

BROKEN = {
    "not-toml": "store = ",
    "twice": 'store = "a"\nstore = "b"\n',
    "number": "store = 5\n",
    "table": "[agent]\nname = 'x'\n",
    "list": 'project = ["a"]\n',
    "s3-is-text": 's3 = "http://x"\n',
    "nul": 'store = "a\\u0000b"\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_error_that_names_it(user: User, text: str):
    for file in (config(user), user_config(user)):
        write(file, text)
        for words in (["where"], ["status"], ["memory", "set", "k", "v"], ["init"]):
            error = user(*words, "--json").error(2)
            assert error["code"] == "bad-config"
            assert str(file) in error["message"]
        shutil.rmtree(file.parent)


def test_a_file_that_is_not_utf_8(user: User):
    config(user).parent.mkdir()
    config(user).write_bytes(b'agent = "\xff"')
    assert user("status", "--json").error(2)["code"] == "bad-config"


def test_fsync_is_true_or_false_and_never_off_by_a_slip(project: User):
    error = project("status", "--json", env={"TCLOG_FSYNC": "flase"}).error(2)
    assert error["code"] == "bad-config"
    config(project).write_text(config(project).read_text() + "[file]\nfsync = false\n")
    assert where(project, env={"TCLOG_FSYNC": ""})["fsync"][0] == "false"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_file_that_may_not_be_read(project: User):
    for path in (config(project), config(project).parent):
        path.chmod(0)
        error = project.powerless("status", "--json").error(2)
        assert error["code"] == "bad-config"
        assert str(config(project)) in error["message"]
        path.chmod(0o700)


# -- init -----------------------------------------------------------------------------------------


def test_init_makes_a_folder_that_works(user: User):
    made = user("init", "--as", "alice", "--project", "demo").ok()
    assert made.out == f"Initialized project demo in {user.work}/.tclog/store/demo\n"
    assert tomllib.loads(config(user).read_text()) == {
        "store": ".tclog/store",
        "project": "demo",
    }
    assert (config(user).parent / ".gitignore").read_text().splitlines()[-1] == "*"
    user("claim", "s").ok()
    assert "alice" in user("agents").out


def test_init_names_the_project_after_the_folder(user: User):
    shared = user.folder / "shared"
    found = user("init", str(shared), "--json").object()
    assert (found["type"], found["project"]) == ("project", "work")
    assert (shared / "work" / "tclog.json").exists()
    assert "no agent name yet" in user("init").ok().err
    assert tomllib.loads(config(user).read_text())["store"] == str(shared)


@pytest.mark.parametrize("store", [(), ("elsewhere",)])
def test_a_file_that_names_no_store_is_no_project_yet(user: User, store: tuple[str, ...]):
    (user.work / ".tclog").mkdir()
    file = user.work / ".tclog" / "config.toml"
    file.write_text('agent = "alice"\n')
    assert user("init", *store, "--json").object()["project"] == "work"
    assert user("memory", "set", "k", "v", "--json").object()["agent"] == "alice"
    # One that names a store, and no project in it, has been read as this one.
    file.write_text(f'store = "{user.work}/other"\n')
    assert user("init", "--json").object()["project"] == "default"


def test_init_below_another_project_names_it_after_its_own_folder(user: User):
    user("init", "--project", "above").ok()
    below = user.work / "below"
    below.mkdir()
    shared = str(user.folder / "shared")
    assert user("init", shared, "--json", cwd=below).object()["project"] == "below"
    assert user("init", shared, "--json", cwd=below).object()["project"] == "below"
    (user.work / "third").mkdir()
    said = user("init", shared, "--json", cwd=user.work / "third", env={"TCLOG_PROJECT": "said"})
    assert said.object()["project"] == "said"


def test_init_twice_is_safe(user: User):
    first = user("init", "--as", "alice", "--json").object()
    user("memory", "set", "k", "v").ok()
    edited = config(user).read_text() + "# mine\n\n[file]\nfsync = false\n"
    config(user).write_text(edited)
    for words in ([], ["--as", "alice"], [".tclog/store"], ["--project", "work"]):
        again = user("init", *words, "--json").object()
        assert again["id"] == first["id"]
        assert config(user).read_text() == edited
    assert user("memory", "get", "k").out == "v"
    user("init", "--as", "bob").ok()  # who acts is no setting of everybody's
    assert tomllib.loads(config(user).read_text()) == {
        "store": ".tclog/store",
        "project": "work",
        "file": {"fsync": False},
    }
    (user.work / "sub").mkdir()
    assert user("init", "--json", cwd=user.work / "sub").object()["id"] == first["id"]
    assert not (user.work / "sub" / ".tclog").exists()


def test_init_begins_no_other_project_in_half_a_copy(user: User):
    user("init", "--as", "alice", "--project", "demo").ok()
    user("memory", "set", "k", "v").ok()
    copy = user.folder / "copy"
    user("clone", ".", str(copy)).ok()
    mark = copy / "demo" / "tclog.json"
    mark.unlink()  # as where the clone was killed: the mark comes last
    (user.folder / "elsewhere").mkdir()
    words = ["init", str(copy), "--project", "demo", "--json"]
    error = user(*words, cwd=user.folder / "elsewhere").error(4)
    assert error["code"] == "mark-missing"
    assert not mark.exists()
    assert not any((user.folder / "elsewhere").iterdir())
    user("clone", ".", str(copy)).ok()
    user(*words, cwd=user.folder / "elsewhere").ok()


def test_init_elsewhere_in_a_configured_folder_is_refused(user: User):
    user("init").ok()
    before = config(user).read_text()
    for words, env in (
        ([str(user.folder / "other")], {}),
        (["--project", "other"], {}),
        (["s3://bucket/x"], {}),
        ([], {"TCLOG_STORE": str(user.folder / "other")}),
        ([], {"TCLOG_PROJECT": "other"}),
        (["--endpoint", "http://127.0.0.1:1"], {}),
    ):
        error = user("init", *words, "--json", env=env).error(4)
        assert error["code"] == "already-configured"
        assert str(config(user)) in error["hint"]
    assert config(user).read_text() == before
    assert not (user.folder / "other").exists()
    (user.work / "sub").mkdir()
    user("init", "st", "--project", "other", cwd=user.work / "sub").ok()
    assert tomllib.loads((user.work / "sub/.tclog/config.toml").read_text())["store"] == "st"


def test_words_that_are_no_store_are_refused(user: User):
    for store, said in (
        ("s3:b/x", "s3:b/x is neither a folder nor s3://bucket/prefix"),
        ("s3:/b/x", "neither a folder nor"),
        ("S3://b/x", "neither a folder nor"),
        ("s3://", "neither a folder nor"),
        ("s3:///x", "neither a folder nor"),
        ("file:///tmp/x", "neither a folder nor"),
        ("s3://b/x/../y", "a part that is . or .."),
        ("s3://b/x\ny", "control character U+000A"),
        ("s3://b/x\udcff", "not UTF-8"),
        ("s3://b/" + "/".join(["p" * 90] * 10), "bytes; at most 534 are allowed"),
    ):
        error = user("init", store, "--json").error(2)
        assert said in error["message"]
        assert said in user("--store", store, "status", "--json").error(2)["message"]
        for words in (["clone", store, "there"], ["clone", ".", store], ["import", "f", store]):
            assert user(*words, "--json").code == 2
    assert not any(user.work.iterdir())
    with pytest.raises(UsageError):
        tclog.open("s3:b/x", agent="alice", create=True)
    user("init", "./s3:b").ok()


def test_init_that_fails_its_probe_writes_nothing(user: User, rclone: Server):
    blocked = user.work / "file"
    blocked.write_text("in the way")
    for store, env, status in (
        (str(blocked / "store"), {}, 7),
        ("s3://bucket/x", {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
                           "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 7),
        (f"s3://{rclone.bucket}/x", {**rclone.environ, "AWS_ENDPOINT_URL": rclone.endpoint}, 7),
    ):  # fmt: skip
        error = user("init", store, "--as", "alice", "--json", env=env).error(status)
        assert error["message"]
        assert [path.name for path in user.work.iterdir()] == ["file"]
    assert not (user.folder / "cache").exists()


def test_no_file_ever_holds_a_credential(user: User, moto: Server):
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIDTELLTALE",
        "AWS_SECRET_ACCESS_KEY": "telltale-secret",
        "AWS_SESSION_TOKEN": "telltale-token",
        "AWS_ENDPOINT_URL": moto.endpoint,
    }
    for words in (
        ["init", f"s3://key:telltale@{moto.bucket}/x"],
        ["init", "s3://b/x", "--endpoint", "http://key:telltale@127.0.0.1:1"],
    ):
        assert user(*words, "--json", env=secrets).error(2)["code"] in ("bad-store", "bad-endpoint")
    evil = {**secrets, "AWS_ENDPOINT_URL": "http://key:telltale@127.0.0.1:1"}
    assert user("init", "s3://bucket/x", "--json", env=evil).error(2)["code"] == "bad-endpoint"
    words = ["init", f"s3://{moto.bucket}/no-credentials", "--as", "alice"]
    done = user(*words, env=secrets)
    # Moto has no lock, so its probe may also fail; then there is nothing to look at.
    if done.code == 0:
        assert tomllib.loads(config(user).read_text())["s3"]["endpoint"] == moto.endpoint
        user("memory", "set", "k", "v", env=secrets).ok()
    for path in user.folder.rglob("*"):
        if path.is_file():
            assert b"telltale" not in path.read_bytes().lower(), path


def test_two_inits_at_once_agree(user: User):
    machines = [User(user.folder / f"m{n}", user.work) for n in range(2)]
    children = [m.processes("init", "--json", "--as", "alice") for m in machines for _ in "ab"]
    done = [(child.communicate(timeout=60), child.returncode) for child in children]
    assert [code for _, code in done] == [0] * 4, done
    assert len({out.split(b'"id":"')[1][:32] for (out, _), _ in done}) == 1
    assert tomllib.loads(config(user).read_text())["project"] == "work"
    assert sorted(os.listdir(config(user).parent)) == [".gitignore", "config.toml", "live", "store"]


def test_init_keeps_odd_names(user: User):
    odd = user.folder / 'a "quoted" \\ ünïcode 🎉'
    odd.mkdir()
    user("init", cwd=odd).ok()
    assert tomllib.loads((odd / ".tclog/config.toml").read_text("utf-8"))["project"] == odd.name
    user("memory", "set", "k", "v", cwd=odd, agent="alice").ok()
    long = user.folder / ("x" * 220)
    long.mkdir()
    assert "220" in user("init", cwd=long).said(2)
    user("init", "--project", "short", cwd=long).ok()


def test_init_leaves_what_it_cannot_write_again(user: User):
    user("init").ok()
    config(user).write_text(config(user).read_text() + "[[other]]\nwhen = 2026-11-23\n")
    before = config(user).read_text()
    user("init").ok()
    before = before.replace('project = "work"\n', "")
    config(user).write_text(before)
    assert user("init", "--json").error(2)["code"] == "config-unwritable"
    assert config(user).read_text() == before


# -- who ------------------------------------------------------------------------------------------


def test_who_acts(project: User):
    del project.environ["TCLOG_AGENT"]
    missing = project("memory", "set", "k", "v", "--json").error(2)
    assert missing["code"] == "agent-missing"
    assert "TCLOG_AGENT" in missing["hint"]
    for words in (["claim", "s"], ["send", "b", "x"], ["inbox"], ["ack", "1"]):
        project(*words).said(2)
    for words in (["memory", "list"], ["step", "list"], ["status"], ["agents"], ["where"]):
        project(*words).ok()  # whoever only reads need not say
    config(project).write_text(config(project).read_text() + 'agent = "from-file"\n')

    def writer(*words: str, **env: str) -> str:
        done = project(*words, "memory", "set", "k", "v", "--json", env=env)
        return done.object()["agent"]

    assert writer() == "from-file"
    assert writer(TCLOG_AGENT="from-variable") == "from-variable"
    assert writer("--as", "from-flag", TCLOG_AGENT="from-variable") == "from-flag"
    nearer = project("--as", "a", "memory", "set", "k", "v", "--as", "b", "--json").object()
    assert nearer["agent"] == "b"


def test_names_that_are_no_agents_are_refused(project: User):
    for name in ("@all", "a,b", "", "x" * 201, "a\nb"):
        assert project("--as", name, "memory", "set", "k", "v", "--json").error(2)
        assert project("memory", "set", "k", "v", "--as", name, "--json").error(2)
