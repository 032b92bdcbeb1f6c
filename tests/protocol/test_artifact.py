"""Files: what the store has under a blob's name is neither sent again nor overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from tclog.errors import Damaged
from tclog.event import BlobHash, blob_key
from tclog.log.artifacts import put_artifact
from tclog.store.base import PutFile

from .world import World


def test_a_damaged_blob_is_named_and_not_overwritten(tmp_path: Path) -> None:
    world, path = World(), tmp_path / "file"
    path.write_bytes(b"what was meant")
    key = blob_key(BlobHash(blake3(path.read_bytes()).hexdigest()))
    world.store.put(key, b"cut")
    with pytest.raises(Damaged, match=key):
        world.run(put_artifact(world["alice"], path))
    assert not any(isinstance(asked, PutFile) for asked in world.asked)
    assert world.store.get(key).data == b"cut"  # type: ignore[union-attr]
