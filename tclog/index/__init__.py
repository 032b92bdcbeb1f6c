"""The local index: a copy of the log in SQLite that answers questions about history quickly.

It is never the truth. It can be deleted at any moment, a damaged one is rebuilt, and everything
in it came from versions and events whose bytes were checked. ``tclog.sync.sync`` fills it.
"""

from tclog.index.database import IndexUnusable, Noted, Outdated
from tclog.index.index import Index
from tclog.index.rows import Attempt, Commit, Filter
from tclog.index.writing import NotLinked

__all__ = [
    "Attempt",
    "Commit",
    "Filter",
    "Index",
    "IndexUnusable",
    "NotLinked",
    "Noted",
    "Outdated",
]
