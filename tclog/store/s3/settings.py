"""How a bucket is reached: settings, and what they may be."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from tclog.errors import UsageError

S3_KEY_BYTES_MAX = 1024


class S3Settings(NamedTuple):
    """How to reach a bucket; everything that is not set follows the standard AWS rules.

    ``client`` is ``obstore`` or ``boto3``. Credentials are never part of the settings.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    client: str = "obstore"


def endpoint_in(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the endpoint that the environment names, by default the process's."""
    environ = os.environ if environ is None else environ
    return environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None


def complete(settings: S3Settings, environ: Mapping[str, str]) -> S3Settings:
    """Fill in what the environment says of endpoint and region."""
    return settings._replace(
        endpoint=settings.endpoint or endpoint_in(environ),
        region=settings.region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or None,
    )


def static_keys(settings: S3Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that the environment holds; none where a profile is asked for."""
    names = ("access_key_id", "secret_access_key", "session_token")
    keys = {name: environ.get(f"AWS_{name.upper()}") for name in names}
    if settings.profile or not keys["access_key_id"] or not keys["secret_access_key"]:
        return {}
    return {name: value for name, value in keys.items() if value}


# What a bucket may be called that was made long ago, or by another server; and a new one.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(\d{1,5}))?(/[!-~]*)?")


def checked(settings: S3Settings) -> S3Settings:
    """Refuse what obstore would panic on: an endpoint without a scheme is easily typed."""
    if not _BUCKET.fullmatch(settings.bucket):
        raise UsageError(
            f"{settings.bucket!r} is no bucket name",
            code="bad-store",
            hint="tclog init s3://bucket/prefix",
        )
    found = _ENDPOINT.fullmatch(settings.endpoint or "https://host")
    if found is None or int(found[3] or 0) > 65535:
        raise UsageError(
            f"the endpoint {settings.endpoint!r} is not http://HOST[:PORT] or https://HOST[:PORT]",
            code="bad-endpoint",
            hint="tclog where",
        )
    return settings
