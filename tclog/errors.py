"""The error tree, its stable code words and exit statuses. Imports nothing of tclog.

    TclogError                 1   other error
      UsageError               2   a word of the call is wrong
      NotFound                 3   the thing asked for does not exist
      Refused                  4   lost race, stale version, not yours, blocked
      WaitTimeout              5   a wait ended without what it waited for
      OutcomeUnknown           6   the store may or may not have committed the write
      StoreError               7   the store is unreachable, denied or unfit
      Damaged                  8   an object does not hold what its name promises
    (a bug)                   70   anything else that escapes
    (interrupted)            130   SIGINT; 128 + N for another signal N

Every error carries a stable kebab-case ``code`` (scripts match on it), a message that names the
thing, and a ``hint``: a command to run next, which never deletes anything.
"""

# ruff: noqa: N818 - the classes are named for what happened; only StoreError needs the suffix

from __future__ import annotations

from typing import Any

EXIT_DONE = 0
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
# The distribution is tclog-agents: on the package index, tclog is another project, a logger.
UPGRADE = "pip install --upgrade tclog-agents"


def quote(text: object) -> str:
    """Write a text as one word of a POSIX shell, for hints: names may come from anybody."""
    plain = str(text)
    if plain and all(char.isalnum() or char in "@%+=:,./-_" for char in plain):
        return plain
    return "'" + plain.replace("'", "'\\''") + "'"


def to_run(words: str, *names: object, then: str = "") -> str:
    """Write a command about names, for hints: one that begins with ``-`` is no option there."""
    quoted = " ".join(map(quote, names))
    if any(str(name).startswith("-") for name in names):
        return " ".join(filter(None, (words, then, "--", quoted)))
    return " ".join(filter(None, (words, quoted, then)))


class TclogError(Exception):
    """Base of all errors that tclog raises on purpose.

    Args:
        message: one sentence that names the thing, the holder, the time.
        code: stable code word; the class has a default.
        hint: a command to run next.
        **details: further JSON fields of the error object (current version, holder, ...).
    """

    code = "error"
    exit = 1

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        if code is not None:
            self.code = code


class FormatNewer(TclogError):
    """A record was written by a later format than this client reads."""

    code = "format-newer"


class UsageError(TclogError):
    """A word of the call is wrong: an option, a value, a point in time."""

    code = "usage"
    exit = 2


class BadName(UsageError):
    """A key, step, agent or artifact name that is not allowed."""

    code = "bad-name"


class BadValue(UsageError):
    """A value that cannot be kept: not UTF-8, not JSON, too large."""

    code = "bad-value"


class ConfigNotYours(UsageError):
    """A configuration of another user names a place where values would go."""

    code = "config-not-yours"


class NotFound(TclogError):
    """The thing asked for does not exist."""

    code = "not-found"
    exit = 3


class Refused(TclogError):
    """The domain said no, on the state that the log held at that moment."""

    code = "refused"
    exit = 4


class WaitTimeout(TclogError):
    """A wait ended without what it waited for."""

    code = "timeout"
    exit = 5


class OutcomeUnknown(TclogError):
    """The store may or may not have committed the write; only reading it later can tell."""

    code = "outcome-unknown"
    exit = 6


class StoreError(TclogError):
    """The store is unreachable, denied or unfit."""

    code = "store-error"
    exit = 7


class StoreUnreachable(StoreError):
    """No answer, or an answer that only says to try later."""

    code = "store-unreachable"


class StoreDenied(StoreError):
    """The credentials or permissions do not allow it."""

    code = "store-denied"


class StoreMissing(StoreError):
    """The bucket or the folder does not exist."""

    code = "store-missing"


class StoreFull(StoreError):
    """No space, or no quota, is left."""

    code = "store-full"


class StoreUnfit(StoreError):
    """The store does not keep the one promise that tclog needs: create only if absent."""

    code = "store-unfit"


class Damaged(TclogError):
    """An object does not hold what its name or its successor promises."""

    code = "damaged"
    exit = 8
    # Versions of which one is wrong, where two that were read do not fit together.
    versions: tuple[Any, ...] = ()


class Forked(Damaged):
    """The store holds another version in a slot than this machine has seen there."""

    code = "forked"


class RolledBack(Damaged):
    """The store does not have a version any more that this machine has seen."""

    code = "rolled-back"


def unsupported(what: str, lacks: str) -> UsageError:
    """Return the error for a feature that this operating system cannot offer."""
    return UsageError(
        f"{what} does not work on this system, which has no {lacks}",
        code="system-lacks",
        hint="tclog --help",
    )


EXIT_STATUSES: dict[int, str] = {
    EXIT_DONE: "done",
    TclogError.exit: "other error",
    UsageError.exit: "usage",
    NotFound.exit: "not found",
    Refused.exit: "refused: lost race, stale version, not yours, blocked",
    WaitTimeout.exit: "a wait timed out",
    OutcomeUnknown.exit: "outcome unknown",
    StoreError.exit: "store unreachable, denied or unfit",
    Damaged.exit: "damaged data",
    EXIT_BUG: "a bug in tclog",
    EXIT_INTERRUPTED: "interrupted by SIGINT; 128 + N by another signal N",
}
