"""Transactions: several chains change together, or none of them does.

    read the heads, let every operation decide; what it reads is guarded
    put the blobs, then the events
    create slot head + 1 of every chain       (committed when all of them are there)
    all are: done.   one is lost: aborted for good; end what is in the way, decide again

Each version names all slots (``tclog.chain.judge`` says what follows from that), so the last create
is the commit. A chain that was only read takes a slot too: its create proves that the chain has not
changed since. Nothing here is a second authority.

The first try creates all slots at once. Later tries go from chain to chain: first the chains that
were lost most often, then the others in a fixed order. So of two transactions on the same chains,
one gets the first chain and goes on.

Every create is read back like that of a plain append. The outcome of a transaction is *unknown*
only if no slot is lost and one is undecided. An idempotency key is looked for in the chain of the
first operation, which has a slot in every try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, settled, together
from tclog.chain.fold import takes_in
from tclog.chain.judge import mark_of
from tclog.chain.once import Once, bind_once, stands_for
from tclog.chain.read import accept, read_head, read_range, read_version
from tclog.chain.resolve import resolve
from tclog.chain.seal import is_old, misleads, seal_next, stamp_of
from tclog.chain.settle import settle
from tclog.chain.trust import stamp_of_put
from tclog.chain.view import Act, Sealed, View
from tclog.clock import SECOND_US, TRIED_US, Hlc, following, parse_us
from tclog.errors import (
    NotFound,
    OutcomeUnknown,
    Refused,
    StoreError,
    StoreUnreachable,
    UsageError,
    quote,
)
from tclog.event import (
    ALL,
    TXN_CHAINS_MAX,
    ChainId,
    Event,
    Version,
    blob_key,
    event_key,
)
from tclog.store.base import Found, Keep

RACES_MAX = 1_000
GIVE_UP_S = 60.0
OPERATIONS_MAX = 100
# The moment of a transaction is after that of an earlier one of its chains, even where that one is
# ahead of the clock, up to this: no client that the store lets write is further off.
FOLLOWED_US = 3600 * SECOND_US
# All events of one chain stand in one version, which whoever reads the chain has to read.
BYTES_MAX = 4 << 20


class Transacted(NamedTuple):
    """What was committed: the version in each slot, and the event of each operation, if any.

    For what only read, and for what changes nothing, the versions are the heads that were read.
    ``found`` says that another command under the same key did it: what the operations have read
    here is nothing that it rests on.
    """

    versions: Mapping[ChainId, Version | None]
    events: Sequence[Event | None]
    found: bool = False


def transact(
    client: Client, acts: Sequence[Act], *, once: Once | None = None
) -> Protocol[Transacted]:
    """Carry out operations on several chains, all or none.

    Raises:
        Refused: an operation was refused on a state that was read after the call began, or the
            chains are so contended that the time ran out; nothing was written.
        OutcomeUnknown: no slot is lost, and one could not be decided in time.
        StoreError: nothing was committed.
    """
    if not 1 <= len(acts) <= OPERATIONS_MAX:
        raise UsageError(f"a transaction has 1 to {OPERATIONS_MAX} operations", code="bad-count")
    return (yield from _Transaction(client, acts, once).run())


class _Again(Exception):  # noqa: N818 - control flow inside this module, never shown
    """A try came to nothing, and nothing of it is or will be committed."""


class _Transaction:
    """What stays the same while one transaction tries again."""

    def __init__(self, client: Client, acts: Sequence[Act], once: Once | None) -> None:
        self.client = client
        self.acts = acts
        self.once = once
        self.id = client.nonce()
        self.after = 0
        # Whether its events were made again, because the clock was minutes off.
        self.made_anew = False
        # When the versions of this try got their stamps.
        self.stamped_us = 0
        self.sealed: dict[int, Sealed] = {}
        self.put: set[str] = set()
        # Heads that were just read. Of the chain in which the key was looked for, no other may be
        # built upon.
        self.given: dict[ChainId, Version | None] = {}
        # How often others were faster in a chain.
        self.lost: dict[ChainId, int] = {}

    def run(self) -> Protocol[Transacted]:
        """Try until it is committed, refused, or the time is over."""
        client, fresh, losses = self.client, self.once is not None, 0
        chains: Iterable[ChainId] = ()
        ends_s = client.monotonic_s() + GIVE_UP_S
        if self.once is not None:
            self.after = yield from bind_once(client, self.acts[0].chain, self.once)
        for _ in range(RACES_MAX):
            done = yield from self._find()
            if done is not None:
                return done
            yield from self._look(chains)
            view = View(client, self.sealed, self.given, self.id, fresh=fresh)
            chains = view.chains
            try:
                yield from self._decide(view)
                # Under a key the slots are taken even so: they are what the key is found by.
                if self.once is None and not any(self._events(view)):
                    return (yield from self._unchanged(view))
                return (yield from self._commit(view, ordered=losses > 0))
            except _Again:
                losses += fresh
            if client.monotonic_s() > ends_s:
                break
            if fresh:
                yield Sleep(client.backoff(losses))
            fresh = True
        raise Refused(
            f"others kept changing what the transaction is about for {GIVE_UP_S:g} s;"
            " nothing was written",
            code="contended",
            hint="run the same command again",
        )

    # -- idempotency keys ---------------------------------------------------------------------

    def _find(self) -> Protocol[Transacted | None]:
        """Look for the key in what was committed since it was bound, up to the newest version."""
        self.given = {}
        if self.once is None:
            return None
        client, chain = self.client, self.acts[0].chain
        head = yield from read_head(client, chain)
        self.given = {chain: head}
        if head is None:
            return None
        for version in (yield from read_range(client, chain, self.after + 1, head.seq)):
            if version.txn is not None and not version.aborted and self._is_mine(version.txn):
                done = yield from _read_back(client, version.txn)
                if self._is_of_acts(done):
                    return done
        self.after = max(self.after, head.seq)
        return None

    def _is_mine(self, txn: Mapping[str, Any]) -> bool:
        assert self.once is not None  # noqa: S101 - asked only where there is a key
        return txn["agent"] == self.client.agent and stands_for(self.once.key, txn)

    def _is_of_acts(self, done: Transacted) -> bool:
        """Whether a transaction of this key is this one: a key belongs to its *first* chain.

        A transaction with another first chain may have the same key and touch this chain.
        """

        def holds(act: Act, event: Event | None) -> bool:
            version = done.versions.get(act.chain)
            return version is not None and (event is None or event in version.events)

        return len(done.events) == len(self.acts) and all(map(holds, self.acts, done.events))

    def _look(self, chains: Iterable[ChainId]) -> Protocol[None]:
        """Read the chains of the try before side by side: mostly those of this one, too.

        One after the other, the first would be out of date before the last was read.
        """
        unread = [chain for chain in chains if chain not in self.given]
        heads = yield from together(*(read_head(self.client, chain) for chain in unread))
        self.given |= zip(unread, heads, strict=True)

    # -- deciding -----------------------------------------------------------------------------

    def _decide(self, view: View) -> Protocol[None]:
        for nth, act in enumerate(self.acts):
            view.begin(nth)
            try:
                yield from view.read(act.chain)
                yield from act.work(view)
            except (Refused, NotFound, UsageError) as refused:
                if not view.fresh and not isinstance(refused, UsageError):
                    raise _Again from None
                refused.details["operation"] = nth
                raise
        if len(view.chains) > TXN_CHAINS_MAX:
            raise UsageError(
                f"a transaction is about at most {TXN_CHAINS_MAX} keys, steps and inboxes,"
                f" not {len(view.chains)}",
                code="bad-count",
            )
        if ALL in view.chains and any(takes_in(chain) for chain in view.chains):
            raise UsageError(
                "a transaction sends to @all or to agents by name, not both: which of the messages"
                " is first would not be the same in all inboxes",
                code="bad-recipient",
            )

    def _events(self, view: View) -> list[Event]:
        return [event for event in view.events if event is not None]

    def _unchanged(self, view: View) -> Protocol[Transacted]:
        """Answer what writes nothing: from heads that all were the newest at one moment."""
        heads = {chain: found.head for chain, found in view.chains.items()}
        if not view.fresh:
            raise _Again
        if len(heads) > 1:
            again = yield from together(*(read_head(self.client, chain) for chain in heads))
            for known, head in zip(heads.values(), again, strict=True):
                if (known and known.id) != (head and head.id):
                    raise _Again
        return Transacted(heads, view.events)

    # -- committing ---------------------------------------------------------------------------

    def _commit(self, view: View, *, ordered: bool) -> Protocol[Transacted]:
        yield from self._put(view)
        versions = yield from self._seal(view)
        if self._is_old():
            self.sealed.clear()
            raise _Again
        outcomes = yield from self._create(versions, ordered=ordered)
        lost = [(v, o) for v, o in zip(versions, outcomes, strict=False) if isinstance(o, Found)]
        if lost:
            self.client.verdicts[mark_of(versions[0])] = True
            for version, found in lost:
                self.lost[version.chain] = self.lost.get(version.chain, 0) + 1
                head = view.chains[version.chain].head
                winner = yield from accept(self.client, version.chain, head, found)
                if not winner.settled:
                    yield from resolve(self.client, winner)
            raise _Again
        self._raise(versions, outcomes)
        committed = [version.judged(aborted=False) for version in versions]
        self.client.verdicts[mark_of(versions[0])] = False
        for version in committed:
            self.client.heads.put(version)
        return Transacted({version.chain: version for version in committed}, view.events)

    def _put(self, view: View) -> Protocol[None]:
        """Write the blobs, then the objects of the events that are not there yet."""
        client = self.client
        if sum(len(one.raw) for one in self.sealed.values()) > BYTES_MAX:
            raise UsageError(
                f"the operations have over {BYTES_MAX >> 20} MiB together", code="value-too-large"
            )
        if view.blobs:
            blobs = {blob.hash: blob.data for blob in view.blobs}
            settled((yield tuple(Keep(blob_key(name), data) for name, data in blobs.items())))
        new = [one for one in self.sealed.values() if one.event.id not in self.put]
        new = [one for one in new if one.event in view.events]
        if not new:
            return
        known, wall_us = client.knows_offset(), client.clock.wall_us()
        keys = [event_key(one.event.at, one.chains[0], one.event.id) for one in new]
        stamps = settled(
            (yield tuple(Keep(key, one.raw) for key, one in zip(keys, new, strict=True)))
        )
        took_us = client.clock.wall_us() - wall_us
        self.put |= {one.event.id for one in new}
        stored = stamps[0]
        if stored is None and not known:
            stored = yield from stamp_of_put(keys[0])
        if stored is not None and misleads(client, new[0].event, wall_us, stored, took_us):
            # Once only: where the store's own clock jumps, no event would ever be good enough.
            anew, self.made_anew = not self.made_anew, True
            if anew:
                self.sealed.clear()
                raise _Again

    def _seal(self, view: View) -> Protocol[list[Version]]:
        """Seal the version of each chain, in the order in which slots are created.

        The chains that others fight for come first: whoever has the slot there is waited for while
        it creates the rest, and nothing of the rest is written in vain.
        """
        client = self.client
        chains = sorted(view.chains, key=lambda chain: (-self.lost.get(chain, 0), chain))
        heads = [view.chains[chain].head for chain in chains]
        stamps = yield from together(
            *(stamp_of(client, chain, head) for chain, head in zip(chains, heads, strict=True))
        )
        txn: dict[str, Any] = {
            "agent": client.agent,
            "events": [event and event.id for event in view.events],
            "id": self.id,
            "slots": {chain: view.chains[chain].place.seq for chain in chains},
        }
        if self.once is not None:
            txn["key"] = self.once.key
        self.stamped_us = client.clock.now_us()
        txn["at"] = self._moment([head for head in heads if head is not None])
        versions = []
        for chain, stored in zip(chains, stamps, strict=True):
            found = view.chains[chain]
            place = found.place._replace(prev_stored=stored)
            at = txn["at"]
            if found.head is not None and found.head.at >= at:
                at = following(found.head.at)
            versions.append(
                seal_next(
                    client, chain, found.head, place, found.events, found.merge, at=at, txn=txn
                )
            )
        return versions

    def _moment(self, heads: Sequence[Version]) -> Hlc:
        """Return the moment of the transaction, which all of its slots share.

        It is after all earlier transactions in its chains, so no moment shows half of one of them.
        It does not follow stamps that are far ahead: one wrong stamp stays in its chain.
        """
        clock = self.client.clock
        for head in heads:
            clock.observe(head.at)
            clock.observe(head.moment)
        earlier = [head.last_txn["at"] for head in heads if head.last_txn is not None]
        bound_us = clock.now_us() + FOLLOWED_US
        return clock.tick(max((at for at in earlier if parse_us(at) <= bound_us), default=None))

    def _is_old(self) -> bool:
        return any(is_old(self.client, one.event) for one in self.sealed.values())

    def _create(self, versions: Sequence[Version], *, ordered: bool) -> Protocol[list[_Outcome]]:
        """Create the slots: all at once, or one after the other until one is not won."""
        client = self.client
        if not ordered:
            return (yield from together(*(_settled(client, version) for version in versions)))
        outcomes: list[_Outcome] = []
        for version in versions:
            if self._is_old():
                self.sealed.clear()
                raise _Again  # others end it: no slot after this one was ever asked for
            if client.clock.now_us() - self.stamped_us > TRIED_US:
                raise _Again  # as above
            outcomes.append((yield from _settled(client, version)))
            if outcomes[-1] is not None:
                break
        return outcomes

    def _raise(self, versions: Sequence[Version], outcomes: Sequence[_Outcome]) -> None:
        """Raise if not every slot was won; none was lost."""
        failures = [outcome for outcome in outcomes if isinstance(outcome, StoreError)]
        unknown = [outcome for outcome in outcomes if isinstance(outcome, OutcomeUnknown)]
        if failures:
            raise failures[0]
        if len(outcomes) < len(versions):
            # Slots that nobody asked for stay empty, or get something else.
            raise StoreUnreachable(f"nothing was committed: {unknown[0].message}")
        if unknown:
            anchor = next(v for v in versions if v.chain == self.acts[0].chain)
            key = self.once.key if self.once is not None else None
            again = key or f"{self.id[:16]}.{anchor.seq}"
            raise OutcomeUnknown(
                f"it is not known whether the transaction was committed ({unknown[0].message})",
                hint=f"run the same command again with --id {quote(again)}",
                chain=anchor.chain,
                version=anchor.seq,
                id_key=again,
            )


# None: won. What stands there instead: lost. Otherwise it failed, or is undecided.
_Outcome = Found | StoreError | OutcomeUnknown | None


def _settled(client: Client, version: Version) -> Protocol[_Outcome]:
    try:
        return (yield from settle(client, version))
    except (StoreError, OutcomeUnknown) as error:
        return error


def _read_back(client: Client, txn: Mapping[str, Any]) -> Protocol[Transacted]:
    """Return what a transaction that was found committed by its key has done."""
    slots: Mapping[ChainId, int] = txn["slots"]
    versions = yield from together(*(read_version(client, *slot) for slot in slots.items()))
    known = {event.id: event for one in versions for event in one.events}
    events = [known.get(name) for name in txn["events"]]
    return Transacted(dict(zip(slots, versions, strict=True)), events, found=True)
