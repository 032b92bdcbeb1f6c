"""The recorded history of a run: one JSON line for each try, and what the oracles make of it.

A *try* is one process (or one call of a long-lived one) that was asked to do one operation. The
repetitions of an operation under its ``--id`` are further tries with the same number. Times are
microseconds since 1970 that never run backwards, the same for all agents of the run. ``code`` is
the exit status; None where the process was killed, so that nobody was told anything.

The number of an operation is also the session of its events (``TCLOG_SESSION``), so what is
committed can be matched with what was asked without trusting anything that tclog computes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tclog import errors
from tclog.chain.results import Artifact, Barrier, Memory, Message, Step
from tclog.domain import steps
from tclog.event import ChainId, Event
from tclog.testing.oracles import Append, Chains
from tclog.testing.scheduler import Operation

_BEGUN_US = time.time_ns() // 1000 - time.monotonic_ns() // 1000
_BY_EXIT: dict[int, type[errors.TclogError]] = {
    1: errors.TclogError,
    2: errors.UsageError,
    3: errors.NotFound,
    4: errors.Refused,
    5: errors.WaitTimeout,
    6: errors.OutcomeUnknown,
    7: errors.StoreError,
    8: errors.Damaged,
}
SESSION = "op-"


def now_us() -> int:
    """Return the time of the run: this machine's, but never set back."""
    return _BEGUN_US + time.monotonic_ns() // 1000


class Try(NamedTuple):
    """One line of the history; ``fate`` is ``killed``, ``stopped``, ``stuck`` or empty."""

    n: int
    agent: str
    name: str
    arguments: dict[str, Any]
    nth: int
    begin_us: int
    end_us: int
    code: int | None
    out: list[dict[str, Any]]
    err: dict[str, Any] | None
    fate: str


class Recorder:
    """Appends tries to a file as they end; called from all threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, tried: Try) -> None:
        """Append one line."""
        with self._lock:
            self._file.write(json.dumps(tried._asdict(), separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Write all that is buffered."""
        self._file.close()


def read_history(path: Path) -> list[Try]:
    """Read a recorded history."""
    with path.open(encoding="utf-8") as lines:
        return [Try(**json.loads(line)) for line in lines]


# -- for the oracles ------------------------------------------------------------------------------


class Mailbox(NamedTuple):
    """What a reader of an inbox was shown."""

    messages: tuple[Message, ...]


def operations_of(tries: Iterable[Try]) -> list[Operation]:
    """Return the tries as the oracles know operations, in the order of their beginnings."""
    rows = sorted(tries, key=lambda tried: (tried.begin_us, tried.n))
    began: dict[int, int] = {}
    return [_operation(tried, began.setdefault(tried.n, tried.begin_us)) for tried in rows]


def _operation(tried: Try, began_us: int) -> Operation:
    known: dict[str, Any] = dict(tried.arguments)
    known["command"] = _command(tried)
    for name in {"chains", "reads"} & known.keys():
        known[name] = tuple(ChainId(chain) for chain in known[name])
    made = Operation(tried.agent, tried.name, known, (0, tried.n))
    made.session = session_of(made)
    made.invoked_us, made.began_us, made.returned_us = tried.begin_us, began_us, tried.end_us
    made.repeats = tried.nth > 0
    if tried.name.startswith("inbox."):
        # Whoever reads: the promise is about the inbox.
        made.agent = known["reader"]
    if tried.code is None:
        made.outcome = "unknown"
    elif tried.code == 0 or tried.code == known.get("status"):
        made.outcome = "ok"
        made.result = _result(tried)
    elif tried.code == 3 and tried.name in ("memory.get", "account.get"):
        made.outcome, made.result = "ok", [] if tried.name == "account.get" else None
    else:
        made.error = _error(tried)
        made.outcome = "unknown" if tried.code == 6 else "refused"
        made.outcome = "bug" if tried.code == errors.EXIT_BUG else made.outcome
    return made


def _error(tried: Try) -> errors.TclogError:
    told = dict(tried.err or {})
    made = _BY_EXIT.get(tried.code or 1, errors.TclogError)
    for name in ("type", "exit"):
        told.pop(name, None)
    message = str(told.pop("message", f"no error object, exit status {tried.code}"))
    return made(message, **told)


def _result(tried: Try) -> Any:
    if tried.name.startswith("inbox."):
        return Mailbox(tuple(_message(row) for row in tried.out if row["type"] == "message"))
    if tried.name.startswith("txn.") or tried.name in ("account.get", "step.wait"):
        return [_record(row) for row in tried.out]
    return _record(tried.out[0]) if tried.out else None


def _record(told: dict[str, Any]) -> Any:
    row = {key: value for key, value in told.items() if key != "type"}
    match told["type"]:
        case "memory":
            return Memory(type=row.pop("value_type"), **row)
        case "message":
            return _message(row)
        case "artifact":
            return Artifact(**row)
        case "barrier":
            return Barrier(**row)
        case _:
            return Step(**row)


def _message(row: dict[str, Any]) -> Message:
    known = {key: value for key, value in row.items() if key != "type"}
    return Message(n=known.pop("n", 0), sender=known.pop("from"), **known)


def _command(tried: Try) -> steps.Command | None:
    known, agent = tried.arguments, tried.agent
    match tried.name:
        case "step.claim":
            return steps.Claim(known["step"], agent, known["lease_ms"])
        case "step.renew":
            return steps.Renew(known["step"], agent, known["lease_ms"], known["fence"])
        case "step.release":
            return steps.Release(known["step"], agent, known["fence"])
        case "step.complete":
            return steps.Complete(known["step"], agent, known["outcome"], known["fence"])
    return None


# What each session has committed: where, at which version, what.
Events = dict[str, list[tuple[ChainId, int, Event]]]


def events_of(chains: Chains) -> Events:
    """Return the committed events of each session."""
    found: Events = {}
    for chain, versions in chains.versions.items():
        for version in versions:
            for event in version.events:
                found.setdefault(asked_by(event), []).append((chain, version.seq, event))
    return found


def appends_of(operations: Sequence[Operation], events: Events) -> list[Append]:
    """Match every operation that changes something with the events of its session."""
    return [
        Append(
            o,
            chain,
            tuple((seq, e) for at, seq, e in events.get(session_of(o), ()) if at == chain),
        )
        for o in operations
        for chain in o.arguments.get("chains", ())
    ]


def asked_by(event: Event) -> str:
    """Return the session that asked for an event; `tclog exec` works in one of its own below it."""
    return event.session.partition("/")[0]


def session_of(operation: Operation) -> str:
    """Return the session that an operation's events carry."""
    assert operation.place is not None
    return f"{SESSION}{operation.place[1]}"
