"""tclog where."""

from __future__ import annotations

import os

from tclog import config
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import Column, write_json, write_rows
from tclog.errors import TclogError


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
    for name in ("store", "project", "agent", "session", *config.S3, "fsync"):
        setting = getattr(found, name)
        rows[name] = (setting.value, setting.source)
    for file in filter(None, (found.file, found.user_file)):
        for name in config.unknown(file):
            here.note(f"{file} has an unknown setting {name}")
    rows |= dict.fromkeys(("proxy", "credentials"), (None, "default"))
    if (found.store.value or "").startswith("s3://"):
        rows |= _bucket(here)
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


def _bucket(here: Here) -> dict[str, tuple[str | None, str]]:
    """Return all settings by which the bucket is reached; clients get nothing else."""
    from tclog.log.project import location_of, said_of
    from tclog.store.s3.credentials import keys_in
    from tclog.store.s3.proxies import without_password
    from tclog.store.s3.resolve import PROFILES, resolve

    try:
        found, sources = resolve(said_of(location_of(here.config)), here.environ)
    except TclogError as error:
        here.note(error.message)  # show what was found all the same: the user asked for it
        return {}
    said = here.config.endpoint.source
    rows: dict[str, tuple[str | None, str]] = {"endpoint": (found.server, said)}
    for name, source in sources.items():
        value = getattr(found, name)
        if value is None:  # found, and not used: certificates where nothing is encrypted
            continue
        rows[name] = (without_password(value) if name == "proxy" else str(value), source)
    profile = next((name for name in PROFILES if here.environ.get(name)), None)
    if found.profile is None and profile is not None:
        rows["profile"] = (here.environ[profile], profile)
    if keys_in(found, here.environ) is not None:
        rows["credentials"] = ("keys", "AWS_ACCESS_KEY_ID")
    else:
        named = found.profile or (profile and here.environ[profile])
        rows["credentials"] = ("looked up by botocore", f"profile {named}" if named else "default")
    return rows


def _presence(file: str) -> str:
    try:
        os.stat(file)  # noqa: PTH116 - Path's may raise
    except PermissionError:
        return "not readable by this user"
    except OSError:
        return "absent"
    return "present"
