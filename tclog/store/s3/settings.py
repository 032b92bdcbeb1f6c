"""How a bucket is reached: one set of settings for both clients.

``resolve.resolve`` fills it in from tclog's settings, the environment and the AWS files. The
clients are built from it alone; only credentials are looked up elsewhere (``credentials``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tclog.errors import UsageError

S3_KEY_BYTES_MAX = 1024
REGION = "us-east-1"
CLIENTS = ("obstore", "boto3")
ADDRESSINGS = ("path", "virtual")
CHECKSUMS = ("none", "sha256")
ENCRYPTIONS = ("none", "AES256", "aws:kms", "aws:kms:dsse")


class S3Settings(NamedTuple):
    """How to reach a bucket. A setting of None follows the rules of AWS.

    Args:
        bucket: its name.
        prefix: what every key begins with, without a slash at the end.
        endpoint: the server's URL; None for AWS.
        region: the region for which requests are signed.
        profile: whose credentials are used, instead of those of the environment.
        client: ``obstore`` or ``boto3``.
        addressing: where a request names the bucket: ``path``, or ``virtual`` for the host name.
        ca_bundle: a file of certificates to trust.
        proxy: the HTTP proxy for this endpoint.
        checksum: sent with every write: ``sha256``. A user writes ``none`` for None.
        sse: the encryption to request: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``; ``none`` as
            above.
        sse_kms_key: the key for it, if it is not the bucket's own.
        request_payer: whether requests say that this account pays for them.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    client: str = "obstore"
    addressing: str | None = None
    ca_bundle: str | None = None
    proxy: str | None = None
    checksum: str | None = None
    sse: str | None = None
    sse_kms_key: str | None = None
    request_payer: bool = False

    @property
    def signed_for(self) -> str:
        """The region that requests are signed for."""
        return self.region or REGION

    @property
    def server(self) -> str:
        """The URL of the server, also that of AWS."""
        return self.endpoint or f"https://s3.{self.signed_for}.{aws_domain(self.signed_for)}"

    @property
    def virtual(self) -> bool:
        """Whether the host name of a request names the bucket, by botocore's rules.

        At AWS it does; elsewhere only if configured. It never does for a bucket with dots (no
        certificate would match), or for a server at an IP address.
        """
        asked = self.addressing or ("path" if self.endpoint else "virtual")
        fits = re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", self.bucket) is not None
        numbers = re.match(r"https?://(\[|[\d.]+(:\d+)?(/|$))", self.server) is not None
        return asked == "virtual" and fits and not numbers

    @property
    def bucket_url(self) -> str:
        """The URL that every object's key is added to."""
        if not self.virtual:
            return f"{self.server}/{self.bucket}"
        scheme, _, rest = self.server.partition("://")
        return f"{scheme}://{self.bucket}.{rest}"


# The prefixes of regions in other partitions, and the domains of their servers.
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eu-isoe-": "cloud.adc-e.uk",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
}


def aws_domain(region: str) -> str:
    """Return the domain of AWS that a region belongs to."""
    found = [domain for start, domain in _DOMAINS.items() if region.startswith(start)]
    return found[0] if found else "amazonaws.com"


# Valid names of buckets that were made long ago, or by another server.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(\d{1,5}))?(/[!-~]*)?")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_KEY = re.compile(r"[!-~]{1,2048}")


def check(settings: S3Settings) -> S3Settings:
    """Refuse values on which a client would panic, and values that no server knows.

    Raises:
        UsageError: a setting is invalid.
    """
    if not _BUCKET.fullmatch(settings.bucket):
        raise UsageError(
            f"{settings.bucket!r} is not a valid bucket name",
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
    for name, allowed in (
        ("client", CLIENTS),
        ("addressing", ADDRESSINGS),
        ("checksum", CHECKSUMS),
        ("sse", ENCRYPTIONS),
    ):
        value = getattr(settings, name)
        if value is not None and value not in allowed:
            raise _bad(name, value, f"one of {', '.join(allowed)}")
    if not isinstance(settings.request_payer, bool):  # one client takes "false" for true
        raise _bad("request_payer", settings.request_payer, "true or false")
    if not _REGION.fullmatch(settings.signed_for):
        raise _bad("region", settings.signed_for, "a name such as eu-west-1")
    if settings.sse_kms_key is not None:
        if not _KEY.fullmatch(settings.sse_kms_key):
            raise _bad("sse_kms_key", settings.sse_kms_key, "the name of a key")
        if not (settings.sse or "").startswith("aws:kms"):
            raise _bad("sse_kms_key", settings.sse_kms_key, "used only with sse aws:kms")
    return settings


def _bad(name: str, value: object, needed: str) -> UsageError:
    return UsageError(
        f"the S3 setting {name} is {value!r}; it must be {needed}",
        code="bad-config",
        hint="tclog where",
    )
