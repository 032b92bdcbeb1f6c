"""The fold: which rules a chain follows, and the state that a version must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tclog.domain import kind_of, misfit, misfit_state
from tclog.domain.decision import Kind, Place
from tclog.errors import Damaged
from tclog.event import ALL, VOID, ChainId, Event, Version, chain_kind, encode


def rules_of(chain: ChainId) -> Kind:
    """Return the rules of a chain's kind."""
    return kind_of(chain_kind(chain))


def takes_in(chain: ChainId) -> bool:
    """Whether a chain takes broadcasts in; their own chain does not."""
    return chain != ALL and rules_of(chain).merge is not None


def state_of(chain: ChainId, head: Version | None) -> Any:
    """Return the state at a version; the empty state where there is none."""
    rules = rules_of(chain)
    if head is None:
        return rules.empty
    assert head.settled, f"{chain} {head.seq} was not judged"  # noqa: S101 - its state is not known
    why = misfit_state(chain_kind(chain), head.state)
    if why is None:
        try:
            return rules.unpack(head.state, head.events)
        except ValueError as error:
            why = f" {error}"
    raise Damaged(
        f"the state in version {head.seq} of {chain} is not valid: {why.lstrip('.')}",
        hint="tclog fsck",
    )


def fold(
    chain: ChainId,
    state: Any,
    events: Sequence[Event],
    place: Place,
    merge: Mapping[str, Any] | None = None,
) -> Any:
    """Fold one version's merge and events onto the state before it."""
    if merge is not None:
        state = merged(chain, state, merge)
    if not events:
        return rules_of(chain).rest(state, place)
    for index, event in enumerate(events):
        at = place if index == place.index else place._replace(index=index)
        state = evolve(chain, state, event, at)
    return state


def merged(chain: ChainId, state: Any, merge: Mapping[str, Any]) -> Any:
    """Fold the broadcasts that a version takes in."""
    take = rules_of(chain).merge
    assert take is not None, f"{chain} takes no broadcasts in"  # noqa: S101 - decoding refuses these
    return take(state, merge["through"], merge["count"])


def evolve(chain: ChainId, state: Any, event: Event, place: Place) -> Any:
    """Fold one event; one that does not count changes nothing."""
    rules = rules_of(chain)
    if misfit(event, chain) is not None:
        return rules.rest(state, place)
    return rules.evolve(state, event, place)


def is_ignored(chain: ChainId, state: Any, event: Event, place: Place) -> bool:
    """Whether an event changes nothing at its place, because it is not allowed there.

    Rules return the very state that they were given for such an event. One that is allowed makes a
    new state, though it may be equal: setting a value to what it is. What the place alone changes,
    as where each version records a stamp, is done before.
    """
    rested = rules_of(chain).rest(state, place)
    return evolve(chain, rested, event, place) is rested


def place_of(version: Version, before: Version | None) -> Place:
    """Return the place at which a version's events are folded, after the version before it."""
    return Place(
        seq=version.seq,
        prev_stored=version.prev_stored,
        now=version.now,
        at=version.at,
        stands=version.record.get("stands"),
        voided=len(version.voids),
        before_at="" if before is None else before.at,
    )


def place_after(head: Version | None, voided: int = 0) -> Place:
    """Return the place of the version that would follow ``head``, past ``voided`` slots of junk."""
    if head is None:
        return Place(1 + voided, voided=voided)
    seq = head.seq + 1 + voided
    return Place(seq, 0, head.stored, None, "", _stands_after(head), voided, head.at)


def _stands_after(head: Version | None) -> int | None:
    """Return which version stands before the one after ``head``, where that is not ``head``."""
    return head.base if head is not None and head.void else None


def last_txn_after(before: Version | None) -> Mapping[str, Any] | None:
    """Return what a version says of the transactions that its chain was part of before it."""
    return None if before is None else before.last_txn


def unknown_ops(chain: ChainId, version: Version) -> list[str]:
    """Return the ops in a version that this client does not know; they fold to nothing.

    Those reserved for later releases are among them: their rules are not known either.
    """
    known, events = rules_of(chain).ops, version.events
    ops = [op for event in events if (op := event.op) not in known] if events else []
    return [] if ops == [VOID] and version.voids else ops


def verify(chain: ChainId, before: Version | None, version: Version) -> None:
    """Check a version against the one before it: the hash link, the stamps and the fold.

    Raises:
        Damaged: one of them does not hold.
    """
    what = f"version {version.seq} of {chain}"
    seq = 0 if before is None else before.seq
    if version.after < seq:
        raise Damaged(
            f"{what} ends version {seq} as junk, but version {seq} is sound", hint="tclog fsck"
        )
    # The reader of the junk has compared its hash with the one that is named.
    linked = version.voids or version.prev == (None if before is None else before.id)
    if version.after != seq or not linked:
        raise does_not_follow(before, version)
    if before is not None and version.at <= before.at:
        raise Damaged(f"{what} is not later than the version before it", hint="tclog fsck")
    if version.record.get("stands") != _stands_after(before):
        raise Damaged(f"{what} misnames the version that stands before it", hint="tclog fsck")
    if version.record.get("last_txn") != last_txn_after(before):
        raise Damaged(f"{what} misnames the transaction before it", hint="tclog fsck")
    if unknown_ops(chain, version):
        return  # a later client's rules made this state; only it can recompute it
    if not holds_its_state(before, version):
        raise Damaged(f"{what} holds a state that its events do not give", hint="tclog fsck")


def does_not_follow(before: Version | None, version: Version) -> Damaged:
    """Return the error for two versions of which the later does not name the earlier."""
    error = Damaged(
        f"version {version.seq} of {version.chain} does not follow the version before it",
        hint="tclog fsck",
    )
    error.versions = (version,) if before is None else (before, version)
    return error


def holds_its_state(before: Version | None, version: Version) -> bool:
    """Whether a version holds what its events give, and, in a transaction, what it is without."""
    chain, record = version.chain, version.record
    state, place, rules = state_of(chain, before), place_of(version, before), rules_of(chain)
    if not version.aborted:
        folded = fold(chain, state, version.events, place, version.merge)
        if encode(rules.pack(folded, version.events)) != encode(record["state"]):
            return False
    if "otherwise" not in record:
        return True
    return encode(rules.pack(fold(chain, state, (), place), ())) == encode(record["otherwise"])
