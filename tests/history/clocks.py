"""A clock that only moves when told to, and clients that go by it."""

from __future__ import annotations

import os

from tclog.chain.client import Client
from tclog.chain.heads import MemoryHeads
from tclog.clock import HybridClock


class Clock:
    """The clock of a store, and of clients that are not off."""

    def __init__(self, us: int = 1_800_000_000_000_000) -> None:
        self.us = us

    def pass_s(self, seconds: float) -> None:
        self.us += round(seconds * 1e6)

    def client(self, agent: str, off_s: float = 0.0) -> Client:
        """Make a client whose clock may be off by some seconds."""
        return Client(
            agent,
            session="s",
            host="host",
            software="test",
            clock=HybridClock(lambda: self.us + round(off_s * 1e6)),
            heads=MemoryHeads(),
            nonce=lambda: os.urandom(16).hex(),
            jitter=lambda: 0.5,
            monotonic_s=lambda: self.us / 1e6,
        )
