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
    sizes = [200] if bench.quick else [1_000, 10_000, 100_000]
    for events in [*sizes, 1_000_000] if bench.big else sizes:
        tell(f"history: {events} events")
        Log(bench, events).measure()


class Log:
    """One generated log, and what is done with it."""

    def __init__(self, bench: Bench, events: int) -> None:
        self.bench = bench
        self.events = events
        self.store = bench.generated(events, copy="history")
        self.env = bench.environ(TCLOG_FSYNC="false")
        self.env |= {"TCLOG_STORE": str(self.store), "TCLOG_PROJECT": "default"}
        self.caches = 0
        self.new_machine()

    def new_machine(self) -> None:
        """Forget all that was remembered."""
        self.caches += 1
        self.env["TCLOG_CACHE"] = str(self.bench.scratch / f"cache-{self.events}-{self.caches}")

    def measure(self) -> None:
        """Measure everything once or a few times, from cold to warm."""
        bench, times = self.bench, self.bench.size(5, 1)
        self._note_bytes()
        for nth in range(times):
            took = run([bench.python, "-c", "pass"], env=self.env, cwd=bench.scratch)
            self._note("python", nth, took)
        self._time("memory get, new machine", ["memory", "get", "no-such-key"], expect=(3,))
        self._time("sync, new machine", ["sync"])
        self._note_index()
        # A newcomer has not read a single broadcast; once is enough to measure that.
        self._time("inbox of a newcomer", ["inbox", "--as", "robert", "--ack", "-n", "0"])
        for nth in range(times):
            self._time("sync, nothing new", ["sync"], nth)
            self._add_events(nth)
            self._time(f"sync, {NEW_EVENTS} new events", ["sync"], nth)
            self._time("log -n 20", ["log", "-n", "20"], nth)
            self._time("diff of an hour", ["diff", *HOUR], nth)
            self._time("state at a time", ["state", "--at", HOUR[1]], nth)
            self._time("claim", ["claim", f"bench-{nth}"], nth)
            self._time("memory set", ["memory", "set", "bench", f"{nth}"], nth)
            self._time("memory get", ["memory", "get", "bench"], nth)
            self._time("send", ["send", "robert", f"{nth}"], nth)
            self._time("inbox", ["inbox", "--as", "robert"], nth)
        if self._knows("pack"):
            self._time("pack", ["pack"])
            self.new_machine()
            self._time("sync, new machine, from packs", ["sync"])
        shutil.rmtree(self.store)

    def _time(
        self, op: str, words: Sequence[str], nth: int = 0, expect: Sequence[int] = (0,)
    ) -> None:
        bench = self.bench
        took = run([bench.tclog, *words], env=self.env, cwd=bench.scratch, expect=expect)
        self._note(op, nth, took)

    def _note(self, op: str, nth: int, took: Took) -> None:
        self.bench.results.add("history", events=self.events, op=op, round=nth, **took.as_record())

    def _add_events(self, nth: int) -> None:
        lines = [
            json.dumps({"op": "memory.set", "key": f"new.{n % 20}", "value": f"{nth}-{n}"})
            for n in range(NEW_EVENTS)
        ]
        subprocess.run(
            [self.bench.tclog, "batch"], input="\n".join(lines).encode(), env=self.env,
            cwd=self.bench.scratch, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    def _knows(self, command: str) -> bool:
        words = [self.bench.tclog, command, "--help"]
        done = subprocess.run(words, env=self.env, capture_output=True, check=False)
        return done.returncode == 0

    def _note_bytes(self) -> None:
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for folder, _, names in os.walk(self.store / "default"):
            kind = Path(folder).relative_to(self.store / "default").parts[:1]
            for name in names:
                sizes[kind[0] if kind else "mark"] += (Path(folder) / name).stat().st_size
                counts[kind[0] if kind else "mark"] += 1
        self.bench.results.add("bytes", events=self.events, bytes=sizes, objects=counts)

    def _note_index(self) -> None:
        files = [p for p in Path(self.env["TCLOG_CACHE"]).rglob("*") if p.is_file()]
        size = sum(path.stat().st_size for path in files if ".sqlite" in path.name or "index" in
                   path.name)  # fmt: skip
        self.bench.results.add("bytes", events=self.events, index_bytes=size)
