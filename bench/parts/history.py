"""A growing log against the cost of operations, of sync and of looking back; bytes an event."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.measuring import Took, run, tell
from bench.places import Bench

# Generated logs begin on this day; an hour in the middle of its work.
HOUR = ("2026-01-05T10:00:00Z", "2026-01-05T11:00:00Z")
NEW_EVENTS = 100


def measure(bench: Bench) -> None:
    """Measure logs of 1,000 events and more, in a folder."""
    for events in [200] if bench.quick else [1_000, 10_000, 100_000]:
        tell(f"history: {events} events")
        store = bench.generated(events, copy="history")
        _measure(bench, Log(bench, "history", events, store))
        shutil.rmtree(store)


def _measure(bench: Bench, log: Log) -> None:
    """Measure everything once or a few times, from cold to warm."""
    times = bench.size(5, 1)
    log.note_bytes()
    log.time_python(times)
    log.time("memory get, new machine", ["memory", "get", "no-such-key"], expect=(3,))
    log.time("sync, new machine", ["sync"])
    log.note_index()
    # A newcomer has not read a single broadcast; once is enough to measure that.
    log.time("inbox of a newcomer", ["inbox", "--as", "robert", "--ack", "-n", "0"])
    for nth in range(times):
        log.time("sync, nothing new", ["sync"], nth)
        log.add_events(nth)
        log.time(f"sync, {NEW_EVENTS} new events", ["sync"], nth)
        log.time("log -n 20", ["log", "-n", "20"], nth)
        log.time("diff of an hour", ["diff", *HOUR], nth)
        log.time("state at a time", ["state", "--at", HOUR[1]], nth)
        log.time_acts(nth)
    log.time("pack", ["pack"])
    log.new_machine()
    log.time("sync, new machine, from packs", ["sync"])


class Log:
    """One generated log, and what is done with it; ``part`` is what its samples are kept under."""

    def __init__(self, bench: Bench, part: str, events: int, store: Path) -> None:
        self.bench = bench
        self.part = part
        self.events = events
        self.store = store
        self.env = bench.environ(TCLOG_FSYNC="false")
        self.env |= {"TCLOG_STORE": str(self.store), "TCLOG_PROJECT": "default"}
        self.caches = 0
        self.new_machine()

    def new_machine(self) -> None:
        """Forget all that was remembered."""
        if self.caches:
            shutil.rmtree(self.env["TCLOG_CACHE"], ignore_errors=True)
        self.caches += 1
        self.env["TCLOG_CACHE"] = str(self.bench.scratch / f"cache-{self.events}-{self.caches}")

    def time_python(self, times: int) -> None:
        """Time the start of Python, below which nothing can be."""
        for nth in range(times):
            took = run([self.bench.python, "-c", "pass"], env=self.env, cwd=self.bench.scratch)
            self._note("python", nth, took)

    def time_acts(self, nth: int) -> None:
        """Time what acts, and need not know how long the log is."""
        self.time("claim", ["claim", f"bench-{nth}"], nth)
        self.time("memory set", ["memory", "set", "bench", f"{nth}"], nth)
        self.time("memory get", ["memory", "get", "bench"], nth)
        self.time("send", ["send", "robert", f"{nth}"], nth)
        self.time("inbox", ["inbox", "--as", "robert"], nth)

    def time(
        self, op: str, words: Sequence[str], nth: int = 0, expect: Sequence[int] = (0,)
    ) -> None:
        """Time one command."""
        bench = self.bench
        took = run([bench.tclog, *words], env=self.env, cwd=bench.scratch, expect=expect)
        self._note(op, nth, took)

    def _note(self, op: str, nth: int, took: Took) -> None:
        self.bench.results.add(self.part, events=self.events, op=op, round=nth, **took.as_record())

    def add_events(self, word: object) -> None:
        """Let somebody write some events."""
        lines = [
            json.dumps({"op": "memory.set", "key": f"new.{n % 20}", "value": f"{word}-{n}"})
            for n in range(NEW_EVENTS)
        ]
        subprocess.run(
            [self.bench.tclog, "batch"], input="\n".join(lines).encode(), env=self.env,
            cwd=self.bench.scratch, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    def note_bytes(self) -> None:
        """Write down what the log takes in the store."""
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for folder, _, names in os.walk(self.store / "default"):
            kind = Path(folder).relative_to(self.store / "default").parts[:1]
            for name in names:
                sizes[kind[0] if kind else "mark"] += (Path(folder) / name).stat().st_size
                counts[kind[0] if kind else "mark"] += 1
        self.bench.results.add("bytes", events=self.events, bytes=sizes, objects=counts)

    def note_index(self) -> None:
        """Write down what its index takes."""
        files = [p for p in Path(self.env["TCLOG_CACHE"]).rglob("*") if p.is_file()]
        size = sum(path.stat().st_size for path in files if ".sqlite" in path.name or "index" in
                   path.name)  # fmt: skip
        self.bench.results.add("bytes", events=self.events, index_bytes=size)
