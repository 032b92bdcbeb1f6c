"""How a command ends that failed: the error that is told, its hint and its exit status.

Loaded only then. The exit status of each kind of error is in ``tclog.errors``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import click

from tclog.cli.invocation import Invocation
from tclog.cli.output import discard, write_error, write_line
from tclog.errors import EXIT_BUG, TclogError, UsageError, quote

# How commands begin that act as an agent; a hint to run one of them repeats ``--as``.
ACTING = (
    *("claim", "renew", "note", "release", "reopen", "complete", "send", "inbox", "ack"),
    *("barrier", "revert", "tag ", "step add", "memory set", "artifact put"),
)


def end_of(error: BaseException, call: Invocation, *, as_json: bool) -> int:
    """Tell of an error, and return the exit status; raise what nobody is told about."""
    if isinstance(error, BrokenPipeError):
        discard(sys.stdout)  # the reader of our output has left
        return TclogError.exit
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
        write_line(error.format_message(), sys.stderr)
        return UsageError.exit
    told = _told(error, call)
    if not told.hint:
        told.hint = "tclog --help" if isinstance(told, UsageError) else "tclog doctor"
    write_error(told, as_json=as_json)
    return told.exit


def _told(error: BaseException, call: Invocation) -> TclogError:
    """Return what the user is told of an error."""
    if isinstance(error, TclogError):
        error.hint = _as_asked(error.hint, call)
        return _with_limit(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return UsageError("a command is missing", hint="tclog --help")
    if isinstance(error, click.ClickException):
        return _from_click(error)
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        return _interrupted(error)
    # A panic of a Rust library is not an Exception.
    if os.environ.get("TCLOG_DEBUG") or not (
        isinstance(error, Exception) or type(error).__name__ == "PanicException"
    ):
        raise error
    from tclog.store.room import shortage

    return shortage(error) or _bug(error)


# A hint must not name the command that failed, or one that cannot work yet.
_INSTEAD: Mapping[tuple[str, str], str] = {
    ("tclog doctor", "tclog doctor"): "tclog where",
    ("tclog fsck", "tclog fsck"): "tclog doctor",
    ("tclog init", "tclog doctor"): "tclog init --help",
    ("tclog where", "tclog where"): "tclog where --help",
}


def hint_of(error: TclogError, path: str) -> str:
    """Return what to run after a command failed."""
    usual = f"{path} --help" if isinstance(error, UsageError) else "tclog doctor"
    hint = error.hint or usual
    return _INSTEAD.get((path, hint), hint)


def _as_asked(hint: str, call: Invocation) -> str:
    """Make a hint act where and as whom the failed command did."""
    words = hint.split()
    if len(words) < 2 or words[0] != "tclog" or words[1][0] == "-" or words[1] == "init":
        return hint
    if words[-1] == "--help":
        return hint
    given = {o: w for o, w in call.given.items() if o != "--as" or hint[6:].startswith(ACTING)}
    return "tclog" + "".join(f" {o} {quote(w)}" for o, w in given.items()) + hint[5:]


def _from_click(error: click.ClickException) -> UsageError:
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "tclog"
    message = " ".join(error.format_message().split()).rstrip(".")  # click lists words in lines
    if isinstance(error, click.NoSuchOption):
        message += " (a word that begins with - but is not an option goes after --)"
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help")


def _interrupted(interrupt: BaseException) -> TclogError:
    from tclog.cli.interrupt import Interrupted, status_of

    by = ""
    if isinstance(interrupt, Interrupted):
        from signal import strsignal

        by = f" by signal {interrupt.number} ({strsignal(interrupt.number)})"
    error = TclogError(
        f"interrupted{by}; a write in progress may or may not have been committed",
        code="interrupted",
        hint="tclog status",
    )
    error.exit = status_of(interrupt)
    return error


def _with_limit(error: TclogError) -> TclogError:
    """Add to an error the limit of this machine that caused it, if one did."""
    if error.__cause__ is None and error.__context__ is None:
        return error
    from tclog.store.room import shortage

    found = shortage(error)
    if found is not None and found.message not in error.message:
        error.message, error.hint = f"{error.message}; {found.message}", found.hint
    return error


def _bug(error: BaseException) -> TclogError:
    told = TclogError(
        f"a bug in tclog: {type(error).__name__}: {error}",
        code="bug",
        hint="run the same command again with TCLOG_DEBUG=1",
    )
    told.exit = EXIT_BUG
    return told
