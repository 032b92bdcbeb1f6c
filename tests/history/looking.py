"""A project's history: with a store in memory, an index in a folder; or by the command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.conftest import User

from tclog.chain.drive import Protocol, run
from tclog.clock import Hlc
from tclog.history.diff import Change, read_diff
from tclog.history.history import History
from tclog.history.snapshot import END
from tclog.history.state import read_state
from tclog.index import derived
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.base import Store
from tclog.store.memory import MemoryStore

State = dict[str, dict[str, Any]]


class Team:
    """Agents on one store in memory, each with a log of its own, and one who looks back."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.history = open_history(self.store, folder)
        self._logs: dict[str, Log] = {}

    def __getitem__(self, agent: str) -> Log:
        if agent not in self._logs:
            self._logs[agent] = Log(self.store, Project("p", "0" * 32, ""), agent=agent)
        return self._logs[agent]

    def look(self) -> History:
        """Bring the index up to date."""
        self.history.sync()
        return self.history

    def ask(self, question: Callable[..., Protocol[Any]], *words: Any, **named: Any) -> Any:
        """Run a protocol of the history on the index as it is now."""
        return self.look().run(question(self.history.index, *words, **named))

    def now(self) -> Hlc:
        """Return the stamp of the newest event."""
        commit = next(self.look().index.commits())
        return commit.at


def open_history(store: Store, folder: Path) -> History:
    """Open the history of what is in a store, with a fresh index in a folder."""
    viewer = Log(store, Project("p", "0" * 32, ""), agent="viewer")
    return History(store, viewer.client, folder, run=lambda protocol: run(protocol, store))


def state_at(history: History, at: Hlc = END, **options: Any) -> State:
    """Return everything at a moment, by chains."""
    with history.index.reading():
        items = history.run(read_state(history.index, at, **options))
    assert len({item.chain for item in items}) == len(items)
    return {item.chain: item.shown for item in items}


def diff_between(history: History, before: Hlc, after: Hlc = END) -> list[Change]:
    """Return what is different between two moments."""
    with derived.reading(history.index):
        return history.run(read_diff(history.index, before, after))


def apply(changes: list[Change], state: State) -> State:
    """Apply changes to a state, as anybody would who has only the objects that are printed."""
    result = dict(state)
    for change in (change.as_json() for change in changes):
        assert result.get(change["chain"]) == change["before"], change
        assert change["before"] != change["after"]
        if change["after"] is None:
            del result[change["chain"]]
        else:
            result[change["chain"]] = change["after"]
    return result


# -- through the command line ---------------------------------------------------------------------


def project_of(folder: Path) -> User:
    """Return a user in a folder with a fresh project, who acts as alice."""
    user = User(folder)
    user.environ |= {"TCLOG_AGENT": "alice", "TCLOG_FSYNC": "false"}
    user("init").ok()
    return user


def newest_id(user: User, *words: str) -> str:
    """Return the id of the newest event that the words of a filter stand for."""
    return str(user("log", "--json", "-n", "1", *words).object()["id"])


def instant() -> str:
    """Return the present as a point in time that nothing happens at."""
    time.sleep(0.002)
    text = datetime.now(UTC).isoformat(timespec="microseconds")
    time.sleep(0.002)
    return text
