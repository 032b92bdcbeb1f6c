"""Inboxes: numbers without gaps, broadcasts merged forwards only, acknowledgements as a set."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tclog.domain import inbox
from tclog.domain.decision import Draft, Place, Unchanged
from tclog.domain.inbox import READ_EMPTY, Ack, Read, Send, State, join, merge
from tclog.event import Event, EventId

from .making import Chain, Rules

MAIL = Rules(inbox.EMPTY, inbox.decide, inbox.evolve, inbox.pack, inbox.unpack)
READ = Rules(READ_EMPTY, inbox.decide_ack, inbox.evolve_ack, inbox.pack_read, inbox.unpack_read)
SEND = Send({"text": {"type": "text", "value": "hi"}, "to": ["bob"]})

ranges = st.builds(
    lambda first, length: (first, first + length), st.integers(1, 40), st.integers(0, 8)
)
some_ranges = st.lists(ranges, max_size=6).map(tuple)


def numbers(of):
    return {number for first, last in of for number in range(first, last + 1)}


@given(st.lists(st.none() | st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=20))
def test_the_count_is_what_was_sent_and_what_was_merged_once(happenings):
    # Version v of @all stands for broadcasts[v] messages up to it.
    broadcasts = [0, 1, 1, 2, 3, 5, 5, 6, 7, 8]
    chain, sent, reached = Chain(MAIL), 0, 0
    for happening in happenings:
        before = chain.state
        if happening is None:
            assert isinstance(chain.act("alice", SEND), Draft)
            sent += 1
            assert chain.state.count == before.count + 1
        else:
            version, ago = happening
            chain.state = merge(chain.state, version, broadcasts[version])
            # A late reader of @all knows less; taking that in must not go back.
            late = max(0, version - ago)
            chain.state = merge(chain.state, late, broadcasts[late])
            reached = max(reached, version)
        assert chain.state == State(sent + broadcasts[reached], reached, broadcasts[reached])
        assert inbox.unpack(inbox.pack(chain.state, ()), ()) == chain.state


def test_numbers_are_lost_only_among_the_broadcasts_and_where_junk_was_ended():
    def after(chain, voided):
        record = {"body": {"lost": 3, "reason": "r"}, "chains": [chain], "op": "chain.void"}
        return inbox.evolve(State(5), Event(EventId("0" * 64), record), Place(7, voided=voided))

    assert after("inbox/@all", 1) == State(8)
    assert after("inbox/@all", 0) == after("inbox/bob", 1) == State(5)


def test_a_newcomer_takes_in_all_broadcasts_at_once():
    assert merge(inbox.EMPTY, 10_000, 10_000) == State(10_000, 10_000, 10_000)
    assert merge(State(10_002, 10_000, 10_000), 10_001, 10_001).count == 10_003


def test_what_is_no_message_takes_no_number():
    chain = Chain(MAIL)
    chain.act("alice", SEND)
    chain.commit("alice", "message.ack", {"ranges": [[1, 1]], "version": 1})
    chain.commit("alice", "message.react", {})
    assert chain.state.count == 1


@given(some_ranges, some_ranges)
def test_joined_ranges_are_the_union_sorted_disjoint_and_as_few_as_can_be(one, other):
    joined = join(one, other)
    assert numbers(joined) == numbers(one) | numbers(other)
    assert all(first <= last for first, last in joined)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(joined))
    assert join(joined, ()) == joined == join(other, one)


@given(st.lists(st.tuples(some_ranges, st.integers(0, 5), st.booleans()), max_size=8))
def test_acknowledgements_only_add_up_and_are_written_only_when_they_add(acks):
    chain, read, reached = Chain(READ), set(), 0
    for acked, version, repeated in acks:
        for _ in range(2 if repeated else 1):
            news = not numbers(acked) <= read or version > reached
            decision = chain.act("bob", Ack(acked, version))
            assert isinstance(decision, Draft if news else Unchanged)
            read |= numbers(acked)
            reached = max(reached, version)
        state = chain.state
        assert numbers(state.ranges) == read
        assert state.version == reached
        assert {n for n in range(60) if state.covers(n)} == read
        assert state.floor == next(n for n in range(60) if n + 1 not in read)


def test_the_floor_is_zero_while_the_first_message_is_unread():
    assert (Read(((2, 9),)).floor, Read(((1, 9),)).floor, READ_EMPTY.floor) == (0, 9, 0)


def test_only_an_acknowledgement_acknowledges():
    chain = Chain(READ)
    chain.commit("alice", "message.send", {"text": {}, "to": ["bob"]})
    assert chain.state == READ_EMPTY


def test_an_acknowledgement_that_names_no_version_reaches_none():
    chain = Chain(READ)
    chain.act("bob", Ack(((1, 1),)))
    chain.commit("bob", "message.ack", {"ranges": [[2, 2]]})
    assert chain.state == Read(((1, 2),), 0)
    assert inbox.unpack_read({}, ()) == READ_EMPTY


def test_what_was_taken_in_already_is_not_taken_in_again():
    state = merge(State(2), 5, 3)
    assert state == State(5, 5, 3)
    for version, count in ((5, 3), (5, 9), (4, 9), (0, 0)):
        assert merge(state, version, count) == state
    # Broadcasts that have become junk since take no number back.
    assert merge(state, 7, 2) == State(5, 7, 2)
