"""Inboxes: one total order per recipient, with broadcasts merged in, and acknowledgements.

Three chains take part. ``inbox/NAME`` holds direct messages and, by reference, ranges of
``inbox/@all``; the number of a message is its place in that order, the same for every reader.
``inbox/@all`` holds broadcasts. ``read/NAME`` holds what its owner acknowledged. Reading changes
none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.domain.content import words_of
from tclog.domain.decision import Decision, Draft, Kind, NoWayBack, Op, Place, Unchanged
from tclog.errors import to_run
from tclog.event import ALL
from tclog.event.bodies import SHORT, body
from tclog.event.envelopes import array, ref, struct
from tclog.event.records import VOID, Event


class State(NamedTuple):
    """An inbox: ``count`` messages, of which those of ``@all`` up to a version are merged.

    ``all_version`` and ``all_count`` say how far ``inbox/@all`` has been taken in: its version
    and the number of broadcasts up to it. Both stay 0 in ``inbox/@all`` itself.
    """

    count: int = 0  # type: ignore[assignment]  # shadows tuple.count; the name is in the format
    all_version: int = 0
    all_count: int = 0


EMPTY = State()


class Send(NamedTuple):
    """Send a message; ``body`` is its content with ``to`` and links."""

    body: Mapping[str, Any]


def decide(state: State, command: Send, place: Place) -> Decision:  # noqa: ARG001 - one shape for all
    """Anybody may send to anybody."""
    return Draft("message.send", command.body)


def evolve(state: State, event: Event, place: Place) -> State:
    """Fold one event: a message takes the next number.

    Numbers of broadcasts that inboxes took in from what is junk by now are not given again.
    """
    if event.op == "message.send":
        return State(state.count + 1, state.all_version, state.all_count)
    if event.op == VOID and place.voided and ALL in event.chains:
        return state._replace(count=state.count + event.body.get("lost", 0))
    return state


def merge(state: State, all_version: int, all_count: int) -> State:
    """Take in the broadcasts up to a version of ``inbox/@all``; never goes back.

    Nor do the numbers, where broadcasts that were taken in have become junk that was ended.
    """
    if all_version <= state.all_version:
        return state
    return State(state.count + max(0, all_count - state.all_count), all_version, all_count)


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON."""
    return {key: value for key, value in zip(State._fields, state, strict=True) if value}


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:  # noqa: ARG001 - one shape for all
    """Read what ``pack`` wrote."""
    return State(packed.get("count", 0), packed.get("all_version", 0), packed.get("all_count", 0))


# -- acknowledgements -----------------------------------------------------------------------------

Range = tuple[int, int]


class Read(NamedTuple):
    """What an agent has acknowledged: sorted, disjoint, inclusive ranges of numbers.

    ``version`` is a version of the inbox up to which every message is acknowledged, as far as the
    acknowledging side knew; readers may begin there.
    """

    ranges: tuple[Range, ...] = ()
    version: int = 0

    def covers(self, number: int) -> bool:
        """Whether a message is acknowledged."""
        return any(first <= number <= last for first, last in self.ranges)

    @property
    def floor(self) -> int:
        """The number up to which everything is acknowledged."""
        return self.ranges[0][1] if self.ranges and self.ranges[0][0] == 1 else 0


class Ack(NamedTuple):
    """Acknowledge messages by number."""

    ranges: tuple[Range, ...]
    version: int = 0


READ_EMPTY = Read()


def decide_ack(state: Read, command: Ack, place: Place) -> Decision:  # noqa: ARG001 - one shape for all
    """Acknowledging twice changes nothing."""
    ack = Draft(
        "message.ack",
        {"ranges": [list(row) for row in command.ranges], "version": command.version},
    )
    told = join(state.ranges, command.ranges) == state.ranges and command.version <= state.version
    return Unchanged(ack) if told else ack


def evolve_ack(state: Read, event: Event, place: Place) -> Read:  # noqa: ARG001 - one shape for all
    """Fold one acknowledgement; they only ever add up."""
    if event.op != "message.ack":
        return state
    body = event.body
    return Read(
        join(state.ranges, ((row[0], row[1]) for row in body["ranges"])),
        max(state.version, body.get("version", 0)),
    )


def pack_read(state: Read, events: Sequence[Event]) -> Mapping[str, Any]:  # noqa: ARG001 - one shape for all
    """Write the state as JSON."""
    return {"ranges": [list(row) for row in state.ranges], "version": state.version}


def unpack_read(packed: Mapping[str, Any], events: Sequence[Event]) -> Read:  # noqa: ARG001 - one shape for all
    """Read what ``pack_read`` wrote."""
    return Read(
        tuple((row[0], row[1]) for row in packed.get("ranges", [])), packed.get("version", 0)
    )


def join(ranges: Iterable[Range], more: Iterable[Range]) -> tuple[Range, ...]:
    """Unite ranges: sorted, disjoint, neighbours joined."""
    joined: list[Range] = []
    for first, last in sorted([*ranges, *more]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)


# -- what the other layers ask --------------------------------------------------------------------


def _words_of_send(event: Event) -> str:
    body = event.body
    return f"to {', '.join(body.get('to', []))}: {words_of(body.get('text', {}))}"


def _words_of_ack(event: Event) -> str:
    ranges = event.body.get("ranges", [])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def _backward(body: Mapping[str, Any]) -> str | None:
    backward = any(first > last for first, last in body["ranges"])
    return ".ranges has one that ends before it begins" if backward else None


_SEND = Op(
    body(
        "text to",
        answer=SHORT,
        choices=array(SHORT, 20),
        deadline=ref("stamp"),
        intent={"enum": ["ack", "inform", "request"]},
        reply_to={"type": "string", "maxLength": 200},
        step=ref("step"),
        text=ref("text"),
        thread={"type": "string", "maxLength": 200},
        to=array(ref("recipient"), 100, minItems=1, uniqueItems=True),
        urgent={"type": "boolean"},
    ),
    _words_of_send,
    NoWayBack(
        "a sent message cannot be taken back; send another with --reply-to",
        lambda event, _: to_run("tclog show", event.id[:12]),
    ),
    common=True,
)
_ACK = Op(
    body("ranges", ranges=ref("ranges"), version=ref("before")),
    _words_of_ack,
    NoWayBack(
        "an acknowledged message stays acknowledged; it can be shown again",
        lambda *_: "tclog inbox --all",
    ),
    common=True,
    misfit=_backward,
)
KINDS = {
    "inbox": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct("", all_count=ref("count"), all_version=ref("before"), count=ref("count")),
        {"message.send": _SEND},
        group="inboxes",
        file="{}/inbox.json",
        tallied=False,
        merge=merge,
    ),
    "read": Kind(
        READ_EMPTY,
        decide_ack,
        evolve_ack,
        pack_read,
        unpack_read,
        struct("", ranges=ref("ranges"), version=ref("before")),
        {"message.ack": _ACK},
        group="inboxes",
        file="{}/read.json",
        tallied=False,
    ),
}
