"""Operations a second in one process and thread, and the disk's own rate of flushes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from bench.measuring import tell
from bench.places import Bench


def measure(bench: Bench) -> None:
    """Measure each store; the disk before and after, for its rate changes with its load."""
    _disk(bench)
    stores = [("memory", "no", bench.size(2000, 20)), ("file", "no", bench.size(2000, 20)),
              ("file", "yes", bench.size(300, 5)), ("s3", "no", bench.size(200, 5))]  # fmt: skip
    for nth in range(bench.size(3, 1)):
        for store, fsync, count in stores:
            if store == "s3" and bench.s3 is None:
                continue
            tell(f"rates: {store}, fsync {fsync}, {count} of each")
            project = bench.project(
                f"rate-{store}-{fsync}-{nth}", "s3" if store == "s3" else "file"
            )
            url = "memory" if store == "memory" else project.url
            for record in bench.work("rate", url, "p", fsync, count, env=project.env):
                bench.results.add("rates", store=store, fsync=fsync == "yes", **record)
        _disk(bench)


def _disk(bench: Bench) -> None:
    count = bench.size(300, 5)
    begun_s = time.perf_counter()
    for _ in range(count):
        # Not removed again: ext4 makes new files more slowly where others were removed just now.
        _flushed(bench.scratch / f"flush-{time.monotonic_ns()}")
    per_s = count / (time.perf_counter() - begun_s)
    bench.results.add("rates", store="disk", fsync=True, op="write 500 bytes and flush them",
                      count=count, per_s=round(per_s, 1), flushes_per_op=1)  # fmt: skip
    _made(bench, "make a folder", os.mkdir)
    _made(bench, "make a file", lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT)))


def _made(bench: Bench, op: str, make: Callable[[str], None]) -> None:
    folder = bench.scratch / f"made-{time.monotonic_ns()}"
    folder.mkdir()
    count = bench.size(2000, 5)
    begun_s = time.perf_counter()
    for nth in range(count):
        make(f"{folder}/{nth}")
    per_s = count / (time.perf_counter() - begun_s)
    bench.results.add("rates", store="disk", fsync=False, op=op, count=count,
                      per_s=round(per_s, 1), flushes_per_op=0)  # fmt: skip


def _flushed(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(handle, b"x" * 500)
    os.fsync(handle)
    os.close(handle)
