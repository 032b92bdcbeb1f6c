"""Who acts: the agent name of this machine, and the session that a command is part of.

The agent name of a working tree is one line in a file of its own, and not in the project's
configuration, which everybody shares. In a git worktree the file is ``tclog-agent`` in its git
folder, so each worktree has its own; elsewhere ``live/agent`` in ``.tclog``. The file of another
user is ignored.

A session is one run of a harness, one terminal, one program. It is what can do the same thing
twice, so claims belong to it (docs/guarantees.md, Claims). A person or a harness names it in a
variable; such an id is strong. Without one the command's place names it: the leader of its
terminal's session. That id is weak, because commands that run side by side may share it, and
begins with ``~``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tclog.config import search
from tclog.errors import UsageError, to_run

AGENT_FILE_BYTES_MAX = 4096
OWN = "TCLOG_SESSION"
# Each harness sets its own for the commands that it runs; the first that is there counts.
VARIABLES = (
    "CLAUDE_CODE_SESSION_ID",
    "CODEX_SESSION_ID",
    "CODEX_THREAD_ID",
    "COPILOT_AGENT_SESSION_ID",
    "GEMINI_SESSION_ID",
    "HERMES_SESSION_ID",
)
WEAK = "~"
_STAT_START = 19  # the place of a process's start in its stat file, after the closing bracket


# -- the agent's name ------------------------------------------------------------------------------


def agent_file(start: str, project_file: str | None) -> str | None:
    """Return the agent file for a folder; None outside of git without a project."""
    git = search.git_folder(start)
    if git is not None:
        return os.path.join(git, "tclog-agent")
    if project_file is None:
        return None
    return os.path.join(os.path.dirname(project_file), "live", "agent")


def read_agent(path: str | None, environ: Mapping[str, str]) -> str | None:
    """Read the agent name from a file, if the file exists and is this user's.

    Raises:
        UsageError: the file exists but cannot be read.
    """
    if path is None:
        return None
    try:
        if not search.are_ours(environ, os.path.dirname(path), path):
            return None
        with open(path, "rb") as file:
            name = file.read(AGENT_FILE_BYTES_MAX).decode().strip()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.islink(path):
            return None
        raise search.unreadable(path, error) from None
    except UnicodeDecodeError:
        raise UsageError(
            f"{path} does not hold an agent name", code="bad-config", hint=to_run("cat", path)
        ) from None
    return name or None


# -- the session -----------------------------------------------------------------------------------


def find_session(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the session's id, and where it comes from.

    Raises:
        UsageError: TCLOG_SESSION is no name, or begins as a weak id does.
    """
    own = environ.get(OWN)
    if own:
        return _checked(own), OWN
    for variable in VARIABLES:
        if environ.get(variable):
            return environ[variable], variable
    return weak_session(), "default"


def _checked(session: str) -> str:
    from tclog.event import validate_new

    hint = "unset TCLOG_SESSION"
    if session.startswith(WEAK):
        raise UsageError(
            f"{OWN} is {session}: names of sessions do not begin with {WEAK}",
            code="bad-name",
            hint=hint,
        )
    try:
        return validate_new("session", session)
    except UsageError as error:
        error.hint = hint
        raise


def weak_session() -> str:
    """Return the id of the place that this command runs in: its session leader, else its parent.

    A process's start tells it from a later one of the same number; 0 where the system has no
    ``/proc``.
    """
    leader = os.getsid(0) if hasattr(os, "getsid") else 0
    start = _start_of(leader)
    if not leader or start is None:
        # The leader is outside this container, or of another user.
        leader = os.getppid()
        start = _start_of(leader) or 0
    return f"{WEAK}{user_id()}.{leader}.{start}@{host_name()}"


def user_id() -> int:
    """Return this user's number; on Windows, where users have none, 0."""
    return os.getuid() if hasattr(os, "getuid") else 0


def host_name() -> str:
    """Return the name of this machine."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def _start_of(process: int) -> int | None:
    """Return when a process was started, in ticks since the machine was; None if it is not told."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # The command's name stands in brackets, and may hold some itself.
            return int(file.read().rpartition(b")")[2].split()[_STAT_START])
    except (OSError, ValueError, IndexError):
        return None
