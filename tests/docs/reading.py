"""The documents as the tests read them: fenced blocks, tables, and commands with their output.

A block of kind ``console`` holds commands, each on a line that begins with ``$ ``, and below each
what a terminal shows. They run in one folder, each in a bash of its own, on a pseudo-terminal and
with nothing of the caller's environment, so a document shows what a reader will see. What differs
from run to run is put into one form on both sides before they are compared: times, ages, ids and
the folder's name.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# How the documents write the reader's home; the test has a temporary folder there.
HOME = "/home/you"
# And how they write the name of the reader's machine.
HOST = "laptop"
COMMAND_S = 60.0

_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")
_VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z(-[0-9a-f]{4})?"), "<time>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d"), "<hour>"),
    (re.compile(r"\d{6}\.\d{6}-[0-9a-f]{4}-"), "<clock>-"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<clock>"),
    (re.compile(r"\b\d+[smhd]( ago| left)"), r"<span>\1"),
    (re.compile(r"\bin \d+[smhd]\b"), "in <span>"),
    (re.compile(r"\b[0-9a-f]{8,64}\b"), "<id>"),
    (re.compile(r"[ \t]+"), " "),
]


class Shown(NamedTuple):
    """A command of a document and what the document shows below it."""

    command: str
    output: str
    line: int


def documents() -> list[Path]:
    """Return every document that users or contributors read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, kind: str) -> list[tuple[str, int]]:
    """Return the fenced blocks of a kind, each with the line that it begins at."""
    text = path.read_text()
    return [
        (found[2], text.count("\n", 0, found.start()) + 2)
        for found in _FENCE.finditer(text)
        if found[1] == kind
    ]


def prose(path: Path) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", path.read_text())


def table(path: Path, heading: str) -> list[dict[str, str]]:
    """Return the rows of the table whose first column has this heading, by their headings."""
    rows: list[dict[str, str]] = []
    names: list[str] = []
    for line in path.read_text().splitlines():
        if not line.startswith("|"):
            names = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]
        if not names:
            names = cells
        elif names[0] == heading and not set(line) <= set("|-: "):
            rows.append(dict(zip(names, cells, strict=True)))
    assert rows, f"{path} has no table that begins with {heading}"
    return rows


def shown(path: Path) -> list[Shown]:
    """Return the commands of a document's console blocks, in order."""
    found: list[Shown] = []
    for text, start in blocks(path, "console"):
        for number, line in enumerate(text.splitlines(), start):
            if line.startswith("$ "):
                found.append(Shown(line[2:], "", number))
            elif line.startswith("> "):
                last = found[-1]
                found[-1] = last._replace(command=f"{last.command}\n{line[2:]}")
            else:
                found[-1] = found[-1]._replace(output=f"{found[-1].output}{line}\n")
    assert found, f"{path} shows no command"
    return found


def environment(home: Path) -> dict[str, str]:
    """Return all that a command of a document is given."""
    here = Path(sys.executable).parent
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": f"{here}:/usr/local/bin:/usr/bin:/bin",
        "TERM": "xterm",
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }


def run(command: str, folder: Path, home: Path) -> str:
    """Run a command in bash on a pseudo-terminal; return what it showed."""
    own, its = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    shown = b"".join(_pieces(own))
    os.close(own)
    process.wait(COMMAND_S)
    text = shown.decode().replace("\r\n", "\n").replace(str(home), HOME)
    return re.sub(rf"(?m)\b{re.escape(os.uname().nodename)}$", HOST, text)


def _pieces(handle: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(handle, 1 << 16)
        except OSError:  # Linux says so when the last writer has closed its end
            return
        if not piece:
            return
        yield piece


def settled(output: str) -> list[str]:
    """Put what differs from run to run into one form."""
    lines = output.splitlines()
    for pattern, word in _VARYING:
        lines = [pattern.sub(word, line) for line in lines]
    return [line.strip() for line in lines]


def check(path: Path, home: Path, folder: str) -> None:
    """Run a document's commands in ``folder`` below ``home`` and compare what they show."""
    place = home / folder
    place.mkdir()
    for example in shown(path):
        seen = run(example.command, place, home)
        where = f"{path.name}:{example.line}: $ {example.command}\n{seen}"
        assert settled(seen) == settled(example.output), where


def record(path: Path, home: Path, folder: str) -> int:
    """Write what the commands show now into a document; return how many outputs changed.

    All are written, so that times and ids fit together: they are of one run.
    """
    place = home / folder
    place.mkdir()
    changed = 0
    lines = path.read_text().splitlines()
    shift = 0
    for example in shown(path):
        seen = run(example.command, place, home)
        changed += settled(seen) != settled(example.output)
        start = example.line + shift + example.command.count("\n")
        old, new = example.output.splitlines(), [line.rstrip() for line in seen.splitlines()]
        lines[start : start + len(old)] = new
        shift += len(new) - len(old)
    path.write_text("\n".join(lines) + "\n")
    return changed


if __name__ == "__main__":
    # After a change of what commands print: PYTHONPATH=tests python -m docs.reading README.md ...
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as temporary:
            print(name, record(ROOT / name, Path(temporary).resolve(), "demo"))
