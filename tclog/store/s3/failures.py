"""The meaning of a failed request, for both clients: the one table of codes and statuses.

``raised`` turns a client's exception into a ``Failure``. This module turns it into the error that
says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
_NOT_SENT = (NO_CREDENTIALS, UNOBTAINED, MISCONFIGURED, BAD_CERTIFICATE, NO_TLS)


class _Told(NamedTuple):
    """The parts of a message: the bucket, its server, and the failure."""

    where: str
    bucket: str
    at: str  # what names the server to the AWS client
    failure: Failure

    @property
    def words(self) -> str:
        """What the server said, with its code."""
        said = self.failure.text
        return f"{self.failure.told}: {said}" if said else self.failure.told


def _missing(told: _Told) -> StoreError:
    # No hint to create the bucket: if a log was there, that would silently begin another one.
    return StoreMissing(
        f"the bucket {told.bucket!r} does not exist ({told.where})", hint="tclog where"
    )


def _late(told: _Told) -> StoreError:
    return StoreDenied(
        f"{told.where} refuses requests because this machine's clock is more than 15 minutes off",
        code="clock-skewed",
        hint="date -u",
    )


def _without_keys(told: _Told) -> StoreError:
    return StoreDenied(
        f"no AWS credentials were found for {told.where}",
        code="credentials-missing",
        hint="export AWS_ACCESS_KEY_ID=ID AWS_SECRET_ACCESS_KEY=SECRET",
    )


def _without_token(told: _Told) -> StoreError:
    return StoreDenied(
        f"the credentials for {told.where} cannot be loaded: {told.failure.text}",
        code="credentials-missing",
        hint="aws configure list",
    )


def _expired(told: _Told) -> StoreError:
    return StoreDenied(
        f"the credentials for {told.where} have expired ({told.words}): get new ones",
        code="credentials-expired",
        hint="aws configure list",
    )


def _wrong_keys(told: _Told) -> StoreError:
    return StoreDenied(
        f"{told.where} does not accept the credentials ({told.words}): the key id or the secret"
        " is wrong, or belongs to another server",
        code="credentials-invalid",
        hint="aws configure list",
    )


def _misconfigured(told: _Told) -> StoreError:
    return StoreError(
        f"{told.where} cannot be used with the AWS configuration here: {told.failure.text}",
        code="store-config",
        hint="aws configure list",
    )


def _elsewhere(told: _Told) -> StoreError:
    region = told.failure.region
    place = f"in the region {region}" if region else "in another region, or at another endpoint"
    return StoreError(
        f"{told.where} is {place}",
        code="store-region",
        hint=to_run("export", f"TCLOG_REGION={region}")
        if region
        else to_run("aws s3api get-bucket-location --bucket", told.bucket, then=told.at),
    )


def _denied(told: _Told) -> StoreError:
    return StoreDenied(
        f"{told.where} denies the request ({told.words}); without s3:ListBucket it gives this"
        " answer for absent objects too",
        hint="tclog doctor",
    )


def _account(told: _Told) -> StoreError:
    return StoreDenied(
        f"{told.where} is closed to this account ({told.words}): only the provider can change that",
        code="store-account",
        hint="aws sts get-caller-identity",
    )


def _key_of_kms(told: _Told) -> StoreError:
    return StoreDenied(
        f"{told.where} cannot use the key that encrypts the bucket ({told.words})",
        code="store-key",
        hint=to_run("aws s3api get-bucket-encryption --bucket", told.bucket, then=told.at),
    )


def _unsummed(told: _Told) -> StoreError:
    return StoreError(
        f"{told.where} requires a checksum with each object ({told.words}), as with Object Lock",
        code="store-config",
        hint="export TCLOG_CHECKSUM=sha256",
    )


def _archived(told: _Told) -> StoreError:
    return StoreError(
        f"an object in {told.where} was archived ({told.words}), perhaps by a life-cycle rule;"
        " restore the object and remove the rule",
        code="object-archived",
        hint=to_run(
            "aws s3api get-bucket-lifecycle-configuration --bucket", told.bucket, then=told.at
        ),
    )


def _full(told: _Told) -> StoreError:
    return StoreFull(f"{told.where} has no space left ({told.words})", hint="tclog doctor")


def _unfit(told: _Told) -> StoreError:
    return StoreUnfit(
        f"{told.where} does not implement conditional writes ({told.words})", hint="tclog doctor"
    )


def _untrusted(told: _Told) -> StoreError:
    return StoreError(
        f"the certificate of {told.where} is not trusted here ({told.failure.text})",
        code="store-certificate",
        hint="export AWS_CA_BUNDLE=FILE",
    )


def _plain(told: _Told) -> StoreError:
    return StoreError(
        f"{told.where} does not speak TLS ({told.failure.text}): should its endpoint be http://?",
        code="bad-endpoint",
        hint="tclog where",
    )


def _not_s3(told: _Told) -> StoreError:
    return StoreError(
        f"{told.where} does not answer like S3 ({told.words}): is it a web site or a console,"
        " or is a proxy in between?",
        code="not-a-store",
        hint="tclog where",
    )


def _proxy(told: _Told) -> StoreError:
    return StoreError(
        f"the proxy in front of {told.where} requires credentials ({told.words})",
        code="proxy-denied",
        hint="tclog where",
    )


def _busy(told: _Told) -> StoreError:
    return StoreUnreachable(
        f"{told.where} limits the request rate ({told.words})",
        code="store-busy",
        hint="run the same command again",
    )


def _unreachable(told: _Told) -> StoreError:
    failure = told.failure
    detail = f"answers {failure.told}" if failure.status else failure.text
    return StoreUnreachable(f"{told.where} cannot be reached: {detail}", hint="tclog doctor")


def _other(told: _Told) -> StoreError:
    return StoreError(f"{told.where} answers {told.words}", hint="tclog doctor")


_Meaning = Callable[[_Told], StoreError]
_BY_CODE: Mapping[str, _Meaning] = {
    code: meaning
    for meaning, codes in (
        (_missing, ("NoSuchBucket", "InvalidBucketName")),
        (_late, ("RequestTimeTooSkewed",)),
        (_expired, ("ExpiredToken", "TokenRefreshRequired", "RequestExpired")),
        (_wrong_keys, ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")),
        (
            _elsewhere,
            (
                "AuthorizationHeaderMalformed",
                "IllegalLocationConstraintException",
                "PermanentRedirect",
                "TemporaryRedirect",
            ),
        ),
        (_denied, ("AccessDenied", "InvalidSecurity", "UnauthorizedAccess")),
        (_account, ("AccountProblem", "AllAccessDisabled", "NotSignedUp", "UserSuspended")),
        (_archived, ("InvalidObjectState",)),
        (
            _full,
            ("InsufficientStorage", "QuotaExceeded", "ServiceQuotaExceeded", "XMinioStorageFull"),
        ),
        (_unfit, ("NotImplemented",)),
        (_not_s3, ("MethodNotAllowed", WEB_PAGE)),
        (
            _busy,
            (
                "RequestLimitExceeded",
                "SlowDown",
                "SlowDownRead",
                "SlowDownWrite",
                "TooManyRequests",
            ),
        ),
        (_without_keys, (NO_CREDENTIALS,)),
        (_without_token, (UNOBTAINED,)),
        (_misconfigured, (MISCONFIGURED,)),
        (_untrusted, (BAD_CERTIFICATE,)),
        (_plain, (NO_TLS,)),
    )
    for code in codes
}
_BY_STATUS: Mapping[int, _Meaning] = {
    0: _unreachable,
    301: _elsewhere,
    307: _elsewhere,
    308: _elsewhere,
    401: _denied,
    403: _denied,
    405: _not_s3,
    407: _proxy,
    408: _unreachable,
    429: _busy,
    501: _unfit,
    507: _full,
}
# The code of one denied removal among several, which has no status of its own.
DENIED = {
    code
    for code, meaning in _BY_CODE.items()
    if meaning in (_denied, _expired, _wrong_keys, _account)
}


def at_server(endpoint: str | None) -> str:
    """Return the option that sends the AWS client to a server; without it, it asks AWS."""
    return f"--endpoint-url {quote(endpoint)}" if endpoint else ""


def explain(failure: Failure, settings: S3Settings) -> StoreError:
    """Map a failed request to the one error that says what to do about it."""
    where = f"s3://{settings.bucket}" + (f" at {settings.endpoint}" if settings.endpoint else "")
    other = _unreachable if failure.status >= 500 else _other
    meaning = _BY_CODE.get(failure.code) or _BY_STATUS.get(failure.status, other)
    if failure.code.startswith("KMS."):
        meaning = _key_of_kms
    elif failure.status == 400 and re.search("checksum|content-md5", failure.text, re.IGNORECASE):
        meaning = _unsummed
    return meaning(_Told(where, settings.bucket, at_server(settings.endpoint), failure))


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
    return failure.status in (304, 412) or failure.code == "AlreadyExists"
