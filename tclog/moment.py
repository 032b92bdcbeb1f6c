"""Points in time and durations as users write them: one parser for every command.

Pure: the present comes in as an argument. Ids and tags are only recognised here; whoever has the
log resolves them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tclog.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Compiled when first needed: a command that is given no moment pays for none.
_DURATION = r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+"
_PART = r"(\d+(?:\.\d+)?)(ms|[smhdw])"
_ISO = r"\d{4}-\d{2}-\d{2}"
_ID_PREFIX = r"[0-9a-f]{4,64}"
_ID_PRINTED_MIN = 8
DURATION_MAX_S = 10 * 365 * 86_400


class Moment(NamedTuple):
    """A point as written: exactly one of the fields is set."""

    us: int | None = None
    id_prefix: str | None = None
    tag: str | None = None


def parse_duration_s(text: str) -> float:
    """Read ``30m``, ``2h30m``, ``1.5h``, ``500ms`` or a bare number of seconds.

    Raises:
        UsageError: anything else, a negative one, or one over ten years.
    """
    word = text.strip().lower()
    number, unit = word[:-1], word[-1:]
    if number.isascii() and number.isdigit() and unit in "smhdw":
        seconds = float(number) * _UNITS_S[unit]  # such as the default of an option
    elif re.fullmatch(r"\d+(\.\d+)?", word):
        seconds = float(word)
    elif re.fullmatch(_DURATION, word):
        seconds = sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(_PART, word))
    else:
        raise UsageError(
            f"{text!r} is not a duration like 30s, 10m, 2h30m or 1d", code="bad-duration"
        )
    if seconds > DURATION_MAX_S:
        raise UsageError(f"{text!r} is longer than ten years", code="bad-duration")
    return seconds


def is_now(text: str) -> bool:
    """Whether a point in time is the present."""
    return text.strip().lower() in ("@", "now")


def parse_moment(text: str, now_us: int) -> Moment:
    """Read a point in time.

    ``@`` or ``now``; ``10m``, ``2h30m``, ``10m ago``; ``today``, ``yesterday``; ISO 8601 (UTC
    unless it names its zone); an id prefix of 4 or more hex digits; anything else is a tag.
    Up to 7 characters that are a duration and hex digits as well (``100d``) are a duration; from 8
    on, the length in which ids are printed, they are an id prefix.

    Raises:
        UsageError: empty, or an ISO date that does not exist.
    """
    word = text.strip()
    if not word:
        raise UsageError("the point in time is empty", code="bad-moment")
    lower = word.lower()
    if is_now(word):
        return Moment(us=now_us)
    if lower == "yesterday":
        return Moment(us=now_us - 86_400_000_000)
    if lower == "today":
        return Moment(us=now_us - now_us % 86_400_000_000)
    if len(lower) >= _ID_PRINTED_MIN and re.fullmatch(_ID_PREFIX, lower):
        # One printed id in a few hundred looks like a number of days: 1234567d.
        return Moment(id_prefix=lower)
    relative = lower.removesuffix("ago").strip()
    if re.fullmatch(_DURATION, relative):
        return Moment(us=now_us - round(parse_duration_s(relative) * 1_000_000))
    if re.match(_ISO, word):
        return Moment(us=_parse_iso_us(word))
    if re.fullmatch(_ID_PREFIX, lower):
        return Moment(id_prefix=lower)
    return Moment(tag=word)


def _parse_iso_us(word: str) -> int:
    try:
        moment = datetime.fromisoformat(word)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # In UTC it may lie outside the years 1 to 9999, which no stamp can be compared with.
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{word!r} is not a date like 2026-11-23T15:42:05Z: {error}", code="bad-moment"
        ) from None
    return (moment - _EPOCH) // timedelta(microseconds=1)
