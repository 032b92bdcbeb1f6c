"""Every hint of the program, and the decision on it: what happens to others if it is run.

Agents that read nothing but errors run hints as they stand. So no hint ends, takes or moves what
another agent or session holds, accepts a loss, or has a word that the reader was to fill in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.primitives import NO_WAY_BACK, OPS

import tclog
from tclog.errors import to_run
from tclog.event import Event, EventId

ROOT = Path(tclog.__file__).parent

LOOKS = "reads only, or writes the reader's own copy"
HELPS = "prints a help"
AGAIN = "the command that failed; where that was dangerous, it has a key"
FREE = "takes what nobody holds, or waits until nobody does"
OWN = "changes only what is the caller's own"
BEGINS = "makes a thing that is not there; refused where it is"
FILL = "a word is to be filled in; run as it stands, it harms nobody"

# How a hint begins, and what it does to others. * stands for what is put into it.
DECISIONS: Mapping[str, str] = {
    # -- tclog
    "* --help": HELPS,
    "tclog --help": HELPS,
    "tclog artifact get * -o FILE": FILL,
    "tclog artifact get * -o OTHER-FILE": FILL,
    "tclog artifact history *": LOOKS,
    "tclog artifact list": LOOKS,
    "tclog artifact put --help": HELPS,
    "tclog agents": LOOKS,
    "tclog barrier * --parties *": OWN,
    "tclog batch --help": HELPS,
    "tclog claim --next": FREE,
    "tclog claim *": FREE,
    "tclog claim * --wait": FREE,
    "tclog claim * --id *": AGAIN,
    "tclog clone --help": HELPS,
    "tclog doctor": LOOKS,
    "tclog export --help": HELPS,
    "tclog fsck": LOOKS,
    "tclog --store * --project conformance fsck": LOOKS,
    "tclog gc": LOOKS,
    "tclog import *": BEGINS,
    "tclog inbox --all": LOOKS,
    "tclog init": BEGINS,
    "tclog init --help": HELPS,
    "tclog init s3://bucket/prefix": FILL,
    "tclog log": LOOKS,
    "tclog memory get *": LOOKS,
    "tclog memory history *": LOOKS,
    "tclog memory incr * --by *": OWN,
    "tclog memory list": LOOKS,
    "tclog projects": LOOKS,
    "tclog projects *": LOOKS,
    "tclog renew *": OWN,
    "tclog replay": LOOKS,
    "tclog send --help": HELPS,
    "tclog show *": LOOKS,
    "tclog state": LOOKS,
    "tclog status": LOOKS,
    "tclog step add *": BEGINS,
    "tclog step add --help": HELPS,
    "tclog step list": LOOKS,
    "tclog step show *": LOOKS,
    "tclog tag": LOOKS,
    "tclog tag *": BEGINS,
    "tclog trust accept --help": HELPS,
    "tclog txn --help": HELPS,
    "tclog void --help": HELPS,
    "tclog wait-for *": LOOKS,
    "tclog watch": LOOKS,
    "tclog watch --help": HELPS,
    "tclog where": LOOKS,
    # Where a file cannot be written: the same command with another file, of the user's own.
    "tclog *": OWN,
    # -- the command again
    "run the same command again": AGAIN,
    # -- the shell
    "apt-get install git": OWN,
    "aws configure list": LOOKS,
    "aws configure list-profiles": LOOKS,
    "cat *": LOOKS,
    "cd": OWN,
    "date -u": LOOKS,
    "aws s3api get-bucket-encryption --bucket": LOOKS,
    "aws s3api get-bucket-lifecycle-configuration --bucket": LOOKS,
    "aws s3api get-bucket-location --bucket": LOOKS,
    "aws s3api get-bucket-versioning --bucket": LOOKS,
    "aws sts get-caller-identity": LOOKS,
    "df *": LOOKS,
    "df -h": LOOKS,
    "dmesg": LOOKS,
    "export *": OWN,
    "export TCLOG_CHECKSUM=sha256": OWN,
    "export TCLOG_REGION={quoted_region}": OWN,
    "export AWS_ACCESS_KEY_ID=ID AWS_SECRET_ACCESS_KEY=SECRET": FILL,
    "export AWS_CA_BUNDLE=FILE": FILL,
    "export TCLOG_AGENT=NAME": FILL,
    "git status": LOOKS,
    "ls -l": LOOKS,
    "ls -ld": LOOKS,
    "mkdir -p *": OWN,
    "pip install --upgrade tclog-agents": OWN,
    "pipx install *": BEGINS,
    "tar -cf *": OWN,
    "unset": OWN,
    "which *": LOOKS,
}
# What no hint does, but by --help: to others' work, to evidence, to what is there.
FORBIDDEN = re.compile(
    r" (--force|--steal|--move|--delete|--as|--reason|--fence|complete|done|release|reopen|revert|"
    r"void|delete|rm|unlink|accept|pack)\b"
)
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}(-[A-Z]+)*\b")


def texts(value: ast.expr, names: Mapping[str, ast.expr]) -> Iterator[str]:
    """Yield what an expression may say, with * for what is put into it."""
    match value:
        case ast.Constant(str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in parts)
        case ast.IfExp(body=one, orelse=other):
            yield from (*texts(one, names), *texts(other, names))
        case ast.BoolOp(values=values):
            for one in values:
                yield from texts(one, names)
        case ast.Call(ast.Name("to_run"), [words, *given], keywords):
            then = [text for word in keywords for text in texts(word.value, names)] or [""]
            more = ["*" for _ in given]
            for begin in texts(words, names):
                yield from (" ".join(filter(None, (begin, *more, end))) for end in then)
        case ast.Name(name) if name in names:
            yield from texts(names[name], names)


def constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the expressions of a module's constants."""
    return {
        ast.unparse(node.targets[0]): node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper()
    }


def hints() -> Iterator[tuple[str, str]]:
    """Yield every hint in the code, and where it stands."""
    shared = constants(ast.parse((ROOT / "errors.py").read_text()))
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text())
        names = shared | constants(tree)
        for node in ast.walk(tree):
            value: ast.expr | None = None
            if (isinstance(node, ast.keyword) and node.arg == "hint") or (
                isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("hint")
            ):
                value = node.value
            for text in () if value is None else texts(value, names):
                if text:
                    yield f"{file.relative_to(ROOT)}:{value.lineno}", text  # type: ignore[union-attr]


def undo_hints() -> Iterator[tuple[str, str]]:
    """Yield what helps where an event has no way back."""
    for op, (_, hint) in NO_WAY_BACK.items():
        event = Event(EventId("0" * 64), {"op": op, "body": {"to": ["qq"]}})
        yield f"no way back from {op}", hint(event, "qq").replace("0" * 12, "*").replace("qq", "*")
    for op, known in OPS.items():
        event = Event(EventId("0" * 64), {"op": op, "body": {"by": 77}})
        told = known.instead(event, "qq")
        if told:
            yield f"instead of {op}", told.replace("-77", "*").replace("qq", "*")


HINTS = [*hints(), *undo_hints()]


def decided(hint: str) -> str | None:
    """Return the longest beginning of a hint that was decided on."""
    begins = [one for one in DECISIONS if hint == one or hint.startswith(f"{one} ")]
    return max(begins, key=len, default=None)


def test_every_hint_is_found() -> None:
    assert len(HINTS) > 200
    assert {"tclog renew *", "tclog claim * --wait", "tclog fsck"} <= {hint for _, hint in HINTS}


@pytest.mark.parametrize(("where", "hint"), HINTS, ids=[f"{w} {h}" for w, h in HINTS])
def test_every_hint_was_decided_on(where: str, hint: str) -> None:
    decision = decided(hint)
    assert decision is not None, f"{where}: decide what happens to others if {hint!r} is run"
    if DECISIONS[decision] is not HELPS:
        assert not FORBIDDEN.search(hint), where
    assert (DECISIONS[decision] is HELPS) == hint.endswith("--help"), where
    if DECISIONS[decision] is not FILL:
        assert not PLACEHOLDER.search(re.sub("TCLOG_[A-Z_]+", "", hint)), where


def test_no_decision_is_on_a_hint_that_is_gone() -> None:
    assert DECISIONS.keys() - {decided(hint) for _, hint in HINTS} == set()


@pytest.mark.parametrize(
    "hint",
    [
        "tclog complete X --force --reason TEXT",
        "tclog release X --as bob",
        "tclog tag X POINT --move",
        to_run("tclog reopen", "x"),
        "tclog trust accept",
    ],
)
def test_what_overrides_is_seen(hint: str) -> None:
    assert FORBIDDEN.search(hint)
