"""tclog step: define and look at steps and what they come after."""

from __future__ import annotations

from tclog.cli.app import group


@group(
    *("add", "list", "show"),
    example="""
    tclog step add build --after design --as alice
    tclog step list --ready
    """,
)
def step() -> None:
    """Define and look at steps and what they come after."""
