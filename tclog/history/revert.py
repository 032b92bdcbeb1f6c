"""Revert: one more event that restores what an event changed; nothing is taken out of the log.

The new event names the one that it undoes in the field ``reverts`` of its body. It is refused where
a later event changed the same thing, because it would silently undo that too, unless it is forced;
and where there is no way back, with the reason and the command that helps instead.

An event of a transaction is reverted with all others of it, in one transaction, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from tclog.chain import show
from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import fold, place_of, rules_of, state_of
from tclog.chain.once import Once, once
from tclog.chain.read import read_standing
from tclog.chain.transact import transact
from tclog.chain.view import Act
from tclog.domain import op_of
from tclog.domain.decision import Decision, Draft, NoWayBack, Op, Past, Place, Unchanged, Undo
from tclog.errors import Refused, quote
from tclog.event import ChainId, Event, Version, chain_kind, chain_name
from tclog.history.moments import need_id
from tclog.history.snapshot import END, Snapshot, show_chain
from tclog.index import Commit, Index
from tclog.sync.audit import vain_events


class Reverted(NamedTuple):
    """What a revert did: the event undone, and its object now; not ``written`` if it was so.

    ``others`` are the objects that the event's transaction changed besides.
    """

    event: Event
    shown: Snapshot
    written: bool
    others: Sequence[Snapshot] = ()

    def as_json(self) -> dict[str, Any]:
        """The object after the change, which event was undone, and what was undone with it."""
        also = {"others": list(self.others)} if self.others else {}
        return {**self.shown, "reverts": self.event.id, **also}


def revert_event(
    client: Client, index: Index, prefix: str, *, force: bool = False, id_key: str | None = None
) -> Protocol[Reverted]:
    """Restore what an event changed.

    Args:
        client: who acts.
        index: the log, up to date.
        prefix: the beginning of the event's id, or of its version's.
        force: also where later events changed the same since, which are undone with it.
        id_key: the idempotency key.

    Raises:
        NotFound: no id begins so.
        Refused: ``revert-conflict``: changed since, by whom; ``not-revertible``: why, what instead.
    """
    commit = _find(index, prefix)
    event = commit.event
    if _around(index, commit)[0].voids:
        _refuse(event, "junk that was ended stays ended")
    if _is_vain(index, commit):
        _refuse(event, f"it was not allowed at its place, version {commit.seq}, and had no effect")
    bound = once(id_key, {"op": "revert", "id": event.id, "force": force})
    whole = _of_transaction(index, commit)
    if len(whole) > 1:
        return (yield from _revert_all(client, index, commit, whole, force, bound))
    decide = _undoing(client, index, commit, force=force)
    done: Appended = yield from append(client, commit.chain, decide, once=bound)
    assert done.version is not None  # noqa: S101 - the event itself stands in one
    shown = yield from _shown(client, index, done.version)
    return Reverted(event, shown, done.changed)


def _undoing(client: Client, index: Index, commit: Commit, *, force: bool) -> Undo:
    """Return the decision that undoes an event, or refuses to, wherever its chain has got to."""
    version, before = _around(index, commit)
    earlier = version.events[: commit.place]
    state = fold(
        commit.chain,
        state_of(commit.chain, before),
        earlier,
        place_of(version, before),
        version.merge,
    )
    undo = _way_back(client, commit, state)
    later = None if force else _later(index, commit, version)
    head = index.version(commit.chain, index.head(commit.chain))
    # Versions that change nothing do not count: a sync may never have found them.
    known = 0 if head is None else head.base

    def decide(now: Any, place: Place) -> Decision:
        if later is not None:
            return _conflict(commit, later)
        if not force and place.base != known:
            return Refused(
                f"{commit.chain} was changed meanwhile",
                code="revert-conflict",
                hint=f"tclog log --chain {quote(commit.chain)} -n 5",
            )
        decision = undo(now, place)
        draft = decision.draft if isinstance(decision, Unchanged) else decision
        if not isinstance(draft, Draft):
            return decision
        draft = draft._replace(body={**draft.body, "reverts": commit.event.id})
        return Unchanged(draft) if isinstance(decision, Unchanged) else draft

    return decide


def _around(index: Index, commit: Commit) -> tuple[Version, Version | None]:
    """Return the version of a committed event, and the one before."""
    version = index.version(commit.chain, commit.seq)
    assert version is not None  # noqa: S101 - the index holds the versions of its events
    return version, index.version_up_to(commit.chain, commit.seq - 1)


def _is_vain(index: Index, commit: Commit) -> bool:
    version, before = _around(index, commit)
    return commit.event in vain_events(before, version)


# -- transactions ---------------------------------------------------------------------------------


def _of_transaction(index: Index, commit: Commit) -> list[Commit]:
    """Return the first effective event of the same transaction in each chain, the rest with it.

    To undo the first one of a key is to undo all of them. Other things have one only.
    """
    version, _ = _around(index, commit)
    if version.txn is None:
        return [commit]
    named = [event for event in version.txn["events"] if event is not None]
    found: dict[ChainId, Commit] = {}
    for one in [place for event in named for place in index.places(event)]:
        if _is_vain(index, one):
            continue
        first = found.setdefault(one.chain, one)
        if first is not one and not rules_of(one.chain).restored:
            _refuse(
                commit.event,
                f"it is part of a transaction, which did several things to {one.chain}",
            )
    return list(found.values())


def _revert_all(
    client: Client,
    index: Index,
    commit: Commit,
    whole: Sequence[Commit],
    force: bool,
    bound: Once | None,
) -> Protocol[Reverted]:
    """Revert all that a transaction did, in one transaction."""
    event = commit.event
    try:
        acts = [_act(one.chain, _undoing(client, index, one, force=force)) for one in whole]
        done = yield from transact(client, acts, once=bound)
    except Refused as refused:
        raise Refused(
            f"{event.op} {event.id[:12]} is part of a transaction, which is reverted as a whole:"
            f" {refused.message}",
            code=refused.code,
            hint=refused.hint,
            **refused.details,
        ) from None
    objects = []
    for one in whole:
        version = done.versions[one.chain]
        assert version is not None  # noqa: S101 - the event itself stands in one
        objects.append((yield from _shown(client, index, version)))
    own = next(nth for nth, one in enumerate(whole) if one.chain == commit.chain)
    others = [shown for nth, shown in enumerate(objects) if nth != own]
    return Reverted(event, objects[own], any(done.events), others)


def _find(index: Index, prefix: str) -> Commit:
    """Return the event, in its only place."""
    found = need_id(index, prefix)
    if isinstance(found, Version):
        if len(found.events) != 1:
            raise Refused(
                f"version {found.seq} of {found.chain} holds {len(found.events)} events",
                code="not-revertible",
                hint=f"tclog show {found.id[:12]}",
            )
        found = found.events[0].id
    places = index.places(found)
    if not places:
        attempt = index.attempt(found)
        assert attempt is not None  # noqa: S101 - the id was found in the index
        _refuse(attempt.event, "it was never committed")
    return places[0]


def _act(chain: ChainId, decide: Undo) -> Act:
    return Act(chain, lambda view: view.apply((chain,), decide))


def _refuse(event: Event, why: str, hint: str = "") -> NoReturn:
    raise Refused(
        f"{event.op} {event.id[:12]} by {event.agent} cannot be reverted: {why}",
        code="not-revertible",
        hint=hint or f"tclog show {event.id[:12]}",
        id=event.id,
        op=event.op,
    )


# -- later events ---------------------------------------------------------------------------------


def _later(index: Index, commit: Commit, version: Version) -> Commit | None:
    """Return the newest later event that changed the same; those that had no effect do not."""
    beside = _known(commit.event).beside
    # What its own transaction did to the same is undone with it.
    first = commit.seq if version.txn is None else commit.seq + 1
    for seq in range(index.head(commit.chain), first - 1, -1):
        here = version if seq == commit.seq else index.version(commit.chain, seq)
        if here is None:
            continue  # a slot with junk that was ended
        before = index.version_up_to(commit.chain, seq - 1)
        vain = list(vain_events(before, here))
        first = commit.place + 1 if seq == commit.seq else 0
        for place in range(len(here.events) - 1, first - 1, -1):
            event = here.events[place]
            if event not in vain and event.op not in beside:
                return Commit(here.moment, commit.chain, seq, place, event)
    return None


def _conflict(commit: Commit, later: Commit) -> Refused:
    name = chain_name(commit.chain)
    instead = _known(commit.event).instead(commit.event, name)
    return Refused(
        f"{commit.chain} was changed since, by {later.event.agent} ({later.event.op}"
        f" {later.event.id[:12]}, version {later.seq}, {later.at[:27]});"
        " --force undoes that too",
        code="revert-conflict",
        hint=instead or f"tclog show {later.event.id[:12]}",
        id=later.event.id,
        agent=later.event.agent,
        op=later.event.op,
        version=later.seq,
        at=later.at[:27],
    )


# -- the way back ---------------------------------------------------------------------------------


def _way_back(client: Client, commit: Commit, state: Any) -> Undo:
    """Return what undoes an event: a decision on the state now, by the state before the event."""
    event, name = commit.event, chain_name(commit.chain)
    way = _known(event).undo
    past = Past(event, name, commit.seq, state, client.agent)
    undo = way if isinstance(way, NoWayBack) else way(past)
    if isinstance(undo, NoWayBack):
        _refuse(event, undo.why, undo.hint(event, name))
    return undo


def _known(event: Event) -> Op:
    known = op_of(event.op)
    assert known is not None  # noqa: S101 - an unknown op has no effect, so it is refused before
    return known


def _shown(client: Client, index: Index, version: Version) -> Protocol[Snapshot]:
    """Return the object after the change, also where nothing is left to show."""
    chain: ChainId = version.chain
    name = chain_name(chain)
    match chain_kind(chain):
        case "memory":
            # Where nothing had to be written, the newest version may be one that changes nothing.
            standing = yield from read_standing(client, version)
            assert standing is not None  # noqa: S101 - the event itself stands in one
            memory = yield from show.show_memory(standing, committed=True)
            return memory.as_json()
        case "tag":
            return show.show_tag(version).as_json()
        case "step":
            shown = yield from show_chain(index, chain, version, END)
            return shown or show.show_step(name, version, state_of(chain, version), ()).as_json()
    shown = yield from show_chain(index, chain, version, END)
    assert shown is not None  # noqa: S101 - an artifact always has an object
    return shown
