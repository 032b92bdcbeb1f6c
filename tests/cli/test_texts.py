"""Texts in and out: what is given as a word, on standard input or in a file comes back as it is.

``TEXTS`` names every option and argument that takes a text, how it is given and where it is read
again; ``FILES`` every one that names a file. The next case is one line. An option that stands in
neither, and is no name or setting (``WORDS``), fails the first test.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tclog.cli import options
from tclog.cli.app import COMMANDS, HIDDEN, root

from .conftest import User

LARGE = 100_000


class Text(NamedTuple):
    """A place for a text: {n} is a number that no other case has.

    ``before`` are commands that make it possible; ``read`` prints one JSON object, in which the
    text stands at ``at``. ``end`` is what is dropped where the text ends with it.
    """

    words: str
    option: str
    read: str
    at: str
    before: tuple[str, ...] = ()
    end: str = ""


LAST = "log -n 1 --json"
HELD = ("claim s{n}",)
TEXTS = {
    "memory set value": Text("memory set k{n}", "", "memory get k{n} --json", "value"),
    "memory append text": Text(
        "memory append k{n}", "", "memory get k{n} --json", "value", end="\n"
    ),
    "send text": Text("send r{n}", "", "inbox --as r{n} --json", "text"),
    "send message": Text("send r{n}", "-m", "inbox --as r{n} --json", "text"),
    "note message": Text("note s{n}", "--message", "step show s{n} --json", "note", HELD),
    "note text": Text("note s{n}", "", "step show s{n} --json", "note", HELD),
    "step add title": Text(
        "step add s{n}", "--title", "step show s{n} --json", "title"
    ),
    "complete note": Text(
        "complete s{n}", "--note", "step show s{n} --json", "handoff.note", HELD
    ),
    "complete next_action": Text(
        "complete s{n}", "--next-action", "step show s{n} --json", "handoff.next_action", HELD,
    ),
    "complete reason": Text(
        "complete s{n} --force --as bob", "--reason", LAST, "body.reason", HELD
    ),
    "release reason": Text(
        "release s{n} --force --as bob", "--reason", LAST, "body.reason", HELD
    ),
    "claim reason": Text(
        "claim s{n} --steal --as bob", "--reason", LAST, "body.reason", HELD
    ),
    "void reason": Text(
        "void memory/j{n} 1", "--reason", LAST, "body.reason", ("junk {n}",)
    ),
    "report title": Text("report -", "--title", "page", "title"),
}  # fmt: skip
# Files that a command reads, and files that it writes: - is standard input, or standard output.
FILES = {
    "memory set file": "in", "artifact put path": "in", "artifact upload path": "in",
    "txn file": "in", "import file": "in",
    "artifact get out": "out", "artifact download out": "out", "export out": "out",
    "report out": "out",
    # Both read and written, and a folder: they have no stream.
    "watch cursor_file": "kept", "export git": "kept",
}  # fmt: skip
FILE_KINDS = {options.FILE_IN: "in", options.FILE_OUT: "out", options.FILE_KEPT: "kept"}
# Names, points in time and settings: - is a dash, or no name at all.
WORDS = set(
    """
    after agent as_agent at before chain command endpoint from_endpoint from_profile from_region
    from_s3 id_key id_prefix ids key kind name only op point prefix profile project region reply_to
    s3 separator since source step step_id store target text to to_endpoint to_profile to_region
    to_s3 until which
    """.split()  # noqa: SIM905 - a list of them takes forty lines
)


# -- the table is whole ---------------------------------------------------------------------------


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from commands(found, f"{path} {name}".strip())
    else:
        yield path, command


def test_every_option_that_takes_words_is_of_one_kind():
    kinds: dict[str, str] = {}
    hidden = [(name, root.get_command(click.Context(root), name)) for name in HIDDEN]
    every = [*commands(root, ""), *((name, found) for name, found in hidden if found)]
    assert {path.split()[0] for path, _ in every} == {*COMMANDS, *HIDDEN}
    for path, command in every:
        for param in command.params:
            name = f"{path} {param.name}"
            if isinstance(param.type, options.Said):
                kinds[name] = "text"
            elif isinstance(param.type, options.FileName):
                kinds[name] = FILE_KINDS[param.type]
            elif isinstance(param.type, click.types.StringParamType | options.Text):
                assert param.name in WORDS, f"{name} is a text, a file or a name?"
    assert {name for name, kind in kinds.items() if kind == "text"} == set(TEXTS)
    files = {name: kind for name, kind in kinds.items() if kind != "text"}
    assert files == FILES


# -- what goes in comes out -----------------------------------------------------------------------


NUMBERS = count(1)


def dig(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record[name]
    return record


def there_and_back(project: User, row: Text, text: str, way: str) -> str:
    """Give a text to a command, and return it as the log has it then."""
    n = next(NUMBERS)
    for words in row.before:
        if words == "junk {n}":
            slot = project.store / "chains" / "memory" / f"j{n}" / "9999999998.json"
            slot.parent.mkdir(parents=True)
            slot.write_bytes(b"junk")
        else:
            project(*shlex.split(words.format(n=n))).ok()
    words = shlex.split(row.words.format(n=n))
    said = "-" if way == "stdin" else text
    given = [*words, row.option, said] if row.option else [*words[:-1], "--", words[-1], said]
    done = project(*given, stdin=text.encode() if way == "stdin" else None).ok()
    if row.read == "page":
        from html import unescape

        return unescape(done.out.partition("<title>")[2].partition(" · tclog report</title>")[0])
    return str(dig(project(*shlex.split(row.read.format(n=n))).object(), row.at))


# A byte order mark, ends of lines, what shells, pages and terminals take for theirs.
AWKWARD = (
    "\ufeffone\ntwo\r\ntab\tand \\n \\\\ {\"json\": 1} 'quoted' $HOME `x` <b>&amp;</b>\x1b[31m\x07"
    " e\u0301 \U0001f389 \u2028\u202e\n\n\n"
)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_comes_back_as_it_is(project: User, name: str):
    row = TEXTS[name]
    for text, way in ((AWKWARD, "stdin"), (AWKWARD, "word"), ("-", "stdin"), ("--json", "word")):
        assert there_and_back(project, row, text, way) == text.removesuffix(row.end), way


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(sorted(TEXTS)), text=TEXT, ended=st.booleans())
def test_any_text_comes_back_from_anywhere(project: User, name: str, text: str, ended: bool):
    row = TEXTS[name]
    text = (text + "\n" if ended else text) or "x"
    assert there_and_back(project, row, text, "stdin") == text.removesuffix(row.end)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXT, ended=st.booleans())
@example(text="x" * LARGE, ended=True)
@example(text="\ufeff", ended=False)
def test_a_value_goes_through_pipes_and_files_unchanged(project: User, text: str, ended: bool):
    text += "\n" * ended
    file = project.work / "value"
    file.write_bytes(text.encode())
    project("memory", "set", "x", "--file", "value").ok()
    piped = project("memory", "get", "x").ok().out.encode()
    assert piped == text.encode()
    project("memory", "set", "y", "-", stdin=piped).ok()
    project("memory", "set", "z", "--file", "-", stdin=project("memory", "get", "y").out.encode())
    assert project("memory", "get", "z").out.encode() == piped
    project("artifact", "put", "-", "--name", "a", stdin=piped).ok()
    project("artifact", "get", "a", "-o", "copy").ok()
    assert (project.work / "copy").read_bytes() == piped
    assert project("artifact", "get", "a", "-o", "-").out.encode() == piped


def test_a_value_goes_through_a_shell_unchanged(project: User):
    value = ("line\n" * (LARGE // 5)).encode()
    (project.work / "big").write_bytes(value)
    project.shell(
        "tclog memory set x --file big && tclog memory get x | tclog memory set y -"
        " && tclog memory get y > out && cmp big out && tclog artifact put - --name a < out"
        " && tclog artifact get a -o - | cmp - big"
    ).ok()  # fmt: skip
    assert (project.work / "out").read_bytes() == value


def test_json_goes_through_a_pipe_as_one_line(project: User):
    text = '{"a":"x\\ny","b":[1,"\\"\\u2028"]}'
    project("memory", "set", "x", text, "--type", "json").ok()
    (line,) = project("memory", "get", "x").lines()
    assert json.loads(line) == json.loads(text)
    project("memory", "set", "y", "-", "--type", "json", stdin=f"{line}\n".encode()).ok()
    assert project("memory", "get", "y").out == project("memory", "get", "x").out


# -- lines that are appended ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "added", "after"),
    [
        (None, ["a\n", "b\n"], "a\nb"),
        ("a\n", ["b\n", "c"], "a\nb\nc"),
        ("a", ["b\nc\n", "d\n"], "a\nb\nc\nd"),
        ("a\n", ["\n", "b\n"], "a\n\nb"),
        ("a\n\n", ["b\n"], "a\n\nb"),
    ],
    ids=repr,
)
def test_appended_lines_have_no_empty_line_between(
    project: User, before: str | None, added: list[str], after: str
):
    if before is not None:
        project("memory", "set", "k", "-", stdin=before.encode()).ok()
    for text in added:
        project("memory", "append", "k", "-", stdin=text.encode()).ok()
    assert project("memory", "get", "k").out == after


def test_a_separator_is_what_goes_between(project: User):
    for separator, after in (("", "a\nb\n"), (", ", "a\n, b\n"), ("-", "a\n-b\n")):
        project("memory", "set", "k", "-", stdin=b"a\n").ok()
        words = ("memory", "append", "k", "-", "--separator", separator)
        project(*words, stdin=b"b\n").ok()
        assert project("memory", "get", "k").out == after
    project("memory", "set", "j", "[]", "--type", "json").ok()
    project("memory", "append", "j", "-", stdin=b"line\n").ok()
    assert project("memory", "get", "j", "--json").object()["value"] == ["line"]


# -- standard input -------------------------------------------------------------------------------


def test_standard_input_is_one_text(project: User):
    project("claim", "s").ok()
    words = ("complete", "s", "--note", "-", "--next-action", "-")
    error = project("--json", *words, stdin=b"x").error(2)
    assert error["code"] == "stdin-twice"
    assert "note" in error["message"]
    assert "next-action" in error["message"]
    project("memory", "set", "k", "-", "--file", "-", stdin=b"x").said(2)
    project("artifact", "put", "-", stdin=b"x").said(2)
    assert "./-" in project("artifact", "put", "-", stdin=b"x").err


@pytest.mark.parametrize("name", [*TEXTS, "artifact put", "txn", "batch"])
def test_closed_standard_input_is_told_in_one_line(project: User, name: str):
    words = TEXTS[name].words.format(n=1) if name in TEXTS else name
    option = f"{TEXTS[name].option} -" if name in TEXTS else ""
    option = "- --name a" if name == "artifact put" else option
    assert "standard input is closed" in project.shell(f"tclog {words} {option} <&-").said(2)


def test_bytes_that_are_no_text_are_refused_wherever_they_come_from(project: User):
    project("claim", "s1").ok()
    for name, row in TEXTS.items():
        words = shlex.split(f"{row.words.format(n=1)} {row.option} -")
        assert "not UTF-8 at byte 1" in project(*words, stdin=b"x\xff").said(2), name


LINE = b'{"op":"memory.set","key":"k","value":{"a":1}}\n'
# A mark before JSON is dropped; in texts and files it stays (AWKWARD has one).
MARKED: dict[str, Callable[[User, bytes], Any]] = {
    "a JSON value": lambda user, mark: user(
        "memory", "set", "k", "-", "--type", "json", stdin=mark + b'{"a":1}'
    ),
    "a JSON value in a file": lambda user, mark: [
        (user.work / "f").write_bytes(mark + b'{"a":1}'),
        user("memory", "set", "k", "--file", "f", "--type", "json"),
    ][1],
    "batch": lambda user, mark: user("batch", stdin=mark + LINE),
    "txn": lambda user, mark: user("txn", stdin=mark + LINE),
    "import": lambda user, mark: [
        user("memory", "set", "k", '{"a":1}', "--type", "json").ok(),
        user("import", "-", "copy", stdin=mark + user("export").ok().out.encode()),
    ][1],
    "config.toml": lambda user, mark: [
        (file := user.work / ".tclog" / "config.toml").write_bytes(mark + file.read_bytes()),
        user("memory", "set", "k", '{"a":1}', "--type", "json"),
    ][1],
    "a cursor": lambda user, mark: [
        user("memory", "set", "k", '{"a":1}', "--type", "json").ok(),
        user("watch", "--cursor", "c", "--from", "1h", "--count", "1").ok(),
        (file := user.work / "c").write_bytes(mark + file.read_bytes()),
        user("memory", "set", "k", '{"a":1}', "--type", "json").ok(),
        user("watch", "--cursor", "c", "--count", "1", "--timeout", "1s"),
    ][-1],
}  # fmt: skip


@pytest.mark.parametrize("what", MARKED)
def test_a_byte_order_mark_is_no_part_of_json(project: User, what: str):
    MARKED[what](project, "\ufeff".encode()).ok()
    assert project("memory", "get", "k", "--json").object()["value"] == {"a": 1}
