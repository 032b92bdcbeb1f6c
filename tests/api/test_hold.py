"""``log.steps.hold``: a block holds a step exactly as long as the claim is safe, and says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from support.project import until

import tclog
from tclog.chain.drive import run
from tclog.log import holding
from tclog.log.project import create_project
from tclog.store.memory import MemoryStore

LEASE_S = 60.0


class Team:
    """Agents on one store, and the clock by which leases are counted here."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.project = run(create_project("p", "0" * 32, time.time_ns() // 1000), self.store)
        self.now_s = 1000.0

    def log(self, agent: str, session: str | None = None) -> tclog.Log:
        return tclog.Log(self.store, self.project, agent=agent, session=session)

    def hold(self, log: tclog.Log, lease_s: float = LEASE_S) -> holding.hold:  # type: ignore[valid-type]
        return holding.hold(log, "build", lease_s, lambda: self.now_s)


@pytest.fixture
def team() -> Team:
    return Team()


def test_a_block_holds_the_step_and_completes_it(team: Team) -> None:
    alice, bob = team.log("alice"), team.log("bob")
    with alice.steps.hold("build", lease_s=LEASE_S) as claim:
        assert claim.lost is None
        claim.check()
        with pytest.raises(tclog.Refused) as refused:
            bob.steps.claim("build")
        assert refused.value.code == "step-held"
        assert repr(claim) == f"Hold(step='build', fence={claim.fence})"
    assert bob.steps.show("build").state == "complete"


def test_the_lease_is_renewed_while_the_block_runs(team: Team) -> None:
    alice, bob = team.log("alice"), team.log("bob")
    with alice.steps.hold("build", lease_s=0.5):
        first = bob.steps.show("build")
        until(lambda: bob.steps.show("build").version >= first.version + 4)
        with pytest.raises(tclog.Refused):
            bob.steps.claim("build")
    assert bob.steps.show("build").state == "complete"


def test_after_an_exception_the_step_is_free(team: Team) -> None:
    alice, bob = team.log("alice"), team.log("bob")
    with pytest.raises(ZeroDivisionError), alice.steps.hold("build"):
        _ = 1 / 0
    assert bob.steps.show("build").state == "ready"
    bob.steps.claim("build")


ENDS: dict[str, tuple[Callable[[tclog.Log, int], object], str]] = {
    "complete": (lambda log, fence: log.steps.complete("build", fence=fence, to="bob"), "complete"),
    "fail": (
        lambda log, fence: log.steps.complete("build", fence=fence, outcome="failed"),
        "failed",
    ),
    "release": (lambda log, fence: log.steps.release("build", fence=fence), "ready"),
}


@pytest.mark.parametrize("session", [None, "named"])
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("how", ENDS)
def test_a_block_may_end_the_step_itself(
    team: Team, how: str, raises: bool, session: str | None
) -> None:
    alice = team.log("alice", session)
    end, state = ENDS[how]

    def work() -> None:
        with alice.steps.hold("build") as claim:
            end(alice, claim.fence)
            version.append(alice.steps.show("build").version)
            if raises:
                raise KeyError

    version: list[int] = []
    if raises:
        with pytest.raises(KeyError):
            work()
    else:
        work()
    found = alice.steps.show("build")
    assert (found.state, found.version) == (state, version[0]), "nothing was written at the end"


@pytest.mark.parametrize("session", [None, "named"])
def test_two_blocks_of_one_session_do_not_hold_one_step(team: Team, session: str | None) -> None:
    alice = team.log("alice", session)
    with (
        alice.steps.hold("build"),
        pytest.raises(tclog.Refused) as refused,
        team.log("alice", session).steps.hold("build"),
    ):
        pass
    assert refused.value.code == "step-held"


def test_a_claim_of_a_named_session_moves_into_the_block(team: Team) -> None:
    alice = team.log("alice", "named")
    before = alice.steps.claim("build").fence
    with alice.steps.hold("build") as claim:
        assert claim.fence != before
    weak = team.log("alice")
    weak.steps.claim("test")
    with pytest.raises(tclog.Refused), weak.steps.hold("test"):
        pass


def take_over(team: Team) -> None:
    team.log("bob").steps.claim("build", steal=True, reason="alice is stuck")


def end_by_force(team: Team) -> None:
    team.log("bob").steps.complete("build", force=True, reason="alice is stuck")


LOSSES = {"taken over": take_over, "ended by force": end_by_force}


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("how", LOSSES)
def test_a_block_whose_claim_was_lost_raises_and_writes_nothing(
    team: Team, how: str, noticed: bool
) -> None:
    """Whether a renewal has noticed it, or only the end of the block does."""
    alice = team.log("alice")

    def work() -> None:
        with team.hold(alice, 2.0 if noticed else LEASE_S) as claim:
            LOSSES[how](team)
            seen.append(team.log("bob").steps.show("build"))
            if noticed:
                until(lambda: claim.lost)
                with pytest.raises(tclog.Refused):
                    claim.check()
                assert "lost='claim-lost'" in repr(claim)

    seen: list[tclog.Step] = []
    with pytest.raises(tclog.Refused) as lost:
        work()
    assert lost.value.code == "claim-lost"
    assert "build" in lost.value.message
    assert lost.value.hint == "tclog step show build"
    assert team.log("bob").steps.show("build") == seen[0]


def test_an_exception_goes_before_a_lost_claim_and_says_it_too(team: Team) -> None:
    alice = team.log("alice")
    with pytest.raises(ZeroDivisionError) as raised, team.hold(alice) as claim:
        take_over(team)
        _ = 1 / 0
    assert claim.lost is None, "no renewal was due yet"
    (note,) = raised.value.__notes__
    assert note.startswith("step build was not given back: ")
    assert team.log("bob").steps.show("build").agent == "bob"


def test_a_lease_that_may_have_ended_counts_as_lost(team: Team) -> None:
    """The store's clock is not asked: by ours the lease ends first, since it was sent later."""
    alice = team.log("alice")

    def work() -> None:
        with team.hold(alice) as claim:
            team.now_s += LEASE_S
            assert claim.lost is None
            team.now_s += 0.001
            assert claim.lost is not None
            assert claim.lost.code == "lease-not-renewed"
            team.now_s -= 1
            assert claim.lost is not None, "what was lost stays lost"

    with pytest.raises(tclog.StoreError) as lost:
        work()
    assert lost.value.code == "lease-not-renewed"
    assert team.log("bob").steps.show("build").state == "claimed", "nobody else has it by now"


def test_a_late_renewal_proves_that_nobody_held_the_step_meanwhile(team: Team) -> None:
    """The token is the same; had another agent claimed the step, the renewal would be refused."""
    alice = team.log("alice")
    with team.hold(alice) as claim:
        team.now_s += LEASE_S + 1
        assert claim._keeper.renew() == LEASE_S / 3
        claim.check()
    assert alice.steps.show("build").state == "complete"


def test_each_renewal_counts_from_before_it_was_sent(team: Team) -> None:
    """The answer may take long; the lease began when the store took the renewal, or later."""
    alice = team.log("alice")
    own, keeper = holding.take(alice, "build", LEASE_S, lambda: team.now_s)
    assert own.client.session.startswith(alice.client.session)
    assert keeper.deadline_s == 1000.0 + LEASE_S
    renew = keeper._log.steps.renew

    def slow(*words: object, **named: object) -> tclog.Step:
        done = renew(*words, **named)  # type: ignore[arg-type]
        team.now_s += 30
        return done

    keeper._log.steps.renew = slow  # type: ignore[method-assign]
    assert keeper.renew() == LEASE_S / 3
    assert keeper.deadline_s == 1000.0 + LEASE_S
    assert keeper.renew() == LEASE_S / 3
    assert keeper.deadline_s == 1030.0 + LEASE_S


def test_a_store_that_does_not_answer_is_asked_again_until_the_lease_ends(team: Team) -> None:
    alice = team.log("alice")
    _, keeper = holding.take(alice, "build", LEASE_S, lambda: team.now_s)

    def fail(*_: object, **__: object) -> tclog.Step:
        raise tclog.StoreUnreachable("no answer")

    keeper._log.steps.renew = fail  # type: ignore[method-assign]
    while not keeper.overdue():
        pause_s = keeper.renew()
        assert pause_s == 1.0
        team.now_s += pause_s
    assert team.now_s == pytest.approx(1000.0 + LEASE_S, abs=1.0)


def test_no_thread_is_left_behind(team: Team) -> None:
    alice = team.log("alice")
    before = threading.active_count()
    with alice.steps.hold("build"):
        assert threading.active_count() == before + 1
    with pytest.raises(KeyError), alice.steps.hold("test"):
        raise KeyError
    assert threading.active_count() == before


def test_a_step_is_given_back_where_no_thread_can_be_had(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = team.log("alice")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError), alice.steps.hold("build"):
        pass
    assert alice.steps.show("build").state == "ready"
