"""Barriers: all go on when N different agents have arrived, and then the name is free again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tclog.domain import barriers
from tclog.domain.barriers import Arrive, Leave, State
from tclog.domain.decision import Draft, Unchanged
from tclog.errors import Refused

from .making import Chain, Rules

RULES = Rules(barriers.EMPTY, barriers.decide, barriers.evolve, barriers.pack, barriers.unpack)

arrivals = st.tuples(st.just("arrive"), st.sampled_from("abcd"), st.integers(1, 4))
leavings = st.tuples(st.just("leave"), st.sampled_from("abcd"), st.integers(1, 3))


@given(st.lists(st.tuples(arrivals | arrivals | leavings, st.booleans()), max_size=40))
def test_a_generation_ends_exactly_when_its_number_of_different_agents_is_there(happenings):
    chain, generation, forming, there = Chain(RULES), 1, 0, []
    for (word, agent, number), rogue in happenings:
        if word == "arrive":
            command, op, body = Arrive(agent, number), "barrier.arrive", {"parties": number}
            allowed = agent not in there and forming in (0, number)
            says = Draft if allowed else Unchanged
            says = says if forming in (0, number) else Refused
        else:
            command, op, body = Leave(agent, number), "barrier.leave", {"generation": number}
            allowed = agent in there and number == generation
            says = Draft if allowed else Unchanged
        if rogue:
            chain.commit(agent, op, body)
        else:
            assert isinstance(chain.act(agent, command), says)
        if allowed and word == "arrive":
            forming, there = number, [*there, agent]
        elif allowed:
            there.remove(agent)
        if len(there) == forming:
            generation, forming, there = generation + (forming > 0), 0, []
        forming = forming if there else 0
        assert chain.state == State(generation, forming, tuple(there))


@pytest.mark.parametrize("parties", [1, 2, 1000])
def test_the_name_can_be_used_again_by_the_same_agents(parties):
    chain = Chain(RULES)
    for generation in (1, 2):
        for agent in range(parties):
            assert chain.state.generation == generation
            assert isinstance(chain.act(f"agent-{agent}", Arrive(f"agent-{agent}", parties)), Draft)
    assert chain.state == State(generation=3)


def test_an_agent_counts_once_however_often_it_arrives():
    chain = Chain(RULES)
    chain.act("alice", Arrive("alice", 2))
    assert isinstance(chain.act("alice", Arrive("alice", 2)), Unchanged)
    chain.commit("alice", "barrier.arrive", {"parties": 2})
    assert chain.state == State(1, 2, ("alice",))


def test_who_leaves_is_not_counted_and_who_left_last_frees_the_number():
    chain = Chain(RULES)
    chain.act("alice", Arrive("alice", 2))
    assert chain.act("bob", Arrive("bob", 3)).code == "parties-mismatch"
    chain.act("alice", Leave("alice", 1))
    chain.act("bob", Arrive("bob", 3))
    assert chain.state == State(1, 3, ("bob",))


def test_who_leaves_too_late_does_not_leave_the_next_generation():
    chain = Chain(RULES)
    chain.act("alice", Arrive("alice", 1))
    chain.act("alice", Arrive("alice", 2))
    assert isinstance(chain.act("alice", Leave("alice", 1)), Unchanged)
    chain.commit("alice", "barrier.leave", {"generation": 1})
    assert chain.state == State(2, 2, ("alice",))


def test_who_has_not_arrived_cannot_be_withdrawn_by_anybody():
    chain = Chain(RULES)
    chain.act("alice", Arrive("alice", 3))
    chain.commit("bob", "barrier.leave", {"generation": 1})
    assert chain.state == State(1, 3, ("alice",))
