"""The wheel and the source distribution hold what they should, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
from docs.reading import ROOT

from tclog import __version__

NAME = f"tclog_agents-{__version__}"
INFO = f"{NAME}.dist-info"
ASSETS = "tclog/history/report/assets/"
# What the wheel holds of tclog/ beside modules.
DATA = {"py.typed", *(f"history/report/assets/{path.name}" for path in (ROOT / ASSETS).iterdir())}
FOLDERS = ("tclog", "tests", "docs", "scripts", "bench")
FILES = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"),
    *(".gitignore", "PKG-INFO"),  # which hatchling adds
}


class Built(NamedTuple):
    wheel: Path
    sdist: Path


def build(folder: Path, to: Path, *targets: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(to)]
    for target in targets:
        command += ["--target", target]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    to = tmp_path_factory.mktemp("dist")
    build(ROOT, to, "wheel", "sdist")
    return Built(to / f"{NAME}-py3-none-any.whl", to / f"{NAME}.tar.gz")


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".cache"} & set(path.parts)
    }


def in_wheel(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_what_describes_it(built: Built) -> None:
    names = set(in_wheel(built.wheel))
    described = ("METADATA", "WHEEL", "entry_points.txt", "RECORD", "licenses/LICENSE")
    modules = {name for name in files_below(ROOT / "tclog") if name.endswith(".py")}
    data = {f"tclog/{name}" for name in DATA}
    assert names == modules | data | {f"{INFO}/{name}" for name in described}
    assert {Path(name).suffix for name in DATA} == {".typed", ".css", ".html", ".js"}


def test_the_sdist_holds_what_builds_and_tests_the_package(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    assert names == FILES | {name for folder in FOLDERS for name in files_below(ROOT / folder)}


def test_the_wheel_from_the_sdist_is_the_same(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    build(tmp_path / NAME, tmp_path / "dist", "wheel")
    assert in_wheel(tmp_path / "dist" / built.wheel.name) == in_wheel(built.wheel)


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(in_wheel(wheel)[f"{INFO}/METADATA"].decode())


def test_the_metadata_says_what_the_package_is(built: Built) -> None:
    found = metadata(built.wheel)
    assert (found["Name"], found["Version"]) == ("tclog-agents", __version__)
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Author"]
    labels = [row.partition(",")[0] for row in found.get_all("Project-URL", [])]
    assert labels == ["Homepage", "Documentation", "Source", "Issues", "Changelog"]
    assert "Typing :: Typed" in found.get_all("Classifier", [])
    assert found.get_payload() == (ROOT / "README.md").read_text()


PLACEHOLDER = '[project.urls]\nHomepage = "https://tclog.example"\n'
OWN = '[project.urls]\nHomepage = "https://tclog.dev"\n'


@pytest.mark.parametrize(
    ("project", "security", "changes", "said"),
    [
        (PLACEHOLDER, "", f"## {__version__} (2026-12-01)", "tclog.example"),
        (OWN, "security@tclog.example", f"## {__version__} (2026-12-01)", "security@tclog.example"),
        (OWN, "", f"## {__version__} (unreleased)", "has no heading"),
        (OWN, "", "## 0.0.1 (2026-12-01)", "has no heading"),
    ],
)
def test_no_release_has_placeholders(
    tmp_path: Path, project: str, security: str, changes: str, said: str
) -> None:
    for folder in ("scripts", "tclog"):
        (tmp_path / folder).mkdir()
    for name in ("scripts/release", "tclog/version.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "SECURITY.md").write_text(security)
    (tmp_path / "CHANGELOG.md").write_text(f"{changes}\n")
    ended = subprocess.run(
        ["bash", "scripts/release"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert said in ended.stderr


def test_supported_versions_are_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    before = "Programming Language :: Python :: 3."
    minors = [
        int(row.removeprefix(before)) for row in project["classifiers"] if row.startswith(before)
    ]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert project["requires-python"] == f">=3.{minors[0]}"
