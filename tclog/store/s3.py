"""Any S3-compatible bucket. The only module that names obstore or boto3.

The data plane is obstore, with *all* retries off: its retry loop can send a create twice and then
report the conflict with its own success. Reads and idempotent puts are sent again here, a bounded
number of times; creates never are: their answer is won, exists or unknown, and the protocol reads
back. boto3 serves what obstore cannot: the full AWS credential chain, making a bucket, reading its
settings, and the whole data plane where configured (``client="boto3"``) or after a fork, because
obstore hangs for ever in a child of a process that has used it.

Stamps have the resolution of the Last-Modified header: one second.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeVar

from tclog.clock import SECOND_US, Stamp, stamp_of
from tclog.errors import (
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreUnfit,
    StoreUnreachable,
    UsageError,
)
from tclog.store.base import LIST_PAGE_MAX, Created, Entry, Found, Outcome, refuse_other
from tclog.store.reader import CHUNK_BYTES, CheckedReader

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CONNECT_TIMEOUT_S = 3
REQUEST_TIMEOUT_S = 4
# A request is sent again only while this much has not passed, so that a dead endpoint is reported
# within fifteen seconds.
AGAIN_WITHIN_S = 4.0
TRIES_MAX = 4
# One part of an upload; a download may take any time, as long as something comes.
PART_TIMEOUT_S = 600
DOWNLOAD_TIMEOUT_S = 86_400
SILENCE_MAX_S = 8
DELETE_MAX = 1000
S3_KEY_BYTES_MAX = 1024
RECORD_BYTES_MAX = 1 << 20
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4


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


class _Failure(NamedTuple):
    """One failed request, whatever client made it."""

    status: int
    code: str
    text: str


class _Plane(Protocol):
    """One client library. Raises only ``_RequestError``."""

    def get(self, key: str) -> Found | None: ...
    def put(self, key: str, data: bytes) -> None: ...
    def create(self, key: str, data: bytes) -> None: ...
    def page(self, prefix: str, after: str, limit: int) -> list[Entry]: ...
    def folders(self, prefix: str) -> list[Entry]: ...
    def stat(self, key: str) -> Entry | None: ...
    def look(self, key: str) -> Entry | None: ...
    def delete(self, keys: Sequence[str]) -> None: ...
    def upload(self, key: str, reader: CheckedReader) -> None: ...
    def download(self, key: str) -> Iterator[bytes] | None: ...


class _RequestError(Exception):
    def __init__(self, failure: _Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


# -- what a failure means -------------------------------------------------------------------------

_DENIED = {
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


def explain(failure: _Failure, settings: S3Settings) -> StoreError:
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
    if code in _DENIED or status in (401, 403):
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


def _again(failure: _Failure) -> bool:
    """Whether sending it again may help; for a create: whether it may have been stored."""
    return failure.code not in ("NoCredentials", "Misconfigured") and (
        failure.status == 0
        or failure.status in (408, 409, 429)
        or failure.status >= 500
        or failure.code == "RequestTimeout"  # S3 answers it with status 400
    )


def _exists(failure: _Failure) -> bool:
    """Whether a create found the object there."""
    return failure.status in (304, 412) or failure.code == "AlreadyExists"


# -- the store ------------------------------------------------------------------------------------


class S3Store:
    """A bucket, or a prefix of one, as a store.

    Args:
        settings: how to reach it.
        environ: where the standard ``AWS_*`` variables are read; the process's by default.

    Raises:
        UsageError: the bucket's name or the endpoint is none.
    """

    concurrent = True
    local = False
    resolution_us = SECOND_US

    def __init__(self, settings: S3Settings, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._settings = _checked(_complete(settings, self._environ))
        self._planes: dict[tuple[str, int], _Plane] = {}
        self.url = f"s3://{settings.bucket}" + (f"/{settings.prefix}" if settings.prefix else "")

    @property
    def settings(self) -> S3Settings:
        """The settings with endpoint and region filled in."""
        return self._settings

    def _plane(self) -> _Plane:
        client = self._settings.client
        if client == "obstore" and _forked_after_use:
            client = "boto3"
        # A forked child must not speak on its parent's connections: each could be given the
        # other's reply, and so be told that it won what the other won.
        mine = client, os.getpid()
        plane = self._planes.get(mine)
        if plane is None:
            plane = self._planes[mine] = self._open(client)
        return plane

    def _open(self, client: str) -> _Plane:
        try:
            if client == "obstore":
                return _Obstore(self._settings, self._environ)
            if client == "boto3":
                return _Boto3(self._settings, self._environ)
        except _RequestError as error:
            raise explain(error.failure, self._settings) from error
        raise UsageError(
            f"{client!r} is no S3 client; there are obstore and boto3",
            code="bad-config",
            hint="tclog where",
        )

    def _sent(self, request: Callable[[], T]) -> T:
        """Send a read or an idempotent write, again if need be; bounded in number and time."""
        begun, lost = time.monotonic(), False
        for nth in range(1, TRIES_MAX + 1):
            try:
                return request()
            except _RequestError as error:
                told = explain(error.failure, self._settings)
                spent = time.monotonic() - begun
                if nth == TRIES_MAX or spent > AGAIN_WITHIN_S or not _again(error.failure):
                    # That the last try was refused says nothing of those before it.
                    if lost:
                        told = StoreUnreachable(told.message, hint=told.hint)
                    raise told from error
                lost = lost or isinstance(told, StoreUnreachable)
            time.sleep(0.05 * 3**nth * (0.5 + os.urandom(1)[0] / 256))
        raise AssertionError

    def get(self, key: str) -> Found | None:
        """See ``Store``."""
        return self._sent(lambda: self._plane().get(key))

    def put(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``. S3 does not tell the stamp of what it just stored."""
        self._sent(lambda: self._plane().put(key, data))
        return None

    def keep(self, key: str, data: bytes) -> Stamp | None:
        """See ``Store``. One request, unless it is there already."""
        for nth in range(TRIES_MAX):
            if self._sent(lambda: self._is_new(key, data)):
                return None
            same = self._is_same(key, data)
            if same is not None:
                refuse_other(key, same=same)
                return None
            # obstore tells a 409, of two at once, as it tells that the object is there.
            time.sleep(0.05 * 3**nth)
        raise StoreUnreachable(f"the store says that {key} exists, but it cannot be read")

    def _is_same(self, key: str, data: bytes) -> bool | None:
        """Compare what is there; None if nothing is. Of a large object, only the size is read."""
        if len(data) > RECORD_BYTES_MAX:
            entry = self.stat(key)
            return None if entry is None else entry.size == len(data)
        found = self.get(key)
        return None if found is None else found.data == data

    def _is_new(self, key: str, data: bytes) -> bool:
        try:
            self._plane().create(key, data)
        except _RequestError as error:
            if _exists(error.failure):
                return False
            raise
        return True

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``. Sent once; whatever is not a plain success has to be read back."""
        try:
            self._plane().create(key, data)
        except _RequestError as error:
            failure = error.failure
            cause = f"{failure.status or 'no answer'} {failure.code}".strip()
            if _exists(failure):
                return Created(Outcome.EXISTS, cause=cause)
            if _again(failure):
                return Created(Outcome.UNKNOWN, cause=cause)
            raise explain(failure, self._settings) from error
        return Created(Outcome.WON)

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        """See ``Store``."""
        if folders:
            rows = self._sent(lambda: self._plane().folders(prefix))
            return [row for row in sorted(rows) if row.key > after][:limit]
        # Not sorted here: a server that does not sort must not pass the probe.
        return self._sent(lambda: self._plane().page(prefix, after, limit))

    def stat(self, key: str) -> Entry | None:
        """See ``Store``.

        A HEAD has no body, so it cannot tell a proxy's answer from the server's; a GET can.
        """
        found = self._sent(lambda: self._plane().stat(key))
        return found or self._sent(lambda: self._plane().look(key))

    def delete(self, *keys: str) -> None:
        """See ``Store``. One request for up to a thousand."""
        for start in range(0, len(keys), DELETE_MAX):
            some = keys[start : start + DELETE_MAX]
            self._sent(lambda some=some: self._plane().delete(some))  # type: ignore[misc]

    def put_file(
        self, key: str, path: Path, digest: str, progress: Callable[[int], None] | None
    ) -> None:
        """See ``Store``. Large files go up in parts; the object exists only when all are there.

        obstore completes parts without a condition. What is there then gets the same bytes again,
        unless the caller has looked for it first.
        """
        with CheckedReader(path, digest, progress) as reader:
            try:
                self._plane().upload(key, reader)
            except _RequestError as error:
                failure = error.failure
                if not _exists(failure) and failure.status != 409:
                    raise explain(failure, self._settings) from error
                found = self.stat(key)
                if found is None:  # a 409: another upload ends at this moment
                    raise StoreUnreachable(
                        f"{key} was written by two at once: {failure.text}",
                        hint="run the same command again",
                    ) from error
                refuse_other(key, same=found.size == path.stat().st_size)

    def get_file(self, key: str) -> Iterator[bytes] | None:
        """See ``Store``."""
        pieces = self._sent(lambda: self._plane().download(key))
        return None if pieces is None else self._pieces(pieces)

    def _pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except _RequestError as error:
            raise explain(error.failure, self._settings) from error


def endpoint_in(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the endpoint that the environment names, by default the process's."""
    environ = os.environ if environ is None else environ
    return environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None


def _complete(settings: S3Settings, environ: Mapping[str, str]) -> S3Settings:
    return settings._replace(
        endpoint=settings.endpoint or endpoint_in(environ),
        region=settings.region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or None,
    )


def _static_keys(settings: S3Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that the environment holds; none where a profile is asked for."""
    names = ("access_key_id", "secret_access_key", "session_token")
    keys = {name: environ.get(f"AWS_{name.upper()}") for name in names}
    if settings.profile or not keys["access_key_id"] or not keys["secret_access_key"]:
        return {}
    return {name: value for name, value in keys.items() if value}


# What a bucket may be called that was made long ago, or by another server; and a new one.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_NEW_BUCKET = r"(?!.*\.\.|[\d.]+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(\d{1,5}))?(/[!-~]*)?")


def _checked(settings: S3Settings) -> S3Settings:
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


# -- obstore --------------------------------------------------------------------------------------

_obstore_used = False
_forked_after_use = False


def _after_fork() -> None:
    global _forked_after_use  # noqa: PLW0603 - a fact about the process
    _forked_after_use = _forked_after_use or _obstore_used


os.register_at_fork(after_in_child=_after_fork)

_NOT_S3 = "the answer is not that of an S3 server"
# Compiled when first needed, for most requests do not fail.
_STATUS = r"status code: (\d{3})"
_CODE = r"<Code>\s*(\w+)\s*</Code>|\(code: (\w+)\)"


def _obstore_failure(error: Exception) -> _Failure:
    """Read status and S3 code out of an obstore error, which keeps them only in its text."""
    from obstore import exceptions

    text = str(error)
    status_text, code_text = re.search(_STATUS, text), re.search(_CODE, text)
    status = int(status_text[1]) if status_text else 0
    code = (code_text[1] or code_text[2]) if code_text else ""
    if isinstance(error, exceptions.AlreadyExistsError):
        # Also what obstore makes of a 409 that stored nothing.
        return _Failure(status or 412, "AlreadyExists", text)
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
    elif code_text and code_text[2] in _DENIED:
        status = 403  # one of several removals, which have no status of their own
    summary = text.partition("\n\nDebug source")[0].strip().splitlines()
    return _Failure(status, code, summary[0][:300] if summary else type(error).__name__)


def _stamp_in(meta: Mapping[str, Any]) -> Stamp:
    """Read the stamp of an answer; where it has none obstore says 1970, and a lease would end."""
    moment = meta["last_modified"]
    if moment.year == 1970:
        raise _RequestError(_Failure(0, "", _NOT_S3))
    return stamp_of(moment)


def _tag(text: str | None) -> str:
    return (text or "").strip('"')


class _Obstore:
    def __init__(self, settings: S3Settings, environ: Mapping[str, str]) -> None:
        import obstore
        from obstore import exceptions

        self._obstore = obstore
        self._errors = (exceptions.BaseError, OSError, NotImplementedError)
        self._options: dict[str, Any] = {
            "bucket": settings.bucket,
            "region": settings.region or "us-east-1",
        }
        if settings.prefix:
            self._options["prefix"] = settings.prefix
        if settings.endpoint:
            self._options["endpoint"] = settings.endpoint
        self._options |= _static_keys(settings, environ) or _credentials(settings, environ)
        self._http = (settings.endpoint or "").startswith("http://")
        self._records = self._client(REQUEST_TIMEOUT_S)
        self._uploads: Any = None
        self._downloads: Any = None

    def _client(self, timeout_s: float, **limits: timedelta) -> Any:
        options: Any = {
            "allow_http": self._http,
            # Where nothing is encrypted there is no certificate to check, and reading those of the
            # system takes longer than a request.
            "allow_invalid_certificates": self._http,
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=timeout_s),
            **limits,
        }
        return self._obstore.store.S3Store(
            **self._options,
            client_options=options,
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
        )

    def _large(self) -> Any:
        if self._uploads is None:
            self._uploads = self._client(PART_TIMEOUT_S)
        return self._uploads

    def _long(self) -> Any:
        if self._downloads is None:
            silence = timedelta(seconds=SILENCE_MAX_S)
            self._downloads = self._client(DOWNLOAD_TIMEOUT_S, read_timeout=silence)
        return self._downloads

    def _failed(self, error: Exception) -> NoReturn:
        raise _RequestError(_obstore_failure(error)) from error

    def _absent(self, error: Exception, *, said: bool = False) -> None:
        """Accept a plain 404, but not that of a bucket which is gone.

        With ``said`` the answer has to say that it is the object which is not there: a proxy
        answers 404, too, while it cannot find the server.
        """
        text = str(error)
        if not isinstance(error, FileNotFoundError) or "NoSuchBucket" in text:
            self._failed(error)
        # Most looks for a next slot end here, so what servers write is found without patterns.
        said = said and "<Code>NoSuchKey</Code>" not in text
        if said and _obstore_failure(error).code != "NoSuchKey":
            raise _RequestError(_Failure(0, "", _NOT_S3)) from error

    def _call(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        global _obstore_used  # noqa: PLW0603 - a fact about the process
        _obstore_used = True
        return verb(*args, **options)

    def get(self, key: str) -> Found | None:
        try:
            reply = self._call(self._obstore.get, self._records, key)
            return Found(bytes(reply.bytes()), _stamp_in(reply.meta))
        except self._errors as error:
            self._absent(error, said=True)
            return None

    def put(self, key: str, data: bytes) -> None:
        client = self._records if len(data) <= RECORD_BYTES_MAX else self._large()
        try:
            self._call(self._obstore.put, client, key, data, use_multipart=False)
        except self._errors as error:
            self._failed(error)

    def create(self, key: str, data: bytes) -> None:
        client = self._records if len(data) <= RECORD_BYTES_MAX else self._large()
        try:
            self._call(self._obstore.put, client, key, data, mode="create", use_multipart=False)
        except self._errors as error:
            self._failed(error)

    def page(self, prefix: str, after: str, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        try:
            pages = self._call(
                self._obstore.list,
                self._records,
                prefix,
                offset=after or None,
                chunk_size=min(limit, LIST_PAGE_MAX),
            )
            for page in pages:
                entries += [
                    Entry(row["path"], row["size"], stamp_of(row["last_modified"])) for row in page
                ]
                if len(entries) >= limit:
                    break
        except self._errors as error:
            self._absent(error)
        return entries[:limit]

    def folders(self, prefix: str) -> list[Entry]:
        try:
            reply = self._call(self._obstore.list_with_delimiter, self._records, prefix)
        except self._errors as error:
            self._absent(error)
            return []
        return [Entry(f"{path}/") for path in reply["common_prefixes"]]

    def stat(self, key: str) -> Entry | None:
        try:
            meta = self._call(self._obstore.head, self._records, key)
        except self._errors as error:
            self._absent(error)
            return None
        return self._entry(key, meta)

    def look(self, key: str) -> Entry | None:
        try:
            # Its bytes stay unread.
            meta = self._call(self._obstore.get, self._records, key).meta
        except self._errors as error:
            self._absent(error, said=True)
            return None
        return self._entry(key, meta)

    def _entry(self, key: str, meta: Mapping[str, Any]) -> Entry:
        return Entry(key, meta["size"], _stamp_in(meta), _tag(meta["e_tag"]))

    def delete(self, keys: Sequence[str]) -> None:
        try:
            one = keys[0] if len(keys) == 1 else list(keys)
            self._call(self._obstore.delete, self._records, one)
        except self._errors as error:
            self._absent(error)

    def upload(self, key: str, reader: CheckedReader) -> None:
        first = _filled(reader)
        if len(first) < PART_BYTES:
            self.create(key, first)
            return
        try:
            # An iterator, not the reader itself: its errors come back as they were raised.
            self._call(
                self._obstore.put,
                self._large(),
                key,
                _parts(first, reader),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        except self._errors as error:
            self._failed(error)

    def download(self, key: str) -> Iterator[bytes] | None:
        try:
            reply = self._call(self._obstore.get, self._long(), key)
        except self._errors as error:
            self._absent(error, said=True)
            return None
        return self._stream(reply)

    def _stream(self, reply: Any) -> Iterator[bytes]:
        try:
            for piece in reply.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)
        except self._errors as error:
            self._failed(error)


# -- boto3 ----------------------------------------------------------------------------------------


def _session(settings: S3Settings, environ: Mapping[str, str]) -> Any:
    """Find the credentials by the full AWS chain: profiles, SSO, assume-role, instance roles."""
    import boto3
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    keys: dict[str, Any] = {f"aws_{k}": v for k, v in _static_keys(settings, environ).items()}
    try:
        session = boto3.session.Session(
            profile_name=settings.profile, region_name=settings.region or None, **keys
        )
        found = session.get_credentials()
    except ProfileNotFound as error:
        raise UsageError(
            str(error), code="profile-missing", hint="aws configure list-profiles"
        ) from None
    except (BotoCoreError, OSError, ValueError) as error:
        # ValueError: what a credential_process printed is not JSON.
        failure = _boto3_failure(error)
        unclear = not failure.status and not failure.code
        raise _RequestError(
            failure._replace(code="Misconfigured") if unclear else failure
        ) from error
    if found is None:
        raise _RequestError(_Failure(0, "NoCredentials", "no credentials"))
    return session


def _credentials(settings: S3Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """What obstore has to be told when the environment holds no static keys."""
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = _session(settings, environ)
    options: dict[str, Any] = {"credential_provider": Boto3CredentialProvider(session)}
    if session.region_name:
        options["region"] = session.region_name
    return options


def _boto3_client(settings: S3Settings, environ: Mapping[str, str]) -> S3Client:
    from botocore.config import Config

    client: S3Client = _session(settings, environ).client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region or None,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=REQUEST_TIMEOUT_S,
            retries={"total_max_attempts": 1},
            max_pool_connections=64,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if settings.endpoint else {},
        ),
    )
    return client


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


def _boto3_failure(error: Exception) -> _Failure:
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))
        # A HEAD has no body, so its code is only the status again.
        return _Failure(status, "" if code.isdigit() else code, str(error))
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return _Failure(0, "NoCredentials", str(error))
    # By name, because not every release of botocore has all of them.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"KeyError", "ResponseParserError"}:
        return _Failure(0, "", _NOT_S3)
    if kinds & _NO_TOKEN:
        return _Failure(403, "", str(error))
    return _Failure(0, "Misconfigured" if kinds & _UNSENT else "", str(error))


class _Boto3:
    def __init__(self, settings: S3Settings, environ: Mapping[str, str]) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, UndefinedModelAttributeError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        self._errors = (
            BotoCoreError,
            ClientError,
            Boto3Error,
            UndefinedModelAttributeError,
            OSError,
            ResponseParserError,
            HTTPError,
            KeyError,  # a header or an element that S3 always sends
        )
        self._bucket = settings.bucket
        self._prefix = f"{settings.prefix}/" if settings.prefix else ""
        try:
            self._client = _boto3_client(settings, environ)
        except self._errors as error:
            self._failed(error)

    def _failed(self, error: Exception) -> NoReturn:
        raise _RequestError(_boto3_failure(error)) from error

    def _absent(self, error: Exception, *, said: bool = False) -> None:
        failure = _boto3_failure(error)
        if failure.status != 404 or failure.code == "NoSuchBucket":
            raise _RequestError(failure) from error
        if said and failure.code != "NoSuchKey":
            raise _RequestError(_Failure(0, "", _NOT_S3)) from error

    def get(self, key: str) -> Found | None:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return Found(reply["Body"].read(), stamp_of(reply["LastModified"]))
        except self._errors as error:
            self._absent(error, said=True)
            return None

    def put(self, key: str, data: bytes) -> None:
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)
        except self._errors as error:
            self._failed(error)

    def create(self, key: str, data: bytes) -> None:
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*"
            )
        except self._errors as error:
            self._failed(error)

    def page(self, prefix: str, after: str, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        start: dict[str, Any] = {"StartAfter": self._prefix + after} if after else {}
        cut = len(self._prefix)
        while len(entries) < limit:
            try:
                page = self._client.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=f"{self._prefix}{prefix}/",
                    MaxKeys=min(limit - len(entries), LIST_PAGE_MAX),
                    **start,
                )
            except self._errors as error:
                self._failed(error)
            rows = page.get("Contents", [])
            entries += [
                Entry(row["Key"][cut:], row["Size"], stamp_of(row["LastModified"])) for row in rows
            ]
            if not rows or not page.get("IsTruncated"):
                break
            start = {"StartAfter": rows[-1]["Key"]}
        return entries

    def folders(self, prefix: str) -> list[Entry]:
        cut = len(self._prefix)
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}/", Delimiter="/"
            )
            rows = [row for page in pages for row in page.get("CommonPrefixes", [])]
            return [Entry(row["Prefix"][cut:]) for row in rows]
        except self._errors as error:
            self._failed(error)

    def stat(self, key: str) -> Entry | None:
        try:
            reply = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except self._errors as error:
            self._absent(error)
            return None
        return self._entry(key, reply)

    def look(self, key: str) -> Entry | None:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            reply["Body"].close()  # unread
        except self._errors as error:
            self._absent(error, said=True)
            return None
        return self._entry(key, reply)

    def _entry(self, key: str, reply: Any) -> Entry:
        stored = stamp_of(reply["LastModified"])
        return Entry(key, reply["ContentLength"], stored, _tag(reply.get("ETag")))

    def delete(self, keys: Sequence[str]) -> None:
        try:
            if len(keys) == 1:
                self._client.delete_object(Bucket=self._bucket, Key=self._prefix + keys[0])
                return
            objects: Any = {"Objects": [{"Key": self._prefix + key} for key in keys], "Quiet": True}
            reply = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
        except self._errors as error:
            self._failed(error)
        # The whole is answered 200; what became of each object stands in the answer.
        for row in reply.get("Errors", ()):
            code = row.get("Code", "")
            status = 403 if code in _DENIED else 500
            raise _RequestError(_Failure(status, code, row.get("Message", "")))

    def upload(self, key: str, reader: CheckedReader) -> None:
        first = _filled(reader)
        if len(first) < PART_BYTES:
            self.create(key, first)
            return
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            upload = self._client.create_multipart_upload(**where)["UploadId"]
            try:
                parts: list[Any] = []
                for number, piece in enumerate(_parts(first, reader), 1):
                    tag = self._client.upload_part(
                        **where, UploadId=upload, PartNumber=number, Body=piece
                    )["ETag"]
                    parts.append({"PartNumber": number, "ETag": tag})
                self._client.complete_multipart_upload(
                    **where, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
            except BaseException:
                # Its failure would hide why the upload was given up.
                with contextlib.suppress(*self._errors):
                    self._client.abort_multipart_upload(**where, UploadId=upload)
                raise
        except self._errors as error:
            self._failed(error)

    def download(self, key: str) -> Iterator[bytes] | None:
        try:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
        except self._errors as error:
            self._absent(error, said=True)
            return None
        return self._stream(reply["Body"])

    def _stream(self, body: Any) -> Iterator[bytes]:
        try:
            yield from body.iter_chunks(CHUNK_BYTES)
        except self._errors as error:
            self._failed(error)


def _parts(first: bytes, reader: CheckedReader) -> Iterator[bytes]:
    part = first
    while part:
        yield part
        part = _filled(reader)


def _filled(reader: CheckedReader) -> bytes:
    """Read one part in full: short only at the end of the file."""
    part = io.BytesIO()
    while part.tell() < PART_BYTES and (data := reader.read(PART_BYTES - part.tell())):
        part.write(data)
    return part.getvalue()


# -- what only `init` and `doctor` need -----------------------------------------------------------


def check_new_bucket(bucket: str) -> None:
    """Refuse a name that no new bucket can have.

    Raises:
        UsageError: by the rules of AWS.
    """
    if not re.fullmatch(_NEW_BUCKET, bucket):
        raise UsageError(
            f"there is no bucket {bucket!r}, and none of that name can be made: 3 to 63 of a to z,"
            " 0 to 9, - and .",
            code="bad-store",
            hint="tclog init s3://bucket/prefix --create-bucket",
        )


def create_bucket(settings: S3Settings, environ: Mapping[str, str] | None = None) -> bool:
    """Make the bucket; False if this account has it already.

    Raises:
        StoreError: it cannot be made.
    """
    settings = _complete(settings, os.environ if environ is None else environ)
    plane = S3Store(settings, environ)._open("boto3")  # noqa: SLF001 - same module
    assert isinstance(plane, _Boto3)  # noqa: S101 - narrows for the type checker
    where: dict[str, Any] = {"Bucket": settings.bucket}
    if settings.region and settings.region != "us-east-1" and not settings.endpoint:
        where["CreateBucketConfiguration"] = {"LocationConstraint": settings.region}
    try:
        plane._client.create_bucket(**where)  # noqa: SLF001 - same module
    except plane._errors as error:  # noqa: SLF001 - same module
        failure = _boto3_failure(error)
        if failure.code == "BucketAlreadyOwnedByYou":
            return False
        if failure.code == "InvalidBucketName":
            check_new_bucket(settings.bucket)
        raise explain(failure, settings) from error
    return True


def bucket_settings(
    settings: S3Settings, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Read what `doctor` reports of a bucket: versioning, life-cycle rules, public access.

    A setting that the server does not tell is reported as such, never guessed.
    """
    settings = _complete(settings, os.environ if environ is None else environ)
    plane = S3Store(settings, environ)._open("boto3")  # noqa: SLF001 - same module
    assert isinstance(plane, _Boto3)  # noqa: S101 - narrows for the type checker
    client = plane._client  # noqa: SLF001 - same module
    bucket = settings.bucket

    def read(what: Callable[[], str], absent: str) -> str:
        try:
            return what()
        except plane._errors as error:  # noqa: SLF001 - same module
            failure = _boto3_failure(error)
            return absent if failure.status == 404 else f"not told ({failure.code or 'no answer'})"

    def public() -> str:
        rules = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        return "blocked" if rules and all(rules.values()) else "not blocked"

    def rules() -> str:
        found = client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
        active = [row for row in found if row.get("Status") == "Enabled"]
        return f"{len(active)} active rules" if active else "none"

    return {
        "versioning": read(
            lambda: client.get_bucket_versioning(Bucket=bucket).get("Status", "off").lower(), "off"
        ),
        "lifecycle": read(rules, "none"),
        "public access": read(public, "no block is set"),
    }
