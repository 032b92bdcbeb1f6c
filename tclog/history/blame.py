"""Blame: which event each line of a value, or each field of a step, comes from.

It walks back from the version that is asked about and stops as soon as everything is accounted for,
so what is old costs more than what is young, and what was appended costs no comparison. A line that
was written again as it was keeps its origin; one that was taken out and put back has a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from tclog.chain.blobs import read_content
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.clock import Hlc, rfc3339
from tclog.domain import steps
from tclog.domain.content import Content, content_size
from tclog.errors import NotFound, quote
from tclog.event import ChainId, Version, chain_id, chain_name, encode, validate_name
from tclog.history.rules import vain_events
from tclog.history.snapshot import show_chain
from tclog.index import Commit, Index

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
            + (f": {_says(head)} took it away" if head is not None and head.events else ""),
            code="key-missing",
            hint=f"tclog memory history {quote(key)}" if head is not None else "tclog memory list",
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


def _says(version: Version) -> str:
    event = version.events[-1]
    return f"{event.agent} ({event.op} {event.id[:12]})"


class _Walk:
    """The walk back through the versions of a key.

    ``places`` says where each part that is not accounted for yet stands in ``parts``, those of the
    version that the walk has come to. For a text these may be of a later version, of which only the
    first ``length`` bytes were there: appending leaves what was before as it is.
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
        while self.places:
            seq = self.version.seq
            before = self.index.version(self.version.chain, seq - 1) if seq > 1 else None
            content = state_of(self.version.chain, before).content
            if before is None or content is None:
                self._settle(lambda _: True)
                break
            if content != self.content:
                yield from self._compare(content)
            self.version, self.content = before, content
        return self.origins

    def _settle(self, is_new: Any) -> None:
        """Account for parts that were not so before this version."""
        events = self.version.events
        commit = None
        if events:
            place = len(events) - 1
            commit = Commit(
                self.version.at, self.version.chain, self.version.seq, place, events[-1]
            )
        for part in [part for part, place in self.places.items() if is_new(place)]:
            self.origins[part] = commit
            del self.places[part]

    def _compare(self, content: Content) -> Protocol[None]:
        """Account for what this version changed, given the content of the one before it."""
        events = self.version.events
        text = content["type"] == self.content["type"] == "text"
        if text and len(events) == 1 and events[0].op == "memory.append":
            length = content_size(content)
            self._settle(
                lambda place: self.ends[place] > length or self._start(place) >= max(length, 1)
            )
            return
        value = yield from read_content(content)
        parts = _parts(content["type"], value)
        now = self._now() if text else self.parts
        if parts.shape != now.shape:
            self._settle(lambda _: True)
            return
        same = _same(parts, now)
        self._settle(lambda place: place not in same)
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
            hint=f"tclog step add {quote(step)}",
        )
    state: steps.State = state_of(chain, head)
    shown = (yield from show_chain(index, chain, head, at)) or {"state": state.state}
    at_version = _commits(index, chain)
    changed = at_version(_since(index, head, lambda one: one[:2] == state[:2]))
    rows = [
        ("state", shown["state"], _made_ready(index, state, at, changed, shown["state"])),
        ("agent", state.agent, changed),
    ]
    if state.fence is not None:
        rows.append(("fence", state.fence, at_version(state.fence)))
    if state.state == steps.CLAIMED:
        rows.append(("lease_until", shown["lease_until"], at_version(state.held_version)))
    if state.added:
        added = at_version(_first(index, head, state.added_at))
        rows += [(name, getattr(state, name), added) for name in ("title", "priority", "after")]
    if "note" in shown:
        rows.append(("note", shown["note"], at_version(state.note_version)))
    if "handoff" in shown:
        rows.append(("handoff", shown["handoff"], at_version(state.handoff_version)))
    found = [Blame(chain, "field", name, value, commit) for name, value, commit in rows]
    return found + _ignored(index, head)


def _commits(index: Index, chain: ChainId) -> Any:
    def at_version(seq: int) -> Commit | None:
        version = index.version(chain, seq)
        if version is None or not version.events:
            return None
        place = len(version.events) - 1
        return Commit(version.at, chain, seq, place, version.events[-1])

    return at_version


def _since(index: Index, head: Version, is_so: Any) -> int:
    """Return the version from which on something has been so up to now."""
    seq = head.seq
    while seq > 1:
        before = index.version(head.chain, seq - 1)
        if not is_so(state_of(head.chain, before)):
            break
        seq -= 1
    return seq


def _first(index: Index, head: Version, added_at: str | None) -> int:
    """Return the version that defined the step, by binary search: a definition has its own time."""
    low, high = 1, head.seq
    while low < high:
        middle = (low + high) // 2
        state: steps.State = state_of(head.chain, index.version(head.chain, middle))
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
            seq = _since(index, head, lambda one: one.state == steps.COMPLETE)
            commit = _commits(index, other)(seq)
            found += [] if commit is None else [commit]
    return max(found, key=lambda commit: commit.at, default=None)


def _ignored(index: Index, head: Version) -> list[Blame]:
    rows = []
    first = max(1, head.seq - IGNORED_LOOKED_MAX)
    before = index.version(head.chain, first - 1) if first > 1 else None
    for version in index.versions(head.chain, first, head.seq):
        for event in vain_events(before, version):
            place = version.events.index(event)
            commit = Commit(version.at, head.chain, version.seq, place, event)
            rows.append(Blame(head.chain, "ignored", chain_name(head.chain), None, commit))
        before = version
    return rows
