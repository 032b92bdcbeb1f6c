"""Reads the clients' exceptions as a ``Failure``: status, code, and the server's text.

No other module interprets the vendors' exceptions. A class counts as the first in ``_OBSTORE`` or
``_BOTO3`` that it is, or derives from, by name: not every release has all classes. Any other class
counts as a lost answer, which is slower but never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tclog.store.s3.failures import (
    BAD_CERTIFICATE,
    DENIED,
    EXISTS,
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

_OBSTORE = {
    "AlreadyExistsError": (412, EXISTS),  # also for a 409 that stored nothing
    "FileNotFoundError": (404, ""),
    "InvalidPathError": (0, MISCONFIGURED),
    "NotFoundError": (404, ""),
    "NotImplementedError": (501, ""),
    "NotModifiedError": (304, ""),
    "NotSupportedError": (501, ""),
    "PermissionDeniedError": (403, ""),
    "PreconditionError": (412, ""),
    "UnauthenticatedError": (403, ""),
    "UnknownConfigurationKeyError": (0, MISCONFIGURED),
}


def obstore_failure(error: Exception) -> Failure:
    """Read status and S3 code out of an obstore error, which keeps them only in its text."""
    text, _, debug = str(error).partition("\n\nDebug source")
    status_text, code_text = re.search(_STATUS, text, re.DOTALL), re.search(_CODE, text)
    status = int(status_text[1]) if status_text else 0
    code = (code_text[1] or code_text[2]) if code_text else ""
    of_class, meant = _known(error, _OBSTORE)
    if meant == EXISTS:
        return Failure(status or of_class, meant, text)
    status = status or of_class or (403 if code in DENIED else 0)
    if status_text:
        return _answered(status, code or meant, status_text[2] or "", text)
    if _REDIRECT in text:
        return Failure(301, "", "")
    return _unanswered(status, code or meant, text.strip() or type(error).__name__, debug)


def _known(error: Exception, table: Mapping[str, tuple[int, str]]) -> tuple[int, str]:
    """Return the status and the code that an error's class stands for."""
    return next((table[k.__name__] for k in type(error).__mro__ if k.__name__ in table), (0, ""))


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

_ODD = "Odd"
# What botocore raises where credentials cannot be loaded.
_UNLOADED = """
    CredentialRetrievalError LoginError MetadataRetrievalError NoAuthTokenError
    RefreshWithMFAUnsupportedError SSOError TokenRetrievalError
"""
# What it raises before it sends anything.
_UNSENT = """
    ApiVersionNotFoundError BaseEndpointResolverError ConfigNotFound ConfigParseError
    DataNotFoundError EndpointProviderError InvalidChecksumConfigError InvalidConfigError
    InvalidDNSNameError InvalidDefaultsMode InvalidEndpointConfigurationError
    InvalidHostLabelError InvalidIMDSEndpointError InvalidIMDSEndpointModeError
    InvalidProxiesConfigError InvalidRegionError InvalidRetryConfigurationError
    InvalidS3AddressingStyleError InvalidS3UsEast1RegionalEndpointConfigError
    InvalidSTSRegionalEndpointsConfigError MD5UnavailableError MissingDependencyException
    ParamValidationError ProfileNotFound ServiceNotInRegionError UnknownCredentialError
    UnknownRegionError UnknownSignatureVersionError UnknownTokenProviderError
    UnsupportedS3AccesspointConfigurationError UnsupportedS3ArnError
    UnsupportedS3ConfigurationError UnsupportedServiceProtocolsError
    UnsupportedSignatureVersionError ValidationError
"""
_BOTO3 = {
    "KeyError": (0, _ODD),  # a header or an element that S3 always sends
    "ResponseParserError": (0, _ODD),
    "RecursionError": (307, ""),  # it follows redirects, and these lead in a circle
    "NoCredentialsError": (0, NO_CREDENTIALS),
    "PartialCredentialsError": (0, NO_CREDENTIALS),
    **dict.fromkeys(_UNLOADED.split(), (0, UNOBTAINED)),
    **dict.fromkeys(_UNSENT.split(), (0, MISCONFIGURED)),
}


def boto3_failure(error: Exception) -> Failure:
    """Read status and S3 code from a botocore error, or find that nothing was sent."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _boto3_answered(error.response)
    status, code = _known(error, _BOTO3)
    text = _short(str(error))
    if code == _ODD:
        return Failure(0, "", NOT_S3)
    if any(kind.__name__ == "SSLError" for kind in type(error).__mro__):
        untrusted = re.search(r"certificate verify failed: ([^(]*)", text)
        if untrusted:
            return Failure(0, BAD_CERTIFICATE, untrusted[1].strip())
        if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
            return Failure(0, NO_TLS, text)
    return Failure(status, code, "" if status else text)


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
