"""Interrupts: while modules load the process just ends; later it says what that may have left.

The exception of an interrupt in the middle of loading a C extension has crashed the interpreter
(orjson 3.13 on Python 3.11), and nothing has begun yet about which there would be anything to say.
"""

from __future__ import annotations

# The C module: the one around it makes enumerations of all signals, which takes a millisecond.
import _signal as signal  # type: ignore[import-not-found]


def end_at_once() -> None:
    """Let an interrupt end the process by itself, unless the caller has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_again() -> None:
    """Undo ``end_at_once``: from now on an interrupt is an exception."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
