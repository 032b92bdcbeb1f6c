"""A log of a million events, packed and collected: what a newcomer pays, and what is paid daily."""

from __future__ import annotations

import os
import shutil

from bench.measuring import tell
from bench.parts.history import HOUR, NEW_EVENTS, Log
from bench.places import Bench

EVENTS = 1_000_000
# As dense as the log of 100,000 events that the part ``history`` measures, and ten times as long.
DAYS = 10


def measure(bench: Bench) -> None:
    """Measure one log, made before or now."""
    events = bench.size(EVENTS, 2_000)
    store = bench.log
    if store is None:
        tell(f"million: generating {events} events")
        store = bench.scratch / f"generated-{events}-packed"
        bench.generate(store, events, "--days", DAYS, "--packed")
    try:
        _measure(bench, Log(bench, "million", events, store))
    finally:
        if bench.log is None:
            shutil.rmtree(store)


def _measure(bench: Bench, log: Log) -> None:
    log.note_bytes()
    times = bench.size(5, 1)
    log.time_python(times)
    for nth in range(bench.size(2, 1)):
        tell("million: a first sync")
        log.new_machine()
        log.time("sync, new machine, from packs", ["sync"], nth)
    log.note_index()
    log.time("diff, for the first time", ["diff", *HOUR])
    log.add_events("first")
    log.time("sync, after months", ["sync"])
    log.time("sync, asking every chain", ["sync", "--full"])
    # They stay read, so each agent can be measured once.
    newcomer = f"newcomer-{os.urandom(4).hex()}"
    log.time("inbox, all broadcasts unread", ["inbox", "--as", newcomer, "--ack", "-n", "0"])
    for nth in range(times):
        tell(f"million: round {nth + 1} of {times}")
        log.time("sync, nothing new", ["sync"], nth)
        log.add_events(nth)
        log.time(f"sync, {NEW_EVENTS} new events", ["sync"], nth)
        log.time("log -n 20", ["log", "-n", "20"], nth)
        log.time("log -n 20 of an op", ["log", "-n", "20", "--op", "barrier.*"], nth)
        log.time("diff of an hour", ["diff", *HOUR], nth)
        log.time("state at a time", ["state", "--at", HOUR[1]], nth)
        log.time("blame of a counter", ["blame", "counter.builds"], nth)
        log.time_acts(nth)
    log.time("log --grep of what is nowhere", ["log", "--grep", "no such words"])
    log.time("report", ["report", str(bench.scratch / "report.html")])
