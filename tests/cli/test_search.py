"""Which configuration is believed: what cannot be read, and what other users have put there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from .conftest import User

STRANGER = 4711
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")

# -- what is there and cannot be read -------------------------------------------------------------


def link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def socket_or_pipe(path: Path) -> None:
    os.mkfifo(path)


# What stands where a project's folder or file should, and what is said of it.
FOLDERS = {
    "dangling": (link("/mnt/not mounted/.tclog"), "link to a missing file"),
    "circle": (link(".tclog"), "Too many levels"),
    "file": (Path.touch, "is not a folder"),
    "link to a file": (link("/etc/passwd"), "is not a folder"),
    "pipe": (socket_or_pipe, "is not a folder"),
    "empty": (Path.mkdir, "is its disk not mounted?"),
}
FILES = {
    "dangling": (link("/mnt/not mounted/config.toml"), "link to a missing file"),
    "circle": (link("config.toml"), "Too many levels"),
    "folder": (Path.mkdir, "is not a file"),
    "masked": (link("/dev/null"), "is not a file"),
    "pipe": (socket_or_pipe, "is not a file"),
    "through a file": (link("/etc/passwd/config.toml"), "Not a directory"),
}
CASES = [
    *(pytest.param(".tclog", *row, id=f"folder-{name}") for name, row in FOLDERS.items()),
    *(pytest.param(".tclog/config.toml", *row, id=f"file-{name}") for name, row in FILES.items()),
]


@pytest.mark.parametrize("via", ["folder", "worktree"])
@pytest.mark.parametrize(("name", "make", "said"), CASES)
def test_what_cannot_be_read_is_an_error_and_not_passed_over(
    project: User, name: str, make: Callable[[Path], None], said: str, via: str
) -> None:
    """A project further up would be found: another one, and values would go there."""
    inner = project.work / "inner"
    inner.mkdir()
    if via == "worktree":
        main = project.folder / "main"
        (main / ".git" / "worktrees" / "inner").mkdir(parents=True)
        (inner / ".git").write_text(f"gitdir: {main}/.git/worktrees/inner\n")
        place = main / name
    else:
        place = inner / name
    if name != ".tclog":
        place.parent.mkdir()
    make(place)
    for words in (["status"], ["where"], ["memory", "set", "k", "v"], ["init"]):
        if words == ["init"] and ("not mounted?" in said or via == "worktree"):
            continue
        error = project(*words, "--json", cwd=inner).error(2)
        assert error["code"] == "bad-config"
        assert said in error["message"]
        assert str(place) in error["message"]
    assert project("memory", "get", "k").code == 3


def test_init_sets_up_an_empty_folder_as_a_new_volume_is(user: User) -> None:
    (user.work / ".tclog").mkdir()
    user("init", "--project", "p").ok()
    assert user("status", "--json").object()["project"] == "p"


def test_a_folder_without_a_file_is_no_project(project: User) -> None:
    inner = project.work / "inner"
    (inner / ".tclog" / "live").mkdir(parents=True)
    project("memory", "set", "k", "v", cwd=inner).ok()
    assert project("memory", "get", "k").out == "v"


def test_a_worktree_whose_main_checkout_is_away_finds_nothing_further_up(project: User) -> None:
    inner = project.work / "inner"
    inner.mkdir()
    (inner / ".git").write_text("gitdir: /mnt/away/.git/worktrees/inner\n")
    assert project("status", "--json", cwd=inner).error(3)["code"] == "project-missing"
    project("init", "--project", "own", cwd=inner).ok()


def test_the_users_own_file_that_cannot_be_read(project: User) -> None:
    own = project.folder / "home" / ".config" / "tclog"
    own.mkdir(parents=True)
    for make, said in (FILES["dangling"], FILES["circle"], (Path.mkdir, "Is a directory")):
        make(own / "config.toml")
        assert said in project("status", "--json").error(2)["message"]
        (own / "config.toml").rmdir() if said == "Is a directory" else (
            own / "config.toml"
        ).unlink()


# -- what other users have put there --------------------------------------------------------------


class Planted:
    """A folder for everybody, in which another user has put a configuration above the user's."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.shared = user.folder / "shared"
        self.below = self.shared / "mine"
        self.below.mkdir(parents=True)
        self.own = self.shared / ".tclog"
        self.file = self.own / "config.toml"
        self.user_file = user.folder / "home" / ".config" / "tclog" / "config.toml"

    def write(self, text: str, owner: int = STRANGER) -> None:
        self.own.mkdir(exist_ok=True)
        self.file.write_text(text)
        for path in (self.own, self.file):
            os.chown(path, owner, owner)

    def where(self, env: Mapping[str, str] = {}) -> dict[str, object]:
        found = self.user("where", "--json", cwd=self.below, env=env).object()
        return {name: row["value"] for name, row in found.items() if name != "type"}


@pytest.fixture
def planted(user: User) -> Planted:
    return Planted(user)


STORE = 'store = ".tclog/store"\nproject = "p"\n'
# A configuration of another user, and the setting that is refused; None where all is believed.
SAYS = {
    "below": (STORE, None),
    "below, absolute": ('store = "{shared}/a/b"\nagent = "a"\n[file]\nfsync = false\n', None),
    "bucket": ('store = "s3://b/x"\n', "the store s3://b/x, not below"),
    "elsewhere": ('store = "/srv/s"\n', "the store /srv/s, not below"),
    "above": ('store = "../s"\n', "the store ../s, not below"),
    "itself": ('store = "."\n', "the store ., not below"),
    "beside": ('store = "{shared}2/s"\n', "2/s, not below"),
    "home": ('store = "~/s"\n', "the store ~/s, not below"),
    "through a link": ('store = "out/s"\n', "the store out/s, not below"),
    "endpoint": (STORE + '[s3]\nendpoint = "http://evil"\n', "s3.endpoint = http://evil:"),
    "profile": (STORE + '[s3]\nprofile = "prod"\n', "s3.profile = prod:"),
    "client": (STORE + '[s3]\nclient = "boto3"\n', "s3.client = boto3:"),
}


@as_root
@pytest.mark.parametrize(("text", "refused"), SAYS.values(), ids=SAYS)
def test_the_file_of_another_user_chooses_no_place(
    planted: Planted, text: str, refused: str | None
) -> None:
    (planted.shared / "out").symlink_to(planted.user.folder)
    planted.write(text.replace("{shared}", str(planted.shared)))
    if refused is None:
        assert str(planted.where()["store"]).startswith(f"{planted.shared}/")
        return
    for words in (["where"], ["status"], ["memory", "set", "k", "secret"]):
        error = planted.user(*words, "--json", cwd=planted.below, agent="alice").error(2)
        assert error["code"] == "config-not-yours"
        assert refused in error["message"]
        assert f"belongs to uid {STRANGER}" in error["message"]
        assert error["hint"] == f"cat {planted.file}"
    # The line that is told allows it, for this user and this folder.
    assert str(planted.user_file) in error["message"]
    assert error["message"].endswith(error["line"])
    planted.user_file.parent.mkdir(parents=True)
    planted.user_file.write_text(f'{error["line"]}\nproject = "mine"\n')
    assert planted.where()["config"] == str(planted.file)
    planted.user_file.write_text(f'trusted = ["{planted.below}"]\n')
    again = planted.user("where", "--json", cwd=planted.below).error(2)
    assert tomllib.loads(again["line"])["trusted"] == [str(planted.below), str(planted.shared)]


@as_root
def test_what_the_user_says_needs_no_trust(planted: Planted) -> None:
    planted.write('store = "s3://b/x"\n[s3]\nendpoint = "http://evil"\n')
    mine = {"TCLOG_STORE": "s3://mine/x", "TCLOG_ENDPOINT": "http://mine"}
    assert planted.where(mine)["endpoint"] == "http://mine"
    # One that the user names is the user's word.
    assert planted.where({"TCLOG_CONFIG": str(planted.file)})["store"] == "s3://b/x"
    assert planted.where({"TCLOG_CONFIG": "/dev/null"})["store"] is None


@as_root
@pytest.mark.parametrize(
    ("owner", "env", "believed"),
    [
        (0, {}, True),
        (STRANGER, {}, False),
        (STRANGER, {"SUDO_UID": str(STRANGER)}, True),
        (STRANGER, {"SUDO_UID": "4712"}, False),
        (STRANGER, {"SUDO_UID": ""}, False),
        (STRANGER, {"SUDO_UID": "x"}, False),
    ],
)
def test_whose_files_are_believed(
    planted: Planted, owner: int, env: dict[str, str], believed: bool
) -> None:
    planted.write('store = "s3://b/x"\n', owner)
    done = planted.user("where", cwd=planted.below, env=env)
    assert done.code == (0 if believed else 2), done


@as_root
@pytest.mark.parametrize("whose", ["folder", "file", "link to the folder", "link to the file"])
def test_each_name_on_the_way_counts(planted: Planted, whose: str) -> None:
    planted.write('store = "s3://b/x"\n', 0)
    planted.where()
    path = planted.file if "file" in whose else planted.own
    if "link" in whose:
        moved = planted.user.folder / "moved"
        path.rename(moved)
        path.symlink_to(moved)
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    assert planted.user("where", "--json", cwd=planted.below).error(2)["code"] == "config-not-yours"


@as_root
def test_a_worktree_of_another_user_leads_nowhere(planted: Planted) -> None:
    """Also where it leads to a project of the user: it is not the one that was meant."""
    main = planted.user.folder / "main"
    (main / ".git" / "worktrees" / "mine").mkdir(parents=True)
    planted.user("init", "--project", "own", cwd=main).ok()
    git = planted.below / ".git"
    git.write_text(f"gitdir: {main}/.git/worktrees/mine\n")
    assert planted.where()["project"] == "own"
    os.chown(git, STRANGER, STRANGER)
    error = planted.user("status", "--json", cwd=planted.below).error(2)
    assert (error["code"], error["hint"]) == ("config-not-yours", f"cat {git}")
    planted.user_file.parent.mkdir(parents=True)
    planted.user_file.write_text(error["line"])
    assert planted.where()["project"] == "own"


@as_root
def test_init_below_the_file_of_another_user_begins_the_users_own(planted: Planted) -> None:
    planted.write('store = "s3://b/x"\n[s3]\nendpoint = "http://evil"\n')
    planted.user("init", "--json", cwd=planted.below).ok()
    assert planted.where()["config"] == str(planted.below / ".tclog" / "config.toml")
    said = planted.user("init", "--json", cwd=planted.shared).error(2)
    assert said["code"] == "config-not-yours"


@as_root
def test_a_copy_is_not_taken_from_where_another_user_says(planted: Planted) -> None:
    planted.write('store = "s3://b/x"\n')
    words = ("clone", str(planted.shared), "copy", "--json")
    assert planted.user(*words).error(2)["code"] == "config-not-yours"


def test_the_list_of_trusted_folders_is_a_list(planted: Planted) -> None:
    planted.user_file.parent.mkdir(parents=True)
    planted.user_file.write_text('trusted = "/srv"\n')
    planted.own.mkdir()
    planted.file.write_text(STORE)
    error = planted.user("where", "--json", cwd=planted.below).error(2)
    assert error["message"] == f"trusted in {planted.user_file} is not a list of folders"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_gits_own_worktrees_are_found(project: User) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"],
                  ["worktree", "add", "-q", "../tree"]):  # fmt: skip
        subprocess.run(["git", *identity, *words], cwd=project.work, check=True)
    found = project("where", "--json", cwd=project.folder / "tree").object()
    assert found["config"]["value"] == str(project.work / ".tclog" / "config.toml")
