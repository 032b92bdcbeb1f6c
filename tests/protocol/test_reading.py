"""Reading: stale listings, half-made folders, the clock of who reads, steps that lie fallow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tclog.chain.drive import run
from tclog.chain.read import list_chains, read_forward, read_head, read_range
from tclog.clock import parse_us
from tclog.errors import Refused
from tclog.event import chain_id
from tclog.log.claims import claim_step, renew_step
from tclog.log.memory import append_value, set_value
from tclog.log.steps import show_step
from tclog.log.transactions import Transaction
from tclog.store.base import Create
from tclog.store.file import FileStore

from .world import World

KEY = chain_id("memory", "k")


class KilledError(BaseException):
    """The process is gone."""


@pytest.fixture
def world() -> World:
    return World()


def write(world: World, agent: str, times: int) -> None:
    for nth in range(times):
        world.run(append_value(world[agent], "k", f"{nth}"))


@pytest.mark.parametrize("others", [3, 4, 9])
def test_a_listing_that_is_behind_takes_no_reader_back(world: World, others: int) -> None:
    """After some steps forward a reader lists; it may be shown what was the newest once."""
    write(world, "bob", 2)
    known = world.run(read_head(world["alice"], KEY))
    assert known is not None
    shown = world.store.list("chains/memory/k", "", 10, False)
    write(world, "bob", others)
    world.store.list = lambda *_: shown[:1]  # type: ignore[method-assign]
    found = world.run(read_forward(world["alice"], known))
    assert found.seq == known.seq + 3


def test_a_folder_that_was_made_for_a_name_and_is_empty_yet_is_no_chain(tmp_path: Path) -> None:
    """Its writer is between making the folder and creating the first version, or was killed."""
    store = FileStore(tmp_path, fsync=False)
    long = "é" * 90
    world = World()
    run(set_value(world["alice"], long, "v"), store)
    run(set_value(world["alice"], "short", "v"), store)
    folder = next((tmp_path / "chains" / "memory").glob("*~*"))
    (slot,) = folder.iterdir()
    assert run(list_chains("memory"), store) == [f"memory/{name}" for name in ("short", long)]
    slot.unlink()
    assert run(list_chains("memory"), store) == ["memory/short"]


def test_who_reads_a_range_stamps_what_follows_later(world: World) -> None:
    """The writer's clock is ahead by less than what is believed."""
    world.client("bob", off_s=0.0)
    write(world, "bob", 1)
    ahead = world.client("bob", off_s=90.0)
    ahead.learn_offset = lambda *_, **__: None  # type: ignore[method-assign]
    write(world, "bob", 3)
    alice = world["alice"]
    versions = world.run(read_range(alice, KEY, 1, 3))
    assert parse_us(versions[-1].at) > world.clock.us + 60_000_000
    assert alice.clock.last >= versions[-1].at
    assert alice.clock.tick() > versions[-1].at


def dies_in_a_transaction(world: World, agent: str) -> None:
    """Leave a version of step "build" whose transaction lacks its other slot."""
    both = Transaction(world[agent])
    both.step_note("build", "half")
    both.memory_set("k", "half")
    slots = iter(range(10))

    def kill(step: Any) -> None:
        if isinstance(step, Create) and step.key.startswith("chains/") and next(slots) == 1:
            raise KilledError

    world.before = kill
    with pytest.raises(KilledError):
        world.run(both.protocol(None))
    world.before = lambda _: None


def test_who_holds_a_step_can_be_replaced_also_after_a_version_that_changes_nothing(
    world: World,
) -> None:
    """A transaction over the step was aborted; the holder has died meanwhile."""
    world.run(claim_step(world["bob"], "build", lease_s=60))
    dies_in_a_transaction(world, "alice")
    world.clock.pass_s(30)
    with pytest.raises(Refused):
        world.run(claim_step(world["carol"], "build"))
    world.clock.pass_s(40)
    step = world.run(claim_step(world["carol"], "build"))
    assert (step.agent, step.note) == ("carol", None)
    assert world.run(show_step(world.client("dan"), "build")).note is None


def test_whose_lease_was_renewed_holds_it_also_after_a_version_that_changes_nothing(
    world: World,
) -> None:
    world.run(claim_step(world["bob"], "build", lease_s=60))
    dies_in_a_transaction(world, "alice")
    world.clock.pass_s(30)
    world.run(renew_step(world["bob"], "build"))
    world.clock.pass_s(40)
    with pytest.raises(Refused):
        world.run(claim_step(world["carol"], "build"))
    assert world.run(show_step(world.client("dan"), "build")).agent == "bob"
