"""``Index``: what sync writes and history asks, in one."""

from __future__ import annotations

from tclog.index.asking import Asking
from tclog.index.writing import Writing


class Index(Writing, Asking):
    """The index of one project, opened for one thread.

    Args:
        folder: the project's cache folder; the index has a folder of its own in it.
        tell: called with the reason if the index is only in memory.

    Raises:
        IndexUnusable: it can be neither opened nor made.
    """
