"""A look never writes, an option is never ignored, and what is left is told.

``LOOKS`` names every command that looks. The next case is one line.
"""

from __future__ import annotations

import re
import shlex
from importlib.resources import files

import pytest

from .conftest import User

LOOKS = (
    "status", "status --at 1s", "where", "agents", "step list", "step show s", "step-status s",
    "memory get k", "memory list --values", "memory history k", "inbox --at 1s",
    "artifact list", "artifact history f", "artifact get f -o -", "log --attempts", "log --json",
    "show EVENT", "state", "diff 1h", "blame k", "blame s --step", "tag", "replay", "report -",
    "watch --from 1h --count 1", "sync", "sync --full", "fsck", "export", "gc --dry-run",
    "wait-for done", "batch", "projects", "inbox --all --at @",
)  # fmt: skip
LINES = b'{"op":"memory.get","key":"k"}\n{"op":"step.list"}\n'


@pytest.fixture
def noisy(project: User) -> User:
    """Give a project in which qa has a message, and broadcasts that have no number yet."""
    (project.work / "f").write_text("f")
    for words in (
        "send qa first", "send @all second", "send @all third", "memory set k v", "step add s",
        "claim done", "complete done", "artifact put f", "claim s",
    ):  # fmt: skip
        project(*words.split()).ok()
    return project


def keys(user: User) -> dict[str, bytes]:
    return {
        str(path.relative_to(user.store)): path.read_bytes()
        for path in user.store.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("words", LOOKS)
def test_a_look_writes_nothing_to_the_store(noisy: User, words: str):
    event = noisy("log", "-n", "1", "--json").object()["id"]
    before = keys(noisy)
    done = noisy(*shlex.split(words.replace("EVENT", event)), agent="qa", stdin=LINES)
    assert done.code == 0, done
    assert keys(noisy) == before


def test_status_counts_broadcasts_without_numbering_them(noisy: User):
    def unread(agent: str) -> int:
        return noisy("status", "--json", agent=agent).object()["unread"]

    assert [unread("qa"), unread("nobody yet"), unread("alice")] == [3, 2, 0]
    noisy("inbox", "--ack", agent="qa").ok()
    assert unread("qa") == 0
    noisy("send", "@all", "fourth", agent="bob").ok()
    assert [unread("qa"), unread("bob"), unread("alice")] == [1, 2, 1]
    assert len(noisy("inbox", "--json", agent="qa").objects()) == 1
    assert unread("qa") == 1


# -- what stays unread ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("inbox", "3 message(s) stay unread; acknowledge"),
        ("inbox -n 1", "3 message(s) stay unread; acknowledge"),
        ("inbox --all", "3 message(s) stay unread; acknowledge"),
        ("inbox --wait", "3 message(s) stay unread; acknowledge"),
        ("inbox --ack", "acknowledged 3 message(s)"),
        ("inbox --ack -n 1", "acknowledged 1 message(s); 2 message(s) stay unread"),
    ],
)
def test_an_inbox_says_what_stays_unread(noisy: User, words: str, said: str):
    for as_json in ([], ["--json"]):
        # The second time nothing is left of what was acknowledged.
        done = noisy(*words.split(), *as_json, agent="qa").ok()
        if "--ack" in words:
            assert as_json or said in done.err
        else:
            assert said in done.err
    noisy("inbox", "--ack", agent="qa").ok()
    assert noisy("inbox", agent="qa").ok().err == ""


# -- options that would be ignored ----------------------------------------------------------------

IGNORED = (
    "inbox --timeout 1s", "claim x --timeout 1s", "claim x --reason r", "inbox --wait --all",
    "memory get k --version 1 --at 1s", "step list --ready --state claimed", "export --git d -o f",
    "wait-for s --any --count 1", "claim x --fence 1 --wait",
)  # fmt: skip


@pytest.mark.parametrize("words", IGNORED)
def test_an_option_that_would_be_ignored_is_refused(noisy: User, words: str):
    assert noisy(*words.split(), "--json").error(2)["code"] in ("usage", "reason-missing")


# -- refusals show what is there ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        ("POST /v1", "text", "the value is POST /v1"),
        ("two\nlines", "text", r"the value is two\nlines"),
        ('{"a":"x\\ny"}', "json", r'the value is {"a":"x\ny"}'),
        ("x" * 1000, "text", f"the value is {'x' * 200}... (1000 characters)"),
        ("x" * 100_000, "text", f"the value is {'x' * 200}... (100000 characters)"),
    ],
    ids=lambda part: part[:12],
)
def test_a_refusal_shows_the_value_that_is_there(project: User, value: str, kind: str, shown: str):
    project("memory", "set", "k", value, "--type", kind).ok()
    words = ("memory", "set", "k", "mine", "--if-version", "7")
    assert shown in project(*words).said(4)
    assert shown in project("memory", "set", "k", "mine", "--if-absent").said(4)
    line = b'{"op":"memory.set","key":"k","value":"mine","if_version":7}\n'
    assert shown in project("txn", stdin=line).said(4)
    assert "current" in project("--json", *words).error(4)
    project("memory", "delete", "k").ok()
    assert "the value" not in project(*words).said(4)


# -- the legend of the report ---------------------------------------------------------------------


def test_the_legend_explains_every_mark():
    assets = files("tclog.history.report").joinpath("assets")
    marks, main, style = (
        assets.joinpath(name).read_text() for name in ("marks.js", "main.js", "timeline.css")
    )
    drawn = set(re.findall(r'case "(\w+)":', marks)) | {"other"}
    legend = main[main.index("function drawLegend") :]
    legend = legend[: legend.index("\n}\n")]
    explained = set(re.findall(r'\["(\w+)", "[^"]+"\]', legend))
    # A mark of a step has a swatch of its own: the chips' one is a bar.
    assert drawn - {"claims"} <= explained
    swatches = set(re.findall(r'item\("(swatch-\w+)"', legend))
    assert {"swatch-step", "swatch-hollow", "swatch-renewal", "swatch-broadcast"} <= swatches
    for swatch in swatches | {f"swatch-kind-{kind}" for kind in explained}:
        assert f".{swatch} {{" in style, swatch
