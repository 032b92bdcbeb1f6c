"""The watchdog of `tclog exec`: ends the command before the lease can end, when exec cannot.

A process that is stopped or killed renews no lease and stops no child, and nothing can catch
SIGSTOP and SIGKILL. So a second process keeps the deadline. A terminal cannot stop it: it has a
session of its own. This file is its program. It is run by its path and without tclog, so it starts
fast and holds little memory. ``tclog.cli.child.Watchdog`` is the other end.

Each line on standard input is a target, a time and another time, on the clock of ``now_s``: the
target is told to end at the first, and killed at the second. The target is a process, or a group if
it is negative. The newest line counts. An empty line ends the watchdog. The end of the input does
not: exec is gone then, and the command still has to be. It exits with ``ENDED_IT`` if it told the
target to end.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time

ENDED_IT = 3
# A machine that slept wakes this process no earlier than its timer, which stood still meanwhile.
LOOK_S = 1.0
# How soon it follows a command that ends after exec has gone.
FOLLOW_S = 0.2
# Linux's monotonic clock stands still while the machine sleeps; elsewhere that of POSIX does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def now_s() -> float:
    """Return the seconds on a clock that nobody sets and that goes on while the machine sleeps."""
    # Without such clocks the system is Windows, whose monotonic clock goes on during sleep.
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def main() -> int:
    """Watch until the target is gone or exec says that all is well; returns the exit status."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    target, end_s, kill_s = 0, math.inf, math.inf
    told, orphaned, rest = False, False, b""
    while True:
        if now_s() >= kill_s:
            send(target, signal.SIGKILL)
            return ENDED_IT
        if now_s() >= end_s and not told:
            told = True
            # In this order: one that was stopped meets the request to end before it goes on.
            send(target, signal.SIGTERM)
            send(target, signal.SIGCONT)
        wait_s = FOLLOW_S if orphaned else LOOK_S
        wait_s = max(0.0, min(wait_s, (kill_s if told else end_s) - now_s()))
        if orphaned:
            if not send(target, 0):
                return ENDED_IT if told else 0
            time.sleep(wait_s)
            continue
        if not select.select([0], [], [], wait_s)[0]:
            continue
        data = os.read(0, 4096)
        orphaned = not data
        *lines, rest = (rest + data).split(b"\n")
        if b"" in lines:
            return ENDED_IT if told else 0
        if lines:
            words = lines[-1].split()
            target, end_s, kill_s = int(words[0]), float(words[1]), float(words[2])


def send(target: int, number: int) -> bool:
    """Send a signal to a process or a group; returns whether there is one. 0 sends nothing."""
    try:
        # 0, before a target is known, would mean the own group.
        if target:
            os.kill(target, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it runs as somebody else by now
    return target != 0


if __name__ == "__main__":
    sys.exit(main())
