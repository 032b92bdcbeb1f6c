"""The command line: the only part that reads the environment or touches a terminal."""

from tclog.cli.app import main

__all__ = ["main"]
