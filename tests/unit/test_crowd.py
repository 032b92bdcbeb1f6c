"""A crowd at one inbox: how long one that waits does so, and what is committed for others."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from tclog.chain import combine
from tclog.chain.client import NOBODY, Crowd
from tclog.chain.combine import Announcement, Joined
from tclog.clock import SECOND_US, stamp
from tclog.event import chain_id
from tclog.store.base import Entry, Get, List

from .making import T0_US, make_event

CAROL = chain_id("inbox", "carol")
ROUND_S = 0.1


class Sender:
    """What a sender knows: its clock, how long requests take, and who shared versions lately."""

    def __init__(self, crowd: float = 0, pace_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.crowd = NOBODY if not crowd else Crowd(float(crowd), 0.0, pace_s)
        self.learnt: list[Any] = []
        self.client: Any = SimpleNamespace(
            round_s=ROUND_S,
            monotonic_s=lambda: self.now_s,
            crowd=lambda chain: self.crowd,
            learn_crowd=self.learnt.append,
            clock=SimpleNamespace(now_us=lambda: T0_US),
        )
        self.race: Any = SimpleNamespace(client=self.client, chain=CAROL, placed=False, sealed=None)

    def seen(self, after: int = 5, head: Any = None) -> combine._Seen:
        return combine._Seen(self.client, CAROL, announced(after=after), head)


def version(seq: int, *events: Any) -> Any:
    return SimpleNamespace(seq=seq, events=events)


numbers = itertools.count(1)


def announced(
    text: str = "", *, after: int = 5, size: int = 10, agent: str = "alice", at_us: int = T0_US
) -> Announcement:
    body = {"text": text or f"text {next(numbers)}"}
    event = make_event("message.send", body, agent=agent, at_us=at_us)
    return Announcement(f"pending/{event.at}-{event.id}", after, event, size)


# -- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("crowd", [0, 7])
def test_few_do_not_wait_for_each_other(crowd: int) -> None:
    seen = Sender(crowd).seen()
    assert not seen.waits()
    assert seen.pause_s == 0


@pytest.mark.parametrize(
    ("pace_s", "pause_s", "patience_s"), [(0.0, 0.4, 1.6), (0.7, 0.4, 1.6), (2.0, 1.0, 4.0)]
)
def test_from_eight_on_they_wait_four_requests_or_half_a_version(
    pace_s: float, pause_s: float, patience_s: float
) -> None:
    """And for sixteen requests, or two versions, before they see to it themselves."""
    sender = Sender(8, pace_s)
    seen = sender.seen()
    assert seen.pause_s == pytest.approx(pause_s)
    for waited_s, waits in ((0.0, True), (patience_s - 0.01, True), (patience_s + 0.01, False)):
        sender.now_s = 1000.0 + waited_s
        assert seen.waits() == waits
    sender.now_s = seen.patient_s
    assert not seen.waits()


def test_as_many_wait_as_share_the_newest_version_or_did_lately() -> None:
    events = [announced().event for _ in range(9)]
    assert Sender().seen(head=version(5, *events)).crowd().size == 9
    assert Sender(8).seen(head=version(5, *events)).crowd().size == 9
    assert Sender(12, 0.3).seen(head=version(5, *events)).crowd() == Crowd(12.0, 0.0, 0.3)
    assert Sender().seen().crowd().size == 0


@pytest.mark.parametrize(("pace_s", "first_s"), [(0.0, 0.15), (1.0, 0.15), (3.0, 0.3)])
def test_each_look_in_vain_is_followed_by_a_longer_pause(pace_s: float, first_s: float) -> None:
    sender = Sender(20, pace_s)
    seen = sender.seen()
    seen.behind = True
    for nth in range(4):
        seen.look_again()
        assert seen.pause_s == pytest.approx(first_s * 1.5**nth)
    assert not seen.behind
    # With the next version it begins again.
    came = version(6, announced().event)
    seen.add(came)
    assert (seen.head, seen.versions, sender.learnt) == (came, [came], [came])
    seen.look_again()
    assert seen.pause_s == pytest.approx(first_s)


def test_the_oldest_goes_first_and_twice_as_many_each_time_it_does_not() -> None:
    sender = Sender(20)
    others = [f"pending/{nth:02}" for nth in range(40)]
    for place, turns in ((0, 0), (1, 2), (2, 3), (3, 3), (4, 4), (8, 5), (20, 6)):
        seen = sender.seen()
        mine = seen.mine._replace(key=f"{others[place]}+")
        seen.mine = mine
        keys = [mine.key, *reversed(others[: place and place + 1]), *others[place + 1 :]]
        if place:
            keys.remove(others[place])
        for _ in range(turns):
            assert seen.yields(keys), (place, turns)
        assert not seen.yields(keys), (place, turns)


def test_who_lets_others_go_first_looks_after_three_requests() -> None:
    sender = Sender()
    seen = sender.seen()
    assert seen.yields(["a", "b", seen.mine.key])
    assert seen.pause_s == pytest.approx(0.3)
    # However that pause is drawn, up to a fifth longer, a look comes before the next try.
    sender.now_s += 0.3 * 1.2
    assert seen.waits()
    sender.now_s = 1000.46
    assert not seen.waits()


@pytest.mark.parametrize(
    ("passed", "yields"), [(0, True), (8, True), (9, True), (10, False), (30, False)]
)
def test_who_was_passed_over_by_many_versions_yields_no_more(passed: int, yields: bool) -> None:
    """Those who make them help nobody."""
    seen = Sender().seen(after=5, head=version(5 + passed))
    assert seen.yields(["a", "b", seen.mine.key]) == yields


@pytest.mark.parametrize("count", [3, 4, 5])
def test_of_four_and_more_one_makes_the_next_version(count: int) -> None:
    events = [announced(agent=f"agent-{nth}").event for nth in range(count)]
    makers = []
    for seq in range(10, 10 + count):
        shared: Any = version(seq, *events)
        makers += [e.agent for e in events if combine._succeeds(Joined(shared, e))]
    assert sorted(makers) == ([] if count == 3 else [f"agent-{nth}" for nth in range(count)])


# -- what is committed for others -----------------------------------------------------------------


def test_a_version_takes_a_mebibyte_and_at_least_one_event() -> None:
    mebi = 1 << 20
    rows = [announced(size=size) for size in (mebi - 10, 10, 1)]
    assert combine._batch(rows) == rows[:2]
    large = [announced(size=mebi + 1), rows[2]]
    assert combine._batch(large) == large[:1]
    assert combine._batch([]) == []


def test_what_is_announced_twice_is_taken_once() -> None:
    row = announced()
    again, other = row._replace(key="pending/again"), announced()
    assert combine._batch([row, again, other]) == [row, other]


@pytest.mark.parametrize(("age_s", "old"), [(299, False), (300, False), (301, True)])
def test_what_was_announced_five_minutes_ago_is_not_committed(age_s: int, old: bool) -> None:
    sender = Sender()
    row = announced(at_us=T0_US - age_s * SECOND_US)
    assert combine._lingers(sender.race, row) == old
    # What stands in another chain stays what it is.
    sender.race.sealed = SimpleNamespace(event=row.event)
    assert combine._lingers(sender.race, row) == old
    sender.race.placed = True
    assert not combine._lingers(sender.race, row)
    sender.race.sealed = SimpleNamespace(event=announced().event)
    assert combine._lingers(sender.race, row) == old


def test_a_listing_leaves_out_what_is_five_minutes_older_than_the_newest() -> None:
    def entry(key: str, age_s: float | None) -> Entry:
        stored = None if age_s is None else stamp(T0_US - round(age_s * 1e6))
        return Entry(key, 0, stored)

    entries = [entry("a", 300), entry("b", 299.999), entry("c", None), entry("d", 0)]
    protocol = combine._list_pending(Sender().race)
    asked = next(protocol)
    assert isinstance(asked, List)
    assert asked.limit == 256
    assert asked.after.endswith("/2026-11-23T153705.512345")
    with pytest.raises(StopIteration) as end:
        protocol.send(entries)
    assert [one.key for one in end.value.value] == ["b", "c", "d"]


def back(sender: Sender, seen: combine._Seen, rows: list[Announcement]) -> tuple[Any, list[int]]:
    """Look back; return the result and which slots were asked for."""
    protocol = combine._look_back(sender.race, seen, rows)
    asked: list[int] = []
    try:
        step = next(protocol)
        while True:
            steps = step if type(step) is tuple else (step,)
            assert all(type(one) is Get for one in steps)
            asked += [9_999_999_999 - int(one.key[-15:-5]) for one in steps]
            step = protocol.throw(LookupError())
    except StopIteration as end:
        return end.value, asked
    except LookupError:
        return None, asked


@pytest.mark.parametrize(("after", "asked"), [(36, [*range(37, 69)]), (99, [100]), (100, [])])
def test_what_came_since_an_announcement_is_read_up_to_64_versions_back(
    after: int, asked: list[int]
) -> None:
    sender = Sender()
    seen = sender.seen(after=100)
    row = announced(after=after)
    result, slots = back(sender, seen, [row, announced(after=100)])
    assert slots == asked
    assert (result is None) == bool(asked)


def test_what_was_announced_more_than_64_versions_ago_is_left_alone() -> None:
    sender = Sender()
    seen = sender.seen(after=100)
    row, old = announced(after=100), announced(after=35)
    assert back(sender, seen, [row, old]) == (([row], []), [])
    # What a later version holds is done; one before the announcement may hold another's.
    seen.versions = [version(101, row.event)]
    assert back(sender, seen, [row]) == (([], [row]), [])
    seen.versions = [version(100, row.event)]
    assert back(sender, seen, [row]) == (([row], []), [])


def test_an_unknown_end_names_the_version_that_may_hold_the_event() -> None:
    row = announced()
    error = combine._unknown(Sender().race, row.event, 5, "why")
    assert (error.details["version"], error.details["chain"]) == (6, CAROL)
    assert error.details["id_key"] == f"{row.event.id[:16]}.6"
    assert f"--id {row.event.id[:16]}.6" in str(error.hint)
    assert (error.details["event"], "(why)" in error.message) == (row.event.id, True)
