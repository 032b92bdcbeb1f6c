"""tclog sync: bring the local index up to date."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation


@operation(
    "sync",
    example="""
    tclog sync
    tclog sync --full
    """,
)
@click.option(
    "--full", is_flag=True, help="List every chain, not only what the newest events name."
)
@click.option("--rebuild", is_flag=True, help="Delete the index and read the whole log again.")
@options.strict
def sync(call: Invocation, full: bool, rebuild: bool) -> None:
    """Bring the local index of the history commands up to date.

    Each of them does so by itself first. The index is a copy for quick answers, in the user's cache
    folder. It is never the truth and may be deleted at any moment.
    """
    history = call.history()
    if rebuild:
        history.opened().index.renew()
    done = history.sync(full=full or rebuild)
    counts = history.opened().index.counts()
    call.emit(
        {"type": "sync", "new_versions": done.versions, "new_attempts": done.attempts, **counts},
        f"{done.versions} new versions; the index holds {counts['events']} events,"
        f" {counts['attempts']} attempts and {counts['chains']} chains",
    )
