"""tclog memory: the group, and how its commands show a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tclog.cli.app import group
from tclog.cli.invocation import Invocation
from tclog.cli.output import json_text

if TYPE_CHECKING:
    from tclog.chain.results import Memory


@group(
    *("set", "get", "list", "history", "delete", "incr", "append"),
    aliases={"rm": "delete"},
    example="""
    tclog memory set design.contract 'POST /v1/items' --as alice
    tclog memory get design.contract
    """,
)
def memory() -> None:
    """Share facts: versioned values with conflict detection."""


def confirm(call: Invocation, what: str, done: Memory) -> None:
    """Say which version a write made."""
    call.emit(done.as_json(), lambda: f"{what} (version {done.version} by {done.agent})")


def value_text(found: Memory) -> str:
    """Return a value as it is printed: a text unchanged, JSON on one line."""
    return str(found.value) if found.type == "text" else json_text(found.value)
