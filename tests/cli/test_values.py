"""Values that are JSON are printed as JSON by every command, and nothing is escaped twice.

``SHOWS`` names every command that prints values. The next case is one line.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tclog.cli.output import Cell, harmless, json_text, one_line

from .conftest import User

# What a cell escapes and JSON escapes too: the same text in it is escaped once, by JSON.
TEXT = 'a\nb\t"c" \\d\\n \u2028\x7f é'
VALUE = {"a": TEXT, "b": [1, None, True, {"c": TEXT}], TEXT: {}}
OTHER = [TEXT]
AS_JSON, OTHER_JSON = json_text(VALUE), json_text(OTHER)
AS_CELL = r"a\nb\t" + '"c"' + r" \\d\\n \u2028\x7f é"

# Words, and what stands in what they print in a pipe.
SHOWS = {
    "memory get k --version 1": [AS_JSON],
    "memory list --values": [AS_CELL, "null"],
    "memory history k": [AS_JSON],
    "memory history t": [AS_CELL],
    "memory history j": ["null", json_text(TEXT)],
    "show EVENT": [AS_JSON],
    "show VERSION": [AS_JSON],
    "log": [AS_JSON, AS_CELL, json_text(TEXT)],
    "log --oneline --op memory.set": [AS_CELL],
    "log --grep c": [AS_CELL],
    "watch --from 1h --count 5": [AS_JSON, AS_CELL, json_text(TEXT)],
    "replay": [AS_JSON, AS_CELL, json_text(TEXT)],
    "state": [AS_CELL, "null"],
    "diff 1h": [f"- -> {OTHER_JSON}", f"- -> {AS_CELL}", "- -> null"],
    "diff EVENT": [f"{AS_JSON} -> {OTHER_JSON}"],
    "blame k --at EVENT": [json_text(TEXT), json_text(VALUE["b"])],
    "blame t": [r' "c" \\d\\n'.lstrip(), r"a"],
    "blame j": ["null"],
    "inbox": [AS_CELL],
    "step show s": [f"alice: {AS_CELL}"],
    "step list": [AS_CELL],
    "txn": [AS_CELL, "null"],
    "revert LATER": [f"now {AS_JSON} (version "],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, initialized: Any) -> User:
    """Give a project with values of every kind; what the commands change is each other's."""
    import shutil

    user = User(tmp_path_factory.mktemp("values"))
    shutil.copytree(initialized, user.work, dirs_exist_ok=True)
    user.environ |= {"TCLOG_AGENT": "alice", "TCLOG_FSYNC": "false"}
    as_json = ("--type", "json")
    for words in (
        ("memory", "set", "k", json.dumps(VALUE), *as_json),
        ("memory", "set", "t", TEXT),
        ("memory", "set", "j", json.dumps(TEXT), *as_json),
        ("memory", "set", "j", "null", *as_json),
        ("send", "alice", TEXT),
        ("step", "add", "s", "--title", TEXT),
        ("claim", "s"),
        ("note", "s", TEXT),
    ):
        user(*words).ok()
    return user


def words_of(user: User, shown: str) -> list[str]:
    """Put the ids in that a command needs."""
    words = shown.split()
    ids = {}
    if "LATER" in words:
        for value in (VALUE, OTHER):
            set_ = ("memory", "set", "again", json.dumps(value), "--type", "json", "--json")
            ids["LATER"] = user(*set_).object()["id"]
    if {"EVENT", "VERSION"} & set(words):
        newest = user("memory", "set", "k", json.dumps(VALUE), "--type", "json", "--json").object()
        ids["EVENT"] = newest["id"]
        (change,) = user("show", newest["id"], "--json").object()["changes"]
        ids["VERSION"] = change["version_id"]
    if words[0] == "diff":
        user("memory", "set", "k", json.dumps(OTHER), "--type", "json").ok()
    return [ids.get(word, word) for word in words]


LINES = b"""
{"op": "memory.get", "key": "j"}
{"op": "memory.get", "key": "t"}
{"op": "memory.set", "key": "n", "value": 1}
"""


@pytest.mark.parametrize("shown", SHOWS)
def test_a_pipe_gets_json_as_json_and_text_escaped_once(told: User, shown: str):
    words = words_of(told, shown)
    done = told(*words, stdin=LINES).ok()
    for part in SHOWS[shown]:
        assert part in done.out, (part, done.out)
    # Twice escaped, a line break is a backslash more than JSON and cells have for it.
    assert r"a\\\nb" not in done.out
    assert r"a\\nb" not in done.out


def unescaped(cell: str) -> str:
    """Read a cell of text, as docs say that it can be read."""
    known = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

    def read(found: re.Match[str]) -> str:
        letter, digits = found[1], found[2]
        return chr(int(digits, 16)) if digits else known[letter]

    return re.sub(r"\\([ntr\\]|[xu]((?<=x)[0-9a-f]{2}|(?<=u)[0-9a-f]{4}))", read, cell)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.just(TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(ANY)
def test_a_cell_of_json_is_json_and_stays_as_it_is(value: Any):
    cell = json_text(value)
    assert json.loads(cell) == value
    assert "\n" not in cell
    assert "\t" not in cell
    assert one_line(cell) == harmless(cell) == cell


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_cell_of_text_can_be_read_back(text: str):
    cell = one_line(text)
    assert unescaped(cell) == text
    assert one_line(cell) is cell
    assert isinstance(cell, Cell)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=ANY, as_text=st.booleans())
def test_show_in_a_pipe_says_what_its_json_says(project: User, value: Any, as_text: bool):
    raw = json.dumps(value).encode()
    kind = "text" if as_text else "json"
    done = project("memory", "set", "k", "-", "--type", kind, "--json", stdin=raw).object()
    whole = project("show", done["id"], "--json").object()
    cells = dict(row for row in project("show", done["id"]).rows())
    assert set(cells) == {name for name, field in whole.items() if field is not None} - {"type"}
    for name, cell in cells.items():
        field = whole[name]
        assert (unescaped(cell) if isinstance(field, str) else json.loads(cell)) == field, name


def test_a_pipe_gets_long_values_whole(project: User):
    value = {"long": "x" * 1000}
    project("memory", "set", "k", json.dumps(value), "--type", "json").ok()
    project("memory", "set", "t", "y" * 1000).ok()
    for words in ("log", "watch --from 1h --count 2", "replay", "state", "diff 1h"):
        out = project(*words.split()).ok().out
        assert json_text(value) in out, words
        assert "y" * 1000 in out, words
    # One short line is one short line.
    assert len(max(project("log", "--oneline").lines(), key=len)) < 250
