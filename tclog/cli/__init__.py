"""The command line: the only part that reads the environment or touches a terminal."""

from tclog.cli.startup import main

__all__ = ["main"]
