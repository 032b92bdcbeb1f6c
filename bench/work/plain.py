"""The plain loop: senders that only race, and never join the others."""

from __future__ import annotations

from typing import Any

from tclog.log import inbox


def use_plain_loop() -> None:
    """Switch combining off in this process, and in those that it forks."""
    append = inbox.append

    def append_alone(*words: Any, joinable: bool = False, **options: Any) -> Any:
        assert joinable, "nothing that was switched off"
        return append(*words, **options)

    inbox.append = append_alone  # type: ignore[assignment]
