"""Whether the store still refuses to create what exists: the one promise that all rests on.

``init`` and ``doctor`` probe it. A store may change afterwards: Ceph RGW ignores the condition of a
create in a bucket with versioning, which anybody may switch on. So once a day and machine, before a
write, ``tclog.json`` is created again with its own bytes. That must be refused. If it is not,
nothing was harmed, and no write goes to that store any more until ``tclog doctor`` has passed.

A folder is not tried: ``link`` does not change.
"""

from __future__ import annotations

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.clock import rfc3339, stamp
from tclog.errors import StoreDenied, StoreError, StoreUnfit
from tclog.event import MARK
from tclog.store.base import Create, Created, Get, Outcome


def check_fit(client: Client, *, again: bool = False) -> Protocol[None]:
    """Try the store, if that is due: two requests. What says nothing stops nothing.

    Args:
        client: its heads remember what came of it.
        again: try it in any case, and forget what was remembered.

    Raises:
        StoreUnfit: it created what exists, now or when it was last tried.
    """
    unfit = None if again else client.heads.fitness(client.monotonic_s())
    if unfit is None:
        unfit = yield from _try_store(client)
    if unfit:
        raise StoreUnfit(
            f"the store is no longer fit for tclog: on {unfit} it accepted a second create of"
            f" {MARK}, so two writers could both win the same version; nothing was written"
            " (is versioning switched on?)",
            hint="tclog doctor",
        )


def _try_store(client: Client) -> Protocol[str]:
    """Create the project's mark again; return the time if the store let that happen, else ""."""
    try:
        found = yield Get(MARK)
        # One that is gone must not be made again.
        created = Created(Outcome.EXISTS) if found is None else (yield Create(MARK, found.data))
    except StoreDenied:
        created = Created(Outcome.EXISTS)  # this client may not, and will not tomorrow
    except StoreError:
        return ""  # it says nothing; the next write asks again
    if created.outcome is Outcome.UNKNOWN:
        return ""
    if created.outcome is Outcome.WON:
        return keep_unfit(client)
    client.heads.keep_fitness(client.monotonic_s(), "")
    return ""


def keep_unfit(client: Client) -> str:
    """Remember that the store was seen to be unfit, and return when."""
    unfit = rfc3339(stamp(client.clock.wall_us()))
    client.heads.keep_fitness(client.monotonic_s(), unfit)
    return unfit
