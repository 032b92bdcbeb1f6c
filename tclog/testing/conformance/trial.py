"""What all parts of a trial share: the project in a folder, the processes, and the journal."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tclog.chain.drive import run
from tclog.event import digest
from tclog.log.log import Log
from tclog.log.project import create_project
from tclog.store.base import Store
from tclog.store.file import FileStore
from tclog.testing.conformance.member import Journal, Member, now_us

PROJECT = "conformance"
OFFSET_VARIABLE = "TCLOG_TEST_CLOCK_OFFSET_S"
OURS = (sys.executable, "-m", "tclog", "batch")


class Trial:
    """What all parts share."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], folder: Path, seed: int
    ) -> None:
        self.command = tuple(command)
        self.rng = random.Random(seed)  # noqa: S311 - a schedule, no secret
        self.folder = folder
        self.journal = Journal()
        self.store = FileStore(folder / "store" / PROJECT, fsync=False)
        mark = create_project(PROJECT, digest(str(seed).encode())[:32], now_us())
        self.project = run(mark, self.store)
        self.missing: set[str] = set()
        self.notes: list[str] = []
        self._base = {k: v for k, v in environ.items() if not k.startswith("TCLOG_")}
        self._count = 0
        self._members: list[Member] = []
        self._environ, self._seed = environ, seed

    def member(self, agent: str, *, ours: bool = False, offset_s: int = 0) -> Member:
        """Start a process that acts as an agent, with a session and a cache of its own."""
        self._count += 1
        environ = {
            **self._base,
            "TCLOG_STORE": str(self.folder / "store"),
            "TCLOG_PROJECT": PROJECT,
            "TCLOG_AGENT": agent,
            "TCLOG_SESSION": f"trial-{self._count}",
            "TCLOG_CACHE": str(self.folder / "caches" / str(self._count)),
            "TCLOG_FSYNC": "false",
        }
        if offset_s:
            environ[OFFSET_VARIABLE] = str(offset_s)
        made = Member(OURS if ours else self.command, environ, self.journal, agent)
        self._members.append(made)
        return made

    def apart(self, name: str) -> Trial:
        """Return a trial of the same client in a project of its own, which is not judged."""
        return Trial(self.command, self._environ, self.folder / name, self._seed)

    def close(self) -> None:
        """End the processes that are left, as a part leaves them that could not go on."""
        for member in self._members:
            member.kill()

    def log(self, agent: str, store: Store | None = None) -> Log:
        """Return a log of tclog's own, in this process."""
        return Log(store or self.store, self.project, agent=agent, session="trial")

    def can(self, op: str) -> bool:
        """Whether the client knows an operation, as far as it was asked."""
        return op not in self.missing
