"""A loopback S3 server that remembers what it was asked, and may insist on headers.

It holds objects in a dictionary, as the server of any address: asked as a proxy (``GET http://...``)
it answers for the host that is named. ``Recorder.requests`` is the log that tests compare.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

# What says where a request goes, by whom it is signed, and what it asks for beside its verb.
OF_INTEREST = re.compile(
    r"if-none-match|content-md5|x-amz-(checksum|server-side|request-payer|trailer"
    r"|security-token|content-sha256)"
)
# What each client adds of its own and no server heeds.
OWN_QUERY = ("x-id", "encoding-type", "list-type", "max-keys")

UPLOADS = {
    "uploads": b"<InitiateMultipartUploadResult><UploadId>u</UploadId>"
    b"</InitiateMultipartUploadResult>",
    "uploadId": b'<CompleteMultipartUploadResult><ETag>"t"</ETag></CompleteMultipartUploadResult>',
}

Rule = Callable[["Request"], str | None]


class Request(NamedTuple):
    """One request: how it was asked, and the host and bucket it was meant for."""

    asked: str  # the address that got the request: the server's own, or a proxy's
    method: str
    host: str
    path: str
    query: tuple[str, ...]
    key_id: str
    region: str
    headers: Mapping[str, str]
    body: bytes
    asks: Mapping[str, str] = {}

    @property
    def line(self) -> str:
        """All that both clients must agree on, as one line."""
        told = [f"{k}={v}" for k, v in sorted(self.headers.items()) if OF_INTEREST.match(k)]
        if self.method == "POST":  # each client writes its XML as it likes
            told = [word.partition("=")[0] for word in told]
            told = [word for word in told if word != "if-none-match"]  # obstore ends uploads so
        words = (self.method, self.asked, self.host, self.path, *self.query)
        return " ".join((*words, f"{self.key_id}/{self.region}", *told))


class Recorder:
    """The server; a context manager. ``rules`` may refuse a request with an S3 code.

    With ``certificate``, a file with a key and what vouches for it, connections are encrypted.
    """

    def __init__(self, *rules: Rule, certificate: Path | None = None) -> None:
        self._certificate = certificate
        self.requests: list[Request] = []
        self.connects: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.rules = rules
        # What is told to everybody and not remembered, by path: where keys come from.
        self.documents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"recorder": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def clear(self) -> None:
        with self._lock:
            self.requests, self.connects, self.objects = [], [], {}

    def lines(self) -> list[str]:
        with self._lock:
            return [request.line for request in self.requests]

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Do what an S3 server does."""
        if request.key_id == "nobody" and request.path in self.documents:
            return 200, {}, self.documents[request.path]
        with self._lock:
            self.requests.append(request)
            for rule in self.rules:
                code = rule(request)
                if code is not None:
                    return 403, {}, f"<Error><Code>{code}</Code></Error>".encode()
            return self._done(request)

    def _done(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        where = f"{request.host}{request.path}"
        names = {word.partition("=")[0] for word in request.query}
        if request.method == "POST" and "delete" in names:
            keys = re.findall(r"<Key>(.*?)</Key>", request.body.decode())
            for key in keys:
                self.objects.pop(f"{where.rstrip('/')}/{key}", None)
            rows = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return 200, {}, f"<DeleteResult>{rows}</DeleteResult>".encode()
        for word, answer in UPLOADS.items():
            if request.method == "POST" and word in names:
                return 200, {}, answer
        if request.method == "DELETE":
            self.objects.pop(where, None)
            return 204, {}, b""
        if request.method == "PUT":
            if request.headers.get("if-none-match") == "*" and where in self.objects:
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            self.objects[where] = request.body
            return 200, {"ETag": _tag(request.body), **_echoed(request)}, b""
        if "prefix" in names:
            return 200, {}, self._listed(f"{where.rstrip('/')}/", request.asks)
        found = self.objects.get(where)
        if found is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        return 200, {"ETag": _tag(found), "Last-Modified": formatdate(usegmt=True)}, found

    def _listed(self, bucket: str, asks: Mapping[str, str]) -> bytes:
        """Answer a listing as one page of the size that is asked for."""
        begin, mark = asks["prefix"], asks.get("delimiter")
        after = asks.get("continuation-token") or asks.get("start-after", "")
        rows: dict[str, bytes | None] = {}
        for name in sorted(self.objects):
            key = name.removeprefix(bucket)
            if name.startswith(bucket) and key.startswith(begin):
                deep = mark is not None and mark in key[len(begin) :]
                folder = begin + key[len(begin) :].partition("/")[0] + "/"
                rows[folder if deep else key] = None if deep else self.objects[name]
        keys = [key for key in rows if key > after]
        most = int(asks.get("max-keys", 1000))
        more = len(keys) > most
        told = [f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
        if more:
            told.append(f"<NextContinuationToken>{escape(keys[most - 1])}</NextContinuationToken>")
        for key in keys[:most]:
            found, name = rows[key], escape(key)
            if found is None:
                told.append(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
                continue
            stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
            told.append(
                f"<Contents><Key>{name}</Key><Size>{len(found)}</Size><ETag>{_tag(found)}</ETag>"
                f"<LastModified>{stamp}</LastModified></Contents>"
            )
        return f"<ListBucketResult>{''.join(told)}</ListBucketResult>".encode()


def _tag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _echoed(request: Request) -> dict[str, str]:
    found = request.headers.get("x-amz-checksum-sha256")
    return {} if found is None else {"x-amz-checksum-sha256": found}


def sha256_of(body: bytes) -> str:
    """A checksum as S3 writes it."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # a client that does not trust the certificate goes away


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out as one piece, and at once
    disable_nagle_algorithm = True
    recorder: Recorder

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/s3/", headers.get("authorization", ""))
        query = [
            f"{name}={value[0]}"
            for name, value in sorted(parse_qs(url.query, keep_blank_values=True).items())
            if name not in OWN_QUERY
        ]
        request = Request(
            asked=self.recorder.host,
            method=self.command,
            host=url.netloc or headers["host"],
            path=unquote(url.path),
            query=tuple(query),
            key_id=signed[1] if signed else "nobody",
            region=signed[2] if signed else "-",
            headers=headers,
            body=body,
            asks={name: value[0] for name, value in parse_qs(url.query).items()},
        )
        status, told, content = self.recorder.answer(request)
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def do_CONNECT(self) -> None:
        self.recorder.connects.append(self.path)
        self.send_response(502)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
