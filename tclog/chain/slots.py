"""Slots in the store: their bytes, and whether these are the version that belongs there.

Nothing here follows a chain or judges a transaction; ``tclog.chain.read`` does.
"""

from __future__ import annotations

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep
from tclog.errors import Damaged
from tclog.event import ChainId, Version, slot_key, slot_seq
from tclog.event.names import folder_of
from tclog.store.base import LIST_PAGE_MAX, Found, Get, List

# How often, and with which pauses, an object that must exist is asked for before it is missing.
LOOKS = 3
LOOK_PAUSE_S = 0.2
PAGES_MAX = 10_000


class Junk(Damaged):
    """A slot holds bytes (``raw``) that are not the version that belongs there."""

    def __init__(self, chain: ChainId, seq: int, why: str, raw: bytes) -> None:
        key = slot_key(chain, seq)
        super().__init__(
            f"{why} ({key})",
            hint="tclog void --help",
            object=key,
            chain=chain,
            version=seq,
        )
        self.chain, self.seq, self.raw = chain, seq, raw


def decode_slot(client: Client, chain: ChainId, seq: int, found: Found) -> Version:
    """Return the version that a slot holds.

    Raises:
        Junk: it holds something else.
    """
    try:
        return client.decode(found.data, chain=chain, seq=seq, stored=found.stored)
    except Damaged as error:
        raise Junk(chain, seq, error.message, found.data) from None


def read_present(key: str) -> Protocol[Found | None]:
    """Read an object that must exist; ask again if it is absent."""
    found: Found | None = None
    for nth in range(LOOKS):
        if nth:
            yield Sleep(LOOK_PAUSE_S)
        found = yield Get(key)
        if found is not None:
            break
    return found


def newest_slot(folder: str, mount: str = "") -> Protocol[int]:
    """Return the number of the newest slot in a chain's folder, 0 if it has none.

    Other names are skipped; most files that other programs leave sort before slots.
    """
    place, after, limit = f"{mount}{folder}", "", 1
    for _ in range(PAGES_MAX):
        entries = yield List(place, after, limit)
        for entry in entries:
            if folder_of(entry.key) == place and (seq := slot_seq(entry.key)):
                return seq
        if len(entries) < limit:
            break
        after, limit = max(entries[-1].key, f"{place}/0"), LIST_PAGE_MAX
    return 0
