"""Signals that end a command: while modules load the process just ends; later they are exceptions.

An exception lets a command withdraw what it has begun: its arrival at a barrier, an announcement,
a half-written file. An exception while a C extension loads has crashed the interpreter (orjson 3.13
on Python 3.11); and while modules load, there is nothing to withdraw yet.
"""

from __future__ import annotations

# The C module: the one around it makes enumerations of all signals, which takes a millisecond.
import _signal as signal  # type: ignore[import-not-found]

from tclog.errors import EXIT_INTERRUPTED

# These cannot be caught, or stop a process, or say that it goes on, or do nothing by themselves.
_OTHERS = ("KILL", "STOP", "TSTP", "TTIN", "TTOU", "CONT", "CHLD", "URG", "WINCH", "INFO")
# The process itself has failed: running more of it does not help.
_FAULTS = ("SEGV", "BUS", "FPE", "ILL", "TRAP", "ABRT", "SYS", "EMT")
# All that end a process which does not catch them.
ENDING: frozenset[int] = frozenset(map(int, signal.valid_signals())) - {
    getattr(signal, f"SIG{name}", 0) for name in _OTHERS + _FAULTS
}


class Interrupted(KeyboardInterrupt):
    """A signal other than SIGINT."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupt_of(number: int) -> KeyboardInterrupt:
    """Return the exception for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else Interrupted(number)


def status_of(interrupt: BaseException) -> int:
    """Return the exit status after an interrupt: 130, or 128 + N for another signal N."""
    if isinstance(interrupt, Interrupted):
        return 128 + interrupt.number
    return EXIT_INTERRUPTED


def end_at_once() -> None:
    """Let an interrupt end the process by itself, unless the caller has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_again() -> None:
    """Undo ``end_at_once``: from now on what would end the process is an exception.

    Signals that the caller ignores stay ignored, as ``nohup`` intends.
    """
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, _: object) -> None:
    raise interrupt_of(number)
