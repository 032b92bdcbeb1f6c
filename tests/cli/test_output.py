"""What is printed: for people, for pipes, for hostile texts and for streams that are not there."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tclog.cli import output

from .conftest import TCLOG, User, earlier_build

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
# What could move the cursor, set the title, ring, hide text or turn it around.
EVIL = "a\x1b[2J\x1b]0;title\x07b\x9b31mc\x00\x7fd\u202ee\u2066f\u2028g\rh"
# What a name cannot hold is refused; the overrides are text like any other.
EVIL_NAME = "x\u202ey\u2067z"
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> bool:
    """Whether nothing in a text, colours aside, acts on a terminal."""
    return not HARMFUL.search(ESCAPE.sub("", text))


# -- pipes ----------------------------------------------------------------------------------------


@pytest.fixture
def busy(project: User) -> User:
    """Give a project with something of everything in it."""
    (project.work / "f").write_text("f")
    for words in (
        ["memory", "set", "k", "v" * 500],
        ["send", "alice", "w" * 500],
        ["step", "add", "s", "--title", "t" * 300],
        ["claim", "s"],
        ["note", "s", "n" * 500],
        ["artifact", "put", "f"],
    ):
        project(*words).ok()
    return project


LISTS = [
    ["memory", "list", "--values"],
    ["memory", "history", "k"],
    ["inbox", "--all"],
    ["step", "list"],
    ["artifact", "list"],
    ["artifact", "history", "f"],
    ["agents"],
]


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_a_pipe_gets_tab_separated_rows_in_full_and_no_heading(busy: User, words: list[str]):
    done = busy(*words)
    (row,) = done.rows()
    assert RFC3339.search(done.out)
    assert "..." not in done.out
    assert "ago" not in done.out
    assert "\x1b" not in done.out
    if words[0] in ("memory", "inbox"):
        assert 500 in map(len, row)
    if words == ["step", "list"]:
        assert row[-1] == "t" * 300


def test_single_things_are_facts_in_a_pipe(busy: User):
    facts = dict(busy("step", "show", "s").rows())
    assert facts["s"] == "claimed"
    assert facts["note"] == f"alice: {'n' * 500}"
    assert RFC3339.fullmatch(facts["lease until"])
    status = dict(busy("status").rows())
    assert status["unread"] == "1"
    assert RFC3339.search(status["holding"])
    assert all(len(row) == 3 for row in busy("where").rows())
    assert busy("memory", "get", "k").out == "v" * 500


def test_tabs_and_newlines_in_a_cell_break_no_row(project: User):
    text = "one\ttwo\nthree\\n\r\nfour"
    project("memory", "set", "k", text).ok()
    project("send", "alice", text).ok()
    project("step", "add", "s", "--title", text).ok()
    project("note", "s", text).ok()
    for words, cells in (
        (["memory", "list", "--values"], 5),
        (["memory", "history", "k"], 5),
        (["inbox"], 6),
        (["step", "list"], 6),
    ):
        (row,) = project(*words).rows()
        assert len(row) == cells
        assert r"one\ttwo\nthree\\n\r\nfour" in row
    assert all(len(row) == 2 for row in project("step", "show", "s").rows())
    assert project("memory", "get", "k").out == text  # a value is a value, not a cell


# -- terminals ------------------------------------------------------------------------------------


def test_a_terminal_gets_headings_columns_and_relative_times(busy: User):
    busy("step", "add", "wide 漢字 🎉").ok()
    shown = busy.terminal("step", "list")
    heading, *rows = ESCAPE.sub("", shown).splitlines()
    assert heading.split()[:3] == ["ID", "STATE", "AGENT"]
    assert "in 29m" in shown
    assert not RFC3339.search(shown)
    columns = [len(_before(row, word)) for row, word in zip(
        [heading, *rows], ["STATE", "claimed", "ready"], strict=True)]  # fmt: skip
    assert len(set(columns)) == 1, shown
    assert re.search(r"^k +1 +alice +\d+s ago", busy.terminal("memory", "list"), re.MULTILINE)


def _before(row: str, word: str) -> str:
    """The part before a word, with two characters for each that is two columns wide."""
    return re.sub("([漢字🎉])", r"\1\1", row[: row.index(word)])


def test_colours_are_on_state_words_and_nowhere_else(project: User):
    project("step", "add", "ready", "--title", "failed").ok()
    project("memory", "set", "ready", "complete").ok()
    (line,) = project.terminal("step", "list").splitlines()[1:]
    assert re.findall(r"\x1b\[(\d+)m([a-z ]+)\x1b\[0m", line) == [("36", "ready")]
    assert line.count("\x1b") == 2
    assert "\x1b" not in project.terminal("memory", "list", "--values")
    assert "\x1b[36mready\x1b[0m" in project.terminal("step", "show", "ready")
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in project.terminal("step", "list", env=env)
    assert "\x1b" not in project("step", "list").out


def test_a_terminal_shows_a_note_of_several_lines_below_each_other(project: User):
    project("step", "add", "s").ok()
    project("note", "s", "one\ntwo").ok()
    lines = project("step", "show", "s", terminal=True).lines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("note")]
    assert lines[at].index("alice: one") == lines[at + 1].index("two")


def test_spans_and_sizes():
    assert [output.span(s) for s in (0, 59, 60, 3599, 7200, 200_000)] == [
        "0s", "59s", "1m", "59m", "2h", "2d",
    ]  # fmt: skip
    assert output.size(1) == "1 B"
    assert output.size(1536) == "1.5 KiB"
    assert output.size(5 << 40) == "5120.0 GiB"


# -- what other agents wrote ----------------------------------------------------------------------


@pytest.fixture
def haunted(project: User) -> User:
    """Give a project in which mallory wrote whatever she could wherever she could."""
    text = EVIL.replace("\x00", "").encode()
    (project.work / "f").write_text("f")

    def mallory(*words: str) -> None:
        with earlier_build():
            project(*words, agent="mallory", stdin=text).ok()

    mallory("memory", "set", EVIL_NAME, "-")
    mallory("memory", "set", "json", json.dumps({EVIL: EVIL}), "--type", "json")
    mallory("send", "alice", "-")
    mallory("send", "@all", "-", "--step", EVIL_NAME)
    mallory("step", "add", EVIL_NAME, "--title", EVIL.replace("\x00", ""))
    mallory("step", "add", "b", "--after", EVIL_NAME, "--priority", "-1")
    mallory("claim", "noted")
    mallory("note", "noted", "-")
    mallory("complete", "noted", "--note", "-", "--next-action", text.decode(), "--to", "alice",
            "--blocked")  # fmt: skip
    mallory("artifact", "put", "f", "--name", EVIL_NAME, "--step", EVIL_NAME)
    return project


SHOWS = [
    ["memory", "get", EVIL_NAME],
    ["memory", "get", "json"],
    ["memory", "list", "--values"],
    ["memory", "history", EVIL_NAME],
    ["memory", "set", EVIL_NAME, "v", "--if-absent"],
    ["memory", "get", "no" + EVIL_NAME],
    ["inbox"],
    ["inbox", "--all"],
    ["ack", "1"],
    ["step", "list"],
    ["step", "show", EVIL_NAME],
    ["step", "show", "noted"],
    ["step", "show", "b"],
    ["step", "show", "no" + EVIL_NAME],
    ["step-status", EVIL_NAME],
    ["status"],
    ["agents"],
    ["claim", "b"],
    ["claim", "--next"],
    ["claim", "noted"],
    ["wait-for", "noted"],
    ["wait-for", EVIL_NAME, "--timeout", "1ms"],
    ["artifact", "list"],
    ["artifact", "history", EVIL_NAME],
    ["artifact", "get", EVIL_NAME],
    ["where"],
    ["--as", EVIL, "status"],
    [EVIL],
    ["memory", EVIL],
    ["claim", "s", f"--{EVIL}"],
    ["claim", "s", EVIL],
    ["claim", "s", "--lease", EVIL],
    ["step", "list", "--at", EVIL],
    ["-C", EVIL.replace("\x00", ""), "status"],
    ["--store", EVIL.replace("\x00", ""), "status"],
    ["artifact", "put", EVIL.replace("\x00", "")],
    ["completion", EVIL],
    ["exec", "s", "--", EVIL.replace("\x00", "")],
]


@pytest.mark.parametrize("words", SHOWS, ids=lambda words: ascii(" ".join(words))[:40])
def test_no_text_acts_on_a_terminal(haunted: User, words: list[str]):
    shown = haunted(*words, terminal=True)
    assert "a bug in tclog" not in shown.err
    assert harmless(shown.out), ascii(shown.out)
    assert harmless(shown.err), ascii(shown.err)
    words = ["--json", *words]
    as_json = haunted(*words, terminal=True)
    assert harmless(as_json.out), ascii(as_json.out)
    assert harmless(as_json.err), ascii(as_json.err)
    for line in (as_json.out + as_json.err).splitlines():
        json.loads(line)


def test_json_keeps_every_character_all_the_same(haunted: User):
    found = haunted("memory", "get", EVIL_NAME, "--json").object()
    assert found["key"] == EVIL_NAME
    assert found["value"] == EVIL.replace("\x00", "")
    piped = haunted.process("memory", "get", EVIL_NAME)
    assert piped.out == EVIL.replace("\x00", "")  # a pipe gets the value as it is


def test_a_real_terminal_is_not_harmed(haunted: User):
    for words in (["inbox"], ["step", "show", "noted"], ["memory", "get", EVIL_NAME], ["status"]):
        shown = haunted.terminal(*words)
        assert "a" in shown
        assert harmless(shown.replace("\r", "")), ascii(shown)


# -- locales and streams --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
    ],
    ids=lambda env: " ".join(f"{k}={v}" for k, v in env.items()),
)
def test_no_locale_makes_it_crash(project: User, env: dict[str, str]):
    project.process("memory", "set", "k", "party 🎉 é", env=env).ok()
    assert project.process("memory", "get", "k", env=env).lines() == ["party 🎉 é"]
    project.process("send", "alice", "-", env=env, stdin="🎉".encode()).ok()
    assert "🎉" in project.process("inbox", env=env).ok().out
    assert project.process("memory", "get", "🎉", env=env).code in (2, 3)
    assert "Traceback" not in project.process("🎉", env=env).err


def test_the_configuration_is_utf_8_in_every_locale(project: User):
    file = project.work / ".tclog" / "config.toml"
    file.write_bytes(file.read_bytes().replace(b'"work"', '"work"\nagent = "josé"'.encode()))
    env = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "TCLOG_AGENT": None}
    assert "agent\tjosé" in project.process("where", env=env).ok().out


def test_words_that_are_not_utf_8_are_refused_in_one_line(project: User):
    bad = b"\xff\xfe"
    for words in (
        [bad],
        [b"memory", b"get", bad],
        [b"memory", b"set", b"k", bad],
        [b"claim", b"s", bad],
        [b"-C", bad, b"status"],
        [b"artifact", b"put", bad],
        [b"--as", bad, b"claim", b"s"],
        [b"step", b"add", b"s", b"--title", bad],
        [b"log", b"--grep", bad],
        [b"log", b"--agent", bad],
        [b"log", b"--op", bad],
        [b"watch", b"--chain", bad],
        [b"report", b"r.html", b"--title", bad],
    ):
        project.process(*words).said(2)
        project.process(b"--json", *words).error(2)


def test_a_reader_that_leaves_early_is_no_error_worth_words(project: User):
    for n in range(3):
        project("memory", "set", f"k{n}", "v" * 100_000).ok()
    for words in ("memory list --values", "memory list --json", "memory get k1", "--help"):
        done = project.shell(f"set -o pipefail; tclog {words} | head -c 1")
        assert done.err == "", words
    left = project.shell("tclog memory set k v | true; tclog memory get k --json")
    assert json.loads(left.out)["value"] == "v"


def test_closed_streams(project: User):
    assert project.shell("tclog memory set k v >&-").ok().err == ""
    assert project.shell("tclog memory get k").out == "v"
    assert project.shell("tclog memory get nothing 2>&-").code == 3
    assert project.shell("tclog claim s <&- >&- 2>&-").code == 0
    assert project.shell("tclog step show s <&-").out.startswith("s\tclaimed\n")
    assert project.shell("tclog memory set k - <&-").said(2)
    assert "standard input is closed" in project.shell("tclog import - there <&-").said(2)
    assert project.shell("tclog memory get k").out == "v"
    # A file that is opened later must not become the standard output of a child.
    project.shell("tclog exec e >&- 2>&- -- printf '%s%s' into void").ok()
    assert not [p for p in project.work.rglob("*") if p.is_file() and b"intovoid" in p.read_bytes()]


def test_an_output_that_cannot_be_written_is_an_error(project: User):
    project("memory", "set", "k", "v").ok()
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    for words in (
        "memory get k", "memory list", "memory get k --json", "--help", "memory -h", "--version",
    ):  # fmt: skip
        with open("/dev/full", "wb") as full:
            done = project.process(*words.split(), stdout=full)
        assert done.code == 1, done
        assert "cannot be written" in done.err
        assert "Exception ignored" not in done.err


def test_a_note_that_cannot_be_written_changes_nothing(project: User):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    gone, pipe = os.pipe()
    os.close(gone)
    with open("/dev/full", "wb") as full, open(pipe, "wb") as broken:
        for number, stderr in enumerate((full, broken)):
            step = f"s{number}"
            # Not as it was: the step claimed, and its command never started.
            ran = project.process("exec", step, "--", "echo", "ran", stderr=stderr)
            assert (ran.code, ran.out) == (0, "ran\n")
            assert project("step", "show", step, "--json").object()["state"] == "complete"
            told = project.process("diff", "1h", "@", stderr=stderr)
            assert told.code == 0
            assert f"step/{step}" in told.out
            assert project.process("memory", "get", "nothing", stderr=stderr).code == 3
            assert project.process("memory", stderr=stderr).code == 2


def test_texts_come_from_files_and_standard_input(project: User):
    (project.work / "f").write_text("from a file\n")
    project("memory", "set", "k", "--file", "f").ok()
    assert project("memory", "get", "k").out == "from a file\n"
    project("memory", "set", "k", "-", stdin=b"").ok()
    assert project("memory", "get", "k", "--json").object()["value"] == ""
    project("memory", "append", "k", "-", stdin=b"x" * 100_000).ok()
    assert project("memory", "get", "k", "--json").object()["value"] == "x" * 100_000
    project("memory", "set", "b", "-", stdin=os.urandom(9) + b"\xff").said(2)
    project("memory", "set", "b", "--file", ".").said(2)
    project("memory", "set", "b", "--file", "nowhere").said(2)
    assert "the path is empty" in project("memory", "set", "b", "--file", "").said(2)
    project("send", "bob", "-", stdin=b"\xff").said(2)
    project("step", "add", "s").ok()
    project("note", "s", "-", stdin="größe".encode()).ok()
    assert project("step", "show", "s", "--json").object()["note"] == "größe"
    huge = b"y" * (3 << 20)
    project.process("memory", "set", "huge", "-", stdin=huge).ok()
    assert project.process("memory", "get", "huge").out == huge.decode()
    # -C moves every relative path, as in git and make.
    (project.work / "sub").mkdir()
    (project.work / "sub" / "g").write_text("below")
    project("-C", "sub", "memory", "set", "g", "--file", "g").ok()
    assert project("memory", "get", "g").out == "below"


def test_python_m_tclog_is_the_same_command(project: User):
    project("memory", "set", "k", "v").ok()
    done = subprocess.run(
        [TCLOG.with_name("python"), "-m", "tclog", "memory", "get", "k"],
        cwd=project.work, env=project.environ, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout == b"v"
    assert project("--version").out == project.process("--version").out


def test_where_an_artifact_goes(project: User):
    (project.work / "f").write_bytes(b"\x00\xff")
    project("artifact", "put", "f", "--name", "a/../../f.bin").ok()
    out = project.process("artifact", "get", "a/../../f.bin", "-o", "-", text=False)
    assert out.out.encode(errors="surrogateescape") == b"\x00\xff"
    project("artifact", "get", "a/../../f.bin").ok()
    assert (project.work / "f.bin").read_bytes() == b"\x00\xff"
    assert "up to date" in project("artifact", "get", "a/../../f.bin").ok().out
    (project.work / "f.bin").write_text("mine")
    project("artifact", "get", "a/../../f.bin").said(4)
    assert (project.work / "f.bin").read_text() == "mine"
    project("artifact", "get", "a/../../f.bin", "-o", "no/where").said(2)
    project("artifact", "get", "a/../../f.bin", "-o", "/dev/null").ok()
    assert not os.path.isfile("/dev/null")
    (project.work / "d").mkdir()
    project("artifact", "get", "a/../../f.bin", "-o", "d").ok()
    assert (project.work / "d" / "f.bin").exists()
    os.symlink("target", project.work / "link")
    project("artifact", "get", "a/../../f.bin", "-o", "link").ok()
    assert os.path.islink(project.work / "link")
    assert (project.work / "target").read_bytes() == b"\x00\xff"
    project("artifact", "put", "f", "--name", "..").ok()
    project("artifact", "get", "..").said(2)
    project("artifact", "get", "..", "-o", "d").said(2)
