"""tclog doctor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column, write_json, write_rows
from tclog.errors import StoreUnfit, TclogError

if TYPE_CHECKING:
    from tclog.store.base import Store

OFFSET_BAD_US = 120_000_000


class Check(NamedTuple):
    """One line of the report."""

    name: str
    ok: bool
    detail: str


@operation(
    "doctor",
    example="""
    tclog doctor
    """,
)
def doctor(call: Invocation) -> None:
    """Check the installation, the configuration, the store and the clock.

    Probes the store as init does, and writes an object of each kind. Removes these objects again
    and changes nothing else. Ends with the exit status of the first failed check. A store that was
    found unfit is trusted again once it passes.
    """
    from tclog.store import kind_of

    failures: list[TclogError] = []
    checks: list[Check] = []

    def check(name: str, look: Callable[[], str]) -> bool:
        try:
            checks.append(Check(name, True, look()))
        except TclogError as error:
            failures.append(error)
            checks.append(Check(name, False, error.message))
        return checks[-1].ok

    check("installation", _installation)
    if check("configuration", lambda: _configuration(call)):
        stores: list[Store] = []

        def opened() -> str:
            stores.append(call.open_store(call.location()))
            return stores[0].url

        if check("store", opened) and check("project", lambda: _project(call, stores[0])):
            fit = check("probe", lambda: _probe(call, stores[0]))
            writable = fit and check("objects", lambda: _write_each(stores[0]))
            check("log", lambda: _write(call, writable=writable))
            check("clocks", lambda: _clocks(call, stores[0]))
            location = call.location()
            for fact in kind_of(location.url).facts(location, call.environ, fit=fit):
                checks.append(Check(fact.name, fact.ok, fact.detail))
                failures += [] if fact.error is None else [fact.error]
    _print(call, checks)
    if failures:
        raise failures[0]


def _installation() -> str:
    from pathlib import Path

    import tclog
    from tclog.cli.installed import check_installed

    return check_installed(Path(tclog.__file__).parent)


def _configuration(call: Invocation) -> str:
    call.location()
    found = call.config
    return f"{found.file or found.store.source}, agent {found.agent.value or 'not said'}"


def _project(call: Invocation, store: Store) -> str:
    from tclog.chain.drive import run
    from tclog.log.project import read_project

    found = run(read_project(call.location().project), store)
    return f"{found.name}, made {found.created_at}, id {found.id[:12]}"


def _probe(call: Invocation, store: Store) -> str:
    from tclog.chain.drive import run
    from tclog.chain.fit import check_fit, keep_unfit
    from tclog.store.probe import probe

    client = call.log(reader=True).client
    try:
        found = probe(store, os.urandom(8).hex())
    except StoreUnfit:
        keep_unfit(client)
        raise
    run(check_fit(client, again=True), store)
    seconds = found.offset_us / 1_000_000
    if abs(found.offset_us) > OFFSET_BAD_US:
        call.note(f"this machine's clock is {-seconds:+.0f} s off the store's; set it right")
    return (
        f"{found.racers} writers raced for one name {found.rounds} times, one won each time"
        f" ({found.round_ms:.0f} ms a round); clock within {max(1, abs(round(seconds)))} s"
    )


def _write_each(store: Store) -> str:
    from tclog.store.probe import write_each

    written = "events, versions, blobs, packs, keys and announcements can be written"
    return f"{written} and removed" if write_each(store) else f"{written}, but not removed"


def _write(call: Invocation, *, writable: bool) -> str:
    """Read the configured agent's chain, and introduce it if nobody has.

    For an agent that was introduced before, this writes nothing; other checks try writes.
    """
    if call.config.agent.value is None:
        return "not tried: no agent"
    from tclog.log.agents import join_project

    log = call.log()
    log.run(join_project(log.client))
    return f"{log.agent} can read and write" if writable else f"{log.agent} can read"


def _clocks(call: Invocation, store: Store) -> str:
    """Tell of agents whose events have times far from the store's stamps."""
    from tclog.chain.drive import run
    from tclog.maintenance.clocks import HOURS_LOOKED_AT, read_clocks

    found = run(read_clocks(call.now_us()), store)
    for clock in found:
        call.note(clock.sentence())
    names = ", ".join(f"{clock.agent} ({clock.off_s:+d} s)" for clock in found)
    within = f"in the last {HOURS_LOOKED_AT} hours"
    return f"wrong {within}: {names}" if found else f"no event {within} has a wrong time"


def _print(call: Invocation, checks: list[Check]) -> None:
    if call.json:
        for row in checks:
            write_json({"type": "check", "name": row.name, "ok": row.ok, "detail": row.detail})
        return
    rows = [["ok" if row.ok else "bad", row.name, row.detail] for row in checks]
    columns = [Column("", "state"), Column("check"), Column("detail")]
    write_rows(columns, rows, now_us=0, limit=0)
