"""Idempotency keys: a command that is repeated under the same key cannot apply twice.

The first use of a key creates one small object, ``once/AGENT/KEY.json``, that says which command
the key stands for and which version its chain had before. Whoever uses the key again looks through
the versions after that one for an event with the key. Since no slot is tried before all slots below
it were looked through for the key, two users of one key cannot both commit.

A key of the form ``<16 hex digits>.<n>``, as an unknown outcome's hint shows it, stands also for
the event whose id begins so and whose fate was open at version n: the search begins there at the
latest. Anybody may have chosen such a key, so it is bound like others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.chain.read import read_newest, read_range
from tclog.clock import Stamp
from tclog.errors import Damaged, Refused, StoreError, StoreUnreachable, quote
from tclog.event import (
    ChainId,
    Event,
    Version,
    decode_record,
    digest,
    encode,
    once_key,
    slot_key,
    validate_name,
)
from tclog.store.base import Create, Found, Get, Outcome, Stat

_RESUME = r"([0-9a-f]{16})\.([1-9][0-9]{0,9})"
_TRIES_MAX = 10


class Once(NamedTuple):
    """An idempotency key and the command that it stands for, as a digest."""

    key: str
    command: str


class Applied(NamedTuple):
    """Where a key's event was found committed."""

    version: Version
    event: Event


def once(key: str | None, command: Mapping[str, Any]) -> Once | None:
    """Bind a key to a command; ``command`` holds all arguments that make it what it is.

    Raises:
        BadName: the key is not a name.
    """
    if key is None:
        return None
    return Once(validate_name("idempotency key", key), digest(encode(command)))


def bind_once(client: Client, chain: ChainId, bound: Once) -> Protocol[int]:
    """Bind a key to its command; return the version that the chain had before its first use.

    Raises:
        Refused: the key stands for another command.
    """
    # One object for each chain, so that a message to several inboxes can be repeated as a whole.
    key = once_key(client.agent, bound.key, chain)
    found = there = yield Get(key)
    if found is None:
        known = client.known(chain)
        head = known if known is not None else (yield from read_newest(client, chain))
        after = 0 if head is None else head.seq
        resume = re.fullmatch(_RESUME, bound.key)
        made = {
            "after": min(after, int(resume[2]) - 1) if resume else after,
            "agent": client.agent,
            "chain": chain,
            "command": bound.command,
            "format": 1,
            "key": bound.key,
        }
        found = yield from _create(client, key, encode(made))
    record = decode_record(found.data, "once", key)
    if (record["chain"], record["agent"], record["key"]) != (chain, client.agent, bound.key):
        raise Damaged(f"{key} binds another idempotency key", hint="tclog fsck", object=key)
    if record["command"] != bound.command:
        raise Refused(
            f"the idempotency key {bound.key!r} was already used by {client.agent}"
            " for another command",
            code="key-reused",
            hint=f"tclog log --agent {quote(client.agent)} --grep {quote(bound.key)}",
        )
    last: int = record["after"]
    if there is None or not last or (yield from _was_before(chain, last, found)):
        return last
    return 0  # it says nothing of where the key may stand: all versions are looked through


def _was_before(chain: ChainId, after: int, binding: Found) -> Protocol[bool]:
    """Whether a version was there before the object that names it as the newest.

    It was read before that was made. In a copy the stamps may say otherwise, which costs requests.
    """
    entry = yield Stat(slot_key(chain, after))
    return entry is not None and entry.stored is not None and entry.stored <= binding.stored


def find_once(
    client: Client, chain: ChainId, bound: Once, after: int, head: Version | None
) -> Protocol[Applied | None]:
    """Return where the key was applied in the versions after ``after``, up to ``head``, or None.

    Whoever tries the slot after ``head`` must have asked this of that very head: a version that
    nobody looked through may be the one with the key.
    """
    if head is None:
        return None
    versions = yield from read_range(client, chain, after + 1, head.seq)
    for version in versions:
        for event in version.events:
            if event.agent == client.agent and _stands_for(bound.key, event):
                return Applied(version, event)
    return None


def _stands_for(key: str | None, event: Event) -> bool:
    if key is None:
        return False
    begins = resumed_id(key)
    return event.key == key or (begins is not None and event.id.startswith(begins))


def resume_key(event: Event, seq: int) -> str:
    """Return the key under which an event may be repeated whose fate is open at version ``seq``."""
    return event.key or f"{event.id[:16]}.{seq}"


def stands_for(key: str, txn: Mapping[str, Any]) -> bool:
    """Whether a key is that of a transaction, or repeats one whose outcome was unknown."""
    begins = resumed_id(key)
    return txn.get("key") == key or (begins is not None and txn["id"].startswith(begins))


def resumed_id(key: str) -> str | None:
    """Return how the id begins for which a key as ``resume_key`` makes it stands."""
    resume = re.fullmatch(_RESUME, key)
    return None if resume is None else resume[1]


def is_same(one: Event, other: Event) -> bool:
    """Whether two events are the same, or two tries of one command under its idempotency key."""
    return one.id == other.id or (
        one.agent == other.agent and (_stands_for(one.key, other) or _stands_for(other.key, one))
    )


def _create(client: Client, key: str, raw: bytes) -> Protocol[Found]:
    """Create the binding; whatever is there in the end binds, whoever made it."""
    failure: StoreError | None = None
    for nth in range(_TRIES_MAX):
        try:
            created = yield Create(key, raw)
            if created.outcome is Outcome.WON:
                return Found(raw, created.stored or Stamp(""))
            found = yield Get(key)
            if found is not None:
                return found  # type: ignore[no-any-return]
        except StoreError as error:
            if nth == 0:
                raise
            failure = error
        yield Sleep(client.backoff(nth + 2))
    # Of the command itself nothing was tried.
    raise failure or StoreUnreachable(
        f"the store says both that {key} exists and that it does not", hint="tclog doctor"
    )
