"""The shape of a primitive: decisions, the place of an event, and what ``tclog`` asks of each kind.

A module of ``tclog.domain`` states in ``KINDS`` all that the other layers need to know of its kinds
of chains and their ops. Nothing else says it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.clock import Stamp
from tclog.domain.content import Blob
from tclog.errors import NotFound, Refused
from tclog.event.records import Event
from tclog.event.schema import Schema


class Draft(NamedTuple):
    """An event to be: what an agent wants to do, before it is stamped and sealed.

    With ``judged`` the decision rests on the store's clock: the event is written first, and its
    stamp is handed to ``decide`` again as ``Place.now``. With ``exclusive`` only one can have what
    is asked for: who loses a race with it is likely to be refused, by that clock.
    """

    op: str
    body: Mapping[str, Any]
    expect: Mapping[str, Any] | None = None
    judged: bool = False
    exclusive: bool = False


class Unchanged(NamedTuple):
    """The state already is what the command asks for; nothing is written.

    Under an idempotency key the ``draft`` is committed all the same, so that the key is found later
    and the command cannot apply then. The fold must make nothing of it at this place. None where
    that is not needed: the command then ends with an error, or takes no key.
    """

    draft: Draft | None = None


# The errors say that it may not be, or that it is about something that is not there.
Decision = Draft | Unchanged | Refused | NotFound


class Place(NamedTuple):
    """Where an event stands, as far as folding needs it.

    ``seq`` is the version's number and ``index`` the event's place in it. ``prev_stored`` is the
    store's stamp of the version before, ``now`` that of the event's own object; both are in the
    log, so every reader comes to the same verdict. ``at`` is the version's stamp. ``stands`` is the
    newest version before this one that changed something, where that is not the one before it.
    ``voided`` slots right below hold junk that this version ends. ``before_at`` is the stamp of the
    version before.
    """

    seq: int
    index: int = 0  # type: ignore[assignment]  # shadows tuple.index, which nobody asks a place for
    prev_stored: Stamp | None = None
    now: Stamp | None = None
    at: str = ""
    stands: int | None = None
    voided: int = 0
    before_at: str = ""

    @property
    def before(self) -> int:
        """The number of the version before this one."""
        return self.seq - 1 - self.voided

    @property
    def base(self) -> int:
        """The number of the version whose change stands: what expectations are compared with."""
        return self.before if self.stands is None else self.stands


# -- what a primitive states of itself ------------------------------------------------------------

Undo = Callable[[Any, Place], Decision]


class Past(NamedTuple):
    """An event that is to be undone: in which chain and version, and the state before it.

    ``name`` is the chain's name without its kind. ``agent`` is who undoes it.
    """

    event: Event
    name: str
    seq: int
    before: Any
    agent: str


class NoWayBack(NamedTuple):
    """Why an event cannot be undone, and the command that helps instead."""

    why: str
    hint: Callable[[Event, str], str] = lambda *_: ""


class Op(NamedTuple):
    """What the other layers know of an op. How it is decided and folded is not here.

    ``body`` is the schema of its body; ``misfit`` says what a schema cannot. ``words`` says in a
    few words what an event did. ``undo`` decides on the event that restores what it changed.

    ``common`` ops are many and missed least, so a report leaves them out first. ``is_idle`` tells
    whether the state already was what an event asks for. Later events of the ops ``beside`` do not
    change what an event did. ``instead`` is a hint for a revert that conflicts with a later event.
    """

    body: Schema
    words: Callable[[Event], str]
    undo: Callable[[Past], Undo | NoWayBack] | NoWayBack
    common: bool = False
    is_idle: Callable[[Any, Event], bool] = lambda *_: False
    beside: frozenset[str] = frozenset()
    instead: Callable[[Event, str], str] = lambda *_: ""
    misfit: Callable[[Mapping[str, Any]], str | None] = lambda _: None


class Kind(NamedTuple):
    """What the other layers know of one kind of chain.

    ``empty``, ``decide``, ``evolve``, ``pack`` and ``unpack`` are its rules; ``state`` is the
    schema of a packed state. ``group`` is the heading under which it is shown, "" for none.
    ``file`` is its path in a git export below the folder of the group, with ``{}`` for the name, ""
    for none; a ``.json`` file holds the object, any other one the value.

    ``tallied`` chains have a table in reports. ``rest`` folds a version without events. ``merge``
    takes broadcasts into a state, if chains of this kind do. ``spilled`` names the blobs that
    folding an event brings into the state. With ``stamped`` each version records the store's stamp
    of the one before: leases rest on it. With ``restored`` an undo restores the whole state before,
    so one undo is enough for all that a transaction did to a chain.
    """

    empty: Any
    decide: Callable[[Any, Any, Place], Decision]
    evolve: Callable[[Any, Event, Place], Any]
    pack: Callable[[Any, Sequence[Event]], Mapping[str, Any]]
    unpack: Callable[[Mapping[str, Any], Sequence[Event]], Any]
    state: Schema
    ops: Mapping[str, Op]
    group: str
    file: str
    tallied: bool
    rest: Callable[[Any, Place], Any] = lambda state, _: state
    merge: Callable[[Any, int, int], Any] | None = None
    spilled: Callable[[Any, Event], list[Blob]] = lambda *_: []
    stamped: bool = False
    restored: bool = False


def silent(_: Event) -> str:
    """Say nothing of an event: its op and its chain say it all."""
    return ""
