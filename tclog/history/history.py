"""``History``: a project's whole log, as the commands that look back see it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, run
from tclog.clock import Hlc
from tclog.history.moments import resolve
from tclog.index import Index
from tclog.moment import Moment
from tclog.store.base import Store
from tclog.sync.objects import Progress
from tclog.sync.sync import Synced, sync

T = TypeVar("T")
TRIES_MAX = 3


class History:
    """The log of one project, through its local index.

    Args:
        store: where the project is.
        client: the reader; only its clock is used, and nothing is written.
        folder: the project's cache folder.
        run: drives a protocol against the store, by default in this thread.
        tell: called with the reason if the folder cannot be written, and the index is in memory.
    """

    def __init__(
        self,
        store: Store,
        client: Client,
        folder: Path,
        run: Callable[[Protocol[Any]], Any] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.client = client
        self._run = run
        self.index = Index(folder, tell)
        # Called after each sync of a long-running command: something may be left out since.
        self.synced: Callable[[], None] = lambda: None

    def run(self, protocol: Protocol[T]) -> T:
        """Drive a protocol against the store."""
        if self._run is not None:
            return self._run(protocol)  # type: ignore[no-any-return]
        return run(protocol, self.store)

    def sync(self, *, full: bool = False, progress: Progress | None = None) -> Synced:
        """Bring the index up to the store; a damaged one is rebuilt.

        Raises:
            Damaged: a pack does not hold what it should, or the store was set back.
            IndexUnusable: the cache folder holds no index.
        """
        done = self.asked(
            lambda: self.run(sync(self.client, self.index, full=full, progress=progress))
        )
        self.synced()
        return done

    def asked(self, ask: Callable[[], T]) -> T:
        """Ask the index something; if it is damaged, rebuild it and ask again."""
        for nth in range(TRIES_MAX):
            try:
                if nth:
                    self.run(sync(self.client, self.index))
                return ask()
            except sqlite3.DatabaseError as error:
                self.index.recover(error, last=nth == TRIES_MAX - 1)
        raise AssertionError

    def resolve(self, moment: Moment) -> Hlc:
        """Return the stamp that a point stands for: everything up to it belongs to it.

        Raises:
            NotFound: there is no such event, version or tag.
            UsageError: an id prefix that several ids begin with.
        """
        return self.asked(lambda: self.run(resolve(self.client, self.index, moment)))
