"""Operations as lines of JSON: the one table of what ``tclog batch`` and ``tclog txn`` understand.

A line is an object with ``op`` and the arguments of that command under the names that its JSON
objects use. ``read_lines`` splits a stream without reading ahead of it, ``read_operation`` checks
a line against the table, and ``Asked.protocol`` makes the protocol that carries it out. A line that
cannot be understood is a ``UsageError`` that names the line and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.cli.files import file_to_write, size_of, unreadable
from tclog.cli.options import parse_json
from tclog.cli.output import STDIN
from tclog.domain import steps as step_rules
from tclog.errors import BadValue, UsageError
from tclog.event import validate_name
from tclog.log import agents, artifacts, barriers, claims, handoff, inbox, memory, steps
from tclog.moment import parse_duration_s

LINE_BYTES_MAX = 64 << 20
# How long a wait lasts that says nothing of it, as with the commands.
WAIT_S = 300.0
SHOWN_MAX = 60
STEP_STATES = (
    step_rules.PENDING,
    step_rules.READY,
    step_rules.CLAIMED,
    *step_rules.OUTCOMES,
)


# -- what a field may be --------------------------------------------------------------------------


class Kind(NamedTuple):
    """What a field may be, in words, and how it is read; ``read`` raises TypeError."""

    words: str
    read: Callable[[Any], Any]


class Field(NamedTuple):
    """One argument: ``parameter`` is its name in the protocol, where that is another one."""

    kind: Kind
    parameter: str = ""
    needed: bool = False


def _exactly(type_: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        # Not isinstance: to Python true is an int.
        if type(value) is not type_:
            raise TypeError
        return value

    return read


def _text(value: Any) -> str:
    # JSON can write half a character, which UTF-8 cannot.
    if type(value) is not str or value.encode(errors="replace").decode() != value:
        raise TypeError
    return value


def _path(value: Any) -> Path:
    if not value or "\0" in _text(value):
        raise TypeError
    return Path(value)


def _texts(value: Any) -> list[str]:
    if type(value) is not list:
        raise TypeError
    return [_text(item) for item in value]


def _seconds(value: Any) -> float:
    if type(value) is str:
        return parse_duration_s(value)
    if type(value) not in (int, float) or value < 0:
        raise TypeError
    return parse_duration_s(str(value))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _id_key(value: Any) -> str:
    return validate_name("idempotency key", _text(value))


def _one_of(*words: str) -> Kind:
    def read(value: Any) -> Any:
        if type(value) is not str or value not in words:
            raise TypeError
        return value

    return Kind(f"one of {', '.join(words)}", read)


TEXT = Kind("a text", _text)
INTEGER = Kind("an integer", _exactly(int))
COUNT = Kind("an integer from 0", _count)
FLAG = Kind("true or false", _exactly(bool))
TEXTS = Kind("a list of texts", _texts)
DURATION = Kind('a duration such as "30m", or seconds', _seconds)
ANYTHING = Kind("any JSON", lambda value: value)
# A point in time needs the log to be understood, so it stays a text here.
POINT = Kind('a point in time such as "10m ago"', _text)
PATH = Field(Kind("the path of a file", _path), needed=True)

ID_KEY = Field(Kind("a text", _id_key))
AT = Field(POINT)
LIMIT = Field(COUNT)
NAMED = Field(TEXT, needed=True)
STEP = Field(TEXT, "step", needed=True)
FENCE = Field(INTEGER)
LEASE = Field(DURATION, "lease_s")


# -- the table ------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """One operation: its protocol, its fields, and whether it needs an agent name."""

    protocol: Callable[..., Protocol[Any]]
    fields: Mapping[str, Field]
    acts: bool = True


def _set(
    client: Client,
    key: str,
    value: Any,
    *,
    value_type: str | None = None,
    if_version: int | None = None,
    if_absent: bool = False,
    id_key: str | None = None,
) -> Protocol[Any]:
    kind = value_type or ("text" if isinstance(value, str) else "json")
    if kind == "text" and not isinstance(value, str):
        raise UsageError(
            "value is not a text, but value_type says so", code="field-wrong", field="value"
        )
    if if_absent and if_version is not None:
        raise UsageError("if_absent and if_version exclude each other", field="if_absent")
    version = 0 if if_absent else if_version
    return memory.set_value(client, key, value, kind=kind, if_version=version, id_key=id_key)


def _claim(
    client: Client,
    step: str | None = None,
    *,
    next: bool = False,  # noqa: A002 - the field's own word
    lease_s: float | None = None,
    wait: bool = False,
    timeout_s: float | None = None,
    fence: int | None = None,
    steal: bool = False,
    reason: str | None = None,
    id_key: str | None = None,
) -> Protocol[Any]:
    if next == (step is not None):
        raise UsageError("give the id of a step, or next", field="id")
    if next and id_key is not None:
        raise UsageError("id_key needs a named step: repeated, next would pick another one")
    if timeout_s is not None and not wait:
        raise UsageError("timeout needs wait", field="timeout")
    if (next or wait) and (steal or fence is not None):
        raise UsageError("fence and steal need a named step, and no wait", field="fence")
    if step is None:
        if wait:
            return claims.next_waiting(client, lease_s=lease_s, timeout_s=timeout_s)
        return claims.claim_next(client, lease_s=lease_s)
    if wait:
        return claims.claim_waiting(
            client, step, lease_s=lease_s, timeout_s=timeout_s, id_key=id_key
        )
    why = claims.check_steal(step, steal, reason)
    return claims.claim_step(client, step, lease_s=lease_s, fence=fence, steal=why, id_key=id_key)


def _read_inbox(
    client: Client,
    *,
    everything: bool = False,
    ack: bool = False,
    wait: bool = False,
    timeout_s: float | None = None,
    at: Any = None,
    limit: int | None = None,
) -> Protocol[Any]:
    if wait and (everything or at is not None):
        raise UsageError("wait cannot be combined with all or at", field="wait")
    if timeout_s is not None and not wait:
        raise UsageError("timeout needs wait", field="timeout")
    if wait:
        limit_s = WAIT_S if timeout_s is None else timeout_s
        mailbox = yield from inbox.wait_inbox(client, timeout_s=limit_s)
    else:
        mailbox = yield from inbox.read_inbox(client, everything=everything, at=at)
    mailbox = mailbox._replace(messages=mailbox.messages[: limit or None])
    if ack and mailbox.messages:
        yield from inbox.acknowledge(client, mailbox)
    return mailbox.messages


def _ack(
    client: Client,
    n: int | None = None,
    *,
    id: str | None = None,  # noqa: A002 - the field's own word
    id_key: str | None = None,
) -> Protocol[Any]:
    which = n if id is None else id
    if which is None or None not in (n, id):
        raise UsageError("give the n or the id of a message", field="n")
    return inbox.acknowledge_one(client, which, id_key=id_key)


def _wait_for(
    client: Client,
    ids: list[str],
    *,
    any_: bool = False,
    count: int | None = None,
    timeout_s: float = WAIT_S,
) -> Protocol[Any]:
    if any_ and count is not None:
        raise UsageError("any and count exclude each other", field="any")
    needed = 1 if any_ else count
    return steps.wait_for_steps(client, ids, count=needed, timeout_s=timeout_s)


def _pass_barrier(
    client: Client,
    name: str,
    parties: int,
    *,
    timeout_s: float = WAIT_S,
    id_key: str | None = None,
) -> Protocol[Any]:
    return barriers.pass_barrier(client, name, parties, timeout_s=timeout_s, id_key=id_key)


def _limited(protocol: Callable[..., Protocol[Any]]) -> Callable[..., Protocol[Any]]:
    def cut(client: Client, *, limit: int | None = None, **arguments: Any) -> Protocol[Any]:
        found = yield from protocol(client, **arguments)
        return found[: limit or None]

    return cut


def _newest(protocol: Callable[..., Protocol[Any]]) -> Callable[..., Protocol[Any]]:
    """Limit what reads no more than it is asked for."""

    def cut(client: Client, *, limit: int | None = None, **arguments: Any) -> Protocol[Any]:
        return protocol(client, limit=limit or None, **arguments)

    return cut


def _values(client: Client, **arguments: Any) -> Protocol[Any]:
    return memory.list_values(client, values=True, **arguments)


def _artifact_list(client: Client, *, step: str | None = None, at: Any = None) -> Protocol[Any]:
    found = yield from artifacts.list_artifacts(client, at=at)
    return [row for row in found if step is None or row.step == step]


def _artifact_put(client: Client, path: Path, **arguments: Any) -> Protocol[Any]:
    size_of(path)
    return artifacts.put_artifact(client, path, **arguments)


def _artifact_get(client: Client, name: str, out: Path, **arguments: Any) -> Protocol[Any]:
    found = yield from artifacts.find_artifact(client, name, **arguments)
    target = file_to_write(str(out), "artifact get", found.name, into=True)
    return (yield from artifacts.get_artifact(found, Path(target)))


OPERATIONS: Mapping[str, Operation] = {
    "memory.set": Operation(
        _set,
        {
            "key": NAMED,
            "value": Field(ANYTHING, needed=True),
            "value_type": Field(_one_of("text", "json")),
            "if_version": Field(COUNT),
            "if_absent": Field(FLAG),
            "id_key": ID_KEY,
        },
    ),
    "memory.get": Operation(
        memory.get_value, {"key": NAMED, "version": Field(COUNT), "at": AT}, acts=False
    ),
    "memory.delete": Operation(
        memory.delete_value, {"key": NAMED, "if_version": Field(COUNT), "id_key": ID_KEY}
    ),
    "memory.incr": Operation(
        memory.incr_value, {"key": NAMED, "by": Field(INTEGER), "id_key": ID_KEY}
    ),
    "memory.append": Operation(
        memory.append_value,
        {"key": NAMED, "text": NAMED, "separator": Field(TEXT), "id_key": ID_KEY},
    ),
    "memory.list": Operation(
        _limited(_values), {"prefix": Field(TEXT), "at": AT, "limit": LIMIT}, acts=False
    ),
    "memory.history": Operation(
        _newest(memory.read_history), {"key": NAMED, "at": AT, "limit": LIMIT}, acts=False
    ),
    "message.send": Operation(
        inbox.send_message,
        {
            "to": NAMED,
            "text": NAMED,
            "reply_to": Field(TEXT),
            "step": Field(TEXT),
            "id_key": ID_KEY,
        },
    ),
    "message.ack": Operation(_ack, {"n": Field(COUNT), "id": Field(TEXT), "id_key": ID_KEY}),
    "inbox.read": Operation(
        _read_inbox,
        {
            "all": Field(FLAG, "everything"),
            "ack": Field(FLAG),
            "wait": Field(FLAG),
            "timeout": Field(DURATION, "timeout_s"),
            "at": AT,
            "limit": LIMIT,
        },
    ),
    "step.add": Operation(
        steps.add_step,
        {
            "id": STEP,
            "after": Field(TEXTS),
            "title": Field(TEXT),
            "priority": Field(INTEGER),
            "id_key": ID_KEY,
        },
    ),
    "step.show": Operation(steps.show_step, {"id": STEP, "at": AT}, acts=False),
    "step.list": Operation(
        _limited(steps.list_steps),
        {"state": Field(_one_of(*STEP_STATES)), "at": AT, "limit": LIMIT},
        acts=False,
    ),
    "step.claim": Operation(
        _claim,
        {
            "id": STEP._replace(needed=False),
            "next": Field(FLAG),
            "lease": LEASE,
            "wait": Field(FLAG),
            "timeout": Field(DURATION, "timeout_s"),
            "fence": FENCE,
            "steal": Field(FLAG),
            "reason": Field(TEXT),
            "id_key": ID_KEY,
        },
    ),
    "step.renew": Operation(
        claims.renew_step, {"id": STEP, "lease": LEASE, "fence": FENCE, "id_key": ID_KEY}
    ),
    "step.note": Operation(
        steps.note_step, {"id": STEP, "text": NAMED, "fence": FENCE, "id_key": ID_KEY}
    ),
    "step.release": Operation(
        claims.release_step,
        {
            "id": STEP,
            "fence": FENCE,
            "force": Field(FLAG),
            "reason": Field(TEXT),
            "id_key": ID_KEY,
        },
    ),
    "step.reopen": Operation(steps.reopen_step, {"id": STEP, "id_key": ID_KEY}),
    "step.complete": Operation(
        handoff.complete_step,
        {
            "id": STEP,
            "outcome": Field(_one_of(*step_rules.OUTCOMES)),
            "note": Field(TEXT),
            "to": Field(TEXT),
            "next_action": Field(TEXT),
            "changed_files": Field(TEXTS),
            "fence": FENCE,
            "force": Field(FLAG),
            "reason": Field(TEXT),
            "id_key": ID_KEY,
        },
    ),
    "step.wait": Operation(
        _wait_for,
        {
            "ids": Field(TEXTS, needed=True),
            "any": Field(FLAG, "any_"),
            "count": Field(COUNT),
            "timeout": Field(DURATION, "timeout_s"),
        },
        acts=False,
    ),
    "barrier.pass": Operation(
        _pass_barrier,
        {
            "name": NAMED,
            "parties": Field(INTEGER, needed=True),
            "timeout": Field(DURATION, "timeout_s"),
            "id_key": ID_KEY,
        },
    ),
    "artifact.put": Operation(
        _artifact_put,
        {"path": PATH, "name": Field(TEXT), "step": Field(TEXT), "id_key": ID_KEY},
    ),
    "artifact.get": Operation(
        _artifact_get,
        {"name": NAMED, "out": PATH, "version": Field(COUNT), "at": AT},
        acts=False,
    ),
    "artifact.list": Operation(
        _limited(_artifact_list), {"step": Field(TEXT), "at": AT, "limit": LIMIT}, acts=False
    ),
    "artifact.history": Operation(
        _newest(artifacts.read_history), {"name": NAMED, "at": AT, "limit": LIMIT}, acts=False
    ),
    "agent.list": Operation(agents.list_agents, {}, acts=False),
}


# -- transactions ---------------------------------------------------------------------------------

# What a transaction takes, and what of it goes with the whole or with a command of its own.
_TOGETHER = (
    "memory.set memory.get memory.delete memory.incr memory.append message.send step.add step.show"
    " step.claim step.renew step.note step.release step.reopen step.complete"
)
_APART = {"id_key", "at", "version", "next", "wait", "timeout", "to"}


def _collecting(op: str) -> Callable[..., Any]:
    name = op.replace(".", "_")
    return lambda transaction, **arguments: getattr(transaction, name)(**arguments)


def _together(op: str) -> Operation:
    fields = {
        name: field
        for name, field in OPERATIONS[op].fields.items()
        if name not in _APART or (op == "message.send" and name == "to")
    }
    if op == "memory.get":
        fields["if_version"] = Field(COUNT)
    if op == "step.claim":
        fields["id"] = STEP
    return Operation(_collecting(op), fields)


# The same for ``tclog txn``: each adds an operation to a ``tclog.log.transactions.Transaction``.
TRANSACTION: Mapping[str, Operation] = {op: _together(op) for op in _TOGETHER.split()}


# -- lines ----------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """One line that was understood; ``arguments`` have the names that the protocol uses."""

    line: int
    op: str
    operation: Operation
    arguments: Mapping[str, Any]

    def protocol(self, client: Client, point: Callable[[str], Any]) -> Protocol[Any]:
        """Make the protocol; ``point`` reads a point in time."""
        arguments = dict(self.arguments)
        if "at" in arguments:
            if arguments.get("version") is not None:
                raise UsageError("version and at exclude each other", field="at")
            arguments["at"] = point(arguments["at"])
        return self.operation.protocol(client, **arguments)


def read_lines(
    stream: IO[bytes], file: str = STDIN, *, bytes_max: int = LINE_BYTES_MAX
) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line with its number as soon as it arrives; None for a line that is too long.

    Empty lines are left out. A line is yielded before the next one is read.

    Raises:
        UsageError: the stream, which is that of ``file``, cannot be read.
    """
    try:
        for number in count(1):
            raw = stream.readline(bytes_max + 1)
            if not raw:
                return
            if len(raw) > bytes_max:
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(bytes_max)
                yield number, None
            elif raw.strip():
                yield number, raw
    except OSError as error:
        raise unreadable(file, error) from None


def read_operation(
    number: int, raw: bytes | None, table: Mapping[str, Operation] = OPERATIONS
) -> Asked:
    """Understand one line.

    Raises:
        UsageError: it is no JSON object, its op or one of its fields is unknown, missing or wrong.
    """
    try:
        return _understood(number, _record(raw), table)
    except UsageError as error:
        error.message = f"line {number}: {error.message}"
        error.details["line"] = number
        raise


def _record(raw: bytes | None) -> Mapping[str, Any]:
    if raw is None:
        raise UsageError(f"it has over {LINE_BYTES_MAX >> 20} MiB", code="line-unreadable")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"it is not UTF-8 at byte {error.start}", code="line-unreadable") from None
    try:
        record = parse_json(text)
    except BadValue as error:
        raise UsageError(error.message, code="line-unreadable") from None
    if type(record) is not dict:
        raise UsageError("it is JSON, but no object", code="line-unreadable")
    return record


def _understood(number: int, record: Mapping[str, Any], table: Mapping[str, Operation]) -> Asked:
    op = record.get("op")
    if "op" not in record:
        raise UsageError("it has no op", code="field-missing", field="op")
    operation = table.get(op) if type(op) is str else None
    if operation is None:
        raise UsageError(
            f"there is no op {_shown(op)}; there are {', '.join(table)}",
            code="op-unknown",
            field="op",
        )
    arguments: dict[str, Any] = {}
    for name, value in record.items():
        if name == "op":
            continue
        field = operation.fields.get(name)
        if field is None:
            known = ", ".join(operation.fields) or "no fields"
            raise UsageError(
                f"{op} has no field {_shown(name)}; it has {known}",
                code="field-unknown",
                field=name,
            )
        arguments[field.parameter or name] = _read(str(op), name, field.kind, value)
    for name, field in operation.fields.items():
        if field.needed and name not in record:
            raise UsageError(f"{op} needs the field {name}", code="field-missing", field=name)
    return Asked(number, str(op), operation, arguments)


def _read(op: str, name: str, kind: Kind, value: Any) -> Any:
    try:
        return kind.read(value)
    except TypeError:
        raise UsageError(
            f"field {name} of {op} is {kind.words}, not {_shown(value)}",
            code="field-wrong",
            field=name,
        ) from None
    except UsageError as error:
        error.message = f"field {name} of {op}: {error.message}"
        error.details["field"] = name
        raise


def _shown(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
