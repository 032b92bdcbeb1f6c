"""What is public in Python: these names and no others; ``tests/typed`` checks their types."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import tclog

PUBLIC = """
Agent Artifact BadName BadValue Barrier Damaged Forked FormatNewer Hold Log Memory Message NotFound
OutcomeUnknown Refused RolledBack Step StoreDenied StoreError StoreFull StoreMissing StoreUnfit
StoreUnreachable Tag TclogError UsageError WaitTimeout __version__ open
"""
USES = Path(__file__).parents[1] / "typed" / "uses.py"
# Methods of a log that programs do not call: the protocol's own way in, and what it is made of.
INNER = {"run", "check_open"}
HISTORY_INNER = {"opened", "fresh", "sync", "look_again", "close", "boundary"}


def test_the_public_names_are_these() -> None:
    assert tclog.__all__ == sorted(PUBLIC.split())
    for name in tclog.__all__:
        assert getattr(tclog, name) is not None


def test_every_public_method_is_used_in_the_typed_examples() -> None:
    """So that a new one is checked by mypy and pyright, too."""
    text = USES.read_text()
    assert ast.parse(text)
    from tclog.log.artifacts import ArtifactOperations
    from tclog.log.groups import StepOperations
    from tclog.log.history import HistoryOperations
    from tclog.log.memory import MemoryOperations
    from tclog.log.tags import TagOperations

    groups = {
        "log": (tclog.Log, INNER),
        "memory": (MemoryOperations, set()),
        "steps": (StepOperations, set()),
        "artifacts": (ArtifactOperations, set()),
        "tags": (TagOperations, set()),
        "history": (HistoryOperations, HISTORY_INNER),
    }
    for group, (kind, inner) in groups.items():
        names = {name for name in vars(kind) if not name.startswith("_")} - inner
        missing = {name for name in names if not re.search(rf"\b{group}\.{name}\b", text)}
        assert not missing, group
