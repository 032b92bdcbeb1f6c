"""Events and versions: what is stored, how it is sealed, and how it is checked when read.

An ``Event`` says what one agent did; it does not know its place. A ``Version`` is one slot of one
chain and holds its events in full. Both carry the parsed record as it was stored, unknown fields
included, so nothing is lost by reading. Ids are always computed over bytes, never taken on trust.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from tclog.clock import Hlc, Stamp, parse_hlc
from tclog.errors import Damaged, FormatNewer
from tclog.event.canonical import decode, digest, encode
from tclog.event.ids import ChainId, EventId, VersionId

FORMAT = 1


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
    def settled(self) -> bool:
        """Whether it is known what it changes: it is part of no transaction, or that has ended."""
        return self.aborted is not None or "txn" not in self.record

    @property
    def void(self) -> bool:
        """Whether it changes nothing: a read guard, one that fills a slot, or aborted."""
        return not self.events and self.merge is None

    @property
    def base(self) -> int:
        """The number of the newest version that changed something, up to this one; 0 if none."""
        return int(self.record.get("stands", self.seq - 1)) if self.void else self.seq

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
    """Make an event and its canonical bytes; ``txn`` is the transaction that it is made for."""
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
) -> Version:
    """Make a version; its ``raw`` is what goes into the slot.

    ``stands`` is given where the version before changes nothing; ``txn`` and ``otherwise``, the
    state should it be aborted, in a transaction; ``fills`` in one that ends a transaction;
    ``last_txn`` where a version before it is part of a transaction.
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
    raw = encode(record)
    record["sum"] = digest(raw)
    # No name sorts after "sum" but that of a transaction.
    raw = (
        encode(record)
        if "txn" in record
        else b'%b,"sum":"%b"}'
        % (
            raw[:-1],
            record["sum"].encode(),
        )
    )
    return Version(VersionId(digest(raw)), raw, record, tuple(events))


_NULL = type(None)
_ABSENT = type(...)  # an optional field that is not there

_EVENT_FIELDS: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "at": (str,),
    "body": (dict,),
    "chains": (list,),
    "client": (str,),
    "expect": (dict, _NULL, _ABSENT),
    "host": (str,),
    "key": (str, _NULL, _ABSENT),
    "nonce": (str,),
    "op": (str,),
    "session": (str,),
    "txn": (str, _ABSENT),
}
_VERSION_FIELDS: dict[str, tuple[type, ...]] = {
    "at": (str,),
    "by": (str,),
    "chain": (str,),
    "events": (list,),
    "fills": (dict, _ABSENT),
    "last_txn": (dict, _ABSENT),
    "merge": (dict, _NULL, _ABSENT),
    "now": (str, _NULL, _ABSENT),
    "otherwise": (dict, _ABSENT),
    "prev": (str, _NULL),
    "prev_stored": (str, _NULL, _ABSENT),
    "sum": (str,),
    "seq": (int,),
    "stands": (int, _ABSENT),
    "state": (dict,),
    "txn": (dict, _ABSENT),
}
_TXN_FIELDS: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "at": (str,),
    "events": (list,),
    "id": (str,),
    "key": (str, _ABSENT),
    "slots": (dict,),
}
TXN_CHAINS_MAX = 64


def _check(record: Any, unfit: Callable[..., str | None], what: str) -> None:
    if not isinstance(record, dict):
        raise Damaged(f"{what} is not a JSON object", hint="tclog fsck")
    number = record.get("format")
    # The exact type, here and below: to Python true is an int, and equal to 1.
    if type(number) is not int or number < 1:
        raise Damaged(f"{what} has no format number", hint="tclog fsck")
    if number > FORMAT:
        raise FormatNewer(
            f"{what} has format {number}; this client reads up to {FORMAT}",
            hint="pip install --upgrade tclog",
        )
    name = unfit(tuple(record), *map(type, record.values()))
    if name is not None:
        raise Damaged(f"{what} has no valid field {name!r}", hint="tclog fsck")
    try:
        parse_hlc(record["at"])
    except ValueError:
        raise Damaged(f"{what} has no valid stamp", hint="tclog fsck") from None


def _fields_check(fields: Mapping[str, tuple[type, ...]]) -> Callable[..., str | None]:
    """Make what names the first field that is missing or of a wrong type, or None.

    Records come in few shapes, by their names and types; each is looked at once.
    """

    @lru_cache(maxsize=256)
    def unfit(names: tuple[str, ...], *types: type) -> str | None:
        shape = dict(zip(names, types, strict=True))
        return next((name for name in fields if shape.get(name, _ABSENT) not in fields[name]), None)

    return unfit


_unfit_in_event = _fields_check(_EVENT_FIELDS)
_unfit_in_version = _fields_check(_VERSION_FIELDS)


def decode_event(raw: bytes, *, expect: EventId | None = None, what: str = "event") -> Event:
    """Read an event's bytes and check its id.

    Raises:
        Damaged: not canonical, a field is missing, or the id is not ``expect``.
        FormatNewer: written by a later format.
    """
    found = EventId(digest(raw))
    if expect is not None and found != expect:
        raise Damaged(f"{what} does not hold what its name says", hint="tclog fsck")
    record = decode(raw, what)
    _check(record, _unfit_in_event, what)
    return Event(found, record)


def decode_version(raw: bytes, *, chain: ChainId, seq: int, stored: Stamp | None = None) -> Version:
    """Read a slot's bytes and check that they are version ``seq`` of ``chain``.

    Raises:
        Damaged: not canonical, a field is missing, or another chain's or place's version.
        FormatNewer: written by a later format.
    """
    what = f"version {seq} of {chain}"
    record = decode(raw, what)
    _check(record, _unfit_in_version, what)
    # Only its successor knows a version's id, and the newest has none: it vouches for itself.
    if record["sum"] != digest(_without_sum(raw, record)):
        raise Damaged(f"{what} does not hold what was written", hint="tclog fsck")
    if record["chain"] != chain or record["seq"] != seq:
        raise Damaged(
            f"{what} holds version {record['seq']} of {record['chain']}", hint="tclog fsck"
        )
    if (record["prev"] is None) != (seq == 1):
        raise Damaged(f"{what} does not name the version before it", hint="tclog fsck")
    if "txn" in record:
        _check_txn(record, what)
    if "last_txn" in record:
        _check_last_txn(record, what)
    events = []
    for event in record["events"]:
        _check(event, _unfit_in_event, f"an event in {what}")
        events.append(Event(EventId(digest(encode(event))), event))
    return Version(VersionId(digest(raw)), raw, record, tuple(events), stored)


def _without_sum(raw: bytes, record: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a record as they were before its sum was added.

    ``raw`` is known to be canonical, so the sum stands last but for fields of later clients, and
    cutting it off gives what encoding anew would give.
    """
    end = b',"sum":%b}' % encode(record["sum"])
    if raw.endswith(end):
        return raw[: -len(end)] + b"}"
    return encode({name: value for name, value in record.items() if name != "sum"})


def _check_txn(record: Mapping[str, Any], what: str) -> None:
    """Refuse a version that does not say of which slots its transaction is made."""
    txn = record["txn"]
    slots = txn.get("slots")
    sound = (
        all(type(txn.get(name, ...)) in kinds for name, kinds in _TXN_FIELDS.items())
        and 1 <= len(slots) <= TXN_CHAINS_MAX
        and all("/" in chain and type(seq) is int and seq > 0 for chain, seq in slots.items())
        and slots.get(record["chain"]) == record["seq"]
        and ("otherwise" in record) == (len(slots) > 1)
        and _is_hlc(txn["at"])
        and txn["at"] <= record["at"]
    )
    if not sound:
        raise Damaged(f"{what} has no valid field 'txn'", hint="tclog fsck")


def _check_last_txn(record: Mapping[str, Any], what: str) -> None:
    """Refuse a version that misnames a transaction that its chain was part of."""
    last = record["last_txn"]
    seq, at = last.get("seq"), last.get("at")
    if not (type(seq) is int and 0 < seq < record["seq"] and _is_hlc(at) and at < record["at"]):
        raise Damaged(f"{what} has no valid field 'last_txn'", hint="tclog fsck")


def _is_hlc(text: Any) -> bool:
    try:
        parse_hlc(text)
    except (ValueError, TypeError):
        return False
    return True


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
