"""tclog where."""

from __future__ import annotations

import os

from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import Column, write_json, write_rows


@operation(
    "where",
    example="""
    tclog where
    """,
)
def where(here: Here) -> None:
    """Show which configuration was found, and from where."""
    found = here.config
    rows: dict[str, tuple[str | None, str]] = {
        "config": (found.file, found.file_source),
        "user config": (found.user_file, _presence(found.user_file)),
        "cache": (
            found.cache,
            "TCLOG_CACHE" if here.environ.get("TCLOG_CACHE") else "default",
        ),
    }
    for name in (
        "store",
        "project",
        "agent",
        "session",
        "endpoint",
        "region",
        "profile",
        "client",
        "fsync",
    ):
        setting = getattr(found, name)
        rows[name] = (setting.value, setting.source)
    if here.json:
        record = {
            name.replace(" ", "_"): {"value": v, "source": s} for name, (v, s) in rows.items()
        }
        write_json({"type": "where", **record})
        return
    write_rows(
        [Column("setting"), Column("value"), Column("from")],
        [[name, value, source] for name, (value, source) in rows.items()],
        now_us=0,
        limit=0,
    )


def _presence(file: str) -> str:
    try:
        os.stat(file)  # noqa: PTH116 - Path's may raise
    except PermissionError:
        return "not readable by this user"
    except OSError:
        return "absent"
    return "present"
