"""Whether the store is still the one that this machine remembers.

A remembered version is checked by its bytes, never by its number. A folder is asked at each use
(``tclog.chain.heads``). In a bucket ``guard`` looks once a minute at the newest version that this
machine remembers of the project, beside another request. A store that was set back to an older copy
lacks that one first. Each version that is read is compared with the one before it by ``prev``. If
they do not fit, ``guard`` finds out which of the two the store lacks.

An object that was just put, or that other objects name, exists. If the store says that it does not,
the client asks again, and decides nothing on that answer.

Before a write, ``guard`` makes sure that the store was tried within a day (``tclog.chain.fit``).

Nothing here accepts a store. ``tclog trust accept`` does, and forgets what is remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.chain.remembered import Remembered, described, difference, is_same, words_of
from tclog.chain.slots import LOOK_PAUSE_S, LOOKS, newest_slot, read_present
from tclog.clock import Stamp
from tclog.errors import Damaged, Forked, RolledBack, StoreError, StoreUnreachable
from tclog.event import ChainId, Version, chain_folder, decode_version, slot_key
from tclog.store.base import Create, Found, Get, Keep, Put, PutFile, Request, Stat

# After a create or an announcement the outcome may be open for so long; its answer goes first.
QUIET_S = 120.0


def guard(client: Client, protocol: Protocol[Any]) -> Protocol[Any]:
    """Run an operation; beside its requests look, when that is due, whether the store was set back.

    Raises:
        Forked, RolledBack: the store does not hold a version that this machine remembers.
    """
    try:
        return (yield from _guarded(client, protocol))
    except RolledBack as error:
        yield from _say_newest(error)
        raise
    except Forked:
        raise
    except Damaged as damage:
        yield from _explain(client, damage)
        raise
    finally:
        protocol.close()


def _guarded(client: Client, protocol: Protocol[Any]) -> Protocol[Any]:
    quiet_s, tried = 0.0, False
    act: Any = protocol.send
    argument: Any = None
    while True:
        try:
            step = act(argument)
        except StopIteration as end:
            return end.value
        due: Sequence[Version] = ()
        if not tried and _any(step, (Create, Put, Keep, PutFile)):
            tried = True
            if client.heads.fitness(client.monotonic_s()) != "":
                from tclog.chain.fit import check_fit

                yield from check_fit(client)
        if type(step) is not Sleep:
            now_s = client.monotonic_s()
            # What is announced may be committed by others, as what is created.
            if _any(step, (Create, Put)):
                quiet_s = now_s + QUIET_S
            due = () if now_s < quiet_s else client.heads.due(now_s)
        act = protocol.send
        try:
            argument = (yield from _beside(client, step, due)) if due else (yield step)
        except (StoreError, KeyboardInterrupt) as error:
            act, argument = protocol.throw, error


def _any(step: Any, kinds: tuple[type, ...]) -> bool:
    return any(type(one) in kinds for one in (step if type(step) is tuple else (step,)))


def _beside(client: Client, step: Any, due: Sequence[Version]) -> Protocol[Any]:
    """Send a step together with a look at remembered versions; return the step's own reply."""
    many = type(step) is tuple
    steps: tuple[Request, ...] = step if many else (step,)
    replies = yield (*(Stat(slot_key(one.chain, one.seq)) for one in due), *steps)
    entries, replies = replies[: len(due)], replies[len(due) :]
    now_s = client.monotonic_s()
    # A failure says nothing; it is tried again in a minute.
    answered = not any(isinstance(entry, StoreError) for entry in entries)
    for known, entry in zip(due, entries, strict=True) if answered else ():
        if not is_same(Remembered.of(known), entry):
            answered = (yield from _look_again(client, known)) and answered
    client.heads.looked(now_s, found=answered)
    if many:
        return replies
    if isinstance(replies[0], StoreError):
        raise replies[0]
    return replies[0]


def _look_again(client: Client, witness: Version) -> Protocol[bool]:
    """Read a slot that seems to differ; return whether the store answered."""
    try:
        found = yield from look(Remembered.of(witness))
    except (Forked, RolledBack):
        raise
    except StoreError:
        return False  # the step beside it was answered, and must not be told that it failed
    except Damaged as error:
        # Junk in one slot does not concern the whole store.
        client.warn(f"{slot_key(witness.chain, witness.seq)} is damaged: {error.message}")
    else:
        client.heads.put(witness._replace(stored=found.stored))  # what the next look goes by
    return True


def check(known: Remembered, *, local: bool) -> Protocol[None]:
    """Compare one remembered version with the store: one GET in a folder, in a bucket one HEAD.

    Raises:
        Forked, RolledBack: they differ.
    """
    if local or not is_same(known, (yield Stat(slot_key(known.chain, known.seq)))):
        yield from look(known)


def look(known: Remembered) -> Protocol[Found]:
    """Read the slot of a remembered version; what is absent is asked for again.

    Raises:
        Forked, RolledBack: it holds something else, or nothing.
    """
    found = yield from read_present(slot_key(known.chain, known.seq))
    error = difference(known, found)
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def stamp_of_put(key: str) -> Protocol[Stamp]:
    """Return the stamp of an object that was just put, so it is there.

    Raises:
        StoreUnreachable: the store says again and again that it is not there.
    """
    for nth in range(LOOKS):
        if nth:
            yield Sleep(LOOK_PAUSE_S)
        entry = yield Stat(key)
        if entry is not None and entry.stored is not None:
            return entry.stored  # type: ignore[no-any-return]
        found = yield Get(key)
        if found is not None:
            return found.stored  # type: ignore[no-any-return]
    raise StoreUnreachable(
        f"the store says that {key} does not exist, but it was just written", hint="tclog doctor"
    )


def _say_newest(error: RolledBack) -> Protocol[None]:
    """Add to a missing version which one is the newest that the store has."""
    if "found" in error.details:
        return
    try:
        newest = yield from newest_of(ChainId(error.details["remembered"]["chain"]))
    except (StoreError, Damaged):
        return
    error.details["found"] = newest
    has = "none" if newest is None else f"version {newest['version']} {words_of(newest)}"
    error.message += f": its newest is {has}"


def newest_of(chain: ChainId) -> Protocol[dict[str, Any] | None]:
    """Describe the newest version that the store has of a chain, None if it has none."""
    seq = yield from newest_slot(chain_folder(chain))
    found = (yield Get(slot_key(chain, seq))) if seq else None
    return None if found is None else described(decode_version(found.data, chain=chain, seq=seq))


def _explain(client: Client, damage: Damaged) -> Protocol[None]:
    """Find out whether something looks damaged because the store was set back."""
    suspects = [Remembered.of(version) for version in damage.versions]
    witness = client.heads.witness()
    if witness is not None:
        suspects.append(Remembered.of(witness))
    for known in suspects:
        try:
            found = yield Get(slot_key(known.chain, known.seq))
        except StoreError:
            return
        try:
            error = difference(known, found)
        except Damaged:
            continue  # junk in that slot is another matter
        if error is not None:
            raise error from damage
