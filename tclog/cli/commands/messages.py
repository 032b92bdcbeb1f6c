"""tclog send, inbox, ack."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import (
    ID_SHOWN,
    Column,
    terminal,
    write_json,
    write_line,
    write_rows,
)
from tclog.errors import UsageError

# Tracecraft's word for everybody. It means that only as a word of `send`: to every other command,
# to the operations of batch and txn, and in Python, `_broadcast` is the name of an agent.
EVERYBODY_TOO = "_broadcast"
# More digits than a number of a message has belong to an id.
NUMBER_DIGITS_MAX = 10
# How long `inbox --wait` waits without --timeout.
WAIT_S = 300.0


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
    here: Here,
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
    log = here.log()
    sent = log.run(
        send_message(
            log.client,
            to,
            options.one_text(text, message),
            reply_to=reply_to,
            step=step,
            id_key=options.check_key(id_key),
        )
    )
    here.emit(sent.as_json(), lambda: f"Sent to {sent.to}")


@operation(
    "inbox",
    example="""
    tclog inbox --as bob
    tclog inbox --wait --timeout 1s --ack --as bob
    """,
)
@click.option("--all", "everything", is_flag=True, help="Also what is acknowledged.")
@click.option("--ack", is_flag=True, help="Acknowledge what is shown.")
@click.option("--wait", is_flag=True, help="Wait until something is unread.")
@click.option(
    "--timeout",
    type=options.DURATION,
    metavar="D",
    help="Stop --wait after this long (default 5m), with exit status 5.",
)
@options.at
@options.limit
@options.strict
def inbox(
    here: Here,
    everything: bool,
    ack: bool,
    wait: bool,
    timeout: float | None,
    at: str | None,
    limit: int | None,
) -> None:
    """Read your messages, in one order for everybody.

    Shows what is unread, and never deletes. A message stays unread until it is acknowledged, with
    --ack or with tclog ack.
    """
    from tclog.log import inbox as operations

    if wait and (everything or at):
        raise UsageError("--wait cannot be combined with --all or --at")
    if timeout is not None and not wait:
        raise UsageError("--timeout needs --wait")
    log = here.log()
    if wait:
        mailbox = log.run(
            operations.wait_inbox(log.client, timeout_s=WAIT_S if timeout is None else timeout)
        )
    else:
        at = here.point(at)
        mailbox = log.run(operations.read_inbox(log.client, everything=everything, at=at))
    messages = mailbox.messages
    shown = messages[: here.shown(limit)]  # only what is shown is acknowledged
    if here.json:
        for message in shown:
            write_json(message.as_json())
    elif not messages and terminal():
        write_line("No messages." if everything else "No unread messages.")
    else:
        columns = [
            Column("n"),
            Column("at", "time"),
            Column("from"),
            Column("to"),
            Column("text"),
            Column("id"),
        ]
        rows = [[m.n, m.at, m.sender, m.to, m.text, m.id[:ID_SHOWN]] for m in messages]
        write_rows(columns, rows, now_us=here.now_us(), limit=limit, more=here.all_rows())
    unread = sum(message.unread for message in messages)
    said = []
    if ack and shown:
        log.run(operations.acknowledge(log.client, mailbox._replace(messages=shown)))
        unread -= sum(message.unread for message in shown)
        said = [f"acknowledged {len(shown)} message(s)"]
    if unread and at is None:
        more = "; acknowledge them with --ack or tclog ack" if not ack else ""
        said.append(f"{unread} message(s) stay unread{more}")
    if said:
        here.note("; ".join(said))


@operation(
    "ack",
    example="""
    tclog ack 1 --as bob
    """,
)
@click.argument("which", nargs=-1, required=True, metavar="N|ID...")
@options.id_key
def ack(here: Here, which: tuple[str, ...], id_key: str | None) -> None:
    """Acknowledge messages by number or id.

    The number is its place in your inbox; of an id the beginning is enough. Up to ten digits are a
    number.
    """
    from tclog.log.inbox import acknowledge_one

    key = options.check_key(id_key)
    log = here.log()
    for nth, word in enumerate(which):
        message = log.run(
            acknowledge_one(
                log.client, _number_or_id(word), id_key=key and (f"{key}/{nth}" if nth else key)
            )
        )
        here.emit(message.as_json(), f"Acknowledged message {message.n} from {message.sender}")


def _number_or_id(word: str) -> int | str:
    word = word.removeprefix("#")
    if word.isascii() and word.isdigit() and len(word) <= NUMBER_DIGITS_MAX:
        return int(word)
    return word
