"""Operations a second in one process and one thread: rate.py memory|URL PROJECT FSYNC COUNT.

FSYNC is ``yes`` or ``no``, for folders. Counts what the disk is asked to flush, too.
"""

from __future__ import annotations

import json
import os
import sys
import time

import tclog
from tclog.chain.drive import run
from tclog.log.project import create_project
from tclog.store.memory import MemoryStore

flushes = [0]
_fsync = os.fsync


def _counted(handle: int) -> None:
    flushes[0] += 1
    _fsync(handle)


def main(url: str, project: str, fsync: str, count: str) -> None:
    os.fsync = _counted
    if url == "memory":
        store = MemoryStore()
        log = tclog.Log(store, run(create_project(project, "0" * 32, 0), store), agent="alice")
    else:
        log = tclog.open(url, agent="alice", project=project, fsync=fsync == "yes")
    total = int(count)
    acts = {
        "memory set, distinct keys": lambda nth: log.memory.set(f"key-{nth}", "value"),
        "memory set, one key": lambda nth: log.memory.set("key", f"value {nth}"),
        "memory get": lambda nth: log.memory.get(f"key-{nth}"),
        "memory incr": lambda _: log.memory.incr("count"),
        "claim": lambda nth: log.steps.claim(f"step-{nth}"),
        "send": lambda nth: log.send("bob", f"message {nth}"),
    }
    for op, act in acts.items():
        flushes[0] = 0
        begun_s, cpu_s = time.perf_counter(), time.process_time()
        for nth in range(total):
            act(nth)
        wall_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        print(json.dumps({"op": op, "count": total, "per_s": round(total / wall_s, 1),
                          "per_cpu_s": round(total / cpu_s, 1),
                          "flushes_per_op": round(flushes[0] / total, 2)}))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
