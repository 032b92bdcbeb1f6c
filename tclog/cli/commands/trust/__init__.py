"""tclog trust."""

from __future__ import annotations

from tclog.cli.app import group


@group(
    "accept",
    example="""
    tclog trust accept
    """,
)
def trust() -> None:
    """Decide whether to go on with a store that was set back."""
