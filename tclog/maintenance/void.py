"""``tclog void``: end slots that hold junk, so that their chain goes on above them.

A version in the slot right above names the junk by its hash and holds one event, ``chain.void``,
with the reason. Nothing is removed. What this machine knows to have been sound is not ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.fold import place_after, state_of
from tclog.chain.junk import confirm
from tclog.chain.race import Race, write_event
from tclog.chain.resolve import resolve
from tclog.chain.seal import seal_next, stamp_of
from tclog.chain.settle import settle
from tclog.chain.slots import Junk, decode_slot
from tclog.domain import MODULES
from tclog.domain.decision import Draft
from tclog.domain.memory import check_value
from tclog.errors import (
    BadName,
    Damaged,
    Forked,
    NotFound,
    OutcomeUnknown,
    Refused,
    RolledBack,
    UsageError,
    to_run,
)
from tclog.event import (
    ALL,
    VOID,
    VOIDS_MAX,
    ChainId,
    Version,
    chain_kind,
    chain_name,
    digest,
    slot_key,
)
from tclog.event.names import SEQ_MAX, chain_id, validate_name_of
from tclog.index import Index
from tclog.store.base import Get
from tclog.sync.packfiles import read_pack, read_packs_head

REASON_BYTES_MAX = 4096
TRIES_MAX = 20


class Voided(NamedTuple):
    """The version that ends slots with junk; ``ends`` are the transactions that it aborts."""

    version: Version
    ends: Sequence[str]
    already: bool

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        version = self.version
        return {
            "type": "voided",
            "chain": version.chain,
            "version": version.seq,
            "id": version.id,
            "voids": [one["seq"] for one in version.voids],
            "goes_on_from": version.after,
            "reason": version.events[0].body.get("reason"),
            "agent": version.by,
            "ends": list(self.ends),
            "already": self.already,
        }


class _Survey(NamedTuple):
    """Slots with junk, the lowest first, and what stands below and above them."""

    before: Version | None
    junk: Sequence[Junk]
    above: Version | None


def check_chain(word: str) -> ChainId:
    """Return the chain that a word names.

    Raises:
        BadName: it names none.
    """
    kind, name = chain_kind(ChainId(word)), chain_name(ChainId(word))
    if kind not in MODULES or not name:
        kinds = ", ".join(MODULES)
        raise BadName(f"{word!r} is not a chain: write KIND/NAME, with a KIND of {kinds}")
    return ALL if word == ALL else chain_id(kind, validate_name_of(kind, name))


def void(
    client: Client, index: Index | None, chain: ChainId, seq: int, reason: str
) -> Protocol[Voided]:
    """End the junk in a slot, and in those beside it; ending it again changes nothing.

    Args:
        client: acts as its agent.
        index: brought up to date; None where only the slots are looked at.
        chain: whose slot.
        seq: which slot.
        reason: why; the log keeps it.

    Raises:
        NotFound: the slot is empty.
        Refused: it holds a sound version, others went on above it, or it is known to be sound.
    """
    check_value("text", reason)
    if not 1 <= len(reason.encode()) <= REASON_BYTES_MAX:
        raise UsageError(f"a reason has 1 to {REASON_BYTES_MAX} bytes", code="bad-value")
    if not 1 <= seq < SEQ_MAX:
        raise UsageError(f"{seq} is not the number of a version", code="bad-version")
    for _ in range(TRIES_MAX):
        found = yield from _survey(client, chain, seq)
        if found.above is not None:
            return Voided(found.above, (), already=True)
        yield from _refuse_known(client, index, chain, found.junk)
        ends = yield from _transactions(client, index, found.junk)
        version = yield from _seal(client, index, chain, found, reason)
        try:
            lost_to = yield from settle(client, version)
        except OutcomeUnknown as unknown:
            unknown.message += "; it is safe to run the same command again"
            unknown.hint = "run the same command again"
            raise
        if lost_to is None:
            client.heads.put(version)
            return Voided(version, ends, already=False)
    raise Refused(f"{chain} is too contended", code="contended", hint="run the same command again")


def _survey(client: Client, chain: ChainId, seq: int) -> Protocol[_Survey]:
    """Look at a slot with junk, and up and down from it to where junk ends.

    Raises:
        Damaged: a slot below is missing.
    """
    sound, junk = yield from _look(client, chain, seq)
    if sound is not None:
        raise Refused(
            f"version {seq} of {chain} is sound",
            code="version-sound",
            hint=to_run("tclog show", sound.id[:16]),
        )
    if junk is None:
        raise NotFound(
            f"{chain} has no version {seq}",
            code="version-missing",
            hint="tclog fsck",
        )
    above, higher = yield from _above(client, chain, seq)
    if above is not None:
        return _Survey(None, [junk], above)
    before, lower = yield from _below(client, chain, seq)
    run = [*lower, junk, *higher]
    if len(run) > VOIDS_MAX:
        raise Refused(
            f"more than {VOIDS_MAX} slots of {chain} in a row hold junk",
            code="too-much-junk",
            hint="tclog fsck",
        )
    return _Survey(before, run, None)


def _above(client: Client, chain: ChainId, seq: int) -> Protocol[tuple[Version | None, list[Junk]]]:
    """Return the version that ends a slot with junk, if one does, and the junk above the slot.

    Raises:
        Refused: a version follows that does not end it.
    """
    run: list[Junk] = []
    for above in range(seq + 1, min(seq + 1 + VOIDS_MAX, SEQ_MAX)):
        sound, junk = yield from _look(client, chain, above)
        if sound is not None:
            if sound.after >= seq:
                raise Refused(
                    f"version {sound.seq} of {chain} follows slot {seq}, so the chain goes on"
                    " without ending the slot",
                    code="version-followed",
                    hint="tclog fsck",
                )
            yield from confirm(client, sound)
            return sound, run
        if junk is None:
            break
        run.append(junk)
    return None, run


def _below(client: Client, chain: ChainId, seq: int) -> Protocol[tuple[Version | None, list[Junk]]]:
    """Return the newest sound version below a slot with junk, and the junk between.

    Raises:
        Damaged: a slot is missing.
    """
    run: list[Junk] = []
    for below in range(seq - 1, max(0, seq - 1 - VOIDS_MAX), -1):
        sound, junk = yield from _look(client, chain, below)
        if sound is not None:
            yield from confirm(client, sound)
            return (yield from resolve(client, sound)), run
        if junk is None:
            raise Damaged(f"version {below} of {chain} is missing", hint="tclog fsck")
        run.insert(0, junk)
    return None, run


def _look(client: Client, chain: ChainId, seq: int) -> Protocol[tuple[Version | None, Junk | None]]:
    """Return the version that a slot holds, or else the junk."""
    found = yield Get(slot_key(chain, seq))
    if found is None:
        return None, None
    try:
        return decode_slot(client, chain, seq, found), None
    except Junk as junk:
        return None, junk


def _refuse_known(
    client: Client, index: Index | None, chain: ChainId, junk: Sequence[Junk]
) -> Protocol[None]:
    """Refuse to end what is known to have been a sound version.

    Raises:
        Refused: ``version-known``.
    """
    lowest = junk[0].seq
    head, where = None, ""
    try:
        head = client.known(chain)
    except (Forked, RolledBack):
        raise
    except Damaged:
        where = f"what {slot_key(chain, lowest)} held is remembered in {_cached(client, chain)}"
    if where:
        pass
    elif head is not None and head.seq >= lowest:
        where = f"version {head.seq} of {chain} is remembered in {_cached(client, chain)}"
    elif index is not None and (seq := index.head(chain)) >= lowest:
        where = f"version {seq} of {chain} is in this machine's index"
    elif index is not None:
        pack = yield from _pack_with(client, chain, lowest)
        if pack:
            where = f"the pack {pack[:16]} holds version {lowest} of {chain}"
    if where:
        raise Refused(
            f"{where}: it was sound; put its bytes back into {slot_key(chain, lowest)}",
            code="version-known",
            hint="tclog fsck",
        )


def _cached(client: Client, chain: ChainId) -> str:
    path = client.heads.where(chain)
    return f"{path} below the first line" if path else "this machine's cache"


def _pack_with(client: Client, chain: ChainId, seq: int) -> Protocol[str]:
    """Return which pack holds a version, "" if none that can be read does."""
    if chain_kind(chain) == "pack":
        return ""
    try:
        _, state = yield from read_packs_head(client)
    except Damaged:
        return ""
    for one in reversed(state.packs):
        try:
            reader = yield from read_pack(one.pack)
            if reader is None:
                continue
            if any(run.chain == chain and run.last >= seq for run in reader.header.chains):
                return one.pack
        except Damaged:
            continue
    return ""


def _transactions(client: Client, index: Index | None, junk: Sequence[Junk]) -> Protocol[list[str]]:
    """Return the ids of the transactions that wanted one of the slots and have not ended."""
    chain, seqs = junk[0].chain, {one.seq for one in junk}
    ends: set[str] = set()
    if index is None:
        return []
    for other in index.damage():
        if other == chain:
            continue
        version, _ = yield from _look(client, other, index.head(other) + 1)
        if version is not None and version.txn is not None:
            ends |= {version.txn["id"]} if version.txn["slots"].get(chain) in seqs else set()
    return sorted(ends)


def _seal(
    client: Client, index: Index | None, chain: ChainId, found: _Survey, reason: str
) -> Protocol[Version]:
    """Put the event, and make the version that holds it."""
    voids = [{"hash": digest(one.raw), "seq": one.seq} for one in reversed(found.junk)]
    body: dict[str, Any] = {"reason": reason}
    lost = _lost(index, found) if index is not None and chain == ALL else 0
    if lost:
        body["lost"] = lost
    draft = Draft(VOID, body)
    race = Race(client, chain, lambda *_: draft, (), (chain,), None, None)
    race.looked = True  # it takes no broadcasts in
    yield from write_event(race, draft)
    assert race.sealed is not None  # noqa: S101 - just made
    place = place_after(found.before, len(voids))
    stored = yield from stamp_of(client, chain, found.before)
    place = place._replace(prev_stored=stored)
    return seal_next(client, chain, found.before, place, (race.sealed.event,), None, voids=voids)


def _lost(index: Index, found: _Survey) -> int:
    """Return how many broadcasts inboxes have taken in from what is junk by now."""
    heads = [head for head in index.heads_of("inbox") if chain_name(head.chain) != "@all"]
    states = [state_of(head.chain, head) for head in heads]
    lowest = found.junk[0].seq
    counts = [state.all_count for state in states if state.all_version >= lowest]
    return max(0, max(counts, default=0) - int(state_of(ALL, found.before).count))
