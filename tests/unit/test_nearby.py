"""Which name was probably meant."""

from __future__ import annotations

import pytest

from tclog.log.nearby import nearest, within

NAMES = ["design", "build", "typo", "bob", "step-2", "s1", "api.contract", "größe"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dessign", "design"),
        ("desgin", "design"),
        ("desig", "design"),
        ("dezign", "design"),
        ("ddesing", "design"),
        ("DESIGN", "design"),
        ("de-sign", "design"),
        ("bulid", "build"),
        ("tpyo", "typo"),
        ("Bob", "bob"),
        ("api_contract", "api.contract"),
        ("grosse", "größe"),
        ("step-3", None),
        ("s2", None),
        ("xyzzy", None),
        ("designs-of-all", None),
        ("bo", "bob"),
        ("ob", None),
        ("dog", None),
        ("", None),
        ("design", None),
    ],
)
def test_the_nearest_name(name: str, near: str | None) -> None:
    assert nearest(name, NAMES) == near


@pytest.mark.parametrize("slips", [0, 1, 2])
def test_so_many_slips_and_no_more(slips: int) -> None:
    for word, other, needed in [
        ("abcdef", "abcdef", 0),
        ("abcdef", "bacdef", 1),
        ("abcdef", "acdef", 1),
        ("abcdef", "abcdefg", 1),
        ("abcdef", "abxdef", 1),
        ("abcdef", "bacdfe", 2),
        ("abcdef", "cdef", 2),
        ("abcdef", "xbcdey", 2),
        ("abcdef", "fedcba", 6),
    ]:
        assert within(word, other, slips) == within(other, word, slips) == (needed <= slips)
