"""Every file, function and heading that a document names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from docs.reading import ROOT, documents, prose

FOLDERS = ("tclog/", "tests/", "scripts/", "docs/", "bench/")
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml")
# Not a name: a placeholder, or how the client calls itself in events.
OPEN = re.compile(r"[<>*]|^tclog/\d")

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that a document's headings get."""
    found = []
    for heading in _HEADING.findall(prose(path)):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        found.append(plain.strip().replace(" ", "-"))
    return frozenset(found)


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return what a module defines: functions, classes, their methods."""

    def walk(body: list[ast.stmt], before: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield before + node.name
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{node.name}.")

    return frozenset(walk(ast.parse(path.read_text()).body, ""))


def named(path: Path) -> Iterator[str]:
    """Return the paths in a document's code words."""
    for word in _CODE.findall(prose(path)):
        for part in word.split():
            if part.startswith(FOLDERS) or part in FILES:
                yield part


@pytest.mark.parametrize("path", documents(), ids=ids)
def test_every_file_and_function_that_is_named_exists(path: Path) -> None:
    missing = []
    for word in named(path):
        file, found, name = word.partition("::")
        if OPEN.search(file):
            continue
        there = (ROOT / file).exists()
        if not there or (found and name not in names_in(ROOT / file)):
            missing.append(word)
    assert not missing


@pytest.mark.parametrize("path", documents(), ids=ids)
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for target in _LINK.findall(prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


def test_the_readme_leads_to_every_document() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{path.name})" in readme


def test_no_document_names_this_machine() -> None:
    for path in documents():
        text = path.read_text()
        for word in ("/work/", "/root/", "/tmp/", "pypi.org", "docker.io"):
            assert word not in text, (path, word)


@pytest.mark.parametrize("path", documents(), ids=ids)
def test_a_document_has_no_control_character(path: Path) -> None:
    """The escapes that cli.md explains once stood there as the characters themselves."""
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", path.read_text())
