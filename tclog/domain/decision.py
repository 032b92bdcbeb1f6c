"""What a decision can be, and the place in a chain at which an event is folded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tclog.clock import Stamp
from tclog.errors import NotFound, Refused


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
