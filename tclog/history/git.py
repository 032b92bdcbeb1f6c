"""The log as a git history: each version a commit, the state at that moment its tree.

What this makes is the input of ``git fast-import``. Invariant: the tree of a commit depends on the
log up to that version only, so a later run adds commits and never changes one.

The files are made for git's blame, which is of lines. Every file ends with a newline: git takes a
last line without one for changed as soon as another line follows. Each member, element and field
has a line, which stays as it is when another comes before or after it. So no line ends with a
comma.

    memory/KEY                  the value: a text, with a newline added if it does not end with one;
                                JSON with a line for each element or member, as `tclog blame` has it
    steps/STEP.json             as ``tclog state`` shows it
    inboxes/AGENT/N.txt         each message; inbox.json and read.json: how many, and which are read
    artifacts/NAME.json  barriers/NAME.json  tags/NAME.json
    agents/AGENT.json           the claims that it holds

Names are encoded as in the store, and a dot at their beginning too, so none means anything to git.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.show import show_message, show_step
from tclog.clock import SECOND_US, Hlc, parse_us
from tclog.domain import MODULES, kind_of, steps
from tclog.event import (
    ALL,
    ChainId,
    Event,
    Version,
    chain_id,
    chain_kind,
    chain_name,
    encode_name,
)
from tclog.history.rendering import words
from tclog.history.snapshot import group_of, show_chain
from tclog.index import Index, derived

BRANCH = "refs/heads/main"
VERSION_TRAILER = "Tclog-Version"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# What git takes off the ends of a name.
_CRUD = " .,:;<>\"\\'"
_KNOWN_MAX = 10_000


class Change(NamedTuple):
    """A file as a commit leaves it; ``ended`` says that a newline was added to a text."""

    path: str
    content: bytes | None
    ended: bool = False


def segment_of(name: str) -> str:
    """Return a name as one part of a path; another name never has the same."""
    segment = "@all" if name == "@all" else encode_name(name)
    return f"%2E{segment[1:]}" if segment.startswith(".") else segment


def file_of(chain: ChainId) -> str:
    """Return the path of a chain's file, "" if it has none; unknown kinds have a folder each."""
    kind = chain_kind(chain)
    file = kind_of(kind).file if kind in MODULES else "{}.json"
    folder = encode_name(group_of(chain))
    return file and f"{folder}/{file.format(segment_of(chain_name(chain)))}"


def tag_ref(name: str) -> str:
    """Return the ref of a tag; git has rules of its own for what one may look like."""
    segment = encode_name(name).replace("~", "+")
    odd = ".." in segment or segment[0] == "." or segment.endswith((".", ".lock"))
    segment = segment.replace(".", "%2E") if odd else segment
    return "refs/tags/" + (f"%2D{segment[1:]}" if segment.startswith("-") else segment)


class Stream:
    """Makes the input of ``git fast-import``.

    Args:
        index: the log; all is asked of it within ``derived.reading``.
        write: given the bytes.
    """

    def __init__(self, index: Index, write: Callable[[bytes], None]) -> None:
        self._index = index
        self._write = write
        self._agents: dict[str, bytes] = {}

    def commit(self, version: Version, parent: str | None) -> Protocol[None]:
        """Write the commit of a version; ``parent`` is named for the first one only."""
        changes = yield from self._changes(version)
        event = version.events[-1] if version.events else None
        author, made = (version.by, version.moment) if event is None else (event.agent, event.at)
        lines = [
            f"commit {BRANCH}",
            f"author {identity(author)} {_seconds(made)} +0000",
            f"committer {identity(version.by)} {_seconds(version.moment)} +0000",
        ]
        self._write("\n".join(lines).encode() + b"\n")
        ended = any(change.ended for change in changes)
        self._data(_message(version, ended=ended).encode())
        if parent is not None:
            self._write(f"from {parent}\n".encode())
        for path, content, _ in changes:
            if content is None:
                self._write(f"D {path}\n".encode())
            else:
                self._write(f"M 100644 inline {path}\n".encode())
                self._data(content)
        self._write(b"\n")

    def end(self) -> None:
        """Say that this is all: a stream that was cut off changes nothing."""
        self._write(b"done\n")

    def _data(self, content: bytes) -> None:
        self._write(f"data {len(content)}\n".encode())
        self._write(content)
        self._write(b"\n")

    # -- what a version changes ---------------------------------------------------------------

    def _changes(self, version: Version) -> Protocol[list[Change]]:
        chain, at = version.chain, version.moment
        before = self._index.version_up_to(chain, version.after)
        changes: list[Change] = []
        match chain_kind(chain):
            case "inbox":
                changes += yield from self._messages(before, version)
            case "step":
                changes += yield from self._dependants(before, version)
        if file_of(chain):
            changes.append((yield from self._file(chain, version, at)))
        changes += self._claims(before, version)
        return changes

    def _file(self, chain: ChainId, head: Version | None, at: Hlc) -> Protocol[Change]:
        shown = yield from show_chain(self._index, chain, head, at)
        path = file_of(chain)
        if not path.endswith(".json"):
            return _value(path, shown)
        return Change(path, None if shown is None else _fields(shown))

    def _dependants(self, before: Version | None, version: Version) -> Protocol[list[Change]]:
        """Return the steps that became ready, or ceased to be, by what a version did."""
        was, now = (steps.is_complete(state_of(version.chain, one)) for one in (before, version))
        changes: list[Change] = []
        if was != now:
            for name in derived.steps_after(self._index, chain_name(version.chain)):
                chain = chain_id("step", name)
                head = self._index.version_at(chain, version.moment)
                if head is not None:
                    changes.append((yield from self._file(chain, head, version.moment)))
        return changes

    def _messages(self, before: Version | None, version: Version) -> Protocol[list[Change]]:
        """Return the files of the messages that a version brings."""
        state = state_of(version.chain, before)
        folder = f"inboxes/{segment_of(chain_name(version.chain))}"
        events: list[Event] = []
        merge = version.merge
        if merge is not None and merge["through"] > state.all_version:
            for seq in range(state.all_version + 1, merge["through"] + 1):
                broadcast = self._index.version(ALL, seq)
                events += () if broadcast is None else broadcast.events
        events += version.events
        changes: list[Change] = []
        sent = (event for event in events if event.op == "message.send")
        for n, event in enumerate(sent, state.count + 1):
            changes.append(Change(f"{folder}/{n}.txt", (yield from _letter(event))))
        return changes

    def _claims(self, before: Version | None, version: Version) -> Iterator[Change]:
        """Yield the files of the agents that a version concerns, where they changed."""
        names = {event.agent for event in version.events}
        if chain_kind(version.chain) in ("agent", "read", "inbox") and version.chain != ALL:
            names.add(chain_name(version.chain))
        if chain_kind(version.chain) == "step":
            holders = (state_of(version.chain, one) for one in (before, version))
            names |= {one.agent for one in holders if one.state == steps.CLAIMED}
        for name in sorted(names):
            leases: dict[str, str | None] = {}
            for chain in derived.held_by(self._index, name, version.moment):
                head = self._index.version_at(chain, version.moment)
                step = show_step(chain_name(chain), head, state_of(chain, head), ())
                leases[step.id] = step.lease_until
            # When it was last seen, and on which machine, would change its file with each event.
            content = _fields(
                {
                    "type": "agent",
                    "name": name,
                    "claims": sorted(leases),
                    "leases": dict(sorted(leases.items())),
                }
            )
            if self._agents.get(name) != content:
                if len(self._agents) > _KNOWN_MAX:
                    self._agents.clear()
                self._agents[name] = content
                yield Change(f"agents/{segment_of(name)}.json", content)


def identity(agent: str) -> str:
    """Return an agent as git names a person; what has a meaning to git is left out of the name."""
    plain = _CONTROL.sub(" ", agent).translate({ord("<"): "", ord(">"): ""}).strip(_CRUD)
    return f"{plain or encode_name(agent)} <{encode_name(agent)}@tclog>"


def _seconds(at: Hlc) -> int:
    return max(0, parse_us(at) // SECOND_US)


def _message(version: Version, *, ended: bool) -> str:
    chain = version.chain
    if version.events:
        event = version.events[-1]
        said = _CONTROL.sub(" ", words(event)).strip()
        subject = f"{event.op} {chain}" + (f": {said}" if said else "")
    elif version.void:
        subject = f"txn {chain}: changes nothing"
    else:
        taken = (version.merge or {}).get("taken", 0)
        subject = f"inbox.merge {chain}: takes in {taken} broadcast(s)"
    trailers = [f"Tclog-Event: {event.id}" for event in version.events]
    trailers += [f"{VERSION_TRAILER}: {version.id}", f"Tclog-Chain: {chain}#{version.seq}"]
    trailers += ["Tclog-Final-Newline: added"] if ended else []
    return "\n".join([_CONTROL.sub(" ", subject), "", *trailers]) + "\n"


def _value(path: str, shown: Mapping[str, Any] | None) -> Change:
    """Return the file of a key."""
    if shown is None:
        return Change(path, None)
    value = shown["value"]
    if shown["value_type"] == "text":
        ended = not value.endswith("\n")
        return Change(path, (value + "\n" if ended else value).encode(), ended)
    if value and isinstance(value, dict):
        lines = [f"{_json(name)}: {_json(value[name])}" for name in sorted(value)]
    elif value and isinstance(value, list):
        lines = [f"- {_json(element)}" for element in value]
    else:
        lines = [_json(value)]
    return Change(path, "\n".join([*lines, ""]).encode())


def _fields(shown: Mapping[str, Any]) -> bytes:
    """Write an object as JSON, a line for each field.

    The first one, its type, is always there, so only the others need a comma before them.
    """
    lines = [f"{_json(name)}: {_json(value)}" for name, value in shown.items()]
    return ("{ " + "\n, ".join(lines) + "\n}\n").encode()


def _json(value: Any) -> str:
    # Not orjson: releases of it differ in how they write a float, and so would the commits' ids.
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _letter(event: Event) -> Protocol[bytes]:
    """Return a message as a file: it is the same in every inbox that it came to."""
    message = yield from show_message(event, 0, unread=False)
    lines = [f"From: {message.sender}", f"To: {message.to}", f"At: {message.at}", f"Id: {event.id}"]
    if message.step:
        lines.append(f"Step: {message.step}")
    if message.reply_to:
        lines.append(f"Reply-To: {message.reply_to}")
    return "\n".join([*(_CONTROL.sub(" ", line) for line in lines), "", message.text, ""]).encode()
