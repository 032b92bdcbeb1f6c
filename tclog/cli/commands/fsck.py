"""tclog fsck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import harmless, one_line, write_json, write_line
from tclog.cli.progress import counting
from tclog.errors import Damaged, NotFound

if TYPE_CHECKING:
    from tclog.maintenance.fsck.check import Checked
    from tclog.maintenance.fsck.findings import Damage


@operation(
    "fsck",
    example="""
    tclog fsck
    """,
)
def fsck(call: Invocation) -> None:
    """Check every object in the store.

    It reads the store itself, not the local index: every id, every link between versions, that none
    is missing, that their states follow from their events, that no event broke a rule, and every
    blob. All damage is told, one line for each; exit status 8 if there is any. The log may be
    written meanwhile.
    """
    from tclog.chain.drive import run
    from tclog.maintenance.fsck.check import Patient
    from tclog.maintenance.fsck.check import fsck as check
    from tclog.maintenance.fsck.findings import stray

    location = call.location()
    store = call.open_store(location)
    found: list[Damage] = []
    with counting(call, "Checking the store") as progress:

        def report(damage: Damage) -> None:
            # Without its mark an empty place is no damaged project, but none.
            if damage.code == "mark-missing":
                found.append(damage)
            else:
                _write(call, damage)

        checked = run(check(location.project, report, progress), Patient(store))
        for key in sorted(store.skipped):
            report(stray(key))
    if found and not (checked.versions or checked.events or checked.blobs or checked.keys):
        raise NotFound(
            f"there is no project {location.project} in the store",
            code="project-missing",
            hint="tclog where",
        )
    for damage in found:
        _write(call, damage)
    if call.json:
        write_json({"type": "fsck", **checked._asdict()})
    else:
        write_line(_summary(checked))
    if checked.unknown:
        call.note(f"{checked.unknown} records are of a later release and were not checked in full")
    if checked.pending:
        call.note(
            f"{checked.pending} announced message(s) wait to be committed, or were left by senders"
            " that died; these do no harm"
        )
    if checked.damaged:
        raise Damaged(
            f"{checked.damaged} damaged or missing object(s) in {store.url}",
            code="store-damaged",
            hint="tclog clone --help",
            damaged=checked.damaged,
        )


def _write(call: Invocation, damage: Damage) -> None:
    if call.json:
        write_json(damage.as_json())
        return
    by = f" (by {damage.where.agent})" if damage.where.agent else ""
    write_line(one_line(f"{damage.code}: {damage.where.key}: {damage.message}{by}"))


def _summary(checked: Checked) -> str:
    words = (
        f"{checked.versions} versions in {checked.chains} chains, {checked.events} events"
        f" ({checked.attempts} attempts), {checked.blobs} blobs ({checked.unused_blobs} unused),"
        f" {checked.keys} idempotency keys" + (f", {checked.packs} packs" if checked.packs else "")
    )
    return harmless(f"{words}: {checked.damaged or 'nothing'} damaged")
