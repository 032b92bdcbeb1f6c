"""Artifacts and agents: the two smallest rules."""

from hypothesis import given
from hypothesis import strategies as st

from tclog.domain import agents, artifacts
from tclog.domain.agents import Join
from tclog.domain.artifacts import PutArtifact, State
from tclog.domain.decision import Draft, Unchanged
from tclog.event import encode

from .making import T0_US, Chain, Rules, hex_ids, json_text, make_event

ARTIFACT = Rules(
    artifacts.EMPTY, artifacts.decide, artifacts.evolve, artifacts.pack, artifacts.unpack
)
AGENT = Rules(agents.EMPTY, agents.decide, agents.evolve, agents.pack, agents.unpack)

puts = st.builds(PutArtifact, hex_ids, st.integers(0, 2**53), st.none() | json_text)


@given(st.lists(puts, max_size=5))
def test_a_name_stands_for_what_was_put_last(commands):
    chain = Chain(ARTIFACT)
    assert chain.state == State(None, 0, None)
    for command in commands:
        assert isinstance(chain.act("alice", command), Draft)
        assert chain.state == State(command.blob, command.size, command.step)


def test_putting_the_same_bytes_again_is_a_version_of_its_own():
    chain = Chain(ARTIFACT)
    put = PutArtifact("0" * 64, 5)
    assert isinstance(chain.act("alice", put), Draft)
    assert isinstance(chain.act("bob", put), Draft)
    assert chain.seq == 2


def test_a_put_without_a_step_forgets_the_step_of_the_put_before():
    chain = Chain(ARTIFACT)
    chain.act("alice", PutArtifact("0" * 64, 5, "build"))
    chain.act("alice", PutArtifact("1" * 64, 6))
    assert chain.state == State("1" * 64, 6, None)


def test_an_operation_of_a_later_client_does_not_change_an_artifact():
    chain = Chain(ARTIFACT)
    chain.act("alice", PutArtifact("0" * 64, 5, "build"))
    chain.commit("alice", "artifact.expire", {"blob": "1" * 64, "size": 0})
    assert chain.state == State("0" * 64, 5, "build")


def test_an_agent_is_introduced_once_for_each_host():
    chain = Chain(AGENT)
    assert not chain.state.joined
    assert isinstance(chain.act("alice", Join("host", "session")), Draft)
    assert chain.state == agents.State(True, "host", "session")
    assert isinstance(chain.act("alice", Join("host", "another")), Unchanged)
    assert isinstance(chain.act("alice", Join("other host", "session")), Draft)
    later = make_event("agent.later", {}, host="elsewhere")
    assert agents.evolve(chain.state, later, chain.place()) == chain.state
    assert encode(agents.pack(chain.state, ())) == (
        b'{"host":"host","joined":true,"session":"session"}'
    )


@given(st.permutations([("alice", 1), ("alice", 3), ("alice", 2), ("bob", 2)]))
def test_an_agent_was_last_seen_at_its_latest_event_in_whatever_order_they_are_read(rows):
    events = [
        make_event("step.note", {}, agent=agent, at_us=T0_US + us, host=f"h{us}")
        for agent, us in rows
    ]
    seen = agents.last_seen(events)
    assert {name: row.host for name, row in seen.items()} == {"alice": "h3", "bob": "h2"}
    assert seen["alice"].last_seen.endswith("348Z-0000")
