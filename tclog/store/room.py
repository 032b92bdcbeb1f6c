"""The limits of a process on this machine: threads, open files, memory.

Owns how many requests go out at once, and the error for a limit that is reached. Each thread costs
some 70 MB of address space, and open files. So a process with little of either sends one request
after the other.
"""

from __future__ import annotations

import _thread
import errno
import os
import re
from collections.abc import Iterator

from tclog.errors import TclogError

# With less address space than this, no optional thread is started.
ROOMY_BYTES = 2 << 30
# How many open files a process needs for itself, and for each thread.
OWN_FILES = 24
FILES_EACH = 2

_SHORT = {
    "RLIMIT_NPROC": ("threads or processes", "ulimit -u"),
    "RLIMIT_NOFILE": ("open files", "ulimit -n"),
    "RLIMIT_AS": ("memory", "ulimit -v"),
}

# How Rust writes the number of an operating system's error: in errors, and in panics.
_NUMBER = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)")
# How the loader says that there is no memory for a library.
_UNMAPPED = re.compile(r"failed to map|cannot allocate memory", re.IGNORECASE)


def soft_limit(name: str) -> int | None:
    """Return a limit of this process, None if it is unlimited."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    number = getattr(resource, name, None)
    found = resource.RLIM_INFINITY if number is None else resource.getrlimit(number)[0]
    return None if found == resource.RLIM_INFINITY else int(found)


def helpers(most: int) -> int:
    """Return how many threads may work beside this one, at most the given number."""
    memory = soft_limit("RLIMIT_AS")
    if memory is not None and memory < ROOMY_BYTES:
        return 0
    files = soft_limit("RLIMIT_NOFILE")
    return most if files is None else max(0, min(most, (files - OWN_FILES) // FILES_EACH))


def has_threads(count: int) -> bool:
    """Whether this many threads can be started now."""
    gate = _thread.allocate_lock()
    gate.acquire()

    def wait() -> None:
        with gate:
            pass

    try:
        for _ in range(count):
            _thread.start_new_thread(wait, ())
    except RuntimeError:
        return False
    finally:
        gate.release()
    return True


def shortage(error: BaseException) -> TclogError | None:
    """Return the error for the limit of this machine behind an error; None for other errors."""
    for one in _causes(error):
        name = _limit_of(one)
        if name is not None:
            return short_of(name)
    return None


def short_of(name: str) -> TclogError:
    """Return the error for a limit that is reached."""
    what, hint = _SHORT[name]
    value = soft_limit(name)
    limit = "a limit of the machine" if value is None else f"{name} is {value}"
    return TclogError(
        f"this process may not have more {what}: {limit}",
        code="machine-short",
        hint=hint,
        limit=name,
    )


def _limit_of(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return "RLIMIT_AS"
    text = str(error)
    if isinstance(error, OSError):
        number = error.errno
    elif "start new thread" in text or "spawn worker thread" in text:
        # Python's RuntimeError, and the panic of obstore's runtime.
        memory = soft_limit("RLIMIT_AS")
        return "RLIMIT_AS" if memory is not None and memory < ROOMY_BYTES else "RLIMIT_NPROC"
    elif isinstance(error, ImportError) and _UNMAPPED.search(text):
        return "RLIMIT_AS"
    else:
        told = _NUMBER.search(text)
        number = int(told[1] or told[2]) if told is not None else None
    if number in (errno.EMFILE, errno.ENFILE):
        return "RLIMIT_NOFILE"
    if number == errno.ENOMEM:
        return "RLIMIT_AS"
    return "RLIMIT_NPROC" if number == errno.EAGAIN else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def workers() -> int:
    """Return how many threads obstore's runtime starts."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
