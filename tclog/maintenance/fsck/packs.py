"""``fsck`` of packs: each by its hash, what is in it, and against the slots and the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tclog.chain.drive import Protocol
from tclog.chain.slots import newest_slot
from tclog.domain import misfit
from tclog.domain.packs import Pack
from tclog.errors import TclogError
from tclog.event import PACKS, decode_version, event_key, pack_key, slot_key
from tclog.event.names import PACK_OBJECTS, pack_of
from tclog.maintenance.fsck.findings import Findings
from tclog.maintenance.fsck.seen import Writer
from tclog.store.base import Found, Stat
from tclog.sync.objects import PACKS_FOLDER, Listing, read_each
from tclog.sync.packfiles import read_packs_state

if TYPE_CHECKING:
    from tclog.event.packs import PackReader


TRIES_MAX = 8


class PackCheck:
    """Checks the packs that the newest version of their chain names; after chains and events."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.packs = 0

    def check(self) -> Protocol[None]:
        """Check all packs; every event in them is as good as one with an object of its own."""
        yield from self._check_named()
        listing = Listing(PACK_OBJECTS)
        while page := (yield from listing.page()):
            for _ in self.found.named(page, lambda row: pack_of(row.key)):
                pass

    def _check_named(self) -> Protocol[None]:
        """Check what the chain names, until it names nothing new.

        One that is missing and not named any more was folded into another, which is looked at.
        """
        seen: set[str] = set()
        missing: list[Pack] = []
        for _ in range(TRIES_MAX):
            state = yield from read_packs_state((yield from newest_slot(PACKS_FOLDER)))
            for one in missing:
                if one in state.packs:
                    key = pack_key(one.pack)
                    why = f"{key} is missing, named by {PACKS}"
                    self.found.damage("pack-missing", why, Writer(key))
            new = [one for one in state.packs if one.pack not in seen]
            if not new:
                break
            missing = []
            for one in new:
                seen.add(one.pack)
                if not (yield from self._pack(one)):
                    missing.append(one)
                self.found.progress("packs", 1)

    def _pack(self, one: Pack) -> Protocol[bool]:
        """Check a pack; False if it is not there."""
        from tclog.event.packs import PackReader

        where = Writer(pack_key(one.pack))
        (reply,) = yield from read_each([where.key])
        if reply is None:
            return False
        self.packs += 1
        if not isinstance(reply, Found):
            why = f"{where.key} cannot be read: {reply.message}"
            self.found.damage("pack-damaged", why, where)
            return True
        try:
            reader = PackReader(reply.data, one.pack)
            header = reader.header
            if (header.versions, len(header.events), len(reply.data)) != (
                one.versions,
                one.events,
                one.size,
            ):
                why = f"{where.key} does not hold as much as {PACKS} says"
                self.found.damage("pack-damaged", why, where)
            self._read(reader, where)
            yield from self._check_slots(reader, where)
        except TclogError as error:
            self.found.damage("pack-damaged", f"{where.key}: {error.message}", where)
        except Exception as error:  # noqa: BLE001 - whatever bytes there are, the check goes on
            self.found.damage("pack-damaged", f"{where.key} cannot be read: {error!r}", where)
        return True

    def _check_slots(self, reader: PackReader, where: Writer) -> Protocol[None]:
        """Tell of chains that end before what is packed of them."""
        for chain, _, last in reader.header.chains:
            key = slot_key(chain, last)
            if self.found.seen.version_id(chain, last) is None and not (yield Stat(key)):
                self.found.damage(
                    "version-missing",
                    f"version {last} of {chain} is missing, which {where.key} holds",
                    Writer(key, chain, last),
                )

    def _read(self, reader: PackReader, where: Writer) -> None:
        seen = self.found.seen
        for chain, seq, row in reader.versions():
            version = decode_version(row.raw, chain=chain, seq=seq)
            slot = seen.version_id(chain, seq)
            if slot is not None and slot != version.id:
                self.found.damage(
                    "pack-mismatch",
                    f"{where.key} holds another version {seq} of {chain} than its slot",
                    where._replace(chain=chain, version=seq, agent=version.by),
                )
            for event in version.events:
                seen.pack_event(event.id)
        for event, _ in reader.events():
            seen.pack_event(event.id)
            key = event_key(event.at, event.chains[0], event.id)
            if misfit(event, event.chains[0]) is None:
                self.found.name_blobs(event, Writer(key, event.chains[0], None, event.agent))
