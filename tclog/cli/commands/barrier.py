"""tclog barrier."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "barrier",
    example="""
    tclog barrier release --parties 1 --timeout 1m --as alice
    """,
)
@click.argument("name")
@click.option(
    "--parties", type=int, required=True, metavar="N", help="How many agents must arrive."
)
@options.timeout()
@options.id_key
def barrier(
    call: Invocation, name: str, parties: int, timeout: float | None, id_key: str | None
) -> None:
    """Arrive, and wait until all parties have.

    Those are N different agents. Then the barrier can be used again: each passage is a generation
    of its own. Who gives up waiting is not counted.
    """
    from tclog.log.barriers import pass_barrier

    log = call.log()
    passing = pass_barrier(log.client, name, parties, timeout_s=timeout, id=id_key, tell=call.note)
    done = log.run(passing)
    call.emit(done.as_json(), f"Passed barrier {done.name} (generation {done.generation})")
