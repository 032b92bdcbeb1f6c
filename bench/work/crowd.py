"""Many processes at once: crowd.py claim|bare|send|plain URL PROCESSES TIMES.

Forks the processes, which open the project each for themselves and wait. ``claim``: in each of
TIMES rounds all are told to go at one moment and claim the same fresh step. ``bare``: the same with
nothing but requests: put an object, create a name, and who loses reads what has it. ``send``: all
go once, and each sends TIMES messages to one inbox without a pause. ``plain`` is ``send`` without
combining.
Prints a line of JSON for each claim or message: who, when it began after the signal, how long it
took, how many requests it made, and whether it was won.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from importlib import import_module

from counting import Counting
from plain import use_plain_loop

import tclog
from tclog.chain import combine  # noqa: F401 - loaded once, for all that are forked
from tclog.log import claims, inbox  # noqa: F401 - as above
from tclog.store.base import Outcome, Store

# About as long as the event of a claim and the version that holds it.
EVENT, VERSION = b"e" * 400, b"v" * 1200
RACES = ("claim", "bare")


def main(kind: str, url: str, processes: str, times: str) -> None:
    if kind == "plain":
        use_plain_loop()
    if url.startswith("s3:"):
        import_module("tclog.store.s3")
    rounds = int(times) if kind in RACES else 1
    gates = [os.pipe() for _ in range(rounds)]
    ready, done = os.pipe(), os.pipe()
    for number in range(int(processes)):
        if os.fork() == 0:
            status = 1
            try:
                _work(kind, url, number, int(times), [r for r, _ in gates], ready[1], done[1])
                status = 0
            except BaseException:  # noqa: BLE001 - said, and told by the status
                traceback.print_exc()
            finally:
                os._exit(status)
    os.close(done[1])
    _await(ready[0], int(processes))
    answers = os.fdopen(done[0], "r")
    for nth, (_, gate) in enumerate(gates):
        go_s = time.monotonic()
        os.write(gate, b"x" * int(processes))
        expected = int(processes) * (1 if kind in RACES else int(times))
        for _ in range(expected):
            record = json.loads(answers.readline())
            record["began_s"] = round(record["began_s"] - go_s, 6)
            print(json.dumps({"round": nth, **record}))
    for _ in range(int(processes)):
        _, status = os.wait()
        assert status == 0


def _await(pipe: int, count: int) -> None:
    while count:
        count -= len(os.read(pipe, count))


def _work(
    kind: str, url: str, number: int, times: int, gates: list[int], ready: int, done: int
) -> None:
    log = tclog.open(url, agent=f"agent-{number}", project="p", fsync=False)
    store = log.store = Counting(log.store)  # type: ignore[assignment]
    os.write(ready, b"x")
    for nth, gate in enumerate(gates):
        os.read(gate, 1)
        for message in range(1 if kind in RACES else times):
            began_s, made = time.monotonic(), store.counts.total()
            won = True
            if kind == "claim":
                try:
                    log.steps.claim(f"step-{nth}")
                except tclog.Refused:
                    won = False
            elif kind == "bare":
                won = _claim_bare(log.store, nth, number)
            else:
                log.send("inbox", f"{number}-{message}")
            record = {"agent": number, "began_s": began_s, "won": won,
                      "took_s": round(time.monotonic() - began_s, 6),
                      "requests": store.counts.total() - made}  # fmt: skip
            os.write(done, (json.dumps(record) + "\n").encode())


def _claim_bare(store: Store, nth: int, number: int) -> bool:
    name = f"bare/{nth}"
    store.put(f"{name}-{number}", EVENT)
    if store.create(name, VERSION).outcome is Outcome.WON:
        return True
    assert store.get(name) is not None
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
