"""Blame: which event each line of a value, or each field of a step, comes from.

It walks back from the version that is asked about and stops as soon as everything is accounted for,
so what is old costs more than what is young, and what was appended costs no comparison. A line that
was written again as it was keeps its origin; one that was taken out and put back has a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from tclog.chain.blobs import read_content
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.clock import Hlc, rfc3339
from tclog.domain import steps
from tclog.domain.content import Content, content_size
from tclog.errors import NotFound, to_run
from tclog.event import ChainId, Version, chain_id, chain_name, encode, validate_name
from tclog.history.snapshot import show_chain
from tclog.index import Commit, Index
from tclog.sync.audit import in_turn, vain_events

# Beyond this many comparisons difflib may take lines that occur often for noise.
COMPARED_MAX = 25_000_000
# How far back a step is searched for events that the fold ignored.
IGNORED_LOOKED_MAX = 5_000


class Blame(NamedTuple):
    """One line, member or field with the event it comes from; None if it always was so.

    ``kind`` is ``line`` of a text, ``member`` of a JSON object, ``element`` of a JSON array,
    ``value`` as a whole, ``field`` of a step, or ``ignored``: an event of a step without effect.
    ``name`` is the line's number, the member's or the field's name.
    """

    chain: ChainId
    kind: str
    name: str
    value: Any
    commit: Commit | None

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        commit = self.commit
        record: dict[str, Any] = {
            "type": "blame",
            "chain": self.chain,
            "kind": self.kind,
            "name": self.name,
            "value": self.value,
            "version": None,
            "agent": None,
            "at": None,
            "op": None,
            "id": None,
        }
        if commit is not None:
            record |= {
                "version": commit.seq,
                "agent": commit.event.agent,
                "at": rfc3339(commit.at),
                "op": commit.event.op,
                "id": commit.event.id,
            }
            if commit.chain != self.chain:
                record["because"] = commit.chain
            if "reverts" in commit.event.body:
                record["reverts"] = commit.event.body["reverts"]
        return record


class _Found(NamedTuple):
    """An event of a version as a commit, with the state that it found and the one that it left."""

    commit: Commit
    before: Any
    after: Any


def _found(before: Version | None, version: Version) -> list[_Found]:
    """Return the events of a version, oldest first: a transaction may have put several there."""
    turns = list(in_turn(before, version))
    left = [state for _, state, _ in turns[1:]] + [state_of(version.chain, version)]
    return [
        _Found(Commit(version.moment, version.chain, version.seq, place.index, event), state, after)
        for (event, state, place), after in zip(turns, left, strict=False)
    ]


# -- memory ---------------------------------------------------------------------------------------


class _Parts(NamedTuple):
    """A value in parts that are compared; ``names`` are theirs, ``shape`` that of the whole."""

    shape: str
    names: Sequence[str]
    texts: Sequence[str]


def _parts(kind: str, value: Any) -> _Parts:
    if kind == "text":
        lines = _lines(value)
        return _Parts("line", [str(n) for n in range(1, len(lines) + 1)], lines)
    if isinstance(value, dict):
        names = sorted(value)
        return _Parts("member", names, [f"{name}\n{_json(value[name])}" for name in names])
    if isinstance(value, list):
        names = [str(n) for n in range(len(value))]
        return _Parts("element", names, [_json(element) for element in value])
    return _Parts("value", ["value"], [_json(value)])


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def _json(value: Any) -> str:
    return encode(value).decode()


def blame_memory(index: Index, key: str, at: Hlc) -> Protocol[list[Blame]]:
    """Return each line, member or element of a key's value at a moment, with its origin.

    Raises:
        NotFound: it had no value then.
    """
    chain = chain_id("memory", validate_name("key", key))
    head = index.version_at(chain, at)
    content = state_of(chain, head).content
    if head is None or content is None:
        raise NotFound(
            f"{key} has no value then"
            + (f": {_event_of(head)} took it away" if head is not None and head.events else ""),
            code="key-missing",
            hint=to_run("tclog memory history", key) if head is not None else "tclog memory list",
        )
    value = yield from read_content(content)
    parts = _parts(content["type"], value)
    origins = yield from _Walk(index, head, content, value, parts).run()
    values: Sequence[Any] = parts.texts
    if parts.shape == "member":
        values = [value[name] for name in parts.names]
    elif parts.shape != "line":
        values = value if parts.shape == "element" else [value]
    return [
        Blame(chain, parts.shape, name, one, origin)
        for name, one, origin in zip(parts.names, values, origins, strict=True)
    ]


def _event_of(version: Version) -> str:
    event = version.events[-1]
    return f"{event.agent} ({event.op} {event.id[:12]})"


class _Walk:
    """The walk back through the events of a key.

    ``places`` says where each part that is not accounted for yet stands in ``parts``, those of the
    value after the event that the walk has come to. For a text these may be of a later value, of
    which only the first ``length`` bytes were there: appending leaves what was before as it is.
    """

    def __init__(
        self, index: Index, head: Version, content: Content, value: Any, parts: _Parts
    ) -> None:
        self.index = index
        self.version = head
        self.content = content
        self.origins: list[Commit | None] = [None] * len(parts.texts)
        self.places = {n: n for n in range(len(parts.texts))}
        self._take(content, value, parts)

    def _take(self, content: Content, value: Any, parts: _Parts) -> None:
        self.parts = parts
        self.raw = b""
        self.ends: list[int] = []
        if content["type"] == "text":
            self.raw = value.encode()
            end = -1
            for line in parts.texts:
                end += 1 + len(line.encode())
                self.ends.append(end)

    def run(self) -> Protocol[list[Commit | None]]:
        """Return the origin of each part."""
        version: Version | None = self.version
        while version is not None and self.places:
            before = self.index.version_up_to(version.chain, version.after)
            for commit, found, _ in reversed(_found(before, version)):
                content = found.content
                if content is None:
                    self._settle(commit, lambda _: True)
                    return self.origins
                # Not the values themselves: to Python true is 1.
                if encode(content) != encode(self.content):
                    yield from self._compare(commit, content)
                self.content = content
            version = before
        return self.origins

    def _settle(self, commit: Commit, is_new: Any) -> None:
        """Account for parts that were not so before this event."""
        for part in [part for part, place in self.places.items() if is_new(place)]:
            self.origins[part] = commit
            del self.places[part]

    def _compare(self, commit: Commit, content: Content) -> Protocol[None]:
        """Account for what this event changed, given the content that it found."""
        text = content["type"] == self.content["type"] == "text"
        if text and commit.event.op == "memory.append":
            length = content_size(content)
            self._settle(
                commit,
                lambda place: self.ends[place] > length or self._start(place) >= max(length, 1),
            )
            return
        value = yield from read_content(content)
        parts = _parts(content["type"], value)
        now = self._now() if text else self.parts
        if parts.shape != now.shape:
            self._settle(commit, lambda _: True)
            return
        same = _same(parts, now)
        self._settle(commit, lambda place: place not in same)
        self.places = {part: same[place] for part, place in self.places.items()}
        self._take(content, value, parts)

    def _start(self, place: int) -> int:
        return self.ends[place - 1] + 1 if place else 0

    def _now(self) -> _Parts:
        """Return the parts of the text as it was in this very version."""
        length = content_size(self.content)
        return self.parts if length == len(self.raw) else _parts("text", self.raw[:length].decode())


def _same(old: _Parts, new: _Parts) -> Mapping[int, int]:
    """Map the parts of the new value that stood in the old one to their places there."""
    if new.shape == "member":
        known = {text: nth for nth, text in enumerate(old.texts)}
        return {nth: known[text] for nth, text in enumerate(new.texts) if text in known}
    first, a, b = 0, old.texts, new.texts
    least = min(len(a), len(b))
    while first < least and a[first] == b[first]:
        first += 1
    last = 0
    while last < least - first and a[-1 - last] == b[-1 - last]:
        last += 1
    same = {nth: nth for nth in range(first)}
    same |= {len(b) - nth: len(a) - nth for nth in range(1, last + 1)}
    a, b = a[first : len(a) - last], b[first : len(b) - last]
    noise = len(a) * len(b) > COMPARED_MAX
    for block in SequenceMatcher(None, a, b, autojunk=noise).get_matching_blocks():
        for nth in range(block.size):
            same[first + block.b + nth] = first + block.a + nth
    return same


# -- steps ----------------------------------------------------------------------------------------


def blame_step(index: Index, step: str, at: Hlc) -> Protocol[list[Blame]]:
    """Return each field of a step at a moment with its origin, then the events that were ignored.

    Raises:
        NotFound: nobody had mentioned it then.
    """
    chain = chain_id("step", validate_name("step", step))
    head = index.version_at(chain, at)
    if head is None:
        raise NotFound(
            f"there is no step {step} then",
            code="step-missing",
            hint="tclog step list",
        )
    state: steps.State = state_of(chain, head)
    shown = (yield from show_chain(index, chain, head, at)) or {"state": state.state}

    def made(seq: int, made_so: Callable[[_Found], bool]) -> Commit | None:
        return _made(index, chain, seq, made_so)

    changed = made(_since(index, head, lambda one: one[:2] == state[:2]), _passed_on)
    rows = [
        ("state", shown["state"], _made_ready(index, state, at, changed, shown["state"])),
        ("agent", state.agent, changed),
    ]
    if state.fence is not None:
        claimed = made(state.fence, lambda one: one.before.fence != one.after.fence)
        rows.append(("fence", state.fence, claimed))
    if state.state == steps.CLAIMED:
        held = made(state.held_version, lambda _: True)
        rows.append(("lease_until", shown["lease_until"], held))
    if state.added:
        first = _first(index, head, state.added_at)
        added = made(first, lambda one: one.before.added_at != one.after.added_at)
        rows += [(name, getattr(state, name), added) for name in ("title", "priority", "after")]
    if "note" in shown:
        noted = made(state.note_version, lambda one: one.commit.event.op == "step.note")
        rows.append(("note", shown["note"], noted))
    if "handoff" in shown:
        handed = made(state.handoff_version, lambda one: "handoff" in one.commit.event.body)
        rows.append(("handoff", shown["handoff"], handed))
    found = [Blame(chain, "field", name, value, commit) for name, value, commit in rows]
    return found + _ignored(index, head)


def _made(
    index: Index, chain: ChainId, seq: int, made_so: Callable[[_Found], bool]
) -> Commit | None:
    """Return the last event of a version that made something so: the first, if none of them did."""
    version = index.version(chain, seq)
    if version is None or not version.events:
        return None
    before = index.version_up_to(chain, seq - 1)
    found = _found(before, version)
    return next(filter(made_so, reversed(found)), found[0]).commit


def _passed_on(one: _Found) -> bool:
    return bool(one.before[:2] != one.after[:2])


def _since(index: Index, head: Version, is_so: Any) -> int:
    """Return the version from which on something has been so up to now."""
    seq = head.seq
    while seq > 1:
        before = index.version_up_to(head.chain, seq - 1)
        if before is None or not is_so(state_of(head.chain, before)):
            break
        seq = before.seq
    return seq


def _first(index: Index, head: Version, added_at: str | None) -> int:
    """Return the version that defined the step, by binary search: a definition has its own time."""
    low, high = 1, head.seq
    while low < high:
        middle = (low + high) // 2
        state: steps.State = state_of(head.chain, index.version_up_to(head.chain, middle))
        if state.added and state.added_at == added_at:
            high = middle
        else:
            low = middle + 1
    return low


def _made_ready(
    index: Index, state: steps.State, at: Hlc, changed: Commit | None, shown: str
) -> Commit | None:
    """Return what made a step so: for one that became ready, the end of what it waited for."""
    found = [] if changed is None else [changed]
    for name in state.after if shown == steps.READY else ():
        other = chain_id("step", name)
        head = index.version_at(other, at)
        if head is not None:
            seq = _since(index, head, steps.is_complete)
            commit = _made(index, other, seq, _passed_on)
            found += [] if commit is None else [commit]
    return max(found, key=lambda commit: commit.at, default=None)


def _ignored(index: Index, head: Version) -> list[Blame]:
    rows = []
    first = max(1, head.seq - IGNORED_LOOKED_MAX)
    before = index.version_up_to(head.chain, first - 1)
    for version in index.versions(head.chain, first, head.seq):
        # An end of junk is not meant to change what is shown.
        for event in () if version.voids else vain_events(before, version):
            place = version.events.index(event)
            commit = Commit(version.moment, head.chain, version.seq, place, event)
            rows.append(Blame(head.chain, "ignored", chain_name(head.chain), None, commit))
        before = version
    return rows
