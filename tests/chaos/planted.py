"""Planted bugs for the chaos: what a wrong client or a wrong store does, in a run of its own.

Each must be caught by the judge that lets the shipped code pass. Those in ``BUGS`` are planted in
the members' processes. ``lost_replies`` is no bug but the fault that two of them need on a folder:
the store has done the work, and the client is told nothing. The shipped code copes with it. Those
in ``STORES`` make the proxy before a real store break what a store has to keep; all clients are
as shipped then.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from simulation import teeth
from support.proxy import Fault, Proxy, Request, is_create
from support.stores import Server, raw_client

from tclog.chain import append as append_module
from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.results import Barrier
from tclog.errors import WaitTimeout
from tclog.log import barriers as barriers_log
from tclog.log import claims as claims_log
from tclog.store.base import Created, Outcome
from tclog.store.file import FileStore

LOST = 0.15
# Of all creates, those that a store acknowledges and forgets.
FORGOTTEN = 0.1
# What a client must not take for a proof of anything, often enough to be met soon.
DOUBTFUL = ((0.1, Fault("status", 500)), (0.1, Fault("duplicate")), (0.05, Fault("close")))


def _makes_slot(request: Request) -> bool:
    return is_create(request) and "/chains/" in request.key


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


def conflict_taken_for_a_loss(patch: pytest.MonkeyPatch) -> None:
    """Send a fresh event to the next slot after a 412, though it may answer one's own create."""
    teeth.own_success_taken_as_lost(patch)


def server_error_taken_for_a_loss(patch: pytest.MonkeyPatch) -> None:
    """Say after a 500 or a cut connection that nothing was written."""
    teeth.no_answer_taken_as_nothing_written(patch)


def dependencies_never_looked_at(patch: pytest.MonkeyPatch) -> None:
    """Take all that a step comes after for complete."""
    patch.setattr(claims_log, "is_complete", lambda row: True)


def who_waited_long_enough_passes(patch: pytest.MonkeyPatch) -> None:
    """Let an agent go on when its time at a barrier is up."""
    shipped = barriers_log.pass_barrier

    @wraps(shipped)
    def pass_barrier(client: Client, name: str, parties: int, **rest: Any) -> Protocol[Barrier]:
        try:
            return (yield from shipped(client, name, parties, **rest))
        except WaitTimeout:
            return Barrier(name, 1, parties, (), True, 0)

    patch.setattr(barriers_log, "pass_barrier", pass_barrier)


def held_step_given_to_who_asks(patch: pytest.MonkeyPatch) -> None:
    """Grant a held step and check no win against the fold, which alone would refuse the claim."""
    teeth.held_step_given_to_who_asks(patch)
    patch.setattr(append_module, "check_effect", lambda *_: None)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    plant.__name__: plant
    for plant in (
        lost_replies,
        lost_reply_taken_for_a_failure,
        store_that_overwrites,
        conflict_taken_for_a_loss,
        server_error_taken_for_a_loss,
        teeth.each_operation_for_itself,
        dependencies_never_looked_at,
        who_waited_long_enough_passes,
        held_step_given_to_who_asks,
        teeth.lease_ends_early,
        teeth.reads_answered_from_the_cache,
    )
}


def plant(name: str) -> None:
    """Plant a bug in this process, for good."""
    BUGS[name](pytest.MonkeyPatch())


# -- stores that are none -------------------------------------------------------------------------


def doubtful_answers(proxy: Proxy, server: Server, seed: int) -> None:
    """Lose replies and answer one's own success with a conflict: no bug, the shipped code copes."""
    del server
    proxy.inject_randomly(DOUBTFUL, seed)


def create_that_overwrites(proxy: Proxy, server: Server, seed: int) -> None:
    """Put what is to be created whether or not there is something, and report success."""
    client = raw_client(server)

    def put(request: Request, body: bytes) -> None:
        client.put_object(Bucket=server.bucket, Key=request.key, Body=body)

    proxy.inject_randomly([(1.0, Fault("stand-in", stand_in=put))], seed, _makes_slot)


def acknowledged_and_forgotten(proxy: Proxy, server: Server, seed: int) -> None:
    """Report success of a create now and then, and store nothing."""
    del server
    forget = Fault("stand-in", stand_in=lambda request, body: None)
    proxy.inject_randomly([(FORGOTTEN, forget)], seed, _makes_slot)


STORES: dict[str, Callable[[Proxy, Server, int], None]] = {
    plant.__name__: plant
    for plant in (doubtful_answers, create_that_overwrites, acknowledged_and_forgotten)
}
