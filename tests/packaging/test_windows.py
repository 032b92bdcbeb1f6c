"""What reading and imitation show of Windows: tclog loads there, and a folder's store works.

Nothing here has run on Windows. A process without what POSIX alone has comes as near as it gets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docs.reading import ROOT

from tclog.errors import BadName
from tclog.store import file
from tclog.store.file import FileStore

BEGIN = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.windows import imitate
imitate()
"""
LOAD = """
import importlib, pkgutil, tclog
def fail(name): raise
for found in pkgutil.walk_packages(tclog.__path__, "tclog.", onerror=fail):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print("loaded")
"""
RUN = """
import io, json
import tclog.store.file
from tclog.cli.app import run_command
tclog.store.file.WINDOWS = True
ended = []
for words in json.loads(sys.argv[1]):
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    status = run_command(words)
    out, err = (one.buffer.getvalue().decode() for one in (sys.stdout, sys.stderr))
    ended.append([status, out, err])
print(json.dumps(ended), file=sys.__stdout__)
"""
COMMANDS = [
    ["init", "--as", "alice"],
    ["doctor"],
    ["memory", "set", "A.b:c*?", "two\nlines\n"],
    ["memory", "get", "A.b:c*?"],
    ["send", "alice", "hello"],
    ["inbox", "--ack"],
    ["claim", "design"],
    ["artifact", "put", "file.txt"],
    ["artifact", "get", "file.txt", "-o", "again.txt"],
    ["artifact", "get", "file.txt", "-o", "again.txt"],
    ["complete", "design"],
    ["log"],
    ["fsck"],
    ["report", "report.html"],
    ["export", "-o", "out.jsonl"],
]
REFUSED = {
    "init --shared": ["init", "--shared", "store"],
    "exec": ["exec", "step", "--", "true"],
    "watch --exec": ["watch", "--exec", "true"],
    "conformance": ["conformance", "--", "tclog", "batch"],
}
# What no file on Windows has in its name.
FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]$')


def imitated(script: str, folder: Path, *words: str) -> str:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environ = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    work = folder / "work"
    work.mkdir(exist_ok=True)
    (work / "file.txt").write_bytes(b"one\ntwo\r\n")
    ran = subprocess.run(
        [sys.executable, "-c", BEGIN + script, *words],
        cwd=work,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def run_all(folder: Path, *commands: list[str]) -> list[Any]:
    return json.loads(imitated(RUN, folder, json.dumps(commands)))


def test_every_module_loads(tmp_path: Path) -> None:
    assert imitated(LOAD, tmp_path) == "loaded\n"


def test_commands_work_on_a_folder(tmp_path: Path) -> None:
    for words, (status, _, err) in zip(COMMANDS, run_all(tmp_path, *COMMANDS), strict=True):
        assert status == 0, (words, err)
    work = tmp_path / "work"
    assert (work / "again.txt").read_bytes() == b"one\ntwo\r\n"
    written = [path for path in tmp_path.rglob("*") if "out" not in path.parts]
    assert len(written) > 50
    assert not [path for path in written if FORBIDDEN.search(path.name)]


def test_what_cannot_work_ends_with_one_error(tmp_path: Path) -> None:
    shared, *others = REFUSED.values()
    ended = run_all(tmp_path, shared, ["init", "--as", "alice"], *others)
    del ended[1]
    for what, (status, _, err) in zip(REFUSED, ended, strict=True):
        assert status == 2, err
        assert err.startswith(f"error: {what} does not work on this system, which has no "), err


@pytest.mark.parametrize("name", ["con", "Nul", "aux.txt", "COM1", "lpt9.a.b", "a."])
def test_a_name_that_windows_keeps_for_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Such a write would go to a device, or meet the name without its last dot."""
    store = FileStore(tmp_path)
    key = f"chains/memory/{name}/0000000001.json"
    store.create(key, b"1")  # everywhere else it is a name as others
    monkeypatch.setattr(file, "WINDOWS", True)
    for act in (store.get, store.stat, lambda key: store.create(key, b"2")):
        with pytest.raises(BadName):
            act(key)
    for fine in ("console", "a.con", "com10", "a.b", "xnul"):
        store.create(f"chains/memory/{fine}/0000000001.json", b"1")
