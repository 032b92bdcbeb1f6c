"""tclog pack, gc: closed hours of history in packs, and removing what they hold."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import size
from tclog.errors import UsageError


@operation(
    "pack",
    example="""
    tclog pack --as alice
    """,
)
@options.strict
def pack(here: Here) -> None:
    """Fold closed hours of history into packs.

    A new machine then reads some packs instead of every event and version. Nothing is removed or
    changed. An hour is closed an hour after its end by the store's clock. Any agent may do it, at
    any time; two at once do no harm, and neither does one that is killed.
    """
    from tclog.maintenance.pack import pack as make_packs

    log = here.log()
    history = here.open_history()
    with here.progress("Packing") as progress:
        done = history.asked(
            lambda: log.run(make_packs(log.client, history.index, progress=progress))
        )
    if done.packs:
        line = (
            f"Packed {done.versions} versions and {done.events} other events into"
            f" {done.packs} pack(s) of {size(done.bytes)}, through {done.through}"
        )
    else:
        line = f"Nothing new to pack; packed through {done.through or 'no hour yet'}"
    here.emit({"type": "pack", **done._asdict()}, line)


@operation(
    "gc",
    example="""
    tclog gc
    tclog gc --delete --as alice
    """,
)
@click.option("--delete", is_flag=True, help="Remove them; without it nothing is removed.")
@click.option("--dry-run", is_flag=True, help="Only show what could be removed; the default.")
def gc(here: Here, delete: bool, dry_run: bool) -> None:
    """Show which event objects packs hold, or remove those.

    An object goes only if a pack was read back that holds the same event, and if it is older than a
    day by the store's clock. All commands answer as before. Versions and blobs are never removed.
    """
    if delete and dry_run:
        raise UsageError("--delete and --dry-run exclude each other", hint="tclog gc")
    from tclog.maintenance.gc import collect

    log = here.log(reader=not delete)
    with here.progress("Reading packs") as progress:
        done = log.run(collect(log.client, remove=delete, progress=progress))
    more = [
        f"{count} {name}"
        for name, count in (("old announcements", done.announcements), ("old packs", done.packs))
        if count
    ]
    what = " and ".join([f"{done.events} event objects ({size(done.bytes)})", *more])
    kept = f"; {done.unpacked} others as old are in no pack, and stay" if done.unpacked else ""
    verb = "Removed" if done.removed else "Could remove"
    here.emit({"type": "gc", **done._asdict()}, f"{verb} {what}{kept}")
