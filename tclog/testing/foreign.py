"""What a program that is none of tclog's may leave in the store, drawn at random.

Stray names in folders, junk in the next free slot of a chain, and a well-formed version there with
an event that was made for another chain. Nothing that is there is ever written over.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tclog.chain.fold import fold, place_after, rules_of, state_of
from tclog.clock import HybridClock
from tclog.errors import Damaged
from tclog.event import (
    ALL,
    ChainId,
    Version,
    chain_folder,
    chain_id,
    chain_kind,
    decode_version,
    event_key,
    pending_folder,
    seal_event,
    seal_version,
    slot_key,
    slot_seq,
)
from tclog.event.names import EVENTS
from tclog.store.base import Create, Found, Put, Store

AGENT = "foreign"
JUNK = (b"", b"\0" * 40, b"{}", b'{"at":')
# A folder marker, what desktops and editors leave, and names that are nearly those of slots.
STRAYS = ("", ".DS_Store", "._x.json", "0", "9999999999.json", "9999999997.json~")
_NONCE = "f" * 12
_NEWEST_MAX = len(STRAYS) + 1


def draw_foreign(
    store: Store, rng: random.Random, chains: Sequence[ChainId], now_us: int
) -> list[Put | Create]:
    """Return what a foreign program writes now, at once, beside clients that work on chains."""
    chain = ALL if not chains or rng.random() < 0.1 else rng.choice(chains)
    what = rng.random()
    if what < 0.4:
        folders = chain_folder(chain), chain_folder(chain), pending_folder(chain), EVENTS
        return [Put(f"{rng.choice(folders)}/{rng.choice(STRAYS)}", rng.choice(JUNK))]
    seq, found = _newest(store, chain)
    if what < 0.6:
        head = None if found is None else _followable(chain, seq, found)
        return [] if head is None else _forged(rng, head, now_us)
    raw = rng.choice(JUNK)
    if found is not None and rng.random() < 0.3:
        raw = found.data  # the version of another place
    return [Create(slot_key(chain, seq + 1), raw)]


def _newest(store: Store, chain: ChainId) -> tuple[int, Found | None]:
    """Return the newest slot of a chain, and what it holds."""
    for entry in store.list(chain_folder(chain), "", _NEWEST_MAX, False):
        seq = slot_seq(entry.key)
        if seq is not None:
            return seq, store.get(entry.key)
    return 0, None


def _followable(chain: ChainId, seq: int, found: Found) -> Version | None:
    """Return a version that is easily followed: no junk, no void, of and after no transaction."""
    try:
        version = decode_version(found.data, chain=chain, seq=seq, stored=found.stored)
    except Damaged:
        return None
    return None if version.void or version.last_txn is not None else version


def _forged(rng: random.Random, head: Version, now_us: int) -> list[Put | Create]:
    """Repeat the newest event as one of another chain: it changes nothing in this one."""
    if not head.events:
        return []
    chain, model, clock = head.chain, head.events[-1], HybridClock(lambda: now_us)
    other = chain_id(chain_kind(chain), "elsewhere")
    event, raw = seal_event(
        op=model.op,
        chains=(other,),
        agent=AGENT,
        session=AGENT,
        host=AGENT,
        client=AGENT,
        at=clock.tick(),
        nonce=f"{_NONCE}{rng.getrandbits(80):020x}",
        body=dict(model.body),
    )
    rules, place = rules_of(chain), place_after(head)
    # As the format says, whatever the fold does: events of other chains are passed over.
    state = fold(chain, state_of(chain, head), (), place)
    version = seal_version(
        chain=chain,
        seq=place.seq,
        prev=head.id,
        prev_stored=place.prev_stored,
        at=clock.tick(after=head.at),
        by=AGENT,
        events=(event,),
        state=rules.pack(state, (event,)),
    )
    put = Put(event_key(event.at, other, event.id), raw)
    return [put, Create(slot_key(chain, version.seq), version.raw)]
