"""What a failed request means, whatever client made it: the one table of codes and statuses.

Each client's errors become a ``Failure`` here, and a ``Failure`` becomes the error that says what
to do. Nothing else interprets the vendors' exceptions.
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
)
from tclog.store.s3.settings import S3Settings


class Failure(NamedTuple):
    """One failed request, whatever client made it."""

    status: int
    code: str
    text: str


class RequestError(Exception):
    """A request failed; raised by a client only, and never seen outside this package."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "NoCredentials",
    "NotSignedUp",
    "SignatureDoesNotMatch",
    "UnauthorizedAccess",
}
_FULL = {"InsufficientStorage", "QuotaExceeded", "ServiceQuotaExceeded", "XMinioStorageFull"}
_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}


def explain(failure: Failure, settings: S3Settings) -> StoreError:
    """Map a failed request to the one error that says what to do about it."""
    where = f"s3://{settings.bucket}" + (f" at {settings.endpoint}" if settings.endpoint else "")
    code, status = failure.code, failure.status
    if code in ("NoSuchBucket", "InvalidBucketName"):
        # Never to make it: where a log was, that would begin another one without a word.
        return StoreMissing(
            f"the bucket {settings.bucket!r} does not exist ({where})", hint="tclog where"
        )
    if code == "RequestTimeTooSkewed":
        return StoreDenied(
            f"{where} refuses requests because this machine's clock is more than 15 minutes off",
            code="clock-skewed",
            hint="date -u",
        )
    if code == "NoCredentials":
        return StoreDenied(
            f"no AWS credentials were found for {where}",
            hint="export AWS_ACCESS_KEY_ID=ID AWS_SECRET_ACCESS_KEY=SECRET",
        )
    if code == "Misconfigured":
        return StoreError(
            f"{where} cannot be used as AWS is configured here: {failure.text}",
            code="store-config",
            hint="aws configure list",
        )
    if code in _REGION or status == 301:
        return StoreError(
            f"{where} is in another region ({failure.text})",
            code="store-region",
            hint="tclog init s3://bucket/prefix --region REGION",
        )
    if code in DENIED or status in (401, 403):
        return StoreDenied(
            f"{where} denies the request ({code or failure.text or status}); without s3:ListBucket"
            " it says so of absent objects too",
            hint="tclog doctor",
        )
    if code in _FULL or status == 507:
        return StoreFull(f"{where} has no space left ({code or status})", hint="tclog doctor")
    if code == "NotImplemented" or status == 501:
        return StoreUnfit(
            f"{where} does not implement conditional writes ({code or status})", hint="tclog doctor"
        )
    if status == 0 or status in (408, 429) or status >= 500:
        detail = f"answers {status} {code}".strip() if status else failure.text
        return StoreUnreachable(f"{where} cannot be reached: {detail}", hint="tclog doctor")
    return StoreError(f"{where} answers {status} {code}: {failure.text}", hint="tclog doctor")


def may_help_again(failure: Failure) -> bool:
    """Whether sending it again may help; for a create: whether it may have been stored."""
    return failure.code not in ("NoCredentials", "Misconfigured") and (
        failure.status == 0
        or failure.status in (408, 409, 429)
        or failure.status >= 500
        or failure.code == "RequestTimeout"  # S3 answers it with status 400
    )


def found_there(failure: Failure) -> bool:
    """Whether a create found the object there."""
    return failure.status in (304, 412) or failure.code == "AlreadyExists"


# -- what obstore raises ---------------------------------------------------------------------------

NOT_S3 = "the answer is not that of an S3 server"
# Compiled when first needed, for most requests do not fail.
_STATUS = r"status code: (\d{3})"
_CODE = r"<Code>\s*(\w+)\s*</Code>|\(code: (\w+)\)"


def obstore_failure(error: Exception) -> Failure:
    """Read status and S3 code out of an obstore error, which keeps them only in its text."""
    from obstore import exceptions

    text = str(error)
    status_text, code_text = re.search(_STATUS, text), re.search(_CODE, text)
    status = int(status_text[1]) if status_text else 0
    code = (code_text[1] or code_text[2]) if code_text else ""
    if isinstance(error, exceptions.AlreadyExistsError):
        # Also what obstore makes of a 409 that stored nothing.
        return Failure(status or 412, "AlreadyExists", text)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        status = status or 403
    elif isinstance(error, exceptions.NotFoundError | FileNotFoundError):
        status = status or 404
    elif isinstance(error, exceptions.PreconditionError):
        status = status or 412
    elif isinstance(error, exceptions.NotModifiedError):
        status = status or 304
    elif isinstance(error, exceptions.NotSupportedError | NotImplementedError):
        status = status or 501
    elif isinstance(error, exceptions.InvalidPathError | exceptions.UnknownConfigurationKeyError):
        code = code or "Misconfigured"
    elif code_text and code_text[2] in DENIED:
        status = 403  # one of several removals, which have no status of their own
    summary = text.partition("\n\nDebug source")[0].strip().splitlines()
    return Failure(status, code, summary[0][:300] if summary else type(error).__name__)


# -- what boto3 raises -----------------------------------------------------------------------------

_NO_TOKEN = {
    "CredentialRetrievalError",
    "LoginError",
    "MetadataRetrievalError",
    "NoAuthTokenError",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "TokenRetrievalError",
}
# What botocore raises before it sends anything. A class that is not named here is taken for a lost
# answer, which is slower but never wrong.
_UNSENT = {
    "BaseEndpointResolverError",
    "ConfigNotFound",
    "ConfigParseError",
    "DataNotFoundError",
    "EndpointProviderError",
    "InvalidConfigError",
    "InvalidEndpointConfigurationError",
    "InvalidProxiesConfigError",
    "InvalidRegionError",
    "InvalidRetryConfigurationError",
    "InvalidS3AddressingStyleError",
    "MissingDependencyException",
    "ParamValidationError",
    "ProfileNotFound",
    "UnknownCredentialError",
    "UnknownSignatureVersionError",
    "UnknownTokenProviderError",
    "ValidationError",
}


def boto3_failure(error: Exception) -> Failure:
    """Read status and S3 code out of an error of botocore's, or tell that nothing was sent."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))
        # A HEAD has no body, so its code is only the status again.
        return Failure(status, "" if code.isdigit() else code, str(error))
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return Failure(0, "NoCredentials", str(error))
    # By name, because not every release of botocore has all of them.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"KeyError", "ResponseParserError"}:
        return Failure(0, "", NOT_S3)
    if kinds & _NO_TOKEN:
        return Failure(403, "", str(error))
    return Failure(0, "Misconfigured" if kinds & _UNSENT else "", str(error))
