"""What operations return: small records with the pinned JSON objects of docs/cli.md."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tclog.clock import rfc3339

SHOWN_MAX = 60


def _readable(record: Any) -> str:
    """Show what a record says beyond its defaults, and of long values only the beginning."""
    defaults = record._field_defaults
    shown = []
    for name, value in zip(record._fields, record, strict=True):
        text = repr(value)
        text = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
        if name not in defaults or value != defaults[name]:
            shown.append(f"{name}={text}")
    return f"{type(record).__name__}({', '.join(shown)})"


class Memory(NamedTuple):
    """One key at one version. ``type`` is ``text`` or ``json``; a deleted key has ``deleted``."""

    key: str
    value: Any
    type: str
    version: int
    agent: str
    at: str
    id: str
    deleted: bool = False
    op: str = ""

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The pinned object, and ``value_type``."""
        record: dict[str, Any] = {
            "type": "memory",
            "key": self.key,
            "value": self.value,
            "version": self.version,
            "agent": self.agent,
            "at": self.at,
            "id": self.id,
            "value_type": self.type,
            "op": self.op,
        }
        if self.deleted:
            record["deleted"] = True
        return record


class Message(NamedTuple):
    """One message; ``n`` is its place in the inbox it was read from, 0 where it was only sent.

    ``to`` is one agent, several with commas, or ``@all``. ``unread`` is what the reader's
    acknowledgements say.
    """

    n: int
    id: str
    sender: str
    to: str
    text: str
    at: str
    reply_to: str | None = None
    step: str | None = None
    unread: bool = False

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The pinned object; without ``n`` where the message was only sent."""
        record: dict[str, Any] = {"type": "message"}
        if self.n:
            record["n"] = self.n
        record |= {
            "id": self.id,
            "from": self.sender,
            "to": self.to,
            "text": self.text,
            "at": self.at,
        }
        if self.n:
            record["unread"] = self.unread
        if self.reply_to:
            record["reply_to"] = self.reply_to
        if self.step:
            record["step"] = self.step
        return record


class Step(NamedTuple):
    """One step. ``state`` includes the derived ``ready``; ``lease_until`` is the store's time.

    ``session`` is that of ``agent``. ``waiting`` names the dependencies that are not complete. The
    answer to a claim says whether the session held the step before (``renewed``), and whether the
    step is ``new``: nobody had added it. ``lapsed``: the lease has ended by the reader's clock.
    """

    id: str
    state: str
    agent: str | None
    fence: int | None
    lease_until: str | None
    version: int
    title: str | None = None
    priority: int = 0
    after: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    at: str | None = None
    note: str | None = None
    note_by: str | None = None
    handoff: Mapping[str, Any] | None = None
    session: str | None = None
    renewed: bool = False
    new: bool = False
    lapsed: bool = False

    @property
    def word(self) -> str:
        """The state in a word for people: ``lapsed`` for a claim whose lease has ended."""
        return "lapsed" if self.lapsed else self.state

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The pinned object, and what else is known."""
        record: dict[str, Any] = {
            "type": "step",
            "id": self.id,
            "state": self.state,
            "agent": self.agent,
            "session": self.session,
            "fence": self.fence,
            "lease_until": self.lease_until,
            "version": self.version,
            "title": self.title,
            "priority": self.priority,
            "after": list(self.after),
            "waiting": list(self.waiting),
            "at": self.at,
        }
        if self.renewed:
            record["renewed"] = True
        if self.new:
            record["new"] = True
        if self.lapsed:
            record["lapsed"] = True
        if self.note is not None:
            record |= {"note": self.note, "note_by": self.note_by}
        if self.handoff is not None:
            record["handoff"] = self.handoff
        return record


class Artifact(NamedTuple):
    """One version of an artifact's name."""

    name: str
    version: int
    size: int
    blake3: str
    agent: str
    at: str
    step: str | None = None
    path: str | None = None

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The pinned object, and the local path where a file was written."""
        record: dict[str, Any] = {
            "type": "artifact",
            "name": self.name,
            "version": self.version,
            "size": self.size,
            "blake3": self.blake3,
            "agent": self.agent,
            "at": self.at,
        }
        if self.step:
            record["step"] = self.step
        if self.path:
            record["path"] = self.path
        return record


class Agent(NamedTuple):
    """One agent as the log shows it; ``claims`` maps held steps to when their leases end."""

    name: str
    last_seen: str | None
    claims: Mapping[str, str | None]
    host: str | None = None
    session: str | None = None

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The pinned object; ``claims`` lists the steps, ``leases`` their ends."""
        return {
            "type": "agent",
            "name": self.name,
            "last_seen": self.last_seen,
            "claims": sorted(self.claims),
            "leases": dict(sorted(self.claims.items())),
            "host": self.host,
            "session": self.session,
        }


class Barrier(NamedTuple):
    """One passage of a barrier: the generation that this agent was part of."""

    name: str
    generation: int
    parties: int
    arrived: tuple[str, ...]
    tripped: bool
    version: int

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "type": "barrier",
            "name": self.name,
            "generation": self.generation,
            "parties": self.parties,
            "arrived": list(self.arrived),
            "tripped": self.tripped,
            "version": self.version,
        }


class Tag(NamedTuple):
    """One tag at one version; ``hlc`` is the moment that it stands for, or stood for if deleted.

    ``hlc`` has the counter that orders what shares a microsecond. ``at`` is when the tag was set.
    """

    name: str
    hlc: str | None
    version: int
    agent: str
    at: str
    id: str
    deleted: bool = False

    @property
    def moment(self) -> str | None:
        """The moment as an RFC 3339 time."""
        return None if self.hlc is None else rfc3339(self.hlc)

    def __repr__(self) -> str:
        return _readable(self)

    def as_json(self) -> dict[str, Any]:
        """The pinned object."""
        record: dict[str, Any] = {
            "type": "tag",
            "name": self.name,
            "moment": self.moment,
            "hlc": self.hlc,
            "version": self.version,
            "agent": self.agent,
            "at": self.at,
            "id": self.id,
        }
        if self.deleted:
            record["deleted"] = True
        return record
