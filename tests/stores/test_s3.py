"""What only buckets have: refusals, outages, odd servers, credentials, forks, two clients."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import ssl
import string
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions
import obstore.exceptions
import pytest
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.proxy import Fault, Proxy, is_create
from support.stores import Server, fresh_bucket, open_s3, run_python

from tclog.errors import (
    Damaged,
    StoreDenied,
    StoreError,
    StoreMissing,
    StoreUnreachable,
    TclogError,
    UsageError,
)
from tclog.store.base import Created, Outcome
from tclog.store.s3 import S3Settings, S3Store, _boto3, limits
from tclog.store.s3.bucket import bucket_settings, create_bucket
from tclog.store.s3.resolve import resolve

CLIENTS = ["obstore", "boto3"]
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
# What a user waits at most for a dead endpoint.
# 15 s are promised; other tests use the same two cores meanwhile.
PATIENCE_S = 15.0 + 10.0

both = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture(params=["moto", "ceph"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def _proxy(moto: Server) -> Iterator[Proxy]:
    with Proxy(moto.endpoint) as running:
        yield running


@pytest.fixture
def proxy(_proxy: Proxy) -> Proxy:
    _proxy.heal()
    _proxy.clear()
    return _proxy


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(b"a small file")
    return path


def reads(store: S3Store) -> dict[str, Callable[[], Any]]:
    return {
        "get": lambda: store.get("a/b"),
        "list": lambda: store.list("a", "", 1, False),
        "folders": lambda: store.list("a", "", 1, True),
        "get_file": lambda: list(store.get_file("a/b") or ()),
    }


def writes(store: S3Store, file: Path) -> dict[str, Callable[[], Any]]:
    digest = blake3(file.read_bytes()).hexdigest()
    return {
        "put": lambda: store.put("a/b", b"1"),
        "delete": lambda: store.delete("a/b"),
        "put_file": lambda: store.put_file("a/b", file, digest, None),
    }


def error_of(call: Callable[[], Any]) -> Any:
    """Return the error that a call ends with, or what it returned."""
    try:
        return call()
    except TclogError as error:
        return error


# -- the bucket says no ---------------------------------------------------------------------------


@both
@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_bad_credentials_are_denied(ceph: Server, client: str, wrong: str, small: Path) -> None:
    settings = fresh_bucket(ceph, client=client)
    store = S3Store(settings, {**ceph.environ, wrong: "W" * 20})
    calls = {**reads(store), **writes(store, small), "stat": lambda: store.stat("a/b")}
    calls["create"] = lambda: store.create("a/b", b"1")
    for name, call in calls.items():
        error = error_of(call)
        assert isinstance(error, StoreDenied), (name, error)
        assert settings.bucket in error.message
        assert "W" * 20 not in error.message
    assert open_s3(ceph, settings).list("a", "", 10, False) == []


@both
def test_a_bucket_that_is_not_there(server: Server, client: str, small: Path) -> None:
    settings = fresh_bucket(server, client=client)._replace(bucket="tclog-never-made")
    store = S3Store(settings, server.environ)
    calls = {**reads(store), **writes(store, small)}
    calls["create"] = lambda: store.create("a/b", b"1")
    for name, call in calls.items():
        error = error_of(call)
        assert isinstance(error, StoreMissing), (name, error)
        assert "'tclog-never-made' does not exist" in error.message
        assert error.hint == "tclog where"
    # The answer to a HEAD has no body that could tell the bucket from the object; a GET has.
    assert isinstance(error_of(lambda: store.stat("a/b")), StoreMissing)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_bucket_is_made_once(server: Server, region: str) -> None:
    settings = fresh_bucket(server)._replace(region=region)
    create_bucket(settings, server.environ)
    told = bucket_settings(settings, server.environ)
    assert told.keys() == {"versioning", "object lock", "lifecycle", "public access"}
    assert told["versioning"] == "off"


# -- nobody answers -------------------------------------------------------------------------------


class Odd:
    """A server that accepts, says ``words`` to whatever comes, and then nothing more."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._held: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(connection)
            connection.settimeout(1)
            try:
                connection.recv(65536)
                connection.sendall(self._words)
            except OSError:
                continue

    def close(self) -> None:
        self._listener.close()
        for connection in self._held:
            connection.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
STALLS = HEAD + b"Last-Modified: Mon, 23 Nov 2026 15:42:05 GMT\r\nContent-Length: 99\r\n\r\n<html"
NOT_S3 = HEAD + b"Content-Length: 11\r\nConnection: close\r\n\r\n<p>Sign in."


KINDS = {"refuses": b"", "is mute": b"", "stalls": STALLS, "is not S3": NOT_S3}
Told = dict[tuple[str, str, str], tuple[Any, float]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Ask every odd server everything, all at once because it takes them long not to answer."""
    file = tmp_path_factory.mktemp("told") / "small"
    file.write_bytes(b"a small file")
    servers = {kind: Odd(words) for kind, words in KINDS.items()}
    servers["refuses"].close()

    def opened(kind: str, client: str) -> S3Store:
        settings = S3Settings("bucket", "p", servers[kind].url, "us-east-1", client=client)
        store = S3Store(settings, KEYS)
        store.plane()  # making a client takes boto3 long, which must not count
        return store

    stores = {(kind, client): opened(kind, client) for kind in KINDS for client in CLIENTS}

    def timed(kind: str, client: str, name: str) -> tuple[Any, float]:
        store = stores[kind, client]
        calls = {**reads(store), **writes(store, file)}
        calls["create"] = lambda: store.create("a/b", b"1")
        begun = time.monotonic()
        return error_of(calls[name]), time.monotonic() - begun

    names = ("get", "list", "folders", "get_file", "put", "delete", "put_file", "create")
    asked = [(kind, client, name) for kind in KINDS for client in CLIENTS for name in names]
    for _, client, _ in asked[: 2 * len(names) : len(names)]:
        timed("refuses", client, "create")  # loads the library, which must not count
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = dict(zip(asked, pool.map(lambda row: timed(*row), asked), strict=True))
    for server in servers.values():
        server.close()
    return answers


@both
@pytest.mark.parametrize("kind", ["refuses", "is mute", "stalls"])
def test_a_dead_endpoint_is_reported_in_time(told: Told, client: str, kind: str) -> None:
    names = ["get", "list", "folders", "get_file"]
    if kind != "stalls":  # which did answer a write, as far as anybody can know
        names += ["put", "delete", "put_file"]
        created, spent_s = told[kind, client, "create"]
        assert created == Created(Outcome.UNKNOWN, cause="no answer")
        assert spent_s < PATIENCE_S
    for name in names:
        error, spent_s = told[kind, client, name]
        assert isinstance(error, StoreUnreachable), (name, error)
        assert "http://127.0.0.1:" in error.message
        assert spent_s < PATIENCE_S, name


@both
def test_a_server_that_is_not_s3(told: Told, client: str) -> None:
    for name in ("get", "list", "folders"):
        error, _ = told["is not S3", client, name]
        assert isinstance(error, StoreError), (name, error)


@both
@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:9000",
        "http://",
        "ftp://host",
        "http://[::1",
        "http://127.0.0.1:99999",
        " http://127.0.0.1:9000",
        "http://127.0.0.1:9000/?a=b c",
    ],
)
def test_an_endpoint_that_is_none(client: str, endpoint: str) -> None:
    with pytest.raises(UsageError) as told:
        S3Store(S3Settings("bucket", "p", endpoint, client=client), KEYS).get("a/b")
    assert told.value.code == "bad-endpoint"


@pytest.mark.parametrize("bucket", ["", "a b", "a/b", "ä", "a?b", "x" * 256])
def test_a_bucket_name_that_is_none(bucket: str) -> None:
    with pytest.raises(UsageError):
        S3Store(S3Settings(bucket, "p"), KEYS)


@both
@pytest.mark.parametrize(
    "prefix", ["a b", "ä/ö", "50%", "a%2Fb", "a+b", "a#b", "x/y/z", "~", "a=b&c"]
)
def test_any_prefix(server: Server, client: str, prefix: str) -> None:
    settings = fresh_bucket(server, client=client)
    store = open_s3(server, settings, prefix=f"{settings.prefix}/{prefix}")
    assert store.create("a/b%2F", b"1").outcome is Outcome.WON
    store.put("a/c/d", b"2")
    other = open_s3(server, store._settings, client="boto3" if client == "obstore" else "obstore")
    for reader in (store, other):
        assert [row.key for row in reader.list("a", "", 10, False)] == ["a/b%2F", "a/c/d"]
        assert [row.key for row in reader.list("a", "a/b%2F", 10, False)] == ["a/c/d"]
        assert [row.key for row in reader.list("a", "", 10, True)] == ["a/c/"]
        found = reader.get("a/b%2F")
        assert found is not None
        assert found.data == b"1"


# -- what is sent again, and what never is --------------------------------------------------------

LOST = [
    Fault("close"),
    Fault("reset"),
    Fault("partial"),
    Fault("status", 500),
    Fault("status", 503),
    Fault("status", 429),
    Fault("refuse", 503),
    Fault("refuse", 409),
    Fault("refuse", 500),
    Fault("drop"),
    Fault("hang", seconds=3),
]


@both
@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{fault.kind}-{fault.status}")
def test_a_create_is_sent_once(
    moto: Server, proxy: Proxy, client: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT_S", 1)
    store = open_s3(moto.through(proxy.url), client=client)
    proxy.inject(fault, match=is_create)
    created = store.create("a/b", b"1")
    # obstore tells a 409 that stored nothing as it tells a 412; both have to be read back.
    expected = (Outcome.UNKNOWN, Outcome.EXISTS) if fault.status == 409 else (Outcome.UNKNOWN,)
    assert created.outcome in expected
    assert created.cause
    assert proxy.count()["CREATE"] == 1
    assert sum(proxy.count().values()) == 1


@both
def test_a_create_that_was_sent_twice_is_not_won(moto: Server, proxy: Proxy, client: str) -> None:
    store = open_s3(moto.through(proxy.url), client=client)
    proxy.inject(Fault("duplicate"), match=is_create)
    assert store.create("a/b", b"1").outcome is Outcome.EXISTS
    found = store.get("a/b")
    assert found is not None
    assert found.data == b"1"


@both
@pytest.mark.parametrize("fault", LOST[:-1], ids=lambda fault: f"{fault.kind}-{fault.status}")
def test_what_is_kept_is_sent_again_and_is_there_once(
    moto: Server, proxy: Proxy, client: str, fault: Fault
) -> None:
    store = open_s3(moto.through(proxy.url), client=client)
    proxy.inject(fault, match=is_create)
    store.keep("a/b", b"1")
    assert store.get("a/b").data == b"1"
    proxy.clear()
    store.keep("a/b", b"1")
    with pytest.raises(Damaged, match="a/b is there already"):
        store.keep("a/b", b"2")
    assert store.get("a/b").data == b"1"


@both
@pytest.mark.parametrize("fault", LOST[:-1], ids=lambda fault: f"{fault.kind}-{fault.status}")
def test_reads_and_puts_are_sent_again(
    moto: Server, proxy: Proxy, client: str, fault: Fault
) -> None:
    store = open_s3(moto.through(proxy.url), client=client)
    store.put("a/b", b"1")
    calls = {
        "get": lambda: store.get("a/b"),
        "list": lambda: store.list("a", "", 10, False),
        "stat": lambda: store.stat("a/b"),
        "put": lambda: store.put("a/b", b"2"),
        "delete": lambda: store.delete("a/b"),
    }
    for name, call in calls.items():
        proxy.clear()
        proxy.inject(fault)
        call()
        assert sum(proxy.count().values()) == 2, name
    assert store.get("a/b") is None


@both
def test_tries_are_bounded(moto: Server, proxy: Proxy, client: str) -> None:
    store = open_s3(moto.through(proxy.url), client=client)
    proxy.inject(Fault("refuse", 503), times=1000)
    with pytest.raises(StoreUnreachable, match="503"):
        store.get("a/b")
    assert 1 < proxy.count()["GET"] <= limits.TRIES_MAX


@both
@pytest.mark.parametrize("code", ["NotFound", "NoSuchWebsiteConfiguration"])
def test_a_proxy_that_finds_no_server_does_not_make_an_object_absent(
    moto: Server, proxy: Proxy, client: str, code: str
) -> None:
    store = open_s3(moto.through(proxy.url), client=client)
    store.put("a/b", b"1")
    for read in (store.get, store.get_file):
        proxy.inject(Fault("refuse", 404, code=code), times=limits.TRIES_MAX)
        with pytest.raises(StoreUnreachable):
            read("a/b")
        proxy.heal()
        assert read("a/c") is None


@both
@pytest.mark.parametrize("code", ["NotFound", "NoSuchWebsiteConfiguration"])
def test_a_proxy_that_finds_no_server_makes_no_listing_empty(
    moto: Server, proxy: Proxy, client: str, code: str
) -> None:
    store = open_s3(moto.through(proxy.url), client=client)
    store.put("a/b", b"1")
    for folders in (False, True):
        proxy.inject(Fault("refuse", 404, code=code), times=limits.TRIES_MAX)
        with pytest.raises(StoreError):
            store.list("a", "", 10, folders)
        proxy.heal()


@both
def test_an_absence_that_only_a_head_tells_is_asked_for_by_a_get(
    moto: Server, proxy: Proxy, client: str
) -> None:
    """A HEAD has no body that could say who answers."""
    store = open_s3(moto.through(proxy.url), client=client)
    store.put("a/b", b"123")
    told = store.stat("a/b")
    head = lambda request: request.method == "HEAD"  # noqa: E731
    proxy.inject(Fault("refuse", 404), times=1000, match=head)
    found = store.stat("a/b")
    assert found == told
    assert store.stat("a/c") is None
    proxy.inject(Fault("refuse", 404, code="NotFound"), times=1000)
    with pytest.raises(StoreUnreachable):
        store.stat("a/b")


DENIED = b"""<?xml version="1.0" encoding="UTF-8"?>
<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Error><Key>p/a/0</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>
<Error><Key>p/a/1</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>
</DeleteResult>"""


@both
def test_removals_that_are_denied_one_by_one_are_told(client: str) -> None:
    """Of all together S3 says that it went well."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    server = Odd(head + b"Content-Length: %d\r\n\r\n%b" % (len(DENIED), DENIED))
    try:
        store = S3Store(S3Settings("bucket", "p", server.url, "us-east-1", client=client), KEYS)
        with pytest.raises(StoreDenied):
            store.delete("a/0", "a/1")
    finally:
        server.close()


# -- credentials and settings ---------------------------------------------------------------------

CONFIGS = {
    "unreadable": "[profile x\nfoo",
    "process-fails": "[profile x]\ncredential_process = false\n",
    "process-babbles": "[profile x]\ncredential_process = echo hello\n",
    "no-sso-token": (
        "[profile x]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        "[sso-session s]\nsso_start_url = https://example.invalid/start\nsso_region = us-east-1\n"
    ),
    "assumes-itself": "[profile x]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = x\n",
    "assumes-nothing": "[profile x]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = y\n",
    "half-a-key": "[profile x]\naws_access_key_id = a\n",
    "no-keys": "[profile x]\nregion = us-east-1\n",
    "no-profile": "[profile y]\n",
}


@both
@pytest.mark.parametrize("config", CONFIGS)
def test_a_broken_aws_configuration_is_no_bug(
    moto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, config: str
) -> None:
    path = tmp_path / "config"
    path.write_text(CONFIGS[config])
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    store = S3Store(fresh_bucket(moto, client=client)._replace(profile="x"), os.environ)
    error = error_of(lambda: store.get("a/b"))
    if config == "no-profile":
        assert isinstance(error, UsageError)
    else:
        assert isinstance(error, StoreError)
        assert not isinstance(error, StoreUnreachable)
    # A create that cannot be sent is not an unknown outcome.
    assert type(error_of(lambda: store.create("a/b", b"1"))) is type(error)


@both
def test_without_any_credentials(moto: Server, client: str) -> None:
    store = S3Store(fresh_bucket(moto, client=client), {})
    with pytest.raises(StoreDenied, match="no AWS credentials") as told:
        store.get("a/b")
    assert "AWS_ACCESS_KEY_ID" in told.value.hint


@both
def test_a_profile_gives_keys_and_region(
    moto: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    path = tmp_path / "config"
    path.write_text(
        "[profile x]\naws_access_key_id = KEYOFX\naws_secret_access_key = s\nregion = eu-west-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    settings = fresh_bucket(moto.through(proxy.url), client=client)
    for region, expected in ((None, "eu-west-1"), ("us-west-2", "us-west-2")):
        proxy.clear()
        said = settings._replace(profile="x", region=region)
        S3Store(resolve(said, os.environ).settings, KEYS).get("a/b")
        signed = proxy.requests[0].headers["authorization"]
        assert re.search(f"Credential=KEYOFX/[0-9]+/{expected}/s3/", signed), signed


@both
def test_the_environment_that_is_given_counts(moto: Server, proxy: Proxy, client: str) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "GIVEN",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_REGION": "eu-north-1",
    }
    said = S3Settings(moto.bucket, "p", client=client)
    S3Store(resolve(said, environ).settings, environ).get("a/b")
    headers = proxy.requests[0].headers
    assert re.search("Credential=GIVEN/[0-9]+/eu-north-1/s3/", headers["authorization"])
    assert headers["x-amz-security-token"] == "token"


def test_a_client_that_is_none(moto: Server) -> None:
    with pytest.raises(UsageError, match="client is 's3fs'"):
        open_s3(moto, client="s3fs").get("a/b")


# -- forks ----------------------------------------------------------------------------------------

FORKS = """
import os, sys
from tclog.store.s3 import S3Settings, S3Store
store = S3Store(S3Settings(sys.argv[1], sys.argv[2], sys.argv[3], "us-east-1"), os.environ)
store.put("fork/a", b"parent")
pid = os.fork()
if pid == 0:
    print(store.create("fork/b", b"child").outcome.value, store.get("fork/a").data, flush=True)
    sys.exit(3)  # the way a script ends: nothing may wait for the parent's threads
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
print([row.key for row in store.list("fork", "", 10, False)], "boto3" in sys.modules)
"""


def test_a_forked_child_falls_back_and_ends(server: Server) -> None:
    settings = fresh_bucket(server)
    arguments = (settings.bucket, settings.prefix, server.endpoint)
    ran = run_python(FORKS, *arguments, environ=server.environ)
    assert ran.stderr == ""
    told = ["won b'parent'", "3", "['fork/a', 'fork/b'] False"]
    assert ran.stdout.splitlines() == told


# -- no error of a client library escapes ---------------------------------------------------------


class Raising:
    """Stands for a client library: whatever is called raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            raise self._error

        return call


def classes_in(module: Any) -> list[type[Exception]]:
    found = [kind for kind in vars(module).values() if isinstance(kind, type)]
    ours = [kind for kind in found if kind.__module__ == module.__name__]
    return [k for k in ours if issubclass(k, Exception) and not issubclass(k, Warning)]


def made(kind: type[Exception]) -> Exception:
    """Make an instance of any of botocore's classes, whose messages want many fields."""
    if issubclass(kind, botocore.exceptions.ClientError):
        return kind({"Error": {"Code": "Odd"}, "ResponseMetadata": {"HTTPStatusCode": 418}}, "Get")
    fields = [name for _, name, _, _ in string.Formatter().parse(getattr(kind, "fmt", "")) if name]
    for arguments in ((), ("x",), ("x", "x", {})):
        try:
            return kind(*arguments, **({} if arguments else dict.fromkeys(fields, "x")))
        except TypeError:
            continue
    raise AssertionError(kind)


OBSTORE = [*classes_in(obstore.exceptions), FileNotFoundError, NotImplementedError, TimeoutError]
BOTOCORE = [*classes_in(botocore.exceptions), TimeoutError, ConnectionResetError]


def walk(store: S3Store, error: Exception, tmp_path: Path, absent: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1")
    calls = {**reads(store), **writes(store, file), "stat": lambda: store.stat("a/b")}
    for name, call in calls.items():
        told = error_of(call)
        if not (absent and told in (None, [])):
            assert isinstance(told, StoreError), (name, error, told)
            assert told.message
    told = error_of(lambda: store.create("a/b", b"1"))
    if isinstance(told, Created):
        assert told.outcome is not Outcome.WON
        assert told.cause
    else:
        assert isinstance(told, StoreError)


@pytest.mark.parametrize("kind", OBSTORE, ids=lambda kind: kind.__name__)
def test_every_error_of_obstore_is_told(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = S3Store(S3Settings("bucket", "p", "http://127.0.0.1:1", "us-east-1"), KEYS)
    error = kind("it failed\n\nDebug source:\n...")
    plane = store.plane()
    monkeypatch.setattr(plane, "_obstore", Raising(error))
    for made_already in ("_uploads", "_downloads"):
        monkeypatch.setattr(plane, made_already, "a client")
    absent = kind in (FileNotFoundError, obstore.exceptions.NotFoundError)
    walk(store, error, tmp_path, absent)


@pytest.mark.parametrize("kind", BOTOCORE, ids=lambda kind: kind.__name__)
def test_every_error_of_botocore_is_told(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(_boto3, "boto3_client", lambda *_: Raising(error))
    error = made(kind)
    store = S3Store(S3Settings("bucket", "p", "http://127.0.0.1:1", client="boto3"), KEYS)
    walk(store, error, tmp_path, absent=False)


def test_an_answer_that_ends_early_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    body = io.BytesIO(b"")
    body.read = Raising(botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2)).x
    client = type("Client", (), {"get_object": lambda *_, **__: {"Body": body}})()
    monkeypatch.setattr(_boto3, "boto3_client", lambda *_: client)
    store = S3Store(S3Settings("bucket", "p", "http://127.0.0.1:1", client="boto3"), KEYS)
    with pytest.raises(StoreUnreachable):
        store.get("a/b")


# -- encryption -----------------------------------------------------------------------------------


def self_signed(folder: Path) -> Path:
    """Make a certificate for this machine that nobody vouches for, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + plain)
    return path


@both
def test_an_encrypted_endpoint_that_nobody_vouches_for_is_told_nothing(
    client: str, tmp_path: Path
) -> None:
    """Certificates are left unchecked only where there are none: over plain HTTP."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    plain, _ = listener.accept()
                    plain.settimeout(5)
                    with context.wrap_socket(plain, server_side=True) as encrypted:
                        heard.append(encrypted.recv(1000))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            endpoint = f"https://localhost:{listener.getsockname()[1]}"
            store = S3Store(S3Settings("bucket", "", endpoint, client=client), KEYS)
            with pytest.raises(StoreError):
                store.get("key")
        finally:
            over.set()
            thread.join()
    assert not [said for said in heard if said]
