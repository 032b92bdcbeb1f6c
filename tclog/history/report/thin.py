"""Which events a page keeps when there are too many: the rare ones all, of the others every nth."""

from __future__ import annotations

from collections.abc import Sequence

from tclog.history.log import Row

# What there are many of, and what is missed least. Claims are drawn from their own list.
COMMON_OPS = frozenset(
    {
        "step.renew",
        "step.note",
        "message.ack",
        "message.send",
        "memory.incr",
        "memory.append",
        "memory.set",
        "agent.join",
    }
)


def thinned(rows: Sequence[Row], most: int) -> list[Row]:
    """Return at most ``most`` rows, in their order; all if they are no more."""
    if len(rows) <= most:
        return list(rows)
    common = [nth for nth, row in enumerate(rows) if _is_common(row)]
    rare = len(rows) - len(common)
    if rare >= most:
        kept = {nth for nth, row in enumerate(rows) if not _is_common(row)}
        keep = set(_every(sorted(kept), most))
    else:
        dropped = set(common) - set(_every(common, most - rare))
        keep = set(range(len(rows))) - dropped
    return [rows[nth] for nth in sorted(keep)]


def _is_common(row: Row) -> bool:
    return row.commit is not None and row.commit.event.op in COMMON_OPS


def _every(places: Sequence[int], count: int) -> list[int]:
    """Return ``count`` of some places, evenly."""
    return [places[nth * len(places) // count] for nth in range(count)] if count else []
