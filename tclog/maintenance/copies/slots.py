"""Copying versions: each chain from its oldest, up to what was listed, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol, together
from tclog.errors import Refused, TclogError
from tclog.event import (
    ALL,
    ChainId,
    Version,
    VersionId,
    chain_folder,
    decode,
    decode_version,
    digest,
    slot_key,
)
from tclog.event.names import slot_in
from tclog.maintenance.copies.job import Job, why_unread
from tclog.store.base import Found, Get
from tclog.sync.objects import PAGES_MAX, chain_in

CHAINS_AT_ONCE = 32
SLOTS_AT_ONCE = 32


class Range(NamedTuple):
    """The slots of a chain that are to be copied."""

    folder: str
    first: int
    last: int


class SlotCopy:
    """Copies slots; what is wrong with one ends its chain in the copy."""

    def __init__(self, job: Job) -> None:
        self.job = job
        # The newest slot of each chain that was listed, and of some one that is owed besides.
        self.listed: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        self._ended: set[str] = set()

    def copy(self, ranges: Sequence[Range]) -> Protocol[None]:
        """Copy slots: of each chain the oldest first, several chains side by side."""
        for start in range(0, len(ranges), CHAINS_AT_ONCE):
            part = ranges[start : start + CHAINS_AT_ONCE]
            yield from together(*(self._chain(one) for one in part))

    def copy_owed(self) -> Protocol[None]:
        """Copy the slots that others rest on and that were created when their chain was listed.

        They were there before what rests on them, so what they name was listed after them too.
        """
        for _ in range(PAGES_MAX):
            if not self._owed:
                break
            owed, self._owed = self._owed, {}
            first = {folder: self.listed.get(folder, 0) + 1 for folder in owed}
            self.listed |= owed
            whole = owed.keys() - self._ended
            yield from self.copy([Range(one, first[one], owed[one]) for one in sorted(whole)])

    def _owe(self, version: Version, *, followed: bool) -> Protocol[None]:
        """Note what a version rests on: the slots that decided its transaction, broadcasts."""
        slots: dict[ChainId, int] = {}
        if version.txn is not None and followed:
            slots = yield from self._deciding(version.txn)
        if version.merge is not None:
            slots[ALL] = version.merge["through"]
        fills = version.record.get("fills")
        if fills is not None:
            slots[ChainId(fills["chain"])] = fills["seq"]
        for chain, seq in slots.items():
            folder = chain_folder(chain)
            if seq > max(self.listed.get(folder, 0), self._owed.get(folder, 0)):
                self._owed[folder] = seq

    def _deciding(self, txn: Mapping[str, Any]) -> Protocol[dict[ChainId, int]]:
        """Return the slots of a decided transaction that a copy needs to judge it alike.

        These are all of one that was committed. Of one that was aborted, some may never be filled;
        one that holds something else is there.
        """
        slots: dict[ChainId, int] = txn["slots"]
        known = [self.listed.get(chain_folder(chain), 0) >= seq for chain, seq in slots.items()]
        if all(known):
            return {}
        replies = yield from self.job.read([slot_key(*slot) for slot in slots.items()])
        there = [reply for reply in replies if isinstance(reply, Found)]
        if all(_is_part(txn, reply) for reply in there):
            return dict(slots)
        rows = zip(slots.items(), replies, strict=True)
        return {chain: seq for (chain, seq), reply in rows if reply is not None}

    def _chain(self, wanted: Range) -> Protocol[None]:
        before: VersionId | None = None
        junk = False  # whether the slot before holds junk
        if wanted.first > 1:
            seq = wanted.first - 1
            key = slot_in(wanted.folder, seq)
            before = yield from self.job.sink.slot_id(key)
            found = yield Get(self.job.mount + key)
            known = None if found is None else self._decoded(key, seq, found)
            if isinstance(known, Version):
                yield from self._owe(known, followed=True)
            junk = isinstance(known, str) and digest(found.data) == before
        for start in range(wanted.first, wanted.last + 1, SLOTS_AT_ONCE):
            seqs = range(start, min(start + SLOTS_AT_ONCE, wanted.last + 1))
            keys = [slot_in(wanted.folder, seq) for seq in seqs]
            replies = yield from self.job.read(keys)
            for seq, key, reply in zip(seqs, keys, replies, strict=True):
                if not isinstance(reply, Found):
                    self.job.damaged(
                        key, f"{why_unread(reply)}; its chain ends before it in the copy"
                    )
                    self._ended.add(wanted.folder)
                    return
                version = self._decoded(key, seq, reply)
                if isinstance(version, str):
                    self.job.count(junk=1)
                    self.job.note(key, version)
                elif version.prev != before and not junk:
                    self._ended.add(wanted.folder)
                    self._parted(wanted, seq, key)
                    return
                else:
                    yield from self._owe(version, followed=seq < wanted.last)
                before, junk = VersionId(digest(reply.data)), isinstance(version, str)
                yield from self.job.sink.put_slot(key, reply.data, junk=junk)
                self.job.count(versions=not junk, bytes=len(reply.data))
                self.job.progress("versions", 1)

    def _decoded(self, key: str, seq: int, found: Found) -> Version | str:
        """Return a version that holds what it should, or why there is none."""
        try:
            chain = chain_in(key, found.data)
            return decode_version(found.data, chain=chain, seq=seq, stored=found.stored)
        except TclogError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - whatever bytes there are, the copy goes on
            return f"cannot be read: {error!r}"

    def _parted(self, wanted: Range, seq: int, key: str) -> None:
        if wanted.first > 1 and seq == wanted.first:
            other = slot_in(wanted.folder, seq - 1)
            raise Refused(
                f"{other} differs in source and target: the two logs have parted",
                code="object-differs",
                hint="tclog clone --help",
                object=other,
            )
        self.job.damaged(key, "does not follow the version before it; its chain ends before it")


def _is_part(txn: Mapping[str, Any], found: Found) -> bool:
    """Whether a slot holds its part of a transaction; what cannot be read is told by itself."""
    try:
        record = decode(found.data, "version")
    except TclogError:
        return True
    return not isinstance(record, dict) or record.get("txn") == txn
