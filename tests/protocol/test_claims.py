"""Claiming: which step is next, how long one waits for it, and what ends a wait."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tclog.domain.steps import AFTER_MAX, Withdraw
from tclog.errors import NotFound, Refused, UsageError, WaitTimeout
from tclog.log import claims
from tclog.log.barriers import pass_barrier
from tclog.log.claims import (
    claim_next,
    claim_step,
    claim_waiting,
    lease_ms_of,
    next_waiting,
    release_step,
)
from tclog.log.handoff import complete_step
from tclog.log.steps import add_step, change_step, reopen_step
from tclog.store.base import Create, List

from .world import World


@pytest.fixture
def world() -> World:
    return World()


def add(world: World, step: str, **options: Any) -> None:
    world.run(add_step(world["boss"], step, **options))


def claim(world: World, agent: str, step: str, lease_s: float = 600) -> None:
    world.run(claim_step(world[agent], step, lease_s=lease_s))


def complete(world: World, agent: str, step: str, outcome: str = "complete") -> None:
    world.run(complete_step(world[agent], step, outcome=outcome))


def taken(world: World, agent: str, **options: Any) -> str:
    return world.run(claim_next(world[agent], **options)).id


# -- which step is next ---------------------------------------------------------------------------


def test_the_next_step_is_the_one_of_the_highest_priority_then_the_oldest(world: World) -> None:
    # Neither the order of the names nor that of adding gives away the priority.
    for step, priority in (("m", 0), ("z", 5), ("a", 0), ("k", 5), ("b", -3), ("c", 7)):
        add(world, step, priority=priority)
    assert [taken(world, f"w{nth}") for nth in range(6)] == ["c", "z", "k", "m", "a", "b"]


def test_a_step_that_waits_is_passed_over_whatever_its_priority(world: World) -> None:
    add(world, "design")
    add(world, "build", after=["design"], priority=9)
    assert taken(world, "alice") == "design"
    with pytest.raises(NotFound):
        taken(world, "bob")
    complete(world, "alice", "design")
    assert taken(world, "bob") == "build"


@pytest.mark.parametrize(("jitter", "second"), [(0.0, "s1"), (0.5, "s2"), (0.99, "s3")])
def test_who_loses_the_best_step_tries_any_of_the_rest(
    world: World, jitter: float, second: str
) -> None:
    """So many workers that begin at once spread out."""
    for nth in range(4):
        add(world, f"s{nth}")
    world.jitter = jitter

    def rival(step: Any) -> None:
        if isinstance(step, Create) and step.key.startswith("chains/step/s0/"):
            world.before = lambda _: None
            claim(world, "rival", "s0")

    world.before = rival
    assert taken(world, "alice") == second


def test_who_loses_every_round_gives_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "NEXT_ROUNDS_MAX", 3)
    numbers = itertools.count()

    def greedy(step: Any) -> None:
        world.before = lambda _: None
        if isinstance(step, List) and step.prefix == "chains/step":
            add(world, f"s{next(numbers)}")
        elif isinstance(step, Create) and step.key.startswith("chains/step/"):
            claim(world, "rival", step.key.split("/")[2])
        world.before = greedy

    world.before = greedy
    with pytest.raises(Refused) as refused:
        taken(world, "alice")
    assert refused.value.code == "contended"


def test_where_nothing_is_ready_it_is_told_whether_something_is_left(world: World) -> None:
    def told() -> NotFound:
        with pytest.raises(NotFound) as missing:
            taken(world, "alice")
        return missing.value

    error = told()
    assert (error.code, error.hint) == ("no-step-left", "tclog step add --help")
    assert error.message == "no step is left to claim: no steps"
    add(world, "design")
    add(world, "build", after=["design"])
    claim(world, "bob", "design")
    error = told()
    assert (error.code, error.hint) == ("no-step-ready", "tclog step list")
    assert error.details["steps"] == {"claimed": 1, "pending": 1}
    assert error.message == "no step is ready: 1 claimed, 1 pending"
    complete(world, "bob", "design")
    claim(world, "bob", "build")
    assert told().code == "no-step-ready"
    complete(world, "bob", "build")
    error = told()
    assert error.code == "no-step-left"
    assert error.details["steps"] == {"complete": 2}
    assert "2 complete" in error.message


# -- steps whose holder is gone -------------------------------------------------------------------


@pytest.mark.parametrize("off_s", [-3600.0, 0.0, 3600.0])
def test_the_next_step_may_be_one_whose_lease_has_ended(world: World, off_s: float) -> None:
    """By the store's clock, whatever one's own says, and though one knows nothing of either."""
    add(world, "build")
    claim(world, "bob", "build", lease_s=60)
    world.clock.pass_s(62)
    world.client("alice", off_s)
    assert taken(world, "alice") == "build"


def test_what_is_ready_comes_before_what_has_lapsed(world: World) -> None:
    add(world, "held", priority=9)
    claim(world, "bob", "held", lease_s=60)
    add(world, "free")
    world.clock.pass_s(62)
    assert [taken(world, "alice"), taken(world, "carol")] == ["free", "held"]


@pytest.mark.parametrize("left_s", [30.0, 2.0])
def test_a_lease_that_runs_is_not_even_tried(world: World, left_s: float) -> None:
    """Each attempt would leave an event, and a waiter looks every two seconds."""
    add(world, "build")
    world.run(add_step(world["alice"], "other", after=["build"]))  # so alice knows the time
    claim(world, "bob", "build", lease_s=60)
    world.clock.pass_s(60 - left_s)
    world.asked.clear()
    with pytest.raises(NotFound):
        taken(world, "alice")
    assert not [step for step in world.asked if "events/" in getattr(step, "key", "")]
    # But once it has ended it is, by the same client.
    world.clock.pass_s(left_s + 1.1)
    assert taken(world, "alice") == "build"


def test_who_finds_other_dependencies_each_time_gives_up(world: World) -> None:
    """Another takes the step's definition back and gives it anew whenever these are read."""
    add(world, "build", after=["d0"])
    numbers = itertools.count(1)

    def fickle(step: Any) -> None:
        if "chains/step/d" in getattr(step, "prefix", ""):
            world.before = lambda _: None
            world.run(change_step(world["boss"], "build", Withdraw("build", "boss")))
            add(world, "build", after=[f"d{next(numbers)}"])
            world.before = fickle

    world.before = fickle
    with pytest.raises(Refused) as refused:
        claim(world, "alice", "build")
    assert (refused.value.code, "keep changing" in refused.value.message) == ("step-waiting", True)
    assert next(numbers) == 3 + AFTER_MAX


# -- waiting --------------------------------------------------------------------------------------


def test_a_wait_for_a_claim_ends_when_its_holder_gives_it_back(world: World) -> None:
    claim(world, "bob", "build", lease_s=3600)
    began_s = world.now_s
    world.later(20, lambda: world.run(release_step(world["bob"], "build")))
    step = world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=100))
    assert step.agent == "alice"
    assert 20 <= world.now_s - began_s < 24


def test_a_wait_for_a_claim_ends_when_what_it_waits_for_is_complete(world: World) -> None:
    """Also if that did not exist when the wait began."""
    add(world, "build", after=["design"])
    began_s = world.now_s

    def work() -> None:
        claim(world, "bob", "design")
        complete(world, "bob", "design")

    world.later(12, work)
    step = world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=100))
    assert step.agent == "alice"
    assert 12 <= world.now_s - began_s < 16


def test_a_wait_for_a_claim_ends_when_the_lease_does(world: World) -> None:
    claim(world, "bob", "build", lease_s=30)
    began_s = world.now_s
    step = world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=100))
    assert step.agent == "alice"
    assert 31 <= world.now_s - began_s < 36


def test_while_nothing_changes_a_waiter_leaves_no_attempts(world: World) -> None:
    claim(world, "bob", "build", lease_s=600)
    with pytest.raises(WaitTimeout):
        world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=200))
    events = world.store.list("events", "", 100, False)
    # Bob's claim, and alice's attempt that told her how long the lease lasts.
    assert len(events) <= 3


@pytest.mark.parametrize("outcome", ["complete", "blocked", "failed"])
def test_a_wait_for_a_claim_that_cannot_be_had_ends_at_once(world: World, outcome: str) -> None:
    claim(world, "bob", "build")
    complete(world, "bob", "build", outcome)
    began_s = world.now_s
    with pytest.raises(Refused) as refused:
        world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=100))
    assert refused.value.code == ("step-complete" if outcome == "complete" else "step-blocked")
    assert world.now_s - began_s < 1


def test_a_wait_for_a_claim_ends_at_once_when_it_can_no_longer_be_had(world: World) -> None:
    claim(world, "bob", "build", lease_s=3600)
    world.later(10, lambda: complete(world, "bob", "build", "blocked"))
    began_s = world.now_s
    with pytest.raises(Refused):
        world.run(claim_waiting(world["alice"], "build", lease_s=None, timeout_s=100))
    assert world.now_s - began_s < 14


def waits_for_next(world: World, timeout_s: float = 60) -> str:
    return world.run(next_waiting(world["alice"], lease_s=None, timeout_s=timeout_s)).id


def test_a_wait_for_the_next_step_lasts_while_somebody_works(world: World) -> None:
    """One step is stuck, but what another's work may make ready is still to come."""
    add(world, "stuck")
    claim(world, "carol", "stuck")
    complete(world, "carol", "stuck", "blocked")
    add(world, "design")
    add(world, "build", after=["design"])
    claim(world, "bob", "design")
    world.later(30, lambda: complete(world, "bob", "design"))
    assert waits_for_next(world) == "build"


def test_a_wait_for_the_next_step_lasts_while_a_step_may_still_be_added(world: World) -> None:
    """Nothing is stuck and nobody works: what is waited for does not exist yet."""
    add(world, "build", after=["design"])
    world.later(30, lambda: add(world, "design"))
    assert waits_for_next(world) == "design"
    with pytest.raises(WaitTimeout):
        waits_for_next(world, timeout_s=5)


def test_a_wait_for_the_next_step_ends_at_once_where_all_wait_for_what_is_stuck(
    world: World,
) -> None:
    add(world, "design")
    add(world, "build", after=["design"])
    claim(world, "bob", "design")
    complete(world, "bob", "design", "failed")
    began_s = world.now_s
    with pytest.raises(Refused) as refused:
        waits_for_next(world)
    assert refused.value.code == "wait-blocked"
    assert "failed" in refused.value.message
    assert world.now_s - began_s < 1
    # Reopened it is the next one.
    world.run(reopen_step(world["bob"], "design"))
    assert waits_for_next(world) == "design"


def test_a_wait_for_the_next_step_ends_at_once_where_none_is_left(world: World) -> None:
    claim(world, "bob", "build")
    complete(world, "bob", "build")
    began_s = world.now_s
    with pytest.raises(NotFound):
        waits_for_next(world)
    assert world.now_s - began_s < 1


@pytest.mark.parametrize("outcome", ["complete", "blocked", "failed", "needs_review"])
def test_a_reopened_step_has_neither_a_holder_nor_a_token(world: World, outcome: str) -> None:
    """It would look like a claim that its holder gave back."""
    claim(world, "bob", "build")
    complete(world, "bob", "build", outcome)
    step = world.run(reopen_step(world["alice"], "build"))
    assert (step.state, step.agent, step.fence) == ("ready", None, None)
    claim(world, "carol", "build")
    with pytest.raises(Refused):
        complete(world, "bob", "build")


@pytest.mark.parametrize(
    ("parties", "allowed"), [(0, False), (1, True), (1000, True), (1001, False)]
)
def test_a_barrier_has_1_to_1000_parties(world: World, parties: int, allowed: bool) -> None:
    protocol = pass_barrier(world["alice"], "gate", parties, timeout_s=0.0)
    if parties == 1:
        assert world.run(protocol).parties == 1
        return
    with pytest.raises(WaitTimeout if allowed else UsageError):
        world.run(protocol)


@pytest.mark.parametrize(
    ("lease_s", "lease_ms"),
    [
        (None, 1_800_000),
        (0.1, 100),
        (0.1004, 100),
        (1.5, 1500),
        (60, 60_000),
        (2_592_000, 2_592_000_000),
    ],
)
def test_a_lease_is_kept_in_milliseconds(lease_s: float | None, lease_ms: int) -> None:
    assert lease_ms_of(lease_s) == lease_ms


@pytest.mark.parametrize("lease_s", [-1, 0, 0.099, 2_592_000.001])
def test_a_lease_lasts_100_ms_to_30_days(lease_s: float) -> None:
    with pytest.raises(UsageError) as wrong:
        lease_ms_of(lease_s)
    assert wrong.value.code == "bad-lease"
