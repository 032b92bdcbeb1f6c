"""Makes events and short chains without a store, through the bytes that a store would hold."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tclog.clock import SECOND_US, Stamp, hlc, stamp
from tclog.domain.decision import Decision, Draft, Place
from tclog.event import Event, decode, decode_event, encode, seal_event

T0_US = 1_795_448_525_512_345  # 2026-11-23T15:42:05.512345Z
AGENTS = ("alice", "bob", "carol")

json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
record_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | json_text
json_scalars = record_scalars | st.floats(allow_nan=False, allow_infinity=False)


def _nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(json_text, inner, max_size=5),
        max_leaves=10,
    )


# What users may keep, and what may stand in a record: no floats.
json_values = _nested(json_scalars)
record_values = _nested(record_scalars)
names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20)
hex_ids = st.text(string.hexdigits[:16], min_size=64, max_size=64)


def exactly(value: Any) -> Any:
    """Turn a JSON value into one that equals another only if all types are equal too."""
    if isinstance(value, dict):
        return {key: exactly(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [exactly(inner) for inner in value]
    return type(value).__name__, repr(value)


def make_event(
    op: str,
    body: Mapping[str, Any],
    *,
    agent: str = "alice",
    expect: Mapping[str, Any] | None = None,
    at_us: int = T0_US,
    host: str = "host",
    session: str = "session",
) -> Event:
    """Seal an event and read it back, as the next reader would."""
    _, raw = seal_event(
        op=op,
        chains=["memory/k"],
        agent=agent,
        session=session,
        host=host,
        client="tclog/test",
        at=hlc(at_us, 0),
        nonce="0",
        body=body,
        expect=expect,
    )
    return decode_event(raw)


class Rules(NamedTuple):
    """The functions of one primitive."""

    empty: Any
    decide: Callable[[Any, Any, Place], Decision]
    evolve: Callable[[Any, Event, Place], Any]
    pack: Callable[..., Mapping[str, Any]]
    unpack: Callable[..., Any]


class Chain:
    """One chain of one primitive: each commit folds, and goes through the packed state.

    ``us`` is the store's clock; a commit is stamped with it.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.state = rules.empty
        self.seq = 0
        self.us = T0_US
        self.stored: Stamp | None = None

    def place(self, *, judged: bool = False) -> Place:
        """Return the place of the next version, with the store's time if it is judged by that."""
        return Place(self.seq + 1, 0, self.stored, stamp(self.us) if judged else None)

    def decide(self, command: Any) -> Decision:
        """Decide as the chain layer does: a judged draft is decided again with the store's time."""
        decision = self.rules.decide(self.state, command, self.place())
        if isinstance(decision, Draft) and decision.judged:
            return self.rules.decide(self.state, command, self.place(judged=True))
        return decision

    def act(self, agent: str, command: Any, session: str = "session") -> Decision:
        """Decide on a command and commit what comes out of it."""
        decision = self.decide(command)
        if isinstance(decision, Draft):
            op, body, expect, judged, _ = decision
            place = self.place(judged=judged)
            self.commit(agent, op, body, expect=expect, place=place, session=session)
        return decision

    def commit(
        self,
        agent: str,
        op: str,
        body: Mapping[str, Any],
        *,
        expect: Mapping[str, Any] | None = None,
        place: Place | None = None,
        session: str = "session",
    ) -> Event:
        """Commit an event, allowed or not; the state then is what its packed form says.

        ``place`` is what the writer knew when it decided; the slot is stamped now.
        """
        event = make_event(op, body, agent=agent, expect=expect, session=session)
        after = self.rules.evolve(self.state, event, place or self.place())
        packed = decode(encode(self.rules.pack(after, (event,))), "state")
        self.state = self.rules.unpack(packed, (event,))
        assert self.state == after
        assert encode(self.rules.pack(self.state, ())) == encode(self.rules.pack(after, ()))
        self.seq += 1
        self.stored = stamp(self.us)
        return event

    def wait(self, seconds: float) -> None:
        """Let the store's clock run."""
        self.us += round(seconds * SECOND_US)
