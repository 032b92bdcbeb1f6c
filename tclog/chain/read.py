"""Reading chains: heads (warm, cold), single versions, ranges, the version at a time.

A linearizable read of a head asks the store for the slot after the newest known one: absent means
current. Versions are dense, so nothing can stand beyond an absent slot.

A version of a transaction is *judged* before anybody gets it (``tclog.chain.verdict``). One that is
undecided is not there yet: readers answer with the version before it. Nothing stands beyond it,
since whoever writes ends it first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled, together
from tclog.chain.fold import does_not_follow, unknown_ops, verify
from tclog.clock import Hlc
from tclog.errors import Damaged
from tclog.event import (
    ChainId,
    Version,
    chain_folder,
    decode_name,
    slot_key,
    slot_seq,
)
from tclog.store.base import Found, Get, List

# After this many steps forward one listing is cheaper than more steps.
FORWARD_MAX = 3
CHASE_MAX = 4
RANGE_AT_ONCE = 32
CHAINS_MAX = 1_000_000


def read_head(client: Client, chain: ChainId) -> Protocol[Version | None]:
    """Return the newest version, or None: one GET when warm, one LIST and one GET when cold."""
    known = client.known(chain)
    if known is not None:
        return (yield from read_forward(client, known))
    if chain in client.empty:
        return (yield from read_young(client, chain))
    return (yield from read_newest(client, chain))


def read_young(client: Client, chain: ChainId) -> Protocol[Version | None]:
    """Return the newest version of a chain that may well have none: one GET while that is so."""
    known = client.known(chain)
    if known is not None:
        return (yield from read_forward(client, known))
    if (yield Get(slot_key(chain, 1))) is None:
        return None
    return (yield from read_newest(client, chain))


def read_newest(client: Client, chain: ChainId) -> Protocol[Version | None]:
    """Return the newest version by listing: newer slots sort first."""
    entries = yield List(chain_folder(chain), limit=1)
    if not entries:
        # Whoever looks again waits for the first version, and asks for that one alone.
        client.empty.add(chain)
        return None
    seq = slot_seq(entries[0].key)
    if seq is None:
        raise Damaged(f"{entries[0].key} is not a slot of {chain}", hint="tclog fsck")
    version = yield from _read_slot(client, chain, seq)
    if not version.settled:
        judged = yield from _judge(client, version)
        if judged is None:
            return (yield from read_version(client, chain, seq - 1)) if seq > 1 else None
        version = judged
    _seen(client, version)
    # Somebody may have gone on meanwhile; that version was the newest when the listing was made.
    return version


def read_forward(client: Client, known: Version) -> Protocol[Version]:
    """Return the newest version, beginning at a known one."""
    chain = known.chain
    for _ in range(FORWARD_MAX):
        found = yield Get(slot_key(chain, known.seq + 1))
        version = yield from admit(client, chain, known, found)
        if version is None:
            return known
        known = version
    newest = yield from read_newest(client, chain)
    return newest if newest is not None and newest.seq > known.seq else known


def read_on(
    client: Client, chain: ChainId, known: Version | None, found: Found | None
) -> Protocol[Version | None]:
    """Return the newest version, given what the slot after the known one holds."""
    version = yield from admit(client, chain, known, found)
    return known if version is None else (yield from read_forward(client, version))


def read_onward(client: Client, known: Version) -> Protocol[Version]:
    """Return the newest version of a chain that others are writing to, after a lost race."""
    news = yield from read_next(client, known.chain, known)
    if len(news) <= CHASE_MAX:
        return news[-1] if news else known
    newest = yield from read_newest(client, known.chain)
    return newest if newest is not None and newest.seq > news[-1].seq else news[-1]


def read_next(client: Client, chain: ChainId, known: Version | None) -> Protocol[list[Version]]:
    """Return the versions that follow a known one: all, or ``CHASE_MAX`` + 1 if there are more.

    One request tells that there is none, two that there is one. After that the next are asked for
    together: who walked step by step behind a quick writer would never reach it.
    """
    news: list[Version] = []
    first = 1 if known is None else known.seq + 1
    for seqs in (
        range(first, first + 1),
        range(first + 1, first + 2),
        range(first + 2, first + 1 + CHASE_MAX),
    ):
        gets = [Get(slot_key(chain, seq)) for seq in seqs]
        replies = [(yield gets[0])] if len(gets) == 1 else settled((yield tuple(gets)))
        for found in replies:
            version = yield from admit(client, chain, known, found)
            if version is None:
                return news
            known = version
            news.append(version)
    return news


def read_heads(client: Client, chains: Sequence[ChainId]) -> Protocol[list[Version | None]]:
    """Return the newest version of each chain, side by side.

    Where one of them is a transaction's, the others are not from before it.
    """
    heads: list[Version | None] = yield from together(*(read_head(client, c) for c in chains))
    for _ in range(FORWARD_MAX):
        least: dict[ChainId, int] = {}
        for head in heads:
            if head is not None and head.txn is not None and not head.aborted:
                for chain, seq in head.txn["slots"].items():
                    least[chain] = max(seq, least.get(chain, 0))
        late = [
            place
            for place, (chain, head) in enumerate(zip(chains, heads, strict=True))
            if least.get(chain, 0) > (0 if head is None else head.seq)
        ]
        if not late:
            break
        again = yield from together(*(read_head(client, chains[place]) for place in late))
        for place, head in zip(late, again, strict=True):
            heads[place] = head
    return heads


def read_version(client: Client, chain: ChainId, seq: int) -> Protocol[Version]:
    """Return version ``seq``, which must exist.

    Raises:
        Damaged: the slot is absent or does not hold what it should.
    """
    version = yield from _read_slot(client, chain, seq)
    if not version.settled:
        (version,) = _ended((yield from _judge_all(client, [version])))
    _seen(client, version)
    return version


def read_standing(client: Client, head: Version | None) -> Protocol[Version | None]:
    """Return the newest version up to ``head`` that changed something: one more GET at most."""
    if head is None or not head.void:
        return head
    return (yield from read_version(client, head.chain, head.base)) if head.base else None


def _read_slot(client: Client, chain: ChainId, seq: int) -> Protocol[Version]:
    found = yield Get(slot_key(chain, seq))
    if found is None:
        raise Damaged(f"version {seq} of {chain} is missing", hint="tclog fsck")
    version = client.decode(found.data, chain=chain, seq=seq, stored=found.stored)
    _observe(client, version)
    return version


def accept(client: Client, chain: ChainId, before: Version | None, found: Found) -> Version:
    """Decode the version after ``before`` and check it against that; it may be undecided."""
    seq = 1 if before is None else before.seq + 1
    version = client.decode(found.data, chain=chain, seq=seq, stored=found.stored)
    verify(chain, before, version)
    _seen(client, version)
    return version


def admit(
    client: Client, chain: ChainId, before: Version | None, found: Found | None
) -> Protocol[Version | None]:
    """Accept the version after ``before``; None if it is not there, or undecided as yet."""
    if found is None:
        return None
    version = accept(client, chain, before, found)
    return version if version.settled else (yield from _judge(client, version))


def _judge(client: Client, version: Version) -> Protocol[Version | None]:
    (judged,) = yield from _judge_all(client, [version])
    if judged is not None:
        _seen(client, judged)
    return judged


def _judge_all(client: Client, versions: list[Version]) -> Protocol[list[Version | None]]:
    # Most processes never meet a transaction.
    from tclog.chain.verdict import judge

    return (yield from judge(client, versions))


def _ended(judged: list[Version | None]) -> list[Version]:
    versions = [version for version in judged if version is not None]
    if len(versions) < len(judged):
        raise Damaged(
            "a transaction is undecided although other versions follow it", hint="tclog fsck"
        )
    return versions


def _observe(client: Client, version: Version) -> None:
    # Where the chain's stamps have run ahead, only the moment of a transaction can be merged.
    client.clock.observe(version.at)
    client.clock.observe(version.moment)


def _seen(client: Client, version: Version) -> None:
    _observe(client, version)
    if version.settled:
        client.heads.put(version)
    for op in unknown_ops(version.chain, version):
        client.warn(f"{version.chain} holds the op {op!r}, which this client does not know")


def read_range(
    client: Client, chain: ChainId, first: int, last: int, head: Version | None = None
) -> Protocol[list[Version]]:
    """Return versions ``first`` to ``last``, which must exist, oldest first.

    ``head`` is the last of them, where it has been read already.
    """
    versions: list[Version] = []
    newest = last if head is None else last - 1
    for start in range(first, newest + 1, RANGE_AT_ONCE):
        seqs = range(start, min(start + RANGE_AT_ONCE, newest + 1))
        replies = settled((yield tuple(Get(slot_key(chain, seq)) for seq in seqs)))
        for seq, found in zip(seqs, replies, strict=True):
            if found is None:
                raise Damaged(f"version {seq} of {chain} is missing", hint="tclog fsck")
            version = client.decode(found.data, chain=chain, seq=seq, stored=found.stored)
            _check_follows(versions, version)
            versions.append(version)
    if head is not None and first <= last:
        _check_follows(versions, head)
        versions.append(head)
    if not all(version.settled for version in versions):
        versions = _ended((yield from _judge_all(client, versions)))
    if versions:
        _seen(client, versions[-1])
    return versions


def _check_follows(versions: Sequence[Version], version: Version) -> None:
    if versions and version.prev != versions[-1].id:
        raise does_not_follow(versions[-1], version)


def read_at(client: Client, chain: ChainId, at: Hlc) -> Protocol[Version | None]:
    """Return the newest version whose moment is not after ``at``, by binary search.

    The stamps of a chain grow, and so do the moments of its transactions. Where stamps have run
    ahead of the clocks, a transaction's moment is earlier than its stamp, and both are looked at.
    """
    head = yield from read_head(client, chain)
    if head is None or head.moment <= at:
        return head
    best, above = yield from _last_where(client, chain, 0, head, lambda one: one.at <= at)
    seq = 0 if best is None else best.seq
    if not _last_txn(head, seq) or _last_txn(above, seq) > at:
        return best  # no transaction follows, or the first of them is later
    last, _ = yield from _last_where(
        client, chain, seq, head, lambda one: _last_txn(one, seq) <= at
    )
    if last is None or last.last_txn is None or not _last_txn(last, seq):
        return best
    return (yield from read_version(client, chain, last.last_txn["seq"]))


def _last_where(
    client: Client, chain: ChainId, after: int, head: Version, holds: Callable[[Version], bool]
) -> Protocol[tuple[Version | None, Version]]:
    """Return the last version after ``after`` for which something holds, and the next one.

    It holds for a beginning of these versions, if for any.
    """
    if holds(head):
        return head, head
    low, high, best, above = after + 1, head.seq - 1, None, head
    while low <= high:
        middle = (low + high) // 2
        version = yield from read_version(client, chain, middle)
        if holds(version):
            best, low = version, middle + 1
        else:
            above, high = version, middle - 1
    return best, above


def _last_txn(version: Version, after: int) -> str:
    """Return the moment of the newest transaction after a number, up to a version; "" if none."""
    last = version.last_txn
    return "" if last is None or last["seq"] <= after else last["at"]


def list_chains(kind: str, prefix: str = "") -> Protocol[list[ChainId]]:
    """List the chains of a kind whose name begins with ``prefix``, in byte order of their names."""
    chains: list[ChainId] = []
    entries = yield List(f"chains/{kind}", limit=CHAINS_MAX, folders=True)
    for entry in entries:
        segment = entry.key.rstrip("/").rpartition("/")[2]
        if segment == "@all":
            continue
        name = decode_name(segment)
        if name is None:
            # A long name was cut to make the folder's; the record holds it in full.
            name = yield from _full_name(kind, segment)
        if name is not None and name.startswith(prefix):
            chains.append(ChainId(f"{kind}/{name}"))
    return sorted(chains, key=str.encode)


def _full_name(kind: str, segment: str) -> Protocol[str | None]:
    entries = yield List(f"chains/{kind}/{segment}", limit=1)
    if not entries:
        return None
    found = yield Get(entries[0].key)
    if found is None:
        return None
    from tclog.event import decode, encode_name

    record = decode(found.data, entries[0].key)
    name = str(record.get("chain", "")).partition("/")[2]
    if encode_name(name) != segment:
        raise Damaged(f"{entries[0].key} stands in another chain's folder", hint="tclog fsck")
    return name
