"""Oracles of isolation: what clients are told where foreign programs have put junk into slots.

One bad object stops its own chain alone. Who works on that chain is answered with 8, which names
the slot; everybody else goes on as ever. Once the junk is ended, all readers see one state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import run
from tclog.chain.heads import MemoryHeads
from tclog.chain.read import read_head, read_range
from tclog.chain.slots import Junk
from tclog.clock import HybridClock
from tclog.errors import Damaged, OutcomeUnknown, TclogError
from tclog.event import ChainId, chain_folder, chain_id, slot_key
from tclog.event.names import folder_of
from tclog.store.base import Store
from tclog.testing.foreign import AGENT
from tclog.testing.oracles import Chains
from tclog.testing.scheduler import Operation

_NEVER = 1 << 62
# The store could not be reached, or it is not known what came of it: nothing is said of the chain.
_UNTOLD = (6, 7)


class Spot(NamedTuple):
    """A slot that holds junk: from when on, and until when it stops its chain."""

    key: str
    folder: str
    since_us: int
    until_us: int

    def stands_in(self, operation: Operation) -> bool:
        """Whether an operation can have met it."""
        return self.since_us <= operation.returned_us and operation.invoked_us <= self.until_us

    def outlasts(self, operation: Operation) -> bool:
        """Whether it stopped the chain all the time that an operation took."""
        return self.since_us <= operation.invoked_us and operation.returned_us <= self.until_us


def spots_of(
    foreign: Collection[str], chains: Chains, created_us: Mapping[str, int]
) -> dict[str, Spot]:
    """Return the junk among the slots that foreign programs have written, by key."""
    sound: set[str] = set()
    until_us: dict[str, int] = {}
    for chain, versions in chains.versions.items():
        for version in versions:
            key = slot_key(chain, version.seq)
            sound.add(key)
            until_us |= {slot_key(chain, one["seq"]): created_us[key] for one in version.voids}
    return {
        key: Spot(key, folder_of(key), created_us[key], until_us.get(key, _NEVER))
        for key in foreign
        if key not in sound
    }


def check_told(
    done: Sequence[Operation], chains: Chains, spots: Mapping[str, Spot], *, fresh: bool
) -> Iterator[str]:
    """Nothing is called damaged but junk that stands, and only to who works on its chain.

    Without ``fresh`` a client may have met it in an old listing.
    """
    for operation in done:
        for error in (one for one in _told(operation) if isinstance(one, Damaged)):
            spot = spots.get(slot_key(error.chain, error.seq)) if isinstance(error, Junk) else None
            if spot is None or (fresh and not spot.stands_in(operation)):
                yield f"a sound log was called damaged: {operation}"
            elif spot.folder not in map(chain_folder, _linked(_about(operation), chains)):
                yield f"junk in {spot.key} stops another chain: {operation}"


def check_met(done: Sequence[Operation], spots: Mapping[str, Spot]) -> Iterator[str]:
    """Who works on a chain with junk is answered with 8."""
    for operation in done if spots else ():
        about = _about(operation)
        if len(about) != 1 or operation.name == "void" or operation.outcome == "unknown":
            continue
        folder = chain_folder(about[0])
        met = [one for one in spots.values() if one.folder == folder and one.outlasts(operation)]
        error = operation.error
        # What was expected is over: that is so whatever the newest slot holds.
        over = error is not None and error.code == "version-conflict"
        stopped = error is not None and (isinstance(error, Junk) or error.exit in _UNTOLD)
        if met and not (stopped or over):
            yield f"junk in {met[0].key} was passed over: {operation}"


def check_ends(done: Sequence[Operation], chains: Chains) -> Iterator[str]:
    """Who was told that junk is ended finds the version that ends it."""
    for operation in done:
        if operation.name == "void" and operation.outcome == "ok":
            chain, version = operation.arguments["chain"], operation.result.version
            held = {one.seq: one.id for one in chains.versions.get(chain, ())}
            if held.get(version.seq) != version.id:
                yield f"{chain}: the version that ends junk is lost: {operation}"


def check_readers(
    store: Store, done: Sequence[Operation], chains: Chains, spots: Mapping[str, Spot], now_us: int
) -> Iterator[str]:
    """In the end a client that knows nothing sees each chain whole, or the junk that stops it."""
    stopped = {one.folder for one in spots.values() if one.until_us == _NEVER}
    named = {chain for operation in done for chain in _about(operation)}
    for chain in sorted(named.union(chains.versions)):
        versions = chains.versions.get(chain, [])
        last = versions[-1].seq if versions else 0
        if chain_folder(chain) not in stopped and store.get(slot_key(chain, last + 1)) is not None:
            continue  # a transaction that nobody has ended
        try:
            head = run(read_head(_reader(now_us), chain), store)
            whole = run(read_range(_reader(now_us), chain, 1, head.seq), store) if head else []
        except Junk as junk:
            spot, linked = spots.get(slot_key(junk.chain, junk.seq)), _linked([chain], chains)
            if spot is None or spot.until_us < _NEVER or junk.chain not in linked:
                yield f"{chain}: a sound chain cannot be read: {junk.message}"
        except TclogError as error:
            yield f"{chain}: it cannot be read: {error.message}"
        else:
            if chain_folder(chain) in stopped:
                yield f"{chain}: a reader goes past junk to version {head and head.seq}"
            elif [one.id for one in whole] != [one.id for one in versions]:
                yield f"{chain}: a reader sees other versions than there are"


def _reader(now_us: int) -> Client:
    return Client(
        AGENT,
        session=AGENT,
        host=AGENT,
        software=AGENT,
        clock=HybridClock(lambda: now_us),
        heads=MemoryHeads(),
        nonce=AGENT.__str__,
        jitter=lambda: 0.5,
        monotonic_s=lambda: now_us / 1e6,
    )


def _told(operation: Operation) -> list[BaseException | None]:
    """Return what an operation ended with, and what left its outcome unknown."""
    error = operation.error
    # What is damaged for whoever has announced a message is told so.
    return [error, error.__context__] if isinstance(error, OutcomeUnknown) else [error]


def junk_met(operation: Operation) -> Junk | None:
    """Return the junk that stopped an operation."""
    return next((error for error in _told(operation) if isinstance(error, Junk)), None)


def _about(operation: Operation) -> list[ChainId]:
    """Return the chains that an operation cannot do without; ``claim --next`` passes over any."""
    known = operation.arguments
    if operation.name == "step.next":
        return []
    about = {*known.get("chains", ()), *known.get("reads", ())}
    about |= {known["chain"]} if "chain" in known else set()
    if operation.name == "inbox.read":
        about.add(chain_id("inbox", operation.agent))
    return sorted(about)


def _linked(about: Sequence[ChainId], chains: Chains) -> set[ChainId]:
    """Return chains, and those that transactions have written together with them."""
    linked = set(about)
    for chain in about:
        for version in chains.versions.get(chain, ()):
            linked |= set(version.txn["slots"]) if version.txn is not None else set()
    return linked
