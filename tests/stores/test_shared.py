"""Shared folders: what a store makes is open to the group before anybody else can find it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tclog.store import file, shared
from tclog.store.file import FileStore


@pytest.fixture
def closed() -> Iterator[None]:
    """Run under a umask that closes everything to others."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def write_all(store: FileStore, tmp_path: Path) -> None:
    """Write in each way that a store has."""
    store.put("a/b/put", b"x")
    store.keep("a/c/keep", b"x")
    store.create("d/e/create", b"x")
    source = tmp_path / "source"
    source.write_bytes(b"streamed")
    store.put_file("f/g/file", source, blake3(b"streamed").hexdigest(), None)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("fsync", [True, False])
def test_nothing_is_found_before_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o2770)
    opened: list[str] = []
    adopt = shared.adopt

    def spy(name: str | int, mode: int, group: int) -> None:
        if isinstance(name, str):
            opened.append(name)
        else:
            opened.append(os.readlink(f"/proc/self/fd/{name}"))
        adopt(name, mode, group)

    monkeypatch.setattr(shared, "adopt", spy)
    monkeypatch.setattr(file, "adopt", spy)
    write_all(FileStore(root, fsync=fsync), tmp_path)
    assert opened
    # A name outside of the temporary folder is one that others find.
    assert {name for name in opened if not name.startswith(f"{root}/.tmp/")} == {f"{root}/.tmp"}
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}
    assert modes == {0o660, 0o2770}


@pytest.mark.usefixtures("closed")
def test_a_folder_that_somebody_else_has_made_meanwhile_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for inner in ("empty", "full"):
        (root / inner).mkdir(parents=True)
    (root / "full" / "object").touch()
    modes = shared.Modes(0o660, 0o2770, os.getgid())
    for name in ("empty", "full", "new"):
        shared.make_folder(str(root / name), str(root / "temporary"), modes)
    assert sorted(os.listdir(root)) == ["empty", "full", "new"]
    assert os.listdir(root / "full") == ["object"]
    (root / "file").touch()
    with pytest.raises(NotADirectoryError):
        shared.make_folder(str(root / "file"), str(root / "temporary"), modes)
    assert not (root / "temporary").exists()


@pytest.mark.usefixtures("closed")
def test_a_folder_that_is_not_shared_is_as_closed_as_the_umask_says(tmp_path: Path) -> None:
    write_all(FileStore(tmp_path / "root"), tmp_path)
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "root").rglob("*")}
    assert modes == {0o600, 0o700}
