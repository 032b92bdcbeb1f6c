# ruff: noqa: E501 - a row is a line
"""What a server answers, and what the user is told: one table for both clients.

The next case is one line of ``ANSWERS``, ``REFUSED`` or ``TLS``.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tclog.errors import (
    StoreDenied,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreUnfit,
    StoreUnreachable,
    TclogError,
)
from tclog.store.base import Created, Outcome
from tclog.store.s3 import S3Settings, S3Store, limits

from .test_s3 import KEYS, self_signed

both = pytest.mark.parametrize("client", ["obstore", "boto3"])
HTML = "<html><body>Sign in to go on</body></html>"


class Answer(NamedTuple):
    """A server's answer, and what is told of it: class, code word, a part of the message, hint."""

    status: int
    code: str
    kind: type[StoreError]
    word: str
    says: str
    hint: str
    more: str = ""
    headers: Mapping[str, str] = {}
    page: str = ""
    message: str = "<Message>so it says</Message>"

    @property
    def body(self) -> bytes:
        if self.page or not self.code:
            return self.page.encode()
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code>{self.message}{self.more}</Error>"
        ).encode()


REGION = {"x-amz-bucket-region": "eu-central-1"}
NAMED = "<Region>eu-central-1</Region>"
WEB = {"Content-Type": "text/html; charset=utf-8"}
TO_REGION = "export TCLOG_REGION=eu-central-1"
KEYS_HINT = "aws configure list"
LOCATION = "aws s3api get-bucket-location --bucket"
# fmt: off
ANSWERS = {
    # where the bucket is
    "wrong region": Answer(301, "PermanentRedirect", StoreError, "store-region", "in the region eu-central-1", TO_REGION, headers=REGION),
    "wrong region, untold": Answer(301, "PermanentRedirect", StoreError, "store-region", "in another region", LOCATION),
    "moving": Answer(307, "TemporaryRedirect", StoreError, "store-region", "in another region", LOCATION),
    "signed for another region": Answer(400, "AuthorizationHeaderMalformed", StoreError, "store-region", "in the region eu-central-1", TO_REGION, more=NAMED),
    "no bucket": Answer(404, "NoSuchBucket", StoreMissing, "store-missing", "does not exist", "tclog where"),
    "no bucket name": Answer(400, "InvalidBucketName", StoreMissing, "store-missing", "does not exist", "tclog where"),
    # who asks
    "denied": Answer(403, "AccessDenied", StoreDenied, "store-denied", "so it says); without s3:ListBucket", "tclog doctor"),
    "denied without a word": Answer(403, "", StoreDenied, "store-denied", "without s3:ListBucket", "tclog doctor"),
    "expired": Answer(400, "ExpiredToken", StoreDenied, "credentials-expired", "have expired", KEYS_HINT),
    "expired, by 403": Answer(403, "ExpiredToken", StoreDenied, "credentials-expired", "have expired", KEYS_HINT),
    "to be renewed": Answer(400, "TokenRefreshRequired", StoreDenied, "credentials-expired", "have expired", KEYS_HINT),
    "unknown key": Answer(403, "InvalidAccessKeyId", StoreDenied, "credentials-invalid", "does not accept the credentials", KEYS_HINT),
    "wrong secret": Answer(403, "SignatureDoesNotMatch", StoreDenied, "credentials-invalid", "does not accept the credentials", KEYS_HINT),
    "wrong token": Answer(400, "InvalidToken", StoreDenied, "credentials-invalid", "does not accept the credentials", KEYS_HINT),
    "clock": Answer(403, "RequestTimeTooSkewed", StoreDenied, "clock-skewed", "more than 15 minutes off", "date -u"),
    "account": Answer(403, "AccountProblem", StoreDenied, "store-account", "closed to this account", "aws sts get-caller-identity"),
    "not signed up": Answer(403, "NotSignedUp", StoreDenied, "store-account", "closed to this account", "aws sts get-caller-identity"),
    "suspended": Answer(403, "UserSuspended", StoreDenied, "store-account", "closed to this account", "aws sts get-caller-identity"),
    "unauthorized": Answer(401, "Unauthorized", StoreDenied, "store-denied", "denies the request", "tclog doctor"),
    # what is there
    "quota of Ceph": Answer(403, "QuotaExceeded", StoreFull, "store-full", "no space left", "tclog doctor"),
    "quota of Ceph, as it says so": Answer(403, "QuotaExceeded", StoreFull, "store-full", "(403 QuotaExceeded)", "tclog doctor", message=""),
    "quota": Answer(400, "ServiceQuotaExceeded", StoreFull, "store-full", "no space left", "tclog doctor"),
    "full disk": Answer(507, "XMinioStorageFull", StoreFull, "store-full", "no space left", "tclog doctor"),
    "archived": Answer(403, "InvalidObjectState", StoreError, "object-archived", "was archived", "aws s3api get-bucket-lifecycle-configuration"),
    "disabled key": Answer(400, "KMS.DisabledException", StoreDenied, "store-key", "cannot use the key", "aws s3api get-bucket-encryption"),
    # what the server can do
    "no conditions": Answer(501, "NotImplemented", StoreUnfit, "store-unfit", "conditional writes", "tclog doctor"),
    "a method of none": Answer(405, "MethodNotAllowed", StoreError, "not-a-store", "does not answer like S3", "tclog where"),
    "a sum is missing": Answer(400, "InvalidRequest", StoreError, "store-config", "requires a checksum", "export TCLOG_CHECKSUM=sha256", message="<Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters</Message>"),
    "odd characters": Answer(400, "InvalidRequest", StoreError, "store-error", "a & <b>", "tclog doctor", message="<Message>a &amp; &lt;b&gt;</Message>"),
    "bad request": Answer(400, "InvalidRequest", StoreError, "store-error", "so it says", "tclog doctor"),
    # what is in between
    "a proxy's page": Answer(403, "", StoreError, "not-a-store", "does not answer like S3", "tclog where", headers=WEB, page=HTML),
    "a console": Answer(405, "", StoreError, "not-a-store", "does not answer like S3", "tclog where", headers=WEB, page=HTML),
    "a proxy's question": Answer(407, "", StoreError, "proxy-denied", "requires credentials", "tclog where"),
    # what may be sent again
    "slow down": Answer(503, "SlowDown", StoreUnreachable, "store-busy", "limits the request rate", "run the same command again"),
    "too many": Answer(429, "TooManyRequests", StoreUnreachable, "store-busy", "limits the request rate", "run the same command again"),
    "unavailable": Answer(503, "ServiceUnavailable", StoreUnreachable, "store-unreachable", "answers 503", "tclog doctor"),
    "internal": Answer(500, "InternalError", StoreUnreachable, "store-unreachable", "answers 500", "tclog doctor"),
    "a gateway's page": Answer(502, "", StoreUnreachable, "store-unreachable", "answers 502", "tclog doctor", headers=WEB, page=HTML),
    "a page": Answer(200, "", StoreUnreachable, "store-unreachable", "cannot be reached", "tclog doctor", headers=WEB, page=HTML),
}
# fmt: on
# What says nothing of whether a create was carried out.
OPEN = (200, 429, 500, 502, 503, 507)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Give a server whose answer hangs on the bucket: each row is one."""
    rows = list(ANSWERS.values())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            row = rows[int(self.path.split("/")[1].partition("?")[0].removeprefix("row-"))]
            self.send_response(row.status)
            for name, value in row.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(row.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(row.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, shared_boto3: None) -> None:
    """Send nothing again."""
    monkeypatch.setattr(limits, "TRIES_MAX", 1)


def told(call: Callable[[], Any]) -> Any:
    """Return the error that a call ends with, or what it returned."""
    try:
        return call()
    except TclogError as error:
        return error


def calls(store: S3Store) -> dict[str, Callable[[], Any]]:
    return {
        "get": lambda: store.get("a/b"),
        "stat": lambda: store.stat("a/b"),
        "list": lambda: store.list("a", "", 10, False),
        "folders": lambda: store.list("a", "", 10, True),
        "put": lambda: store.put("a/b", b"1"),
        "keep": lambda: store.keep("a/b", b"1"),
        "create": lambda: store.create("a/b", b"1"),
        "delete": lambda: store.delete("a/b"),
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_is_told_as_what_it_is(endpoint: str, name: str) -> None:
    row, bucket = ANSWERS[name], f"row-{list(ANSWERS).index(name)}"
    messages: dict[str, set[str]] = {}
    for client in ("obstore", "boto3"):
        store = S3Store(S3Settings(bucket, "p", endpoint, "us-east-1", client=client), KEYS)
        for verb, call in calls(store).items():
            if row.status in (301, 307) and verb not in ("get", "list", "create"):
                continue  # boto3 follows them far before it gives up
            error = told(call)
            if row.status in OPEN and verb == "create":
                assert error.outcome is Outcome.UNKNOWN, (client, error)
                continue
            if (verb, row.status) == ("delete", 200):
                continue  # the answer to a removal has no form
            if (verb, row.status) == ("delete", 404):
                continue  # obstore takes it for an object that is gone
            assert type(error) is row.kind, (client, verb, error)
            # The answer to a HEAD has no body.
            word = "store-unreachable" if verb == "stat" and row.status == 503 else row.word
            assert error.code == word, (client, verb, error)
            assert error.exit == 7
            if word == row.word:
                assert row.says in error.message, (client, verb, error)
                assert error.hint.startswith(row.hint), (client, verb, error.hint)
                # The AWS client would ask AWS for it, with the keys of another server.
                asks = error.hint.startswith("aws s3api")
                assert error.hint.endswith(f" --endpoint-url {endpoint}") == asks, error.hint
            messages.setdefault(verb, set()).add(error.message)
    if row.status != 200:
        # Both clients say the same.
        assert {len(said) for said in messages.values()} == {1}, messages


@both
@pytest.mark.parametrize("secure", [True, False], ids=["private CA", "no TLS"])
def test_a_handshake_that_fails_is_told_and_nothing_was_sent(
    client: str, secure: bool, tmp_path: Path
) -> None:
    server = ThreadingHTTPServer(("localhost", 0), BaseHTTPRequestHandler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(tmp_path))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"https://localhost:{server.server_port}"
    word, hint = (
        ("store-certificate", "export AWS_CA_BUNDLE=FILE")
        if secure
        else ("bad-endpoint", "tclog where")
    )
    try:
        store = S3Store(S3Settings("bucket", "p", url, "us-east-1", client=client), KEYS)
        for verb, call in calls(store).items():
            error = told(call)
            assert type(error) is StoreError, (verb, error)
            assert (error.code, error.hint) == (word, hint), (verb, error)
            assert url in error.message
    finally:
        server.shutdown()
        server.server_close()


@both
def test_a_failed_connection_says_why(client: str) -> None:
    store = S3Store(S3Settings("b", "p", "http://127.0.0.1:1", "us-east-1", client=client), KEYS)
    error = told(lambda: store.get("a/b"))
    assert type(error) is StoreUnreachable
    assert "onnect" in error.message
    assert told(lambda: store.create("a/b", b"1")) == Created(Outcome.UNKNOWN, cause="no answer")
