"""A store is added by its own module and a row in the registry: all commands work with it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support import kept

import tclog
from tclog.config import Setting, said
from tclog.errors import UsageError
from tclog.store import KINDS, Location, kind_of, reached
from tclog.store.base import Kind

from .conftest import User

ROOT = Path(tclog.__file__).parent
URL = "kept://here"


@pytest.fixture
def added(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """Give a user to whom the store ``kept://`` was added."""
    monkeypatch.setitem(KINDS, "kept", kept.ROW)
    monkeypatch.setattr(kept, "PLACES", type(kept.PLACES)(kept.MemoryStore))
    user.environ["TCLOG_AGENT"] = "alice"
    return user


def test_each_command_works_with_a_store_that_was_added(added: User) -> None:
    user = added
    made = user("init", URL, "--project", "p", "--json", env={"TCLOG_COLOUR": "blue"}).object()
    assert (made["store"], made["new"]) == (URL, True)
    assert '[kept]\ncolour = "blue"' in (user.work / ".tclog" / "config.toml").read_text()
    user("memory", "set", "k", "1").ok()
    assert user("memory", "get", "k").out.strip() == "1"
    assert kept.SAID[-1]["colour"] == "blue"
    assert len(list(Path(user.folder).glob("cache/**/marks/*"))) == 1  # its mark is remembered
    checks = {row["name"]: row for row in user("doctor", "--json").objects()}
    assert checks["colour"]["detail"] == "blue"
    assert all(row["ok"] for row in checks.values()), checks
    found = user("where", "--json").object()
    assert found["store"]["value"] == URL
    assert found["colour"]["value"] == "blue"
    assert [row["project"] for row in user("projects", "--json").objects()] == ["p"]
    user("fsck").ok()
    user("clone", ".", "kept://there").ok()
    user("clone", "kept://there", "folder", "--project", "p").ok()
    user("clone", "folder", "kept://back").ok()
    stores = [kept.PLACES[f"kept://{name}", "p"] for name in ("here", "there", "back")]
    assert len({tuple(sorted(store._objects)) for store in stores}) == 1
    again = user("--store", "kept://back", "--project", "p", "memory", "get", "k", "--json")
    assert again.object()["value"] == "1"


def test_what_a_store_does_not_have_is_said(added: User) -> None:
    for option, needs in (("--shared", "a folder"), ("--create-bucket", "s3://bucket/prefix")):
        error = added("init", URL, option, "--json").error(2)
        assert needs in error["message"]
        assert URL in error["message"]
    error = added("init", "other://x", "--json").error(2)
    assert (
        error["message"] == "other://x is neither a folder nor s3://bucket/prefix nor kept://NAME"
    )
    assert added("init", "kept:x", "--json").error(2)["code"] == "bad-store"


def test_a_setting_that_no_store_has_is_refused() -> None:
    with pytest.raises(UsageError, match="colour"):
        reached(Location("folder", "p", {"colour": "blue"}), {})


@pytest.mark.parametrize("scheme", KINDS)
def test_each_row_of_the_registry_leads_to_a_kind(scheme: str) -> None:
    row = KINDS[scheme]
    kind = kind_of(f"{scheme}://x/y" if scheme else "x")
    assert isinstance(kind, Kind)
    assert set(row.truths) | set(row.paths) | row.defaults.keys() | row.variables.keys() <= set(
        row.settings
    )
    all_set = {
        name: Setting("true" if name in row.truths else "path", "a file") for name in row.settings
    }
    assert said(all_set).keys() == set(row.settings)


def test_no_setting_belongs_to_two_kinds() -> None:
    names = [name for row in KINDS.values() for name in row.settings]
    assert len(names) == len(set(names))


# What names a store's class or module, by file: the registry alone, the store itself, and trials of
# other clients, which are given a folder.
NAMED = {"store/__init__.py", "testing/conformance/trial.py"}


def test_nothing_else_asks_which_store_it_has() -> None:
    modules = {row.module for row in KINDS.values()}
    found = set()
    for file in ROOT.rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(("store/s3/", "store/file")):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            words: set[str] = set()
            if isinstance(node, ast.ImportFrom):
                words = {node.module or "", *(f"{node.module}.{row.name}" for row in node.names)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                value = node.value
                words = {value} if " " not in value else set()
                if value in ("s3://", "file://"):
                    found.add((name, value))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                of = ast.unparse(node.args[1])
                found |= {(name, of)} if of in ("S3Store", "FileStore", "MemoryStore") else set()
            inside = {w for w in words for m in modules if w == m or w.startswith(f"{m}.")}
            found |= {(name, word) for word in inside}
    assert {name for name, _ in found} == NAMED, found
