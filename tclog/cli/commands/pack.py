"""tclog pack: closed hours of history in packs."""

from __future__ import annotations

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import size
from tclog.cli.progress import counting


@operation(
    "pack",
    example="""
    tclog pack --as alice
    """,
)
@options.strict
def pack(call: Invocation) -> None:
    """Fold closed hours of history into packs.

    A new machine then reads some packs instead of every event and version. Nothing is removed or
    changed. An hour is closed an hour after its end by the store's clock. Any agent may do it, at
    any time; two at once do no harm, and neither does one that is killed.
    """
    from tclog.maintenance.pack import pack as make_packs

    log = call.log()
    history = call.history().opened()
    with counting(call, "Packing") as progress:
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
    call.emit({"type": "pack", **done._asdict()}, line)
