"""Packs as they are found: the chain that names them, one pack by its hash, hours as texts.

An *hour* is the first 13 characters of a stamp, as in the keys of events. For whoever reads packs:
sync, packing, ``gc``, ``fsck``.
"""

from __future__ import annotations

from contextlib import suppress

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.read import read_head
from tclog.clock import SECOND_US, format_us, parse_us
from tclog.domain.packs import State
from tclog.errors import Damaged, Refused, TclogError
from tclog.event import MARK, PACKS, Version, decode_version, pack_key, slot_key
from tclog.event.packs import PackReader
from tclog.store.base import Found, Get
from tclog.sync.objects import read_each

HOUR_US = 3600 * SECOND_US


def hour_of(us: int) -> str:
    """Return the hour that a moment is in."""
    return format_us(us)[:13]


def end_of_us(hour: str) -> int:
    """Return the moment at which an hour ends."""
    return parse_us(f"{hour}:00:00.000000Z") + HOUR_US


def after(hour: str) -> str:
    """Return a text that stands after every stamp of an hour and before those of the next."""
    return f"{hour};"


def read_packs_head(client: Client) -> Protocol[tuple[int, State]]:
    """Return the newest version of the chain of packs, and what it says."""
    head: Version | None = yield from read_head(client, PACKS)
    return 0 if head is None else head.seq, state_of(PACKS, head)


def read_packs_state(seq: int, mount: str = "") -> Protocol[State]:
    """Return what a version of the chain of packs says, nothing if it is damaged.

    For those who read a store as it is; they tell of damaged versions elsewhere.
    """
    if seq:
        (reply,) = yield from read_each([mount + slot_key(PACKS, seq)], mount + MARK)
        with suppress(TclogError):
            if isinstance(reply, Found):
                version = decode_version(reply.data, chain=PACKS, seq=seq)
                # No client packs in a transaction; of one that is forged nothing is taken.
                if version.txn is None:
                    return state_of(PACKS, version)  # type: ignore[no-any-return]
    return state_of(PACKS, None)  # type: ignore[no-any-return]


def read_pack(pack: str) -> Protocol[PackReader | None]:
    """Read a pack and check its hash; None if there is none.

    Raises:
        Damaged: it does not hold what its name says.
    """
    found: Found | None = yield Get(pack_key(pack))
    return None if found is None else PackReader(found.data, pack)


def need_pack(client: Client, version: int, pack: str) -> Protocol[PackReader]:
    """Read a pack that a version of the chain names.

    Raises:
        Damaged: it is missing, or does not hold what its name says.
        Refused: it was folded into another one since, and removed.
    """
    reader = yield from read_pack(pack)
    if reader is None:
        newest, _ = yield from read_packs_head(client)
        if newest == version:
            raise missing(pack)
        raise Refused("packs were folded meanwhile", code="packs-changed")
    return reader


def missing(pack: str) -> Damaged:
    """Say that a pack which the chain names is not there."""
    return Damaged(f"the pack {pack_key(pack)} is missing", hint="tclog fsck")
