"""tclog where."""

from __future__ import annotations

from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import write_json, write_line


@operation(
    "where",
    example="""
    tclog where
    """,
)
def where(here: Here) -> None:
    """Show every setting, its value, and where it was found."""
    found = here.config
    rows: dict[str, tuple[str | None, str]] = {
        "config": (None if found.file is None else str(found.file), "searched upwards"),
        "user config": (str(found.user_file), "present" if found.user_file.exists() else "absent"),
        "cache": (
            str(found.cache),
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
    for name, (value, source) in rows.items():
        write_line(f"{name}\t{'-' if value is None else value}\t{source}")
