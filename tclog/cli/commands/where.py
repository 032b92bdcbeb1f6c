"""tclog where."""

from __future__ import annotations

import os

from tclog import config
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column, write_json, write_rows
from tclog.errors import TclogError


@operation(
    "where",
    example="""
    tclog where
    """,
)
def where(call: Invocation) -> None:
    """Show which configuration was found, and from where."""
    found = call.config
    rows: dict[str, tuple[str | None, str]] = {
        "config": (found.file, found.file_source),
        "user config": (found.user_file, _presence(found.user_file)),
        "cache": (
            found.cache,
            "TCLOG_CACHE" if call.environ.get("TCLOG_CACHE") else "default",
        ),
    }
    named = {name: getattr(found, name) for name in ("store", "project", "agent", "session")}
    for name, setting in (named | found.settings).items():
        rows[name] = (setting.value, setting.source)
    for file in filter(None, (found.file, found.user_file)):
        for name in config.unknown(file):
            call.note(f"{file} has an unknown setting {name}")
    rows |= dict.fromkeys(("proxy", "credentials"), (None, "default"))
    if found.store.value is not None:
        rows |= _found(call)
    if call.json:
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


def _found(call: Invocation) -> dict[str, tuple[str | None, str]]:
    """Return the settings that the store's kind finds outside tclog's own."""
    from tclog.store import kind_of

    try:
        place = config.location_of(call.config)
        found = kind_of(place.url).sources(place, call.environ)
    except TclogError as error:
        call.note(error.message)  # show what was found all the same: the user asked for it
        return {}
    return {
        name: (value, source or call.config.settings[name].source)
        for name, (value, source) in found.items()
    }


def _presence(file: str) -> str:
    try:
        os.stat(file)  # noqa: PTH116 - Path's may raise
    except PermissionError:
        return "not readable by this user"
    except OSError:
        return "absent"
    return "present"
