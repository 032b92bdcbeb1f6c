"""Getting a project back from a copy, into the folder in which one works."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import User


@pytest.fixture
def backup(project: User) -> User:
    """Give a user with a clone and an export of a project beside its working folder."""
    project("memory", "set", "k", "v").ok()
    project("clone", ".", "../backup").ok()
    project("export", "-o", "../log.jsonl").ok()
    return project


# The ways back: each is followed by the place.
WAYS = {"clone": ("clone", "../backup"), "import": ("import", "../log.jsonl")}


def nothing(work: Path) -> None:
    shutil.rmtree(work / ".tclog")


def no_store(work: Path) -> None:
    shutil.rmtree(work / ".tclog" / "store")


def no_file(work: Path) -> None:
    (work / ".tclog" / "config.toml").unlink()


def half_a_store(work: Path) -> None:
    (work / ".tclog" / "store" / "work" / "tclog.json").unlink()
    no_file(work)


LOST: list[Callable[[Path], None]] = [nothing, no_store, no_file, half_a_store]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: lost.__name__)
@pytest.mark.parametrize("way", WAYS)
def test_a_project_comes_back_into_its_folder(
    backup: User, way: str, lost: Callable[[Path], None]
) -> None:
    lost(backup.work)
    backup(*WAYS[way], ".").ok()
    assert backup("memory", "get", "k").out == "v"
    assert [path.name for path in backup.work.iterdir()] == [".tclog"]
    config = tomllib.loads((backup.work / ".tclog" / "config.toml").read_text())
    assert (config["store"], config["project"]) == (".tclog/store", "work")
    backup("memory", "set", "k", "w").ok()


def test_an_import_without_a_place_hints_at_this_folder(backup: User) -> None:
    """The hint was `tclog init`, after which the import was refused."""
    nothing(backup.work)
    error = backup("import", "../log.jsonl", "--json").error(3)
    assert error["hint"] == "tclog import ../log.jsonl ."
    backup(*error["hint"].split()[1:]).ok()
    assert backup("memory", "get", "k").out == "v"


@pytest.mark.parametrize("way", WAYS)
def test_another_folder_of_a_project_is_named_by_its_path(backup: User, way: str) -> None:
    other = backup.folder / "other"
    other.mkdir()
    backup("init", "store", "--project", "work", cwd=other).ok()
    shutil.rmtree(other / "store")
    backup(*WAYS[way], "../other").ok()
    assert backup("memory", "get", "k", cwd=other).out == "v"
    assert not (other / "work").exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_another_project_is_refused(backup: User, way: str) -> None:
    other = backup.folder / "other"
    other.mkdir()
    backup("init", "--project", "another", cwd=other).ok()
    for words, folder in ((("../other",), backup.work), ((".",), other)):
        error = backup(*WAYS[way], *words, "--json", cwd=folder).error(2)
        assert error["code"] == "project-differs"
        assert "is set up for project another, not for work" in error["message"]
    assert sorted(path.name for path in other.iterdir()) == [".tclog"]


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_within_a_project_is_not_set_up(backup: User, way: str) -> None:
    inner = backup.work / "inner"
    inner.mkdir()
    words = [word.replace("../", "../../") for word in WAYS[way]]
    error = backup(*words, ".", "--json", cwd=inner).error(2)
    assert error["code"] == "already-configured"
    assert not any(inner.iterdir())


@pytest.mark.parametrize("way", WAYS)
def test_a_way_back_that_fails_sets_nothing_up(backup: User, way: str) -> None:
    nothing(backup.work)
    (backup.folder / "backup" / "work" / "tclog.json").unlink()
    log = backup.folder / "log.jsonl"
    log.write_text(log.read_text()[:-20])
    assert backup(*WAYS[way], ".", "--json").code != 0
    assert not any(backup.work.iterdir())


@pytest.mark.parametrize("way", WAYS)
def test_a_new_folder_is_still_a_store(backup: User, way: str) -> None:
    backup(*WAYS[way], "../restored").ok()
    assert (backup.folder / "restored" / "work" / "tclog.json").exists()
