"""The probe: a bucket is trusted only after it kept its promise in front of our eyes.

Many clients race to create one fresh name, several times over. A fit store lets exactly one of
them win, and its bytes are what everybody reads then. Some servers ignore the condition and let
all of them win; some check it without a lock and let two. Both are found here, before anything is
configured. A sequential test would miss the second kind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from tclog.clock import SECOND_US, parse_us
from tclog.errors import StoreError, StoreUnfit, TclogError
from tclog.store.base import Created, Outcome, Store
from tclog.store.room import helpers, short_of

RACERS = 32
ROUNDS = 6
# A race needs two.
RACERS_MIN = 2
READY_MAX_S = 5.0
STARTS_MAX = 20
START_AGAIN_S = 0.05
_READ_BACK_MAX = 5


class Report(NamedTuple):
    """What a probe found on a fit store.

    ``offset_us`` is what to add to this machine's clock to get the store's, within a second.
    ``undecided`` counts creates that gave no clear answer (and were read back).
    """

    rounds: int
    racers: int
    undecided: int
    offset_us: int
    round_ms: float


class Fact(NamedTuple):
    """What ``doctor`` prints about a store; ``error`` if it ends with that."""

    name: str
    detail: str
    ok: bool = True
    error: TclogError | None = None


def probe(store: Store, nonce: str, *, racers: int = RACERS, rounds: int = ROUNDS) -> Report:
    """Race, read back, overwrite, list; remove what was written.

    Args:
        store: the store, at the place where the project will be.
        nonce: fresh text that makes the probe's names its own.
        racers: how many clients race for each name.
        rounds: how many names are raced for.

    Raises:
        StoreUnfit: with what was seen.
        StoreError: it could not be reached, or denied.
    """
    folder = f"probe-{nonce}"
    keys = [f"{folder}/{index:04d}" for index in range(rounds)]
    undecided, begun_s = 0, time.monotonic()
    if racers > 1:
        racers = max(RACERS_MIN, helpers(racers))
    try:
        offset_us = _check_put(store, f"{folder}/put")
        for key in keys:
            racers, unclear = _race(store, key, racers)
            undecided += unclear
        _check_list(store, folder, keys)
        store.check_pages([*keys, f"{folder}/put"])
    except StoreUnfit as error:
        store.name_cause(error)
        raise
    finally:
        _clear(store, [*keys, f"{folder}/put"])
    elapsed_ms = (time.monotonic() - begun_s) * 1000
    return Report(rounds, racers, undecided, offset_us, elapsed_ms / rounds)


def _check_put(store: Store, key: str) -> int:
    """Read-after-write, and the difference of the clocks."""
    before_us = time.time_ns() // 1000
    store.put(key, b"first")
    store.put(key, b"second")
    after_us = time.time_ns() // 1000
    found = store.get(key)
    if found is None or found.data != b"second":
        raise _unfit(store, "an object that was just written was read back old or absent")
    stored_us = parse_us(found.stored)
    if stored_us + SECOND_US < before_us:
        return stored_us - before_us
    return stored_us - after_us if stored_us > after_us + SECOND_US else 0


def _race(store: Store, key: str, racers: int) -> tuple[int, int]:
    """Let many threads create one name at the same instant; exactly one may win.

    Returns:
        How many raced, and how many of them got no clear answer.
    """
    outcomes = [answer.outcome for answer in _answers(store, key, racers)]
    racers = len(outcomes)
    winners = [index for index, outcome in enumerate(outcomes) if outcome is Outcome.WON]
    if len(winners) > 1:
        raise _unfit(
            store,
            f"{len(winners)} of {racers} writers that raced to create one object were all told"
            " that they had created it: the server lets several writers create one object",
            winners=len(winners),
        )
    found = store.get(key)
    if found is None:
        raise _unfit(store, f"{racers} writers raced to create one object, and none is there")
    if winners and found.data != _bytes_of(winners[0]):
        raise _unfit(
            store,
            "a writer was told that it had created an object, which holds another writer's bytes:"
            " the server lets several writers create one object",
        )
    again = store.create(key, b"late")
    after = store.get(key)
    if again.outcome is Outcome.WON or after is None or after.data != found.data:
        raise _unfit(
            store,
            "an object that exists was created again: the server lets several writers create one"
            " object",
        )
    return racers, sum(outcome is Outcome.UNKNOWN for outcome in outcomes)


def _answers(store: Store, key: str, racers: int) -> list[Created]:
    """Start all creates at once and collect their answers.

    If a process may have fewer threads here, fewer race.
    """
    answers: list[Created | Exception | None] = [None] * racers
    gate, ready = threading.Event(), threading.Semaphore(0)
    threads: list[threading.Thread] = []
    called_off = True

    def create(index: int) -> None:
        ready.release()
        gate.wait()
        if called_off:
            return
        try:
            answers[index] = store.create(key, _bytes_of(index))
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            answers[index] = error

    try:
        _start(threads, [partial(create, index) for index in range(racers)])
        for _ in threads:
            ready.acquire(timeout=READY_MAX_S)
        called_off = len(threads) < min(racers, RACERS_MIN)
        gate.set()
        for thread in threads:
            thread.join()
    finally:
        # After an interrupt, too, no thread may still write while the process ends.
        gate.set()
        for thread in threads:
            thread.join()
    if called_off:
        raise short_of("RLIMIT_NPROC")
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [answer for answer in answers if isinstance(answer, Created)]


def _start(threads: list[threading.Thread], jobs: Sequence[Callable[[], None]]) -> None:
    """Start a thread for each job, as many as this process may have."""
    # The machine still counts threads of the race before, for a moment after they have ended.
    for _ in range(STARTS_MAX):
        with suppress(RuntimeError):
            for job in jobs[len(threads) :]:
                thread = threading.Thread(target=job, daemon=True)
                thread.start()
                threads.append(thread)
        if len(threads) >= min(len(jobs), RACERS_MIN):
            return
        time.sleep(START_AGAIN_S)


def _bytes_of(index: int) -> bytes:
    return f"racer {index}".encode()


def _check_list(store: Store, folder: str, keys: list[str]) -> None:
    listed = [entry.key for entry in store.list(folder, "", 1000, False)]
    if listed != [*keys, f"{folder}/put"]:
        raise _unfit(store, "a listing does not show in order what was just written")
    first = [entry.key for entry in store.list(folder, "", 1, False)]
    if first != keys[:1]:
        raise _unfit(store, "a listing of one object does not show the first one")
    after = [entry.key for entry in store.list(folder, keys[1], 1000, False)]
    if after != [*keys[2:], f"{folder}/put"]:
        raise _unfit(store, "a listing that begins after a key does not begin there")


def write_each(store: Store) -> bool:
    """Write an object of each kind, as commands do; return whether they were removed again.

    The race shows only that one folder of the store is writable. A policy may deny another folder,
    or one may be on another disk. The names sort before all names that commands list by time.

    Raises:
        StoreError: it names the first object that cannot be written.
    """
    for kind, write in _KINDS.items():
        key = f"{kind}/{_NAME}"
        try:
            write(store, key)
        except StoreError as error:
            error.message = f"{kind}/ is not writable (tried {key}): {error.message}"
            raise
    try:
        store.delete(*(f"{kind}/{_NAME}" for kind in _KINDS))
    except StoreError:
        return False
    return True


# The verbs with which commands write to each folder.
_NAME = ".probe"
_KINDS: dict[str, Callable[[Store, str], object]] = {
    "events": lambda store, key: store.keep(key, b"probe"),
    "blobs": lambda store, key: store.keep(key, b"probe"),
    "packs": lambda store, key: store.keep(key, b"probe"),
    "once": lambda store, key: store.create(key, b"probe"),
    "chains": lambda store, key: store.create(key, b"probe"),
    "pending": lambda store, key: store.put(key, b"probe"),
}


def _clear(store: Store, keys: list[str]) -> None:
    for key in keys:
        try:
            store.delete(key)
        except StoreError:
            return  # credentials without delete are fine: a few bytes stay behind


def _unfit(store: Store, seen: str, **details: Any) -> StoreUnfit:
    return StoreUnfit(
        f"{store.url} is not fit for tclog: {seen}; docs/stores.md lists servers that are",
        hint="tclog init --help",
        **details,
    )
