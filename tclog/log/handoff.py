"""Completing a step and handing it over: the step's event first, then the message that it implies.

The two are not one atomic write. Should the completing agent die between them, repeating the
command sends the message: what was handed over is read from the log, never from the repetition's
words, and the message's idempotency key names the version that handed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.chain.read import read_version
from tclog.chain.results import Step
from tclog.chain.show import read_handoff
from tclog.domain import counting, steps
from tclog.domain.content import Blob, make_content
from tclog.domain.memory import check_value
from tclog.errors import Refused, UsageError, to_run
from tclog.event import chain_id, digest, encode, validate_name
from tclog.log.inbox import check_recipients, send_message
from tclog.log.operation import operation
from tclog.log.steps import change_step, check_forced, check_short, read_result

Outcome = Literal["complete", "blocked", "needs_review", "failed"]


@operation("step.complete", together=True, apart=("to",))
def complete_step(
    client: Client,
    step: str,
    *,
    outcome: Outcome = "complete",
    note: str | None = None,
    to: str | None = None,
    next_action: str | None = None,
    changed_files: Sequence[str] | None = None,
    exit_status: int | None = None,
    fence: int | None = None,
    force: bool = False,
    reason: str | None = None,
    id: str | None = None,
) -> Protocol[Step]:
    """End the work on a step, with what the next agent should know; tell that agent, if named.

    Completing again what one has completed changes nothing, unless it says something else.

    Raises:
        Refused: not the holder (without ``force``), a stale ``fence``, already ended.
    """
    command, blobs = complete_command(
        client,
        step,
        outcome=outcome,
        note=note,
        to=to,
        next_action=next_action,
        changed_files=changed_files,
        exit_status=exit_status,
        fence=fence,
        force=force,
        reason=reason,
    )
    handoff = command.handoff
    if to is not None:
        yield from check_recipients(client, [to])
    done = yield from change_step(client, step, command, blobs=blobs, id_key=id)
    result = yield from read_result(client, step, done.version, done.state)
    recorded = yield from _recorded(client, step, done.state)
    if handoff and encode(recorded) != encode(handoff):
        raise Refused(
            f"step {step} was already ended by {client.agent}, with other words",
            code="step-complete",
            hint=to_run("tclog step show", step),
        )
    if recorded:
        opened = yield from read_handoff(recorded)
        result = result._replace(handoff={"from": client.agent, **opened})
        if "to" in opened:
            yield from _tell(client, step, outcome, opened, done.state.handoff_version)
    return result


def complete_command(
    client: Client,
    step: str,
    *,
    outcome: str,
    note: str | None,
    to: str | None,
    next_action: str | None,
    changed_files: Sequence[str] | None,
    exit_status: int | None,
    fence: int | None,
    force: bool,
    reason: str | None,
) -> tuple[steps.Complete, list[Blob]]:
    """Check the end of a step; return the command with its hand-off, and the blobs it needs."""
    check_forced(step, force, reason)
    handoff: dict[str, Any] = {}
    blobs: list[Blob] = []
    if to is not None:
        handoff["to"] = validate_name("agent", to)
    if next_action is not None:
        handoff["next_action"] = check_short("next action", next_action)
    if exit_status is not None:
        if not -(2**31) <= exit_status < 2**31:
            raise UsageError(f"{exit_status} is not a valid exit status", code="bad-value")
        handoff["exit_status"] = exit_status
    for name, kind, value in (
        ("note", "text", note),
        ("changed_files", "json", None if changed_files is None else list(changed_files)),
    ):
        if value is not None:
            check_value(kind, value)
            handoff[name], needed = make_content(kind, value)
            blobs += needed
    command = steps.Complete(
        step, client.agent, outcome, fence, force, reason, handoff or None, client.session
    )
    return command, blobs


def _recorded(client: Client, step: str, state: steps.State) -> Protocol[Mapping[str, Any]]:
    """Return the hand-off that stands in the log for the step's present end; empty if none."""
    if not state.handoff_version:
        return {}
    chain = chain_id("step", step)
    head = client.known(chain)
    if head is None or head.seq != state.handoff_version:
        head = yield from read_version(client, chain, state.handoff_version)
    # The last one counts where a transaction ended the step twice.
    for event in reversed(counting(head)):
        if event.op == "step.complete" and "handoff" in event.body:
            found: Mapping[str, Any] = event.body["handoff"]
            return found
    return {}


def _tell(
    client: Client, step: str, outcome: str, handoff: Mapping[str, Any], version: int
) -> Protocol[None]:
    words = [f"step {step} is {outcome}"]
    words += [f"note: {handoff['note']}"] if handoff.get("note") else []
    words += [f"next: {handoff['next_action']}"] if handoff.get("next_action") else []
    key = f"handoff-{version}-{digest(step.encode())[:32]}"
    yield from send_message(client, handoff["to"], "; ".join(words), step=step, id=key)
