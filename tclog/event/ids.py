"""The types of ids: lower-case hex of BLAKE3-256, and chain names."""

from __future__ import annotations

from typing import NewType

EventId = NewType("EventId", str)
VersionId = NewType("VersionId", str)
BlobHash = NewType("BlobHash", str)
# kind, "/", the name in full: "memory/design.contract", "inbox/@all".
ChainId = NewType("ChainId", str)
