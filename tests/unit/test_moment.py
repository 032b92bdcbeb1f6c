"""Points in time and durations, as the command line promises them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tclog.clock import SECOND_US, format_us
from tclog.errors import UsageError
from tclog.moment import DURATION_MAX_S, Moment, parse_duration_s, parse_moment

from .making import T0_US

DAY_US = 86_400 * SECOND_US
MIDNIGHT_US = 1_795_392_000_000_000  # 2026-11-23T00:00:00Z


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("@", T0_US),
        ("now", T0_US),
        (" NOW ", T0_US),
        ("10m", T0_US - 600 * SECOND_US),
        ("10m ago", T0_US - 600 * SECOND_US),
        ("2h30m", T0_US - 9000 * SECOND_US),
        ("2h30m ago", T0_US - 9000 * SECOND_US),
        ("1d", T0_US - DAY_US),
        ("100d", T0_US - 100 * DAY_US),
        ("000100d", T0_US - 100 * DAY_US),
        ("1w", T0_US - 7 * DAY_US),
        ("1.1s", T0_US - 1_100_000),
        ("500ms", T0_US - 500_000),
        ("10M Ago", T0_US - 600 * SECOND_US),
        ("yesterday", T0_US - DAY_US),
        ("today", MIDNIGHT_US),
        ("2026-11-23T15:42:05.512345Z", T0_US),
        ("2026-11-23T17:42:05.512345+02:00", T0_US),
        ("2026-11-23 15:42:05.512345", T0_US),
        ("2026-11-23T00:00Z", MIDNIGHT_US),
        ("2026-11-23", MIDNIGHT_US),
    ],
)
def test_every_way_to_say_a_time_is_understood(text, us):
    assert parse_moment(text, T0_US) == Moment(us=us)


def test_a_date_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse_moment("2026-11-23", T0_US) == Moment(us=MIDNIGHT_US)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_that_was_printed_is_read_back(us):
    assert parse_moment(format_us(us), T0_US) == Moment(us=us)


@pytest.mark.parametrize("text", ["abcd", "ABCD", "1234", "0d0d0d0d", "20261123", "f" * 64])
def test_four_or_more_hex_digits_are_the_beginning_of_an_id(text):
    assert parse_moment(text, T0_US) == Moment(id_prefix=text.lower())


@given(st.text("0123456789abcdef", min_size=8, max_size=64))
def test_an_id_as_it_is_printed_is_never_read_as_something_else(prefix):
    assert parse_moment(prefix, T0_US) == Moment(id_prefix=prefix)


def test_a_printed_id_that_looks_like_days_is_an_id():
    assert parse_moment("1234567d", T0_US) == Moment(id_prefix="1234567d")


@pytest.mark.parametrize(
    "text", ["before-merge", "abc", "Release-1", "g" * 8, "f" * 65, "10 apples"]
)
def test_anything_else_is_a_tag_as_it_was_written(text):
    assert parse_moment(f" {text} ", T0_US) == Moment(tag=text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "2026-13-01",
        "2026-02-30",
        "2026-11-23T25:00",
        "2026-11-23Tx",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00+12:00",
        "99999w",
    ],
)
def test_a_time_that_cannot_be_is_a_usage_error(text):
    with pytest.raises(UsageError) as caught:
        parse_moment(text, T0_US)
    assert caught.value.exit == 2
    assert caught.value.code in ("bad-moment", "bad-duration")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("30m", 1800),
        ("2h30m", 9000),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("1m500ms", 60.5),
        ("1d", 86_400),
        ("1w", 604_800),
        (" 10M ", 600),
        ("30", 30),
        ("0.5", 0.5),
        ("0", 0),
        ("3650d", DURATION_MAX_S),
    ],
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-5m",
        "-1",
        "m",
        "5x",
        "5m3",
        "1e3",
        "inf",
        "nan",
        "3651d",
        "9" * 400,
        "5 m",
        "5mm",
        "5 minutes",
    ],
)
def test_anything_else_is_no_duration(text):
    with pytest.raises(UsageError) as caught:
        parse_duration_s(text)
    assert caught.value.code == "bad-duration"
