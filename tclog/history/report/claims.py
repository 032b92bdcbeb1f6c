"""Claims as spans of time: who held which step, from when to when, and how that ended.

Read from the states in the steps' versions: they are the fold, so what was not allowed at its place
grants and ends nothing here either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tclog.chain.fold import state_of
from tclog.clock import Hlc, parse_us
from tclog.domain import steps
from tclog.event import ChainId, EventId, Version, chain_name
from tclog.index import Index

HELD = "held"
RELEASED = "released"
TAKEN_OVER = "taken_over"
LAPSED = "lapsed"


class Claim(NamedTuple):
    """One claim.

    ``outcome`` is an outcome of the step, ``released`` (also to another session of its agent),
    ``taken_over``, ``held`` (still), or
    ``lapsed``: its lease has ended and nobody has taken the step over. ``lease_end_us`` is when the
    lease ended or will, by the store's clock, if known; a claim that was lost did not hold from
    there on. ``end`` and what belongs to it are None while nothing has ended the claim.
    """

    step: str
    agent: str
    fence: int
    start: Hlc
    start_event: EventId | None
    takeover: bool
    outcome: str = HELD
    end: Hlc | None = None
    end_event: EventId | None = None
    ended_by: str | None = None
    lease_end_us: int | None = None
    renewals: tuple[Hlc, ...] = ()


def read_claims(index: Index, until: Hlc | None = None) -> Iterator[Claim]:
    """Yield the claims of all steps, as they stand at a moment."""
    for chain in index.chains("step"):
        yield from claims_of(index, chain, until)


def claims_of(index: Index, chain: ChainId, until: Hlc | None = None) -> Iterator[Claim]:
    """Yield the claims of one step, oldest first."""
    before = state_of(chain, None)
    claim: Claim | None = None
    renewals: list[Hlc] = []
    last: Version | None = None
    for version in index.versions(chain):
        if until is not None and version.moment > until:
            break
        after = state_of(chain, version)
        granted = after.state == steps.CLAIMED and after.fence == version.seq
        if claim is not None and (granted or after.state != steps.CLAIMED):
            claim = claim._replace(renewals=tuple(renewals))
            yield _ended(claim, before, after, version, "" if last is None else last.at)
            claim = None
        if granted:
            claim, renewals = _begun(chain, version, after), []
        elif claim is not None and after.held_version == version.seq:
            renewals.append(version.moment)
        before, last = after, version
    if claim is not None and last is not None:
        lease_end_us = _lease_end(before, last.seq, last.stored, last.at)
        yield claim._replace(lease_end_us=lease_end_us, renewals=tuple(renewals))


def _begun(chain: ChainId, version: Version, state: steps.State) -> Claim:
    event = version.events[-1] if version.events else None
    return Claim(
        chain_name(chain),
        state.agent or "",
        version.seq,
        version.moment,
        None if event is None else event.id,
        event is not None and event.op == "step.takeover",
    )


def _ended(
    claim: Claim, before: steps.State, after: steps.State, version: Version, before_at: str
) -> Claim:
    if after.state == steps.CLAIMED:
        moved = bool(version.events) and version.events[-1].op == "step.move"
        outcome = RELEASED if moved else TAKEN_OVER
    elif after.state == steps.PENDING:
        outcome = RELEASED
    else:
        outcome = after.state
    return claim._replace(
        outcome=outcome,
        end=version.moment,
        end_event=version.events[-1].id if version.events else None,
        ended_by=version.by,
        lease_end_us=_lease_end(before, version.after, version.prev_stored, before_at),
    )


def _lease_end(state: steps.State, head: int, stored: str | None, at: str) -> int | None:
    from tclog.clock import Stamp

    return steps.lease_ends_us(state, head, None if stored is None else Stamp(stored), at)


def lapsed_by(claim: Claim, at_us: int) -> Claim:
    """Return a claim that nothing has ended as it is at a moment: held, or lapsed."""
    lease_end_us = claim.lease_end_us
    if claim.end is None and lease_end_us is not None and lease_end_us < at_us:
        return claim._replace(outcome=LAPSED)
    return claim


def start_us(claim: Claim) -> int:
    """Return when a claim began, in microseconds since 1970."""
    return parse_us(claim.start)


def end_us(claim: Claim, at_us: int) -> int:
    """Return when a claim ended, or where it ends in a picture whose last moment is ``at_us``.

    Never before its start: the lease's end is the store's time, the start the agents'.
    """
    if claim.end is not None:
        return parse_us(claim.end)
    shown_us = claim.lease_end_us if claim.outcome == LAPSED else at_us
    return max(start_us(claim), shown_us or at_us)
