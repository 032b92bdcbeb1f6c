"""What became of a create, and of a transaction that is in the way: told, or not known."""

from __future__ import annotations

from typing import Any

import pytest

from tclog.chain import resolve as resolve_module
from tclog.chain.drive import Sleep
from tclog.chain.resolve import resolve
from tclog.chain.seal import check_stamped
from tclog.chain.slots import decode_slot
from tclog.clock import stamp
from tclog.domain.decision import Place
from tclog.errors import NotFound, OutcomeUnknown, StoreDenied, StoreError, StoreUnreachable
from tclog.event import Version, chain_id, slot_key
from tclog.log.memory import get_value, set_value
from tclog.log.transactions import Transaction
from tclog.store.base import Create, Created, Get, Outcome

from .world import World

A, B = (chain_id("memory", name) for name in "ab")
TAKEN = Created(Outcome.EXISTS, cause="the object exists")
OPEN = Created(Outcome.UNKNOWN, cause="no answer came")
SILENT, DENIED = StoreUnreachable("the store is silent"), StoreDenied("that is denied")


@pytest.mark.parametrize(
    ("creates", "reads", "error", "told"),
    [
        ([OPEN], [None], OutcomeUnknown, "no answer came"),
        ([OPEN], [SILENT], OutcomeUnknown, "silent"),
        ([TAKEN], [SILENT], OutcomeUnknown, "silent"),
        ([TAKEN], [None], OutcomeUnknown, "the object exists"),
        ([DENIED], [None], StoreDenied, "denied"),
        ([SILENT], [None], StoreUnreachable, "silent"),
        ([OPEN, DENIED], [None], OutcomeUnknown, "denied"),
        ([TAKEN, DENIED], [None], OutcomeUnknown, "denied"),
        ([OPEN, Created(Outcome.UNKNOWN)], [None], OutcomeUnknown, "no answer came"),
        # Some stores say no more than that.
        ([Created(Outcome.UNKNOWN)], [SILENT], OutcomeUnknown, "silent"),
        ([Created(Outcome.EXISTS)], [SILENT], StoreUnreachable, "silent"),
        ([Created(Outcome.EXISTS), DENIED], [None], OutcomeUnknown, "denied"),
    ],
)
def test_only_what_was_refused_at_once_was_certainly_not_written(
    creates: list[Any], reads: list[Any], error: type[Exception], told: str
) -> None:
    world = World()
    one = world._one
    slot, count = slot_key(A, 1), {Create: 0, Get: 0}

    def answer(step: Any) -> Any:
        if type(step) not in count or step.key != slot or (type(step) is Get and not count[Create]):
            return one(step)
        world.clock.pass_s(1)
        count[type(step)] += 1
        answers = creates if type(step) is Create else reads
        return answers[min(count[type(step)], len(answers)) - 1]

    world._one = answer  # type: ignore[method-assign]
    begun_s = world.now_s
    with pytest.raises(error, match=told) as failed:
        world.run(set_value(world["alice"], "a", "v"))
    if error is OutcomeUnknown:
        assert isinstance(failed.value, OutcomeUnknown)
        assert failed.value.details["version"] == 1
        # It was tried for as long as a client decides, and not much longer.
        assert 10 < world.now_s - begun_s < 15
    else:
        assert isinstance(failed.value, StoreError)
        assert count[Create] == 1


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.9])
def test_what_is_open_is_asked_for_again_at_growing_intervals(jitter: float) -> None:
    world, pauses = World(), []
    world.jitter = jitter
    one, slot = world._one, slot_key(A, 1)

    def answer(step: Any) -> Any:
        if type(step) is Sleep:
            pauses.append(step.seconds)
        return OPEN if type(step) is Create and step.key == slot else one(step)

    world._one = answer  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown):
        world.run(set_value(world["alice"], "a", "v"))
    factors = [1, 2, 4, 8, 16, 16, 16]
    expected = [0.05 * (0.5 + jitter) * factor for factor in factors]
    assert pauses[: len(factors)] == pytest.approx(expected)
    assert sum(pauses) == pytest.approx(10, abs=1.3)


class KilledError(BaseException):
    """The process is gone."""


def in_the_way(world: World, off_s: float = 0.0) -> Version:
    """Leave a transaction that has one of its two slots; return the version in it."""
    dora = world.client("dora", off_s)
    dora.learn_offset = lambda *_, **__: None  # type: ignore[method-assign]
    both = Transaction(dora)
    both.memory_set("a", "of dora")
    both.memory_set("b", "of dora")

    def kill(step: Any) -> None:
        if type(step) is Create and step.key == slot_key(B, 1):
            raise KilledError

    world.before = kill
    with pytest.raises(KilledError):
        world.run(both.protocol(None))
    world.before = lambda _: None
    found = world.store.get(slot_key(A, 1))
    assert found is not None
    return decode_slot(world.client("reader"), A, 1, found)


@pytest.mark.parametrize(("stamped", "off_s"), [(True, 0.0), (True, -60.0), (False, 0.0)])
@pytest.mark.parametrize(("age_s", "waits_s"), [(0.0, 2.0), (1.5, 0.5), (2.0, 0.0), (60.0, 0.0)])
def test_a_transaction_that_is_in_the_way_is_ended_two_seconds_after_it_began(
    stamped: bool, off_s: float, age_s: float, waits_s: float
) -> None:
    """By its slot's stamp, where that is known."""
    world = World()
    version = in_the_way(world, off_s)
    world.clock.pass_s(age_s)
    begun_s = world.now_s
    version = version if stamped else version._replace(stored=None)
    ended = world.run(resolve(world.client("bob"), version))
    assert (ended.settled, ended.aborted) == (True, True)
    assert world.now_s - begun_s == pytest.approx(waits_s, abs=0.2)
    assert world.store.get(slot_key(B, 1)) is not None
    with pytest.raises(NotFound):
        world.run(get_value(world.client("emil"), "a"))


def test_who_ends_a_transaction_may_lose_the_slot_that_would_end_it() -> None:
    """To a writer that was quicker: then that one has ended it."""
    world = World()
    version = in_the_way(world)

    def quicker(step: Any) -> None:
        if type(step) is Create and step.key == slot_key(B, 1):
            world.before = lambda _: None
            world.run(set_value(world["emil"], "b", "of emil"))

    world.before = quicker
    assert world.run(resolve(world.client("bob"), version)).aborted
    assert world.run(get_value(world.client("dan"), "b")).value == "of emil"


def test_nothing_follows_a_version_whose_stamp_is_not_told() -> None:
    version = in_the_way(World())
    check_stamped(version, Place(2, 0, stamp(0)))
    with pytest.raises(StoreUnreachable, match="no last-modified time for version 1 of memory/a"):
        check_stamped(version, Place(2, 0, None))


def test_a_transaction_that_stays_open_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps its slots empty, nothing was written after it."""
    world = World()
    version = in_the_way(world)
    tried = []

    def fill(client: Any, version: Version) -> Any:
        tried.append(version.seq)
        return
        yield

    monkeypatch.setattr(resolve_module, "_fill", fill)
    with pytest.raises(StoreUnreachable, match="the transaction at version 1 of memory/a"):
        world.run(resolve(world.client("bob"), version))
    assert len(tried) == 100
