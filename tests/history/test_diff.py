"""`diff A B` applied to the state at A gives the state at B; it says by whom, and it is quick."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from history.looking import apply, diff_between, open_history, state_at
from tclog.clock import Hlc
from tclog.history.snapshot import END
from tclog.store.memory import MemoryStore
from tclog.testing.generate import generate

EVENTS = 2500
PAIRS = 60


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_changes_applied_to_one_state_give_the_other(seed: int, tmp_path: Path) -> None:
    store = MemoryStore()
    generate(store, events=EVENTS, seed=seed, agents=6)
    history = open_history(store, tmp_path)
    history.sync()
    rng = random.Random(seed)
    stamps = [commit.at for commit in history.index.commits(newest_first=False)]
    stamps += [Hlc("2000-01-01T00:00:00.000000Z-0000"), END]
    kinds = set()
    for nth in range(PAIRS):
        a, b = rng.choices(stamps, k=2)
        if nth % 2:  # moments that are close to each other, where little changes
            b = stamps[min(stamps.index(a) + rng.randint(0, 5), len(stamps) - 1)]
        changes = diff_between(history, a, b)
        then, now = state_at(history, a), state_at(history, b)
        assert apply(changes, then) == now
        assert apply(diff_between(history, b, a), now) == then
        kinds |= {(change.group, change.because is not None) for change in changes}
        for change in changes:
            assert change.last is not None, change
            assert min(a, b) < change.last.at <= max(a, b)
    assert {group for group, _ in kinds} == {
        "memory", "steps", "inboxes", "artifacts", "barriers", "agents", "tags",
    }  # fmt: skip
    assert ("steps", True) in kinds
