"""Replay: the log once more, paced for people, plain for programs, and a terminal left in order."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import TCLOG, User, earlier_build

import tclog
from tclog.clock import HybridClock, parse_us
from tclog.history.history import History
from tclog.history.replay import Standing, read_beats
from tclog.history.report.messages import read_deliveries

from .looking import Team
from .scenario import NAMES, play


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "files").mkdir()
    play(folder / "store", folder / "files")
    return folder / "store"


@pytest.fixture
def watcher(store: Path, tmp_path: Path) -> User:
    user = User(tmp_path)
    user.environ |= {"TCLOG_STORE": str(store), "TCLOG_PROJECT": "demo"}
    return user


class Terminal:
    """A process on a terminal of its own, which can be typed at."""

    def __init__(self, user: User, *words: str, columns: int = 100) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        # Its own session, whose terminal this is, or Control-C would be a letter like others.
        self.child = subprocess.Popen(
            ["setsid", "--ctty", str(TCLOG), *words], stdin=self.theirs, stdout=self.theirs,
            stderr=self.theirs, cwd=user.work, env={**user.environ, "TERM": "xterm"},
        )  # fmt: skip
        self.shown = b""

    def until(self, pattern: bytes, seconds: float = 20) -> None:
        ends = time.monotonic() + seconds
        while not re.search(pattern, self.shown):
            assert time.monotonic() < ends, self.shown
            self.read(0.1)

    def read(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if select.select([self.ours], [], [], left)[0]:
                try:
                    piece = os.read(self.ours, 65536)
                except OSError:
                    return
                self.shown += piece

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self, seconds: float = 20) -> int:
        ends = time.monotonic() + seconds
        while self.child.poll() is None:
            assert time.monotonic() < ends, self.shown
            self.read(0.05)
        self.read(0.1)
        self.after = termios.tcgetattr(self.theirs)
        return self.child.returncode

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def lines(self) -> list[str]:
        """What was printed for good, without colours, status lines or what was typed."""
        text = self.shown.decode().replace("\r\n", "\n")
        text = re.sub(r"[^\n]*\r\x1b\[K", "", text)
        return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@pytest.fixture
def on_terminal(watcher: User) -> Iterator[Any]:
    made: list[Terminal] = []

    def start(*words: str, **options: Any) -> Terminal:
        made.append(Terminal(watcher, *words, **options))
        return made[-1]

    yield start
    for terminal in made:
        terminal.close()


# -- for programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [(), ("--attempts",)])
def test_json_is_the_log_with_the_time_since_its_beginning(watcher: User, attempts: tuple[str]):
    log = watcher("log", "--json", "--reverse", *attempts).objects()
    replayed = watcher("replay", "--json", *attempts).objects()
    elapsed = [record.pop("elapsed_s") for record in replayed]
    assert replayed == log
    first_us = parse_us(log[0]["at"])
    assert elapsed == [(parse_us(e["at"]) - first_us) / 1e6 for e in log]
    assert elapsed == sorted(elapsed)
    assert elapsed[0] == 0
    assert any(e["version"] is None for e in log) == bool(attempts)


def test_a_pipe_gets_rows_at_once(watcher: User):
    begun = time.monotonic()
    rows = watcher.process("replay").rows()
    assert time.monotonic() - begun < 60
    log = watcher("log", "--json", "--reverse").objects()
    assert [row[-1] for row in rows] == [e["id"] for e in log]
    assert [row[0] for row in rows] == [e["at"] for e in log]
    assert [row[2:5] for row in rows] == [[e["agent"], e["op"], e["chain"]] for e in log]
    assert all("\x1b" not in cell for row in rows for cell in row)


def test_a_speed_paces_a_pipe_too_and_pauses_have_an_end(watcher: User):
    log = watcher("log", "--json", "--reverse").objects()
    stamps = [parse_us(e["at"]) / 1e6 for e in log]

    def pauses(speed: float, most: float) -> float:
        return sum(min((b - a) / speed, most) for a, b in pairwise(stamps))

    for speed, most in ((4.0, 60.0), (1.0, 0.01)):
        begun = time.monotonic()
        watcher("replay", "--json", "--speed", str(speed), "--max-pause", f"{most}s").ok()
        took = time.monotonic() - begun
        assert took >= pauses(speed, most)
        assert took < pauses(speed, most) + 60


def test_a_range(watcher: User):
    log = watcher("log", "--json", "--reverse").objects()
    words = ("--from", log[9]["id"][:16], "--to", log[19]["id"][:16])
    replayed = watcher("replay", "--json", *words).objects()
    assert [e["id"] for e in replayed] == [e["id"] for e in log[10:20]]
    assert replayed[0]["elapsed_s"] == 0


def test_pages_lose_and_repeat_nothing(tmp_path: Path):
    team = Team(tmp_path)
    for nth in range(30):
        team["alice"].memory.incr("n")
        team[f"a{nth % 3}"].send("alice,bob", "hi")
    index = team.look().index
    whole = [beat.as_json() for beat in read_beats(index)]
    for page in (1, 2, 7, 1000):
        assert [beat.as_json() for beat in read_beats(index, page=page)] == whole
    assert len(whole) == len({e["id"] for e in whole}) == 60


def test_events_of_one_stamp_stay_together(tmp_path: Path):
    """Two agents may issue the same stamp; a page must not end between their events."""
    team = Team(tmp_path)
    now_us = time.time_ns() // 1000
    for _ in range(4):
        for name in ("alice", "bob", "carol"):
            team[name].client.clock = HybridClock(lambda: now_us)
            team[name].memory.incr(name)
    index = team.look().index
    whole = [beat.as_json() for beat in read_beats(index)]
    assert len({e["hlc"] for e in whole}) < len(whole) == 12
    for page in (1, 2, 4):
        assert [beat.as_json() for beat in read_beats(index, page=page)] == whole


def test_an_empty_project_replays_nothing(tmp_path: Path):
    user = User(tmp_path)
    user("init").ok()
    assert user("replay").ok().out == ""
    assert user("replay", "--json").ok().out == ""
    assert "nothing happened" in user("replay", terminal=True).ok().err


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_that_is_none(watcher: User, speed: str):
    assert watcher("replay", f"--speed={speed}", "--json").error(2)["hint"]


def test_step_needs_a_terminal(watcher: User):
    error = watcher.process("replay", "--step", "--json").error(2)
    assert error["code"] == "no-terminal"
    assert error["hint"].startswith("tclog replay")
    assert "exclude" in watcher.process("replay", "--step", "--speed", "2").said(2)


def test_a_reader_that_leaves_is_no_traceback(watcher: User):
    assert "Traceback" not in watcher.shell("tclog replay | head -n 1").err
    assert "Traceback" not in watcher.shell("tclog replay --json | head -c 1").err


# -- what stood -----------------------------------------------------------------------------------


def test_what_is_held_and_unread_is_what_the_commands_said_then(tmp_path: Path):
    team = Team(tmp_path)
    alice, bob = team["alice"], team["bob"]
    alice.steps.claim("a")
    bob.steps.claim("b")
    alice.send("bob", "one")
    alice.send("@all", "two")
    bob.inbox()
    bob.ack(1)
    alice.steps.complete("a")
    bob.steps.release("b")
    bob.send("alice,bob", "three")
    bob.inbox()
    bob.ack(2)
    index = team.look().index
    standing = Standing(index)
    seen = []
    for beat in read_beats(index):
        standing.move_to(beat.at)
        unread = {name: n for name, n in standing.unread.items() if n}
        seen.append((beat.event.op, dict(standing.held), unread))
    assert seen == [
        ("step.claim", {"a": "alice"}, {}),
        ("step.claim", {"a": "alice", "b": "bob"}, {}),
        ("message.send", {"a": "alice", "b": "bob"}, {"bob": 1}),
        ("message.send", {"a": "alice", "b": "bob"}, {"bob": 2}),
        ("message.ack", {"a": "alice", "b": "bob"}, {"bob": 1}),
        ("step.complete", {"b": "bob"}, {"bob": 1}),
        ("step.release", {}, {"bob": 1}),
        # A message to several is in the second inbox a moment later than in the first.
        ("message.send", {}, {"bob": 1, "alice": 1}),
        ("message.ack", {}, {"bob": 1, "alice": 1}),
    ]


def history_of(user: User, store: Path) -> History:
    """Return the history of the recorded run, brought up to date."""
    log = tclog.open(store, agent="x", project="demo")
    history = History(log.store, log.client, user.folder / "index", run=log.run)
    history.sync()
    return history


def test_at_the_end_it_is_what_the_commands_say_now(watcher: User, store: Path):
    unread = {
        name: len(tclog.open(store, agent=name, project="demo").inbox().messages) for name in NAMES
    }
    index = history_of(watcher, store).index
    standing = Standing(index)
    for beat in read_beats(index):
        standing.move_to(beat.at)
    assert {name: standing.unread[name] for name in unread} == unread
    assert standing.held == {}
    numbers = [d.n for d in read_deliveries(index) if d.reader == "bob" and d.n]
    assert numbers == sorted(set(numbers))


def test_a_claim_whose_lease_has_ended_is_held_by_nobody(tmp_path: Path):
    team = Team(tmp_path)
    team["alice"].steps.claim("a", lease_s=0.2)
    team["alice"].steps.claim("b", lease_s=600)
    time.sleep(0.3)
    team["bob"].memory.set("k", "v")
    time.sleep(1)
    team["bob"].steps.claim("a")
    index = team.look().index
    standing = Standing(index)
    held = []
    for beat in read_beats(index):
        standing.move_to(beat.at)
        held.append((beat.event.op, dict(standing.held)))
    assert held[-2:] == [
        ("memory.set", {"b": "alice"}),
        ("step.takeover", {"a": "bob", "b": "alice"}),
    ]


# -- for people -----------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_a_line_that_says_what_stands(on_terminal: Any, watcher: User):
    shown = on_terminal("replay", "--max-pause", "1ms", "--attempts", columns=90)
    assert shown.end() == 0
    text = shown.shown.decode()
    log = watcher("log", "--json", "--reverse", "--attempts").objects()
    lines = shown.lines()
    events = [line for line in lines if re.match(r" *\+\d+\.\d{3}  ", line)]
    assert len(events) == len(log)
    assert all(len(line) < 90 for line in lines)
    # One agent has one colour, and different agents have different ones.
    colours: dict[str, set[str]] = {}
    for colour, name in re.findall(r"\x1b\[(\d+)m(\w+) *\x1b\[0m", text):
        colours.setdefault(name, set()).add(colour)
    names = {e["agent"] for e in log}
    assert {name: len(found) for name, found in colours.items() if name in names} == dict.fromkeys(
        names, 1
    )
    assert len({min(colours[name]) for name in names}) == len(names)
    statuses = re.findall(r"held: [^\x1b]*", text)
    assert len(statuses) == len(log)
    assert any("held: design (" in status for status in statuses)
    assert "held: nothing" in statuses[-1]
    assert "unread: " in statuses[-1]
    assert text.rstrip().endswith("\x1b[0m")


def test_without_colours_nothing_is_erased(watcher: User):
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        text = watcher.terminal("replay", "--max-pause", "1ms", env=env)
        assert "\x1b" not in text
        assert "held:" not in text


def test_step_goes_on_at_a_key(on_terminal: Any):
    shown = on_terminal("replay", "--step")
    shown.until(rb"\+0\.000")
    shown.read(0.3)
    assert len(re.findall(rb"\+\d+\.\d{3}", shown.shown)) == 1  # it waits
    for nth, key in enumerate((" ", "\r", "\n"), 2):
        shown.type(key)
        shown.until(rb"(?s)(\+\d+\.\d{3}.*){%d}" % nth)
    shown.type("x")  # no such key: it waits on
    shown.read(0.3)
    assert len(re.findall(rb"\+\d+\.\d{3}", shown.shown)) == 4
    shown.type("q")
    assert shown.end() == 0
    assert shown.after == shown.before


@pytest.mark.parametrize("words", [("--step",), ("--speed", "0.001", "--max-pause", "60s")])
def test_an_interrupt_ends_with_130_and_the_terminal_in_order(on_terminal: Any, words: list[str]):
    shown = on_terminal("replay", *words)
    shown.until(rb"held:")
    shown.read(0.2)
    shown.type("\x03")
    assert shown.end() == 130
    text = shown.shown.decode()
    assert "Traceback" not in text
    assert "error: interrupted at" in text
    hint = re.search(r"hint: (tclog replay --from ([0-9a-f]{12}))", text)
    assert hint
    assert text.rindex("\x1b[0m") > text.rindex("\x1b[2m")
    assert shown.after == shown.before


def test_the_hint_of_an_interrupt_goes_on_where_it_stopped(on_terminal: Any, watcher: User):
    shown = on_terminal("replay", "--step")
    shown.until(rb"held:")
    shown.type(" ")
    shown.until(rb"(?s)(held:.*){2}")
    shown.type("\x03")
    assert shown.end() == 130
    point = re.search(rb"--from ([0-9a-f]{12})", shown.shown)[1].decode()
    log = watcher("log", "--json", "--reverse").objects()
    rest = watcher("replay", "--json", "--from", point).objects()
    assert [e["id"] for e in rest] == [e["id"] for e in log[2:]]


def test_a_killed_step_mode_gives_the_terminal_back(on_terminal: Any):
    shown = on_terminal("replay", "--step")
    shown.until(rb"held:")
    shown.child.send_signal(signal.SIGTERM)
    assert shown.end() == 143
    assert shown.after == shown.before


def test_an_interrupt_in_a_pipe(watcher: User):
    child = watcher.processes("replay", "--json", "--speed", "0.001", "--max-pause", "60s")
    line = child.stdout.readline()
    assert json.loads(line)["elapsed_s"] == 0
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert out == b""
    error = json.loads(err)
    assert error["code"] == "interrupted"
    assert error["exit"] == 130


def test_texts_of_others_do_not_reach_the_terminal(tmp_path: Path):
    user = User(tmp_path)
    user("init").ok()
    with earlier_build():
        user("memory", "set", "k", "\x1b[31mred\nline\u202e", "--as", "a\u202eb").ok()
    for text in (user("replay").ok().out, user.terminal("replay", "--max-pause", "1ms")):
        assert "\x1b[31mred" not in text
        assert "\u202e" not in text
        assert "\\x1b[31mred\\nline\\u202e" in text
