"""The source of each bucket setting: tclog's own settings, the environment, the AWS files.

botocore reads the files, but only if they may hold a setting that is still open: loading botocore
takes longer than most commands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tclog.errors import UsageError, to_run
from tclog.store.s3.proxies import find_proxy
from tclog.store.s3.settings import REGION, S3_KEY_BYTES_MAX, S3Settings, aws_domain, check

if TYPE_CHECKING:
    from tclog.store import Location

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
PROFILES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
# The words of an AWS file that can fill in a setting.
_WORDS = {
    "endpoint": (b"endpoint_url", b"use_fips_endpoint", b"use_dualstack_endpoint"),
    "region": (b"region",),
    "ca_bundle": (b"ca_bundle",),
    "addressing": (b"addressing_style",),
}


class Resolved(NamedTuple):
    """The whole set, and where each setting that was not given was found."""

    settings: S3Settings
    sources: Mapping[str, str]


def said_of(location: Location) -> S3Settings:
    """Return a location's own settings of a bucket, with nothing filled in.

    Raises:
        UsageError: the URL names no bucket, or its prefix is invalid.
    """
    from tclog.event import validate_name
    from tclog.event.names import KEY_BYTES_MAX

    bucket, _, prefix = location.url.partition("://")[2].partition("/")
    parts = [validate_name("prefix", part) for part in prefix.split("/") if part]
    inside = "/".join([*parts, location.segment])
    size, most = len(inside.encode()), S3_KEY_BYTES_MAX - KEY_BYTES_MAX - 1
    wrong = ""
    if not bucket:
        wrong = f"{location.url} is neither a folder nor s3://bucket/prefix"
    elif any(part in (".", "..") for part in parts):
        wrong = f"{location.url} has a part that is . or .."
    elif size > most:
        wrong = (
            f"the prefix and the project's name have {size} bytes; at most {most} are allowed,"
            f" because an S3 key has at most {S3_KEY_BYTES_MAX}"
        )
    if wrong:
        raise UsageError(wrong, code="bad-store", hint="tclog init --help")
    names = S3Settings._fields
    said = {name: value for name, value in location.said.items() if name in names}
    return S3Settings(bucket, inside, **said)


def resolve(said: S3Settings, environ: Mapping[str, str]) -> Resolved:
    """Fill in the settings that were not given. Given ones go before all others.

    Args:
        said: the settings from flags, tclog's variables and tclog's files; the rest is None.
        environ: where the standard ``AWS_*`` and ``*_PROXY`` variables are looked up.

    Raises:
        UsageError: a setting is invalid, a profile is missing, a certificate file is unusable.
        StoreError: the AWS files cannot be used.
    """
    sources: dict[str, str] = {}

    def fill(name: str, value: str | None, source: str) -> None:
        nonlocal said
        if value and getattr(said, name) is None:
            said = said._replace(**{name: value})  # type: ignore[arg-type]
            sources[name] = source

    def fill_from(name: str, *variables: str) -> None:
        for variable in variables:
            fill(name, environ.get(variable), variable)

    ignored = _truth(environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
    if not ignored:
        fill_from("endpoint", *ENDPOINTS)
    fill_from("region", *REGIONS)
    fill_from("ca_bundle", "AWS_CA_BUNDLE")
    profile = said.profile or next(filter(None, map(environ.get, PROFILES)), None)
    found = _read_files(said, environ, profile) if _may_tell(said, environ) else {}
    if ignored or _truth(found.get("ignore_configured_endpoint_urls")):
        found["endpoint"] = None
    for name in _WORDS:
        fill(name, found.get(name), f"profile {profile or 'default'}")
    # Variables of other clients: botocore reads the first, obstore the second.
    fill_from("ca_bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    fill("region", REGION, "default")
    for kind, name in (("fips", "use_fips_endpoint"), ("dualstack", "use_dualstack_endpoint")):
        found[kind] = _truth(environ.get(f"AWS_{name.upper()}") or found.get(name))
    fill("endpoint", _special(found, said.signed_for), "AWS_USE_*_ENDPOINT")
    said = said._replace(endpoint=said.endpoint.rstrip("/") if said.endpoint else None)
    check(said)
    fill("addressing", "virtual" if said.virtual else "path", "default")
    said = _with_bundle(said._replace(addressing="virtual" if said.virtual else "path"))
    proxy = find_proxy(said.bucket_url, environ)
    if proxy is not None:
        fill("proxy", *proxy)
    nothing = {name: None for name in ("checksum", "sse") if getattr(said, name) == "none"}
    return Resolved(said._replace(**nothing), sources)  # type: ignore[arg-type]


def told(
    location: Location, environ: Mapping[str, str]
) -> Mapping[str, tuple[str | None, str | None]]:
    """Return all settings by which a bucket is reached, for ``where``; see ``Kind.sources``."""
    from tclog.store.s3.credentials import keys_in
    from tclog.store.s3.proxies import without_password

    found, sources = resolve(said_of(location), environ)
    rows: dict[str, tuple[str | None, str | None]] = {"endpoint": (found.server, None)}
    for name, source in sources.items():
        value = getattr(found, name)
        if value is None:  # found, and not used: certificates where nothing is encrypted
            continue
        rows[name] = (without_password(value) if name == "proxy" else str(value), source)
    profile = next((name for name in PROFILES if environ.get(name)), None)
    if found.profile is None and profile is not None:
        rows["profile"] = (environ[profile], profile)
    if keys_in(found, environ) is not None:
        rows["credentials"] = ("keys", "AWS_ACCESS_KEY_ID")
    else:
        named = found.profile or (profile and environ[profile])
        rows["credentials"] = ("looked up by botocore", f"profile {named}" if named else "default")
    return rows


def _truth(text: Any) -> bool:
    return str(text).lower() == "true"


def _special(found: Mapping[str, Any], region: str) -> str | None:
    """Return the URL of AWS's FIPS or dual-stack (IPv6) servers, if the settings ask for them."""
    if not (found["fips"] or found["dualstack"]):
        return None
    words = ("s3-fips" if found["fips"] else "s3", *(["dualstack"] if found["dualstack"] else []))
    return f"https://{'.'.join(words)}.{region}.{aws_domain(region)}"


def _with_bundle(said: S3Settings) -> S3Settings:
    """Refuse a certificate file that cannot be read; without TLS none is needed."""
    if said.ca_bundle is None or said.server.startswith("http://"):
        return said._replace(ca_bundle=None)
    path = os.path.expanduser(said.ca_bundle)  # noqa: PTH111 - loading pathlib takes time
    why = "the file has no certificate"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            if b"-----BEGIN" in file.read():
                return said._replace(ca_bundle=path)
    except OSError as error:
        why = error.strerror or str(error)
    raise UsageError(
        f"the certificates in {path} cannot be used: {why}",
        code="bad-config",
        hint=to_run("ls -l", path),
    )


# -- the AWS files --------------------------------------------------------------------------------


def _paths(environ: Mapping[str, str]) -> list[str]:
    return [
        os.path.expanduser(environ.get(name) or usual)  # noqa: PTH111 - as above
        for name, usual in FILES.items()
    ]


def _may_tell(said: S3Settings, environ: Mapping[str, str]) -> bool:
    """Whether a file has a word for a setting that is still open."""
    names = {name for name in _WORDS if getattr(said, name) is None}
    if (said.endpoint or "").startswith("http://"):
        names.discard("ca_bundle")
    words = [word for name in names for word in _WORDS[name]]
    for path in _paths(environ):
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as above
                raw = file.read()
        except OSError:
            continue  # botocore reports it, if its contents are needed
        if any(word in raw for word in words):
            return True
    return False


def _read_files(
    said: S3Settings, environ: Mapping[str, str], profile: str | None
) -> dict[str, Any]:
    """Return the profile's settings, by botocore's rules."""
    import botocore.session
    from botocore.exceptions import BotoCoreError, InvalidConfigError, ProfileNotFound

    from tclog.store.s3.credentials import profile_missing, unusable
    from tclog.store.s3.failures import explain

    session = botocore.session.Session(profile=profile)
    for name, path in zip(("config_file", "credentials_file"), _paths(environ), strict=True):
        session.set_config_variable(name, path)
    try:
        scoped = session.get_scoped_config()
        service, s3 = scoped.get("services"), scoped.get("s3")
        services = session.full_config.get("services", {})
        if service is not None and service not in services:
            raise InvalidConfigError(error_msg=f"there is no section [services {service}]")
    except ProfileNotFound as error:
        raise profile_missing(error) from None
    except (BotoCoreError, OSError, ValueError) as error:
        raise explain(unusable(error).failure, said) from None
    own = services.get(service, {}).get("s3", {})
    style = s3.get("addressing_style") if isinstance(s3, dict) else None
    return {
        **scoped,
        "endpoint": own.get("endpoint_url") or scoped.get("endpoint_url"),
        "addressing": None if style == "auto" else style,
    }
