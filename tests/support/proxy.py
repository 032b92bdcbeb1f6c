"""A reverse proxy on loopback that counts S3 requests and loses replies on purpose.

Owns: the sockets and threads between S3 clients and one S3 server, the record of what the
clients asked for, and the faults that are waiting to strike.

Invariant: a request goes upstream exactly as often as its fault says: never for "refuse", "drop"
and "stand-in", twice for "duplicate", once otherwise; the proxy never repeats one by itself.  A
fault that loses a reply strikes only after the server's whole reply has been read, so the server
has acted by then.  If the server goes away during an exchange, the client's connection is closed.

Callers: tests, from any thread.  Nothing in the package itself may import this module.
"""

from __future__ import annotations

import io
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

HOLD = 1 << 20  # A body up to this size is held whole; the rest of a larger one is streamed.
PIECE = 1 << 16
STOP_SECONDS = 5.0
DIAL_SECONDS = 5.0
LOSING = {"close", "reset", "status", "hang", "partial"}
KINDS = LOSING | {"refuse", "drop", "delay", "duplicate", "stand-in"}
LISTING = {"list-type", "prefix", "delimiter", "marker", "start-after", "max-keys"}
CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "SlowDown",
}


class Fault(NamedTuple):
    """What happens to one request.

    Forwarded, and the reply is lost: "close" (FIN), "reset" (RST), "status" (answered with
    ``status`` instead), "hang" (silence for ``seconds``, then FIN), "partial" (FIN in the middle of
    the status line).  Forwarded twice and answered with the second reply: "duplicate".  Not
    forwarded: "refuse" (answered with ``status``), "drop" (FIN), "stand-in" (``stand_in`` is called
    with the request and its body in the server's place, and the client is told that all went well:
    a store that breaks its promises).  Forwarded ``seconds`` later, even if the client has given up
    by then: "delay".  ``code`` is the S3 error code that goes with ``status``; the usual one if
    empty.
    """

    kind: str
    status: int = 0
    seconds: float = 0
    code: str = ""
    stand_in: Callable[[Request, bytes], None] | None = None


@dataclass(slots=True)
class Request:
    """One request as it came; ``path`` and ``query`` are still percent-encoded, as on the wire.

    ``size`` counts the body's bytes on the wire (of a chunked body, only those that were held).
    The last three are filled in later: the fault that struck, the status that the client was
    answered (0: none), and the one that the server gave (0: none, or none yet).  They are set
    before the client sees the end of its exchange.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    size: int
    fault: str | None = None
    status: int = 0
    upstream: int = 0

    @property
    def key(self) -> str:
        """The decoded object key of a path-style request; empty for one on a bucket."""
        return unquote(self.path.lstrip("/").partition("/")[2])

    @property
    def operation(self) -> str:
        """The one name under which ``Proxy.count`` counts this request."""
        if self.method == "PUT" and "if-none-match" in self.headers:
            return "CREATE"
        # Without these parameters it may be a subresource of the bucket, such as ?location.
        listing = LISTING & parse_qs(self.query, keep_blank_values=True).keys()
        return "LIST" if self.method == "GET" and not self.key and listing else self.method


Match = Callable[[Request], bool]


def is_create(request: Request) -> bool:
    """A PUT with If-None-Match."""
    return request.operation == "CREATE"


def is_put(request: Request) -> bool:
    """Any PUT, so a create too."""
    return request.method == "PUT"


def is_get(request: Request) -> bool:
    """A GET that is not a listing."""
    return request.operation == "GET"


def under(prefix: str) -> Match:
    """Requests on objects whose decoded key starts with ``prefix``; never a listing."""
    return lambda request: request.key != "" and request.key.startswith(prefix)


@dataclass(slots=True)
class _Rule:
    """Faults, each with its rate.  A counted fault has rate 1 and a number of times left."""

    faults: Sequence[tuple[float, Fault]]
    match: Match | None
    rng: random.Random
    left: float

    def pick(self, request: Request, streamed: bool) -> Fault | None:
        if self.left <= 0 or (self.match is not None and not self.match(request)):
            return None
        # One draw for each matching request, whatever comes of it, so that the fate of the n-th
        # one depends on the seed and on n alone.
        draw = self.rng.random()
        for rate, fault in self.faults:
            if draw < rate:
                if fault.kind in ("duplicate", "stand-in") and streamed:
                    return None  # What has been streamed is not there to be used again.
                self.left -= 1
                return fault
            draw -= rate
        return None


class _Link:
    """One TCP connection.  Its own thread reads, writes and closes it; others may ``wake`` it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.file = sock.makefile("rb")
        self.reusable = True

    def wake(self) -> None:
        # A shutdown, unlike a close, ends another thread's recv and sends FIN at once.
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self, abort: bool) -> None:
        if abort:  # A linger time of zero makes close send RST.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.wake()
        self.file.close()
        self.sock.close()

    def usable(self) -> bool:
        """Whether the server keeps the connection, and has said nothing unasked."""
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self.reusable
        except OSError:
            pass
        return False


class _Head(NamedTuple):
    start: bytes
    lines: list[bytes]
    headers: dict[str, str]

    def encode(self, *without: bytes) -> bytes:
        """The head as it came, byte for byte, less some header lines."""
        kept = [ln for ln in self.lines if ln.partition(b":")[0].lower() not in without]
        return b"".join((self.start, *kept, b"\r\n"))

    def closes(self) -> bool:
        return "close" in self.headers.get("connection", "").lower()


def _line(file: io.BufferedReader) -> bytes:
    line = file.readline(PIECE)
    if not line.endswith(b"\n"):
        raise ConnectionError("the peer left")
    return line


def _read_head(file: io.BufferedReader) -> _Head:
    head = _Head(_line(file), [], {})
    while (line := _line(file)).strip():
        head.lines.append(line)
        name, _, value = line.decode("latin-1").partition(":")
        head.headers[name.lower()] = value.strip()
    return head


def _exactly(file: io.BufferedReader, size: int) -> Iterator[bytes]:
    while size:
        if not (piece := file.read1(min(size, PIECE))):
            raise ConnectionError("the peer left")
        size -= len(piece)
        yield piece


def _body(file: io.BufferedReader, head: _Head) -> Iterator[bytes]:
    """The body as on the wire, chunk framing included; none if the head announces none."""
    if "chunked" not in head.headers.get("transfer-encoding", "").lower():
        yield from _exactly(file, int(head.headers.get("content-length", 0)))
        return
    size = -1
    while size:
        yield (line := _line(file))
        size = int(line.partition(b";")[0], 16)
        yield from _exactly(file, size + 2 if size else 0)
    while line.strip():  # The trailers, which an empty line ends.
        yield (line := _line(file))


def _hold(parts: Iterator[bytes]) -> tuple[bytes, bool]:
    """The start of a body, and whether it was too big to be held whole."""
    held = bytearray()
    for part in parts:
        held += part
        if len(held) > HOLD:
            return bytes(held), True
    return bytes(held), False


def _drain(parts: Iterator[bytes]) -> None:
    for _ in parts:
        pass


class _Connection:
    """One client connection, with the upstream connection that its requests go to."""

    def __init__(self, proxy: Proxy, client: _Link) -> None:
        self.proxy = proxy
        self.client = client
        self.upstream: _Link | None = None

    def run(self) -> None:
        try:
            with suppress(OSError):  # Peers may leave when they like, and stop() cuts them off.
                while self._exchange():
                    pass
        finally:
            self.proxy._release(self.client)
            self.proxy._release(self.upstream)

    def _exchange(self) -> bool:
        """Serve one request; whether the client's connection stays open after it."""
        client = self.client.sock
        head = _read_head(self.client.file)
        method, target, _ = head.start.decode("latin-1").split(" ", 2)
        path, _, query = target.partition("?")
        if "100-continue" in head.headers.get("expect", "").lower():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        rest = _body(self.client.file, head)
        held, streamed = _hold(rest)
        size = int(head.headers.get("content-length", len(held)))
        request = Request(method, path, query, head.headers, size)
        fault = self.proxy._admit(request, streamed) or Fault("")

        if fault.kind == "delay" and self.proxy._stopping.wait(fault.seconds):
            return False
        if fault.kind in ("refuse", "drop", "stand-in"):
            # The body is read to its end all the same: to close with bytes unread sends RST.
            _drain(rest)
        else:
            first = head.encode(b"expect") + held
            reply, parts = self._forward(request, first, rest)
            if fault.kind == "duplicate":
                _drain(parts)
                reply, parts = self._forward(request, first, iter(()))
            if fault.kind not in LOSING:
                self._relay(request, reply, parts)
                return not head.closes()
            _drain(parts)

        if fault.kind in ("status", "refuse"):
            self._refuse(request, fault)
            return not head.closes()
        if fault.stand_in is not None:
            fault.stand_in(request, held)
            request.status = 200
            client.sendall(b'HTTP/1.1 200 OK\r\nETag: "stand-in"\r\nContent-Length: 0\r\n\r\n')
            return not head.closes()
        if fault.kind == "hang":
            self.proxy._stopping.wait(fault.seconds)
        elif fault.kind == "partial":
            # "HTTP/1.1 2" and no more: some clients take a reply whose head is cut after the
            # status code for a whole one.
            client.sendall(reply.start[:10])
        elif fault.kind == "reset":
            self.proxy._release(self.client, abort=True)
        return False

    def _forward(
        self, request: Request, first: bytes, rest: Iterator[bytes]
    ) -> tuple[_Head, Iterator[bytes]]:
        """Send the request on; the reply's head, and its body as it comes."""
        # A kept connection that the server has closed must be found out before the sending:
        # afterwards nobody could tell whether the server had acted on the request.
        if self.upstream is None or not self.upstream.usable():
            self.proxy._release(self.upstream)
            self.upstream = self.proxy._dial()
        link = self.upstream
        link.sock.sendall(first)
        for part in rest:
            link.sock.sendall(part)
        status = 100
        while status < 200:  # The client had its 100 Continue from the proxy.
            head = _read_head(link.file)
            status = int(head.start.split()[1])
        request.upstream = status
        link.reusable = head.start.startswith(b"HTTP/1.1") and not head.closes()
        if request.method == "HEAD" or status in (204, 304):
            return head, iter(())
        if head.headers.keys().isdisjoint(("content-length", "transfer-encoding")):
            raise NotImplementedError("a reply whose body only the connection's end would end")
        return head, _body(link.file, head)

    def _relay(self, request: Request, head: _Head, parts: Iterator[bytes]) -> None:
        # What the server says about its connection does not concern the client's.
        first = head.encode(b"connection", b"keep-alive") + _hold(parts)[0]
        request.status = request.upstream
        self.client.sock.sendall(first)
        for part in parts:
            self.client.sock.sendall(part)

    def _refuse(self, request: Request, fault: Fault) -> None:
        """Answer with an S3 error; to a HEAD without the body that would name its code."""
        phrase = HTTPStatus(fault.status).phrase
        code = fault.code or CODES.get(fault.status) or phrase.replace(" ", "")
        body = f"<Error><Code>{code}</Code><Message>Injected by the test proxy.</Message></Error>"
        if request.method == "HEAD":
            body = ""
        head = f"HTTP/1.1 {fault.status} {phrase}\r\nContent-Type: application/xml\r\n"
        request.status = fault.status
        self.client.sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())


class Proxy:
    """The proxy: a context manager, or ``start`` and ``stop``."""

    def __init__(self, upstream: str) -> None:
        server = urlsplit(upstream)
        if server.scheme != "http" or server.hostname is None:
            raise ValueError(f"not a plain http:// server: {upstream!r}")
        self.url = ""
        self.requests: list[Request] = []
        self._server = (server.hostname, server.port or 80)
        self._port = 0
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._lock = threading.RLock()  # Reentrant, as a ``match`` may call the proxy's methods.
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._counted: list[_Rule] = []
        self._random: list[_Rule] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after a ``stop``, on the same port again, as a server does after an outage."""
        if self._listener is not None:
            raise RuntimeError("the proxy is running already")
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._stopping.clear()
        self._accepting = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Cut every connection and wait for every thread, for a bounded time."""
        if self._listener is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for link in self._links:
                link.wake()
        # The accepting thread comes first, as the others are its children.
        self._accepting.join(STOP_SECONDS)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        self._listener = None
        if stuck := sum(thread.is_alive() for thread in (self._accepting, *self._threads)):
            raise RuntimeError(f"{stuck} proxy threads did not end within {STOP_SECONDS} s")

    def clear(self) -> None:
        """Forget the requests seen so far; waiting faults stay."""
        with self._lock:
            self.requests.clear()

    def take(self) -> list[Request]:
        """Return the requests seen since the last time, and forget them."""
        with self._lock:
            taken, self.requests = self.requests, []
        return taken

    def count(self) -> Counter[str]:
        """How many requests of each operation were seen.

        LIST is not in GET nor CREATE in PUT, so the total is the number of requests.
        """
        counts = Counter({"GET": 0, "PUT": 0, "LIST": 0, "HEAD": 0, "DELETE": 0, "CREATE": 0})
        with self._lock:
            counts.update(request.operation for request in self.requests)
        return counts

    def inject(self, fault: Fault, *, times: int = 1, match: Match | None = None) -> None:
        """Let ``fault`` strike the next ``times`` matching requests, earlier injections first.

        "duplicate" and "stand-in" pass over requests with a body above 1 MiB.
        """
        self._add(self._counted, _Rule([(1.0, fault)], match, random.Random(), times))

    def inject_randomly(
        self, faults: Sequence[tuple[float, Fault]], seed: int, match: Match | None = None
    ) -> None:
        """Let each fault strike matching requests at its own rate, until ``heal``.

        The n-th matching request that no ``inject`` has taken gets the n-th draw, so a seed fixes
        the run as far as the order of the requests is fixed.
        """
        if any(rate < 0 for rate, _ in faults) or sum(rate for rate, _ in faults) > 1.000001:
            raise ValueError("rates are shares of the requests, so they add up to at most 1")
        self._add(self._random, _Rule(list(faults), match, random.Random(seed), float("inf")))

    def heal(self) -> None:
        """Drop all faults that have not struck yet; one that is under way runs its course."""
        with self._lock:
            self._counted.clear()
            self._random.clear()

    def _add(self, rules: list[_Rule], rule: _Rule) -> None:
        for _, fault in rule.faults:
            if fault.kind not in KINDS:
                raise ValueError(f"unknown kind of fault: {fault.kind!r}")
            if fault.kind in ("status", "refuse"):
                HTTPStatus(fault.status)  # Raises ValueError for what is no status.
        with self._lock:
            rules.append(rule)

    def _admit(self, request: Request, streamed: bool) -> Fault | None:
        """Record the request and choose its fault, as one step."""
        with self._lock:
            self.requests.append(request)
            for rule in (*self._counted, *self._random):
                if (fault := rule.pick(request, streamed)) is not None:
                    request.fault = fault.kind
                    return fault
        return None

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                link = self._adopt(listener.accept()[0])
            except OSError:
                # Either the end, which the flag tells, or a passing want of file descriptors.
                self._stopping.wait(0.01)
                continue
            thread = threading.Thread(target=_Connection(self, link).run, daemon=True)
            thread.start()
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]

    def _dial(self) -> _Link:
        sock = socket.create_connection(self._server, timeout=DIAL_SECONDS)
        sock.settimeout(None)
        return self._adopt(sock)

    def _adopt(self, sock: socket.socket) -> _Link:
        link = _Link(sock)
        with self._lock:
            self._links.add(link)
            if self._stopping.is_set():
                link.wake()  # The stop may have gone through the set already.
        return link

    def _release(self, link: _Link | None, abort: bool = False) -> None:
        if link is not None:
            with self._lock:
                self._links.discard(link)
            link.close(abort)
