"""The Python API: ``tclog.open(...)`` gives a ``Log`` with the operations of the command line.

Every method runs one protocol generator against the store and returns a record of
``tclog.chain.results``, or raises an error of ``tclog.errors``. A ``Log`` is for one thread; open
one for each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tclog.chain.client import Client
from tclog.chain.drive import Protocol, run
from tclog.chain.heads import ClockFile, FileHeads, Heads, MemoryHeads
from tclog.chain.trust import guard
from tclog.clock import Hlc, HybridClock, last_of
from tclog.errors import Damaged, NotFound, UsageError
from tclog.event import digest, validate_name
from tclog.log.project import Project
from tclog.store.base import Store
from tclog.version import __version__

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tclog.chain.results import Agent, Artifact, Barrier, Memory, Message, Step
    from tclog.log.holding import Hold
    from tclog.log.inbox import Mailbox
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
        host = _plain(host or os.uname().nodename)
        self.client = Client(
            agent,
            session=_plain(session or f"~{os.getuid()}.{os.getpid()}.{os.urandom(4).hex()}@{host}"),
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
        self.memory = MemoryOperations(self)
        self.steps = StepOperations(self)
        self.artifacts = ArtifactOperations(self)

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
        if self._closed:
            raise UsageError(
                f"the log of project {self.project.name} is closed: open it again",
                code="log-closed",
                hint="tclog where",
            )
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

    def send(
        self,
        to: str,
        text: str,
        *,
        reply_to: str | None = None,
        step: str | None = None,
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Message:
        """Send a text to an agent, to several (with commas), or to ``@all``."""
        from tclog.log.inbox import send_message

        return self.run(
            send_message(self.client, to, text, reply_to=reply_to, step=step, id_key=id)
        )

    def inbox(self, *, everything: bool = False, at_us: int | None = None) -> Mailbox:
        """Read the agent's inbox: what is unread, or everything. Never deletes."""
        from tclog.log.inbox import read_inbox

        return self.run(read_inbox(self.client, everything=everything, at=_until(at_us)))

    def wait_inbox(self, *, timeout_s: float | None = None) -> Mailbox:
        """Wait until something is unread."""
        from tclog.log.inbox import wait_inbox

        return self.run(wait_inbox(self.client, timeout_s=timeout_s))

    def ack(self, which: Mailbox | int | str, *, id: str | None = None) -> None:  # noqa: A002
        """Acknowledge a mailbox as it was read, or one message by number, or id prefix (a text)."""
        from tclog.log import inbox

        if isinstance(which, inbox.Mailbox):
            self.run(inbox.acknowledge(self.client, which, id_key=id))
        else:
            self.run(inbox.acknowledge_one(self.client, which, id_key=id))

    def wait_for(
        self, *ids: str, count: int | None = None, timeout_s: float | None = None
    ) -> list[Step]:
        """Wait until ``count`` of the steps (default: all) are complete."""
        from tclog.log.steps import wait_for_steps

        return self.run(wait_for_steps(self.client, ids, count=count, timeout_s=timeout_s))

    def barrier(
        self,
        name: str,
        *,
        parties: int,
        timeout_s: float | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Barrier:
        """Arrive at a barrier and wait until ``parties`` agents have."""
        from tclog.log.barriers import pass_barrier

        return self.run(pass_barrier(self.client, name, parties, timeout_s=timeout_s, id_key=id))

    def transaction(self) -> Transaction:
        """Return a transaction to be filled with operations, for ``transact``."""
        from tclog.log.transactions import Transaction

        return Transaction(self.client)

    def transact(
        self,
        transaction: Transaction,
        *,
        id: str | None = None,  # noqa: A002
    ) -> list[Result]:
        """Commit all operations of a transaction, or none; returns the answer of each.

        Raises:
            Refused, NotFound: ``details["operation"]`` is the number of the one that was refused.
            OutcomeUnknown: with an ``id_key`` under which it may be repeated.
        """
        return self.run(transaction.protocol(id))

    def agents(self) -> list[Agent]:
        """Who is here: last seen, claims, lease left; derived from the log."""
        from tclog.log.agents import list_agents

        return self.run(list_agents(self.client))


def _until(us: int | None) -> Hlc | None:
    return None if us is None else last_of(us)


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


class MemoryOperations:
    """``log.memory``: versioned values with conflict detection."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def set(
        self,
        key: str,
        value: Any,
        *,
        if_version: int | None = None,
        if_absent: bool = False,
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Memory:
        """Set a key. A ``str`` is kept as text, anything else as JSON.

        Raises:
            Refused: ``version-conflict``, with the current version, value and author.
        """
        from tclog.log.memory import set_value

        return self._log.run(
            set_value(
                self._log.client,
                key,
                value,
                kind="text" if isinstance(value, str) else "json",
                if_version=0 if if_absent else if_version,
                id_key=id,
            )
        )

    def get(self, key: str, *, version: int | None = None, at_us: int | None = None) -> Memory:
        """Read a key: now, at a version, or as it was at a time (microseconds since 1970).

        Raises:
            NotFound: no such key or version.
        """
        from tclog.log.memory import get_value

        return self._log.run(get_value(self._log.client, key, version=version, at=_until(at_us)))

    def list(
        self, prefix: str = "", *, values: bool = False, at_us: int | None = None
    ) -> list[Memory]:
        """List keys that have a value."""
        from tclog.log.memory import list_values

        return self._log.run(list_values(self._log.client, prefix, values=values, at=_until(at_us)))

    def history(self, key: str, *, limit: int | None = None) -> Sequence[Memory]:
        """Return the versions of a key, newest first."""
        from tclog.log.memory import read_history

        return self._log.run(read_history(self._log.client, key, limit=limit))

    def delete(
        self,
        key: str,
        *,
        if_version: int | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Memory:
        """Delete a key; its history stays."""
        from tclog.log.memory import delete_value

        return self._log.run(delete_value(self._log.client, key, if_version=if_version, id_key=id))

    def incr(self, key: str, by: int = 1, *, id: str | None = None) -> Memory:  # noqa: A002
        """Add to an integer, as one operation."""
        from tclog.log.memory import incr_value

        return self._log.run(incr_value(self._log.client, key, by, id_key=id))

    def append(
        self,
        key: str,
        text: str,
        *,
        separator: str = "\n",
        id: str | None = None,  # noqa: A002
    ) -> Memory:
        """Append to a text on a new line, or an element to a JSON array, as one operation."""
        from tclog.log.memory import append_value

        return self._log.run(
            append_value(self._log.client, key, text, separator=separator, id_key=id)
        )


class StepOperations:
    """``log.steps``: claims with leases and fencing tokens."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def add(
        self,
        step: str,
        *,
        title: str | None = None,
        priority: int = 0,
        after: Sequence[str] = (),
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Step:
        """Define a step and what it comes after."""
        from tclog.log.steps import add_step

        return self._log.run(
            add_step(self._log.client, step, title=title, priority=priority, after=after, id_key=id)
        )

    def claim(
        self,
        step: str,
        *,
        lease_s: float | None = None,
        wait: bool = False,
        timeout_s: float | None = None,
        fence: int | None = None,
        steal: bool = False,
        reason: str | None = None,
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Step:
        """Claim a step; takes over one whose lease has ended.

        A strong session renews what it holds. With ``fence`` the claim of that token moves to this
        session. With ``steal`` a lease is taken over that has not ended, for a ``reason``.

        Raises:
            Refused: ``step-held`` (who, until when), ``step-waiting``, ``step-complete``, ...
        """
        from tclog.log import claims

        client = self._log.client
        if wait:
            return self._log.run(
                claims.claim_waiting(client, step, lease_s=lease_s, timeout_s=timeout_s, id_key=id)
            )
        why = claims.check_steal(step, steal, reason)
        return self._log.run(
            claims.claim_step(client, step, lease_s=lease_s, fence=fence, steal=why, id_key=id)
        )

    def hold(self, step: str, *, lease_s: float | None = None) -> AbstractContextManager[Hold]:
        """Hold a step for a ``with`` block: claim it, renew the lease meanwhile, complete it.

        The block has a session of its own, so the step is refused to any other block; what the
        strong session of this log holds moves to it. Writes to the step inside the block pass
        ``fence=claim.fence``. At its end the step is completed, unless the block has completed or
        released it. After an exception it is released, and the exception goes on.

        Raises:
            Refused: before the block as ``claim`` does. After it ``claim-lost``, if another agent
                or session has taken the step over; inside the block ``claim.lost`` says so.
            StoreError: ``lease-not-renewed``: the store could not be reached until the lease ended.
        """
        from tclog.log.holding import hold

        return hold(self._log, step, lease_s)

    def claim_next(
        self, *, lease_s: float | None = None, wait: bool = False, timeout_s: float | None = None
    ) -> Step:
        """Claim the ready step with the highest priority, the oldest first.

        Raises:
            NotFound: ``no-step-ready`` or ``no-step-left``.
        """
        from tclog.log import claims

        client = self._log.client
        if wait:
            return self._log.run(claims.next_waiting(client, lease_s=lease_s, timeout_s=timeout_s))
        return self._log.run(claims.claim_next(client, lease_s=lease_s))

    def renew(self, step: str, *, lease_s: float | None = None, fence: int | None = None) -> Step:
        """Extend the lease of a step that one holds."""
        from tclog.log.claims import renew_step

        return self._log.run(renew_step(self._log.client, step, lease_s=lease_s, fence=fence))

    def note(
        self,
        step: str,
        text: str,
        *,
        fence: int | None = None,
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Step:
        """Say something about a step."""
        from tclog.log.steps import note_step

        return self._log.run(note_step(self._log.client, step, text, fence=fence, id_key=id))

    def release(
        self,
        step: str,
        *,
        fence: int | None = None,
        force: bool = False,
        reason: str | None = None,
    ) -> Step:
        """Give a claim back; with ``force`` another agent's, for a ``reason``."""
        from tclog.log.claims import release_step

        return self._log.run(
            release_step(self._log.client, step, fence=fence, force=force, reason=reason)
        )

    def complete(
        self,
        step: str,
        *,
        outcome: str = "complete",
        fence: int | None = None,
        force: bool = False,
        reason: str | None = None,
        note: str | None = None,
        to: str | None = None,
        next_action: str | None = None,
        changed_files: Sequence[str] | None = None,
        exit_status: int | None = None,
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Step:
        """End the work on a step: ``complete``, ``blocked``, ``needs_review`` or ``failed``.

        With ``to`` the hand-off is also sent to that agent as a message.
        """
        from tclog.log.handoff import complete_step

        return self._log.run(
            complete_step(
                self._log.client,
                step,
                outcome=outcome,
                fence=fence,
                force=force,
                reason=reason,
                note=note,
                to=to,
                next_action=next_action,
                changed_files=changed_files,
                exit_status=exit_status,
                id_key=id,
            )
        )

    def reopen(self, step: str) -> Step:
        """Make an ended or stuck step pending again."""
        from tclog.log.steps import reopen_step

        return self._log.run(reopen_step(self._log.client, step))

    def list(self, *, state: str | None = None, at_us: int | None = None) -> list[Step]:
        """Return all steps in the order in which they would be claimed, or those in one state."""
        from tclog.log.steps import list_steps

        return self._log.run(list_steps(self._log.client, state=state, at=_until(at_us)))

    def show(self, step: str, *, at_us: int | None = None) -> Step:
        """Return one step with its last note and hand-off."""
        from tclog.log.steps import show_step

        return self._log.run(show_step(self._log.client, step, at=_until(at_us)))


class ArtifactOperations:
    """``log.artifacts``: files by name and version, their bytes by hash."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def put(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        step: str | None = None,
        progress: Any = None,
        id: str | None = None,  # noqa: A002 - the command's own word
    ) -> Artifact:
        """Put a file under a name; bytes that the store has are not sent again."""
        from pathlib import Path

        from tclog.log.artifacts import put_artifact

        return self._log.run(
            put_artifact(
                self._log.client, Path(path), name=name, step=step, progress=progress, id_key=id
            )
        )

    def get(
        self,
        name: str,
        out: str | os.PathLike[str],
        *,
        version: int | None = None,
        progress: Any = None,
    ) -> Artifact:
        """Write an artifact's bytes to ``out``, which appears only when all were checked."""
        from pathlib import Path

        from tclog.log.artifacts import find_artifact, get_artifact

        found = self._log.run(find_artifact(self._log.client, name, version=version))
        return self._log.run(get_artifact(found, Path(out), progress=progress))

    def list(self, *, at_us: int | None = None) -> list[Artifact]:
        """Return the newest version of every artifact."""
        from tclog.log.artifacts import list_artifacts

        return self._log.run(list_artifacts(self._log.client, at=_until(at_us)))

    def history(self, name: str, *, limit: int | None = None) -> Sequence[Artifact]:
        """Return the versions of an artifact, newest first."""
        from tclog.log.artifacts import read_history

        return self._log.run(read_history(self._log.client, name, limit=limit))
