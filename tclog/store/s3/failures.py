"""The meaning of a failed request, for both clients: the one table of codes and statuses.

``raised`` turns a client's exception into a ``Failure``. This module turns it into the error that
says what to do.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tclog.errors import (
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreUnfit,
    StoreUnreachable,
    quote,
    to_run,
)
from tclog.store.s3.settings import S3Settings


class Failure(NamedTuple):
    """One failed request, of either client.

    ``text`` is from the server, or from the client if the server sent none. ``region`` is the
    bucket's region, if the answer names it.
    """

    status: int
    code: str
    text: str
    region: str = ""

    @property
    def told(self) -> str:
        """Status and code, for messages."""
        code = "" if self.code in (*_NOT_SENT, WEB_PAGE) else self.code
        return f"{self.status or ''} {code}".strip() or "no answer"


class RequestError(Exception):
    """A request failed; raised by a client only, and never seen outside this package."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


# Codes of requests that were not sent, or not answered by an S3 server: nothing was carried out.
NO_CREDENTIALS = "NoCredentials"
MISCONFIGURED = "Misconfigured"
BAD_CERTIFICATE = "BadCertificate"
NO_TLS = "NoTls"
UNOBTAINED = "NoToken"
WEB_PAGE = "WebPage"
# obstore's error for a create that found the object there.
EXISTS = "AlreadyExists"
_NOT_SENT = (NO_CREDENTIALS, UNOBTAINED, MISCONFIGURED, BAD_CERTIFICATE, NO_TLS)


class _Row(NamedTuple):
    """What the user is told of some codes and statuses: the class, message, hint and code word.

    The message may name the bucket, ``where`` it is, the server's ``words``, and each part of the
    failure. A hint that ends with ``--bucket`` is about this bucket.
    """

    on: tuple[str | int, ...]
    kind: type[StoreError]
    says: str
    hint: str = "tclog doctor"
    code: str | None = None


_OTHER = _Row((), StoreError, "{where} answers {words}")
_AWAY = _Row((408,), StoreUnreachable, "{where} cannot be reached: answers {told}")
# fmt: off
_KMS = _Row(
    (), StoreDenied, "{where} cannot use the key that encrypts the bucket ({words})",
    hint="aws s3api get-bucket-encryption --bucket", code="store-key")
_UNSUMMED = _Row(
    (), StoreError,
    "{where} requires a checksum with each object ({words}), as with Object Lock",
    hint="export TCLOG_CHECKSUM=sha256", code="store-config")
_IN_REGION = _Row(
    (), StoreError, "{where} is in the region {region}",
    hint="export TCLOG_REGION={quoted_region}", code="store-region")
_ELSEWHERE = _Row(
    ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect",
     "TemporaryRedirect", 301, 307, 308),
    StoreError, "{where} is in another region, or at another endpoint",
    hint="aws s3api get-bucket-location --bucket", code="store-region")
_ROWS = (
    # No hint to create the bucket: if a log was there, that would silently begin another one.
    _Row(("NoSuchBucket", "InvalidBucketName"), StoreMissing,
         "the bucket {bucket!r} does not exist ({where})", hint="tclog where"),
    _Row(("RequestTimeTooSkewed",), StoreDenied,
         "{where} refuses requests because this machine's clock is more than 15 minutes off",
         hint="date -u", code="clock-skewed"),
    _Row((NO_CREDENTIALS,), StoreDenied, "no AWS credentials were found for {where}",
         hint="export AWS_ACCESS_KEY_ID=ID AWS_SECRET_ACCESS_KEY=SECRET",
         code="credentials-missing"),
    _Row((UNOBTAINED,), StoreDenied, "the credentials for {where} cannot be loaded: {text}",
         hint="aws configure list", code="credentials-missing"),
    _Row(("ExpiredToken", "TokenRefreshRequired", "RequestExpired"), StoreDenied,
         "the credentials for {where} have expired ({words}): get new ones",
         hint="aws configure list", code="credentials-expired"),
    _Row(("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"), StoreDenied,
         "{where} does not accept the credentials ({words}): the key id or the secret is wrong, or"
         " belongs to another server", hint="aws configure list", code="credentials-invalid"),
    _Row((MISCONFIGURED,), StoreError,
         "{where} cannot be used with the AWS configuration here: {text}",
         hint="aws configure list", code="store-config"),
    _Row(("AccessDenied", "InvalidSecurity", "UnauthorizedAccess", 401, 403), StoreDenied,
         "{where} denies the request ({words}); without s3:ListBucket it gives this answer for"
         " absent objects too"),
    _Row(("AccountProblem", "AllAccessDisabled", "NotSignedUp", "UserSuspended"), StoreDenied,
         "{where} is closed to this account ({words}): only the provider can change that",
         hint="aws sts get-caller-identity", code="store-account"),
    _Row(("InvalidObjectState",), StoreError,
         "an object in {where} was archived ({words}), perhaps by a life-cycle rule; restore the"
         " object and remove the rule",
         hint="aws s3api get-bucket-lifecycle-configuration --bucket", code="object-archived"),
    _Row(("InsufficientStorage", "QuotaExceeded", "ServiceQuotaExceeded", "XMinioStorageFull", 507),
         StoreFull, "{where} has no space left ({words})"),
    _Row(("NotImplemented", 501), StoreUnfit,
         "{where} does not implement conditional writes ({words})"),
    _Row((BAD_CERTIFICATE,), StoreError, "the certificate of {where} is not trusted here ({text})",
         hint="export AWS_CA_BUNDLE=FILE", code="store-certificate"),
    _Row((NO_TLS,), StoreError,
         "{where} does not speak TLS ({text}): should its endpoint be http://?",
         hint="tclog where", code="bad-endpoint"),
    _Row(("MethodNotAllowed", WEB_PAGE, 405), StoreError,
         "{where} does not answer like S3 ({words}): is it a web site or a console, or is a proxy"
         " in between?", hint="tclog where", code="not-a-store"),
    _Row((407,), StoreError, "the proxy in front of {where} requires credentials ({words})",
         hint="tclog where", code="proxy-denied"),
    _Row(("RequestLimitExceeded", "SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests",
          429), StoreUnreachable, "{where} limits the request rate ({words})",
         hint="run the same command again", code="store-busy"),
    _Row((0,), StoreUnreachable, "{where} cannot be reached: {text}"),
    _ELSEWHERE,
    _AWAY,
)
# fmt: on
_MEANING = {code: row for row in _ROWS for code in row.on}
# The code of one denied removal among several, which has no status of its own.
DENIED = {code for code, row in _MEANING.items() if row.kind is StoreDenied}


def at_server(endpoint: str | None) -> str:
    """Return the option that sends the AWS client to a server; without it, it asks AWS."""
    return f"--endpoint-url {quote(endpoint)}" if endpoint else ""


def explain(failure: Failure, settings: S3Settings) -> StoreError:
    """Map a failed request to the one error that says what to do about it."""
    row = _row(failure)
    parts = {
        **failure._asdict(),
        "where": f"s3://{settings.bucket}" + f" at {settings.endpoint}" * bool(settings.endpoint),
        "bucket": settings.bucket,
        "told": failure.told,
        "words": ": ".join(filter(None, (failure.told, failure.text))),
        "quoted_region": quote(failure.region),
    }
    hint = row.hint.format(**parts)
    if hint.endswith("--bucket"):
        hint = to_run(hint, settings.bucket, then=at_server(settings.endpoint))
    return row.kind(row.says.format(**parts), code=row.code, hint=hint)


def _row(failure: Failure) -> _Row:
    if failure.code.startswith("KMS."):
        return _KMS
    if failure.status == 400 and re.search("checksum|content-md5", failure.text, re.IGNORECASE):
        return _UNSUMMED
    other = _AWAY if failure.status >= 500 else _OTHER
    row = _MEANING.get(failure.code) or _MEANING.get(failure.status, other)
    return _IN_REGION if row is _ELSEWHERE and failure.region else row


def may_help_again(failure: Failure) -> bool:
    """Whether a retry may help; for a create: whether it may have been stored."""
    return failure.code not in _NOT_SENT and (
        failure.status == 0
        or failure.status in (408, 409, 429)
        or (failure.status >= 500 and failure.status != 501)
        or failure.code == "RequestTimeout"  # S3 answers it with status 400
    )


def found_there(failure: Failure) -> bool:
    """Whether a create found the object there."""
    return failure.status in (304, 412) or failure.code == EXISTS
