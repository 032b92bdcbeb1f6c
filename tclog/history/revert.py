"""Revert: one more event that restores what an event changed; nothing is taken out of the log.

The new event names the one that it undoes in the field ``reverts`` of its body. It is refused where
a later event changed the same thing, because it would silently undo that too, unless it is forced;
and where there is no way back, with the reason and the command that helps instead.

An event of a transaction is reverted with all others of it, in one transaction, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from tclog.chain import show
from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import fold, place_of, state_of
from tclog.chain.once import Once, once
from tclog.chain.read import read_standing
from tclog.chain.transact import transact
from tclog.chain.view import Act
from tclog.domain import steps
from tclog.domain.decision import Decision, Draft, Place, Unchanged
from tclog.errors import Refused, quote, to_run
from tclog.event import ChainId, Event, Version, chain_kind, chain_name, encode
from tclog.history.moments import need_id
from tclog.history.snapshot import END, Snapshot, show_chain
from tclog.index import Commit, Index
from tclog.sync.audit import vain_events

# Why there is no way back from an op, and what to do instead.
NO_WAY_BACK: Mapping[str, tuple[str, Callable[[Event, str], str]]] = {
    "message.send": (
        "a sent message cannot be taken back; send another with --reply-to",
        lambda event, _: to_run("tclog show", event.id[:12]),
    ),
    "message.ack": (
        "an acknowledged message stays acknowledged; it can be shown again",
        lambda *_: "tclog inbox --all",
    ),
    "step.takeover": (
        "the claim before it had lapsed",
        lambda _, name: to_run("tclog step show", name),
    ),
    "step.move": (
        "a stale fencing token stays stale",
        lambda _, name: to_run("tclog step show", name),
    ),
    "step.renew": (
        "a lease runs on",
        lambda _, name: to_run("tclog step show", name),
    ),
    "step.note": (
        "a note cannot be taken back; add another note",
        lambda _, name: to_run("tclog step show", name),
    ),
    "step.release": (
        "nobody else can claim for the holder",
        lambda _, name: to_run("tclog claim", name),
    ),
    "step.reopen": (
        "only an agent that works on a step can end it",
        lambda _, name: to_run("tclog claim", name),
    ),
    "step.withdraw": (
        "a step is defined by adding it",
        lambda _, name: to_run("tclog step add", name),
    ),
    "barrier.arrive": (
        "others may have gone on because of it",
        lambda event, _: to_run("tclog show", event.id[:12]),
    ),
    "barrier.leave": (
        "only the agent itself can arrive again",
        lambda event, _: to_run("tclog show", event.id[:12]),
    ),
    "agent.join": ("an agent cannot be removed from the past", lambda *_: "tclog agents"),
}
# What happens to a step without changing what another event did to it.
_BESIDE: Mapping[str, frozenset[str]] = {
    "step.complete": frozenset({"step.note"}),
    "step.add": frozenset({"step.note"}),
    "step.claim": frozenset({"step.note", "step.renew"}),
}

Undo = Callable[[Any, Place], Decision]


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

    To undo the first one of a key is to undo all of them; of other things there is one only.
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
        if first is not one and chain_kind(one.chain) != "memory":
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
    beside = _BESIDE.get(commit.event.op, frozenset())
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
    hint = f"tclog show {later.event.id[:12]}"
    if commit.event.op == "memory.incr":
        hint = to_run("tclog memory incr", name, then=f"--by {-commit.event.body['by']}")
    return Refused(
        f"{commit.chain} was changed since, by {later.event.agent} ({later.event.op}"
        f" {later.event.id[:12]}, version {later.seq}, {later.at[:27]});"
        " --force undoes that too",
        code="revert-conflict",
        hint=hint,
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
    match chain_kind(commit.chain):
        case "memory":
            return lambda now, place: _restore_value(now, place, state.content)
        case "tag":
            return lambda now, _: _restore_tag(now, state.at)
        case "artifact":
            if state.blob is None:
                hint = to_run("tclog artifact history", name)
                _refuse(event, "there was no version before, and artifacts are kept", hint)
            body = {k: v for k, v in state._asdict().items() if v is not None}
            put = Draft("artifact.put", body)
            return lambda now, _: Unchanged(put) if now == state else put
        case "step" if event.op == "step.complete":
            return lambda now, place: steps.decide(now, steps.Reopen(name), place)
        case "step" if event.op == "step.claim":
            if event.agent != client.agent:
                hint = to_run("tclog step show", name)
                _refuse(event, f"only {event.agent} can give the claim back", hint)
            release = steps.Release(name, client.agent, commit.seq)
            return lambda now, place: steps.decide(now, release, place)
        case "step" if event.op == "step.add":
            return lambda now, place: _withdraw(client, event, name, now, place)
    why, hint = NO_WAY_BACK.get(event.op, ("there is no way back from it", lambda *_: ""))
    _refuse(event, why, hint(event, name))


def _restore_value(now: Any, place: Place, content: Mapping[str, Any] | None) -> Decision:
    expect = {"version": place.base}
    if content is None:
        delete = Draft("memory.delete", {}, expect)
        return Unchanged(delete) if now.content is None else delete
    plain = _plain(content)
    restore = Draft("memory.set", plain, expect)
    # Not the values themselves: to Python true is 1.
    same = now.content is not None and encode(_plain(now.content)) == encode(plain)
    return Unchanged(restore) if same else restore


def _plain(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in content.items() if key != "reverts"}


def _restore_tag(now: Any, at: str | None) -> Decision:
    restore = Draft("tag.delete", {}) if at is None else Draft("tag.set", {"at": at})
    return Unchanged(restore) if now.at == at else restore


def _withdraw(client: Client, event: Event, step: str, now: steps.State, place: Place) -> Decision:
    if not now.added:
        return Unchanged(Draft("step.withdraw", {}))
    decision = steps.decide(now, steps.Withdraw(step, client.agent), place)
    if isinstance(decision, Draft):
        return decision
    who = f"only {now.added_by} can take its definition back"
    why = who if now.added_by != client.agent else f"it is {now.state}"
    return Refused(
        f"step.add {event.id[:12]} of step {step} cannot be reverted: {why}",
        code="not-revertible",
        hint=to_run("tclog step show", step),
    )


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
