"""Whether the store still refuses to create an existing object: all of tclog rests on this.

``init`` and ``doctor`` probe it. A store may change afterwards: Ceph RGW ignores the condition of a
create in a bucket with versioning, which anybody may switch on. So once a day, before a write, each
machine creates ``tclog.json`` again with its own bytes. The store must refuse. If it accepts, this
does no harm, but nothing is written to that store until ``tclog doctor`` has passed.

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
    """Try the store if a trial is due: two requests. A trial without an answer stops no write.

    Args:
        client: its heads remember the result.
        again: try in any case, and forget the remembered result.

    Raises:
        StoreUnfit: the store created an existing object, now or at the last trial.
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
    """Create the project's mark again; return the time if the store accepted, else ""."""
    try:
        found = yield Get(MARK)
        # If the mark is gone, it must not be created again.
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
    """Remember that the store is unfit, and return when this was seen."""
    unfit = rfc3339(stamp(client.clock.wall_us()))
    client.heads.keep_fitness(client.monotonic_s(), unfit)
    return unfit
