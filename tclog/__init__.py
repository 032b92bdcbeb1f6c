"""tclog: a content-addressed coordination log for teams of agents.

    log = tclog.open()  # the project and the agent that the commands would use here
    step = log.steps.claim("design")
    log.memory.set("design.contract", {"version": 2}, if_absent=True)

This is the whole public surface; tests pin it. What is heavy loads when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tclog.version import __version__

if TYPE_CHECKING:
    from tclog.chain.results import Agent, Artifact, Barrier, Memory, Message, Step, Tag
    from tclog.errors import (
        BadName,
        BadValue,
        Damaged,
        Forked,
        FormatNewer,
        NotFound,
        OutcomeUnknown,
        Refused,
        RolledBack,
        StoreDenied,
        StoreError,
        StoreFull,
        StoreMissing,
        StoreUnfit,
        StoreUnreachable,
        TclogError,
        UsageError,
        WaitTimeout,
    )
    from tclog.log.holding import Hold
    from tclog.log.log import Log
    from tclog.log.opening import open_log as open  # noqa: A004 - as in tclog.open(...)

__all__ = [
    "Agent",
    "Artifact",
    "BadName",
    "BadValue",
    "Barrier",
    "Damaged",
    "Forked",
    "FormatNewer",
    "Hold",
    "Log",
    "Memory",
    "Message",
    "NotFound",
    "OutcomeUnknown",
    "Refused",
    "RolledBack",
    "Step",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreMissing",
    "StoreUnfit",
    "StoreUnreachable",
    "Tag",
    "TclogError",
    "UsageError",
    "WaitTimeout",
    "__version__",
    "open",
]

_RESULTS = ("Agent", "Artifact", "Barrier", "Memory", "Message", "Step", "Tag")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "open":
        return import_module("tclog.log.opening").open_log
    if name == "Hold":
        return import_module("tclog.log.holding").Hold
    if name == "Log":
        return import_module("tclog.log.log").Log
    if name in _RESULTS:
        return getattr(import_module("tclog.chain.results"), name)
    if name in __all__:
        return getattr(import_module("tclog.errors"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
