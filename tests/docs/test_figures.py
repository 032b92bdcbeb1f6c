"""The figures are what the script writes from the raw results, and the pages name what exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from support.stores import REPOSITORY

DOCS = REPOSITORY / "docs"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_the_page_is_what_the_script_writes():
    script = REPOSITORY / "scripts" / "figures"
    done = subprocess.run([sys.executable, script, "--check"], check=False, timeout=120)
    assert done.returncode == 0, "run scripts/figures"


@pytest.fixture
def figures() -> ModuleType:
    path = str(REPOSITORY / "scripts" / "figures")
    module = ModuleType("figures")
    module.__file__ = path
    SourceFileLoader("figures", path).exec_module(module)
    return module


def part(first: int, count: int, **more: object) -> dict[str, object]:
    return {"first": first, "schedules": count, "violations": 1, "seconds": 1.4, **more}


def test_parts_of_a_run_are_one_row_and_other_runs_others(figures):
    rows = figures.runs(
        [
            part(0, 10, commit="a"),
            part(10, 5, commit="a"),
            part(15, 5, commit="b"),
            part(20, 5, commit="b", options="--rate stale=0.2"),
            part(30, 5, commit="b", options="--rate stale=0.2"),
        ]
    )
    assert rows == [
        ["`a`", "0 to 14", "", 15, 2, 3],
        ["`b`", "15 to 19", "", 5, 1, 1],
        ["`b`", "20 to 24", "`--rate stale=0.2`", 5, 1, 1],
        ["`b`", "30 to 34", "`--rate stale=0.2`", 5, 1, 1],
    ]


def test_schedules_are_added_once(figures, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "RAW", tmp_path)
    (tmp_path / "simulation.jsonl").write_text('{"first":0}\n')
    (tmp_path / "more").write_text('{"first":0}\n{"first":1}\n')
    for _ in range(2):
        figures.add_schedules(tmp_path / "more")
    assert (tmp_path / "simulation.jsonl").read_text() == '{"first":0}\n{"first":1}\n'


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a checkout")
def test_many_schedules_say_what_they_were_and_at_which_commit():
    command = [REPOSITORY / "scripts" / "schedules", "7", "10", "--clients", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = json.loads(done.stdout)
    known = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert known.stdout.startswith(told["commit"].removesuffix("-dirty"))
    assert (told["first"], told["schedules"], told["options"]) == (7, 3, "--clients 3")


def test_no_promise_was_broken_and_no_planted_bug_missed():
    for name in ("simulation", "transactions", "chaos"):
        path = DOCS / "figures" / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines() if line[0] == "{"]
        assert rows
        assert not sum(row["violations"] for row in rows), name
    rows = [json.loads(line) for line in (DOCS / "figures" / "teeth.jsonl").open()]
    assert len(rows) >= 20
    assert not [row["bug"] for row in rows if row["by"] is None]


@pytest.mark.parametrize("page", ["guarantees.md", "failure-modes.md"])
def test_every_named_test_exists(page: str):
    named = NAMED.findall((DOCS / page).read_text())
    assert len(named) > 10
    for path, name in named:
        file = Path(REPOSITORY / path)
        assert file.is_file(), f"{page} names {path}"
        if name:
            assert re.search(rf"^def {name}\(", file.read_text(), re.MULTILINE), f"{path}::{name}"


def test_every_planted_bug_that_is_named_exists():
    from chaos.planted import BUGS, STORES
    from simulation.teeth import TEETH

    known = {plant.__name__ for plant in TEETH} | BUGS.keys() | STORES.keys()
    text = (DOCS / "guarantees.md").read_text()
    lines = re.findall(r"^\*Planted bugs:\*((?:.+\n)+)", text, re.MULTILINE)
    named = [name for line in lines for name in re.findall(r"`(\w+)`", line)]
    assert len(named) >= 20
    assert not [name for name in named if name not in known]
