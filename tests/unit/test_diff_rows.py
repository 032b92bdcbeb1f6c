"""Rows of a diff: what one says, and how they are counted."""

from __future__ import annotations

from typing import Any

import pytest

from tclog.clock import hlc
from tclog.event import ChainId, chain_id
from tclog.history.diff import Change, Stat, count_changes
from tclog.index.rows import Commit

from .making import T0_US, make_event

KEY = chain_id("memory", "k")
EVENT = make_event("memory.set", {"type": "text", "value": "v"}, agent="bob")


def change(
    group: str = "memory", *, before: Any = None, after: Any = None, **fields: Any
) -> Change:
    given: dict[str, Any] = {"last": None, "events": 1, **fields}
    return Change(group, KEY, before, after, **given)


@pytest.mark.parametrize("because", [None, chain_id("step", "design")])
def test_a_row_says_which_event_came_last_if_any(because: ChainId | None) -> None:
    last = Commit(hlc(T0_US, 3), KEY, 2, 0, EVENT)
    told = change(last=last, version_before=1, version_after=2, because=because).as_json()
    assert (told["id"], told["agent"], told["op"]) == (EVENT.id, "bob", "memory.set")
    assert told["at"] == hlc(T0_US, 3)[:27]
    assert (told["version_before"], told["version_after"], told["events"]) == (1, 2, 1)
    assert told.get("because") == because
    none = change().as_json()
    assert [none[name] for name in ("id", "agent", "at", "op")] == [None] * 4


def test_rows_are_counted_by_their_groups() -> None:
    one = {"x": 1}
    rows = [
        change(after=one, events=2),
        change(after=one, events=3),
        change(before=one, events=5),
        change(before=one, after={"x": 2}, events=7),
        change("steps", before=one, after={"x": 2}, events=1),
    ]
    assert count_changes(rows) == [Stat("memory", 2, 1, 1, 17), Stat("steps", 0, 0, 1, 1)]
    assert count_changes(rows)[0].as_json() == {
        "type": "diffstat", "group": "memory", "added": 2, "removed": 1, "changed": 1, "events": 17,
    }  # fmt: skip
