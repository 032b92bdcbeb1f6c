"""tclog inbox."""

from __future__ import annotations

from typing import Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import (
    ID_SHOWN,
    Column,
    terminal,
    write_json,
    write_line,
    write_rows,
)


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
    call: Invocation,
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
    from tclog.log.operation import declared

    declared(operations.read_mail).check(
        {"all": everything, "wait": wait, "timeout_s": timeout, "at": at}
    )
    limits: Any = {} if timeout is None else {"timeout_s": timeout}
    log = call.log()
    reading = operations.read_mail(
        log.client, all=everything, wait=wait, at=call.point(at), **limits
    )
    mailbox = log.run(reading)
    messages = mailbox.messages
    shown = messages[: call.shown(limit)]  # only what is shown is acknowledged
    if call.json:
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
        write_rows(columns, rows, now_us=call.now_us(), limit=limit, more=call.all_rows())
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
        call.note("; ".join(said))
