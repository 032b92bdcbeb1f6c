"""Hints are commands that agents run: whatever a name holds, it is one word of them."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.primitives import NO_WAY_BACK

import tclog
from tclog.domain import steps
from tclog.domain.decision import Place
from tclog.errors import Refused, quote, to_run
from tclog.event import Event, EventId

ROOT = Path(tclog.__file__).parent
# What needs no quotes: numbers, ids that are cut, and words of ours.
PLAIN = (
    "parties",
    "-commit.event.body['by']",
    "near[0]",
    "path",
    "kind",
    "at",
    "key",
    "ctx.command_path",
    "command",
)

# What hints may begin with; "run" is followed by "the command again".
PROGRAMS = {
    *("tclog", "run", "export", "aws", "apt-get", "cat", "cd", "date", "df", "dmesg", "git", "ls"),
    *("mkdir", "pip", "pipx", "tar", "unset", "which"),
}


def names_of(call: ast.Call) -> list[ast.expr]:
    """Return what a call quotes."""
    match call.func:
        case ast.Name("quote"):
            return call.args
        case ast.Name("to_run"):
            return call.args[1:]
    return []


def hints() -> Iterator[tuple[str, ast.JoinedStr]]:
    """Yield every hint with something put into it, and where it stands."""
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            value: ast.expr | None = None
            if (isinstance(node, ast.keyword) and node.arg == "hint") or (
                isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("hint")
            ):
                value = node.value
            nodes = list(ast.walk(value)) if value is not None else []
            quoted = {
                inner
                for part in nodes
                if isinstance(part, ast.Call)
                for word in names_of(part)
                for inner in ast.walk(word)
            }
            for part in nodes:
                if isinstance(part, ast.JoinedStr) and part not in quoted:
                    yield f"{file.relative_to(ROOT)}:{part.lineno}", part


def beginnings(hint: ast.expr) -> Iterator[str]:
    """Yield how the texts begin that a hint may be."""
    match hint:
        case ast.Constant(str(text)) | ast.JoinedStr([ast.Constant(str(text)), *_]):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*beginnings(one), *beginnings(other))
        case ast.BinOp(left=left):
            yield from beginnings(left)
        case ast.Call(ast.Name("to_run"), [words, *_]):
            yield from beginnings(words)


def test_a_hint_is_a_command() -> None:
    found = [
        (file.name, text)
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "hint"
        for text in beginnings(node.value)
    ]
    assert len(found) > 100
    assert not [(name, text) for name, text in found if text and text.split()[0] not in PROGRAMS]


def test_a_hint_is_a_command_as_it_stands() -> None:
    """Words behind it would be run with it."""
    told = [
        f"{file.name}:{part.lineno} {part.value}"
        for file in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.keyword | ast.Assign)
        and (getattr(node, "arg", None) or ast.unparse(getattr(node, "targets", [node])[0]))
        in ("hint", "error.hint", "missing.hint", "unknown.hint")
        for part in ast.walk(node.value)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, str)
        and any(mark in f"{part.value} " for mark in (", ", ": ", " or ", " if ", " ... "))
    ]
    assert not told


def test_whatever_a_hint_holds_is_one_word_of_its_command() -> None:
    found = list(hints())
    assert len(found) > 20
    bare = [
        f"{where} {ast.unparse(field.value)}"
        for where, hint in found
        for field in hint.values
        if isinstance(field, ast.FormattedValue)
        and not ast.unparse(field.value).startswith("quote(")
        and not ast.unparse(field.value).endswith("[:12]")
        and ast.unparse(field.value) not in PLAIN
    ]
    assert not bare


@given(st.text(min_size=1))
def test_a_word_is_read_back_by_a_shell(text: str) -> None:
    assert shlex.split(f"tclog {quote(text)} --wait") == ["tclog", text, "--wait"]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_no_name_is_an_option_of_the_command(names: list[str]) -> None:
    words = shlex.split(to_run("tclog claim", *names, then="--lease 1h"))
    if any(name.startswith("-") for name in names):
        assert words == ["tclog", "claim", "--lease", "1h", "--", *names]
    else:
        assert words == ["tclog", "claim", *names, "--lease", "1h"]


@pytest.mark.parametrize("op", NO_WAY_BACK)
def test_names_in_what_helps_instead_of_a_revert(op: str) -> None:
    name = "-x; rm -rf ~"
    _, hint = NO_WAY_BACK[op]
    told = shlex.split(hint(Event(EventId("0" * 64), {"op": op, "body": {"to": [name]}}), name))
    assert told[0] == "tclog"
    if "rm" in "".join(told):
        assert told[told.index("--") + 1] == name


@pytest.mark.parametrize("name", ["x; rm -rf ~", "$(reboot)", "it's", "`id`", "a b", "~", "*", ""])
def test_names_that_a_shell_would_act_on(name: str) -> None:
    assert shlex.split(quote(name)) == [name]
    held = steps.State(state=steps.CLAIMED, agent="eve", fence=1, lease_ms=1000, held_version=1)
    claim = steps.Claim(name, "bob", 1000, takeover=False)
    refused = steps.decide(held, claim, Place(2))
    assert isinstance(refused, Refused)
    assert shlex.split(refused.hint) == ["tclog", "claim", name, "--wait"]


@pytest.mark.parametrize("name", ["design", "S1.A", "step/design", "größe", "a@b:1,2=3+4%5_6-7"])
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert quote(name) == name
