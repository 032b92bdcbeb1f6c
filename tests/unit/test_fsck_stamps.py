"""``fsck``: stamps that versions tell of the slot before them, compared with the store's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tclog.clock import hlc, stamp
from tclog.event import chain_id
from tclog.maintenance.fsck.chains import tell_stamps
from tclog.maintenance.fsck.findings import Damage, Findings, Writer
from tclog.sync.objects import unseen

AT_US = 1_800_000_000_000_000


def told_stamps(
    said_s: float, stored_s: float, *, others: int = 1, compared: int = 9, oldest_s: float | None,
    mark_s: float | None,
) -> list[str]:  # fmt: skip
    """Return what is told of slots whose stamp is another one than their successor says."""

    def at(seconds: float | None) -> Any:
        return None if seconds is None else stamp(AT_US + round(seconds * 1e6))

    where = Writer("key", chain_id("memory", "k"), 2, "alice")
    rows = [(where, at(said_s), at(stored_s), hlc(AT_US, 0))] * others
    ledger: Any = SimpleNamespace(stamps=lambda: rows)
    told: list[Damage] = []
    found = Findings(ledger, told.append, unseen)
    found.oldest, found.compared = at(oldest_s), compared
    tell_stamps(found, at(mark_s))
    return [one.code for one in told]


@pytest.mark.parametrize(
    ("oldest_s", "mark_s", "others", "compared", "copied"),
    [
        (10, 5, 1, 9, False),
        (5, 5, 1, 9, True),
        (4, 5, 1, 9, True),
        (None, 5, 1, 9, True),
        (10, None, 1, 9, True),
        (10, 5, 1, 2, False),
        (10, 5, 1, 1, True),
        (10, 5, 2, 4, False),
        (10, 5, 2, 3, True),
    ],
)
def test_a_copy_is_told_by_its_mark_or_by_most_of_its_stamps(
    oldest_s: float | None, mark_s: float | None, others: int, compared: int, copied: bool
) -> None:
    told = told_stamps(1, 2, others=others, compared=compared, oldest_s=oldest_s, mark_s=mark_s)
    assert told == (["stamps-copied"] if copied else ["stamp-wrong"] * others)


@pytest.mark.parametrize(
    ("said_s", "stored_s", "original"),
    [(1, 2, True), (2, 2, False), (3, 2, False), (-120, 2, True), (-120.000001, 2, False)],
)
def test_in_a_copy_only_what_may_have_been_the_originals_stamp_is_let_pass(
    said_s: float, stored_s: float, original: bool
) -> None:
    told = told_stamps(said_s, stored_s, oldest_s=5, mark_s=5)
    assert told == (["stamps-copied"] if original else ["stamp-wrong"])
