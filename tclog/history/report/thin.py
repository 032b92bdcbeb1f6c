"""Which events a page keeps when there are too many: the rare ones all, of the others every nth."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def kept_places(common: Sequence[int], most: int) -> Collection[int]:
    """Return the places of at most ``most`` events; of all if they are no more.

    Args:
        common: of each event whether it is one of many of its kind.
        most: how many are kept.
    """
    if len(common) <= most:
        return range(len(common))
    many = [nth for nth, is_common in enumerate(common) if is_common]
    few = [nth for nth, is_common in enumerate(common) if not is_common]
    if len(few) >= most:
        return set(_every(few, most))
    return {*few, *_every(many, most - len(few))}


def _every(places: Sequence[int], count: int) -> list[int]:
    """Return ``count`` of some places, evenly."""
    return [places[nth * len(places) // count] for nth in range(count)] if count else []
