"""Only ``event/names.py`` writes out or takes apart the key of an object or the id of a chain."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tclog"
HOME = "event/names.py"
# A folder of a project with something below it, a chain with its name, the number of a slot.
WRITTEN = re.compile(
    r"(chains|events|blobs|packs|once|pending|redacted)/"
    r"|(memory|step|inbox|read|agent|artifact|barrier|tag|pack)/($|[^ ])"
)
FOLDERS = {"chains", "events", "blobs", "packs", "once", "pending", "redacted"}
LISTS = {"List", "Listing", "list", "plan", "check"}
TAKES_APART = {"split", "rsplit", "partition", "rpartition", "count"}
# Files that take other paths apart than keys of format 1.
MAY_TAKE_APART = {
    "store/": "a store knows paths alone",
    "testing/bucket.py": "a store",
    "log/project.py": "URLs and prefixes of buckets",
    "history/git.py": "paths in a git repository",
    "maintenance/copies/destination.py": "the name of a store before a key",
    "cli/": "paths of files",
}
MAY_WRITE = {"history/git.py": MAY_TAKE_APART["history/git.py"]}


def literals(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield what deals with a key by hand: its line, its kind, and the text."""
    tree = ast.parse(source)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings and WRITTEN.match(node.value):
                yield node.lineno, "written", node.value
        elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            if ast.unparse(node.format_spec) == "f'010d'":
                yield node.lineno, "written", ast.unparse(node)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in TAKES_APART and node.args[0].value == "/":
                yield node.lineno, "taken apart", ast.unparse(node)
            if name in LISTS and node.args[0].value in FOLDERS:
                yield node.lineno, "written", ast.unparse(node)


def test_no_module_but_one_knows_how_keys_are_made():
    found = [
        f"{name}:{line}: {kind}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE).as_posix()) != HOME
        for line, kind, text in literals(path.read_text())
        if not name.startswith(tuple(MAY_WRITE if kind == "written" else MAY_TAKE_APART))
    ]
    assert not found, f"ask {HOME} for these keys:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        'key = f"chains/{kind}/{segment}"',
        'key = "blobs/" + blob',
        'yield List("events", after)',
        'folder = key.rpartition("/")[0]',
        'kind, _, name = chain.partition("/")',
        'if chain.startswith("inbox/"): pass',
        'key = f"{folder}/{last - seq:010d}.json"',
    ],
)
def test_a_key_by_hand_is_found(source: str):
    assert list(literals(source))


@pytest.mark.parametrize("source", ['"""events/ holds them."""', 'row["events"]', 'len("events")'])
def test_other_words_are_left_alone(source: str):
    assert not list(literals(source))
