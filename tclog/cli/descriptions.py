"""What the history commands say of an object in one line, and of how two of them differ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tclog.cli.output import Cell, json_text, one_line, size, terminal

if TYPE_CHECKING:
    from tclog.event import Event

Shown = Mapping[str, Any]
AnyText = TypeVar("AnyText", str, Cell)

# On a terminal a line holds two of these; a pipe gets them whole.
TEXT_MAX = 48
# difflib takes time that grows with the square of what it compares.
COMPARED_CHARS_MAX = 200_000
# What is told by other columns, or changes with every version.
_UNTOLD = {"type", "version", "at", "id", "agent", "fence", "session", "hlc", "op", "value_type"}


def name_of(shown: Shown) -> str:
    """Return the name of what an object is of, without its kind."""
    key = {"memory": "key", "step": "id", "inbox": "agent", "read": "agent"}.get(shown["type"])
    return str(shown[key or "name"])


def words_of(shown: Shown | None) -> str:
    """Say what an object is like, in a few words; one_line makes a cell of them."""
    if shown is None:
        return "-"
    match shown["type"]:
        case "memory":
            return value_words(shown)
        case "step":
            return _step_words(shown)
        case "inbox":
            return _count(shown["messages"], "message")
        case "read":
            return f"acknowledged {ranges_words(shown['ranges'])}"
        case "artifact":
            return f"{size(shown['size'])}, {shown['blake3'][:12]}"
        case "barrier":
            there = ", ".join(shown["arrived"]) or "nobody"
            of = f" of {shown['parties']}" if shown["parties"] else ""
            return f"generation {shown['generation']}: {there}{of}"
        case "agent":
            return f"holds {', '.join(shown['claims'])}" if shown["claims"] else "holds nothing"
        case "tag":
            return str(shown["moment"])
    return cut(json_text({k: v for k, v in shown.items() if k not in _UNTOLD}))


def value_words(shown: Shown) -> str:
    """Return the value of a memory object as one line."""
    if "size" in shown and shown["value"] is None:
        return f"({size(shown['size'])})"
    return cut(value_text(shown))


def value_text(shown: Shown) -> str:
    """Return the value of a memory object: a text unchanged, JSON on one line."""
    return str(shown["value"]) if shown["value_type"] == "text" else json_text(shown["value"])


def event_words(event: Event, *, short: bool = False) -> Cell:
    """Say in one cell what an event did; ``short`` for a pipe too, which else gets it whole."""
    from tclog.history.rendering import WORDS_MAX, json_set, words

    chars_max = WORDS_MAX if short or terminal() else None
    value = json_set(event)
    if value is None:
        return one_line(words(event, chars_max))
    said = json_text(value)
    return said if chars_max is None else _shortened(said, chars_max)


def cut(text: AnyText) -> AnyText:
    """Make a text short for a terminal; a pipe gets it whole. A cell stays one."""
    return _shortened(text, TEXT_MAX) if terminal() else text


def _shortened(text: AnyText, chars_max: int) -> AnyText:
    return text if len(text) <= chars_max else type(text)(text[: chars_max - 3] + "...")


def ranges_words(ranges: Any) -> str:
    """Write ranges of numbers: ``1-3, 5``."""
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges) or "nothing"


def _step_words(shown: Shown) -> str:
    words = str(shown["state"]).replace("_", " ")
    if shown["agent"]:
        words += f" by {shown['agent']}"
    if shown["waiting"]:
        words += f", waits for {', '.join(shown['waiting'])}"
    return words


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# -- differences ----------------------------------------------------------------------------------


def change_words(before: Shown | None, after: Shown | None) -> Cell:
    """Say what became of an object: ``before -> after``, for a step field by field."""
    if before is None or after is None or before["type"] != "step":
        first, last = words_of(before), words_of(after)
        if first == last:
            again = "seen" if after is not None and after["type"] == "agent" else "written again"
            return Cell(f"{one_line(last)} ({again})")
        return Cell(f"{one_line(first)} -> {one_line(last)}")
    parts = []
    first, last = _step_words(before), _step_words(after)
    if first != last:
        parts.append(f"{one_line(first)} -> {one_line(last)}")
    for field in sorted((before.keys() | after.keys()) - _UNTOLD - {"state", "waiting", "note_by"}):
        old, new = before.get(field), after.get(field)
        if old == new or (field == "lease_until" and (old is None or new is None)):
            continue
        parts.append(f"{field.replace('_', ' ')} {_plain(old)} -> {_plain(new)}")
    return Cell("; ".join(parts) or f"{one_line(last)} (nothing else changed)")


def _plain(value: Any) -> Cell:
    if value is None:
        return Cell("-")
    return one_line(cut(value if isinstance(value, str) else json_text(value)))


def line_changes(before: Shown | None, after: Shown | None) -> list[str]:
    """Return a unified diff of two values if one of them has several lines; else nothing."""
    old, new = _lines(before), _lines(after)
    if not old or not new or max(len(old), len(new)) < 2:
        return []
    if sum(map(len, old)) + sum(map(len, new)) > COMPARED_CHARS_MAX:
        return []
    return list(difflib.unified_diff(old, new, n=2, lineterm=""))[2:]


def _lines(shown: Shown | None) -> list[str]:
    if shown is None or shown["type"] != "memory" or shown["value"] is None:
        return []
    if shown["value_type"] == "text":
        return str(shown["value"]).split("\n")
    import json

    if len(json_text(shown["value"])) <= TEXT_MAX:
        return [json_text(shown["value"])]
    return json.dumps(shown["value"], indent=1, sort_keys=True, ensure_ascii=False).split("\n")


def lines_words(changes: list[str]) -> str:
    """Say how many lines came and went."""
    came = sum(1 for line in changes if line.startswith("+"))
    gone = sum(1 for line in changes if line.startswith("-"))
    return f"+{came} -{gone} lines"
