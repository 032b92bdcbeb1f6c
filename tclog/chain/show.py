"""What a version shows: the results of ``tclog.chain.results``, made from versions.

The commands that act and the history tools show the same objects, so both make them here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tclog.chain.blobs import read_content
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.results import Artifact, Barrier, Memory, Message, Step, Tag
from tclog.clock import Hlc, format_us, parse_us, rfc3339
from tclog.domain import counting
from tclog.errors import StoreError
from tclog.event import Event, Version, chain_name

if TYPE_CHECKING:
    from tclog.domain import artifacts, steps


def show_memory(
    version: Version, *, read: bool = True, committed: bool = False
) -> Protocol[Memory]:
    """Make the result of a key at a version; without ``read`` large values stay unread.

    What was just ``committed`` is never reported as failed: should the store be gone when a large
    value is read for the answer, the answer goes without the value.
    """
    state = state_of(version.chain, version)
    event = version.events[-1]
    deleted = state.content is None
    value = None
    if read and not deleted:
        try:
            value = yield from read_content(state.content)
        except StoreError:
            if not committed:
                raise
    return Memory(
        key=chain_name(version.chain),
        value=value,
        type="text" if deleted else state.content["type"],
        version=version.seq,
        agent=event.agent,
        at=rfc3339(version.at),
        id=event.id,
        deleted=deleted,
        op=event.op,
    )


def show_step(
    step: str, head: Version | None, state: steps.State, waiting: tuple[str, ...]
) -> Step:
    """Make the result of one step from its head and state; reads nothing."""
    # Loaded here, because what shows a value or a message does without the rules of steps.
    from tclog.domain import steps

    lease_until = None
    if state.state == steps.CLAIMED and head is not None:
        ends_us = steps.lease_ends_us(state, head.seq, head.stored, head.at)
        if ends_us is None:
            # The store has not told the stamp of what was just written; the log's own stamp of it
            # is earlier, so the lease ends no sooner than this.
            ends_us = parse_us(head.at) + state.lease_ms * 1000
        lease_until = format_us(ends_us)
    return Step(
        id=step,
        state=steps.shown_state(state, waiting),
        agent=state.agent,
        fence=state.fence,
        lease_until=lease_until,
        version=0 if head is None else head.base,
        title=state.title,
        priority=state.priority,
        after=state.after,
        waiting=waiting,
        at=None if head is None else rfc3339(head.at),
        session=state.session,
    )


def show_notes(
    result: Step,
    head: Version,
    state: steps.State,
    read_version: Callable[[int], Protocol[Version]],
) -> Protocol[Step]:
    """Add a step's last note and hand-off, which its state only points at."""

    def at(seq: int) -> Protocol[Version]:
        return head if seq == head.seq else (yield from read_version(seq))

    if state.note_version:
        version = yield from at(state.note_version)
        for event in counting(version):
            if event.op == "step.note":
                text = yield from read_content(event.body["note"])
                result = result._replace(note=text, note_by=event.agent)
    if state.handoff_version:
        version = yield from at(state.handoff_version)
        for event in counting(version):
            if event.op == "step.complete" and "handoff" in event.body:
                opened = yield from read_handoff(event.body["handoff"])
                result = result._replace(handoff={"from": event.agent, **opened})
    return result


def read_handoff(handoff: Mapping[str, Any]) -> Protocol[dict[str, Any]]:
    """Return a recorded hand-off with its note and file list in full."""
    opened: dict[str, Any] = dict(handoff)
    for name in ("note", "changed_files"):
        if name in opened:
            opened[name] = yield from read_content(opened[name])
    return opened


def show_artifact(version: Version) -> Artifact:
    """Make the result of an artifact's name at a version; reads nothing."""
    state: artifacts.State = state_of(version.chain, version)
    return Artifact(
        name=chain_name(version.chain),
        version=version.seq,
        size=state.size,
        blake3=state.blob or "",
        agent=version.events[-1].agent,
        at=rfc3339(version.at),
        step=state.step,
    )


def show_message(
    event: Event, n: int, *, unread: bool, text: str | None = None
) -> Protocol[Message]:
    """Make the result of a message; ``n`` is its place in the inbox it is read from, 0 if none.

    Who has just sent it gives the ``text``: nothing is read then that might fail.
    """
    body = event.body
    return Message(
        n=n,
        id=event.id,
        sender=event.agent,
        to=",".join(body["to"]),
        text=(yield from read_content(body["text"])) if text is None else text,
        at=rfc3339(event.at),
        reply_to=body.get("reply_to"),
        step=body.get("step"),
        unread=unread,
    )


def show_barrier(version: Version) -> Barrier:
    """Make the result of a barrier at a version: the generation that is forming then."""
    state = state_of(version.chain, version)
    return Barrier(
        name=chain_name(version.chain),
        generation=state.generation,
        parties=state.parties,
        arrived=state.arrived,
        tripped=False,
        version=version.seq,
    )


def show_tag(version: Version) -> Tag:
    """Make the result of a tag at a version; one that was taken away has ``deleted``."""
    at: Hlc | None = state_of(version.chain, version).at
    event = version.events[-1]
    return Tag(
        name=chain_name(version.chain),
        hlc=at,
        version=version.seq,
        agent=event.agent,
        at=rfc3339(version.at),
        id=event.id,
        deleted=at is None,
    )
