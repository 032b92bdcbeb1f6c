"""The faults that a schedule may hold, each with its rate per request (or per step of a client)."""

from __future__ import annotations

from typing import NamedTuple


class Faults(NamedTuple):
    """Rates between 0 and 1, and bounds in seconds of virtual time.

    ``lost_before``: the request never reaches the store, the client sees a failure.
    ``lost_after``: the store carries it out, the client sees a failure.
    ``zombie``: the client sees a failure; the request arrives up to ``zombie_s`` later, unless its
    signature has expired by then: that is 15 minutes after the time that the client's clock had.
    ``duplicate``: the store carries it out twice, at two times; the client sees the second answer.
    ``conflict``: a create is answered 409 and nothing is stored.
    ``throttled``: 429 or 503, before or after the store carried it out.
    ``denied``: the store refuses the request and all others of that client for up to ``denied_s``,
    as with credentials that have expired; it carries none of them out.
    ``absent``: for up to ``absent_s`` something before the store answers 404 to one client. A HEAD
    finds nothing then; a GET or a listing gets no answer of the store's. Writes are carried out.
    ``crash``: a client dies at a step and comes back without memory, or with that of its cache.
    ``jump``: a client's clock is set to another time; it is off by up to ``skew_s``.
    ``foreign``: a program that is none of tclog's writes beside what a client works on: a stray
    name, junk in the next free slot of a chain, or a version there with an event of another chain.
    ``stale``: a listing shows the store as it was up to ``stale_s`` ago. This is 0 unless asked
    for: S3 lists what was created before, and a first read rests on it (docs/guarantees.md, S3).
    With it, the oracles of freshness keep silent; what was committed must stay whole all the same.

    ``pause_s`` bounds the pauses of a client between its operations: a small one makes a crowd.
    """

    lost_before: float = 0.04
    lost_after: float = 0.05
    zombie: float = 0.01
    duplicate: float = 0.02
    conflict: float = 0.03
    throttled: float = 0.03
    denied: float = 0.001
    absent: float = 0.001
    crash: float = 0.004
    jump: float = 0.002
    foreign: float = 0.001
    stale: float = 0.0
    skew_s: float = 840.0
    zombie_s: float = 1800.0
    stale_s: float = 60.0
    denied_s: float = 10.0
    absent_s: float = 10.0
    latency_s: float = 0.06
    timeout_s: float = 4.0
    pause_s: float = 60.0


ALL_FAULTS = Faults()
KINDS = tuple(name for name in Faults._fields if not name.endswith("_s"))
NONE = Faults(**dict.fromkeys(KINDS, 0.0), skew_s=0.0)
