"""What is different between two moments: one change for each thing, with who made it so.

Invariant: the state at A with the changes of ``diff A B`` applied is the state at B, whichever of
the two is the earlier. So what is derived belongs to it: a step that became ready because another
one was completed, an agent that was seen or lost a claim, have changed, although nobody wrote to
their chains. Cost: that of the versions between the two moments, however long the log is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol, together
from tclog.clock import Hlc, rfc3339
from tclog.domain import steps
from tclog.event import ALL, ChainId, Version, chain_id, chain_kind, chain_name
from tclog.history.snapshot import GROUPS, Snapshot, group_of, last_act, show_agent, show_chain
from tclog.index import Commit, Index, derived


class Change(NamedTuple):
    """One thing that is different.

    ``last`` is the newest event that changed it between the two moments, ``events`` how many there
    were in its chain. ``because`` is the chain that ``last`` stands in, if that is another.
    """

    group: str
    chain: ChainId
    before: Snapshot | None
    after: Snapshot | None
    last: Commit | None
    events: int
    version_before: int | None = None
    version_after: int | None = None
    because: ChainId | None = None

    def as_json(self) -> dict[str, Any]:
        """The pinned object, and what else is known."""
        last = self.last
        record = {
            "type": "change",
            "chain": self.chain,
            "before": self.before,
            "after": self.after,
            "id": None if last is None else last.event.id,
            "agent": None if last is None else last.event.agent,
            "at": None if last is None else rfc3339(last.at),
            "op": None if last is None else last.event.op,
            "version_before": self.version_before,
            "version_after": self.version_after,
            "events": self.events,
        }
        if self.because is not None:
            record["because"] = self.because
        return record


def read_diff(index: Index, before: Hlc, after: Hlc) -> Protocol[list[Change]]:
    """Return what is different at ``after`` from what was at ``before``, which may be later.

    To be run within ``derived.reading(index)``.
    """
    first, last = sorted((before, after))
    reader = _Reader(index, before, after, first, last)
    chains = [c for c in index.chains_changed(first, last) if chain_kind(c) != "agent"]
    changes: list[Change] = yield from together(*(reader.change(chain) for chain in chains))
    causes = {c.chain: c.last for c in changes if _completeness_differs(c)}
    # Not those that only got versions which change nothing: what changed them stands elsewhere.
    changed = {c.chain for c in changes if c.last is not None}
    depending: dict[ChainId, list[ChainId]] = {}
    for cause in causes:
        for step in derived.steps_after(index, chain_name(cause)):
            if (chain := chain_id("step", step)) not in changed:
                depending.setdefault(chain, []).append(cause)
    changes = [change for change in changes if change.chain not in depending]
    changes += yield from together(
        *(reader.derived_change(chain, because) for chain, because in depending.items())
    )
    changes += [reader.agent(name, by) for name, by in reader.agents_concerned(changes).items()]
    order = {group: nth for nth, group in enumerate(GROUPS)}
    return sorted(
        (change for change in changes if change.before != change.after),
        key=lambda change: (order.get(change.group, len(order)), change.chain.encode()),
    )


def _completeness_differs(change: Change) -> bool:
    if change.group != "steps":
        return False
    complete = [
        one is not None and one["state"] == steps.COMPLETE for one in (change.before, change.after)
    ]
    return complete[0] != complete[1]


class _Reader:
    """Looks at single chains and agents at the two moments."""

    def __init__(self, index: Index, before: Hlc, after: Hlc, first: Hlc, last: Hlc) -> None:
        self.index = index
        self.before = before
        self.after = after
        self.first = first
        self.last = last
        self.acts = derived.acts_between(index, first, last)
        self.newest: dict[ChainId, Commit | None] = {}

    def change(self, chain: ChainId) -> Protocol[Change]:
        """Compare a chain that has a version between the two moments."""
        then = self.index.version_at(chain, self.before)
        now = self.index.version_at(chain, self.after)
        low, high = sorted((_seq(then), _seq(now)))
        self.newest[chain] = self._newest(chain, low, high)
        shown = yield from together(
            show_chain(self.index, chain, then, self.before),
            show_chain(self.index, chain, now, self.after),
        )
        return Change(
            group_of(chain),
            chain,
            shown[0],
            shown[1],
            self.newest[chain],
            derived.events_between(self.index, chain, low, high),
            _seq(then) or None,
            _seq(now) or None,
        )

    def derived_change(self, chain: ChainId, because: list[ChainId]) -> Protocol[Change]:
        """Compare a step that nothing changed itself between, but those it comes after did."""
        head = self.index.version_at(chain, self.first)
        shown = yield from together(
            show_chain(self.index, chain, head, self.before),
            show_chain(self.index, chain, head, self.after),
        )
        cause = max(because, key=lambda one: _stamp(self.newest[one]))
        seq = _seq(head) or None
        last = self.newest[cause]
        return Change("steps", chain, shown[0], shown[1], last, 0, seq, seq, cause)

    def _newest(self, chain: ChainId, low: int, high: int) -> Commit | None:
        """Return the newest event of the versions after ``low`` and up to ``high``."""
        for seq in range(high, low, -1):
            version = self.index.version(chain, seq)
            if version is None:
                continue  # a slot with junk that was ended
            if version.events:
                place = len(version.events) - 1
                return Commit(version.moment, chain, seq, place, version.events[-1])
            if version.merge is not None:
                # A version that only takes in broadcasts: the last of them is what changed it.
                through = self.index.version(ALL, version.merge["through"])
                if through is not None and through.events:
                    place = len(through.events) - 1
                    event = through.events[-1]
                    return Commit(version.moment, ALL, through.seq, place, event)
        return None

    def agents_concerned(self, changes: Iterable[Change]) -> dict[str, Commit | None]:
        """Return the agents that may be different, with what was done to those that did nothing."""
        found: dict[str, Commit | None] = {}
        for change in changes:
            kind, name = chain_kind(change.chain), chain_name(change.chain)
            if kind in ("inbox", "read") and change.chain != ALL:
                found[name] = change.last
            if kind == "step":
                for one in (change.before, change.after):
                    if one is not None and one["state"] == steps.CLAIMED:
                        found[one["agent"]] = change.last
        for chain in self.index.chains_changed(self.first, self.last):
            if chain_kind(chain) == "agent":
                found.setdefault(chain_name(chain), None)
        return found | dict.fromkeys(self.acts)

    def agent(self, name: str, by: Commit | None) -> Change:
        """Compare an agent; ``by`` is what was done to one that did nothing itself."""
        index, chain = self.index, chain_id("agent", name)
        shown = [
            show_agent(index, name, at, derived.held_by(index, name, at))
            for at in (self.before, self.after)
        ]
        last, because = by, None if by is None else by.chain
        if name in self.acts:
            last, because = last_act(index, name, self.last, self.first), None
        return Change(
            "agents", chain, shown[0], shown[1], last, self.acts.get(name, 0), because=because
        )


def _seq(version: Version | None) -> int:
    return 0 if version is None else version.seq


def _stamp(commit: Commit | None) -> str:
    return "" if commit is None else commit.at


# -- statistics -----------------------------------------------------------------------------------


class Stat(NamedTuple):
    """How much of a group is different, and how many events its chains got."""

    group: str
    added: int
    removed: int
    changed: int
    events: int

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {"type": "diffstat", **self._asdict()}


def count_changes(changes: Iterable[Change]) -> list[Stat]:
    """Count changes by groups, in their order; groups without any are left out."""
    counts: dict[str, list[int]] = {}
    for change in changes:
        row = counts.setdefault(change.group, [0, 0, 0, 0])
        row[0 if change.before is None else 1 if change.after is None else 2] += 1
        row[3] += change.events
    return [Stat(group, *row) for group, row in counts.items()]
