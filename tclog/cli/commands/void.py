"""tclog void."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "void",
    example="""
    tclog void memory/api.contract 1 --reason 'a disk error; nobody has the bytes'
    """,
)
@click.argument("chain", metavar="CHAIN", type=options.TEXT)
@click.argument("number", metavar="N", type=int)
@click.option(
    "--reason",
    metavar="TEXT",
    type=options.SAID,
    required=True,
    help="The reason, kept in the log.",
)
def void(call: Invocation, chain: str, number: int, reason: str) -> None:
    """End a slot that holds junk, so that its chain goes on.

    CHAIN is a kind and a name, such as memory/api.contract or inbox/@all; N is the number of the
    slot. A new version above it names the junk by its hash, and goes on from the newest sound
    version below. Nothing is removed. First look for the sound bytes in a backup or a clone: once
    the slot is ended, they can no longer be put back. A sound version is never ended, nor one that
    this machine knows to have been sound: put its bytes back instead.
    """
    from tclog.maintenance.void import check_chain
    from tclog.maintenance.void import void as end

    named = check_chain(chain)
    history = call.history().fresh()
    done = history.run(end(history.client, history.index, named, number, reason))
    history.client.left_out.pop(named, None)
    record = done.as_json()
    slots = ", ".join(map(str, reversed(record["voids"])))
    line = f"Ended the junk in slot {slots} of {named} (version {done.version.seq})"
    if done.already:
        line = f"The junk in slot {slots} of {named} was ended by version {done.version.seq}"
    call.emit(record, line)
    for txn in done.ends:
        call.note(f"the transaction {txn} wanted this slot, and is aborted now")
