"""Which state of a step ends a wait, and what the old holder of a lost claim is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tclog.domain import steps
from tclog.domain.decision import Place
from tclog.errors import Refused, TclogError
from tclog.log.claims import (
    claim_next,
    claim_step,
    claim_waiting,
    next_waiting,
    release_step,
    renew_step,
)
from tclog.log.handoff import complete_step
from tclog.log.lost import find_lost
from tclog.log.steps import add_step, note_step, reopen_step, wait_for_steps

from .world import World


@pytest.fixture
def world() -> World:
    return World()


def claim(world: World, agent: str, step: str, lease_s: float = 600, **options: Any) -> None:
    world.run(claim_step(world[agent], step, lease_s=lease_s, **options))


def complete(world: World, agent: str, step: str, **options: Any) -> None:
    world.run(complete_step(world[agent], step, **options))


# -- waits ----------------------------------------------------------------------------------------


def wait_for(world: World) -> Any:
    return world.run(wait_for_steps(world["alice"], "design", timeout_s=100))[0]


def claim_after(world: World) -> Any:
    """Wait for a step that comes after the design."""
    return world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=100))


def claim_any(world: World) -> Any:
    return world.run(next_waiting(world["alice"], lease_s=None, timeout_s=100))


def claim_itself(world: World) -> Any:
    return world.run(claim_waiting(world["alice"], "design", lease_s=None, timeout_s=100))


# A wait, and the step that it ends with when the design is complete (or reopened).
WAITS: list[tuple[Callable[[World], Any], str, str]] = [
    (wait_for, "complete", "design"),
    (claim_after, "complete", "build"),
    (claim_any, "complete", "build"),
    (claim_any, "reopen", "design"),
    (claim_itself, "reopen", "design"),
]
# Whether a state is a stage that a wait outlasts.
STAGES = [("needs_review", True), ("blocked", False), ("failed", False)]


@pytest.mark.parametrize(("outcome", "goes_on"), STAGES)
@pytest.mark.parametrize(
    ("wait", "then", "had"), WAITS, ids=[f"{wait.__name__}-{then}" for wait, then, _ in WAITS]
)
def test_which_states_end_a_wait(
    world: World, wait: Callable[[World], Any], then: str, had: str, outcome: str, goes_on: bool
) -> None:
    world.run(add_step(world["boss"], "build", after=["design"]))
    claim(world, "bob", "design")
    complete(world, "bob", "design", outcome=outcome)

    def go_on() -> None:
        if then == "complete":
            complete(world, "carol", "design", force=True, reason="looked at it")
        else:
            world.run(reopen_step(world["carol"], "design"))

    world.later(20, go_on)
    began_s = world.now_s
    if goes_on:
        assert wait(world).id == had
        assert world.now_s - began_s >= 20
        return
    with pytest.raises(Refused) as refused:
        wait(world)
    assert refused.value.exit == 4
    assert outcome in refused.value.message
    assert world.now_s - began_s < 1


def test_a_step_in_review_is_not_stuck_beside_one_that_is(world: World) -> None:
    """What waits for the one in review may still come."""
    for name, outcome in (("lint", "failed"), ("design", "needs_review")):
        claim(world, "bob", name)
        complete(world, "bob", name, outcome=outcome)
    world.run(add_step(world["boss"], "build", after=["design"]))
    world.later(20, lambda: complete(world, "carol", "design"))
    assert claim_any(world).id == "build"


def test_a_step_that_was_cancelled_can_neither_be_claimed_nor_waited_for() -> None:
    """No op of this format cancels a step; a later one does."""
    assert steps.CANCELLED in steps.STUCK
    assert steps.NEEDS_REVIEW not in steps.STUCK
    cancelled = steps.State(state=steps.CANCELLED, agent="bob", added=True)
    refused = steps.decide(cancelled, steps.Claim("x", "alice", 1000), Place(2))
    assert isinstance(refused, Refused)
    assert refused.code == "step-blocked"


# -- claims that were lost ------------------------------------------------------------------------


def taken_over(world: World) -> None:
    world.clock.pass_s(100)
    claim(world, "bob", "s")


def taken_over_twice(world: World) -> None:
    taken_over(world)
    world.clock.pass_s(700)
    claim(world, "carol", "s")


def stolen(world: World) -> None:
    claim(world, "bob", "s", steal="the build is red")


def completed_by_force(world: World) -> None:
    complete(world, "bob", "s", force=True, reason="the build is red")


def released_by_force(world: World) -> None:
    world.run(release_step(world["bob"], "s", force=True, reason="the build is red"))


LOSSES = [
    (taken_over, "taken over by bob", None),
    (taken_over_twice, "taken over by bob", None),
    (stolen, "stolen by bob", "the build is red"),
    (completed_by_force, "made complete by bob", "the build is red"),
    (released_by_force, "released by bob", "the build is red"),
]
HOLDERS: list[Callable[[World], Any]] = [
    lambda world: renew_step(world["alice"], "s"),
    lambda world: release_step(world["alice"], "s"),
    lambda world: complete_step(world["alice"], "s", outcome="failed"),
    lambda world: renew_step(world["alice"], "s", fence=1),
]


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize(("lose", "words", "reason"), LOSSES)
def test_the_old_holder_is_told_who_took_the_claim(
    world: World, lose: Callable[[World], None], words: str, reason: str | None, noted: bool
) -> None:
    claim(world, "alice", "s", lease_s=60)
    lose(world)
    if noted:
        world.run(note_step(world["dave"], "s", "looks good"))
    for act in HOLDERS:
        with pytest.raises(TclogError) as refused:
            world.run(act(world))
        assert f"the claim of alice was {words} at 2027-" in refused.value.message
        assert refused.value.details["lost_to"] == "bob"
        assert (reason or "lease had ended") in refused.value.message
    if lose in (taken_over, taken_over_twice, stolen):
        with pytest.raises(Refused) as stale:
            world.run(note_step(world["alice"], "s", "going on", fence=1))
        assert f"the claim of alice was {words}" in stale.value.message
    # Somebody who never held it is told nothing of the kind.
    with pytest.raises(Refused) as refused:
        world.run(renew_step(world["erin"], "s"))
    assert "the claim of" not in refused.value.message


def given_back(world: World) -> None:
    world.run(release_step(world["alice"], "s"))
    claim(world, "bob", "s")


def ended(world: World) -> None:
    complete(world, "alice", "s", outcome="failed")
    world.run(reopen_step(world["bob"], "s"))
    claim(world, "bob", "s")


def had_again(world: World) -> None:
    taken_over(world)
    world.run(release_step(world["bob"], "s"))
    claim(world, "alice", "s")


@pytest.mark.parametrize("end", [given_back, ended, had_again])
def test_a_claim_that_its_holder_ended_was_not_lost(
    world: World, end: Callable[[World], None]
) -> None:
    claim(world, "alice", "s", lease_s=60)
    end(world)
    assert world.run(find_lost(world["alice"], "s")) is None


def test_a_claim_that_another_session_of_the_name_took_over_is_told_of(world: World) -> None:
    first, second = world.client("alice"), world.client("alice")
    first.session, second.session = "s1", "s2"
    world.run(claim_step(first, "s", lease_s=60))
    world.clock.pass_s(100)
    world.run(claim_step(second, "s", lease_s=60))
    with pytest.raises(Refused) as refused:
        world.run(renew_step(first, "s"))
    assert "was taken over by alice in session s2" in refused.value.message
    assert world.run(find_lost(second, "s")) is None


def test_what_a_refusal_adds_costs_a_few_requests(world: World) -> None:
    """The refusal reads one version more; an untold loss costs nothing to those who succeed."""
    claim(world, "alice", "s", lease_s=60)
    taken_over(world)
    for nth in range(40):
        world.run(note_step(world["dave"], "s", f"note {nth}"))
    world.asked.clear()
    with pytest.raises(Refused):
        world.run(renew_step(world["dave"], "s"))
    without = len(world.asked)
    world.asked.clear()
    with pytest.raises(Refused) as refused:
        world.run(renew_step(world["alice"], "s"))
    assert refused.value.details["lost_to"] == "bob"
    assert len(world.asked) <= without + 2 + 45


def test_claim_next_does_not_say_that_nothing_is_left_while_a_step_is_in_review(
    world: World,
) -> None:
    claim(world, "bob", "design")
    complete(world, "bob", "design", outcome="needs_review")
    with pytest.raises(TclogError) as none:
        world.run(claim_next(world["alice"]))
    assert none.value.code == "no-step-ready"
