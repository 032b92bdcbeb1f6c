"""Names that look like others: nothing is made under one, and what is there is shown quoted.

What is there was written by an earlier build: here by one whose rule is switched off.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tclog.event import why_odd

from .conftest import User, earlier_build

ODD = [
    *("build ", " build", "build\u00a0", "\u3000build"),
    *("bu\u200bild", "\ufeffbuild", "build\u00ad", "bui\u2060ld", "bui\u202eld", "bu\u3164ild"),
    *("\u200dbuild", "build\ufe0f", "build\u200c", "bu\U000e0041ild"),
]
PLAIN = [
    "build",
    "bu ild",
    "größe",
    "e\u0301",
    "👩\u200d💻",
    "❤\ufe0f!",
    "می\u200cخواهم",
    "日本 語",
    "-x",
]

# Every command that makes a name; X is the name.
MAKES = [
    "memory set X v", "memory incr X", "memory append X v", "step add X", "claim X", "send X hi",
    "send bob,X hi", "complete s --to X", "barrier X --parties 1", "artifact put f --name X",
    "tag X", "claim s2 --as X", "memory set k v --as X", "send bob hi --as X", "exec X -- true",
    "-C sub init --project X", "txn memory", "txn step", "txn message", "batch",
]  # fmt: skip
TXN = {
    "txn memory": '{"op":"memory.set","key":"X","value":"v"}',
    "txn step": '{"op":"step.add","id":"X"}',
    "txn message": '{"op":"message.send","to":"X","text":"hi"}',
    "batch": '{"op":"step.claim","id":"X"}',
}


@pytest.fixture
def started(project: User) -> User:
    (project.work / "f").write_text("x")
    (project.work / "sub").mkdir()
    project("claim", "s").ok()
    return project


def events(user: User) -> list[str]:
    return [row["id"] for row in user("log", "--json", "-n", "0").objects()]


@pytest.mark.parametrize("command", MAKES)
def test_nothing_is_made_under_a_name_that_looks_like_another(started: User, command: str) -> None:
    before = events(started)
    for name in (ODD[0], ODD[4]):
        stdin = TXN[command].replace("X", name).encode() if command in TXN else None
        words = [word.replace("X", name) for word in command.split()]
        words = words[:1] if stdin else words
        told = started("--json", *words, stdin=stdin)
        assert told.code == 2, (command, name, told)
        assert '"code":"bad-name"' in told.err + told.out
    # Nothing was written before it was noticed.
    assert events(started) == before
    assert not (started.work / "sub" / ".tclog").exists()


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_which_names_are_odd(started: User, name: str) -> None:
    assert why_odd(name) is not None
    told = started("step", "add", "--json", "--", name).error(2)
    assert told["code"] == "bad-name"
    assert "white space" in told["message"] or "invisible character" in told["message"]
    assert started("whoami", env={"TCLOG_SESSION": name}).code == 2


@pytest.mark.parametrize("name", PLAIN, ids=ascii)
def test_which_names_are_not(started: User, name: str) -> None:
    assert why_odd(name) is None
    started("step", "add", "--", name).ok()
    assert name in [row["id"] for row in started("step", "list", "--json").objects()]


@pytest.mark.parametrize("name", [ODD[0], ODD[4]], ids=ascii)
def test_what_is_there_stays_readable_and_is_shown_quoted(started: User, name: str) -> None:
    with earlier_build():
        for command in ("step add X", "memory set X v", "tag X", "send X hi", "claim s2 --as X"):
            if command != "tag X" or name == name.strip():  # a point in time has no spaces
                started(*[word.replace("X", name) for word in command.split()]).ok()
    quoted = f"'{name}'" if name.isascii() else "\\u200bild'"
    for command in ("memory list", "tag", "agents", "step list", "step show X", "log", "status"):
        shown = started(*[word.replace("X", name) for word in command.split()]).ok().out
        assert quoted in shown or (command == "tag" and name != name.strip()), command
    # It is read and written to as any other.
    assert started("memory", "get", name).ok().out.rstrip("\n") == "v"
    for command in ("memory set X w", "claim X", "note X hi", "complete X", "send X again",
                    "inbox --ack --as X", "renew s2 --as X"):  # fmt: skip
        started(*[word.replace("X", name) for word in command.split()]).ok()


def test_the_characters_are_those_of_unicode() -> None:
    if shutil.which("perl") is None:
        pytest.skip("perl is not installed")
    script = Path(__file__).resolve().parents[2] / "scripts" / "ignorable"
    subprocess.run([sys.executable, script, "--check"], check=True)
