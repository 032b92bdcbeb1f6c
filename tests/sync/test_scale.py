"""What sync costs: requests that do not grow with the log, bounded memory, a floor under speed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from history.clocks import Clock
from history.truth import assert_numbers, assert_same, read_truth
from support.logs.generate import SPAN_S, generate, generate_project
from support.stores import Server, fresh_bucket, open_s3

from tclog.chain.drive import Protocol, answer, run
from tclog.event import event_key_parts
from tclog.index import Index
from tclog.log.inbox import send_message
from tclog.log.memory import set_value
from tclog.store.memory import MemoryStore
from tclog.sync.sync import sync
from tclog.testing.bucket import Bucket

MEASURED = """
import re, sys, time
from pathlib import Path
from tclog.chain.client import Client
from tclog.chain.heads import MemoryHeads
from tclog.clock import HybridClock
from tclog.history.history import History
from tclog.store.file import FileStore
client = Client("x", session="", host="", software="", heads=MemoryHeads(), nonce=str,
    clock=HybridClock(lambda: time.time_ns() // 1000), jitter=lambda: 0.5,
    monotonic_s=time.monotonic)
begun = time.process_time()
history = History(FileStore(Path(sys.argv[1])), client, Path(sys.argv[2]))
done = history.sync()
# Not from getrusage, which counts what the parent had when it forked.
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(done.versions, time.process_time() - begun, int(peak_kb) // 1024)
"""


def counted(protocol: Protocol[Any], store: MemoryStore) -> tuple[Any, Counter[str]]:
    """Run a protocol and count its requests by kind, and the rows that listings returned."""
    counts: Counter[str] = Counter()
    reply = None
    while True:
        try:
            step = protocol.send(reply)
        except StopIteration as end:
            return end.value, counts
        steps = step if type(step) is tuple else (step,)
        replies = [answer(one, store, lambda _: None) for one in steps]
        for one, got in zip(steps, replies, strict=True):
            counts[type(one).__name__] += 1
            if type(one).__name__ == "List":
                counts["rows"] += len(got)
        reply = replies if type(step) is tuple else replies[0]


def spent(events: int, folder: Path) -> list[Counter[str]]:
    """Sync a log of so many events a day; return what the syncs after some more events cost."""
    clock = Clock()
    store = Bucket(lambda: clock.us)
    # As many in the last minutes, whatever was before: what is young is listed each time.
    made = generate(store, events=events, span_s=SPAN_S * events / 1000)
    clock.us = made.end_us + 1_000_000
    store._objects = {k: f._replace(stored=_its_time(k, f)) for k, f in store._objects.items()}
    index, reader, writer = Index(folder), clock.client("reader"), clock.client("alice")
    run(sync(reader, index), store)
    run(sync(reader, index), store)
    costs = []
    for count in (0, 1, 100):
        for n in range(count):
            clock.pass_s(0.01)
            run(set_value(writer, f"new.{count}.{n % 20}", "v"), store)
            if n % 10 == 0:
                run(send_message(writer, "bob", "hi"), store)
        done, cost = counted(sync(reader, index), store)
        assert not done.full
        assert done.versions >= count
        costs.append(cost)
    assert_same(index, read_truth(store))
    return costs


def _its_time(key: str, found: Any) -> Any:
    parts = event_key_parts(key) if key.startswith("events/") else None
    return found.stored if parts is None else parts[0][:27]


def test_requests_do_not_grow_with_the_log(tmp_path: Path) -> None:
    small, large = spent(1000, tmp_path / "small"), spent(8000, tmp_path / "large")
    for few, many in zip(small, large, strict=True):
        assert many["List"] <= few["List"] + 5, (few, many)
        assert many["Get"] <= few["Get"] + 40, (few, many)
        assert many["rows"] <= few["rows"] + 200, (few, many)
    nothing, one, hundred = large
    assert nothing["List"] <= 3
    assert nothing["Get"] <= 30
    assert one["Get"] <= nothing["Get"] + 12
    assert hundred["Get"] <= nothing["Get"] + 250


def test_a_cold_sync_reads_each_object_once(tmp_path: Path) -> None:
    clock = Clock()
    store = Bucket(lambda: clock.us)
    made = generate(store, events=3000)
    index = Index(tmp_path)
    done, cost = counted(sync(clock.client("x"), index), store)
    assert done.versions == made.versions
    # Each version, each attempt, and a look at the chains of attempts.
    assert cost["Get"] <= made.versions + 3 * made.attempts + made.chains // 10
    assert cost["List"] <= made.chains + 30


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    made = {}
    for events in (2000, 20_000):
        made[events] = tmp_path_factory.mktemp(f"log{events}")
        generate_project(made[events], events=events)
    return made


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded_and_speed_has_a_floor(logs: dict[int, Path], tmp_path: Path) -> None:
    peak_mb = {}
    for events, folder in logs.items():
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, folder / "default", tmp_path / str(events)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        versions, seconds, rss_mb = (float(word) for word in done.stdout.split())
        peak_mb[events] = rss_mb
        # A fifth of what an idle core does: whoever runs this has other work too.
        assert versions / seconds > 1000
    assert peak_mb[20_000] < peak_mb[2000] + 60
    assert peak_mb[20_000] < 200


@pytest.mark.slow
def test_log_and_show_are_quick_when_warm(logs: dict[int, Path], tmp_path: Path) -> None:
    """Their cost does not follow the log's length; measured in CPU time of real processes."""
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    tclog = Path(sys.executable).with_name("tclog")
    spent_s: dict[int, float] = {}
    for events, folder in logs.items():
        environ["TCLOG_STORE"] = str(folder)

        def ask(*words: str) -> str:
            done = subprocess.run(
                [tclog, *words], env=environ, cwd=tmp_path, check=True, capture_output=True,
                text=True,
            )  # fmt: skip
            return done.stdout

        ask("sync")
        newest = ask("log", "-n", "1").split()[-1]
        before = os.times()
        for words in (
            ("log", "-n", "20"),
            ("log", "-n", "20", "--op", "step.*"),
            ("log", "-n", "20", "--agent", "alice", "--attempts"),
            ("log", "-n", "20", "--chain", "memory/counter.*"),
            ("show", newest),
        ):
            assert ask(*words)
        after = os.times()
        spent_s[events] = after.children_user - before.children_user
    assert spent_s[20_000] < spent_s[2000] * 1.6 + 0.3


def test_a_log_in_a_bucket(ceph: Server, tmp_path: Path) -> None:
    """A cold sync with concurrent requests, and what came since; stamps are whole seconds."""
    settings = fresh_bucket(ceph)
    store = open_s3(ceph, settings)
    made = generate(store, events=1500)
    clock = Clock()
    clock.us = time.time_ns() // 1000
    index, reader = Index(tmp_path), clock.client("reader")
    done = run(sync(reader, index), store)
    assert done.versions == made.versions
    writer = clock.client("alice")
    for n in range(5):
        run(set_value(writer, f"new{n}", "v"), store)
        run(send_message(writer, "bob,carol" if n % 2 else "@all", "hi"), store)
        run(sync(reader, index), store)
    clock.pass_s(2)
    run(sync(reader, index), store)
    run(sync(reader, index), store)
    assert_same(index, read_truth(store))
    assert_numbers(index)
