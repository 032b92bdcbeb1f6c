"""What ``scripts/mutants`` changes, and what is said of the changes that no test notices."""

from __future__ import annotations

import ast

import pytest

from mutants.__main__ import MODULES, ROOT, Explained, Mutant, explained, sample
from mutants.changes import changed, changes, differs

SOURCE = '''\
"""A module."""
from typing import NamedTuple

LIMIT = 5


class Row(NamedTuple):
    size: int = 0

    def fits(self, other, more):
        """Whether it does."""
        left = self.size - other
        if not left or more is None:
            raise ValueError(f"{left + 1} is too much")
        self.size += 1
        return self.size <= LIMIT and min(left, more) == max(other, 2)
'''


def test_each_change_is_one_other_program() -> None:
    found = [change for change in changes(SOURCE) if differs(SOURCE, change)]
    sources = [changed(SOURCE, change) for change in found]
    trees = {ast.dump(ast.parse(source)) for source in [SOURCE, *sources]}
    assert len(trees) == len(found) + 1
    shown = {change.shown for change in found}
    assert shown >= {
        "5 -> (6)",
        "0 -> (-1)",
        "self.size - other -> (self.size + other)",
        "not left or more is None -> (not left and more is None)",
        "not left or more is None -> (not left or False)",
        "not left -> (left)",
        "more is None -> (more is not None)",
        "self.size += 1 -> pass",
        "self.size <= LIMIT -> (self.size < LIMIT)",
        "min(left, more) -> (max(left, more))",
    }
    # Not what only fails for want of a name, nor what is said to people.
    assert not any("left = self.size" in change for change in shown)
    assert not any("left + 1" in change and "raise" not in change for change in shown)


def test_a_change_knows_its_function_and_the_lines_of_its_statement() -> None:
    (change,) = [one for one in changes(SOURCE) if one.shown == "not left -> (left)"]
    assert (change.where, change.line, change.first, change.last) == ("Row.fits", 13, 13, 13)


def test_a_sample_is_the_same_for_the_same_seed_and_takes_from_each_module() -> None:
    small = [module for module in MODULES if len((ROOT / module).read_text()) < 6000][:8]
    assert len(small) > 3
    some = sample(small, (), 10, 3)
    assert some == sample(small, (), 10, 3)
    assert some != sample(small, (), 10, 4)
    assert len(some) == 10
    assert {one.module for one in some} == set(small)


@pytest.mark.parametrize("row", explained(), ids=lambda row: f"{row.where} {row.change}"[:80])
def test_what_is_explained_is_one_change_that_can_be_made(row: Explained) -> None:
    assert row.kind in ("equivalent", "cost")
    assert row.why
    found = [Mutant(row.module, one) for one in changes((ROOT / row.module).read_text())]
    # The same may be changed twice in one line.
    assert len({one.change.line for one in found if row.of(one)}) == 1
