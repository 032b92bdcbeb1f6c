"""The command line: the only part that reads the environment or touches a terminal."""

from __future__ import annotations

import sys
from typing import NoReturn

from tclog.errors import EXIT_INTERRUPTED


def main() -> NoReturn:
    """Run one command and exit with its status."""
    try:
        # Here and not above, because most of a command's time goes by while modules load, and
        # an interrupt then is no different from one later.
        from tclog.cli.app import run_command

        status = run_command(sys.argv[1:])
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    sys.exit(status)


__all__ = ["main"]
