"""Requests by boto3.

It does what obstore cannot: making a bucket, reading its settings, listings with odd keys. It sends
all requests if configured (``client="boto3"``), after a fork, and without threads for obstore.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tclog.clock import stamp_of
from tclog.store.base import LIST_PAGE_MAX, Entry, Found, not_forward
from tclog.store.reader import CHUNK_BYTES, CheckedReader
from tclog.store.s3 import limits
from tclog.store.s3.credentials import find_credentials
from tclog.store.s3.failures import DENIED, Failure, RequestError
from tclog.store.s3.plane import filled, parts, tag
from tclog.store.s3.raised import NOT_S3, boto3_failure
from tclog.store.s3.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Keys that no client of tclog writes and no folder could hold: with an empty part (such as folder
# markers of other programs), with . or .. as a part, or with a control character.
_FOREIGN = r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]"


def _session(credentials: Any) -> Any:
    """Make a session that takes nothing from the environment or a file.

    Each of botocore's variables keeps its default. The client gets all settings as arguments.
    """
    import boto3
    import botocore.session
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConstantProvider

    variables = {
        name: (None, None, default, cast)
        for name, (_, _, default, cast) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    variables["config_file"] = variables["credentials_file"] = (None, None, os.devnull, None)
    session = botocore.session.Session(session_vars=variables)
    session.get_component("config_store").set_config_provider("s3", ConstantProvider({}))
    session.register_component("credential_provider", _Found(credentials))
    return boto3.session.Session(botocore_session=session)


class _Found(NamedTuple):
    """Replaces botocore's search for credentials, which tclog has done already."""

    credentials: Any

    def load_credentials(self) -> Any:
        return self.credentials


def boto3_client(settings: S3Settings, environ: Mapping[str, str]) -> S3Client:
    import ssl

    from botocore.config import Config

    # The system's certificates, as for obstore; botocore would use its own.
    bundle = settings.ca_bundle or ssl.get_default_verify_paths().cafile or True
    client: S3Client = _session(find_credentials(settings, environ)).client(
        "s3",
        endpoint_url=settings.server,
        region_name=settings.signed_for,
        verify=bundle,
        config=Config(
            connect_timeout=limits.CONNECT_TIMEOUT_S,
            read_timeout=limits.REQUEST_TIMEOUT_S,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=64,
            signature_version="s3v4",
            proxies=dict.fromkeys(("http", "https"), settings.proxy) if settings.proxy else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            use_dualstack_endpoint=False,
            use_fips_endpoint=False,
            s3={
                "addressing_style": "virtual" if settings.virtual else "path",
                "payload_signing_enabled": True,
                "use_accelerate_endpoint": False,
                "us_east_1_regional_endpoint": "regional",
            },
        ),
    )
    client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
    client.meta.events.register("provide-client-params.s3", partial(_add_rules, settings))
    return client


def _add_rules(settings: S3Settings, params: Any, model: Any, **_: Any) -> Any:
    """Add the bucket's required headers to each request that takes them."""
    asked = {
        "RequestPayer": "requester" if settings.request_payer else None,
        "ServerSideEncryption": settings.sse,
        "SSEKMSKeyId": settings.sse_kms_key,
    }
    if settings.checksum is not None:
        body = params.get("Body")
        asked["ChecksumSHA256"] = None if body is None else checksum_of(body)
        if model.name == "CreateMultipartUpload":
            asked["ChecksumAlgorithm"] = "SHA256"
    places = model.input_shape.members if model.input_shape is not None else {}
    found = {name: value for name, value in asked.items() if value and name in places}
    return {**params, **found}


def checksum_of(data: bytes) -> str:
    """Return the SHA-256 of a body, as S3 writes it."""
    import hashlib
    from base64 import b64encode

    return b64encode(hashlib.sha256(data).digest()).decode()


def _add_md5(request: Any, **_: Any) -> None:
    """Add the checksum that many servers require for the removal of several objects.

    obstore sends it, too. botocore now sends others instead.
    """
    import hashlib
    from base64 import b64encode

    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = b64encode(digest).decode()


class Boto3Plane:
    def __init__(self, settings: S3Settings, environ: Mapping[str, str]) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, UndefinedModelAttributeError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        self.errors = (
            BotoCoreError,
            ClientError,
            Boto3Error,
            UndefinedModelAttributeError,
            OSError,
            ResponseParserError,
            HTTPError,
            KeyError,  # a header or an element that S3 always sends
            RecursionError,  # redirects that lead in a circle
        )
        self.skipped: set[str] = set()
        self._bucket = settings.bucket
        self._prefix = f"{settings.prefix}/" if settings.prefix else ""
        self._checksum = settings.checksum is not None
        try:
            self.client = boto3_client(settings, environ)
        except self.errors as error:
            self._failed(error)

    def _failed(self, error: Exception) -> NoReturn:
        raise RequestError(boto3_failure(error)) from error

    def _absent(self, error: Exception, *, said: bool = False) -> None:
        failure = boto3_failure(error)
        if failure.status != 404 or failure.code == "NoSuchBucket":
            raise RequestError(failure) from error
        if said and failure.code != "NoSuchKey":
            raise RequestError(Failure(0, "", NOT_S3)) from error

    def get(self, key: str) -> Found | None:
        try:
            reply = self.client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return Found(reply["Body"].read(), stamp_of(reply["LastModified"]))
        except self.errors as error:
            self._absent(error, said=True)
            return None

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data)

    def create(self, key: str, data: bytes) -> None:
        self._put(key, data, IfNoneMatch="*")

    def _put(self, key: str, data: bytes, **condition: Any) -> None:
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key, **condition}
        try:
            reply = self.client.put_object(**where, Body=data)
            reply["ETag"]  # a proxy's page would count as a success
        except self.errors as error:
            self._failed(error)

    def page(
        self, prefix: str, after: str, limit: int, page_max: int = LIST_PAGE_MAX
    ) -> list[Entry]:
        entries: list[Entry] = []
        last = self._prefix + after if after else ""
        start: dict[str, Any] = {"StartAfter": last} if after else {}
        cut = len(self._prefix)
        for page in self._pages(f"{self._prefix}{prefix}/", min(limit, page_max), start):
            for row in page.get("Contents", []):
                if row["Key"] <= last:
                    raise not_forward(self._bucket, last)
                last = row["Key"]
                if not re.search(_FOREIGN, last[cut:]):
                    stored = stamp_of(row["LastModified"])
                    entries.append(Entry(last[cut:], row["Size"], stored))
                elif len(self.skipped) < limits.SKIPPED_MAX:
                    self.skipped.add(last[cut:])
            if len(entries) >= limit:
                break
        return entries[:limit]

    def folders(self, prefix: str) -> list[Entry]:
        found: list[Entry] = []
        last, cut = "", len(self._prefix)
        start = {"Delimiter": "/"}
        for page in self._pages(self._prefix + f"{prefix}/" * bool(prefix), LIST_PAGE_MAX, start):
            for row in page.get("CommonPrefixes", []):
                if row["Prefix"] <= last:
                    raise not_forward(self._bucket, last)
                last = row["Prefix"]
                if not re.search(_FOREIGN, last[cut:-1]):
                    found.append(Entry(last[cut:]))
        return found

    def _pages(self, prefix: str, page_max: int, start: dict[str, Any]) -> Iterator[Any]:
        """Yield the pages of a listing; the caller checks that they go forward."""
        token = None
        for _ in range(limits.PAGES_MAX):
            try:
                page = self.client.list_objects_v2(
                    Bucket=self._bucket,
                    Prefix=prefix,
                    MaxKeys=page_max,
                    **start,
                )
            except self.errors as error:
                self._failed(error)
            yield page
            before, token = token, page.get("NextContinuationToken")
            if not page.get("IsTruncated"):
                return
            if not token or token == before:
                raise not_forward(self._bucket, prefix)
            start = {**start, "ContinuationToken": token}
        raise not_forward(self._bucket, prefix)

    def stat(self, key: str) -> Entry | None:
        try:
            reply = self.client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            return self._entry(key, reply)
        except self.errors as error:
            self._absent(error)
            return None

    def look(self, key: str) -> Entry | None:
        try:
            reply = self.client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            reply["Body"].close()  # unread
            return self._entry(key, reply)
        except self.errors as error:
            self._absent(error, said=True)
            return None

    def _entry(self, key: str, reply: Any) -> Entry:
        stored = stamp_of(reply["LastModified"])
        return Entry(key, reply["ContentLength"], stored, tag(reply.get("ETag")))

    def delete(self, keys: Sequence[str]) -> None:
        try:
            objects: Any = {"Objects": [{"Key": self._prefix + key} for key in keys]}
            reply = self.client.delete_objects(
                Bucket=self._bucket, Delete=objects, ChecksumAlgorithm="SHA256"
            )
        except self.errors as error:
            self._failed(error)
        # The answer is 200 in any case; its body has the result for each object.
        for row in reply.get("Errors", ()):
            code = row.get("Code", "")
            status = 403 if code in DENIED else 500
            raise RequestError(Failure(status, code, row.get("Message", "")))

    def upload(self, key: str, reader: CheckedReader) -> None:
        first = filled(reader)
        if len(first) < limits.PART_BYTES:
            self.create(key, first)
            return
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            upload = self.client.create_multipart_upload(**where)["UploadId"]
            try:
                sent: list[Any] = []
                for number, piece in enumerate(parts(first, reader), 1):
                    tag = self.client.upload_part(
                        **where, UploadId=upload, PartNumber=number, Body=piece
                    )["ETag"]
                    sums = {"ChecksumSHA256": checksum_of(piece)} if self._checksum else {}
                    sent.append({"PartNumber": number, "ETag": tag, **sums})
                self.client.complete_multipart_upload(
                    **where, UploadId=upload, MultipartUpload={"Parts": sent}, IfNoneMatch="*"
                )
            except BaseException:
                # Its failure would hide why the upload failed.
                with contextlib.suppress(*self.errors):
                    self.client.abort_multipart_upload(**where, UploadId=upload)
                raise
        except self.errors as error:
            self._failed(error)

    def download(self, key: str) -> Iterator[bytes] | None:
        try:
            reply = self.client.get_object(Bucket=self._bucket, Key=self._prefix + key)
        except self.errors as error:
            self._absent(error, said=True)
            return None
        return self._stream(reply["Body"])

    def _stream(self, body: Any) -> Iterator[bytes]:
        try:
            yield from body.iter_chunks(CHUNK_BYTES)
        except self.errors as error:
            self._failed(error)
