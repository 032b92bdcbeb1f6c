"""The part of sync that reads packs: where the index holds nothing, and where ``gc`` was at work.

What it rests on: whoever removes event objects has raised the floor before, in a version of the
chain of packs that names packs which hold them. The event of the newest raise is above the floor
and so is there, and a listing that lacks what was removed before it began names that event. What is
removed while a listing runs is older than a day: a listing that goes back so far, or a read that
finds nothing where something was listed, asks the chain of packs once more afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from tclog.chain.drive import Protocol
from tclog.chain.fold import state_of
from tclog.chain.slots import read_present
from tclog.clock import SECOND_US, parse_us
from tclog.domain.packs import State
from tclog.errors import Damaged
from tclog.event import PACKS, ChainId, decode_version, digest, pack_key, slot_key
from tclog.event.summary import Summary, summarize
from tclog.index import NotLinked

if TYPE_CHECKING:
    from tclog.event.packs import PackReader, Run
    from tclog.sync.chains import ChainSync

TRIES_MAX = 8
BATCH = 1_000
# gc removes nothing that is younger than a day; the rest of the day is for clocks.
REMOVED_AFTER_US = 20 * 3600 * SECOND_US


class PackSync:
    """Reads packs into the index.

    ``chains`` reads from slots what packs do not hold, and keeps the counts.
    """

    def __init__(self, chains: ChainSync) -> None:
        self.chains = chains
        self.client = chains.client
        self.index = chains.index
        self.progress = chains.progress
        self._read: set[str] = set()

    def read_all(self, since: str) -> Protocol[int | None]:
        """Read the packs that hold something since a stamp, as far as the index lacks it.

        Returns:
            The moment up to which all is packed; None if nothing ever was.
        """
        yield from self.chains.catch_up([PACKS])
        return (yield from self._read_since(since)) if self._state().packs else None

    def read_removed(self, since: str, newest: str | None, *, gone: bool) -> Protocol[int | None]:
        """Read what was removed of the events that a listing since a stamp should have named.

        Args:
            since: where the listing began, "" for all.
            newest: the newest stamp of the store that it told.
            gone: whether something it named was not there any more.

        Returns:
            The moment up to which all is packed; None if nothing can have been removed.
        """
        now_us = max(self.client.clock.now_us(), 0 if newest is None else parse_us(newest))
        if gone or not since or now_us - parse_us(since) > REMOVED_AFTER_US:
            yield from self.chains.catch_up([PACKS])
        state = self._state()
        if not state.floor or state.floor < since[:13]:
            return None
        return (yield from self._read_since(since))

    def _read_since(self, since: str) -> Protocol[int]:
        from tclog.sync.packfiles import end_of_us

        state = yield from self._read_packs(since[:13])
        return end_of_us(state.through)

    def _state(self) -> State:
        state: State = state_of(PACKS, self.index.version(PACKS, self.index.head(PACKS)))
        return state

    def _read_packs(self, hour: str) -> Protocol[State]:
        """Read the packs that hold something of an hour or later; return what the chain says."""
        from tclog.sync.packfiles import missing, read_pack

        gone = ""
        for nth in range(TRIES_MAX):
            state = self._state()
            for one in state.packs:
                if one.last < hour or one.pack in self._read:
                    continue
                reader = yield from read_pack(one.pack)
                if reader is None:
                    gone = one.pack
                    break
                yield from self._take(reader, one.pack)
                self._read.add(one.pack)
            else:
                return state
            # It was folded into a greater one and removed since: the chain names that one.
            yield from self.chains.catch_up([PACKS])
            if nth and self._state() == state:
                break
        raise missing(gone)

    def _take(self, reader: PackReader, pack: str) -> Protocol[None]:
        """Insert what the index lacks of a pack."""
        firsts, apart = self._firsts(reader.header.chains)
        yield from self._insert(reader, firsts)
        yield from self._compare(pack, firsts)
        # Only an index that lacks what an earlier pack holds: its slots have it.
        yield from self.chains.catch_up(apart)

    def _compare(self, pack: str, firsts: Mapping[Run, int]) -> Protocol[None]:
        """Compare one version that was taken from a pack, drawn at random, with its slot.

        A pack that says other things than the slots is found so by some reader, sooner or later.
        """
        taken = [(run, first) for run, first in firsts.items() if first <= run.last]
        if not taken:
            return
        run, first = taken[int(self.client.jitter() * len(taken))]
        seq = first + int(self.client.jitter() * (run.last - first + 1))
        kept = self.index.kept(run.chain, seq)
        if kept is None:
            return  # junk that was ended
        key = slot_key(run.chain, seq)
        found = yield from read_present(key)
        if found is not None and found.data == kept[2]:
            return
        self.index.renew()  # what the pack said is in it
        has = "nothing" if found is None else f"another one, id {digest(found.data)[:12]}"
        raise Damaged(
            f"the pack {pack_key(pack)} holds version {seq} of {run.chain} with id"
            f" {digest(kept[2])[:12]}; its slot {key} holds {has}",
            hint="tclog fsck",
            pack=pack_key(pack),
            object=key,
        )

    def _firsts(self, runs: Iterable[Run]) -> tuple[dict[Run, int], list[ChainId]]:
        """Return of each run the first version that is wanted, and the chains with a gap."""
        firsts: dict[Run, int] = {}
        apart: list[ChainId] = []
        for run in runs:
            head = self.index.head(run.chain)
            if run.first <= head + 1:
                firsts[run] = head + 1
            else:
                firsts[run] = run.last + 1
                apart.append(run.chain)
        return firsts, apart

    def _insert(self, reader: PackReader, firsts: Mapping[Run, int]) -> Protocol[None]:
        """Insert what is in a pack: of each run the versions from its first one on, then events."""
        from tclog.event.packs import summarize_packed

        rows = reader.versions(firsts.__getitem__)
        while some := list(islice(rows, BATCH)):
            summaries = [one for row in some if (one := summarize_packed(*row)) is not None]
            if len(summaries) < len(some):
                found = [
                    decode_version(row.raw, chain=chain, seq=seq, stored=row.stored)
                    for chain, seq, row in some
                ]
                summaries = [
                    summarize(version) for version in (yield from self.chains.judged(found))
                ]
            yield from self._add(summaries)
        lost = reader.events()
        while events := [(event, row.raw, row.stored) for event, row in islice(lost, BATCH)]:
            with self.index.writing():
                self.chains.attempts += self.index.add_attempts(events)
            self.progress("attempts", len(events))

    def _add(self, summaries: Iterable[Summary]) -> Protocol[None]:
        try:
            with self.index.writing():
                count = self.index.add_summaries(summaries)
        except NotLinked as broken:
            yield from self.chains.explain(broken.chain, broken.seq)
            raise
        self.chains.versions += count
        self.progress("versions", count)
