"""Whether the events of one version follow the rules, and which blobs it names.

The fold ignores an event that was not allowed at its place, so a client that breaks a rule gains
nothing by it. Clients that keep to the rules never write such an event: one that is found was
written by hand, or by a client with a bug.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tclog.chain.fold import evolve, is_ignored, merged, place_of, rules_of, state_of, takes_in
from tclog.domain import misfit, op_of
from tclog.domain.decision import Place
from tclog.event import ALL, VOID, BlobHash, Event, Version
from tclog.event.envelopes import check_of

_DEPTH_MAX = 100


def op_elsewhere(op: str) -> bool:
    """Whether an op belongs to some kind of chain that this client knows."""
    return op != VOID and op_of(op) is not None


def ignored_events(before: Version | None, version: Version) -> Iterator[Event]:
    """Yield the events of a version that the fold ignores: they were not allowed at their place."""
    ops = rules_of(version.chain).ops
    for event, state, place in in_turn(before, version):
        known = ops.get(event.op)
        if known is None:
            continue
        if misfit(event, version.chain) is not None:
            yield event
        elif event.key is not None and known.is_idle(state, event):
            # It was committed all the same, so that the key is found.
            continue
        elif is_ignored(version.chain, state, event, place):
            yield event


def vain_events(before: Version | None, version: Version) -> Iterator[Event]:
    """Yield the events that changed nothing: those ignored, unknown, or that delete nothing."""
    ops = rules_of(version.chain).ops
    for event, state, place in in_turn(before, version):
        known = ops.get(event.op)
        vain = known is None or misfit(event, version.chain) is not None
        vain = vain or (known is not None and known.is_idle(state, event))
        if vain or is_ignored(version.chain, state, event, place):
            yield event


def in_turn(before: Version | None, version: Version) -> Iterator[tuple[Event, Any, Place]]:
    """Yield each event of a version with the state that it finds, and its place."""
    state = state_of(version.chain, before)
    if version.merge is not None:
        state = merged(version.chain, state, version.merge)
    for index, event in enumerate(version.events):
        place = place_of(version, before)._replace(index=index)
        yield event, state, place
        state = evolve(version.chain, state, event, place)


def merge_error(before: Version | None, version: Version) -> str:
    """Say what is wrong with a version's merge by itself; empty if nothing is."""
    merge = version.merge
    if merge is None:
        return ""
    if not takes_in(version.chain) or merge.get("chain") != ALL:
        return "takes in messages where there is nothing to take in"
    numbers = [merge.get(name) for name in ("after", "through", "count", "taken")]
    if any(type(number) is not int for number in numbers):
        return "has a merge that is none"
    state = state_of(version.chain, before)
    if merge["after"] != state.all_version or merge["through"] <= state.all_version:
        return (
            f"takes in the broadcasts after version {merge['after']} of {ALL}, but the version"
            f" before had them up to {state.all_version}"
        )
    if merge["taken"] != merge["count"] - state.all_count:
        return f"says that it takes in {merge['taken']} broadcasts, which its numbers do not give"
    return ""


def blobs_in(record: Any, depth: int = 0) -> Iterator[tuple[BlobHash, int]]:
    """Yield the blobs, with sizes, that a body or a state names, whatever fields it has.

    What a user's JSON value happens to look like names nothing: it stands inside a content.
    """
    if not isinstance(record, Mapping) or depth >= _DEPTH_MAX:
        return
    if _names_blob(record):
        yield BlobHash(record["blob"]), record["size"]
    elif record.get("type") in ("text", "json"):
        parts = record.get("parts")
        for part in parts if isinstance(parts, list) else ():
            if _names_blob(part):
                yield BlobHash(part["blob"]), part["size"]
    else:
        for value in record.values():
            yield from blobs_in(value, depth + 1)


def _names_blob(record: Any) -> bool:
    return check_of("blob")(record) is None
