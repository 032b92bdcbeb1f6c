"""Reads the clients' exceptions as a ``Failure``: status, code, and the server's text.

No other module interprets the vendors' exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tclog.store.s3.failures import (
    BAD_CERTIFICATE,
    DENIED,
    MISCONFIGURED,
    NO_CREDENTIALS,
    NO_TLS,
    UNOBTAINED,
    WEB_PAGE,
    Failure,
)

TEXT_MAX = 200
# -- what obstore raises ---------------------------------------------------------------------------

NOT_S3 = "the answer is not from an S3 server"
# Compiled when first needed, because most requests do not fail.
_STATUS = r"status code: (\d{3})[^:]*(?::\s*(.*))?"
_CODE = r"<Code>\s*([\w.]+)\s*</Code>|\(code: ([\w.]+)\)"
_MESSAGE = r"<Message>([^<]*)</Message>"
_REGION = r"<Region>([\w-]+)</Region>"
_HTML = r"\s*<(?:!doctype html|html)\b"
# obstore's words for a redirect; it shows neither status nor body.
_REDIRECT = "Received redirect without LOCATION"
# Of the nested errors of a failed connection, the innermost one says most.
_INNER = r"\b(?:error|message): \"([^\"]*)\""


def obstore_failure(error: Exception) -> Failure:
    """Read status and S3 code out of an obstore error, which keeps them only in its text."""
    from obstore import exceptions

    text, _, debug = str(error).partition("\n\nDebug source")
    status_text, code_text = re.search(_STATUS, text, re.DOTALL), re.search(_CODE, text)
    status = int(status_text[1]) if status_text else 0
    code = (code_text[1] or code_text[2]) if code_text else ""
    if isinstance(error, exceptions.AlreadyExistsError):
        # obstore also raises this for a 409 that stored nothing.
        return Failure(status or 412, "AlreadyExists", text)
    if isinstance(error, exceptions.InvalidPathError | exceptions.UnknownConfigurationKeyError):
        code = code or MISCONFIGURED
    elif not status:
        status = _status_of(error) or (403 if code in DENIED else 0)
    if status_text:
        return _answered(status, code, status_text[2] or "", text)
    if _REDIRECT in text:
        return Failure(301, "", "")
    return _unanswered(status, code, text.strip() or type(error).__name__, debug)


def _status_of(error: Exception) -> int:
    """Return the status for a class of obstore's errors; 0 for other classes."""
    from obstore import exceptions

    kinds: Mapping[int, tuple[type[Exception], ...]] = {
        304: (exceptions.NotModifiedError,),
        403: (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError),
        404: (exceptions.NotFoundError, FileNotFoundError),
        412: (exceptions.PreconditionError,),
        501: (exceptions.NotSupportedError, NotImplementedError),
    }
    return next((status for status, kind in kinds.items() if isinstance(error, kind)), 0)


def _answered(status: int, code: str, body: str, text: str) -> Failure:
    """Return the server's text, without the client's words around it."""
    from html import unescape

    if not code and 400 <= status < 500 and re.match(_HTML, body, re.IGNORECASE):
        return Failure(status, WEB_PAGE, "")
    message, region = re.search(_MESSAGE, text), re.search(_REGION, text)
    said = _short(unescape(message[1])) if message else ""
    return Failure(status, code, said, region[1] if region else "")


def _unanswered(status: int, code: str, text: str, debug: str) -> Failure:
    """Return why a request was not sent, or was not answered."""
    certificate = re.search(r"InvalidCertificate\(\s*(\w+)", debug)
    if certificate:
        return Failure(0, BAD_CERTIFICATE, certificate[1])
    if "InvalidContentType" in debug:
        return Failure(0, NO_TLS, "InvalidContentType")
    inner = re.findall(_INNER, debug)
    return Failure(status, code, _short(f"{text}: {inner[-1]}" if inner else text))


def _short(text: str) -> str:
    return " ".join(text.split())[:TEXT_MAX]


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
# Errors that botocore raises before it sends anything. Any other class counts as a lost answer,
# which is slower but never wrong.
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
    """Read status and S3 code from a botocore error, or find that nothing was sent."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _boto3_answered(error.response)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return Failure(0, NO_CREDENTIALS, str(error))
    # By name, because not every release of botocore has all classes.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = _short(str(error))
    if kinds & {"KeyError", "ResponseParserError"}:
        return Failure(0, "", NOT_S3)
    if "RecursionError" in kinds:
        return Failure(307, "", "")  # it follows redirects, and these lead in a circle
    if kinds & _NO_TOKEN:
        return Failure(0, UNOBTAINED, text)
    if "SSLError" in kinds:
        untrusted = re.search(r"certificate verify failed: ([^(]*)", text)
        if untrusted:
            return Failure(0, BAD_CERTIFICATE, untrusted[1].strip())
        if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
            return Failure(0, NO_TLS, text)
    return Failure(0, MISCONFIGURED if kinds & _UNSENT else "", text)


def _boto3_answered(response: Mapping[str, Any]) -> Failure:
    meta, told = response.get("ResponseMetadata", {}), response.get("Error", {})
    headers = meta.get("HTTPHeaders", {})
    status, code = int(meta.get("HTTPStatusCode", 0)), str(told.get("Code", ""))
    # A HEAD has no body, and botocore does not read a proxy's body: then the code is the status.
    if not code or code.isdigit():
        html = 400 <= status < 500 and str(headers.get("content-type", "")).startswith("text/html")
        return Failure(status, WEB_PAGE if html else "", "")
    region = told.get("Region") or headers.get("x-amz-bucket-region") or ""
    return Failure(status, code, _short(told.get("Message") or ""), str(region))
