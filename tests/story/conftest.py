"""The stores of the stories: a folder and a bucket of Ceph's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project, bucket_site, folder_site


@pytest.fixture(params=["file", "ceph"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """Give a fresh project on each store; what it started does not outlive the test."""
    if request.param == "file":
        site = folder_site(tmp_path / "store")
    else:
        site = bucket_site(request.getfixturevalue("ceph"))
    made = Project(tmp_path, site)
    yield made
    made.close()
