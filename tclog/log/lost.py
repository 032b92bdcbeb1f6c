"""Claims that an agent lost, and the agents that took them, read from the step's own chain.

A takeover, a theft or a forced end is one write to the chain of its step, and sends no message. So
the old holder's commands look there. A command that succeeds reads nothing more, except `status`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.fold import state_of
from tclog.chain.read import read_head, read_range, read_version
from tclog.chain.results import Step
from tclog.clock import rfc3339
from tclog.domain import counting, steps
from tclog.errors import Damaged, Refused, StoreError
from tclog.event import ChainId, Event, Version, chain_id

# How many takeovers in a row to look back through, and how many versions since a claim.
TAKEOVERS_MAX = 8
LOOKED_MAX = 32
_GRANTS = ("step.claim", "step.takeover", "step.move")
_ENDS = {"step.complete": "made", "step.release": "released"}


class Lost(NamedTuple):
    """A claim that another session ended; ``how`` is a participle, ``reason`` is a force's."""

    step: str
    holder: str
    how: str
    agent: str
    session: str | None
    at: str
    reason: str | None

    def sentence(self) -> str:
        """Return a sentence on how the claim was lost."""
        who = self.agent
        if self.agent == self.holder:
            who += f" in session {self.session}"
        why = f": {self.reason}" if self.reason else ""
        if self.how == "taken over":
            why = ", after its lease had ended"
        return f"the claim of {self.holder} was {self.how} by {who} at {self.at}{why}"

    def as_json(self) -> dict[str, str | None]:
        """The JSON object."""
        return {
            "step": self.step,
            "how": self.how,
            "lost_to": self.agent,
            "session": self.session,
            "at": self.at,
            "reason": self.reason,
        }


def tell_lost(client: Client, step: str, refused: Refused) -> Protocol[None]:
    """Add to a refusal that this agent's claim was lost, and to which agent."""
    try:
        lost = yield from find_lost(client, step)
    except (StoreError, Damaged):
        return  # the refusal stands without it
    if lost is not None:
        refused.message += f"; {lost.sentence()}"
        refused.details |= {"lost_to": lost.agent, "lost_at": lost.at, "lost_reason": lost.reason}


def find_losses(client: Client, found: Sequence[Step]) -> Protocol[list[Lost]]:
    """Return which of the steps that were just read this agent lost.

    Looks at steps that are claimed, and at those whose newest version forced something.
    """
    names = [step.id for step in found if step.state == steps.CLAIMED or _forced(client, step.id)]
    looked = yield from together(*(find_lost(client, name) for name in names))
    return [lost for lost in looked if lost is not None]


def _forced(client: Client, step: str) -> bool:
    head = client.known(chain_id("step", step))
    return head is not None and any(
        event.op in _ENDS and event.body.get("force") for event in head.events
    )


def find_lost(client: Client, step: str) -> Protocol[Lost | None]:
    """Return how another session ended this agent's claim of a step; None if none did."""
    chain = chain_id("step", step)
    head = client.known(chain) or (yield from read_head(client, chain))
    state: steps.State = state_of(chain, head)
    if head is None or steps.holds(state, client.agent, client.session):
        return None
    fence = state.fence
    for _ in range(TAKEOVERS_MAX):
        if fence is None:
            return None
        grant = yield from _granting(client, head, chain, fence)
        if grant is None:
            return None
        if grant.op == "step.takeover" and grant.body["from"] == client.agent:
            return _lost(step, client.agent, grant)
        if grant.agent == client.agent:
            # The newest claim is this agent's own. Only force lets another agent end it.
            end = yield from _ending(client, head, chain, fence)
            return None if end is None else _lost(step, client.agent, end)
        if grant.op == "step.claim":
            return None
        before = grant.body if grant.op == "step.takeover" else grant.expect
        fence = before.get("fence")
    return None


def _granting(client: Client, head: Version, chain: ChainId, fence: int) -> Protocol[Event | None]:
    version = head if fence == head.seq else (yield from read_version(client, chain, fence))
    grants = [event for event in counting(version) if event.op in _GRANTS]
    return grants[-1] if grants else None


def _ending(client: Client, head: Version, chain: ChainId, fence: int) -> Protocol[Event | None]:
    """Return the forced end of a claim, from the newest versions since then."""
    first = max(fence, head.seq - LOOKED_MAX) + 1
    for version in reversed((yield from read_range(client, chain, first, head.seq, head))):
        for event in reversed(counting(version)):
            if event.op in _ENDS and event.body.get("force"):
                own = (event.agent, event.session) == (client.agent, client.session)
                return None if own else event
    return None


def _lost(step: str, holder: str, event: Event) -> Lost:
    body = event.body
    how = _ENDS.get(event.op) or ("stolen" if body.get("force") else "taken over")
    if event.op == "step.complete":
        how += f" {body['outcome'].replace('_', ' ')}"
    return Lost(
        step, holder, how, event.agent, event.session, rfc3339(event.at), body.get("reason")
    )
