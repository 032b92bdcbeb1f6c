"""Stamps and the hybrid logical clock."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tclog.clock import (
    AHEAD_TRUSTED_US,
    COUNTER_MAX,
    END_US,
    SECOND_US,
    HybridClock,
    format_us,
    hlc,
    parse_hlc,
    parse_us,
    rfc3339,
    stamp,
    stamp_of,
)
from tclog.errors import Damaged
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.memory import MemoryStore

from .making import T0_US

HOUR_US = 3600 * SECOND_US
EARLIEST_US = -62_135_596_800_000_000  # 0001-01-01
LATEST_US = 253_402_300_799_999_999  # 9999-12-31

micros = st.integers(EARLIEST_US, LATEST_US)
counters = st.integers(0, COUNTER_MAX)


class Wall:
    """A machine's clock that does what the test says."""

    def __init__(self, us=T0_US):
        self.us = us

    def __call__(self):
        return self.us


@given(micros, counters, micros, counters)
@example(EARLIEST_US, 0, T0_US, 0)
@example(T0_US, 9, T0_US, 10)
@example(T0_US, 0xFFF, T0_US, 0x1000)
def test_the_order_of_texts_is_the_order_of_times(us, counter, other_us, other_counter):
    assert (hlc(us, counter) < hlc(other_us, other_counter)) == (
        (us, counter) < (other_us, other_counter)
    )
    assert (format_us(us) < format_us(other_us)) == (us < other_us)
    assert (stamp(us) < stamp(other_us)) == (_cut(us) < _cut(other_us))


def _cut(us):
    return min(max(us, 0), END_US - 1)


@given(micros, counters)
def test_stamps_are_read_as_they_were_written(us, counter):
    assert parse_hlc(hlc(us, counter)) == (us, counter)
    assert parse_us(stamp(us)) == _cut(us)
    assert parse_us(format_us(us)) == parse_us(hlc(us, counter)) == us
    assert rfc3339(hlc(us, counter)) == format_us(us)
    assert (len(hlc(us, counter)), len(stamp(us))) == (32, 27)
    assert datetime.fromisoformat(stamp(us)).tzinfo == UTC


@pytest.mark.parametrize(
    ("machine_us", "year"), [(0, "2020"), (EARLIEST_US, "2020"), (LATEST_US, "8999")]
)
def test_a_clock_out_of_bounds_makes_stamps_that_may_be_read(machine_us, year):
    wall = Wall(machine_us)
    clock = HybridClock(wall)
    first = clock.tick()
    assert first[:4] == year
    assert first < clock.tick() < "9000"
    # What the store says of the first write sets it right.
    clock.learn(machine_us, stamp(T0_US))
    assert clock.tick() == hlc(T0_US, 0)


def test_nothing_comes_after_the_last_stamp():
    clock = HybridClock(Wall())
    last = hlc(END_US - 1, COUNTER_MAX)
    assert clock.tick(after=hlc(END_US - 1, COUNTER_MAX - 1)) == last
    with pytest.raises(Damaged, match="nothing can come after"):
        clock.tick(after=last)
    assert clock.tick() < hlc(T0_US + SECOND_US, 0)


def test_a_stamp_of_another_zone_is_the_same_moment():
    there = datetime(2026, 11, 23, 17, 42, 5, 512_345, timezone(timedelta(hours=2)))
    assert stamp_of(there) == "2026-11-23T15:42:05.512345Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23T15:42:05.512345Z",
        "2026-11-23T15:42:05.512345Z-00000",
        "2026-11-23T15:42:05.512345Z+0000",
        "2026-11-23T15:42:05.5123456-0000",
        "2026-11-23T15:42:05.512345Z-FFFF",
        "2026-11-23T15:42:05.512345Z-+fff",
        "2026-11-23T15:42:05.512345Z-0x1f",
        "2026-11-23T15:42:05.512345Z-000g",
        "2026-11-23 15:42:05.512345Z-0000",
        "2026-11-23T15:42:05,512345Z-0000",
        "2026-W48-1T15:42:05.512345Z-0000",
        "2026-13-23T15:42:05.512345Z-0000",
        "2026-11-23T15:42:05.512345+-0000",
        "2026-11-23T15:42:05.51234\u0665Z-0000",
    ],
)
def test_a_text_whose_order_would_not_be_its_time_is_no_stamp(text):
    with pytest.raises(ValueError, match=r"."):
        parse_hlc(text)


_steps = st.lists(
    st.tuples(st.just("jump"), st.integers(-2 * HOUR_US, 2 * HOUR_US))
    | st.tuples(st.just("see"), st.integers(-HOUR_US, AHEAD_TRUSTED_US))
    | st.tuples(st.just("follow"), st.integers(-HOUR_US, AHEAD_TRUSTED_US))
    | st.tuples(st.just("tick"), st.just(0)),
    max_size=30,
)


@given(_steps, counters)
def test_each_tick_is_greater_than_all_before_and_all_trusted_stamps_seen(steps, counter):
    wall = Wall()
    clock = HybridClock(wall)
    greatest = clock.tick()
    for word, us in steps:
        if word == "jump":
            wall.us += us
            continue
        seen = hlc(wall.us + us, counter)
        if word == "see":
            clock.observe(seen)
        issued = clock.tick(after=seen if word == "follow" else None)
        assert issued > greatest
        assert word == "tick" or issued > seen
        assert clock.last == issued
        greatest = issued


def test_a_tick_follows_the_wall_clock_when_that_goes_forward():
    wall = Wall()
    clock = HybridClock(wall)
    clock.tick()
    wall.us += 1
    assert clock.tick() == hlc(T0_US + 1, 0)
    assert clock.tick() == hlc(T0_US + 1, 1)


def test_the_counter_fills_its_four_digits():
    assert hlc(0, COUNTER_MAX) == "1970-01-01T00:00:00.000000Z-ffff"


def test_a_full_counter_goes_over_into_the_next_microsecond():
    clock = HybridClock(Wall(), last=hlc(T0_US + 5, COUNTER_MAX))
    assert clock.tick() == hlc(T0_US + 6, 0)
    far = hlc(T0_US + HOUR_US, COUNTER_MAX)
    assert clock.tick(after=far) == hlc(T0_US + HOUR_US + 1, 0)


def test_a_clock_goes_on_from_the_last_stamp_of_its_agent():
    last = hlc(T0_US + 100, 3)
    assert HybridClock(Wall(), last=last).tick() == hlc(T0_US + 100, 4)


@given(st.integers(AHEAD_TRUSTED_US + 1, 1000 * HOUR_US), counters)
@example(HOUR_US, 0)
def test_a_stamp_far_ahead_is_obeyed_in_its_chain_and_merged_nowhere_else(ahead_us, counter):
    wall = Wall()
    clock = HybridClock(wall)
    far = hlc(T0_US + ahead_us, counter)
    before = clock.tick()
    followed = clock.tick(after=far)
    assert followed > far
    assert clock.tick(after=followed) > followed
    clock.observe(far)
    elsewhere = clock.tick()
    assert before < elsewhere < far
    assert parse_us(elsewhere) == T0_US


@given(st.integers(-100 * HOUR_US, 100 * HOUR_US))
@example(HOUR_US)
@example(-HOUR_US)
def test_a_clock_that_is_hours_wrong_is_corrected_by_one_write(wrong_us):
    wall = Wall(T0_US + wrong_us)
    clock = HybridClock(wall)
    clock.tick()
    offset_us = clock.learn(wall.us, stamp(T0_US))
    noise_us = 2 * SECOND_US
    assert offset_us == clock.offset_us == (-wrong_us if abs(wrong_us) > noise_us else 0)
    assert abs(clock.now_us() - T0_US) <= noise_us
    assert clock.wall_us() == wall.us
    corrected = clock.tick()
    assert abs(parse_us(corrected) - T0_US) <= AHEAD_TRUSTED_US
    assert clock.tick() > corrected


def test_after_the_correction_the_stamps_of_others_are_trusted_by_the_right_time():
    slow = HybridClock(Wall(T0_US - HOUR_US))
    others = hlc(T0_US, 5)
    slow.observe(others)
    assert slow.tick() < others
    slow.learn(T0_US - HOUR_US, stamp(T0_US))
    slow.observe(others)
    assert slow.tick() > others


@given(st.integers(-2 * SECOND_US, 2 * SECOND_US))
def test_a_difference_within_the_stamps_resolution_says_nothing(noise_us):
    clock = HybridClock(Wall(), offset_us=HOUR_US)
    assert clock.learn(T0_US, stamp(T0_US + noise_us)) == 0
    assert clock.now_us() == T0_US


@given(st.integers(0, 600 * SECOND_US), st.floats(0, 1), st.integers(-HOUR_US, HOUR_US))
@example(3 * SECOND_US, 1.0, 0)
def test_a_slow_write_says_no_more_than_it_can(took_us, share, wrong_us):
    """Somewhere within the write the store took its stamp, and cut it to whole seconds."""
    clock = HybridClock(Wall())
    stored_us = T0_US + round(took_us * share)
    stored = stamp(stored_us - stored_us % SECOND_US)
    offset_us = clock.learn(T0_US + wrong_us, stored, took_us=took_us)
    if wrong_us == 0:
        assert offset_us == 0
    assert abs(offset_us + wrong_us) <= 3 * SECOND_US + took_us


def test_a_store_with_finer_stamps_corrects_a_smaller_error():
    clock = HybridClock(Wall())
    assert clock.learn(T0_US, stamp(T0_US + 2001), resolution_us=1000) == 2001
    assert clock.learn(T0_US, stamp(T0_US + 2000), resolution_us=1000) == 0


def test_a_small_correction_backwards_does_not_turn_the_stamps_back():
    clock = HybridClock(Wall())
    issued = clock.tick()
    clock.learn(T0_US, stamp(T0_US - 5 * SECOND_US))
    assert clock.tick() > issued


def test_an_agents_stamps_grow_though_its_processes_end_in_another_order(tmp_path, monkeypatch):
    """One that waits long and makes no stamp does not take back what another has made meanwhile."""
    now_us = [1_800_000_000_000_000]
    monkeypatch.setattr(time, "time_ns", lambda: now_us[0] * 1000)
    store = MemoryStore(lambda: now_us[0])

    def begin():
        return Log(store, Project("p", "id", ""), agent="alice", cache=tmp_path)

    waiting = begin()
    waiting.memory.set("k", "first")
    now_us[0] += 90 * SECOND_US
    quick = begin()
    quick.memory.set("other", "second")
    waiting.memory.get("k")
    now_us[0] -= 60 * SECOND_US  # the clock was set back
    late = begin()
    late.memory.set("further", "third")
    assert late.client.clock.last > quick.client.clock.last


def test_a_stamp_exceeds_the_one_it_is_issued_after_though_that_is_not_believed():
    """The wall clock was set back, so both what was issued last and ``after`` are ahead of it."""
    for ahead in range(4):
        wall = Wall()
        clock = HybridClock(wall)
        us, counter = parse_hlc(clock.tick())
        wall.us -= HOUR_US
        after = hlc(us, counter + ahead)
        assert clock.tick(after=after) > after
