"""The stores of a test run, and the walls around it.

No test sees the user's AWS or tclog settings, and none touches the user's files: the variables
are taken away before anything is collected, and the home folder is a temporary one. What was there
is remembered here, since it says where Ceph is.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
from support import forked
from support.stores import (
    NO_CEPH,
    Server,
    bucket_of,
    can_mount,
    find_ceph,
    run_moto,
    run_rclone,
)

from tclog.store.s3 import S3Settings, _boto3, limits

T = TypeVar("T")
REMEMBERED: Mapping[str, str] = dict(os.environ)
_HOME = Path(tempfile.mkdtemp(prefix="tclog-test-home-"))
_TAKEN = ("AWS_", "TCLOG_", "XDG_", "BOTO_", "RCLONE_")


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
        return  # runs no test itself, and its workers inherit what it has
    for name in REMEMBERED:
        if name.startswith(_TAKEN) or name.upper().endswith("_PROXY"):
            del os.environ[name]
    # What the tests start heeds SIGINT, also where a shell runs them in the background, and SIGHUP,
    # also under nohup.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # In a container the leader of this session may be outside, where no process here can see it.
    # Then each process would take its own parent for its place, and the tests have several.
    if os.getsid(0) == 0:
        os.setsid()
    forked.fresh = REMEMBERED.get("TCLOG_TEST_FRESH") == "1"
    os.environ.update(
        HOME=str(_HOME),
        XDG_CACHE_HOME=str(_HOME / "cache"),
        XDG_CONFIG_HOME=str(_HOME / "config"),
        XDG_RUNTIME_DIR=str(_HOME / "run"),
        AWS_CONFIG_FILE=str(_HOME / "aws-config"),
        AWS_SHARED_CREDENTIALS_FILE=str(_HOME / "aws-credentials"),
        AWS_EC2_METADATA_DISABLED="true",
    )


def pytest_collection_finish() -> None:
    # What is loaded by now stays, and need not be gone through by every search for garbage.
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    os.environ.clear()
    os.environ.update(REMEMBERED)
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each of xdist's workers begin with its share of the slow tests.

    A worker takes its tests in the order of a row of all of them, and one that is idle steals from
    the end of another's row. What is slow and begins last keeps all others waiting.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = deal(items, workers, lambda item: item.get_closest_marker("slow") is not None)


def deal(items: Sequence[T], workers: int, is_slow: Callable[[T], bool]) -> list[T]:
    """Return the items as one row for each worker, of lengths as xdist cuts them, slow ones first.

    Neighbours stay neighbours: they share fixtures; and of the slow ones some wait and some
    compute, so what runs at the same time had better not come from one module.
    """
    slow = [item for item in items if is_slow(item)]
    others = [item for item in items if not is_slow(item)]
    dealt: list[T] = []
    for nth in range(workers, 0, -1):
        first, row = len(slow) // nth, (len(items) - len(dealt)) // nth
        dealt += slow[:first] + others[: row - first]
        del slow[:first], others[: row - first]
    return dealt


@cache
def _ceph() -> Server | None:
    return find_ceph(REMEMBERED)


def _stores_line() -> str:
    return f"stores: file, memory, moto, Ceph RGW {'yes' if _ceph() else 'no'}"


def pytest_report_header() -> str:
    return _stores_line()


def pytest_sessionstart(session: pytest.Session) -> None:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    # With -q pytest shows no header, but which stores a run used is part of its result.
    if reporter is not None and not reporter.showheader:
        reporter.write_line(_stores_line())


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    """Give moto's server with a bucket: quick, but no oracle for races."""
    with run_moto() as server:
        yield server


@pytest.fixture(scope="session")
def moto_url(moto: Server) -> str:
    return moto.endpoint


def lacks(name: str, why: str) -> NoReturn:
    """Skip what needs something that is not here; fail if ``TCLOG_TEST_REQUIRE`` names it."""
    if name in REMEMBERED.get("TCLOG_TEST_REQUIRE", "").split(","):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def mounts() -> None:
    """Skip where this user may mount nothing."""
    if not can_mount():
        lacks("mounts", "needs root or user namespaces, for a mount that only a child sees")


@pytest.fixture(scope="session")
def ceph() -> Iterator[Server]:
    """Give a real object store with a bucket of this run; skips without one."""
    server = _ceph()
    if server is None:
        lacks("ceph", NO_CEPH)
    # Removing every object takes as long as many tests do, and a server that was started for this
    # run is thrown away.
    with bucket_of(server, keep=REMEMBERED.get("TCLOG_TEST_CEPH") == "thrown away"):
        yield server


@pytest.fixture(scope="session")
def shared_boto3() -> Iterator[None]:
    """Make one boto3 client for each server and process: each costs a third of a second."""
    make = _boto3.boto3_client
    made: dict[Any, Any] = {}

    def shared(settings: S3Settings, environ: Mapping[str, str]) -> Any:
        place = settings._replace(bucket="", prefix=""), limits.REQUEST_TIMEOUT_S, os.getpid()
        keys = tuple(environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        key = place, keys, environ.get("AWS_CONFIG_FILE"), environ.get("AWS_SESSION_TOKEN")
        if key not in made:
            made[key] = make(settings, environ)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_boto3, "boto3_client", shared)
        yield


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that ignores the condition of a create."""
    with run_rclone(tmp_path_factory.mktemp("rclone") / "served") as server:
        yield server


@pytest.fixture(scope="session")
def rclone_url(rclone: Server) -> str:
    return rclone.endpoint
