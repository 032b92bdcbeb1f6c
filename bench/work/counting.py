"""A store that counts the requests that are made to it, by verb."""

from __future__ import annotations

from collections import Counter
from typing import Any

VERBS = ("get", "put", "create", "list", "stat", "delete", "put_file", "get_file")


class Counting:
    """Passes everything on to another store."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in VERBS:
            return found

        def counted(*arguments: Any) -> Any:
            self.counts[name] += 1
            return found(*arguments)

        return counted
