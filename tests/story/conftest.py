"""The stores of the stories: a folder and a bucket of Ceph's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project, Seed, bucket_site, folder_site


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> None:
    """Let what is started heed SIGINT, also where a shell runs the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def seeds() -> dict[str, Seed]:
    """Keep what the first ``tclog init`` on each kind of store has written."""
    return {}


@pytest.fixture(params=["file", "ceph"])
def project(
    request: pytest.FixtureRequest, tmp_path: Path, seeds: dict[str, Seed]
) -> Iterator[Project]:
    """Give a fresh project on each store; what it started does not outlive the test."""
    kind = request.param
    if kind == "file":
        site = folder_site(tmp_path / "store")
    else:
        site = bucket_site(request.getfixturevalue("ceph"))
    made = Project(tmp_path, site, seeds.get(kind))
    seeds.setdefault(kind, made.seed())
    yield made
    made.close()
