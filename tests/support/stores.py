"""The stores that tests run against: servers as processes, places in them, and what ends them.

Owns: starting moto and rclone, finding Ceph, and giving every test a place of its own.

Invariant: a server that is started here ends with the test run, also when that is killed: the end
of its standard input is the signal.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tclog.store.base import Created, Entry, Found, Store
from tclog.store.s3 import S3Settings, S3Store

REPOSITORY = Path(__file__).resolve().parents[2]
NO_CEPH = "Ceph RGW is not running: scripts/ceph start"
START_S = 20.0
_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
_WHILE_READ = '"$@" </dev/null & cat >/dev/null; kill -9 $!'


class Server(NamedTuple):
    """One S3 server with a bucket; ``environ`` holds its keys as the ``AWS_*`` variables."""

    name: str
    endpoint: str
    bucket: str
    environ: Mapping[str, str]

    def through(self, url: str) -> Server:
        """Return the same server as reached through a proxy."""
        return self._replace(endpoint=url)


def fresh_bucket(server: Server, *, client: str = "obstore") -> S3Settings:
    """Return settings for a prefix of the server's bucket that nobody has used."""
    prefix = f"t-{os.urandom(6).hex()}"
    return S3Settings(server.bucket, prefix, server.endpoint, "us-east-1", client=client)


def open_s3(server: Server, settings: S3Settings | None = None, **changes: Any) -> S3Store:
    """Open a store with the server's keys, by default in a fresh place."""
    settings = fresh_bucket(server) if settings is None else settings
    return S3Store(settings._replace(**changes), server.environ)


def url_of(settings: S3Settings) -> str:
    """Return the URL that a user would type."""
    return f"s3://{settings.bucket}/{settings.prefix}"


# -- servers --------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(endpoint: str) -> bool:
    """Whether something accepts connections at an endpoint."""
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=2).close()
    except OSError:
        return False
    return True


def _await(endpoint: str, process: subprocess.Popen[Any]) -> None:
    limit = time.monotonic() + START_S
    while not answers(endpoint):
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"{process.args} did not start")
        time.sleep(0.05)


def _end(process: subprocess.Popen[Any]) -> None:
    process.stdin.close()
    process.wait(10)


@contextlib.contextmanager
def run_moto() -> Iterator[Server]:
    """Run moto's server in a process of its own, so that no test forks its threads."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        host, port = process.stdout.readline().split()
        keys = {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto"}
        server = Server("moto", f"http://{host}:{port}", "tclog-test", keys)
        _make_bucket(server)
        yield server
    finally:
        _end(process)


@contextlib.contextmanager
def run_rclone(folder: Path) -> Iterator[Server]:
    """Serve a folder by `rclone serve s3`, which ignores If-None-Match."""
    program = Path(sys.executable).parent / "rclone"
    port = free_port()
    keys = {"AWS_ACCESS_KEY_ID": "rclone", "AWS_SECRET_ACCESS_KEY": "rclone-secret"}
    (folder / "tclog-test").mkdir(parents=True)
    (folder / "rclone.conf").touch()
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", ",".join(keys.values())]
    config = ["--config", str(folder / "rclone.conf")]
    process = subprocess.Popen(
        ["sh", "-c", _WHILE_READ, "sh", program, *config, "serve", "s3", *options, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = Server("rclone", f"http://127.0.0.1:{port}", "tclog-test", keys)
        _await(server.endpoint, process)
        yield server
    finally:
        _end(process)


def find_ceph(environ: Mapping[str, str]) -> Server | None:
    """Return the running Ceph gateway: from the environment as exported, or as the script says."""
    exported = dict(environ)
    if exported.get("TCLOG_TEST_S3") != "ceph":
        told = subprocess.run(
            [REPOSITORY / "scripts" / "ceph", "env"],
            capture_output=True,
            text=True,
            check=False,
            env=dict(environ),
        )
        lines = told.stdout.splitlines() if told.returncode == 0 else []
        words = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
        exported = dict(word.split("=", 1) for word in words)
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if not all(exported.get(name) for name in names) or not answers(exported[names[0]]):
        return None
    keys = {name: exported[name] for name in names[1:]}
    return Server("Ceph RGW", exported[names[0]], f"tclog-test-{os.urandom(4).hex()}", keys)


@contextlib.contextmanager
def bucket_of(server: Server, *, keep: bool = False) -> Iterator[Server]:
    """Make the server's bucket, and remove it with all that is in it unless it is to be kept."""
    _make_bucket(server)
    try:
        yield server
    finally:
        if not keep:
            empty_bucket(server)


def _make_bucket(server: Server) -> None:
    """Make the bucket, with boto3's patience: the first request to moto loads half of it."""
    raw_client(server).create_bucket(Bucket=server.bucket)


def raw_client(server: Server) -> Any:
    """Return a plain boto3 client, to look at a bucket behind tclog's back."""
    keys = (server.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return _boto3_client(server.endpoint, *keys)


@functools.cache  # making one takes a third of a second
def _boto3_client(endpoint: str, key_id: str, secret: str) -> Any:
    import boto3

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )


def empty_bucket(server: Server) -> None:
    """Remove a bucket of the tests."""
    client = raw_client(server)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=server.bucket):
        keys = [{"Key": row["Key"]} for row in page.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=server.bucket, Delete={"Objects": keys, "Quiet": True})
    client.delete_bucket(Bucket=server.bucket)


# -- stores around stores -------------------------------------------------------------------------


class Around(Store):
    """A store that hands every verb to another; tests override what they break or count."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.url = store.url
        self.concurrent = store.concurrent
        self.local = store.local
        self.backoff_s = store.backoff_s
        self.resolution_us = store.resolution_us

    def get(self, key: str) -> Found | None:
        return self.inner.get(key)

    def put(self, key: str, data: bytes) -> Any:
        return self.inner.put(key, data)

    def keep(self, key: str, data: bytes) -> Any:
        # One request to write an object, which tests count and break as such.
        return self.put(key, data)

    def create(self, key: str, data: bytes) -> Created:
        return self.inner.create(key, data)

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        return self.inner.list(prefix, after, limit, folders)

    def stat(self, key: str) -> Entry | None:
        return self.inner.stat(key)

    def delete(self, *keys: str) -> None:
        self.inner.delete(*keys)

    def put_file(self, key: str, path: Path, digest: str, progress: Any) -> None:
        self.inner.put_file(key, path, digest, progress)

    def get_file(self, key: str) -> Iterator[bytes] | None:
        return self.inner.get_file(key)


class Counting(Around):
    """Counts the requests of each verb, and remembers their keys."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.seen: list[tuple[str, str]] = []

    def count(self) -> Counter[str]:
        """Return how often each verb was used since the last ``clear``."""
        return Counter(verb for verb, _ in self.seen)

    def clear(self) -> None:
        """Forget what was counted."""
        self.seen.clear()


def _counted(verb: str) -> Callable[..., Any]:
    def method(self: Counting, key: str, *rest: Any) -> Any:
        self.seen.append((verb, key))
        return getattr(self.inner, verb)(key, *rest)

    return method


for _verb in ("get", "put", "create", "list", "stat", "delete", "put_file", "get_file"):
    setattr(Counting, _verb, _counted(_verb))


# -- processes ------------------------------------------------------------------------------------


def in_child(work: Callable[[], Any], *, timeout_s: float = 30.0) -> str:
    """Run ``work`` in a forked child of this process; return the text it ended with.

    A child that hangs is killed, and what is returned says so.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(work())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode()[:4096] or b" ")
        os._exit(0)
    os.close(writer)
    try:
        limit = time.monotonic() + timeout_s
        while time.monotonic() < limit:
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.read(reader, 4096).decode()
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "the child hung"
    finally:
        os.close(reader)


def run_python(
    script: str, *arguments: str, environ: Mapping[str, str] | None = None, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh Python; with ``before``, in a mount namespace that it prepares.

    The mounts are seen by that process alone and go away with it.
    """
    command = [sys.executable, "-c", script, *arguments]
    if before:
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        shell = ["sh", "-ec", f'{before}\nexec "$@"', "sh"]
        command = ["unshare", "--mount", *user, *shell, *command]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **(environ or {})},
    )


def can_mount() -> bool:
    """Whether this user may mount in a namespace of its own."""
    try:
        return run_python("", before="mount -t tmpfs -o size=64k tmpfs /tmp").returncode == 0
    except OSError:
        return False
