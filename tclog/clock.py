"""Stamps and the hybrid logical clock (Kulkarni et al., OPODIS 2014).

Two texts of fixed width live here; for both, string order is time order:

* ``Hlc``: ``2026-11-23T15:42:05.512345Z-0000``, physical microseconds and a counter in hex. It
  orders events across chains: cause comes before effect.
* ``Stamp``: ``2026-11-23T15:42:05.512345Z``, a last-modified time that the store itself gave.

Invariant: a clock's stamps only grow, and each is greater than every trusted stamp it has seen.
Two exceptions keep one wrong clock from moving everybody's time: a stamp issued after an untrusted
one is not built upon, and a clock that learns that it was far ahead begins anew.
Order inside a chain never comes from here; it is the slot number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NewType

from tclog.errors import Damaged

Hlc = NewType("Hlc", str)
Stamp = NewType("Stamp", str)

SECOND_US = 1_000_000
COUNTER_MAX = 0xFFFF
# A stamp further ahead of the corrected clock than this is kept in its chain but never merged:
# one machine whose clock is an hour fast must not move everybody's time.
AHEAD_TRUSTED_US = 120 * SECOND_US
# A create is sent no later than this after its version was stamped.
TRIED_US = 60 * SECOND_US
# A request reaches a bucket no later than this after it was sent. S3 accepts it up to 15 minutes
# after the time in its signature, which is that of the sender's own clock; and what a clock signs
# that is more than 15 minutes fast is refused.
ARRIVES_US = 30 * 60 * SECOND_US
# A moment is settled when no write that belongs to it can still arrive. Two clocks take part, that
# of the writer and that of the reader.
SETTLED_US = TRIED_US + ARRIVES_US + 2 * AHEAD_TRUSTED_US
# Beyond this the user is told that a clock is wrong.
OFFSET_REPORTED_US = 120 * SECOND_US

# Records hold stamps of the years 2020 to 8999: no true clock is outside, and arithmetic with what
# is inside, a lease added, still gives a date.
BEGIN_US = 1_577_836_800 * SECOND_US
END_US = 221_845_392_000 * SECOND_US
# A client's own clock is taken to be so much before the end at most.
CLOCK_ROOM_US = 86_400 * SECOND_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r":([0-5][0-9])\.([0-9]{6})Z")


def format_us(us: int) -> str:
    """Write microseconds since 1970 as RFC 3339 in UTC, always with six decimals."""
    minute, rest_us = divmod(us, 60 * SECOND_US)
    second, rest_us = divmod(rest_us, SECOND_US)
    return f"{_format_minute(minute)}:{second:02d}.{rest_us:06d}Z"


@lru_cache(maxsize=1024)
def parse_us(text: str) -> int:
    """Read what ``format_us`` writes, or an Hlc, as microseconds since 1970.

    Raises:
        ValueError: the text is neither.
    """
    # The stamps that a process meets are of few minutes, so only those are worked out with care.
    rest = _SECONDS.match(text, 16)
    if rest is None:
        raise ValueError(_no_stamp(text))
    return _parse_minute(text[:16]) + int(rest[1]) * SECOND_US + int(rest[2])


@lru_cache(maxsize=512)
def _format_minute(minute: int) -> str:
    # Not strftime: its %Y has no fixed width before the year 1000.
    return (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")[:16]


@lru_cache(maxsize=512)
def _parse_minute(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(_no_stamp(text)) from None
    minute = (moment - _EPOCH) // timedelta(minutes=1)
    # ISO 8601 has other forms of this width (week dates, a space); their text is not in order.
    if _format_minute(minute) != text:
        raise ValueError(_no_stamp(text))
    return minute * 60 * SECOND_US


def _no_stamp(text: str) -> str:
    return f"not a UTC stamp: {text!r}"


@lru_cache(maxsize=512)
def is_day(text: str) -> bool:
    """Whether ten characters, digits where a date has them, are a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def stamp(us: int) -> Stamp:
    """Make a store stamp from microseconds since 1970.

    Records hold stamps of the years 1970 to 8999; a store's clock that says another is cut to that.
    """
    return Stamp(format_us(min(max(us, 0), END_US - 1)))


def stamp_of(moment: datetime) -> Stamp:
    """Make a store stamp from the aware datetime that a client library returned."""
    return stamp((moment - _EPOCH) // timedelta(microseconds=1))


def hlc(us: int, counter: int) -> Hlc:
    """Make an Hlc from physical microseconds and a counter of 0 to 65535."""
    return Hlc(f"{format_us(us)}-{counter:04x}")


def last_of(us: int) -> Hlc:
    """Return the last stamp of a microsecond: what is not after it was made by then."""
    return hlc(us, COUNTER_MAX)


@lru_cache(maxsize=1024)
def parse_hlc(text: str) -> tuple[int, int]:
    """Split an Hlc into physical microseconds and counter.

    Raises:
        ValueError: the text is not an Hlc.
    """
    if len(text) == 32 and text[27] == "-":
        counter = int(text[28:], 16)
        if f"{counter:04x}" == text[28:]:
            return parse_us(text), counter
    msg = f"not a hybrid logical clock stamp: {text!r}"
    raise ValueError(msg)


def rfc3339(text: str) -> str:
    """Cut an Hlc to the RFC 3339 time that users see."""
    return text[:27]


class HybridClock:
    """One agent's hybrid logical clock.

    Args:
        wall_us: the machine's clock, microseconds since 1970.
        offset_us: what to add to it to get the store's time, as far as known.
        last: the greatest stamp this agent is known to have issued or seen.
    """

    def __init__(
        self, wall_us: Callable[[], int], *, offset_us: int = 0, last: Hlc | None = None
    ) -> None:
        self._wall_us = wall_us
        self.offset_us = offset_us
        self._last = (0, 0) if last is None else parse_hlc(last)
        # What this clock has been told of, as text: most that is seen is older.
        self._told = "" if last is None else last

    @property
    def last(self) -> Hlc:
        """The greatest stamp issued or merged so far."""
        return hlc(*self._last)

    def wall_us(self) -> int:
        """The machine's own, uncorrected clock."""
        return self._wall_us()

    def now_us(self) -> int:
        """The machine's clock corrected towards the store's."""
        return self._wall_us() + self.offset_us

    def observe(self, seen: str) -> None:
        """Merge a stamp seen in the log, unless it is implausibly far ahead."""
        if seen <= self._told:
            return
        other = parse_hlc(seen)
        if other[0] <= self.now_us() + AHEAD_TRUSTED_US:
            self._last, self._told = max(self._last, other), seen

    def tick(self, after: str | None = None) -> Hlc:
        """Issue the next stamp: greater than all before and than ``after``, if given.

        ``after`` is obeyed even when it is too far ahead to be merged: a chain's stamps must grow.

        Raises:
            Damaged: ``after`` is the last of all stamps.
        """
        if after is not None:
            self.observe(after)
        # A clock that was never set (1970) must not make stamps that readers refuse.
        now_us = min(max(self.now_us(), BEGIN_US), END_US - CLOCK_ROOM_US)
        self._last = _next(self._last, now_us)
        issued = hlc(*self._last)
        if after is not None and issued <= after:
            return following(Hlc(after))
        return issued

    def learn(
        self, wall_us: int, stored: Stamp, *, took_us: int = 0, resolution_us: int = SECOND_US
    ) -> int:
        """Correct the clock from one own write; returns the new offset in microseconds.

        If the write's duration and the stamp's resolution explain the difference, the offset stays
        zero: one slow request must not put a correct clock off for a day.

        Args:
            wall_us: the machine's clock before the write.
            stored: the store's stamp of the write.
            took_us: how long the write took, by the machine's clock.
            resolution_us: of the stamp.
        """
        half_us = max(took_us, 0) // 2
        difference_us = parse_us(stored) - (wall_us + half_us)
        unknown_us = 2 * resolution_us + half_us
        self.offset_us = 0 if abs(difference_us) <= unknown_us else difference_us
        if self._last[0] > self.now_us() + AHEAD_TRUSTED_US:
            # Stamps issued by the wrong clock before it was known to be wrong are not kept.
            self._last, self._told = (0, 0), ""
        return self.offset_us


def following(at: Hlc) -> Hlc:
    """Return the next stamp after one, whatever any clock says.

    Raises:
        Damaged: it is the last of all stamps.
    """
    us, counter = _next(parse_hlc(at), 0)
    if us >= END_US:
        raise Damaged(f"nothing can come after the stamp {at}", hint="tclog fsck")
    return hlc(us, counter)


def _next(last: tuple[int, int], now_us: int) -> tuple[int, int]:
    if now_us > last[0]:
        return now_us, 0
    if last[1] < COUNTER_MAX:
        return last[0], last[1] + 1
    return last[0] + 1, 0
