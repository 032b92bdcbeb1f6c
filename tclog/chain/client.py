"""Who acts, and with what clock, randomness and memory: everything that the protocol is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tclog.chain.heads import Heads
from tclog.clock import OFFSET_REPORTED_US, SECOND_US, HybridClock, Stamp
from tclog.errors import Damaged
from tclog.event import ChainId, Version, decode_version
from tclog.event.envelopes import HOST_MAX, SOFTWARE_MAX

OFFSET_KEPT_US = 86_400 * SECOND_US
# For so long after several shared a version, they are taken to be at work still.
CROWD_KEPT_S = 5.0
# Wall and monotonic clock part by this much only when the wall clock was set, or after a restart.
CLOCK_SET_US = 60 * SECOND_US


class Decode(Protocol):
    """What ``decode_version`` does."""

    def __call__(
        self, raw: bytes, *, chain: ChainId, seq: int, stored: Stamp | None = None
    ) -> Version:
        """Read a slot's bytes and check that they are version ``seq`` of ``chain``."""


class Crowd(NamedTuple):
    """Those who share versions of a chain: how many, about, and how they get on.

    A version that fewer share halves ``size``. ``seen_s`` is when the last one was seen, on the
    client's monotonic clock; ``pace_s`` how long a version takes.
    """

    size: float
    seen_s: float
    pace_s: float


NOBODY = Crowd(0.0, -CROWD_KEPT_S, 0.0)


class Client:
    """One agent in one process.

    Args:
        agent: its validated name.
        session, host, software: stamped on every event.
        clock: its hybrid logical clock.
        heads: known heads.
        nonce: returns fresh text of at least 64 random bits.
        jitter: returns a number in [0, 1).
        monotonic_s: a clock for time limits, which nobody sets.
        decide_timeout_s: how long an undecided create is pursued before it is called unknown.
        backoff_s: the first upper bound of the wait after a lost race.
        decode: reads the bytes of a version; a simulation reads those that many clients meet once.
        learnt_us: the machine's clock when the clock's offset was learnt; 0 if it never was.
        epoch_us: the machine's clock less the monotonic one, then.
    """

    def __init__(
        self,
        agent: str,
        *,
        session: str,
        host: str,
        software: str,
        clock: HybridClock,
        heads: Heads,
        nonce: Callable[[], str],
        jitter: Callable[[], float],
        monotonic_s: Callable[[], float],
        decide_timeout_s: float = 10.0,
        backoff_s: float = 0.01,
        decode: Decode = decode_version,
        learnt_us: int = 0,
        epoch_us: int = 0,
    ) -> None:
        self.agent = agent
        self.session = session
        # A machine with a longer name than events may hold still writes.
        self.host = host[:HOST_MAX]
        self.software = software[:SOFTWARE_MAX]
        self.clock = clock
        self.heads = heads
        self.nonce = nonce
        self.jitter = jitter
        self.monotonic_s = monotonic_s
        self.decide_timeout_s = decide_timeout_s
        self.backoff_s = backoff_s
        self.decode = decode
        # About how long a request takes; 0 until one was timed. Only waits rest on it.
        self.round_s = 0.0
        self._crowds: dict[ChainId, Crowd] = {}
        self.learnt_us = learnt_us
        self.epoch_us = epoch_us
        # Chains that were listed and had no version.
        self.empty: set[ChainId] = set()
        # Transactions that have ended, by a digest of their record: whether they were aborted.
        self.verdicts: dict[str, bool] = {}
        self.warnings: list[str] = []
        # What is damaged and was left out of an answer, by the chain's name or the object's.
        self.left_out: dict[str, Damaged] = {}

    def known(self, chain: ChainId) -> Version | None:
        """Return the newest version known of a chain; acting on it is having seen it.

        Another agent of this user may have put it there, so the clock is told here.
        """
        head = self.heads.get(chain)
        if head is not None:
            self.clock.observe(head.at)
            self.clock.observe(head.moment)
        return head

    def warn(self, text: str) -> None:
        """Keep a warning for whoever shows them, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def leave_out(self, what: str, error: Damaged) -> None:
        """Take note that an answer goes without something that is damaged."""
        self.left_out.setdefault(what, error)

    def knows_offset(self) -> bool:
        """Whether the offset towards the store's clock was learnt, and still is to be believed.

        It is not after a day, nor once the machine's clock was set: whoever is told that a clock is
        an hour off sets it right, and an hour added to that would be as wrong as before.
        """
        age_us = self.clock.wall_us() - self.learnt_us
        set_us = abs(self._epoch_us() - self.epoch_us)
        return self.learnt_us != 0 and 0 <= age_us < OFFSET_KEPT_US and set_us < CLOCK_SET_US

    def _epoch_us(self) -> int:
        return self.clock.wall_us() - round(self.monotonic_s() * SECOND_US)

    def learn_offset(self, wall_us: int, stored: Stamp, took_us: int) -> None:
        """Learn from the stamp of an own write made when the machine's clock said ``wall_us``."""
        offset_us = self.clock.learn(wall_us, stored, took_us=took_us)
        self.learnt_us = self.clock.wall_us()
        self.epoch_us = self._epoch_us()
        if abs(offset_us) > OFFSET_REPORTED_US:
            direction = "behind" if offset_us > 0 else "ahead of"
            self.warn(
                f"this machine's clock is {abs(offset_us) // SECOND_US} s {direction} the store's;"
                " tclog corrects for it, but set it right"
            )

    def learn_round(self, took_s: float) -> None:
        """Learn from one request how long they take; no single one counts for much."""
        self.round_s += (took_s - self.round_s) * (0.25 if self.round_s else 1.0)

    def learn_crowd(self, version: Version) -> None:
        """Learn from the next version of a chain how many share one, and how long one takes."""
        before = self._crowds.get(version.chain, NOBODY)
        now_s = self.monotonic_s()
        took_s = now_s - before.seen_s
        known = before.seen_s > 0 and self.round_s < took_s < CROWD_KEPT_S
        pace_s = (before.pace_s + took_s) / 2 if known else before.pace_s
        size = max(float(len(version.events)), before.size / 2)
        self._crowds[version.chain] = Crowd(size, now_s, pace_s)

    def crowd(self, chain: ChainId) -> Crowd:
        """Return who was seen to share versions of a chain within the last ``CROWD_KEPT_S``."""
        found = self._crowds.get(chain, NOBODY)
        return found if self.monotonic_s() - found.seen_s < CROWD_KEPT_S else NOBODY

    def backoff(self, nth: int) -> float:
        """Return how long to wait after the nth lost race: full jitter, bounded."""
        return self.jitter() * min(self.backoff_s * 2.0 ** min(nth, 6), 1.0)
