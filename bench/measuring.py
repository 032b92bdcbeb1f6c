"""Running one process and writing down what it took; medians."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]


class Took(NamedTuple):
    """What a process took. ``peak_bytes`` is never below that of this driver, which starts it."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    status: int

    def as_record(self) -> Record:
        return {
            "wall_s": round(self.wall_s, 6),
            "cpu_s": round(self.cpu_s, 6),
            "peak_bytes": self.peak_bytes,
            "status": self.status,
        }


def run(
    words: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str],
    cwd: Path,
    expect: Iterable[int] = (0,),
) -> Took:
    """Run a process to its end, with nothing to read and nobody to read what it prints.

    Raises:
        RuntimeError: it ended with another status; what it said goes to stderr.
    """
    with (cwd / ".stderr").open("w+b") as said:
        begun_s = time.perf_counter()
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
            env=dict(env), cwd=cwd,
        )  # fmt: skip
        _, waited, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - begun_s
        child.returncode = os.waitstatus_to_exitcode(waited)
        if child.returncode not in expect:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace"))
            msg = f"{[str(word) for word in words]} ended with {child.returncode}"
            raise RuntimeError(msg)
    cpu_s = usage.ru_utime + usage.ru_stime
    return Took(wall_s, cpu_s, usage.ru_maxrss * 1024, child.returncode)


class Results:
    """Lines of JSON, one for each sample, written as they are measured."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w")

    def add(self, part: str, **fields: Any) -> None:
        """Write down one sample."""
        self._file.write(json.dumps({"part": part, **fields}) + "\n")
        self._file.flush()


def read_results(path: Path) -> list[Record]:
    """Read what was measured."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def machine() -> Record:
    """Say what this machine is, and how busy."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_bytes": pages * size,
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def tell(text: str) -> None:
    """Say on stderr what is going on."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
