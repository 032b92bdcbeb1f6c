"""What Windows lacks or does otherwise, as far as a process on another system can imitate it.

``imitate`` takes away the modules, functions and signals that Python has on POSIX alone. Files are
opened as text unless told otherwise; opening a folder and renaming onto a file are refused. It
cannot imitate locks on open files, drive letters and backslashes.
"""

from __future__ import annotations

import _signal
import builtins
import errno
import importlib
import os
import select
import signal
import sys
import time
from typing import Any

# What the libraries of tclog use in a way of their own on each system: loaded before all is gone.
LOADED = (
    *("asyncio", "boto3", "botocore.session", "click.testing", "concurrent.futures", "getpass"),
    *("http.client", "logging.handlers", "multiprocessing.connection", "obstore", "platform"),
    *("shutil", "sqlite3", "ssl", "subprocess", "tempfile", "uuid", "zipfile", "zstandard"),
)
MODULES = (
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "resource",
    "syslog",
    "termios",
    "tty",
    "_posixsubprocess",
)
FUNCTIONS = {
    *("chown", "chroot", "ctermid", "fchdir", "fchmod", "fchown", "fork", "forkpty", "getegid"),
    *("geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpriority", "getsid", "getuid"),
    *("getxattr", "killpg", "lchown", "listxattr", "mkfifo", "mknod", "nice", "openpty", "pread"),
    *(
        "posix_fadvise",
        "pwrite",
        "register_at_fork",
        "removexattr",
        "sched_getaffinity",
        "sendfile",
    ),
    *("set_blocking", "setpgid", "setsid", "setuid", "setxattr", "statvfs", "sync", "sysconf"),
    *("ttyname", "uname", "wait", "wait3", "wait4", "WIFEXITED", "WNOHANG"),
}
FLAGS = {"O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"}
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
SIGNAL_FUNCTIONS = {
    "alarm",
    "getitimer",
    "pause",
    "pthread_kill",
    "pthread_sigmask",
    "setitimer",
    "siginterrupt",
    "sigwait",
}
O_BINARY = 0x8000


def imitate() -> None:
    """Make this process as one on Windows, for good."""
    for name in LOADED:
        importlib.import_module(name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in (
        (os, FUNCTIONS | FLAGS),
        (
            time,
            {"clock_gettime", "clock_settime"}
            | {name for name in vars(time) if name.startswith("CLOCK_")},
        ),
        (select, {"epoll", "poll"}),
    ):
        for name in names & set(vars(module)):
            delattr(module, name)

    numbers = {getattr(signal, name) for name in SIGNALS}
    for module in (signal, _signal):
        for name in list(vars(module)):
            gone = (
                name.startswith("SIG")
                and name.isupper()
                and name not in {*SIGNALS, "SIG_DFL", "SIG_IGN"}
            )
            if gone or name in SIGNAL_FUNCTIONS:
                delattr(module, name)
        module.valid_signals = lambda: set(numbers)  # type: ignore[attr-defined]
    _files()


def _files() -> None:
    text: set[int] = set()
    really: Any = {
        name: getattr(os, name) for name in ("open", "write", "rename", "close", "replace")
    }

    def open_(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        handle = really["open"](path, flags & ~O_BINARY, *rest, **more)
        (text.discard if flags & O_BINARY else text.add)(handle)
        return handle

    def write(handle: int, data: Any) -> int:
        if handle not in text:
            return really["write"](handle, data)
        really["write"](handle, bytes(data).replace(b"\n", b"\r\n"))
        return len(data)

    def rename(old: Any, new: Any, **more: Any) -> None:
        if os.path.exists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), old, None, new)
        really["rename"](old, new, **more)

    def opened(file: Any, *rest: Any, **more: Any) -> Any:
        # Python's files are binary below, however they were opened.
        found = plain(file, *rest, **more)
        text.discard(found.fileno())
        return found

    plain, builtins.open = builtins.open, opened
    os.open, os.write, os.rename, os.O_BINARY = open_, write, rename, O_BINARY  # type: ignore[attr-defined, assignment]
