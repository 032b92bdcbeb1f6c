"""Chains for the vectors: tclog's own code seals every version, with fixed stamps and nonces.

The same code gives the same bytes, whenever and wherever it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.fold import fold, place_after, rules_of, state_of
from tclog.clock import Stamp, format_us, hlc, stamp
from tclog.domain.content import Blob
from tclog.event import ChainId, Event, Version, digest, seal_event, seal_version, slot_key
from tclog.sync.audit import ignored_events

BEGIN_US = 1_795_460_400_000_000  # 2026-11-23T19:00:00
SECOND_US = 1_000_000
CLIENT, HOST = "vectors/1", "host"


class Made(NamedTuple):
    """An event, and why the fold ignores it, if it does."""

    event: Event
    why: str | None


class Line:
    """One chain that is being made, from version 1 on. A second passes with each version."""

    def __init__(self, chain: str, *, begin_s: int = 0) -> None:
        self.chain = ChainId(chain)
        self.versions: list[Version] = []
        self.whys: list[dict[int, str]] = []
        self.blobs: dict[str, str] = {}
        self._now_us = BEGIN_US + begin_s * SECOND_US
        self._count = 0

    @property
    def head(self) -> Version | None:
        """The newest version."""
        return self.versions[-1] if self.versions else None

    def event(
        self,
        op: str,
        body: Mapping[str, Any],
        *,
        agent: str = "alice",
        session: str | None = None,
        expect: Mapping[str, Any] | None = None,
        key: str | None = None,
        chains: Sequence[str] | None = None,
        why: str | None = None,
    ) -> Made:
        """Make an event; ``why`` says that the fold ignores it, and for what reason."""
        self._count += 1
        event, _ = seal_event(
            op=op,
            chains=[ChainId(chain) for chain in chains or [self.chain]],
            agent=agent,
            session=session or f"session-{agent}",
            host=HOST,
            client=CLIENT,
            at=hlc(self._now_us, self._count & 0xFFFF),
            nonce=digest(f"{self.chain} {self._count}".encode())[:32],
            body=body,
            expect=expect,
            key=key,
        )
        return Made(event, why)

    def add(
        self,
        *made: Made,
        wait_s: float = 1,
        now_s: float | None = None,
        merge: Mapping[str, Any] | None = None,
        by: str | None = None,
        early_s: float = 0,
        slow_s: float = 0,
    ) -> Version:
        """Add a version; it is made and stored ``wait_s`` after the one before.

        ``now_s`` gives it the field ``now``: so many seconds after the stamp of the one before.
        ``early_s`` makes ``prev_stored`` earlier than it was, and ``slow_s`` the version's ``at``.
        """
        before_us = self._now_us
        self._now_us += round(wait_s * SECOND_US)
        head = self.head
        at = hlc(self._now_us - 10_000 - round(slow_s * SECOND_US), 0)
        told_us = before_us - round(early_s * SECOND_US)
        place = place_after(head)._replace(
            prev_stored=None if head is None else stamp(told_us),
            now=None if now_s is None else stamp(before_us + round(now_s * SECOND_US)),
            at=at,
        )
        events = [one.event for one in made]
        before = state_of(self.chain, head)
        after = fold(self.chain, before, events, place, merge)
        version = seal_version(
            chain=self.chain,
            seq=place.seq,
            prev=None if head is None else head.id,
            prev_stored=place.prev_stored,
            at=at,
            by=by or (events[-1].agent if events else "alice"),
            events=events,
            state=rules_of(self.chain).pack(after, events),
            now=place.now,
            merge=merge,
            stands=place.stands,
        )._replace(stored=Stamp(format_us(self._now_us)))
        whys = {index: one.why for index, one in enumerate(made) if one.why is not None}
        unknown = {i for i, e in enumerate(events) if e.op not in rules_of(self.chain).ops}
        ignored = {events.index(event) for event in ignored_events(head, version)} | unknown
        assert ignored == set(whys), (version.record, ignored, whys)
        self.versions.append(version)
        self.whys.append(whys)
        return version

    def one(self, op: str, body: Mapping[str, Any], **named: Any) -> Version:
        """Add a version with one event."""
        ours = ("wait_s", "now_s", "merge", "by", "early_s", "slow_s")
        place = {name: named.pop(name) for name in ours if name in named}
        return self.add(self.event(op, body, **named), **place)

    def keep(self, *blobs: Blob) -> None:
        """Keep blobs that the chain names."""
        self.blobs |= {blob.hash: blob.data.decode() for blob in blobs}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the versions for a file of vectors."""
        for version, whys in zip(self.versions, self.whys, strict=True):
            yield {
                "record": version.record,
                "id": version.id,
                "key": slot_key(version.chain, version.seq),
                "stored": version.stored,
                "events": [event.id for event in version.events],
                "ignored": [{"event": index, "why": why} for index, why in whys.items()],
            }

    def case(self, name: str) -> dict[str, Any]:
        """Return the chain for a file of vectors."""
        case: dict[str, Any] = {"name": name, "chain": self.chain, "versions": list(self.rows())}
        if self.blobs:
            case["blobs"] = self.blobs
        return case
