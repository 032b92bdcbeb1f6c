"""``fsck`` of chains: every version by itself, and against the one before it."""

from __future__ import annotations

from typing import Any, NamedTuple

from tclog.chain.drive import Protocol
from tclog.chain.fold import (
    holds_its_state,
    last_txn_after,
    place_after,
    state_of,
    unknown_ops,
)
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, Stamp, parse_us
from tclog.domain import MODULES, misfit
from tclog.errors import Damaged, FormatNewer, TclogError
from tclog.event import (
    ALL,
    ChainId,
    Version,
    chain_kind,
    decode,
    decode_name,
    decode_version,
    digest,
    encode,
    slot_key,
    slot_seq,
)
from tclog.event.names import chain_id, chain_parts, folder_of, is_chain_folder, slot_in
from tclog.maintenance.fsck.findings import Findings, claimed
from tclog.maintenance.fsck.seen import Writer
from tclog.store.base import Entry, Found
from tclog.sync.audit import blobs_in, ignored_events, merge_error, op_elsewhere
from tclog.sync.objects import (
    AT_ONCE,
    Listing,
    batches,
    chain_in,
    read_each,
)

# A gap longer than this is taken for one without asking for each slot again.
GAP_ASKED_MAX = 1000


# A slot whose stamp is so far from its version's own was copied here.
COPIED_US = 25 * 60 * SECOND_US


class Slot(NamedTuple):
    """What is remembered of a slot while those below it are looked at.

    ``lowest`` is the lowest slot that was looked at since: those with junk that the version ended.
    """

    seq: int
    version: Version | None
    lowest: int

    def ends(self, seq: int) -> str | None:
        """Return the hash of the junk in a slot below that the version ends, if it ends that."""
        voids = () if self.version is None else self.version.voids
        return next((str(one["hash"]) for one in voids if one["seq"] == seq), None)


class ChainCheck:
    """Goes through slots in the order of a listing: each chain from its newest version down."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.chains = self.versions = 0
        self._folder = ""
        self._above: Slot | None = None

    def check(self, folder: str, leave: str = "") -> Protocol[None]:
        """Check all versions below a folder: each, and each against the one before it."""
        listing = Listing(folder)
        while page := (yield from listing.page()):
            kept = [row for row in page if not leave or not row.key.startswith(f"{leave}/")]
            for batch in batches(self.found.named(kept, _is_slot)):
                for entry, found in (yield from self.found.read(batch, "version-damaged")):
                    yield from self._slot(entry, found)
                self.found.progress("versions", len(batch))
        yield from self._end_chain()

    def _slot(self, entry: Entry, found: Found | None) -> Protocol[None]:
        """Check one slot; they come with the newest of their chain first."""
        folder = folder_of(entry.key)
        seq = slot_seq(entry.key) or 0  # its name was looked at before it was read
        if folder != self._folder:
            yield from self._end_chain()
            self._folder, self._above, self.chains = folder, None, self.chains + 1
        above = self._above
        if above is not None and above.lowest != seq + 1:
            yield from self._gap(seq + 1, above.lowest - 1)
            above = None
        if above is not None and found is not None and above.ends(seq) is not None:
            self._ended(entry.key, above, seq, found)
            self._above = above._replace(lowest=seq)
            return
        version = None if found is None else self._decoded(entry.key, seq, found)
        if version is not None and version.txn is not None:
            version = yield from self._judged(version, newest=self._above is None)
        if version is not None and "fills" in version.record:
            yield from self._fills(version)
        if version is not None:
            with self.found.reading("version-damaged", Writer.of(version)):
                self._note(version)
        self.versions += 1
        if found is not None:
            self.found.oldest = min(self.found.oldest or found.stored, found.stored)
        if above is not None and above.version is not None and found is not None:
            self._link(above.version, version, found)
        self._above = Slot(seq, version, seq)

    def _ended(self, key: str, above: Slot, seq: int, found: Found) -> None:
        """Check that a slot holds the junk that a version above it ends."""
        assert above.version is not None  # noqa: S101 - it ends this slot
        where = Writer(key, above.version.chain, seq, above.version.by)
        what = f"version {above.seq} of {above.version.chain} ended slot {seq} as junk"
        try:
            chain = chain_in(key, found.data)
            decode_version(found.data, chain=chain, seq=seq, stored=found.stored)
        except FormatNewer:
            self.found.unknown += 1
        except Exception:  # noqa: BLE001 - whatever bytes there are, the check goes on
            if digest(found.data) == above.ends(seq):
                self.found.note("slot-voided", what, where)
            else:
                self.found.damage("void-wrong", f"{what}, which holds other bytes now", where)
        else:
            self.found.damage("void-wrong", f"{what}, and version {seq} is sound", where)

    def _end_chain(self) -> Protocol[None]:
        above, self._above = self._above, None
        if above is not None:
            if above.lowest == 1 and above.version is not None:
                self._link(above.version, None, None)
            elif above.lowest > 1:
                yield from self._gap(1, above.lowest - 1)
        self._folder = ""

    def _gap(self, first: int, last: int) -> Protocol[None]:
        """Tell of slots that are missing, unless they are there after all."""
        keys = [slot_in(self._folder, seq) for seq in (first, last)]
        missing = range(first, last + 1)
        if len(missing) <= GAP_ASKED_MAX:
            asked = [slot_in(self._folder, seq) for seq in missing]
            replies: list[Any] = []
            for start in range(0, len(asked), AT_ONCE):
                replies += yield from read_each(asked[start : start + AT_ONCE])
            if all(isinstance(reply, Found) for reply in replies):
                return
        chain = _chain_label(self._folder)
        which = f"version {first}" if first == last else f"versions {first} to {last}"
        are = "is" if first == last else "are"
        self.found.damage(
            "version-missing",
            f"{which} of {chain} {are} missing, though later ones are there",
            Writer(keys[0], chain, first),
        )

    def _decoded(self, key: str, seq: int, found: Found) -> Version | None:
        """Return a version that holds what it should by itself, or None and its damage told."""
        where = Writer(key, _chain_label(self._folder), seq)
        with self.found.reading("version-damaged", where):
            chain = chain_in(key, found.data)
            where = where._replace(chain=chain, agent=claimed(found.data, "by"))
            with self.found.reading("version-damaged", where):
                try:
                    return decode_version(found.data, chain=chain, seq=seq, stored=found.stored)
                except FormatNewer as error:
                    if _sum_holds(found.data):
                        raise
                    raise Damaged(error.message) from None
        return None

    def _wrong(self, version: Version, code: str, why: str, agent: str | None = None) -> None:
        """Tell of damage in a version, perhaps of another agent's event in it."""
        where = Writer.of(version)
        where = where if agent is None else where._replace(agent=agent)
        self.found.damage(code, f"version {version.seq} of {version.chain} {why}", where)

    def _judged(self, version: Version, *, newest: bool) -> Protocol[Version | None]:
        """Look at all slots of a transaction; None while it is undecided."""
        txn = version.txn or {}
        replies = yield from read_each([slot_key(*slot) for slot in txn["slots"].items()])
        records = [_record_of(reply) for reply in replies]
        there = [record for record in records if record is not None]
        if any(record.get("txn") != txn for record in there):
            return version.judged(aborted=True)
        if len(there) < len(records):
            if not newest:
                why = "is part of a transaction that is undecided, and others follow it"
                self._wrong(version, "txn-open", why)
                return version.judged(aborted=True)  # as readers take it
            return None
        held = {digest(encode(event)) for record in there for event in record["events"]}
        if held != {event for event in txn["events"] if event is not None}:
            self.found.damage(
                "txn-torn",
                f"the slots of the transaction at version {version.seq} of {version.chain} do not"
                " hold the events that it names",
                Writer.of(version),
            )
        return version.judged(aborted=False)

    def _fills(self, version: Version) -> Protocol[None]:
        """Check that a version which fills a slot ends a transaction that wanted this slot."""
        fills = version.record["fills"]
        chain, seq = fills.get("chain"), fills.get("seq")
        named = isinstance(chain, str) and "/" in chain and type(seq) is int and seq > 0
        replies = (yield from read_each([slot_key(ChainId(chain), seq)])) if named else [None]
        record = _record_of(replies[0]) or {}
        wanted = (record.get("txn") or {}).get("slots", {}).get(version.chain)
        if wanted is None or version.seq > wanted or not version.void:
            self._wrong(version, "fill-wrong", "fills a slot of no transaction")

    def _note(self, version: Version) -> None:
        """Note what a version names, to be compared with what there is."""
        where = Writer.of(version)
        self.found.seen.see_version(version)
        known = chain_kind(version.chain) in MODULES
        if not known:
            self.found.unknown += 1
        for event in version.events:
            why, named = misfit(event, version.chain), f"the event {event.id[:16]}"
            if version.chain not in event.chains:
                made_for = ", ".join(map(str, event.chains))
                which = f"which {event.agent!a} made for {made_for}"
                self._wrong(version, "event-elsewhere", f"holds {named}, {which}")
            elif why is not None:
                self.found.damage(
                    "body-invalid",
                    f"{event.op} by {event.agent!a} in version {version.seq} of {version.chain}"
                    f"{why}; readers ignore it",
                    where._replace(agent=event.agent),
                )
            if not self.found.seen.commit(version, event):
                which = "which stands in another version of this chain too"
                self._wrong(version, "event-twice", f"holds {named}, {which}")
            if why is None:
                self.found.name_blobs(event, where)
        if known:
            state_of(version.chain, version)
            for blob, size in blobs_in(version.state):
                self.found.seen.name_blob(blob, size, where)
        if version.chain == ALL:
            self.found.seen.broadcast(version.seq, state_of(ALL, version).count)

    def _link(self, version: Version, before: Version | None, found: Found | None) -> None:
        """Check a version against the one before it."""
        prev = None if found is None else digest(found.data)
        if version.prev != prev and not version.voids:
            if before is not None or found is None:
                named, there = str(version.prev)[:16], str(prev)[:16]
                why = f"names {named} as the version before it, and that is {there}"
                self._wrong(version, "prev-mismatch", why)
            return
        if found is not None and before is None:
            return  # the damage of the one before was told; nothing can be folded onto it
        cannot = f"version {version.seq} of {version.chain} cannot be folded"
        with self.found.reading("version-damaged", Writer.of(version), cannot):
            self._fold(before, version)

    def _fold(self, before: Version | None, version: Version) -> None:
        chain = version.chain
        if before is not None and version.at <= before.at:
            self._wrong(version, "stamp-order", "is not later than the version before it")
        if version.record.get("last_txn") != last_txn_after(before):
            self._wrong(version, "last-txn-wrong", "misnames the transaction before it")
        if chain_kind(chain) not in MODULES:
            return
        unknown = unknown_ops(chain, version)
        for op in unknown:
            if op_elsewhere(op):
                why = f"holds {op!a}, which is not one of its ops"
                self._wrong(version, "rule-broken", why)
        if unknown:
            self.found.unknown += 1
            return  # a later client's rules made this state; only it can recompute it
        self._merge(before, version)
        self._state(before, version)
        self._stamp(before, version)
        self._ignored(before, version)
        if version.now is not None and before is not None and version.prev_stored == before.stored:
            # Only where the stamps are still those of the store that the versions were made in.
            for event in version.events:
                self.found.seen.judge(version, event, version.now)

    def _ignored(self, before: Version | None, version: Version) -> None:
        for event in ignored_events(before, version):
            if misfit(event, version.chain) is not None:
                continue  # told of with the version itself
            why = "which was not allowed there; readers ignore it"
            why = f"holds {event.op} by {event.agent!a}, {why}"
            self._wrong(version, "rule-broken", why, event.agent)

    def _state(self, before: Version | None, version: Version) -> None:
        if version.record.get("stands") != place_after(before).stands:
            self._wrong(version, "stands-wrong", "misnames the version that stands before it")
        if not holds_its_state(before, version):
            self._wrong(version, "state-mismatch", "holds a state that its events do not give")

    def _stamp(self, before: Version | None, version: Version) -> None:
        """Note a stamp of the slot before that is not the store's."""
        said, stored = version.prev_stored, None if before is None else before.stored
        if before is None or said is None or stored is None:
            return
        if abs(parse_us(stored) - parse_us(before.at)) > COPIED_US:
            self.found.copied = slot_key(before.chain, before.seq)
            return
        self.found.compared += 1
        if abs(parse_us(said) - parse_us(stored)) >= SECOND_US:
            self.found.seen.stamp(version, said, before)

    def _merge(self, before: Version | None, version: Version) -> None:
        if version.merge is None:
            return
        wrong = merge_error(before, version)
        if wrong:
            self._wrong(version, "merge-wrong", wrong)
        else:
            self.found.seen.merge(version, version.merge["through"], version.merge["count"])


def _is_slot(entry: Entry) -> bool:
    return slot_seq(entry.key) is not None and is_chain_folder(folder_of(entry.key))


def tell_stamps(found: Findings, mark_stored: Stamp | None) -> None:
    """Tell of versions that say another stamp of the slot before them than the store does.

    A copy has slots that are not newer than the project's mark, which it gets last, or most of its
    stamps are other ones. There a stamp that may have been the original's is not compared.
    """
    others = list(found.seen.stamps())
    copy = mark_stored is None or (found.oldest or mark_stored) <= mark_stored
    copy = copy or 2 * len(others) > found.compared
    for where, said, stored, at in others:
        original = said < stored and parse_us(said) >= parse_us(at) - AHEAD_TRUSTED_US
        if copy and original:
            found.copied = where.key
            continue
        found.damage(
            "stamp-wrong",
            f"version {where.version} of {where.chain} says that the slot before it was stored at"
            f" {said}; the store says {stored}",
            where,
        )
    if found.copied:
        found.note(
            "stamps-copied",
            f"{found.copied} was copied here, perhaps with other slots: their stamps cannot be"
            " compared with those that versions record",
            Writer(found.copied),
        )


def _record_of(reply: Any) -> dict[str, Any] | None:
    """Return the record of another slot; what cannot be read is told where it is met itself."""
    if reply is None:
        return None
    try:
        record = decode(reply.data, "version")
    except (TclogError, AttributeError):
        return {}
    return record if isinstance(record, dict) and "events" in record else {}


def _chain_label(folder: str) -> ChainId:
    """Name a chain for people: by its folder, where that can be read."""
    kind, segment = chain_parts(folder)
    try:
        name = None if segment == "@all" else decode_name(segment)
    except Damaged:
        name = None
    return chain_id(kind, name or segment)


def _sum_holds(raw: bytes) -> bool:
    try:
        record = decode(raw, "version")
    except Damaged:
        return False
    rest = {name: value for name, value in record.items() if name != "sum"}
    return bool(record.get("sum") == digest(encode(rest)))
