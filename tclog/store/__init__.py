"""Stores: six verbs over a folder, a bucket or a dictionary. No meaning, no retries of creates."""

from tclog.store.base import (
    Create,
    Created,
    Delete,
    Entry,
    Found,
    Get,
    GetFile,
    Keep,
    List,
    Outcome,
    Put,
    PutFile,
    Request,
    Stat,
    Store,
)

__all__ = [
    "Create",
    "Created",
    "Delete",
    "Entry",
    "Found",
    "Get",
    "GetFile",
    "Keep",
    "List",
    "Outcome",
    "Put",
    "PutFile",
    "Request",
    "Stat",
    "Store",
]
