"""Requests by obstore.

*All* its retries are off: its retry loop can send a create twice and then report a conflict with
its own success. It hangs forever in a child of a process that has used it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from tclog.clock import Stamp, stamp_of
from tclog.store.base import LIST_PAGE_MAX, Entry, Found
from tclog.store.reader import CHUNK_BYTES, CheckedReader
from tclog.store.s3 import limits
from tclog.store.s3.credentials import Provider, find_credentials, keys_in
from tclog.store.s3.failures import Failure, RequestError
from tclog.store.s3.plane import OddKeysError, filled, parts, tag
from tclog.store.s3.raised import NOT_S3, obstore_failure
from tclog.store.s3.settings import S3Settings

# obstore's error for a listing with a key that it cannot represent.
_NO_NAME = "Encountered object with invalid path"

_used = False
_forked_after_use = False


def forked_after_use() -> bool:
    """Whether this process is the child of one that has used obstore."""
    return _forked_after_use


def _after_fork() -> None:
    global _forked_after_use  # noqa: PLW0603 - a fact about the process
    _forked_after_use = _forked_after_use or _used


if hasattr(os, "register_at_fork"):  # elsewhere nothing forks
    os.register_at_fork(after_in_child=_after_fork)


def _stamp_in(meta: Mapping[str, Any]) -> Stamp:
    """Read the stamp of an answer; without one obstore says 1970, and a lease would end."""
    moment = meta["last_modified"]
    if moment.year == 1970:
        raise RequestError(Failure(0, "", NOT_S3))
    return stamp_of(moment)


# Variables that obstore reads in spite of all arguments: no argument means "none".
_STUBBORN = (
    "AWS_CHECKSUM_ALGORITHM",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
    "AWS_SSE_KMS_KEY_ID",
)
# The same for credentials without a token.
_TOKENS = ("AWS_SESSION_TOKEN", "AWS_TOKEN")
_hiding = threading.Lock()


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Hide variables from obstore while it makes a client.

    ``os.environ`` stays as it is, so other threads of Python notice nothing.
    """
    with _hiding:
        found = {name: value for name, value in os.environ.items() if name.upper() in names}
        for name in found:
            os.unsetenv(name)
        try:
            yield
        finally:
            for name, value in found.items():
                os.putenv(name, value)


def _options(settings: S3Settings) -> dict[str, Any]:
    """Return an argument for everything that obstore would otherwise read from the environment."""
    options = {
        "bucket": settings.bucket,
        "region": settings.signed_for,
        "endpoint": settings.bucket_url if settings.virtual else settings.server,
        "virtual_hosted_style_request": settings.virtual,
        "s3_express": False,
        "unsigned_payload": False,
        "skip_signature": False,
        "conditional_put": "etag",
        "copy_if_not_exists": "multipart",
        "disable_tagging": False,
        "disable_bulk_delete": False,
        "request_payer": settings.request_payer,
    }
    options["aws_endpoint_url_s3"] = options["endpoint"]  # goes before the other
    found = {
        "prefix": settings.prefix or None,
        "checksum_algorithm": settings.checksum,
        "server_side_encryption": settings.sse,
        "sse_kms_key_id": settings.sse_kms_key,
    }
    return options | {name: value for name, value in found.items() if value is not None}


def _connection(settings: S3Settings) -> dict[str, Any]:
    """Return how connections are made; it overrides the environment, also if there is no proxy."""
    plain = settings.server.startswith("http://")
    options: dict[str, Any] = {
        "allow_http": plain,
        # Without TLS there is no certificate to check, and reading the system's takes longer than
        # a request.
        "allow_invalid_certificates": plain,
        "connect_timeout": timedelta(seconds=limits.CONNECT_TIMEOUT_S),
        # The second leaves out every host.
        "proxy_url": settings.proxy or "http://127.0.0.1:9",
        "proxy_excludes": "" if settings.proxy else "*,0.0.0.0/0,::/0",
    }
    if settings.ca_bundle is not None:
        with open(settings.ca_bundle, "rb") as file:  # noqa: PTH123 - loading pathlib takes time
            options["root_certificate"] = file.read()
    return options


class ObstorePlane:
    def __init__(self, settings: S3Settings, environ: Mapping[str, str]) -> None:
        import obstore
        from obstore import exceptions

        self.skipped: set[str] = set()
        self._obstore = obstore
        self.errors = (exceptions.BaseError, OSError, NotImplementedError)
        self._provider: Provider | None = None
        try:
            self._options, self._connection = _options(settings), _connection(settings)
            self._options |= self._keys(settings, environ)
            self._records = self._client(limits.REQUEST_TIMEOUT_S)
        except (*self.errors, ValueError) as error:
            # Nothing was sent.
            failure = obstore_failure(error)
            raise RequestError(failure._replace(code="Misconfigured")) from error
        self._uploads: Any = None
        self._downloads: Any = None

    def _keys(self, settings: S3Settings, environ: Mapping[str, str]) -> dict[str, Any]:
        keys = keys_in(settings, environ)
        if keys is None:
            self._provider = Provider(find_credentials(settings, environ))
            return {"credential_provider": self._provider}
        said = {"access_key_id": keys.key_id, "secret_access_key": keys.secret}
        return said if keys.token is None else {**said, "session_token": keys.token}

    def _client(self, timeout_s: float, **timeouts: timedelta) -> Any:
        tokens = () if "session_token" in self._options else _TOKENS
        with _hidden(*_STUBBORN, *tokens):
            return self._obstore.store.S3Store(
                **self._options,
                client_options={  # type: ignore[arg-type]
                    **self._connection,
                    "timeout": timedelta(seconds=timeout_s),
                    **timeouts,
                },
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout_s)},
            )

    def _large(self) -> Any:
        if self._uploads is None:
            self._uploads = self._client(limits.PART_TIMEOUT_S)
        return self._uploads

    def _long(self) -> Any:
        if self._downloads is None:
            silence = timedelta(seconds=limits.SILENCE_MAX_S)
            self._downloads = self._client(limits.DOWNLOAD_TIMEOUT_S, read_timeout=silence)
        return self._downloads

    def _failed(self, error: Exception) -> NoReturn:
        failure = self._provider.failure if self._provider is not None else None
        raise RequestError(failure or obstore_failure(error)) from error

    def _absent(self, error: Exception, *, said: bool = False) -> None:
        """Accept a plain 404, but not the 404 of a missing bucket.

        With ``said`` the answer must say that the object is missing: a proxy also answers 404 while
        it cannot find the server.
        """
        text = str(error)
        if not isinstance(error, FileNotFoundError) or "NoSuchBucket" in text:
            self._failed(error)
        # Most reads of a next slot end here, so this needs no patterns.
        said = said and "<Code>NoSuchKey</Code>" not in text
        if said and obstore_failure(error).code != "NoSuchKey":
            raise RequestError(Failure(0, "", NOT_S3)) from error

    def _call(self, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        global _used  # noqa: PLW0603 - a fact about the process
        _used = True
        return verb(*args, **options)

    def get(self, key: str) -> Found | None:
        try:
            reply = self._call(self._obstore.get, self._records, key)
            return Found(bytes(reply.bytes()), _stamp_in(reply.meta))
        except self.errors as error:
            self._absent(error, said=True)
            return None

    def put(self, key: str, data: bytes) -> None:
        client = self._records if len(data) <= limits.RECORD_BYTES_MAX else self._large()
        try:
            self._call(self._obstore.put, client, key, data, use_multipart=False)
        except self.errors as error:
            self._failed(error)

    def create(self, key: str, data: bytes) -> None:
        client = self._records if len(data) <= limits.RECORD_BYTES_MAX else self._large()
        try:
            self._call(self._obstore.put, client, key, data, mode="create", use_multipart=False)
        except self.errors as error:
            self._failed(error)

    def page(self, prefix: str, after: str, limit: int) -> list[Entry]:
        entries: list[Entry] = []
        inside, last = f"{prefix}/", after
        try:
            pages = self._call(
                self._obstore.list,
                self._records,
                prefix,
                offset=after or None,
                chunk_size=min(limit, LIST_PAGE_MAX),
            )
            for page in pages:
                for row in page:
                    key = row["path"]
                    if not key.startswith(inside):
                        self.skipped.add(inside)  # the folder's own marker
                        continue
                    if key <= last or (not row["size"] and not key.endswith(".json")):
                        raise OddKeysError
                    last = key
                    entries.append(Entry(key, row["size"], stamp_of(row["last_modified"])))
                if len(entries) >= limit:
                    break
        except self.errors as error:
            self._not_listed(error)
        return entries[:limit]

    def _not_listed(self, error: Exception) -> None:
        if _NO_NAME in str(error):
            raise OddKeysError from error
        self._absent(error)

    def folders(self, prefix: str) -> list[Entry]:
        try:
            reply = self._call(self._obstore.list_with_delimiter, self._records, prefix)
        except self.errors as error:
            self._not_listed(error)
            return []
        return [Entry(f"{path}/") for path in reply["common_prefixes"]]

    def stat(self, key: str) -> Entry | None:
        try:
            meta = self._call(self._obstore.head, self._records, key)
        except self.errors as error:
            self._absent(error)
            return None
        return self._entry(key, meta)

    def look(self, key: str) -> Entry | None:
        try:
            # Its bytes stay unread.
            meta = self._call(self._obstore.get, self._records, key).meta
        except self.errors as error:
            self._absent(error, said=True)
            return None
        return self._entry(key, meta)

    def _entry(self, key: str, meta: Mapping[str, Any]) -> Entry:
        return Entry(key, meta["size"], _stamp_in(meta), tag(meta["e_tag"]))

    def delete(self, keys: Sequence[str]) -> None:
        try:
            one = keys[0] if len(keys) == 1 else list(keys)
            self._call(self._obstore.delete, self._records, one)
        except self.errors as error:
            self._absent(error)

    def upload(self, key: str, reader: CheckedReader) -> None:
        first = filled(reader)
        if len(first) < limits.PART_BYTES:
            self.create(key, first)
            return
        try:
            # An iterator, not the reader itself: so its errors arrive unchanged.
            self._call(
                self._obstore.put,
                self._large(),
                key,
                parts(first, reader),
                use_multipart=True,
                chunk_size=limits.PART_BYTES,
                max_concurrency=limits.PARTS_AT_ONCE,
            )
        except self.errors as error:
            self._failed(error)

    def download(self, key: str) -> Iterator[bytes] | None:
        try:
            reply = self._call(self._obstore.get, self._long(), key)
        except self.errors as error:
            self._absent(error, said=True)
            return None
        return self._stream(reply)

    def _stream(self, reply: Any) -> Iterator[bytes]:
        try:
            for piece in reply.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)
        except self.errors as error:
            self._failed(error)
