"""The fixtures of tests that want a fresh project on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import Project, Seed, bucket_site, folder_site

__all__ = ["given_project", "given_seeds"]


@pytest.fixture(name="seeds", scope="session")
def given_seeds() -> dict[str, Seed]:
    """Keep what the first ``tclog init`` on each kind of store has written."""
    return {}


@pytest.fixture(name="project", params=["file", "ceph"])
def given_project(
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
