"""Idempotency keys whose objects contradict the log: no application is lost by them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import tclog
from tclog.chain.drive import run
from tclog.errors import Damaged, StoreDenied, StoreError, StoreUnreachable
from tclog.event import encode
from tclog.log.memory import set_value
from tclog.log.project import create_project
from tclog.store.base import Create, Created, Outcome
from tclog.store.memory import MemoryStore

from .world import World


class Site:
    """A project whose store's clock goes on by a second a request."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000_000_000
        self.store = MemoryStore(self.clock)
        self.project = run(create_project("p", "0" * 32, 0), self.store)

    def clock(self) -> int:
        self.now_us += 1_000_000
        return self.now_us

    def log(self, agent: str = "alice") -> tclog.Log:
        return tclog.Log(self.store, self.project, agent=agent)

    def forge(self, **fields: Any) -> None:
        """Change what the only binding says, as one that was made at the same time."""
        (row,) = self.store.list("once", "", 9, False)
        found = self.store.get(row.key)
        record = json.loads(found.data) | fields
        self.store._objects[row.key] = found._replace(data=encode(record))


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize("after", [3, 4, 99, 9_999_999_998])
def test_a_binding_that_names_a_later_version_loses_no_application(site: Site, after: int) -> None:
    site.log().memory.incr("n")
    first = site.log().memory.incr("n", id="once")
    for _ in range(3):
        site.log("bob").memory.incr("n")
    site.forge(after=after)
    assert site.log().memory.incr("n", id="once") == first
    assert site.log().memory.get("n").value == 5


def test_a_binding_that_is_right_is_believed(site: Site) -> None:
    for _ in range(3):
        site.log("bob").memory.incr("n")
    first = site.log().memory.incr("n", id="once")
    asked: list[str] = []
    real = site.store.get

    def get(key: str) -> Any:
        asked.append(key)
        return real(key)

    site.store.get = get  # type: ignore[method-assign]
    assert site.log().memory.incr("n", id="once") == first
    assert not [key for key in asked if key.endswith(("9999999998.json", "9999999997.json"))]


@pytest.mark.parametrize("fields", [{"agent": "bob"}, {"key": "other"}, {"chain": "memory/m"}])
def test_a_binding_of_another_key_is_damage(site: Site, fields: dict[str, str]) -> None:
    site.log().memory.incr("n", id="once")
    site.forge(**fields)
    with pytest.raises(Damaged) as told:
        site.log().memory.incr("n", id="once")
    assert told.value.details["object"].startswith("once/alice/")


@pytest.mark.parametrize(
    ("answers", "error", "creates"),
    [
        ([Created(Outcome.EXISTS, cause="there")], StoreUnreachable, 10),
        ([Created(Outcome.UNKNOWN, cause="gone")], StoreUnreachable, 10),
        ([StoreDenied("no")], StoreDenied, 1),
        ([Created(Outcome.UNKNOWN, cause="gone"), StoreDenied("no")], StoreDenied, 10),
    ],
    ids=["both", "unknown", "denied", "denied later"],
)
def test_a_key_that_cannot_be_bound_leaves_the_command_untried(
    answers: list[Any], error: type[StoreError], creates: int
) -> None:
    world, tried = World(), 0
    one = world._one

    def answer(step: Any) -> Any:
        nonlocal tried
        if type(step) is Create and step.key.startswith("once/"):
            tried += 1
            return answers[min(tried, len(answers)) - 1]
        return one(step)

    world._one = answer  # type: ignore[method-assign]
    with pytest.raises(error) as told:
        world.run(set_value(world["alice"], "k", "v", id="once"))
    assert tried == creates
    if error is StoreUnreachable:
        assert "both that once/alice/" in told.value.message
    assert not world.store.list("chains", "", 9, False)
    assert not world.store.list("events", "", 9, False)
