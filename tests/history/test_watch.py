"""watch: every event once, cause before effect, whatever dies in between."""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.project import Machine, Project, Worker

from history.clocks import Clock
from tclog.chain.drive import run
from tclog.clock import last_of
from tclog.errors import StoreUnreachable, UsageError, WaitTimeout
from tclog.history.history import History
from tclog.history.log import read_log
from tclog.history.watch import Cursor, Follower, Pace, read_cursor, watch
from tclog.index import Commit, Filter
from tclog.log.inbox import send_message
from tclog.log.memory import set_value
from tclog.log.transactions import Transaction
from tclog.moment import Moment
from tclog.store.memory import MemoryStore

from .places import given_project, given_seeds  # noqa: F401

WRITERS = 8
KILLS = 20


# -- in one process -------------------------------------------------------------------------------


class Scene:
    """A store in memory, somebody who writes, and followers."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.store = MemoryStore(lambda: self.clock.us)
        self.writer = self.clock.client("alice")
        self.folder = folder
        self.said: list[str] = []

    def set(self, key: str, value: str = "v") -> str:
        self.clock.pass_s(1)
        run(set_value(self.writer, key, value), self.store)
        return self.newest()

    def send(self, to: str) -> str:
        self.clock.pass_s(1)
        run(send_message(self.writer, to, "hi"), self.store)
        return self.newest()

    def newest(self) -> str:
        return max(self.store.list("events", "", 10**6, False)).key[-69:-5]

    def history(self, folder: Path | None = None) -> History:
        return History(self.store, self.clock.client("reader"), folder or self.folder)

    def follower(self, **wanted: Any) -> Follower:
        return Follower(self.history(), Filter(**wanted), self.said.append)

    def came(self, follower: Follower, rounds: int = 3) -> list[str]:
        found: list[Commit] = []
        for _ in range(rounds):
            self.clock.pass_s(2)
            found += follower.look()
        return [commit.event.id for commit in found]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "cache")


def test_from_now_on_only_what_is_new_comes(scene: Scene) -> None:
    scene.set("old")
    follower = scene.follower()
    follower.begin_now()
    assert scene.came(follower) == []
    wanted = [scene.set("a"), scene.set("b"), scene.send("bob,carol"), scene.set("a")]
    assert scene.came(follower) == wanted
    assert scene.came(follower) == []


def test_from_an_event_a_moment_a_version_or_an_attempt(scene: Scene) -> None:
    ids = [scene.set(f"k{n}") for n in range(6)]
    history = scene.history()
    history.sync()
    history.sync()
    commits = {c.event.id: c for c in history.index.commits()}
    version = history.index.version(commits[ids[2]].chain, 1)
    us = scene.clock.us - 2_500_000
    for moment, rest in (
        (Moment(id_prefix=ids[2][:12]), ids[3:]),
        (Moment(id_prefix=ids[5]), []),
        (Moment(id_prefix=version.id), ids[3:]),
        (Moment(us=us), ids[3:]),
        (Moment(us=0), ids),
    ):
        follower = scene.follower()
        follower.begin_at(moment)
        assert scene.came(follower) == rest, moment


def test_an_event_for_several_inboxes_comes_once(scene: Scene) -> None:
    sent = scene.send("bob,carol,dave")
    after = scene.set("a")
    for wanted, expected in (
        ({}, [sent, after]),
        ({"chain": "inbox/carol"}, [sent]),
        ({"chain": "inbox/*"}, [sent]),
        ({"op": "memory.*"}, [after]),
        ({"agent": "nobody"}, []),
        ({"text": "HI"}, [sent]),
    ):
        follower = scene.follower(**wanted)
        follower.begin_at(Moment(us=0))
        assert scene.came(follower) == expected, wanted
        follower = scene.follower(**wanted)
        follower.begin_at(Moment(id_prefix=sent))
        assert scene.came(follower) == [i for i in expected if i != sent], wanted


def test_many_come_in_pieces_and_none_is_lost(scene: Scene) -> None:
    """More than are read at once, of which a filter that looks at the text leaves out most."""
    ids = [scene.set("k", f"{'this' if n % 3 else 'that'} {n}") for n in range(1300)]
    follower = scene.follower()
    follower.begin_at(Moment(us=0))
    assert scene.came(follower) == ids
    follower = scene.follower(text="that")
    follower.begin_at(Moment(us=0))
    assert scene.came(follower) == ids[::3]


def test_a_cursor_goes_on_and_an_index_made_anew_repeats_but_leaves_nothing_out(
    scene: Scene,
) -> None:
    ids = [scene.set(f"k{n}") for n in range(3)]
    follower = scene.follower()
    follower.begin_at(Moment(us=0))
    scene.clock.pass_s(2)
    came = []
    for commit in follower.look():
        came.append(commit.event.id)
        if len(came) == 2:
            break
    cursor = read_cursor(follower.cursor.write(), "file")
    assert cursor == follower.cursor
    again = scene.follower()
    again.begin_after(cursor)
    assert scene.came(again) == ids[2:]
    assert not scene.said
    follower.history.index.renew()
    new = scene.follower()
    new.begin_after(cursor)
    assert scene.came(new) == ids
    assert "may come once more" in scene.said[0]
    # One that runs while the index is made anew remembers what has come.
    again.history.index.renew()
    late = scene.set("late")
    assert scene.came(again) == [*ids[:2], late]


def test_a_late_slot_is_not_lost_when_the_index_is_made_anew(scene: Scene) -> None:
    """Its stamp is older than that of an event which had come before."""
    from sync.test_sync import is_slot, until

    step = until(set_value(scene.clock.client("slow"), "late", "v"), scene.store, is_slot)
    ids = [scene.set("a"), scene.set("b")]
    follower = scene.follower()
    follower.begin_at(Moment(us=0))
    assert scene.came(follower) == ids
    scene.clock.pass_s(600)
    scene.store.create(step.key, step.data)
    shutil.rmtree(scene.folder)
    for _ in range(3):
        scene.history().sync()
    new = scene.follower()
    new.begin_after(follower.cursor)
    assert len(set(scene.came(new)) - set(ids)) == 1


def test_from_an_event_nothing_late_is_lost_when_the_index_is_made_anew(scene: Scene) -> None:
    """A new index has the late one before the event that the follower had come to."""
    from sync.test_sync import is_slot, until

    step = until(set_value(scene.clock.client("slow"), "late", "v"), scene.store, is_slot)
    ids = [scene.set("a"), scene.set("b")]
    follower = scene.follower()
    follower.begin_at(Moment(us=0))
    assert scene.came(follower) == ids
    scene.clock.pass_s(600)
    scene.store.create(step.key, step.data)
    shutil.rmtree(scene.folder)
    for wanted in ({}, {"chain": "memory/*"}):
        new = scene.follower(**wanted)
        new.begin_at(Moment(id_prefix=ids[1]))
        (late,) = scene.came(new)
        assert late not in ids
        assert scene.said.pop().startswith("the local index was made after")
        assert scene.came(new) == []
    assert scene.came(_begun(scene, ids[1], chain="memory/b")) == []
    # Of what has a number since then it is known who came first.
    later = [scene.set("c"), scene.set("d")]
    assert scene.came(_begun(scene, ids[1]))[1:] == later
    scene.said.clear()
    assert scene.came(_begun(scene, later[0])) == later[1:]
    assert not scene.said


def _begun(scene: Scene, event: str, **wanted: Any) -> Follower:
    follower = scene.follower(**wanted)
    follower.begin_at(Moment(id_prefix=event))
    return follower


@pytest.mark.parametrize("raw", [b"x", b"{}", b'{"at":"x","epoch":"e","n":1}', b"[1]", b"\xff"])
def test_what_is_no_cursor_is_refused(raw: bytes) -> None:
    with pytest.raises(UsageError, match="is not a cursor"):
        read_cursor(raw, "file")


def test_an_empty_file_is_a_fresh_cursor() -> None:
    assert read_cursor(b"\n", "file") is None
    cursor = Cursor("e", 3, last_of(0)[:27])
    assert read_cursor(cursor.write(), "file") == cursor


class Coarse(MemoryStore):
    """Stamps whole seconds, as a bucket does; ``slow_s`` is how long the next event's put takes."""

    slow_s = 0.0

    def __init__(self, clock: Clock) -> None:
        super().__init__(lambda: clock.us // 1_000_000 * 1_000_000)
        self._clock = clock

    def keep(self, key: str, data: bytes) -> Any:
        self._clock.pass_s(self.slow_s)
        self.slow_s = 0.0
        return super().keep(key, data)


def logged_after(scene: Scene, event: str) -> list[str]:
    """Return what ``log --reverse --since EVENT`` shows."""
    history = scene.history()
    history.sync()
    wanted = Filter(since=history.resolve(Moment(id_prefix=event)))
    rows = read_log(history.index, wanted, newest_first=False)
    return [row.commit.event.id for row in rows if row.commit is not None]


def while_others_write(scene: Scene, follower: Follower) -> list[str]:
    """Let each of the next syncs find more that was written in the second of what it knows."""
    ids: list[str] = []
    sync = follower.history.sync

    def sync_while_others_write() -> Any:
        if len(ids) < 9:
            scene.clock.pass_s(0.1)
            run(set_value(scene.clock.client("bob"), f"k{len(ids)}", "v"), scene.store)
            ids.append(scene.newest())
        return sync()

    follower.history.sync = sync_while_others_write  # type: ignore[method-assign]
    return ids


def test_an_event_that_has_no_number_yet_does_not_come_after_itself(scene: Scene) -> None:
    scene.store = Coarse(scene.clock)
    first = scene.set("first")
    scene.history().sync()
    follower = scene.follower()
    ids = while_others_write(scene, follower)
    follower.begin_at(Moment(id_prefix=first))
    came = []
    for _ in range(12):
        came += [commit.event.id for commit in follower.look()]
        # A cursor from before it has its place would let it come to the next run.
        assert follower.cursor is None or follower.cursor.n > 0
    assert came == ids == logged_after(scene, first)


def test_from_now_on_leaves_out_what_has_no_number_yet(scene: Scene) -> None:
    scene.store = Coarse(scene.clock)
    scene.set("first")
    follower = scene.follower()
    ids = while_others_write(scene, follower)
    follower.begin_now()
    begun = len(ids)
    assert scene.came(follower, 12) == ids[begun:]


@pytest.mark.parametrize("kind", ["set", "transaction"])
def test_a_slow_write_does_not_put_a_right_clock_off(scene: Scene, kind: str) -> None:
    """Else its event and all later ones of the agent would be stamped after what follows them."""
    scene.store = Coarse(scene.clock)
    scene.store.slow_s = 5.0
    if kind == "set":
        first = scene.set("first")
    else:
        scene.clock.pass_s(1)
        both = Transaction(scene.writer)
        both.memory_set("first", "v")
        both.memory_set("second", "v")
        run(both.protocol(None), scene.store)
        first = scene.newest()
    assert scene.writer.clock.offset_us == 0
    scene.history().sync()
    scene.clock.pass_s(0.2)
    run(set_value(scene.clock.client("bob"), "k", "v"), scene.store)
    after = scene.newest()
    follower = scene.follower()
    follower.begin_at(Moment(id_prefix=first))
    assert scene.came(follower) == [after] == logged_after(scene, first)


class Failing(MemoryStore):
    down = False

    def list(self, *args: Any) -> Any:
        if self.down:
            raise StoreUnreachable("no route to host")
        return super().list(*args)


def paced(scene: Scene, timeout_s: float | None, at: dict[int, Any]) -> Pace:
    """Let virtual time pass, and things happen at the nth pause."""
    pauses = iter(range(10_000))

    def pause(seconds: float) -> None:
        assert 0 < seconds < 10
        scene.clock.pass_s(seconds)
        at.get(next(pauses), lambda: None)()

    return Pace(pause, lambda: scene.clock.us / 1e6, lambda: 0.5, 1.0, timeout_s)


def test_a_store_that_is_away_is_tried_again_until_the_timeout(scene: Scene) -> None:
    scene.store = store = Failing(lambda: scene.clock.us)
    follower = scene.follower()
    scene.set("old")
    follower.begin_now()

    def break_down() -> None:
        scene.set("a")
        store.down = True

    def recover() -> None:
        store.down = False
        scene.set("b")

    at = {3: break_down, 9: recover, 20: break_down}
    came = []
    with pytest.raises(StoreUnreachable):
        for commit in watch(follower, paced(scene, 60, at), scene.said.append):
            came.append(commit.chain)
    assert came == ["memory/a", "memory/b"]
    assert scene.said == [
        "no route to host; trying again",
        "the store answers again",
        "no route to host; trying again",
    ]


def test_silence_ends_with_the_timeout(scene: Scene) -> None:
    scene.set("old")
    follower = scene.follower()
    follower.begin_now()
    begun_us = scene.clock.us
    with pytest.raises(WaitTimeout):
        list(watch(follower, paced(scene, 30, {5: lambda: scene.set("a")}), scene.said.append))
    assert 30e6 < scene.clock.us - begun_us < 60e6


# -- real processes -------------------------------------------------------------------------------


class Watching:
    """A ``tclog watch`` process, and the whole lines that it has printed."""

    def __init__(self, machine: Machine, *args: str) -> None:
        self.process = machine.start("watch", "--json", "--interval", "100ms", *args)
        self.lines: list[dict[str, Any]] = []
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line)
        self._said.put(None)

    def until(self, count: int, timeout_s: float) -> None:
        """Wait for some more lines, or for the end."""
        ends = time.monotonic() + timeout_s
        while len(self.lines) < count and time.monotonic() < ends:
            try:
                line = self._said.get(timeout=max(ends - time.monotonic(), 0.001))
            except queue.Empty:
                return
            if line is None:
                return
            if line.endswith(b"\n"):
                self.lines.append(json.loads(line))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.until(10**9, 5)


def work(number: int, rounds: int) -> Iterator[list[str]]:
    """Return what one of the writers does."""
    rng = random.Random(number)
    for nth in range(rounds):
        other = f"agent-{rng.randrange(WRITERS)}"
        step = f"s{rng.randrange(6)}"
        yield rng.choice(
            [
                ["memory", "incr", "n"],
                ["memory", "set", f"k{rng.randrange(4)}", f"{number} {nth}"],
                ["memory", "append", "log", f"{number} {nth}"],
                ["send", other, f"{number} {nth}"],
                ["send", f"{other},someone,agent-{number}", "to several"],
                ["send", "@all", f"{number} {nth}"],
                ["claim", step, "--lease", "1s"],
                ["complete", step],
                ["reopen", step],
                ["inbox", "--ack"],
            ]
        )


class Writing:
    """Eight processes that write until they are told to stop."""

    def __init__(self, project: Project) -> None:
        self._stopped = threading.Event()
        workers = project.crew([f"agent-{n}" for n in range(WRITERS)])
        self._pool = ThreadPoolExecutor(WRITERS)
        self._done = [
            self._pool.submit(self._write, worker, number) for number, worker in enumerate(workers)
        ]

    def _write(self, worker: Worker, number: int) -> None:
        commands = work(number, 10**6)
        while not self._stopped.is_set():
            worker.run(*next(commands))

    def stop(self) -> None:
        self._stopped.set()
        for done in self._done:
            done.result(60)
        self._pool.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["from", "cursor"])
def test_killed_and_resumed_while_others_write(project: Project, by: str) -> None:
    rng = random.Random(by)
    first = project.run("memory", "set", "begin", "1", "--json", agent="w").ok().one()["id"]
    # Of what a new index finds at first it is not known who came first; so it is made before.
    project.run("sync", agent="w").ok()
    cursor = project.work / "cursor"
    how = ["--from", first] + (["--cursor", str(cursor)] if by == "cursor" else [])
    writing = Writing(project)
    came: list[list[str]] = []
    records: list[dict[str, Any]] = []
    # A bucket on the same two cores is slow: there the half of it has to do.
    for _ in range(KILLS if project.site.url.startswith("/") else KILLS // 2):
        watching = Watching(project, *how)
        watching.until(rng.randrange(1, 14), 30)
        assert watching.lines
        time.sleep(rng.random() * 0.1)
        watching.kill()
        came.append([line["id"] for line in watching.lines])
        records += watching.lines
        if by == "from":
            how = ["--from", watching.lines[-1]["id"]]
    writing.stop()
    watching = Watching(project, *how, "--timeout", "3s")
    watching.until(10**9, 60)
    assert watching.process.wait(30) == 5
    came.append([line["id"] for line in watching.lines])
    records += watching.lines

    # The log goes by stamps, a follower by numbers. Nothing was committed beside the first event,
    # and all go by one clock, so both begin behind it with the same events.
    log = project.json("log", "--reverse", "--since", first)
    wanted = {event["id"] for event in log}
    assert len(wanted) == len(log) > 100
    flat = [event for part in came for event in part]
    assert set(flat) == wanted
    if by == "from":
        assert len(flat) == len(wanted)
    # A cursor is kept after an event is out: only what came last before a kill comes again.
    once: dict[str, dict[str, Any]] = {}
    repeated = 0
    for record in records:
        repeated += record["id"] in once
        once.setdefault(record["id"], record)
    assert repeated <= KILLS
    in_order(list(once.values()))


def in_order(events: list[dict[str, Any]]) -> None:
    """Versions of a chain in their order, and what an agent did in the order in which it did it."""
    chains: dict[str, int] = {}
    agents: dict[str, str] = {}
    for event in events:
        # A version of a hot inbox may hold the messages of several senders.
        assert chains.get(event["chain"], 0) <= event["version"], event
        chains[event["chain"]] = event["version"]
        # Stamps count beyond microseconds, but what is shown ends there.
        assert agents.get(event["agent"], "") <= event["made_at"], event
        agents[event["agent"]] = event["made_at"]


@pytest.fixture
def folder(tmp_path: Path, seeds: dict[str, Any]) -> Iterator[Project]:
    """Give a project in a folder only."""
    from support.project import folder_site

    made = Project(tmp_path, folder_site(tmp_path / "store"), seeds.get("file"))
    seeds.setdefault("file", made.seed())
    yield made
    made.close()


def test_a_command_for_each_event_and_its_failure(folder: Project) -> None:
    for n in range(3):
        folder.run("memory", "set", f"k{n}", "v", agent="alice").ok()
    command = 'cat >> got; echo "$TCLOG_EVENT_OP $TCLOG_EVENT_CHAIN $TCLOG_EVENT_VERSION" >> seen'
    flags = ("--cursor", "c", "--from", "1h", "--op", "memory.*")
    done = folder.run("watch", *flags, "--count", "2", "--json", "--exec", command).ok()
    seen = (folder.work / "seen").read_text().splitlines()
    assert seen == ["memory.set memory/k0 1", "memory.set memory/k1 1"]
    got = [json.loads(line) for line in (folder.work / "got").read_text().splitlines()]
    assert got == done.json()
    failed = folder.run("watch", *flags, "--json", "--exec", "exit 7")
    assert failed.code == 1
    assert failed.error()["code"] == "command-failed"
    assert failed.error()["status"] == 7
    killed = folder.run("watch", *flags, "--json", "--exec", "kill -9 $$")
    assert "signal 9" in killed.error()["message"]
    # The cursor stayed before it, so it comes again.
    (event,) = folder.run("watch", *flags, "--count", "1", "--json").ok().json()
    assert event["chain"] == "memory/k2"


def test_a_first_run_with_a_cursor_keeps_its_beginning_at_once(folder: Project) -> None:
    folder.run("memory", "set", "old", "v", agent="alice").ok()
    first = folder.run("watch", "--cursor", "c", "--timeout", "100ms", "--json")
    assert first.code == 5
    folder.run("memory", "set", "new", "v", agent="alice").ok()
    (event,) = folder.run("watch", "--cursor", "c", "--count", "1", "--json").ok().json()
    assert event["chain"] == "memory/new"


def test_an_interrupt_ends_it_quietly(folder: Project) -> None:
    process = folder.start("watch")
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    done = folder.finish(process)
    assert (done.code, done.out, done.err) == (130, "", "")


def test_a_reader_that_leaves_ends_it_quietly_also_while_nothing_happens(folder: Project) -> None:
    folder.run("memory", "set", "k", "v", agent="alice").ok()
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        ["tclog", "watch", "--from", "1h"], cwd=folder.work, env=folder.environ(),
        stdout=theirs, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    assert os.read(ours, 1000)
    os.close(ours)
    _, err = process.communicate(timeout=120)
    assert err == b""


def test_bad_words_get_one_error(folder: Project) -> None:
    (folder.work / "bad").write_text("hello")
    for words, code in (
        (["--from", "abcd1234"], 3),
        (["--from", "no-such-tag"], 3),
        (["--from", ""], 2),
        (["--cursor", "bad"], 2),
        (["--cursor", "."], 2),
        (["--cursor", "missing/c"], 1),
        (["--interval", "0"], 2),
        (["--count", "0"], 2),
        (["--timeout", "x"], 2),
    ):
        done = folder.run("watch", *words, "--json", timeout=20)
        assert done.code == code, done
        assert done.error()["hint"], done
        assert len(done.err.splitlines()) == 1, done
