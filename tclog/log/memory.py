"""Memory operations: set, get, list, history, delete, incr, append."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.read import (
    list_chains,
    read_at,
    read_head,
    read_range,
    read_sound,
    read_standing,
    read_version,
)
from tclog.chain.results import Memory
from tclog.chain.show import show_memory
from tclog.clock import Hlc
from tclog.domain import memory
from tclog.domain.content import Blob, make_content
from tclog.errors import NotFound, Refused, UsageError, to_run
from tclog.event import Version, chain_id, encode, validate_name
from tclog.log.methods import Collected, Method, Operations
from tclog.log.operation import Count, Positive, operation

SEPARATOR_BYTES_MAX = 1024
VALUE_SHOWN_MAX = 200


def set_command(
    value: Any, value_type: str | None, if_version: int | None, if_absent: bool
) -> tuple[memory.Set, Sequence[Blob]]:
    """Check what is to be set; return the command, and the blobs that it needs."""
    if if_version is not None and if_version < 0:
        raise UsageError(f"{if_version} is not a version", code="bad-version")
    kind = value_type or ("text" if isinstance(value, str) else "json")
    if kind == "text" and not isinstance(value, str):
        raise UsageError(
            "value is not a text, but value_type says so", code="field-wrong", field="value"
        )
    memory.check_value(kind, value)
    content, blobs = make_content(kind, value)
    return memory.Set(content, 0 if if_absent else if_version), blobs


@operation("memory.set", excludes=[("if_absent", "if_version")], together=set_command)
def set_value(
    client: Client,
    key: str,
    value: Any,
    *,
    value_type: Literal["text", "json"] | None = None,
    if_version: Count | None = None,
    if_absent: bool = False,
    id: str | None = None,
) -> Protocol[Memory]:
    """Set a key. By default a ``str`` is kept as text, anything else as JSON.

    With ``if_version``, only if the key is at that version; 0 is a key without a value, as with
    ``if_absent``.

    Raises:
        Refused: ``version-conflict``, with the current version, value and author.
    """
    command = set_command(value, value_type, if_version, if_absent)
    return _there((yield from _change(client, key, *command, id_key=id)))


def delete_command(if_version: int | None) -> tuple[memory.Delete, Sequence[Blob]]:
    """Return the command, and no blobs."""
    return memory.Delete(if_version), ()


@operation("memory.delete", together=delete_command)
def delete_value(
    client: Client, key: str, *, if_version: Positive | None = None, id: str | None = None
) -> Protocol[Memory]:
    """Delete a key; its history stays.

    Raises:
        NotFound: it has no value.
    """
    result = yield from _change(client, key, *delete_command(if_version), id_key=id)
    if result is None:
        raise missing(key)
    return result


def incr_command(by: int) -> tuple[memory.Incr, Sequence[Blob]]:
    """Return the command, and no blobs."""
    return memory.Incr(by), ()


@operation("memory.incr", together=incr_command)
def incr_value(client: Client, key: str, by: int = 1, *, id: str | None = None) -> Protocol[Memory]:
    """Add to an integer, as one operation: increments never conflict and none is lost."""
    return _there((yield from _change(client, key, *incr_command(by), id_key=id)))


def append_command(text: str, separator: str) -> tuple[memory.Append, Sequence[Blob]]:
    """Check what is to be appended; return the command, and the blobs that it needs."""
    memory.check_value("text", text)
    memory.check_value("text", separator)
    if len(separator.encode()) > SEPARATOR_BYTES_MAX:
        raise UsageError("the separator has over 1024 bytes", code="bad-value")
    added, blobs = make_content("text", text)
    return memory.Append(added, separator), blobs


@operation("memory.append", together=append_command)
def append_value(
    client: Client, key: str, text: str, *, separator: str = "\n", id: str | None = None
) -> Protocol[Memory]:
    """Append to a text (on a new line), or an element to a JSON array, as one operation."""
    return _there((yield from _change(client, key, *append_command(text, separator), id_key=id)))


def _change(
    client: Client,
    key: str,
    command: memory.Command,
    blobs: Sequence[Blob],
    *,
    id_key: str | None,
) -> Protocol[Memory | None]:
    chain = chain_id("memory", validate_name("key", key))
    words = id_key and {"op": type(command).__name__, "key": key, "with": command._asdict()}
    try:
        done: Appended = yield from append(
            client,
            chain,
            lambda state, place: memory.decide(state, command, place),
            blobs=blobs,
            once=once(id_key, words or {}),
        )
    except Refused as refused:
        if refused.code == "key-reused":
            raise  # the chain was not read
        raise (yield from _with_current(client, key, refused)) from None
    if done.version is None or (done.event is None and isinstance(command, memory.Delete)):
        return None
    return (yield from show_memory(done.version, committed=True))


def _there(result: Memory | None) -> Memory:
    assert result is not None  # noqa: S101 - only a delete can find nothing to do
    return result


def read_current(client: Client, key: str) -> Protocol[Memory | None]:
    """Return what stands in a key that was read last; None if it has no version that stands."""
    head = yield from read_standing(client, client.known(chain_id("memory", key)))
    return None if head is None else (yield from show_memory(head))


def current_words(now: Memory | None) -> str:
    """Return words for the current value, for a refusal; a long value is cut."""
    if now is None or now.deleted:
        return ""
    text = now.value if now.type == "text" else encode(now.value).decode()
    long = len(text) > VALUE_SHOWN_MAX
    return f"; the value is {text[:VALUE_SHOWN_MAX]}" + (
        f"... ({len(text)} characters)" if long else ""
    )


def tell_current(now: Memory | None) -> dict[str, Any]:
    """Return the details of a conflict: what is there now and who wrote it."""
    if now is None:
        return {"version": 0}
    return {
        "version": now.version,
        "value": now.value,
        "agent": now.agent,
        "at": now.at,
        "current": now.as_json(),
    }


def _with_current(client: Client, key: str, refused: Refused) -> Protocol[Refused]:
    """Tell a loser what is there now and who wrote it."""
    now = yield from read_current(client, key)
    if now is None:
        return Refused(
            f"{key} has no version yet: {refused.message}",
            code=refused.code,
            hint="tclog memory list",
            key=key,
            **tell_current(now),
        )
    shown = "deleted" if now.deleted else "written"
    return Refused(
        f"{key} is at version {now.version}, {shown} by {now.agent} at {now.at}:"
        f" {refused.message}{current_words(now)}",
        code=refused.code,
        hint=to_run("tclog memory history" if now.deleted else "tclog memory get", key),
        key=key,
        **tell_current(now),
    )


@operation(
    "memory.get",
    acts=False,
    excludes=[("at", "version")],
    together=True,
    apart=("at", "version"),
    only_together=("if_version",),
)
def get_value(
    client: Client,
    key: str,
    *,
    version: Positive | None = None,
    at: Hlc | None = None,
    if_version: Count | None = None,
) -> Protocol[Memory]:
    """Read a key: now, at a version, or as it was at a time.

    In a transaction the key stays as it was read. With ``if_version`` it must be at that version.

    Raises:
        NotFound: no such key, version, or no value then.
    """
    del if_version  # a transaction's
    chain = chain_id("memory", validate_name("key", key))
    if version is not None:
        head = yield from read_head(client, chain)
        if head is None:
            raise missing(key)
        if not 1 <= version <= head.seq:
            raise _no_version(key, f"has versions 1 to {head.seq}, not {version}")
        found: Version | None = yield from read_version(client, chain, version)
        if found is not None and found.void:
            raise _no_version(key, f"was not changed by version {version}")
    elif at is not None:
        found = yield from read_at(client, chain, at)
    else:
        found = yield from read_head(client, chain)
    found = yield from read_standing(client, found)
    if found is None:
        raise missing(key, at is not None)
    result = yield from show_memory(found)
    if result.deleted:
        raise missing(key, at is not None)
    return result


def _no_version(key: str, why: str) -> NotFound:
    return NotFound(
        f"{key} {why}", code="version-missing", hint=to_run("tclog memory history", key), key=key
    )


def missing(key: str, then: bool = False) -> NotFound:
    """Return the error for a key without a value, now or ``then``."""
    return NotFound(
        f"{key} had no value then" if then else f"{key} has no value",
        code="key-missing",
        hint=to_run("tclog memory history", key) if then else "tclog memory list",
        key=key,
    )


@operation("memory.list", acts=False)
def list_values(
    client: Client,
    prefix: str = "",
    *,
    values: bool = True,
    at: Hlc | None = None,
    limit: Count | None = None,
) -> Protocol[list[Memory]]:
    """List keys that have a value, in byte order; without ``values`` theirs are None.

    A ``limit`` of 0 is none, here as everywhere.
    """
    chains = yield from list_chains(client, "memory", prefix)
    heads = yield from read_sound(client, chains, at)
    present = [
        read_standing(client, head)
        for chain, head in zip(chains, heads, strict=True)
        if head is not None and state_of(chain, head).content is not None
    ]
    standing = yield from together(*present)
    shown = [show_memory(head, read=values) for head in standing if head is not None]
    return (yield from together(*shown[: limit or None]))


@operation("memory.history", acts=False)
def read_history(
    client: Client, key: str, *, limit: Count | None = None, at: Hlc | None = None
) -> Protocol[list[Memory]]:
    """Return the versions of a key, newest first: all, or those that there were at a time.

    Raises:
        NotFound: the key never existed.
    """
    chain = chain_id("memory", validate_name("key", key))
    head = yield from (read_head(client, chain) if at is None else read_at(client, chain, at))
    if head is None:
        raise missing(key, at is not None)
    versions: list[Version] = []
    first, wanted = head.seq + 1, limit or head.seq
    while first > 1 and len(versions) < wanted:
        last, first = first - 1, max(1, first - (wanted - len(versions)))
        older = yield from read_range(client, chain, first, last)
        versions = [version for version in older if not version.void] + versions
    if not versions:
        raise missing(key, at is not None)
    return (yield from together(*(show_memory(version) for version in reversed(versions))))


class MemoryOperations(Operations):
    """``log.memory``: versioned values with conflict detection."""

    set = Method(set_value)
    get = Method(get_value)
    list = Method(list_values)
    history = Method(read_history)
    delete = Method(delete_value)
    incr = Method(incr_value)
    append = Method(append_value)


class MemoryTogether:
    """The same in a ``Transaction``."""

    memory_set = Collected(set_value)
    memory_get = Collected(get_value)
    memory_delete = Collected(delete_value)
    memory_incr = Collected(incr_value)
    memory_append = Collected(append_value)
