"""The command line: the only part that reads the environment or touches a terminal."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

# A command lives for a tenth of a second, and most of what it allocates, modules, lives as long:
# looking for cycles among them as often as usual takes time and finds nothing.
GC_THRESHOLD = 10_000


def main() -> NoReturn:
    """Run one command and exit with its status."""
    gc.set_threshold(GC_THRESHOLD)
    # Loaded here and not above, because this is where most of a command's time goes.
    from tclog.cli.deferred import defer_unused
    from tclog.cli.interrupt import end_at_once

    end_at_once()
    defer_unused()
    from tclog.cli.app import run_command

    leave(run_command(sys.argv[1:]))


def leave(status: int) -> NoReturn:
    """End the process, without taking every module apart first: that takes longer than a command.

    What does need an end gets one: threads that still work, and the index, which is closed.
    """
    threading = sys.modules.get("threading")
    if "sqlite3" in sys.modules or (threading and threading.active_count() > 1):
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself calls at the end
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody may listen, and all was flushed as it was told
            stream.flush()
    os._exit(status)


__all__ = ["main"]
