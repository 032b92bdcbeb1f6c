"""tclog send."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation

# Tracecraft's word for everybody. It means that only as a word of `send`: to every other command,
# to the operations of batch and txn, and in Python, `_broadcast` is the name of an agent.
EVERYBODY_TOO = "_broadcast"


@operation(
    "send",
    example="""
    tclog send bob 'the contract is in memory: design.contract' --as alice
    tclog send @all 'freeze at noon' --as alice
    """,
)
@click.argument("to")
@click.argument("text", required=False, type=options.SAID)
@options.message
@click.option("--reply-to", metavar="ID", help="The message that this one answers.")
@click.option("--step", metavar="S", help="The step that it is about.")
@options.id_key
def send(
    call: Invocation,
    to: str,
    text: str | None,
    message: str | None,
    reply_to: str | None,
    step: str | None,
    id_key: str | None,
) -> None:
    """Send a message to an agent, several, or @all.

    TO is one name, several with commas, or @all; TEXT is - for standard input. When this returns,
    the message is in every inbox named, at a place that never changes; a broadcast gets its place
    in an inbox before anything that is sent after this.
    """
    from tclog.log.inbox import EVERYBODY, send_message

    to = ",".join(EVERYBODY if name == EVERYBODY_TOO else name for name in to.split(","))
    log = call.log()
    sent = log.run(
        send_message(
            log.client,
            to,
            options.one_text(text, message),
            reply_to=reply_to,
            step=step,
            id=id_key,
        )
    )
    call.emit(sent.as_json(), lambda: f"Sent to {sent.to}")
