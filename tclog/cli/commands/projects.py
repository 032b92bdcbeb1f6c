"""tclog projects."""

from __future__ import annotations

import time

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column, write_json, write_rows


@operation(
    "projects",
    example="""
    tclog projects
    tclog projects .tclog/store
    """,
)
@options.place()
def projects(call: Invocation, store: options.StoreArgument) -> None:
    """List the projects that a store holds.

    STORE is a folder or s3://bucket/prefix (default: the configured one). The list marks the
    project that is configured here.
    """
    from tclog.chain.drive import run
    from tclog.log.project import read_projects
    from tclog.store import kind_of

    call.say(store=store.word or call.flags.store, **store.settings)
    location = call.location()
    call.open_store(location)  # a missing folder is not an empty store
    found = run(read_projects(), kind_of(location.url).open_outer(location, call.environ))
    mine = call.configured()
    name = mine.project.value if mine.store.value == location.url else None
    if call.json:
        for row in found:
            write_json(
                {
                    "type": "project",
                    "project": row.name,
                    "id": row.id,
                    "store": location.url,
                    "created_at": row.created_at,
                    "here": row.name == name,
                }
            )
        return
    write_rows(
        [Column("project"), Column("created", "time"), Column("id", "id"), Column("")],
        [[row.name, row.created_at, row.id, "here" if row.name == name else ""] for row in found],
        now_us=time.time_ns() // 1000,
        limit=0,
    )
