"""tclog ack."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation

# More digits than a number of a message has belong to an id.
NUMBER_DIGITS_MAX = 10


@operation(
    "ack",
    example="""
    tclog ack 1 --as bob
    """,
)
@click.argument("which", nargs=-1, required=True, metavar="N|ID...")
@options.id_key
def ack(call: Invocation, which: tuple[str, ...], id_key: str | None) -> None:
    """Acknowledge messages by number or id.

    The number is its place in your inbox; of an id the beginning is enough. Up to ten digits are a
    number.
    """
    from tclog.log.inbox import acknowledge

    log = call.log()
    for nth, word in enumerate(which):
        n, prefix = _number_or_id(word)
        key = id_key and (f"{id_key}/{nth}" if nth else id_key)
        message = log.run(acknowledge(log.client, n, message=prefix, id=key))
        assert message is not None  # noqa: S101 - only for a whole mailbox
        call.emit(message.as_json(), f"Acknowledged message {message.n} from {message.sender}")


def _number_or_id(word: str) -> tuple[int | None, str | None]:
    word = word.removeprefix("#")
    if word.isascii() and word.isdigit() and len(word) <= NUMBER_DIGITS_MAX:
        return int(word), None
    return None, word
