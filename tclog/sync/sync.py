"""Sync: bring the local index up to the store, reading only what is new.

Every commit was preceded by its event's object, whose name begins with its time. So listing
``events/`` from a little before the last listing names every chain that may have changed, and the
chains are read from the version after the last one known. docs/sync.md has the argument why
nothing is missed; in short, what could be:

* an object put late, or named by a clock that is off: the window covers both, since no client
  commits an event that it made longer than ``EVENT_AGE_MAX_S`` ago, nor with a clock known to be
  more than two minutes off;
* a slot created long after its event was put: chains named by young events without a slot are
  looked at again, as are those that lack an event which another of its chains holds;
* a version without events: only inboxes have such (they take in broadcasts), so inboxes that lag
  behind ``inbox/@all`` are looked at again;
* anything else (a process stopped for hours between two lines, a store's clock that was set back,
  a foreign client): every chain is asked once a day, and by ``tclog sync --full``.

Where history was packed, an index that holds nothing begins with the packs (``PackSync``), and
lists only what came after. Where ``gc`` has removed event objects that a listing should have named,
the packs are read after it.
"""

from __future__ import annotations

from typing import NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.heads import LOOK_EVERY_S
from tclog.chain.remembered import Remembered
from tclog.chain.trust import check
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, format_us, last_of, parse_us
from tclog.errors import Damaged, Forked, RolledBack
from tclog.event import ChainId
from tclog.index import Index, Noted
from tclog.index.asking import COUNTED
from tclog.sync.chains import WINDOW_US, ChainSync, remembered
from tclog.sync.objects import Progress, unseen
from tclog.sync.packs import PackSync

# By so much a clock is off for which no correction is needed: see ``HybridClock.learn``.
CLOCK_OFF_US = 2 * SECOND_US
FULL_EVERY_US = 86_400 * SECOND_US
# The index's record of the version that the store lacked, from when this was found.
_DOUBTED = "doubted"


class Synced(NamedTuple):
    """What a sync found: how many versions and attempts were new, and whether it asked all."""

    versions: int
    attempts: int
    full: bool


def sync(
    client: Client, index: Index, *, full: bool = False, progress: Progress | None = None
) -> Protocol[Synced]:
    """Bring the index up to everything that was committed before the call.

    Args:
        client: whose clock judges how long it took, and bounds what a wrong stamp may do.
        index: where to.
        full: ask every chain, not only those that the newest events name.
        progress: told what is being read, and how many more of it.

    Raises:
        Damaged: a pack does not hold what it should; ``tclog fsck`` finds all such.
        Forked, RolledBack: the index holds what the store does not, which was set back to a copy.
            The index stays as it is, as evidence, until the user accepts the store.
    """
    syncing = _sync(client, index, full=full, progress=progress or unseen)
    try:
        known = _witness(client, index)
        if known is None:
            return (yield from syncing)
        # Beside the first request. A store that was set back lacks the newest version first.
        _, synced = yield from together(_check(client, known), syncing)
        index.looked_s = client.monotonic_s()
        if index.meta(_DOUBTED):
            with index.writing():
                index.set_meta(_DOUBTED, "")
    except (Forked, RolledBack) as error:
        _doubt(index, error)
        error.details["index"] = str(index.folder)
        error.message += f"; the index of what was seen is in {index.folder}"
        raise
    return synced  # type: ignore[no-any-return]


def _doubt(index: Index, error: Damaged) -> None:
    """Record which version the store lacked: by now the index may have newer ones that it has."""
    known = error.details.get("remembered")
    if known is not None:
        with index.writing():
            index.set_meta(_DOUBTED, f"{known['version']} {known['chain']}")


def _witness(client: Client, index: Index) -> Remembered | None:
    """Return the version to look for: the one that the store lacked, else the newest here."""
    if not index.finished():
        return None  # a first sync: every chain that is there already is looked at
    seq, _, chain = (index.meta(_DOUBTED) or "0 ").partition(" ")
    lacking = remembered(index.kept(ChainId(chain), int(seq)))
    if lacking is not None:
        return lacking
    looked_s = client.monotonic_s() - index.looked_s
    if not client.heads.local and looked_s < LOOK_EVERY_S:
        return None
    return remembered(index.newest(last_of(client.clock.now_us() + AHEAD_TRUSTED_US)))


def _check(client: Client, known: Remembered) -> Protocol[None]:
    """Compare a version with the store; junk in its slot does not concern the whole store."""
    try:
        yield from check(known, local=client.heads.local)
    except (Forked, RolledBack):
        raise
    except Damaged as error:
        client.leave_out(known.chain, error)


def _sync(client: Client, index: Index, *, full: bool, progress: Progress) -> Protocol[Synced]:
    chains = ChainSync(client, index, progress)
    begun_us, begun_s = client.clock.now_us(), client.monotonic_s()
    numbered, seen = index.last_row(), index.seen_row()
    latest_us = begun_us + CLOCK_OFF_US
    horizon_us = _horizon_us(index, begun_us)
    cold = horizon_us is None and not full
    full = full or horizon_us is None or _is_old(index, horizon_us)
    packs = PackSync(chains)
    noted = index.damage()
    yield from chains.catch_up(noted, check=True)
    since_us = None if full else horizon_us
    if full:
        packed_us = yield from packs.read_all(_listed_from(horizon_us))
        if cold and packed_us is not None:
            since_us = packed_us
            index.gather()
            yield from chains.read_packed_open(packed_us)
        else:
            yield from chains.read_every_chain()
    index.gather()
    since = _listed_from(since_us)
    newest = yield from chains.read_events(since)
    packed_us = yield from packs.read_removed(since, newest, gone=chains.gone)
    if packed_us is not None:
        yield from chains.read_packed_open(packed_us)
    yield from chains.read_lagging_inboxes()
    yield from chains.read_transactions()
    # A machine that slept has passed time that only one of its two clocks tells.
    slept_us = client.clock.now_us() - begun_us
    took_us = max(round((client.monotonic_s() - begun_s) * SECOND_US), slept_us)
    with index.writing():
        before = ""
        if newest is not None:
            # What was put while the listing ran may stand before where it had got to.
            newest_us = parse_us(newest)
            if newest_us > latest_us:
                # A stamp of the future says nothing of when the sync began; this clock does.
                newest_us = begun_us - CLOCK_OFF_US
            moved_us = newest_us - took_us
            before = format_us(moved_us - SECOND_US)
            moved = format_us(min(moved_us, client.clock.now_us()))
            index.set_meta("horizon", max(index.meta("horizon") or "", moved))
            if full:
                index.set_meta("full", moved)
        index.note_damage(noted, {one: _noted(e) for one, e in chains.damaged.items()})
        index.number(numbered, before, format_us(latest_us), seen)
        index.set_meta(COUNTED, "{} {}".format(*index.count_events()))
    index.finish()
    return Synced(chains.versions, chains.attempts, full)


def _noted(error: Damaged) -> Noted:
    return {"message": error.message, "hint": error.hint}


def _listed_from(horizon_us: int | None) -> str:
    """Return the stamp from which on events are listed, "" for all."""
    return "" if horizon_us is None else format_us(horizon_us - WINDOW_US)


def _horizon_us(index: Index, now_us: int) -> int | None:
    """Return up to when all events were seen, by the store's clock; None if none ever were.

    Never later than now: one stamp from the future, or a store's clock that was set back, would
    hide whatever comes after it.
    """
    horizon = index.meta("horizon")
    return None if horizon is None else min(parse_us(horizon), now_us)


def _is_old(index: Index, horizon_us: int) -> bool:
    full = index.meta("full")
    return full is None or horizon_us - parse_us(full) > FULL_EVERY_US
