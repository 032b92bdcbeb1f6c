"""Who reads the environment: the command line and ``tclog.open``, which hand it down."""

from __future__ import annotations

import ast
from pathlib import Path

import tclog

ROOT = Path(tclog.__file__).parent
READERS = {
    "log/opening.py",  # tclog.open, for programs
    "store/s3/_obstore.py",  # to hide from obstore what it would obey
}


def test_nothing_else_reads_the_environment() -> None:
    found = set()
    for file in ROOT.rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text())):
            words = ("environ", "environb", "getenv", "getenvb")
            if isinstance(node, ast.Attribute) and node.attr in words:
                of_os = isinstance(node.value, ast.Name) and node.value.id == "os"
                found |= {name} if of_os and not name.startswith("cli/") else set()
    assert found == READERS
