"""Planted bugs for the chaos: what a wrong client or a wrong store does, in a member's process.

Each must be caught by the judge that lets the shipped code pass. ``lost_replies`` is no bug but
the fault that two of them need on a folder: the store has done the work, and the client is told
nothing. The shipped code copes with it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from simulation import teeth

from tclog.store.base import Created, Outcome
from tclog.store.file import FileStore

LOST = 0.15


def lost_replies(patch: pytest.MonkeyPatch) -> None:
    """Tell nothing of every seventh create, whatever became of it."""
    create, rng = FileStore.create, random.Random(os.getpid())

    def forgetful(self: FileStore, key: str, data: bytes) -> Created:
        created = create(self, key, data)
        if rng.random() < LOST:
            return Created(Outcome.UNKNOWN, cause="the reply was lost")
        return created

    patch.setattr(FileStore, "create", forgetful)


def lost_reply_taken_for_a_failure(patch: pytest.MonkeyPatch) -> None:
    """Send a fresh event to the next slot when one's own success comes without a reply."""
    lost_replies(patch)
    teeth.own_success_taken_as_lost(patch)


def store_that_overwrites(patch: pytest.MonkeyPatch) -> None:
    """Put the object whether or not there is one, and report success."""

    def overwrite(self: FileStore, key: str, data: bytes) -> Created:
        return Created(Outcome.WON, self.put(key, data))

    patch.setattr(FileStore, "create", overwrite)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    plant.__name__: plant
    for plant in (
        lost_replies,
        lost_reply_taken_for_a_failure,
        store_that_overwrites,
        teeth.lease_ends_early,
        teeth.reads_answered_from_the_cache,
    )
}


def plant(name: str) -> None:
    """Plant a bug in this process, for good."""
    BUGS[name](pytest.MonkeyPatch())
