"""``tclog conformance``: passes tclog itself, and catches clients that break a rule."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest
from cli.conftest import User
from support.zygote import TCLOG

from tclog.testing.conformance import PARTS, Check, conform

SECOND = Path(__file__).with_name("second.py")
BROKEN = Path(__file__).with_name("broken.py")
JUDGED = (
    "chains", "writes", "answers", "order", "values", "guards", "claims", "fences", "leases",
    "inboxes", "arrivals", "broadcasts", "fsck",
)  # fmt: skip


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def tried(command: list[str], folder: Path, *only: str, rounds: int = 1) -> dict[str, Check]:
    """Try a client; return the checks by name."""
    found: list[Check] = []
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    tell = found.append
    held = conform(
        command, environ, folder, seed=1, rounds=rounds, seconds=60, tell=tell, only=only
    )
    assert held == all(check.ok for check in found)
    return {check.name: check for check in found}


def test_tclog_itself_passes(user: User) -> None:
    done = user.process("conformance", "--rounds", "1", "--json", "--", TCLOG, "batch")
    rows = [json.loads(line) for line in done.ok().out.splitlines()]
    assert [row["name"] for row in rows] == [*PARTS, *JUDGED]
    assert all(row["ok"] and row["type"] == "check" for row in rows)
    details = {row["name"]: row["detail"] for row in rows}
    # That it was put to the test, and not left out.
    assert details["alone"] == details["clocks"] == ""
    assert int(details["answers"].split()[0]) > 100


def test_a_client_written_from_the_document_alone_passes(tmp_path: Path) -> None:
    source = ast.parse(SECOND.read_text())
    imported = {
        name
        for node in ast.walk(source)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(row.name for row in node.names)]
    }
    assert not {name for name in imported if name and name.startswith("tclog")}
    found = tried([sys.executable, str(SECOND)], tmp_path, rounds=1)
    assert {name: check.detail for name, check in found.items() if not check.ok} == {}
    assert "memory.append" in found["alone"].detail
    assert found["clocks"].detail == ""


# The bug, the part that shows it, and a check that must fail.
BUGS = [
    ("forgetful", "alone", "writes"),
    ("overwriting", "races", "writes"),
    ("stealing", "races", "chains"),
    ("nameless", "lapsed", "lapsed"),
    ("keyless", "keys", "keys"),
    ("literal", "keys", "keys"),
    ("clockless", "clocks", "clocks"),
    ("premature", "transactions", "transactions"),
    ("spacious", "alone", "alone"),
]


@pytest.mark.parametrize(("bug", "part", "check"), BUGS, ids=[row[0] for row in BUGS])
def test_a_broken_client_is_caught(tmp_path: Path, bug: str, part: str, check: str) -> None:
    found = tried([sys.executable, str(BROKEN), bug, "batch"], tmp_path, part, rounds=2)
    assert not found[check].ok, found
    assert found[check].detail


def test_a_client_that_does_not_answer_is_caught(tmp_path: Path) -> None:
    found = tried(["/bin/sh", "-c", "exit 0"], tmp_path, "alone")
    assert not found["alone"].ok
    assert "no answer" in found["alone"].detail


def test_a_client_without_an_operation_that_is_needed_is_told_so(tmp_path: Path) -> None:
    script = """while read -r line; do
      echo '{"type":"error","code":"op-unknown","message":"no","exit":2}'; done"""
    found = tried(["/bin/sh", "-c", script], tmp_path)
    assert list(found) == ["alone"]
    assert "memory.set" in found["alone"].detail


def test_the_command_fails_with_1_and_keeps_the_store(user: User) -> None:
    command = [sys.executable, str(BROKEN), "spacious", "batch"]
    done = user.process("conformance", "--only", "alone", "--json", "--", *command)
    assert done.code == 1
    error = json.loads(done.err.splitlines()[-1])
    assert (error["code"], error["exit"]) == ("client-differs", 1)
    words = error["hint"].split()
    assert words[0] == "tclog"
    # The client folds what tclog ignores, so fsck finds its state wrong.
    assert user.process(*words[1:]).code == 8


def test_a_clock_that_is_set_off_is_read_or_refused(user: User) -> None:
    user("init", "--as", "alice").ok()
    offset = {"TCLOG_TEST_CLOCK_OFFSET_S": "-7200", "TCLOG_AGENT": "alice"}
    done = user("memory", "set", "k", "v", env=offset)
    assert re.search(r"(7199|720\d) s behind", done.ok().err)
    wrong = user("memory", "get", "k", "--json", env={"TCLOG_TEST_CLOCK_OFFSET_S": "soon"})
    assert "TCLOG_TEST_CLOCK_OFFSET_S" in wrong.error(2)["message"]


def test_the_time_bounds_the_rounds(tmp_path: Path) -> None:
    found: list[Check] = []
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, str(SECOND)]
    only = ("alone", "races", "killed")
    conform(
        command, environ, tmp_path, seed=1, rounds=10_000, seconds=0, tell=found.append, only=only
    )
    details = {check.name: check.detail for check in found}
    assert details["races"].startswith("1 round(s)")
    assert details["killed"].startswith("3 killed")


def test_what_cannot_be_tried_is_a_clear_error(user: User) -> None:
    missing = user("conformance", "--json", "--", "no-such-client")
    assert missing.error(3)["code"] == "command-not-found"
    assert user("conformance", "--json", "--only", "x", "--", "true").error(2)["hint"]
    assert user("conformance", "--json").code == 2


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "1",
        "{}",
        "x",
        '{"type":"memory","key":"a","value":"1","version":"1","id":7}',
        '{"type":"list","items":[7,{"n":"1"}],"version":1,"id":"x"}',
        '{"type":"error"}',
        '{"type":"error","exit":"4","code":[]}',
    ],
)
def test_whatever_a_client_answers_is_told_and_no_bug(tmp_path: Path, answer: str) -> None:
    script = f"while read -r line; do echo '{answer}'; done"
    found = tried(["/bin/sh", "-c", script], tmp_path, "alone", "races", "keys")
    assert not found["alone"].ok
