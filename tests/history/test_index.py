"""The index as a file among processes: damage, want, other releases, and what questions cost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.logs.generate import generate
from support.project import Project, folder_site, side_by_side

from history.clocks import Clock
from history.truth import assert_numbers, assert_same, read_truth
from tclog.chain.client import Client
from tclog.chain.drive import run
from tclog.chain.fold import place_after
from tclog.chain.read import read_head
from tclog.chain.seal import seal_next
from tclog.clock import hlc, parse_us, stamp
from tclog.errors import TclogError
from tclog.event import ChainId, Version, decode_event, event_key, seal_event, slot_key
from tclog.history.history import History
from tclog.history.log import read_log, read_on
from tclog.index import Filter, Index, IndexUnusable, NotLinked, database
from tclog.index.asking import Asking
from tclog.log.inbox import send_message
from tclog.log.memory import set_value
from tclog.store.memory import MemoryStore
from tclog.sync.sync import sync

from .places import given_seeds  # noqa: F401


@pytest.fixture
def project(tmp_path: Path, seeds: dict[str, Any]) -> Iterator[Project]:
    """Give a project in a folder, with a few events."""
    made = Project(tmp_path, folder_site(tmp_path / "store"), seeds.get("file"))
    seeds.setdefault("file", made.seed())
    for n in range(5):
        made.run("memory", "set", f"k{n}", "v", agent="alice").ok()
    yield made
    made.close()


def index_file(project: Project) -> Path:
    (path,) = (project.folder / "cache").glob("*/*/index-*/log.sqlite")
    return path


def keys(project: Project, **env: str) -> list[str]:
    """Ask the log through a real process."""
    done = project.run("log", "--op", "memory.*", "--reverse", "--json", env=env).ok()
    assert done.err == ""
    return [event["chain"] for event in done.json()]


ALL = [f"memory/k{n}" for n in range(5)]


# -- damage ---------------------------------------------------------------------------------------


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(8192, len(data), 512):
        data[at : at + 64] = os.urandom(64)
    path.write_bytes(data)


def old_schema(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value='0' WHERE name='schema'")
    db.commit()
    db.close()


def without_a_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE events")
    db.commit()
    db.close()


def another_database(path: Path) -> None:
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE chains(x)")
    db.execute("CREATE TABLE meta(name, value)")
    db.commit()
    db.close()


DAMAGES = {
    "empty": lambda path: cut(path, 0),
    "a few bytes": lambda path: cut(path, 10),
    "half": lambda path: cut(path, path.stat().st_size // 2),
    "a page short": lambda path: cut(path, path.stat().st_size - 8192),
    "garbage": lambda path: path.write_bytes(os.urandom(100_000)),
    "scribbled": scribble,
    "another schema": old_schema,
    "without a table": without_a_table,
    "another database": another_database,
    "no file": lambda path: path.unlink(),
    "no folder": lambda path: shutil.rmtree(path.parent),
    "a garbled journal": lambda path: path.with_name("log.sqlite-wal").write_bytes(b"x" * 9000),
    "a folder for the file": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_index_is_made_anew(project: Project, how: str) -> None:
    assert keys(project) == ALL
    path = index_file(project)
    for rest in path.parent.glob("log.sqlite-*"):
        rest.unlink()
    DAMAGES[how](path)
    if how == "a folder for the file":
        done = project.run("log", "--json")
        assert done.code == 0, done
        assert "cannot be written (it cannot be opened)" in done.err
        return
    assert keys(project) == ALL
    assert keys(project) == ALL
    assert [p.name for p in path.parent.parent.glob("index*")] == [path.parent.name]


def test_pages_of_zeros_in_the_middle_are_noticed_or_harmless(project: Project) -> None:
    assert keys(project) == ALL
    path = index_file(project)
    for at in range(1, path.stat().st_size // 8192):
        whole = path.read_bytes()
        path.write_bytes(whole[: at * 8192] + bytes(8192) + whole[(at + 1) * 8192 :])
        assert keys(project) == ALL, at
        path = index_file(project)


def test_a_release_with_another_schema_has_an_index_of_its_own(project: Project) -> None:
    assert keys(project) == ALL
    path = index_file(project)
    other = path.parent.with_name("index-99")
    shutil.copytree(path.parent, other)
    before = (other / path.name).read_bytes()
    assert keys(project) == ALL
    assert (other / path.name).read_bytes() == before


def test_a_folder_that_is_deleted_under_an_open_index(tmp_path: Path) -> None:
    clock = Clock()
    store = MemoryStore(lambda: clock.us)
    history = History(store, clock.client("reader"), tmp_path / "cache")
    for n in range(4):
        run(set_value(clock.client(f"w{n}"), f"k{n}", "v"), store)
        clock.pass_s(1)
        history.sync()
        if n == 1:
            shutil.rmtree(tmp_path / "cache")
        assert history.index.chains() == [f"memory/k{m}" for m in range(n + 1)]
    fresh = History(store, clock.client("reader"), tmp_path / "cache")
    fresh.sync()
    assert_same(fresh.index, read_truth(store))


# -- what is no damage ----------------------------------------------------------------------------


def test_an_index_that_may_not_be_written_is_made_in_memory(project: Project) -> None:
    assert keys(project) == ALL
    path = index_file(project)
    project.run("memory", "set", "more", "v", agent="alice").ok()
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (os.geteuid() == 0)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        done = subprocess.run(
            [*drop, "tclog", "log", "--json"], cwd=project.work, env=project.environ(),
            capture_output=True, check=False, text=True,
        )  # fmt: skip
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)
    assert done.returncode == 0, done
    assert "cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stdout.splitlines()) == 6
    assert len(keys(project)) == 6


def test_a_full_disk_needs_memory_and_leaves_no_harm(project: Project) -> None:
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))\n"
        "from tclog.cli.app import run_command\n"
        "sys.exit(run_command(['log', '--json']))\n"
    )
    done = project.finish(project.start("-c", script, program=shutil.which("python3") and PYTHON))
    assert done.code == 0, done
    assert "cannot be written (disk I/O error)" in done.err
    assert len(done.out.splitlines()) == 5
    assert keys(project) == ALL


PYTHON = Path(shutil.which("tclog") or "tclog").with_name("python")


def test_a_lock_that_is_held_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    store = MemoryStore(lambda: clock.us)
    run(set_value(clock.client("w"), "k", "v"), store)
    monkeypatch.setattr(database, "BUSY_S", 0.3)
    holder = Index(tmp_path)
    history = History(store, clock.client("reader"), tmp_path)
    with holder.writing(), pytest.raises(IndexUnusable, match="another process has held it"):
        history.sync()
    history.sync()
    assert history.index.chains() == ["memory/k"]


# -- many processes -------------------------------------------------------------------------------


def test_many_processes_sync_while_others_write(project: Project) -> None:
    writers = project.crew([f"w{n}" for n in range(4)])
    readers = project.crew([f"r{n}" for n in range(4)])

    def write(worker: Any) -> None:
        worker.post(
            [["memory", "incr", "n"], ["send", "bob,carol", "hi"], ["send", "@all", "x"]] * 8
        )
        assert all(result.code == 0 for result in worker.results())

    def read(worker: Any) -> None:
        worker.post([["sync", "--json"], ["log", "-n", "1"], ["inbox", "--all"]] * 8)
        assert all(result.code == 0 for result in worker.results())

    side_by_side(*(lambda w=w: write(w) for w in writers), *(lambda r=r: read(r) for r in readers))
    project.run("sync").ok()
    project.run("sync").ok()
    index = Index(index_file(project).parent.parent)
    from tclog.store.file import FileStore

    assert_same(index, read_truth(FileStore(project.objects.root)))
    assert_numbers(index)


def test_a_first_sync_that_is_killed_goes_on(project: Project) -> None:
    from tclog.store.file import FileStore

    store = FileStore(project.objects.root, fsync=False)
    generate(store, events=4000)
    reached = []
    for nth in range(6):
        process = project.start("sync")
        time.sleep(0.35 + 0.15 * nth)
        process.send_signal(signal.SIGKILL)
        project.finish(process)
        found = list((project.folder / "cache").glob("*/*/index-*/log.sqlite"))
        if found:
            index = Index(found[0].parent.parent)
            reached.append(index.counts()["versions"])
            index.close()
    assert reached == sorted(reached)
    # Several at once from there on.
    for worker in [project.start("sync") for _ in range(3)]:
        project.finish(worker).ok()
    index = Index(index_file(project).parent.parent)
    assert_same(index, read_truth(store))


@pytest.mark.parametrize("damaged", ["garbage", "no folder"])
def test_processes_that_all_find_it_damaged(project: Project, damaged: str) -> None:
    assert keys(project) == ALL
    DAMAGES[damaged](index_file(project))
    for process in [project.start("log", "--op", "memory.*") for _ in range(6)]:
        done = project.finish(process).ok()
        assert len(done.out.splitlines()) == 5
    assert keys(project) == ALL


@pytest.mark.parametrize("others", [3, 99])
def test_an_index_that_others_replace_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Whoever holds the file that another process has thrown away is told of an I/O error."""
    connect, met = database.Database._connect, []

    def replaced(self: database.Database) -> sqlite3.Connection:
        db = connect(self)
        if len(met) < others:
            met.append(db)
            db.close()
            raise sqlite3.OperationalError("disk I/O error")
        return db

    monkeypatch.setattr(database.Database, "_connect", replaced)
    if others == 99:
        with pytest.raises(IndexUnusable, match="disk I/O error"):
            Index(tmp_path)
        assert len(met) == database.OPENS_MAX
    else:
        assert Index(tmp_path).chains() == []


# -- numbers --------------------------------------------------------------------------------------


def test_a_cause_that_is_found_after_its_effect_gets_the_lower_number(tmp_path: Path) -> None:
    """The listing that found the effect had passed the cause's place before the cause was there."""
    clock = Clock()
    store, hidden = MemoryStore(lambda: clock.us), MemoryStore(lambda: clock.us)
    index, reader = Index(tmp_path), clock.client("reader")
    run(sync(reader, index), store)
    run(sync(reader, index), store)
    for n in range(3):
        writer = clock.client("w")
        clock.pass_s(5)
        cause_us = clock.us
        run(set_value(writer, f"cause{n}", "v"), hidden)
        clock.pass_s(0.2)
        run(set_value(writer, f"effect{n}", "v"), store)
        run(sync(reader, index), store)
        now_us, clock.us = clock.us, cause_us
        for part in ("events", "chains"):
            for entry in hidden.list(part, "", 99, False):
                if store.get(entry.key) is None:
                    store.put(entry.key, hidden.get(entry.key).data)
        clock.us = now_us
        for _ in range(3):
            clock.pass_s(0.1)
            run(sync(reader, index), store)
    order = [commit.chain for _, commit in index.followed(0)]
    assert order == [f"memory/{what}{n}" for n in range(3) for what in ("cause", "effect")]


class Hidden:
    """Writes that the next sync does not find, though they are in the store by its stamps."""

    def __init__(self, clock: Clock, store: MemoryStore) -> None:
        self.clock, self.store = clock, store
        self._hidden = MemoryStore(lambda: clock.us)

    def set(self, key: str) -> None:
        self._us = self.clock.us
        run(set_value(self.clock.client("w"), key, "v"), self._hidden)

    def show(self) -> None:
        now_us, self.clock.us = self.clock.us, self._us
        for part in ("events", "chains"):
            for entry in self._hidden.list(part, "", 99, False):
                if self.store.get(entry.key) is None:
                    self.store.put(entry.key, self._hidden.get(entry.key).data)
        self.clock.us = now_us


@pytest.mark.parametrize("ahead", ["event", "slot", "cause", "effect", "reader"])
def test_one_stamp_from_the_future_lets_no_effect_go_before_its_cause(
    tmp_path: Path, ahead: str
) -> None:
    """The stamp may be that of another event, of a slot, or of cause or effect themselves.

    Or the reader's clock is behind, and all stamps are of the future to it.
    """
    clock = Clock()
    store = MemoryStore(lambda: clock.us)
    index = Index(tmp_path)
    reader = clock.client("reader", -3600 if ahead == "reader" else 0)
    run(sync(reader, index), store)
    run(sync(reader, index), store)

    def in_future(part: str, key: str) -> None:
        _stamp_ahead(clock, store, part, key)

    if ahead == "event":
        run(set_value(clock.client("w"), "other", "v"), store)
        in_future("events", "other")
    for n in range(4):
        hidden = Hidden(clock, store)
        clock.pass_s(5)
        if ahead == "slot":
            run(set_value(clock.client("w"), f"other{n}", "v"), store)
            in_future("chains", f"other{n}")
            run(sync(reader, index), store)
        hidden.set(f"cause{n}")
        clock.pass_s(0.2)
        run(set_value(clock.client("w"), f"effect{n}", "v"), store)
        if ahead == "effect":
            in_future("chains", f"effect{n}")
        run(sync(reader, index), store)
        hidden.show()
        if ahead == "cause":
            in_future("chains", f"cause{n}")
        for _ in range(6):
            clock.pass_s(0.1)
            run(sync(reader, index), store)
        assert not index.waiting()
    order = [commit.chain for _, commit in index.followed(0) if "other" not in commit.chain]
    assert order == [f"memory/{what}{n}" for n in range(4) for what in ("cause", "effect")]


def _stamp_ahead(clock: Clock, store: MemoryStore, part: str, key: str) -> None:
    """Give the objects of a key a stamp an hour ahead, as a file that was touched has."""
    clock.us += 3_600_000_000
    for entry in store.list(part, "", 99, False):
        if key in entry.key:
            store.put(entry.key, store.get(entry.key).data)
    clock.us -= 3_600_000_000


def test_an_effect_from_the_future_waits_for_a_cause_whose_tick_is_not_over(tmp_path: Path) -> None:
    clock = Clock()
    clock.us -= clock.us % 1_000_000
    store = MemoryStore(lambda: clock.us - clock.us % 1_000_000)
    index, reader = Index(tmp_path), clock.client("reader")
    hidden = Hidden(clock, store)
    hidden.set("cause")
    clock.pass_s(0.1)
    run(set_value(clock.client("w"), "effect", "v"), store)
    _stamp_ahead(clock, store, "chains", "effect")
    run(sync(reader, index), store)
    hidden.show()
    for n in range(5):
        clock.pass_s(0.1)
        run(sync(reader, index), store)
        run(set_value(clock.client("w"), f"other{n}", "v"), store)
    for _ in range(3):
        clock.pass_s(1)
        run(sync(reader, index), store)
    order = [commit.chain for _, commit in index.followed(0)]
    assert order[:2] == ["memory/cause", "memory/effect"]


def _write_ahead(ahead: Client, store: MemoryStore, chain: str, clock: Clock) -> None:
    """Write a version as a foreign client may that never looks at the store's clock."""
    head = run(read_head(ahead, ChainId(chain)), store)
    event, raw = seal_event(
        op="memory.set", chains=(ChainId(chain),), agent="ahead", session="s", host="h", client="c",
        at=hlc(clock.us, 0), nonce="0" * 32, body={"type": "text", "value": "1"},
    )  # fmt: skip
    store.put(event_key(event.at, ChainId(chain), event.id), raw)
    version = seal_next(ahead, ChainId(chain), head, place_after(head), (event,), None)
    store.create(slot_key(ChainId(chain), version.seq), version.raw)


def test_a_cause_in_a_chain_whose_stamps_ran_ahead_comes_first(tmp_path: Path) -> None:
    """Who reads a version with such a stamp does not build on it: the effect's is lower."""
    clock = Clock()
    store = MemoryStore(lambda: clock.us)
    ahead, writer = clock.client("ahead", 3600), clock.client("w")
    run(set_value(writer, "k", "0"), store)
    clock.pass_s(1)
    _write_ahead(ahead, store, "memory/k", clock)
    for n in range(3):
        clock.pass_s(1)
        run(set_value(writer, "k", f"cause {n}"), store)
        clock.pass_s(1)
        run(set_value(writer, f"effect{n}", "v"), store)
    index = Index(tmp_path)
    for _ in range(3):
        clock.pass_s(1)
        run(sync(clock.client("reader"), index), store)
    order = [f"{commit.chain}#{commit.seq}" for _, commit in index.followed(0)]
    expected = ["memory/k#1", "memory/k#2"]
    for n in range(3):
        expected += [f"memory/k#{n + 3}", f"memory/effect{n}#1"]
    assert order == expected


def test_within_one_tick_of_a_coarse_store_numbers_wait(tmp_path: Path) -> None:
    """Stamps in whole seconds: what comes in the same second as the newest may be its effect."""
    clock = Clock()
    store = MemoryStore(lambda: clock.us - clock.us % 1_000_000)
    index, writer, reader = Index(tmp_path), clock.client("w"), clock.client("reader")
    clock.us += 1_000_000 - clock.us % 1_000_000
    run(set_value(writer, "a", "v"), store)
    run(sync(reader, index), store)
    assert index.waiting()
    clock.pass_s(0.3)
    run(set_value(writer, "b", "v"), store)
    run(sync(reader, index), store)
    assert [c.chain for _, c in index.followed(0)] == []
    clock.pass_s(0.3)
    run(sync(reader, index), store)
    assert [c.chain for _, c in index.followed(0)] == ["memory/a", "memory/b"]
    assert not index.waiting()


def test_a_gap_or_a_wrong_link_is_never_written(tmp_path: Path) -> None:
    clock = Clock()
    store = MemoryStore(lambda: clock.us)
    for n in range(4):
        run(set_value(clock.client(f"w{n}"), "k", "v"), store)
    versions = read_truth(store).chains["memory/k"]
    index = Index(tmp_path)
    with pytest.raises(ValueError, match="gap"), index.writing():
        index.add_versions(versions[1:])
    other = versions[1]._replace(record={**versions[1].record, "prev": "0" * 64})
    with pytest.raises(NotLinked), index.writing():
        index.add_versions([versions[0], other])
    assert index.chains() == []
    with index.writing():
        assert index.add_versions(versions[:2]) == 2
        assert index.add_versions(versions) == 2
        assert index.add_versions(versions) == 0
    assert index.head("memory/k") == 4


# -- questions ------------------------------------------------------------------------------------

FILTERS = {
    "all": Filter(),
    "agent": Filter(agent="alice"),
    "op": Filter(op="step.takeover"),
    "ops": Filter(op="step.*"),
    "any op": Filter(op="*.set"),
    "some ops": Filter(op="memory.[is]*"),
    "agent and ops": Filter(agent="bob", op="message.*"),
    "chain": Filter(chain="memory/counter.builds"),
    "few chains": Filter(chain="memory/journal.*"),
    "many chains": Filter(chain="step/*"),
    "chain and agent": Filter(chain="inbox/*", agent="carol"),
    "since": Filter(since="2026-01-05T10:00:00.000000Z-0000"),
    "until": Filter(until="2026-01-05T10:00:00.000000Z-0000"),
    "between": Filter(
        op="memory.*",
        since="2026-01-05T10:00:00.000000Z-0000",
        until="2026-01-05T16:00:00.000000Z-0000",
    ),
    "chain between": Filter(
        chain="memory/counter.*",
        since="2026-01-05T10:00:00.000000Z-0000",
        until="2026-01-05T16:00:00.000000Z-0000",
    ),
    "text": Filter(text="FORMATTER"),
    "nobody": Filter(agent="nobody"),
    "no op": Filter(op="nothing.*"),
    "no chain": Filter(chain="memory/nothing"),
}


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Index:
    store = MemoryStore()
    generate(store, events=3000, seed=3)
    clock = Clock()
    index = Index(tmp_path_factory.mktemp("big"))
    run(sync(clock.client("x"), index), store)
    run(sync(clock.client("x"), index), store)
    return index


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_pick_what_they_say(big: Index, name: str, newest_first: bool) -> None:
    wanted = FILTERS[name]
    db = sqlite3.connect(":memory:")

    def like(text: str, pattern: str) -> bool:
        return bool(db.execute("SELECT ? GLOB ?", (text, pattern)).fetchone()[0])

    def asked(commit: Any) -> bool:
        raw = big.version(commit.chain, commit.seq).raw.lower()
        return (
            (wanted.agent in (None, commit.event.agent))
            and (wanted.op is None or like(commit.event.op, wanted.op))
            and (wanted.chain is None or like(commit.chain, wanted.chain))
            and (wanted.since is None or commit.at > wanted.since)
            and (wanted.until is None or commit.at <= wanted.until)
            and (wanted.text is None or wanted.text.lower().encode() in raw)
        )

    every = [c for c in big.commits(newest_first=newest_first) if asked(c)]
    assert list(big.commits(wanted, newest_first=newest_first)) == every
    assert bool(every) == (name not in ("nobody", "no op", "no chain"))
    followed = [c for _, c in big.followed(0) if asked(c)]
    assert [c for _, c in big.followed(0, wanted)] == followed


@pytest.mark.parametrize("name", FILTERS)
def test_no_question_goes_through_the_whole_log_or_sorts_it(big: Index, name: str) -> None:
    for order in ("DESC", "ASC"):
        for query, values in Asking._streams(big, FILTERS[name], order):
            steps = [row[3] for row in big._db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
            first = steps[0]
            assert first.startswith(("SEARCH events USING INDEX", "SCAN events USING INDEX")), steps
            assert not any(s.startswith("SCAN") and "INDEX" not in s for s in steps), steps
            # Only rows with the very same stamp are sorted among each other.
            sorts = [s for s in steps if "TEMP B-TREE" in s]
            assert sorts in ([], ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"]), steps
            if name not in ("all", "many chains", "text", "since", "until"):
                assert first.startswith("SEARCH"), steps


def test_the_first_rows_cost_the_same_however_many_there_are(big: Index) -> None:
    """Counted in steps of SQLite's virtual machine, not in time."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    for name, wanted in FILTERS.items():
        if wanted.text is not None:
            continue
        steps = 0
        big._db.set_progress_handler(count, 100)
        try:
            list(islice(big.commits(wanted), 20))
            list(islice(big.attempts(), 20))
        finally:
            big._db.set_progress_handler(None, 0)
        assert steps < 300, name


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_log_that_is_read_on_after_others_have_synced_shows_each_event_once(
    newest_first: bool, tmp_path: Path
) -> None:
    clock = Clock()
    store = MemoryStore(lambda: clock.us)
    client = clock.client("alice")
    for n in range(6):
        run(set_value(client, f"k{n}", "v"), store)
        clock.pass_s(n % 2)
    index, other = Index(tmp_path), Index(tmp_path)
    run(sync(client, index), store)
    every = list(read_log(index, Filter(), newest_first=newest_first))
    run(set_value(client, "new", "v"), store)
    run(sync(client, other), store)
    for count in range(1, 6):
        before = every[:count]
        rest = list(read_on(index, Filter(), before, newest_first=newest_first))
        assert (before + rest)[:6] == every
    index.close()
    other.close()


def test_patterns_and_names_at_the_edges(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    client, last = clock.client("alice"), "\U0010ffff" * 50
    run(set_value(client, last, "v"), store)
    run(send_message(client, "bob,carol", "one event, two chains"), store)
    index = Index(tmp_path)
    run(sync(client, index), store)
    assert index.chains("memory") == [f"memory/{last}"]
    for pattern, chains in {
        "memory/*": [f"memory/{last}"],
        "inbox/[!a]*": ["inbox/bob"],
        "inbox/[^b]*": ["inbox/carol"],
        "[!m]*": ["inbox/bob"],
        "inbox/[!a-z]*": [],
    }.items():
        found = read_log(index, Filter(chain=pattern))
        assert [row.commit.chain for row in found] == chains, pattern
    index.close()


def test_ids_are_found_by_their_beginning(big: Index) -> None:
    commits = list(islice(big.commits(), 50))
    attempts = list(islice(big.attempts(), 5))
    for event in [c.event for c in commits] + [a.event for a in attempts]:
        assert big.find_event(event.id) == [event.id]
        assert event.id in big.find_event(event.id[:12])
    version = big.version(commits[0].chain, commits[0].seq)
    assert big.find_version(version.id[:16]) == [version]
    assert len(big.find_event("")) == 2
    assert big.find_event("0" * 60) == []
    assert big.places(attempts[0].event.id) == []
    assert big.attempt(commits[0].event.id) is None


def test_versions_of_a_moment(big: Index) -> None:
    for chain in big.chains()[::7]:
        versions = list(big.versions(chain))
        assert big.version_at(chain, stamp(0)) is None
        for version in versions:
            assert big.version_at(chain, version.at) == version
            before = big.version_at(chain, f"{version.at[:26]}Z-0000")
            assert before is None or before.at <= version.at
        assert big.version_at(chain, stamp(parse_us(versions[-1].at) + 10**9)) == versions[-1]
        assert big.version(chain, len(versions) + 1) is None
        assert list(big.versions(chain, 2, 3)) == versions[1:3]
    assert isinstance(IndexUnusable("x"), TclogError)


# -- a first sync ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_what_is_worked_out_at_the_end_is_what_is_noted_on_the_way(
    tmp_path: Path, seed: int
) -> None:
    """Versions and events that come before ``gather`` leave the index that they leave after it."""
    store, rng = MemoryStore(), random.Random(seed)
    generate(store, events=400, seed=seed)
    events = [store.get(entry.key) for entry in store.list("events", "", 10**9, False)]
    # Of some chains the newest versions are not there yet, so others hold what these lack.
    batches = [
        versions[: rng.choice((len(versions), rng.randint(0, len(versions))))]
        for versions in read_truth(store).chains.values()
    ]
    batches += [[(decode_event(found.data), found.data, found.stored)] for found in events]
    rng.shuffle(batches)
    left = []
    for name in ("noted", "gathered"):
        index = Index(tmp_path / name)
        if name == "noted":
            index.gather()
        for batch in batches:
            with index.writing():
                if batch and isinstance(batch[0], tuple) and not isinstance(batch[0], Version):
                    index.add_attempts(batch)
                else:
                    index.add_versions(batch)
        index.gather()
        index.finish()
        attempts = [(row.at, row.event) for row in index.attempts()]
        open_ = set(index._db.execute("SELECT chain, event, partial FROM open"))
        left.append((attempts, open_, list(index.commits())))
        index.close()
    assert left[0] == left[1]
    attempts, open_, commits = left[0]
    assert len({partial for *_, partial in open_}) == 2
    held = {(row.chain, row.event.id) for row in commits}
    assert all((chain, event.hex()) not in held for chain, event, _ in open_)
    assert {event.id for _, event in attempts}.isdisjoint({event for _, event in held})
