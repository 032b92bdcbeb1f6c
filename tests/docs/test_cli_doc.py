"""docs/cli.md is what scripts/docs-cli writes, and what the commands do."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from docs.reading import ROOT, blocks, environment
from tclog.clock import SETTLED_US
from tclog.config import Config, Flags, load
from tclog.errors import EXIT_STATUSES
from tclog.store import KINDS

CLI = ROOT / "docs" / "cli.md"


def _script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("docs_cli", str(ROOT / "scripts" / "docs-cli"))
    spec = importlib.util.spec_from_loader("docs_cli", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = kept
    return module


SCRIPT = _script()


def test_the_page_is_up_to_date() -> None:
    assert CLI.read_text() == SCRIPT.page(), "run: .venv/bin/python scripts/docs-cli"


def test_every_command_says_what_it_does_and_begins_with_an_example() -> None:
    for name, command in SCRIPT.commands():
        assert command.help, name
        assert getattr(command, "example", "").strip().startswith(f"tclog {name}"), name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None) or parameter.name == "kind", parameter.name


def test_every_exit_status_has_a_row_and_code_words() -> None:
    words = SCRIPT.code_words()
    assert set(words) == set(EXIT_STATUSES) - {0}
    assert all(words.values())
    # The words that the contract names.
    assert "key-missing" in words[3]
    assert {"step-held", "version-conflict"} <= words[4]


def test_no_variable_of_ours_is_missing() -> None:
    read = {f"TCLOG_{name.upper()}" for name in ("store", "project", "agent", "endpoint")}
    for kind in KINDS.values():
        read |= {kind.variables.get(name, f"TCLOG_{name.upper()}") for name in kind.settings}
    for path in (ROOT / "tclog").rglob("*.py"):
        read |= set(re.findall(r'"(TCLOG_[A-Z0-9_]+)"', path.read_text()))
    assert read == set(SCRIPT.VARIABLES)


def test_the_example_configuration_has_every_setting_and_no_other(tmp_path: Path) -> None:
    (text,) = [text for text, _ in blocks(CLI, "toml")]
    table = tomllib.loads(text)
    (tmp_path / ".tclog").mkdir()
    (tmp_path / ".tclog" / "config.toml").write_text(text)
    found = load(Flags(), {"HOME": str(tmp_path)}, str(tmp_path))
    places = {"start", "file", "file_source", "user_file", "cache"}
    own = set(Config._fields) - places - {"session", "settings"}
    said = {**found.settings, **{name: getattr(found, name) for name in own}}
    for name, setting in said.items():
        assert setting.source == str(tmp_path / ".tclog" / "config.toml"), name
    inner = {name for value in table.values() if isinstance(value, dict) for name in value}
    assert {*table, *inner} - {kind.table for kind in KINDS.values()} == set(said)


def test_the_bound_of_settling_is_as_told() -> None:
    assert f"less than {SETTLED_US // 60_000_000} minutes old" in SCRIPT.TIMES


# -- the fields of JSON objects -------------------------------------------------------------------

# What makes each of the objects, in this order.
SESSION = """
init --as alice
projects
where
doctor
memory set k v
memory set k v --if-absent
memory get k
memory list
memory history k
memory incr n
memory append k w
memory delete k
memory history k
send bob hello --step design --reply-to 0123abcd
send @all hello
inbox --as bob
ack 1 --as bob
inbox --all --as bob
step add design --title T
step add build --after design
step list
claim brief --lease 100ms
claim design --lease 10m
claim design --lease 20m
claim unheard-of
claim design --as bob
renew design
note design text
step show design
status
agents
release design
claim design
complete design --note done --next-action more --to bob
reopen design
step show design
wait-for nothing --timeout 0s
LATER
step show brief
release brief
exec build -- true
exec fresh -- true
wait-for fresh
barrier b --parties 1
artifact put f.txt --step design
artifact get f.txt -o g.txt
artifact list
artifact history f.txt
batch {"op":"memory.list"}
tag begin 1h
tag begin --delete
tag moving
tag moving --move
revert NEWEST
revert NEWEST
artifact put f.txt
revert NEWEST
memory set k one
memory set k two
revert NEWEST
blame k
step add first
step add second --after first
tag moving --move
claim first
revert NEWEST
claim first
complete first
blame second
state
diff 1h
diff moving
diff 1h --stat
report run.html
export -o log.jsonl
export --git run
import log.jsonl restored
clone . copy
pack
gc
memory set k three --id K
send bob,carol hello
txn {"op":"memory.set","key":"k","value":"four"}
sync
log --attempts
replay
show NEWEST
show VERSION
CLOCK
JUNK
void memory/z 1 --reason test
JUNK
state
trust accept
DAMAGE
fsck
completion bash
"""


# One process for all, since forty starts of an interpreter take longer than what they do.
DRIVER = """
import io, json, os, pathlib, shlex, subprocess, sys
from tclog.cli.app import run_command
def asked(*words):
    command = [sys.executable, "-m", "tclog", *words, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
session = sys.stdin.read()
for line in session.splitlines():
    words = shlex.split(line)
    if words[0] in ("batch", "txn"):
        words, text = words[:1], line.partition(" ")[2]
        sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    if words[-1] in ("NEWEST", "VERSION"):
        newest = asked("log", "-n", "1")["id"]
        version = asked("show", newest)["changes"][0]["version_id"]
        words[-1] = newest if words[-1] == "NEWEST" else version
    if words == ["CLOCK"]:
        event = next(pathlib.Path(".tclog/store").glob("*/events/*/*-agent.*"))
        os.utime(event, (event.stat().st_mtime + 3600,) * 2)
        continue
    if words == ["JUNK"]:
        folder = next(pathlib.Path(".tclog/store").glob("*/chains/memory")) / "z"
        folder.mkdir(exist_ok=True)
        newest = min(folder.glob("*"), default=None)
        number = 9999999999 if newest is None else int(newest.stem)
        (folder / f"{number - 1}.json").write_bytes(b"")
        continue
    if words == ["LATER"]:
        import time
        time.sleep(1.2)
        continue
    if words == ["DAMAGE"]:
        next(pathlib.Path(".tclog/store").glob("*/chains/memory/k/*")).write_bytes(b"{}")
        continue
    status = run_command(["--json", *words])
    assert status in ((8,) if words == ["fsck"] else (0, 3, 4, 5)), (line, status)
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Run a session with --json; return what it printed, by type."""
    home = tmp_path_factory.mktemp("json")
    (home / "f.txt").write_text("x")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=SESSION.strip().encode(),
        cwd=home,
        env={**environment(home), "TCLOG_SESSION": "docs"},
        capture_output=True,
        check=True,
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for text in [*done.stdout.splitlines(), *done.stderr.splitlines()]:
        record = json.loads(text)
        found.setdefault(record["type"], []).append(record)
    return found


def _documented() -> Iterator[tuple[str, set[str], set[str]]]:
    for kind, (_, fields) in SCRIPT.OBJECTS.items():
        always = {name for name in fields if not name.endswith("?")}
        yield kind, always, {name.removesuffix("?") for name in fields}


def test_every_object_has_the_fields_that_the_page_names(
    printed: dict[str, list[dict[str, Any]]],
) -> None:
    assert set(printed) == set(SCRIPT.OBJECTS)
    for kind, always, ever in _documented():
        for record in printed[kind]:
            fields = set(record) - {"type"}
            assert always <= fields, record
            if kind != "error":
                assert fields <= ever, record


def test_no_field_of_the_page_is_never_printed(printed: dict[str, list[dict[str, Any]]]) -> None:
    for kind, _, ever in _documented():
        seen = {name for record in printed[kind] for name in record}
        assert ever - {"..."} <= seen, kind


def test_errors_tell_what_the_page_says_by_code(printed: dict[str, list[dict[str, Any]]]) -> None:
    by_code = {record["code"]: record for record in printed["error"]}
    assert {"holder", "session", "lease_until", "lease_left_s"} <= set(by_code["step-held"])
    conflict = by_code["version-conflict"]
    assert {"version", "value", "agent", "at", "current"} <= set(conflict)
    assert conflict["current"]["type"] == "memory"
