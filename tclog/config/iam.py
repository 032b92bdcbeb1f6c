"""The agent name of this machine in a working tree: one line in a file of its own.

It is not in the project's configuration, which everybody shares. In a git worktree the file is
``tclog-agent`` in its git folder, so each worktree has its own; elsewhere ``live/agent`` in
``.tclog``. The file of another user is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tclog.config import search
from tclog.errors import UsageError, to_run

SIZE_MAX = 4096


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
            name = file.read(SIZE_MAX).decode().strip()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.islink(path):
            return None
        raise search.unreadable(path, error) from None
    except UnicodeDecodeError:
        raise UsageError(
            f"{path} does not hold an agent name", code="bad-config", hint=to_run("cat", path)
        ) from None
    return name or None
