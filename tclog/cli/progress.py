"""What a terminal shows of work that takes a while: counts, or a bar where the total is known."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tclog.cli.invocation import Invocation

BAR_FROM_BYTES = 8 << 20
FIRST_AFTER_S = 1.0
EVERY_S = 0.2


@contextlib.contextmanager
def counting(call: Invocation, label: str) -> Iterator[Callable[[str, int], None] | None]:
    """Show how many of each kind were done."""
    if call.json or not sys.stderr.isatty():
        yield None
        return
    counts: dict[str, int] = {}
    next_s, shown = time.monotonic() + FIRST_AFTER_S, False

    def tell(what: str, count: int) -> None:
        nonlocal next_s, shown
        counts[what] = counts.get(what, 0) + count
        if time.monotonic() >= next_s:
            next_s, shown = time.monotonic() + EVERY_S, True
            words = ", ".join(f"{n} {name}" for name, n in counts.items())
            sys.stderr.write(f"\r{label}: {words} \x1b[K")
            sys.stderr.flush()

    try:
        yield tell
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextlib.contextmanager
def bar(call: Invocation, label: str, total: int) -> Iterator[Callable[[int], None] | None]:
    """Show how much of a file went over."""
    if call.json or total < BAR_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as shown:
        yield shown.update
