"""The Python API: ``tclog.open(...)`` gives a ``Log`` with the operations of the command line.

Every method runs one protocol generator against the store and returns a record of
``tclog.chain.results``, or raises an error of ``tclog.errors``. A ``Log`` is for one thread; open
one for each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, run
from tclog.chain.heads import ClockFile, FileHeads, Heads, MemoryHeads
from tclog.chain.trust import guard
from tclog.clock import HybridClock
from tclog.config.identity import host_name, user_id
from tclog.errors import Damaged, NotFound, UsageError
from tclog.event import digest, validate_name
from tclog.log.methods import Method
from tclog.log.project import Project
from tclog.store.base import Store
from tclog.version import __version__

if TYPE_CHECKING:
    from tclog.log.agents import list_agents
    from tclog.log.artifacts import ArtifactOperations
    from tclog.log.barriers import pass_barrier
    from tclog.log.groups import StepOperations
    from tclog.log.history import HistoryOperations
    from tclog.log.inbox import acknowledge, read_mail, send_message
    from tclog.log.memory import MemoryOperations
    from tclog.log.steps import wait_for_steps
    from tclog.log.tags import TagOperations
    from tclog.log.transactions import Result, Transaction

T = TypeVar("T")
SOFTWARE = f"tclog/{__version__}"
SURROUNDINGS_MAX = 200


class Log:
    """A project's log, as one agent sees it.

    Args:
        store: where it is.
        project: what its mark says.
        agent: who acts.
        session: stamped on every event; by default a weak one of its own.
        cache: a folder for this project's known heads; None keeps them in memory.
        host: stamped on every event.
        wall_us: the machine's clock, microseconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        project: Project,
        *,
        agent: str,
        session: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        host: str | None = None,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.store = store
        self.project = project
        self._cache = cache
        self._closed = False
        self.agent = validate_name("agent", agent)
        # What is remembered of a folder is compared with it whenever it is used.
        read = store.get if store.local else None
        heads: Heads = MemoryHeads(read) if cache is None else FileHeads(cache, read)
        self._clock_file = None if cache is None else ClockFile(cache, agent)
        last, offset_us, learnt_us, epoch_us = (
            (None, 0, 0, 0) if self._clock_file is None else self._clock_file.read()
        )
        host = _plain(host or host_name())
        self.client = Client(
            agent,
            session=_plain(session or f"~{user_id()}.{os.getpid()}.{os.urandom(4).hex()}@{host}"),
            host=host,
            software=SOFTWARE,
            clock=HybridClock(wall_us, offset_us=offset_us, last=last),
            heads=heads,
            nonce=lambda: os.urandom(16).hex(),
            jitter=lambda: int.from_bytes(os.urandom(4), "big") / 2**32,
            monotonic_s=time.monotonic,
            backoff_s=store.backoff_s,
            learnt_us=learnt_us,
            epoch_us=epoch_us,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        what = f"project={self.project.name!r}, store={self.store.url!r}, agent={self.agent!r}"
        return f"Log({what}{', closed=True' if self._closed else ''})"

    def close(self) -> None:
        """End the use of this log; every later call of it raises ``UsageError``."""
        self._closed = True
        if "history" in self.__dict__:
            self.history.close()

    def check_open(self) -> None:
        """Refuse to work if this log was closed.

        Raises:
            UsageError: ``log-closed``.
        """
        if self._closed:
            raise UsageError(
                f"the log of project {self.project.name} is closed: open it again",
                code="log-closed",
                hint="tclog where",
            )

    def twin(self, *, session: str | None = None) -> Log:
        """Return a log of the same project and agent for another thread."""
        from copy import copy

        own = self.client
        twin = Log(
            self.store,
            self.project,
            agent=self.agent,
            session=session or own.session,
            cache=self._cache,
            host=own.host,
            wall_us=own.clock.wall_us,
        )
        twin.client.clock = copy(own.clock)
        twin.client.learnt_us, twin.client.epoch_us = own.learnt_us, own.epoch_us
        # What it notices is told where this log is asked.
        twin.client.warnings, twin.client.left_out = own.warnings, own.left_out
        return twin

    def run(self, protocol: Protocol[T]) -> T:
        """Run a protocol against the store, and keep the clock.

        Raises:
            UsageError: ``log-closed``.
        """
        self.check_open()
        try:
            return run(guard(self.client, protocol), self.store)  # type: ignore[no-any-return]
        except NotFound as missing:
            from tclog.log.nearby import suggest

            suggest(self.client, missing)
            raise
        finally:
            if self._clock_file is not None:
                client = self.client
                self._clock_file.write(client.clock, client.learnt_us, client.epoch_us)

    @property
    def warnings(self) -> Sequence[str]:
        """What was noticed on the way: a wrong clock, unknown ops."""
        return tuple(self.client.warnings)

    @property
    def left_out(self) -> Mapping[str, Damaged]:
        """What is damaged and was left out of answers: chains and objects, and why."""
        return self.client.left_out

    @cached_property
    def memory(self) -> MemoryOperations:
        """Versioned values with conflict detection."""
        from tclog.log.memory import MemoryOperations

        return MemoryOperations(self)

    @cached_property
    def steps(self) -> StepOperations:
        """Claims with leases and fencing tokens."""
        from tclog.log.groups import StepOperations

        return StepOperations(self)

    @cached_property
    def artifacts(self) -> ArtifactOperations:
        """Files by name and version, their bytes by hash."""
        from tclog.log.artifacts import ArtifactOperations

        return ArtifactOperations(self)

    @cached_property
    def tags(self) -> TagOperations:
        """Names for moments."""
        from tclog.log.tags import TagOperations

        return TagOperations(self)

    @cached_property
    def history(self) -> HistoryOperations:
        """What happened, what was so at a moment, and which event made it so."""
        from tclog.log.history import HistoryOperations

        return HistoryOperations(self, self._cache)

    if TYPE_CHECKING:
        send = Method(send_message)
        inbox = Method(read_mail)
        ack = Method(acknowledge)
        wait_for = Method(wait_for_steps)
        barrier = Method(pass_barrier)
        agents = Method(list_agents)
    else:
        send = Method("message.send")
        inbox = Method("inbox.read")
        ack = Method("message.ack")
        wait_for = Method("step.wait")
        barrier = Method("barrier.pass")
        agents = Method("agent.list")

    def transaction(self) -> Transaction:
        """Return a transaction to be filled with operations, for ``transact``."""
        from tclog.log.transactions import Transaction

        return Transaction(self.client)

    def transact(
        self,
        transaction: Transaction,
        *,
        id: str | None = None,
    ) -> list[Result]:
        """Commit all operations of a transaction, or none; returns the answer of each.

        Raises:
            Refused, NotFound: ``details["operation"]`` is the number of the one that was refused.
            OutcomeUnknown: with an ``id_key`` under which it may be repeated.
        """
        return self.run(transaction.protocol(id))


def _plain(name: str) -> str:
    """Make a name that comes from outside fit for a record: a wrong byte in it stops no work.

    One that is too long ends in a hash, so that two of them stay two.
    """
    raw = name.encode(errors="backslashreplace")
    if not name.isprintable():
        # Nor does a control character, which no name has.
        raw = raw.decode().encode("unicode_escape")
    if len(raw) > SURROUNDINGS_MAX:
        head = raw[: SURROUNDINGS_MAX - 17].decode(errors="ignore")
        return f"{head}~{digest(raw)[:16]}"
    return raw.decode()
