"""Tags: set, moved only on request, taken away; what was is not forgotten by the chain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tclog.chain.fold import rules_of
from tclog.clock import hlc
from tclog.domain import tags
from tclog.domain.decision import Draft, Place, Unchanged
from tclog.errors import BadName, Refused
from tclog.log.tags import check_tag_name
from tclog.moment import parse_moment

from .making import T0_US, Chain, Rules

RULES = Rules(tags.EMPTY, tags.decide, tags.evolve, tags.pack, tags.unpack)
NOON = hlc(T0_US, 0)
LATER = hlc(T0_US + 1, 7)


def test_a_tag_stands_for_a_moment_until_it_is_moved_or_taken_away():
    chain = Chain(RULES)
    chain.act("alice", tags.SetTag("v1", NOON))
    assert chain.state == tags.State(NOON)
    chain.act("bob", tags.SetTag("v1", LATER, move=True))
    assert chain.state == tags.State(LATER)
    chain.act("bob", tags.DeleteTag("v1"))
    assert chain.state == tags.EMPTY
    chain.act("alice", tags.SetTag("v1", NOON))
    assert chain.state == tags.State(NOON)
    assert chain.seq == 4


def test_a_tag_is_not_moved_by_accident():
    chain = Chain(RULES)
    chain.act("alice", tags.SetTag("v1", NOON))
    refused = chain.act("bob", tags.SetTag("v1", LATER))
    assert isinstance(refused, Refused)
    assert refused.code == "tag-exists"
    assert chain.state == tags.State(NOON)


def test_what_is_so_already_writes_nothing():
    chain = Chain(RULES)
    assert isinstance(chain.act("alice", tags.DeleteTag("v1")), Unchanged)
    chain.act("alice", tags.SetTag("v1", NOON))
    for move in (False, True):
        assert isinstance(chain.act("bob", tags.SetTag("v1", NOON, move)), Unchanged)
    assert chain.seq == 1


def test_unknown_ops_and_fields_change_nothing():
    chain = Chain(RULES)
    chain.commit("alice", "tag.set", {"at": NOON, "reverts": "0" * 64})
    assert chain.state == tags.State(NOON)
    chain.commit("alice", "tag.later", {"at": LATER})
    assert chain.state == tags.State(NOON)


def test_the_chain_layer_knows_the_ops():
    ops = rules_of("tag/v1").ops  # type: ignore[arg-type]
    drafts = [
        tags.decide(tags.EMPTY, tags.SetTag("v1", NOON), Place(1)),
        tags.decide(tags.State(NOON), tags.DeleteTag("v1"), Place(2)),
    ]
    assert {draft.op for draft in drafts if isinstance(draft, Draft)} == ops.keys()


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["before-merge", "v1.2", "release 1", "naïve 🙂", "a/b", "abc"])
def test_a_name_may_be_what_is_read_as_a_tag(name):
    assert check_tag_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["10m", "10m ago", "2h30m", "@", "now", "Now", "today", "yesterday", "2026-11-23", "9999-99-99",
     "abcd", "BEEF", "2026", "f" * 64, " v1", "v1 ", "", "a\nb", "x" * 201],
)  # fmt: skip
def test_a_name_that_is_read_as_something_else_is_refused(name):
    with pytest.raises(BadName):
        check_tag_name(name)


@given(st.text(max_size=12))
def test_every_name_that_is_taken_is_found_again(name):
    try:
        check_tag_name(name)
    except BadName:
        return
    assert parse_moment(name, T0_US).tag == name
