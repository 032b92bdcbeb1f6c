"""Settling a slot: create it, and find out whether it was won, lost, or is unknown.

Only a plain success proves the outcome of a create. After any other answer the slot is *read back*.
The client's own bytes mean won, other bytes mean lost. If the slot is absent, the same bytes go to
the same slot again. No other slot is tried while one is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Protocol as Interface

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.chain.once import resume_key
from tclog.errors import OutcomeUnknown, StoreError, quote
from tclog.event import Version, slot_key
from tclog.store.base import Create, Created, Found, Get, Outcome, Request

CREATE_TRIES_MAX = 40
_UNDECIDED_WAIT_S = 0.05


class Racer(Interface):
    """A racer for slots: after a loss it sends more requests beside the read of the winner.

    ``beside`` takes the replies.
    """

    beside: Sequence[Any]

    def asks_beside(self, seq: int) -> tuple[Request, ...]:
        """Return what to ask together with what holds slot ``seq``."""


def settle(client: Client, version: Version, race: Racer | None = None) -> Protocol[Found | None]:
    """Create the version's slot and find the outcome.

    Args:
        client: who acts.
        version: what to put there.
        race: asks more beside the read of the winner, after a loss.

    Returns:
        None if this version is in the slot, otherwise the version of another writer.

    Raises:
        StoreError: the first request was refused for good, so nothing was stored.
        OutcomeUnknown: no decision within ``client.decide_timeout_s``.
    """
    key = slot_key(version.chain, version.seq)
    begun_s = client.monotonic_s()
    cause, undecided = "", False
    for nth in range(CREATE_TRIES_MAX):
        try:
            created: Created = yield Create(key, version.raw)
            if created.outcome is Outcome.WON:
                return None
            cause = created.cause or cause
            undecided = undecided or created.outcome is Outcome.UNKNOWN
            found = yield from _read_back(version, race, created)
        except StoreError as error:
            # A refusal proves that nothing was stored only if nothing was sent before it.
            if not undecided and nth == 0 and not cause:
                raise
            cause, found, undecided = error.message, None, True
        if found is not None:
            return None if found.data == version.raw else found
        if client.monotonic_s() - begun_s > client.decide_timeout_s:
            break
        yield Sleep(_UNDECIDED_WAIT_S * (0.5 + client.jitter()) * min(2**nth, 16))
    raise _unknown(version, cause)


def _read_back(version: Version, race: Racer | None, created: Created) -> Protocol[Found | None]:
    """Read what a version's slot holds; the loser of an exclusive race asks more with it."""
    read = Get(slot_key(version.chain, version.seq))
    if race is not None:
        race.beside = ()
        asks = race.asks_beside(version.seq) if created.outcome is Outcome.EXISTS else ()
        if asks:
            found, *race.beside = yield (read, *asks)
            if isinstance(found, StoreError):
                raise found
            return found  # type: ignore[no-any-return]
    return (yield read)  # type: ignore[no-any-return]


def _unknown(version: Version, cause: str) -> OutcomeUnknown:
    event = version.events[-1] if version.events else None
    again = None if event is None else resume_key(event, version.seq)
    return OutcomeUnknown(
        f"it is not known whether version {version.seq} of {version.chain} was written ({cause})",
        hint=f"run the same command again with --id {quote(again)}"
        if again
        else "run the same command again",
        event=None if event is None else event.id,
        chain=version.chain,
        version=version.seq,
        id_key=again,
    )
