"""Starting and ending fast: an agent runs thousands of commands, and waits for each.

Most of a command's time goes into loading modules, so every trick here is about those. Each line
says what the trick saves of a ``tclog memory get``, which takes 35 ms of CPU time (Python 3.11):

* ``defer_unused``: 5 ms. ``inspect``, which click and ``dataclasses`` import, brings tools
  of the compiler; ``gettext`` looks for translations that do not exist; ``platform`` asks the
  system. Each of them loads when something of it is first used.
* ``GC_THRESHOLD``: 1 ms. Almost all that a command allocates lives as long as the command,
  so looking for cycles as often as usual finds nothing.
* ``leave``: 5 ms. The process ends without destroying every module first.

Elsewhere: a command loads from the file of its name alone (``app.Group``), and what is heavy loads
in the function that needs it. tests/cli/test_startup.py pins which modules the hot commands load.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

GC_THRESHOLD = 10_000


def main() -> NoReturn:
    """Run one command and exit with its status."""
    gc.set_threshold(GC_THRESHOLD)
    from tclog.cli.interrupt import end_at_once

    end_at_once()
    defer_unused()
    # Below and not above: a module that is to be deferred must be so before anything imports it.
    from tclog.cli.app import run_command

    leave(run_command(sys.argv[1:]))


def leave(status: int) -> NoReturn:
    """End the process without destroying its modules.

    Threads that still work and an open index need the usual end, and get it.
    """
    threading = sys.modules.get("threading")
    if "sqlite3" in sys.modules or (threading and threading.active_count() > 1):
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself calls at the end
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody may listen, and all was flushed as it was told
            stream.flush()
    os._exit(status)


class Deferred(ModuleType):
    """Stands for a module; whatever is asked of it is asked of the real one.

    Args:
        name: the module's name.
        known: functions that answer what is asked of it at every start.
    """

    def __init__(self, name: str, **known: Callable[..., Any]) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        if name in ("__spec__", "__path__"):  # asked by the import system, which takes None for it
            raise AttributeError(name)
        return getattr(self.load(), name)

    def load(self) -> ModuleType:
        """Load the real module, for everybody who imports it from now on."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)


def defer_unused() -> None:
    """Let the next imports of these modules load nothing yet."""

    def cleandoc(text: str) -> str:
        # Of one line, as the help of an option is, this makes what ``inspect`` makes of it.
        return inspect.load().cleandoc(text) if "\n" in text else text.expandtabs().lstrip()

    inspect = Deferred("inspect", cleandoc=cleandoc)
    has_uname = hasattr(os, "uname")
    deferred = (
        inspect,
        Deferred(
            "gettext",
            gettext=lambda message: message,
            ngettext=lambda one, many, count: one if count == 1 else many,
        ),
        # uuid asks it which system this is; not on Windows, which has no uname.
        Deferred("platform", **({"system": lambda: os.uname().sysname} if has_uname else {})),
    )
    for module in deferred:
        sys.modules.setdefault(module.__name__, module)
