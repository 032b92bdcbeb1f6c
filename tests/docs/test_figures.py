"""The figures are what the script writes from the raw results, and the pages name what exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.stores import REPOSITORY

DOCS = REPOSITORY / "docs"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_the_page_is_what_the_script_writes():
    script = REPOSITORY / "scripts" / "figures"
    done = subprocess.run([sys.executable, script, "--check"], check=False, timeout=120)
    assert done.returncode == 0, "run scripts/figures"


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
