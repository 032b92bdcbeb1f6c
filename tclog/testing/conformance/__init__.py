"""Trying a client: does another implementation of the format keep the promises beside tclog?

``conform`` runs processes of a client against processes of tclog in a fresh project, and judges
what all of them were told by the log that is there. docs/conformance.md says what a client must do.
"""

from tclog.testing.conformance.conform import PARTS, Check, conform

__all__ = ["PARTS", "Check", "conform"]
