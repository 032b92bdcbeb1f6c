"""Waiting: look, pause, look again, until something is there, cannot come, or time is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.errors import WaitTimeout

T = TypeVar("T")
POLL_MIN_S = 0.05
POLL_MAX_S = 2.0
# The random factor of a pause, so that a thousand waiters do not move in step.
DRAWN = 0.5, 1.5


def poll(
    client: Client,
    look: Callable[[], Protocol[T | None]],
    *,
    timeout_s: float | None,
    timed_out: Callable[[], WaitTimeout],
    pause_s: Callable[[], float | None] = lambda: None,
) -> Protocol[T]:
    """Call ``look`` until it returns something; it raises if the wait can never end.

    The pause grows from ``POLL_MIN_S`` to ``POLL_MAX_S``, times a random factor within ``DRAWN``;
    ``pause_s`` may ask for a longer one (until a lease ends, say).
    """
    begun_s = client.monotonic_s()
    wait_s = POLL_MIN_S
    least, most = DRAWN
    while True:
        found = yield from look()
        if found is not None:
            return found
        spent_s = client.monotonic_s() - begun_s
        if timeout_s is not None and spent_s >= timeout_s:
            raise timed_out()
        drawn = least + client.jitter() * (most - least)
        pause = max(wait_s * drawn, min(pause_s() or 0.0, POLL_MAX_S))
        if timeout_s is not None:
            pause = min(pause, timeout_s - spent_s)
        yield Sleep(pause)
        wait_s = min(wait_s * 1.5, POLL_MAX_S)
