"""`tclog doctor` notices another distribution in the folder of tclog, and files that differ."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tclog.cli.installed import DISTRIBUTION, check_installed
from tclog.errors import TclogError


def install(site: Path, name: str, *files: str) -> Path:
    """Install a distribution as pip does: its files, and their hashes in RECORD."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    rows = []
    for file in files:
        path = site / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
        digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
        rows.append(f"{file},sha256={digest.rstrip(b'=').decode()},{path.stat().st_size}\n")
    (info / "RECORD").write_text("".join(rows) + f"{info.name}/RECORD,,\n")
    return site / "tclog"


OURS = ("tclog/__init__.py", "tclog/cli/__init__.py", "tclog/py.typed")


def refused(package: Path) -> TclogError:
    with pytest.raises(TclogError) as caught:
        check_installed(package, [str(package.parent)])
    assert caught.value.code == "package-mixed"
    return caught.value


def test_a_sound_installation_is_named(tmp_path: Path) -> None:
    package = install(tmp_path, DISTRIBUTION, *OURS)
    install(tmp_path, "tclog", "tklog/__init__.py")  # the logger of that name is not in the way
    assert check_installed(package, [str(tmp_path)]) == f"tclog-agents 1.0 in {package}"


@pytest.mark.parametrize("file", ["tclog/__init__.py", "tclog/logger.py"])
@pytest.mark.parametrize("later", ["tclog", DISTRIBUTION])
def test_another_package_with_the_module_is_told(tmp_path: Path, file: str, later: str) -> None:
    brought = {DISTRIBUTION: OURS, "tclog": (file,)}
    for name in sorted(brought, key=lambda name: name == later):
        package = install(tmp_path, name, *brought[name])
    error = refused(package)
    assert error.message.startswith(f"tclog also installs a module tclog, in {package}")
    assert error.hint == "pipx install tclog-agents"
    assert error.details["distributions"] == ["tclog", DISTRIBUTION]


@pytest.mark.parametrize("lost", [True, False])
def test_a_file_that_is_lost_or_changed_is_told(tmp_path: Path, lost: bool) -> None:
    package = install(tmp_path, DISTRIBUTION, *OURS)
    file = package / "cli/__init__.py"
    file.unlink() if lost else file.write_text("# another\n")
    error = refused(package)
    assert error.message.startswith("1 files of tclog-agents are missing or changed, the first is")
    assert error.details["files"] == ["tclog/cli/__init__.py"]


def test_a_package_elsewhere_is_not_in_the_way(tmp_path: Path) -> None:
    package = install(tmp_path / "a", DISTRIBUTION, *OURS)
    install(tmp_path / "b", "tclog", "tclog/__init__.py")
    assert check_installed(package, [str(tmp_path / "a"), str(tmp_path / "b")])


def test_a_checkout_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "tclog").mkdir()
    assert str(tmp_path) in check_installed(tmp_path / "tclog", [str(tmp_path)])


def test_doctor_tells(tmp_path: Path) -> None:
    """Here tclog runs from a folder that a second distribution claims, too."""
    import tclog

    (tmp_path / "tclog").symlink_to(Path(tclog.__file__).parent)
    info = tmp_path / "tclog-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tclog\nVersion: 1.0\n")
    (info / "RECORD").write_text("tclog/__init__.py,,\n")
    ran = subprocess.run(
        [sys.executable, "-m", "tclog", "doctor", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    first = json.loads(ran.stdout.splitlines()[0])
    assert (first["name"], first["ok"]) == ("installation", False)
    assert (ran.returncode, json.loads(ran.stderr)["code"]) == (1, "package-mixed")
