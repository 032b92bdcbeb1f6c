"""Objects that are there, and of which the store says that they are not: nothing rests on that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.stores import Around

import tclog
from tclog.chain import race as race_module
from tclog.chain.append import append
from tclog.chain.drive import run
from tclog.domain import steps
from tclog.domain.decision import Draft
from tclog.errors import Damaged, Refused, RolledBack, StoreUnreachable
from tclog.event import chain_id, decode
from tclog.index import Index
from tclog.log.project import create_project
from tclog.store.base import Entry, Found
from tclog.store.memory import MemoryStore
from tclog.sync.sync import sync

STEP = chain_id("step", "design")
NOTHING: Callable[[str], bool] = lambda key: False  # noqa: E731
EVENTS: Callable[[str], bool] = lambda key: key.startswith("events/")  # noqa: E731
SLOTS: Callable[[str], bool] = lambda key: key.startswith("chains/")  # noqa: E731


class Untold(MemoryStore):
    """A store that tells no stamp of what it was given, like a bucket."""

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)


class Denying(Around):
    """A store that says of some objects that they are not there, for a number of answers."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.head = self.get_ = NOTHING
        self.left = 10_000

    def _denies(self, which: Callable[[str], bool], key: str) -> bool:
        if which(key) and self.left:
            self.left -= 1
            return True
        return False

    def stat(self, key: str) -> Entry | None:
        return None if self._denies(self.head, key) else super().stat(key)

    def get(self, key: str) -> Found | None:
        return None if self._denies(self.get_, key) else super().get(key)

    def get_file(self, key: str) -> Any:
        return None if self._denies(self.get_, key) else super().get_file(key)


class Site:
    """A project whose store's clock is given."""

    def __init__(self) -> None:
        self.now_us = 1_800_000_000_000_000
        self.store = Denying(Untold(lambda: self.now_us))
        self.project = run(create_project("p", "0" * 32, 0), self.store)

    def log(self, agent: str) -> tclog.Log:
        log = tclog.Log(self.store, self.project, agent=agent)
        log.client.monotonic_s = lambda: self.now_us / 1e6

        def sleep(seconds: float) -> None:
            self.now_us += round(seconds * 1e6)

        from tclog.chain.trust import guard

        log.run = lambda protocol: run(guard(log.client, protocol), self.store, sleep)  # type: ignore[method-assign]
        return log

    def versions(self) -> list[dict[str, Any]]:
        rows = self.store.inner.list("chains/step/design", "", 99, False)
        return [decode(self.store.inner.get(row.key).data, row.key) for row in reversed(rows)]


@pytest.fixture
def site() -> Site:
    return Site()


HEADS = [EVENTS, SLOTS, lambda key: True]


@pytest.mark.parametrize("head", HEADS)
def test_a_claim_of_a_held_step_is_refused_though_every_head_is_a_404(
    site: Site, head: Any
) -> None:
    site.log("alice").steps.claim("design", lease_s=60)
    site.store.head = head
    for _ in range(2):
        with pytest.raises(Refused) as told:
            site.log("bob").steps.claim("design")
        assert told.value.code == "step-held"
    assert site.log("bob").steps.show("design").agent == "alice"


@pytest.mark.parametrize("head", HEADS)
def test_a_dead_holders_lease_ends_though_every_head_is_a_404(site: Site, head: Any) -> None:
    site.store.head = head
    alice = site.log("alice")
    alice.steps.claim("design", lease_s=60)
    alice.steps.note("design", "on it")
    site.log("carol").steps.note("design", "me too")
    site.now_us += 120_000_000
    taken = site.log("bob").steps.claim("design", lease_s=60)
    assert (taken.agent, site.log("carol").steps.show("design").agent) == ("bob", "bob")
    stamps = [version["prev_stored"] for version in site.versions()]
    assert stamps[0] is None
    assert None not in stamps[1:]


def test_an_event_that_is_there_and_is_not_told_of_decides_nothing(site: Site) -> None:
    """Neither HEAD nor GET finds what was just put: 7, and nothing is committed."""
    site.log("alice").steps.claim("design", lease_s=1)
    site.now_us += 10_000_000
    site.store.head = site.store.get_ = EVENTS
    with pytest.raises(StoreUnreachable, match="just written"):
        site.log("bob").steps.claim("design")
    assert len(site.versions()) == 1


def test_a_slot_that_is_not_told_of_any_more_is_never_written_behind(site: Site) -> None:
    alice = site.log("alice")
    alice.steps.claim("design", lease_s=60)
    site.store.head = site.store.get_ = SLOTS
    with pytest.raises(RolledBack):
        alice.steps.note("design", "on it")
    assert len(site.versions()) == 1


def test_a_short_absence_is_waited_for(site: Site, tmp_path: Path) -> None:
    alice = site.log("alice")
    (tmp_path / "f").write_bytes(b"x" * 100)
    alice.artifacts.put(tmp_path / "f")
    alice.memory.set("k", "v" * 20_000)
    for _ in range(3):
        alice.memory.set("n", "1")
    site.store.get_ = lambda key: True
    acts: dict[str, Callable[[], Any]] = {
        "read of a version": lambda: alice.memory.get("n", version=1),
        "a range": lambda: alice.memory.history("n"),
        "a blob": lambda: alice.memory.get("k", version=1),
        "an artifact": lambda: alice.artifacts.get("f", tmp_path / "out"),
    }
    for what, act in acts.items():
        site.store.left = 1
        assert act(), what


@pytest.mark.parametrize("nth", range(6))
def test_a_sync_waits_for_a_slot_that_is_absent_for_a_moment(
    site: Site, tmp_path: Path, nth: int
) -> None:
    alice = site.log("alice")
    for _ in range(3):
        alice.memory.set("n", "1")
    alice.memory.set("m", "1")
    asked: list[str] = []

    def denies(key: str) -> bool:
        asked.extend([key] if SLOTS(key) else [])
        return SLOTS(key) and len(asked) == nth + 1

    site.store.get_ = denies
    index = Index(tmp_path)
    bob = site.log("bob")
    assert bob.run(sync(bob.client, index)).versions == 4
    assert (index.damage(), bob.client.left_out) == ({}, {})
    index.close()


def test_a_stamp_that_a_head_does_not_tell_is_read_with_the_object(site: Site) -> None:
    site.log("alice").steps.claim("design", lease_s=1)
    site.now_us += 10_000_000
    told = site.store.stat

    def untold(key: str) -> Entry | None:
        entry = told(key)
        return entry and entry._replace(stored=None)

    site.store.stat = untold  # type: ignore[method-assign]
    assert site.log("bob").steps.claim("design").agent == "bob"
    assert site.versions()[-1]["now"] is not None


def test_what_stays_absent_is_damage(site: Site) -> None:
    alice = site.log("alice")
    for _ in range(3):
        alice.memory.set("n", "1")
    site.store.get_ = lambda key: key.endswith("9999999997.json")
    with pytest.raises(Damaged, match="version 2 of memory/n is missing"):
        alice.memory.get("n", version=2)


def test_what_is_absent_is_asked_for_three_times_in_half_a_second(site: Site) -> None:
    """Twice it may be denied; what is not there costs no reader more than that."""
    alice = site.log("alice")
    for _ in range(3):
        alice.memory.set("n", "1")
    site.store.get_ = lambda key: key.endswith("9999999997.json")
    site.store.left = 2
    assert alice.memory.get("n", version=2).value == "1"
    site.store.left, begun_us = 10, site.now_us
    with pytest.raises(Damaged):
        alice.memory.get("n", version=2)
    assert (site.store.left, site.now_us - begun_us) == (7, 400_000)


# -- what is answered is what the fold says -------------------------------------------------------


def test_what_the_fold_would_ignore_is_not_written(site: Site) -> None:
    """A decision that the rules of all readers do not share: for one, one without the clock."""
    site.log("alice").steps.claim("design", lease_s=60)
    bob = site.log("bob")
    body = {"fence": 1, "from": "alice", "lease_ms": 1000}
    for op, body_ in (("step.takeover", body), ("step.claim", {"lease_ms": 1000})):
        draft = Draft(op, body_)
        with pytest.raises(Refused) as told:
            bob.run(append(bob.client, STEP, lambda state, place, draft=draft: draft))
        assert told.value.code == "no-effect"
    assert len(site.versions()) == 1


def test_a_judged_draft_without_the_stores_time_is_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.log("alice").steps.claim("design", lease_s=1)
    site.now_us += 10_000_000

    def untold(key: str) -> Any:
        return None
        yield

    monkeypatch.setattr(race_module, "stamp_of_put", untold)
    with pytest.raises(StoreUnreachable, match="time"):
        site.log("bob").steps.claim("design")
    assert len(site.versions()) == 1


def test_a_transaction_writes_nothing_that_the_fold_would_ignore(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = site.log("bob")
    monkeypatch.setattr(steps, "decide", lambda state, command, place: Draft("step.release", {}))
    transaction = bob.transaction()
    transaction.step_release("design")
    with pytest.raises(Refused) as told:
        bob.transact(transaction)
    assert told.value.code == "no-effect"
    assert site.versions() == []


def test_setting_a_value_to_what_it_is_has_an_effect(site: Site) -> None:
    log = site.log("alice")
    for _ in range(2):
        log.memory.set("k", "v")
    assert log.memory.get("k").version == 2
