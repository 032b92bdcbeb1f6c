"""Users whose Python programs run inside the test: their environment, in their working folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.conftest import User, bucket, initialized, project, user

__all__ = ["bucket", "initialized", "program_of", "project", "user"]


@contextmanager
def program_of(user: User, folder: Path | None = None) -> Iterator[None]:
    """Let the code below be a program that this user has started."""
    before = dict(os.environ), Path.cwd()
    try:
        os.environ.clear()
        os.environ.update(user.environ)
        os.chdir(folder or user.work)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        os.chdir(before[1])
