"""The command line: the only part that reads the environment or touches a terminal."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run one command and exit with its status."""
    # Loaded here and not above, because this is where most of a command's time goes.
    from tclog.cli.interrupt import end_at_once

    end_at_once()
    from tclog.cli.app import run_command

    sys.exit(run_command(sys.argv[1:]))


__all__ = ["main"]
