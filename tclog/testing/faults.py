"""The faults that a schedule may hold, each with its rate per request (or per step of a client)."""

from __future__ import annotations

from typing import NamedTuple


class Faults(NamedTuple):
    """Rates between 0 and 1, and bounds in seconds of virtual time.

    ``lost_before``: the request never reaches the store, the client sees a failure.
    ``lost_after``: the store carries it out, the client sees a failure.
    ``zombie``: the client sees a failure; the request arrives up to ``zombie_s`` later.
    ``duplicate``: the store carries it out twice, at two times; the client sees the second answer.
    ``conflict``: a create is answered 409 and nothing is stored.
    ``throttled``: 503, before or after the store carried it out.
    ``crash``: a client dies at a step and comes back without memory, or with that of its cache.
    ``skew_s``: each client's clock is off by up to this; ``jump`` is the rate at which it jumps.
    """

    lost_before: float = 0.04
    lost_after: float = 0.05
    zombie: float = 0.01
    duplicate: float = 0.02
    conflict: float = 0.03
    throttled: float = 0.03
    crash: float = 0.004
    jump: float = 0.002
    skew_s: float = 300.0
    zombie_s: float = 1200.0
    latency_s: float = 0.06
    timeout_s: float = 4.0


NONE = Faults(0, 0, 0, 0, 0, 0, 0, 0, 0.0)
