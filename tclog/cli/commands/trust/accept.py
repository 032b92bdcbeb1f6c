"""tclog trust accept: go on with a store that lacks what this machine remembers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import harmless, write_json, write_line

if TYPE_CHECKING:
    from tclog.maintenance.accept import Lost


@operation(
    "accept",
    example="""
    tclog trust accept
    """,
)
def accept(call: Invocation) -> None:
    """Accept the store as it is, though it lacks what this machine has seen.

    Commands end with 8 (forked, rolled-back) when the store lacks a version that this machine has
    seen. Somebody set the store back to an older copy, or changed it by hand. This command prints
    what is lost, and moves what this machine remembers of the project aside. Afterwards commands go
    on with what the store has. Run it on each machine, once you know why the store was set back.
    """
    from tclog.chain.drive import run
    from tclog.log.project import is_project_id, read_project
    from tclog.maintenance.accept import find_lost, keep_aside, open_index

    location = call.location()
    store = call.open_store(location)
    project = run(read_project(location.project), store)
    mark = Path(call.mark_path(location))
    try:
        remembered = mark.read_text()
    except (OSError, UnicodeDecodeError):
        remembered = project.id
    call.keep_mark(location, project)
    if is_project_id(remembered) and remembered != project.id:
        call.note(f"the project was made again: its id was {remembered} and is {project.id}")
    folder = Path(call.config.cache, location.digest(project.id))
    index = open_index(folder)
    try:
        lost = run(find_lost(folder, index), store)
    finally:
        if index is not None:
            index.close()
    kept = None
    if lost:
        kept = keep_aside(folder, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    record = {"type": "trust", "kept": kept and os.fspath(kept)}
    if call.json:
        write_json({**record, "lost": [one.as_json() for one in lost]})
        return
    for one in lost:
        write_line(harmless(_line(one)))
    if kept is None:
        write_line("The store holds all that this machine remembers")
    else:
        write_line(f"Accepted the store as it is; what this machine remembered is in {kept}")


def _line(one: Lost) -> str:
    seen, found = one.remembered, one.found
    which = (
        f"version {one.last}" if one.first == one.last else f"versions {one.first} to {one.last}"
    )
    has = "nothing" if found is None else f"version {found['version']} by {found['agent']}"
    return (
        f"{one.chain}: lost {which}, the newest by {seen['agent']}"
        f" ({seen['at']}, id {seen['id'][:12]}); the store has {has}"
    )
