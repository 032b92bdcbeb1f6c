# ruff: noqa: E501 - a row is a line
"""Each exception class of the vendors' libraries has a meaning, chosen on purpose.

A class that a new release brings stands in no row, and fails the test: decide what it means
(``tclog/store/s3/raised.py``), or write down why it cannot occur.
"""

from __future__ import annotations

import boto3.exceptions
import boto3.s3.transfer
import botocore.exceptions
import botocore.parsers
import obstore.exceptions
import pytest
import s3transfer.exceptions
import urllib3.exceptions

from tclog.errors import StoreError
from tclog.store.s3 import S3Settings, S3Store
from tclog.store.s3.failures import explain, found_there, may_help_again
from tclog.store.s3.raised import boto3_failure, obstore_failure

from .test_s3 import KEYS, classes_in, made

# The code word that is told, and the classes. ``store-unreachable`` also stands for an answer that
# was lost: a create that ends with it is read back.
OBSTORE = {
    "store-unreachable": "BaseError GenericError JoinError",
    "found": "AlreadyExistsError NotModifiedError PreconditionError",
    "store-error": "NotFoundError",  # read as absent, unless a bucket or a proxy says it
    "store-config": "InvalidPathError UnknownConfigurationKeyError",
    "store-denied": "PermissionDeniedError UnauthenticatedError",
    "store-unfit": "NotSupportedError",
}
BOTOCORE = {
    "store-unreachable": """
        BotoCoreError HTTPClientError ConnectionError EndpointConnectionError SSLError
        ConnectionClosedError ReadTimeoutError ConnectTimeoutError ProxyConnectionError
        ResponseStreamingError ChecksumError FlexibleChecksumError IncompleteReadError
        UnseekableStreamError AwsChunkedWrapperError UndefinedModelAttributeError
        MissingServiceIdError""",
    "store-error": "ClientError",  # by its status and code; made() gives it odd ones
    "credentials-missing": """
        NoCredentialsError PartialCredentialsError NoAuthTokenError TokenRetrievalError
        CredentialRetrievalError RefreshWithMFAUnsupportedError MetadataRetrievalError SSOError
        SSOTokenLoadError UnauthorizedSSOTokenError LoginError LoginRefreshRequired
        LoginInsufficientPermissions LoginTokenLoadError LoginAuthorizationCodeError""",
    "store-config": """
        DataNotFoundError UnknownServiceError UnknownTokenProviderError UnknownSignatureVersionError
        BaseEndpointResolverError NoRegionError EndpointVariantError UnknownEndpointError
        UnknownFIPSEndpointError ProfileNotFound ConfigParseError ConfigNotFound ValidationError
        ParamValidationError UnknownKeyError RangeError UnknownParameterError InvalidRegionError
        AliasConflictParameterError UnknownCredentialError InvalidS3AddressingStyleError
        InvalidRetryConfigurationError InvalidMaxRetryAttemptsError InvalidRetryModeError
        InvalidConfigError InfiniteLoopConfigError MissingDependencyException
        InvalidProxiesConfigError InvalidEndpointConfigurationError EndpointProviderError
        EndpointResolutionError UnknownEndpointResolutionBuiltInName UnknownRegionError
        InvalidIMDSEndpointError InvalidIMDSEndpointModeError InvalidDNSNameError
        InvalidHostLabelError InvalidDefaultsMode InvalidChecksumConfigError
        InvalidS3UsEast1RegionalEndpointConfigError InvalidSTSRegionalEndpointsConfigError
        UnsupportedSignatureVersionError UnsupportedS3ConfigurationError UnsupportedS3ArnError
        UnsupportedS3AccesspointConfigurationError UnsupportedServiceProtocolsError
        ServiceNotInRegionError ApiVersionNotFoundError MD5UnavailableError""",
}
URLLIB3 = {
    # While a body is read; what urllib3 raises while a request is sent, botocore wraps.
    "store-unreachable": """
        HTTPError PoolError RequestError SSLError ProxyError DecodeError ProtocolError MaxRetryError
        HostChangedError TimeoutStateError TimeoutError ReadTimeoutError ConnectTimeoutError
        NewConnectionError NameResolutionError EmptyPoolError FullPoolError ClosedPoolError
        ResponseError ResponseNotChunked BodyNotHttplibCompatible IncompleteRead InvalidChunkLength
        InvalidHeader HeaderParsingError UnrewindableBodyError""",
}
# Why a class cannot occur.
NEVER = {
    "botocore.exceptions": {
        "no paginators, waiters or stubs of botocore's are used": "PaginationError OperationNotPageableError WaiterError WaiterConfigError StubResponseError StubAssertionError UnStubbedResponseError",
        "no event stream is read": "EventStreamError",
        "only Boto 2's models and the command line of AWS raise it": "UnknownServiceStyle MissingParametersError InvalidExpressionError UnknownClientMethodError",
        "only Outposts, S3 Control and endpoint discovery raise it": "UnsupportedOutpostResourceError UnsupportedS3ControlArnError UnsupportedS3ControlConfigurationError InvalidEndpointDiscoveryConfigurationError",
        "only the retry quota of the adaptive mode raises it": "CapacityNotAvailableError",
    },
    "boto3.exceptions": {
        "only resources raise it, and a client is used": "ResourceLoadException NoVersionFound UnknownAPIVersionError ResourceNotExistsError",
        "only boto3's transfers raise it, and parts are sent one by one": "Boto3Error RetriesExceededError S3TransferFailedError S3UploadFailedError InvalidCrtTransferConfigError",
        "only DynamoDB raises it": "DynamoDBOperationNotSupportedError DynamoDBNeedsConditionError DynamoDBNeedsKeyConditionError",
    },
    "s3transfer.exceptions": {
        "only transfers raise it, and parts are sent one by one": "CancelledError RetriesExceededError S3UploadFailedError S3DownloadFailedError S3CopyFailedError InvalidSubscriberMethodError TransferNotDoneError FatalError S3ValidationError",
    },
    "urllib3.exceptions": {
        "the URLs of the endpoint and the proxy are checked before, and botocore wraps it": "LocationValueError LocationParseError URLSchemeUnknown ProxySchemeUnknown ProxySchemeUnsupported",
    },
}
MODULES = {
    obstore.exceptions: OBSTORE,
    botocore.exceptions: BOTOCORE,
    boto3.exceptions: {},
    s3transfer.exceptions: {},
    urllib3.exceptions: URLLIB3,
}
CASES = [
    (module, name, word)
    for module, table in MODULES.items()
    for word, names in table.items()
    for name in names.split()
    if hasattr(module, name)  # not every release has all classes
]
SETTINGS = S3Settings("bucket", "p", "http://127.0.0.1:1", "us-east-1")


def instance(kind: type[Exception]) -> Exception:
    """Make an instance without the arguments that its class wants."""
    if issubclass(kind, botocore.exceptions.ClientError):
        return made(kind)
    return type(kind.__name__, (kind,), {"__init__": lambda _: None, "__str__": lambda _: "why"})()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_class_has_a_row(module: object) -> None:
    never = " ".join(NEVER.get(module.__name__, {}).values()).split()
    listed = [name for names in MODULES[module].values() for name in names.split()] + never
    assert len(listed) == len(set(listed))
    assert {kind.__name__ for kind in classes_in(module)} - set(listed) == set()


@pytest.mark.parametrize(("module", "name", "word"), CASES)
def test_each_class_is_told_as_its_row_says(module: object, name: str, word: str) -> None:
    error = instance(getattr(module, name))
    failure = (obstore_failure if module is obstore.exceptions else boto3_failure)(error)
    if word == "found":
        assert found_there(failure)
        return
    told = explain(failure, SETTINGS)
    assert isinstance(told, StoreError)
    assert told.code == word
    # What was never sent is not sent again, and a create of it stored nothing.
    assert may_help_again(failure) == (word == "store-unreachable")


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_each_class_is_caught(client: str) -> None:
    plane = S3Store(SETTINGS._replace(client=client), KEYS).plane()
    for module, name, _ in CASES:
        if (module is obstore.exceptions) == (client == "obstore"):
            assert issubclass(getattr(module, name), plane.errors), name


def test_an_answer_that_cannot_be_parsed_is_not_from_an_s3_server() -> None:
    failure = boto3_failure(botocore.parsers.ResponseParserError("no XML"))
    assert explain(failure, SETTINGS).code == "store-unreachable"
