"""Memory: versioned values with conflict detection.

Every set, delete, increment and append is one version. A write that was made under an expectation
(``if_version``) is folded only where the expectation holds, so no later reader can be talked into
a lost update. Increment and append are operations: they never conflict with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.domain.content import (
    INLINE_BYTES_MAX,
    Blob,
    Content,
    append_element,
    append_text,
    content_size,
    inline_value,
    words_of,
)
from tclog.domain.decision import (
    Decision,
    Draft,
    Kind,
    Op,
    Past,
    Place,
    Unchanged,
    Undo,
    silent,
)
from tclog.errors import BadValue, Refused, to_run
from tclog.event.bodies import TEXT, body
from tclog.event.canonical import encode
from tclog.event.envelopes import check_of, counted, ref, struct
from tclog.event.records import Event

INTEGER_MAX = 2**63 - 1
APPEND_BYTES_MAX = 64 << 20
# What may stand around the digits of an integer kept as text. A fixed list, because languages
# differ in what else they call white space.
_ASCII_SPACE = " \t\n\v\f\r"


class State(NamedTuple):
    """The fold of one key: ``content`` is None when it was never set or is deleted."""

    content: Content | None = None


EMPTY = State()


class Set(NamedTuple):
    """Set the key. ``if_version`` 0 means: only if the key has no value."""

    content: Content
    if_version: int | None = None


class Delete(NamedTuple):
    """Remove the value; its history stays."""

    if_version: int | None = None


class Incr(NamedTuple):
    """Add to an integer; a key without a value counts as 0."""

    by: int


class Append(NamedTuple):
    """Append to a text, or an element to a JSON array while that is small enough to be inline."""

    added: Content
    separator: str = "\n"


Command = Set | Delete | Incr | Append


def decide(state: State, command: Command, place: Place) -> Decision:
    """Decide on a command that would become the version at ``place``."""
    seq = place.base
    match command:
        case Set(content, if_version):
            return guarded(state, if_version, seq) or Draft(
                "memory.set", content, _expect(if_version)
            )
        case Delete(if_version):
            refused = guarded(state, if_version, seq)
            if refused is not None:
                return refused
            if state.content is None:
                return Unchanged()
            return Draft("memory.delete", {}, _expect(if_version))
        case Incr(by):
            total = _integer(state)
            if total is None:
                return Refused("the value is not an integer", code="not-an-integer")
            if not -INTEGER_MAX <= total + by <= INTEGER_MAX:
                return Refused("the sum does not fit in 64 bits", code="integer-overflow")
            return Draft("memory.incr", {"by": by})
        case Append(added, separator):
            return _unappendable(state, added) or Draft(
                "memory.append", {"added": added, "separator": _between(state, added, separator)}
            )


def _expect(if_version: int | None) -> Mapping[str, Any] | None:
    return None if if_version is None else {"version": if_version}


def _holds(state: State, if_version: int, seq: int) -> bool:
    """Whether an expectation holds: 0 asks for a key without a value, however it came to be so."""
    return state.content is None if if_version == 0 else if_version == seq


def guarded(state: State, if_version: int | None, seq: int) -> Refused | None:
    """Return a refusal if an expectation does not hold; ``seq`` is the version that stands."""
    if if_version is None or _holds(state, if_version, seq):
        return None
    wanted = "no value" if if_version == 0 else f"version {if_version}"
    return Refused(f"expected {wanted}, found version {seq}", code="version-conflict")


def _integer(state: State) -> int | None:
    if state.content is None:
        return 0
    value = state.content.get("value")
    if isinstance(value, bool) or state.content.get("parts"):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and state.content["type"] == "text":
        digits = value.strip(_ASCII_SPACE)
        sign_free = digits[1:] if digits[:1] in ("-", "+") else digits
        if sign_free.isascii() and sign_free.isdigit() and len(sign_free) <= 19:
            return int(digits)
    return None


def _between(state: State, added: Content, separator: str) -> str:
    """Return the separator before an appended text: "" if the value already ends with one.

    The end of a value in a blob is not known here. An empty text still gets its separator.
    """
    tail = "" if state.content is None else state.content.get("value")
    ended = isinstance(tail, str) and tail.endswith(separator) and added.get("value") != ""
    return "" if ended else separator


def _unappendable(state: State, added: Content) -> Refused | None:
    content = state.content
    if content is None:
        return None
    if content["type"] == "text":
        if content_size(content) <= APPEND_BYTES_MAX:
            return None
        return Refused("the value has grown to 64 MiB", code="value-too-large")
    elements = inline_value(content)
    if not isinstance(elements, list):
        return Refused(
            "only text and JSON arrays of up to 16 KiB are appended to", code="not-appendable"
        )
    # An array cannot be continued in blobs as a text can, and a state has to stay small.
    if "blob" in added or content_size(append_element(content, added["value"])) > INLINE_BYTES_MAX:
        return Refused("the JSON array has grown to 16 KiB", code="value-too-large")
    return None


def evolve(state: State, event: Event, place: Place) -> State:
    """Fold one event; one that was not allowed at its place changes nothing."""
    expected = event.expect.get("version")
    if expected is not None and not (place.index == 0 and _holds(state, expected, place.base)):
        return state
    body = event.body
    match event.op:
        case "memory.set":
            return State(body)
        case "memory.delete":
            return EMPTY
        case "memory.incr":
            total = _integer(state)
            if total is None or abs(total + body["by"]) > INTEGER_MAX:
                return state
            return State({"type": "json", "value": total + body["by"]})
        case "memory.append":
            if _unappendable(state, body["added"]) is not None:
                return state
            return State(_appended(state.content, body)[0])
    return state


def _appended(content: Content | None, body: Mapping[str, Any]) -> tuple[Content, list[Blob]]:
    if content is not None and content["type"] == "json":
        return append_element(content, body["added"]["value"]), []
    return append_text(content, body["added"], body["separator"])


def blobs_of(state: State, event: Event) -> list[Blob]:
    """Name the blobs that folding ``event`` onto ``state`` brings into the state."""
    if event.op != "memory.append" or (state.content and state.content["type"] == "json"):
        return []
    return _appended(state.content, event.body)[1]


def pack(state: State, events: Sequence[Event]) -> Mapping[str, Any]:
    """Write the state as JSON; a value that an event of the same version holds is pointed at."""
    if state.content is None:
        return {}
    for index in range(len(events) - 1, -1, -1):
        # Identity, not equality: to Python 1, 1.0 and True are equal, to a reader they are not.
        if events[index].op == "memory.set" and events[index].body is state.content:
            return {"in": index}
    return {"content": state.content}


def unpack(packed: Mapping[str, Any], events: Sequence[Event]) -> State:
    """Read what ``pack`` wrote.

    Raises:
        ValueError: it points at an event that sets no value.
    """
    if "in" in packed:
        index = packed["in"]
        sets = index < len(events) and events[index].op == "memory.set"
        if not sets or check_of("content")(events[index].body) is not None:
            raise ValueError("in points at no event that sets a value")
        return State(events[index].body)
    return State(packed.get("content"))


def _undo(past: Past) -> Undo:
    content: Content | None = past.before.content

    def restore(now: State, place: Place) -> Decision:
        expect = {"version": place.base}
        if content is None:
            delete = Draft("memory.delete", {}, expect)
            return Unchanged(delete) if now.content is None else delete
        plain = _plain(content)
        undo = Draft("memory.set", plain, expect)
        # Not the values themselves: to Python true is 1.
        same = now.content is not None and encode(_plain(now.content)) == encode(plain)
        return Unchanged(undo) if same else undo

    return restore


def _plain(content: Content) -> Content:
    return {key: value for key, value in content.items() if key != "reverts"}


def _words_of_incr(event: Event) -> str:
    by = event.body["by"]
    return f"{by:+d}" if isinstance(by, int) else ""


OPS = {
    "memory.set": Op(ref("content"), lambda event: words_of(event.body), _undo, common=True),
    "memory.delete": Op(
        body(), silent, _undo, is_idle=lambda state, _: bool(state.content is None)
    ),
    "memory.incr": Op(
        body("by", by=counted(-(2**63), 2**63 - 1)),
        _words_of_incr,
        _undo,
        common=True,
        instead=lambda event, key: to_run(
            "tclog memory incr", key, then=f"--by {-event.body['by']}"
        ),
    ),
    "memory.append": Op(
        body("added separator", added=ref("text"), separator=TEXT),
        lambda event: words_of(event.body.get("added", {})),
        _undo,
        common=True,
    ),
}
KINDS = {
    "memory": Kind(
        EMPTY,
        decide,
        evolve,
        pack,
        unpack,
        struct("", **{"in": counted(0, 999)}, content=ref("content")),
        OPS,
        group="memory",
        file="{}",
        tallied=True,
        spilled=blobs_of,
        restored=True,
    )
}


def check_value(kind: str, value: Any) -> None:
    """Refuse what canonical JSON cannot hold unchanged.

    Raises:
        BadValue: text with lone surrogates, integers beyond 64 bits, NaN or infinity.
    """
    if kind == "text":
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadValue(
                "the value is not UTF-8 text; an artifact may hold any bytes",
                hint="tclog artifact put --help",
            ) from None
        return
    problem = _not_exact(value, 0)
    if problem:
        raise BadValue(f"the JSON value cannot be kept exactly, as a text could: {problem}")


_DEPTH_MAX = 100


def _not_exact(value: Any, depth: int) -> str:
    if depth > _DEPTH_MAX:
        return f"it is nested deeper than {_DEPTH_MAX}"
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "an object has a key that is not text"
        children = [*value.keys(), *value.values()]
    elif isinstance(value, list) or type(value) is tuple:
        children = list(value)
    else:
        return _scalar_not_exact(value)
    for child in children:
        problem = _not_exact(child, depth + 1)
        if problem:
            return problem
    return ""


def _scalar_not_exact(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        exact = value.isascii() or value.encode(errors="replace").decode() == value
        return "" if exact else "a text in it is not UTF-8"
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**64 else f"{value} is beyond 64 bits"
    if isinstance(value, float):
        return "" if value - value == 0 else "a number in it is not finite"
    return f"JSON has no form for {type(value).__name__}"
