"""tclog gc: removing what packs hold."""

from __future__ import annotations

import click

from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import size
from tclog.cli.progress import counting
from tclog.errors import UsageError


@operation(
    "gc",
    example="""
    tclog gc
    tclog gc --delete --as alice
    """,
)
@click.option("--delete", is_flag=True, help="Remove them; without it nothing is removed.")
@click.option("--dry-run", is_flag=True, help="Only show what could be removed; the default.")
def gc(call: Invocation, delete: bool, dry_run: bool) -> None:
    """Show which event objects packs hold, or remove those.

    An object goes only if a pack was read back that holds the same event, and if it is older than a
    day by the store's clock. All commands answer as before. Versions and blobs are never removed.
    """
    if delete and dry_run:
        raise UsageError("--delete and --dry-run exclude each other", hint="tclog gc")
    from tclog.maintenance.gc import collect

    log = call.log(reader=not delete)
    with counting(call, "Reading packs") as progress:
        done = log.run(collect(log.client, remove=delete, progress=progress))
    more = [
        f"{count} {name}"
        for name, count in (("old announcements", done.announcements), ("old packs", done.packs))
        if count
    ]
    what = " and ".join([f"{done.events} event objects ({size(done.bytes)})", *more])
    kept = f"; {done.unpacked} others as old are in no pack, and stay" if done.unpacked else ""
    verb = "Removed" if done.removed else "Could remove"
    call.emit({"type": "gc", **done._asdict()}, f"{verb} {what}{kept}")
