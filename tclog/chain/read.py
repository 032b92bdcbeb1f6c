"""Reading chains: heads (warm, cold), single versions, ranges, the version at a time.

A linearizable read of a head asks the store for the slot after the newest known one: absent means
current. Versions are dense, so nothing can stand beyond an absent slot.

A version of a transaction is *judged* before a reader gets it (``tclog.chain.judge``). An undecided
version does not count yet: readers answer with the version before it. Nothing follows it, because
the next writer ends it first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, settled, together
from tclog.chain.fold import does_not_follow, unknown_ops, verify
from tclog.chain.slots import Junk, decode_slot, newest_slot, read_present
from tclog.clock import Hlc
from tclog.errors import Damaged, Forked, NotFound, RolledBack
from tclog.event import ALL, ChainId, Version, chain_folder, decode_name, slot_key, slot_seq
from tclog.event.bodies import RESERVED_OPS
from tclog.event.names import chain_id, chain_name, folder_of, kind_folder, segment_of, slot_in
from tclog.store.base import LIST_PAGE_MAX, Found, Get, List

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
    seq = yield from newest_slot(chain_folder(chain))
    if not seq:
        # Whoever looks again waits for the first version, and asks for that one alone.
        client.empty.add(chain)
        return None
    try:
        version = yield from _read_slot(client, chain, seq)
    except Junk as junk:
        from tclog.chain.junk import read_voiding

        version = yield from read_voiding(client, junk)
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
    news, more = yield from read_next(client, known.chain, known)
    if not more:
        return news[-1] if news else known
    newest = yield from read_newest(client, known.chain)
    return newest if newest is not None and newest.seq > news[-1].seq else news[-1]


def read_next(
    client: Client, chain: ChainId, known: Version | None
) -> Protocol[tuple[list[Version], bool]]:
    """Return versions that follow a known one, and whether there may be more behind them.

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
        for seq, found in zip(seqs, replies, strict=True):
            if known is not None and known.seq >= seq:
                continue  # it was passed over with junk
            version = yield from admit(client, chain, known, found)
            if version is None:
                return news, False
            known = version
            news.append(version)
    return news, True


def read_heads(
    client: Client, chains: Sequence[ChainId], *, all_sound: bool = True
) -> Protocol[list[Version | None]]:
    """Return the newest version of each chain, side by side.

    Where one of them is a transaction's, the others are not from before it. Unless ``all_sound``,
    chains that are damaged are left out: None stands in their place.
    """

    def read(chain: ChainId) -> Protocol[Version | None]:
        protocol = read_head(client, chain)
        return protocol if all_sound else unless_damaged(client, chain, protocol)

    heads: list[Version | None] = yield from together(*map(read, chains))
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
            and chain not in client.left_out
        ]
        if not late:
            break
        again = yield from together(*(read(chains[place]) for place in late))
        for place, head in zip(late, again, strict=True):
            heads[place] = head
    return heads


def unless_damaged(
    client: Client, chain: ChainId, protocol: Protocol[Version | None]
) -> Protocol[Version | None]:
    """Run a read of a chain; if the chain is damaged, note that in the client and return None."""
    try:
        return (yield from protocol)
    except (Forked, RolledBack):
        raise
    except Damaged as error:
        client.leave_out(chain, error)
        return None


def read_sound(
    client: Client, chains: Sequence[ChainId], at: Hlc | None
) -> Protocol[list[Version | None]]:
    """Return the newest version of each chain, or that of a time; damaged ones are left out."""
    if at is None:
        return (yield from read_heads(client, chains, all_sound=False))
    protocols = (unless_damaged(client, chain, read_at(client, chain, at)) for chain in chains)
    return (yield from together(*protocols))


def known_broadcasts(client: Client) -> Version | None:
    """Return the newest version of ``inbox/@all`` that is known, unless its slot holds junk now."""
    try:
        return client.known(ALL)
    except (Forked, RolledBack):
        raise
    except Damaged as error:
        client.leave_out(ALL, error)
        return None


def read_broadcasts(
    client: Client, read: Protocol[Version | None] | None = None
) -> Protocol[Version | None]:
    """Return up to which version inboxes take broadcasts in: the newest, or that below junk."""
    try:
        return (yield from read or read_young(client, ALL))
    except (Forked, RolledBack):
        raise
    except Damaged as error:
        client.leave_out(ALL, error)
        return (yield from _read_below(client, ALL, error))


def _read_below(client: Client, chain: ChainId, damage: Damaged) -> Protocol[Version | None]:
    """Return the newest sound version of a chain with damage, None if there is none.

    Raises:
        Damaged: none of the newest thousand slots holds one.
    """
    folder = chain_folder(chain)
    # Listed, not counted down: junk may be far above the newest version.
    rows = yield List(folder, "", LIST_PAGE_MAX)
    for row in rows:
        seq = slot_seq(row.key)
        if not seq or folder_of(row.key) != folder:
            continue
        try:
            return (yield from read_version(client, chain, seq))
        except (Forked, RolledBack):
            raise
        except (Damaged, NotFound):
            continue
    if len(rows) == LIST_PAGE_MAX:
        raise damage
    return None


def read_version(client: Client, chain: ChainId, seq: int) -> Protocol[Version]:
    """Return version ``seq``, which must exist.

    Raises:
        NotFound: it was junk, and is ended.
        Damaged: the slot is absent or does not hold what it should.
    """
    try:
        version = yield from _read_slot(client, chain, seq)
    except Junk as junk:
        from tclog.chain.junk import ended_by, read_voiding

        raise ended_by(junk, (yield from read_voiding(client, junk))) from None
    if not version.settled:
        (version,) = _ended((yield from _judge_all(client, [version])))
    _seen(client, version)
    return version


def read_standing(client: Client, head: Version | None) -> Protocol[Version | None]:
    """Return the newest version up to ``head`` that changed something: one more GET at most."""
    if head is None or not head.void:
        return head
    if not head.base:
        return None
    standing: Version = yield from read_version(client, head.chain, head.base)
    if standing.void:
        raise Damaged(
            f"version {head.seq} of {head.chain} misnames the version that stands before it",
            hint="tclog fsck",
        )
    return standing


def _read_slot(client: Client, chain: ChainId, seq: int) -> Protocol[Version]:
    found = yield from read_present(slot_key(chain, seq))
    if found is None:
        raise Damaged(f"version {seq} of {chain} is missing", hint="tclog fsck")
    version = decode_slot(client, chain, seq, found)
    if version.voids:
        from tclog.chain.junk import confirm

        yield from confirm(client, version)
    _observe(client, version)
    return version


def accept(
    client: Client, chain: ChainId, before: Version | None, found: Found
) -> Protocol[Version]:
    """Decode the version after ``before`` and check it against that; it may be undecided.

    Where the slot holds junk, what follows is the version that ends it.
    """
    seq = 1 if before is None else before.seq + 1
    try:
        version = decode_slot(client, chain, seq, found)
    except Junk as junk:
        from tclog.chain.junk import read_voiding

        version = yield from read_voiding(client, junk)
    verify(chain, before, version)
    _seen(client, version)
    return version


def admit(
    client: Client, chain: ChainId, before: Version | None, found: Found | None
) -> Protocol[Version | None]:
    """Accept the version after ``before``; None if it is not there, or undecided as yet."""
    if found is None:
        return None
    version = yield from accept(client, chain, before, found)
    return version if version.settled else (yield from _judge(client, version))


def _judge(client: Client, version: Version) -> Protocol[Version | None]:
    (judged,) = yield from _judge_all(client, [version])
    if judged is not None:
        _seen(client, judged)
    return judged


def _judge_all(client: Client, versions: list[Version]) -> Protocol[list[Version | None]]:
    # Most processes never meet a transaction.
    from tclog.chain.judge import judge

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
    for op in set(unknown_ops(version.chain, version)) - RESERVED_OPS:
        client.warn(f"{version.chain} holds the op {op!r}, which this client does not know")


def read_range(
    client: Client, chain: ChainId, first: int, last: int, head: Version | None = None
) -> Protocol[list[Version]]:
    """Return versions ``first`` to ``last``, which must exist, oldest first.

    Slots with junk that was ended are passed over. ``head`` is the last of the versions, where it
    has been read already.
    """
    versions: list[Version] = []
    junk: list[Junk] = []
    newest = last if head is None else last - 1
    for start in range(first, newest + 1, RANGE_AT_ONCE):
        seqs = range(start, min(start + RANGE_AT_ONCE, newest + 1))
        replies = settled((yield tuple(Get(slot_key(chain, seq)) for seq in seqs)))
        for seq, reply in zip(seqs, replies, strict=True):
            found = reply or (yield from read_present(slot_key(chain, seq)))
            if found is None:
                raise Damaged(f"version {seq} of {chain} is missing", hint="tclog fsck")
            try:
                version = decode_slot(client, chain, seq, found)
            except Junk as one:
                junk.append(one)
                continue
            _check_follows(versions, version, first, junk)
            versions.append(version)
            junk.clear()
    if head is not None and first <= last:
        _check_follows(versions, head, first, junk)
        versions.append(head)
    elif junk:
        from tclog.chain.junk import read_voiding

        yield from read_voiding(client, junk[0])
    if not all(version.settled for version in versions):
        versions = _ended((yield from _judge_all(client, versions)))
    if versions:
        _seen(client, versions[-1])
    return versions


def _check_follows(
    versions: Sequence[Version], version: Version, first: int, junk: Sequence[Junk]
) -> None:
    if junk or version.voids:
        from tclog.chain.junk import check_ended

        check_ended(version, first, junk)
        return
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
        version = yield from read_up_to(client, chain, middle)
        if version is None or version.seq <= after:
            low = middle + 1
        elif holds(version):
            best, low = version, middle + 1
        else:
            above, high = version, version.seq - 1
    return best, above


def _last_txn(version: Version, after: int) -> str:
    """Return the moment of the newest transaction after a number, up to a version; "" if none."""
    last = version.last_txn
    return "" if last is None or last["seq"] <= after else last["at"]


def read_up_to(client: Client, chain: ChainId, seq: int) -> Protocol[Version | None]:
    """Return version ``seq``, or the one before it if that slot holds junk that was ended."""
    try:
        return (yield from read_version(client, chain, seq))
    except NotFound as ended:
        before = ended.details["before"]
        return (yield from read_version(client, chain, before)) if before else None


def list_chains(client: Client, kind: str, prefix: str = "") -> Protocol[list[ChainId]]:
    """List the chains of a kind whose name begins with ``prefix``, in byte order of their names.

    Folders of no chain are passed over.
    """
    chains: list[ChainId] = []
    entries = yield List(kind_folder(kind), limit=CHAINS_MAX, folders=True)
    for entry in entries:
        folder = entry.key.rstrip("/")
        segment = segment_of(folder)
        if segment == "@all":
            continue
        try:
            # A long name was cut to make the folder's; the record holds it in full.
            name = decode_name(segment) or (yield from full_name(folder))
        except Damaged:
            client.warn(f"{folder} is not the folder of a chain; tclog fsck looks at everything")
            continue
        if name is not None and name.startswith(prefix):
            chains.append(chain_id(kind, name))
    return sorted(chains, key=str.encode)


def full_name(folder: str) -> Protocol[str | None]:
    """Return the name that the slots of a folder with a cut name tell; None if it has no slot.

    Raises:
        Damaged: none of the newest tells a name that is cut like this.
    """
    from tclog.event import VOIDS_MAX, decode, encode_name

    newest = yield from newest_slot(folder)
    for seq in range(newest, max(0, newest - 1 - VOIDS_MAX), -1):
        key = slot_in(folder, seq)
        found = yield Get(key)
        try:
            record = None if found is None else decode(found.data, key)
        except Damaged:
            continue
        name = chain_name(ChainId(str(record.get("chain")))) if isinstance(record, dict) else ""
        if name and encode_name(name) == segment_of(folder):
            return name
    if newest:
        raise Damaged(f"{folder} holds no version that tells its name", hint="tclog fsck")
    return None
