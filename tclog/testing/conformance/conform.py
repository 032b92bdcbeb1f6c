"""A whole trial: all parts, the judgement of all answers, and fsck."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tclog.chain.drive import run
from tclog.errors import TclogError
from tclog.maintenance.fsck.check import Patient, fsck
from tclog.testing.conformance import parts
from tclog.testing.conformance.judge import judge
from tclog.testing.conformance.trial import PROJECT, Trial

PARTS = ("alone", "races", "killed", "keys", "lapsed", "transactions", "junk", "clocks")
_SHOWN = 3
_CHARACTERS = 300


class Check(NamedTuple):
    """One line of the result."""

    name: str
    ok: bool
    detail: str


def conform(
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path,
    *,
    seed: int,
    rounds: int,
    seconds: float,
    tell: Callable[[Check], None],
    only: Collection[str] = (),
) -> bool:
    """Try a client; return whether all holds.

    Args:
        command: what starts it.
        environ: its environment, to which what a trial says is added.
        folder: an empty folder for the store and the caches.
        seed: draws the operations and the moments of the kills.
        rounds: how many rounds of races and of kills there are.
        seconds: after which no further round begins.
        tell: called with each check when it is done.
        only: the parts of ``PARTS`` to do; all if empty. The judgement and fsck follow always.

    Raises:
        OSError: the command cannot be started.
    """
    trial = Trial(command, environ, folder, seed)
    ends_s = time.monotonic() + seconds
    checks: list[Check] = []

    def check(name: str, sentences: Iterator[str] | Sequence[str], *notes: str) -> None:
        trial.notes[:] = notes
        broken = _caught(sentences)
        checks.append(Check(name, not broken, _shown(broken) or "; ".join(trial.notes)))
        tell(checks[-1])

    try:
        for name, part in _parts(trial, rounds, ends_s).items():
            if name in only or not only:
                check(name, part)
            if any(op in trial.missing for op in parts.NEEDED):
                return False
    finally:
        trial.close()
    rows = trial.journal.rows()
    for promise, broken in judge(rows, trial.store):
        check(promise, broken, *([f"{len(rows)} answers"] if promise == "answers" else []))
    check("fsck", _fsck(trial))
    return all(row.ok for row in checks)


def _parts(trial: Trial, rounds: int, ends_s: float) -> Mapping[str, Iterator[str]]:
    made = (
        parts.answers(trial),
        parts.races(trial, rounds, ends_s),
        parts.killed(trial, rounds, ends_s),
        parts.keys(trial),
        parts.leases(trial),
        parts.transactions(trial),
        parts.junk(trial),
        parts.clocks(trial),
    )
    return dict(zip(PARTS, made, strict=True))


def _caught(sentences: Iterator[str] | Sequence[str]) -> list[str]:
    """Return the sentences; what tclog itself finds damaged on the way is one more."""
    found: list[str] = []
    try:
        found.extend(sentences)
    except TclogError as error:
        found.append(f"tclog could not go on: {error.message}")
    return found


def _shown(broken: Sequence[str]) -> str:
    more = len(broken) - _SHOWN
    return "; ".join(text[:_CHARACTERS] for text in broken[:_SHOWN]) + (
        f"; and {more} more" if more > 0 else ""
    )


def _fsck(trial: Trial) -> list[str]:
    found: list[str] = []
    check = fsck(PROJECT, lambda row: found.append(f"{row.code}: {row.message}"))
    run(check, Patient(trial.store))
    return found
