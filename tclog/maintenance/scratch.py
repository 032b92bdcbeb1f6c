"""A temporary database, for what does not fit into memory.

SQLite deletes its file when the database is closed, or the process dies.
"""

from __future__ import annotations

import sqlite3
from typing import Any


class Scratch:
    """A database with the tables of a subclass; a context manager that deletes it."""

    TABLES = ""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32768;"
            f"{self.TABLES} BEGIN"
        )

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _insert(self, table: str, *row: Any) -> bool:
        """Insert a row; false if its key is there already, which stays as it is."""
        statement = f"INSERT OR IGNORE INTO {table} VALUES({','.join('?' * len(row))})"
        return self._db.execute(statement, row).rowcount == 1

    def _one(self, find: str, *keys: Any) -> Any:
        """Return the first row of a query, None if there is none."""
        return self._db.execute(find, keys).fetchone()
