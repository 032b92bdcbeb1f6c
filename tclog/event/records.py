"""Events and versions: what is stored, how it is sealed, and how it is checked when read.

An ``Event`` says what one agent did; it does not know its place. A ``Version`` is one slot of one
chain and holds its events in full. Both carry the parsed record as it was stored, unknown fields
included, so nothing is lost by reading. Ids are always computed over bytes, never taken on trust.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from tclog.clock import Hlc, Stamp
from tclog.errors import UPGRADE, BadValue, Damaged, FormatNewer
from tclog.event.canonical import decode, digest, encode
from tclog.event.envelopes import check_of
from tclog.event.ids import ChainId, EventId, VersionId
from tclog.event.names import ALL, chain_kind

FORMAT = 1
# The op of the one event that a version with ``voids`` holds; it changes no state.
VOID = "chain.void"


class Event(NamedTuple):
    """An immutable event; ``record`` is its JSON object."""

    id: EventId
    record: Mapping[str, Any]

    @property
    def op(self) -> str:
        """What was done: ``memory.set``, ``step.claim``, ..."""
        return self.record["op"]  # type: ignore[no-any-return]

    @property
    def agent(self) -> str:
        """Who did it."""
        return self.record["agent"]  # type: ignore[no-any-return]

    @property
    def session(self) -> str:
        """The session of the agent."""
        return self.record["session"]  # type: ignore[no-any-return]

    @property
    def at(self) -> Hlc:
        """When, by the agent's hybrid logical clock."""
        return self.record["at"]  # type: ignore[no-any-return]

    @property
    def chains(self) -> Sequence[ChainId]:
        """The chains that it was made for."""
        return self.record["chains"]  # type: ignore[no-any-return]

    @property
    def body(self) -> Mapping[str, Any]:
        """The arguments of the operation."""
        return self.record["body"]  # type: ignore[no-any-return]

    @property
    def expect(self) -> Mapping[str, Any]:
        """The expectation that it was made under; empty if none."""
        return self.record.get("expect") or {}

    @property
    def key(self) -> str | None:
        """The idempotency key, if any."""
        return self.record.get("key")

    @property
    def txn(self) -> str | None:
        """The id of the transaction that it was made for, if any."""
        return self.record.get("txn")


class Version(NamedTuple):
    """One slot of a chain, as read: ``stored`` is the store's stamp of the slot, if known.

    ``aborted`` says what became of the transaction that it is a part of; None if it is part of
    none, or as long as nobody has looked. The events of an aborted one are not there: whoever
    gets such a version sees one that changes nothing.
    """

    id: VersionId
    raw: bytes
    record: Mapping[str, Any]
    events: tuple[Event, ...]
    stored: Stamp | None = None
    aborted: bool | None = None
    # Only the index knows it, where a later version of the chain shows that it was earlier.
    effective: Hlc | None = None

    @property
    def chain(self) -> ChainId:
        """The chain that it is a version of."""
        return self.record["chain"]  # type: ignore[no-any-return]

    @property
    def seq(self) -> int:
        """Its place: 1, 2, 3, ..."""
        return self.record["seq"]  # type: ignore[no-any-return]

    @property
    def prev(self) -> VersionId | None:
        """The id of the version before, None for the first."""
        return self.record["prev"]  # type: ignore[no-any-return]

    @property
    def at(self) -> Hlc:
        """Its stamp, greater than that of the version before."""
        return self.record["at"]  # type: ignore[no-any-return]

    @property
    def moment(self) -> Hlc:
        """The moment from which on it counts: the same in all slots of a transaction.

        It is ``at``, except where the stamps of the chain ran ahead of the clocks.
        """
        txn = self.record.get("txn")
        return self.effective or (self.at if txn is None else txn["at"])

    @property
    def last_txn(self) -> Mapping[str, Any] | None:
        """The newest version of a transaction up to this one: its ``seq`` and moment ``at``."""
        txn = self.record.get("txn")
        if txn is not None:
            return {"at": txn["at"], "seq": self.seq}
        return self.record.get("last_txn")

    @property
    def by(self) -> str:
        """The agent that created the slot."""
        return self.record["by"]  # type: ignore[no-any-return]

    @property
    def state(self) -> Mapping[str, Any]:
        """The fold up to and including this version, packed."""
        return self.record["otherwise" if self.aborted else "state"]  # type: ignore[no-any-return]

    @property
    def prev_stored(self) -> Stamp | None:
        """The store's stamp of the version before, as this one's writer saw it."""
        return self.record.get("prev_stored")

    @property
    def now(self) -> Stamp | None:
        """The store's stamp of this version's event object, where a lease was judged by it."""
        return self.record.get("now")

    @property
    def merge(self) -> Mapping[str, Any] | None:
        """The broadcasts that this version of an inbox takes in, if any."""
        return None if self.aborted else self.record.get("merge")

    @property
    def txn(self) -> Mapping[str, Any] | None:
        """The transaction that it is a part of: the same record in each of its slots."""
        return self.record.get("txn")

    @property
    def voids(self) -> Sequence[Mapping[str, Any]]:
        """The slots right below that hold junk, the highest first: ``seq`` and ``hash`` of each."""
        return self.record.get("voids", ())  # type: ignore[no-any-return]

    @property
    def after(self) -> int:
        """The number of the version before it, which is not that of the slot before if it voids."""
        return self.seq - 1 - len(self.voids)

    @property
    def settled(self) -> bool:
        """Whether it is known what it changes: it is part of no transaction, or that has ended."""
        return self.aborted is not None or "txn" not in self.record

    @property
    def void(self) -> bool:
        """Whether it changes nothing: a guard, a filler, one that voids junk, or aborted."""
        return self.merge is None and (not self.events or "voids" in self.record)

    @property
    def base(self) -> int:
        """The number of the newest version that changed something, up to this one; 0 if none."""
        return int(self.record.get("stands", self.after)) if self.void else self.seq

    def judged(self, *, aborted: bool) -> Version:
        """Return the version as it is once its transaction has ended."""
        events = () if aborted else self.events
        return self._replace(events=events, aborted=aborted)


def seal_event(
    *,
    op: str,
    chains: Sequence[ChainId],
    agent: str,
    session: str,
    host: str,
    client: str,
    at: Hlc,
    nonce: str,
    body: Mapping[str, Any],
    expect: Mapping[str, Any] | None = None,
    key: str | None = None,
    txn: str | None = None,
) -> tuple[Event, bytes]:
    """Make an event and its canonical bytes; ``txn`` is the transaction that it is made for.

    Raises:
        BadValue: nobody could read it: a session or an idempotency key that is too long, ...
    """
    record: dict[str, Any] = {
        "agent": agent,
        "at": at,
        "body": body,
        "chains": list(chains),
        "client": client,
        "format": FORMAT,
        "host": host,
        "nonce": nonce,
        "op": op,
        "session": session,
    }
    if expect:
        record["expect"] = expect
    if key is not None:
        record["key"] = key
    if txn is not None:
        record["txn"] = txn
    why = check_of("event")(record)
    if why is not None:
        raise BadValue(f"the event cannot be written: {why.lstrip('.')}")
    raw = encode(record)
    return Event(EventId(digest(raw)), record), raw


def seal_version(
    *,
    chain: ChainId,
    seq: int,
    prev: VersionId | None,
    prev_stored: Stamp | None,
    at: Hlc,
    by: str,
    events: Sequence[Event],
    state: Mapping[str, Any],
    now: Stamp | None = None,
    merge: Mapping[str, Any] | None = None,
    stands: int | None = None,
    txn: Mapping[str, Any] | None = None,
    otherwise: Mapping[str, Any] | None = None,
    fills: Mapping[str, Any] | None = None,
    last_txn: Mapping[str, Any] | None = None,
    voids: Sequence[Mapping[str, Any]] = (),
) -> Version:
    """Make a version; its ``raw`` is what goes into the slot.

    ``stands`` is given where the version before changes nothing; ``txn`` and ``otherwise``, the
    state should it be aborted, in a transaction; ``fills`` in one that ends a transaction;
    ``last_txn`` where a version before it is part of a transaction.
    ``voids`` in one that ends slots with junk.
    """
    record: dict[str, Any] = {
        "at": at,
        "by": by,
        "chain": chain,
        "events": [event.record for event in events],
        "format": FORMAT,
        "prev": prev,
        "prev_stored": prev_stored,
        "seq": seq,
        "state": state,
    }
    if fills is not None:
        record["fills"] = fills
    if last_txn is not None:
        record["last_txn"] = last_txn
    if merge is not None:
        record["merge"] = merge
    if now is not None:
        record["now"] = now
    if otherwise is not None:
        record["otherwise"] = otherwise
    if stands is not None:
        record["stands"] = stands
    if txn is not None:
        record["txn"] = txn
    if voids:
        record["voids"] = list(voids)
    raw = encode(record)
    record["sum"] = digest(raw)
    # No name sorts after "sum" but these two.
    raw = (
        encode(record)
        if "txn" in record or voids
        else b'%b,"sum":"%b"}'
        % (
            raw[:-1],
            record["sum"].encode(),
        )
    )
    return Version(VersionId(digest(raw)), raw, record, tuple(events))


def _check(record: Any, schema: str, what: str) -> None:
    """Refuse a record that does not fit its schema.

    Raises:
        Damaged: it does not.
        FormatNewer: it, or an event in it, was written by a later format.
    """
    why = check_of(schema)(record)
    if why is None:
        return
    for one in (record, *_inside(record)):
        number = one.get("format") if isinstance(one, dict) else None
        if type(number) is int and number > FORMAT:
            raise FormatNewer(
                f"{what} has format {number}; this client reads up to {FORMAT}",
                hint=UPGRADE,
            )
    raise Damaged(f"{what}{why}" if why[0] == " " else f"{what}: {why[1:]}", hint="tclog fsck")


def _inside(record: Any) -> Sequence[Any]:
    events = record.get("events") if isinstance(record, dict) else None
    return events if isinstance(events, list) else ()


def decode_record(raw: bytes, schema: str, what: str) -> Mapping[str, Any]:
    """Read a record by the name of its schema: ``once`` or ``project``.

    Raises:
        Damaged: not canonical, or not as the schema says.
        FormatNewer: written by a later format.
    """
    record = decode(raw, what)
    _check(record, schema, what)
    return record  # type: ignore[no-any-return]


def decode_event(raw: bytes, *, expect: EventId | None = None, what: str = "event") -> Event:
    """Read an event's bytes and check its id.

    Raises:
        Damaged: not canonical, not as the schema of events says, or the id is not ``expect``.
        FormatNewer: written by a later format.
    """
    found = EventId(digest(raw))
    if expect is not None and found != expect:
        raise Damaged(f"{what} does not hold what its name says", hint="tclog fsck")
    record = decode(raw, what)
    _check(record, "event", what)
    return Event(found, record)


def decode_version(raw: bytes, *, chain: ChainId, seq: int, stored: Stamp | None = None) -> Version:
    """Read a slot's bytes and check that they are version ``seq`` of ``chain``.

    Raises:
        Damaged: not canonical, not as the schema of versions says, or of another place.
        FormatNewer: written by a later format.
    """
    what = f"version {seq} of {chain}"
    record = decode(raw, what)
    check_version(record, what)
    # Only its successor knows a version's id, and the newest has none: it vouches for itself.
    if record["sum"] != digest(_without_sum(raw, record)):
        raise Damaged(f"{what} does not hold what was written", hint="tclog fsck")
    if record["chain"] != chain or record["seq"] != seq:
        raise Damaged(
            f"{what} holds version {record['seq']} of {record['chain']}", hint="tclog fsck"
        )
    if (record["prev"] is None) != (seq == 1):
        raise Damaged(f"{what} does not name the version before it", hint="tclog fsck")
    events = tuple(Event(EventId(digest(encode(event))), event) for event in record["events"])
    return Version(VersionId(digest(raw)), raw, record, events, stored)


def check_version(record: Any, what: str) -> None:
    """Refuse a version that does not fit its schema, or whose fields contradict each other.

    Raises:
        Damaged: it does not, or they do.
        FormatNewer: written by a later format.
    """
    _check(record, "version", what)
    for name, fits in _PLACES.items():
        if name in record and not fits(record):
            raise Damaged(f"{what} has no valid field {name!r}", hint="tclog fsck")


def _txn_fits(record: Mapping[str, Any]) -> bool:
    txn = record["txn"]
    slots = txn["slots"]
    mine = slots.get(record["chain"]) == record["seq"]
    return mine and ("otherwise" in record) == (len(slots) > 1) and txn["at"] <= record["at"]


def _voids_fit(record: Mapping[str, Any]) -> bool:
    voids, seq = record["voids"], record["seq"]
    below = list(range(seq - 1, seq - 1 - len(voids), -1))
    named = [one["seq"] for one in voids] == below and below[-1] >= 1
    alone = not record.keys() & {"fills", "merge", "otherwise", "txn"}
    ops = [event["op"] for event in record["events"]]
    return named and alone and voids[0]["hash"] == record["prev"] and ops == [VOID]


def _last_txn_fits(record: Mapping[str, Any]) -> bool:
    last: Mapping[str, Any] = record["last_txn"]
    return bool(last["seq"] < record["seq"] and last["at"] < record["at"])


def _merge_fits(record: Mapping[str, Any]) -> bool:
    chain: str = record["chain"]
    return chain_kind(chain) == "inbox" and chain != ALL


_PLACES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "last_txn": _last_txn_fits,
    "merge": _merge_fits,
    "otherwise": lambda record: "txn" in record,
    "stands": lambda record: bool(record["stands"] < record["seq"]),
    "txn": _txn_fits,
    "voids": _voids_fit,
}


def _without_sum(raw: bytes, record: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a record as they were before its sum was added.

    ``raw`` is known to be canonical, so the sum stands last but for fields of later clients, and
    cutting it off gives what encoding anew would give.
    """
    end = b',"sum":"%b"}' % record["sum"].encode()
    if raw.endswith(end):
        return raw[: -len(end)] + b"}"
    return encode({name: value for name, value in record.items() if name != "sum"})


def decode_stored_version(raw: bytes, stored: str | None, at: str | None = None) -> Version:
    """Read the bytes of a version that were checked when they came from the store.

    It was judged then: ``stored_bytes`` says how the bytes tell. ``at`` is its moment, as far as
    later versions of its chain show it.
    """
    aborted = raw.startswith(_ABORTED)
    raw = raw.removeprefix(_ABORTED)
    record = orjson.loads(raw)
    events = tuple(Event(EventId(digest(encode(event))), event) for event in record["events"])
    version = Version(
        VersionId(digest(raw)), raw, record, events, None if stored is None else Stamp(stored)
    )._replace(effective=None if at is None else Hlc(at))
    return version.judged(aborted=aborted) if "txn" in record else version


def slot_bytes(raw: bytes) -> bytes:
    """Return the bytes of a slot from what the local index keeps of it."""
    return raw.removeprefix(_ABORTED)


def decode_stored_state(raw: bytes) -> Mapping[str, Any]:
    """Read only the state out of what ``decode_stored_version`` reads."""
    record = orjson.loads(raw.removeprefix(_ABORTED))
    return record["otherwise" if raw.startswith(_ABORTED) else "state"]  # type: ignore[no-any-return]


_ABORTED = b"-"


def stored_bytes(version: Version) -> bytes:
    """Return the bytes by which a judged version is kept: behind a minus sign if it is aborted."""
    return _ABORTED + version.raw if version.aborted else version.raw


def decode_stored_event(raw: bytes, event: EventId) -> Event:
    """Read the bytes of an event that were checked when they came from the store."""
    return Event(event, orjson.loads(raw))
