"""tclog claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation

if TYPE_CHECKING:
    from tclog.chain.results import Step


@operation(
    "claim",
    example="""
    tclog claim design --lease 30m --as alice
    tclog claim --next --as bob
    """,
)
@click.argument("step_id", metavar="[ID]", required=False)
@click.option("--next", "next_", is_flag=True, help="Pick a ready step, and claim it.")
@options.lease
@click.option("--wait", is_flag=True, help="Wait until it can be had.")
@options.timeout(None)
@click.option(
    "--fence", type=int, metavar="N", help="Move your claim with this token to this session."
)
@click.option("--steal", is_flag=True, help="Take it before the holder's lease has ended.")
@click.option(
    "--reason", type=options.SAID, metavar="T", help="The reason for --steal, kept in the log."
)
@options.id_key
def claim(
    call: Invocation,
    step_id: str | None,
    next_: bool,
    lease: float | None,
    wait: bool,
    timeout: float | None,
    fence: int | None,
    steal: bool,
    reason: str | None,
    id_key: str | None,
) -> None:
    """Claim a step (or the next ready one) with a lease.

    Exactly one session of one agent holds it, until its lease ends by the store's clock. A named
    session (TCLOG_SESSION, or a harness's own) that claims what it holds already renews it. Without
    a named session use tclog renew. The confirmation shows the fencing token: pass it to
    complete --fence, and a claim that was lost meanwhile is refused. --fence moves a claim of your
    name to this session, under a new token.
    """
    from tclog.log import claims

    log = call.log()
    claiming = claims.claim(
        log.client,
        step_id,
        next=next_,
        lease_s=lease,
        wait=wait,
        timeout_s=timeout,
        fence=fence,
        steal=steal,
        reason=reason,
        id=id_key,
    )
    done = log.run(claiming)
    call.emit(done.as_json(), lambda: held_line(call, _claimed(done), done))


def _claimed(done: Step) -> str:
    if done.renewed:
        return "Held already, renewed:"
    return "Claimed new" if done.new else "Claimed"


def held_line(call: Invocation, verb: str, done: Step) -> str:
    """Say until when a claim is held, and under which token."""
    until = f", until {done.lease_until}" if done.lease_until else ""
    return f"{verb} step {done.id} as {call.agent()} (fence {done.fence}{until})"
