"""Writes down which lines of the code a test runs, also in the processes that it starts.

Each Python process of a tree that was made for collecting loads this file when it starts
(``__main__.Tree``). It appends ``file:function:line`` to the file of the test that runs then, as
soon as the line is run: a process may be killed at any moment. Lines are counted from that of the
function, so they stay when it moves. Nothing but the standard library is there yet.
"""

import contextlib
import fcntl
import os
import sys
import threading
from typing import Any

_write = os.write  # tests give the module another one
_FIRST_HANDLE = 100  # the tests' own processes close the lower ones


class _Lines:
    """The lines that this process has run for the test of now."""

    def __init__(self, folder: str, files: dict[str, str]) -> None:
        self.folder, self.files = folder, files
        self.handle = -1
        self.left: dict[Any, set[int]] = {}

    def begin(self) -> None:
        """Write to the file of the test that runs now."""
        self.left.clear()
        try:
            with open(f"{self.folder}/now", encoding="ascii") as file:
                name = file.read()
            handle = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, _FIRST_HANDLE)
        os.close(handle)

    def call(self, frame: Any, event: str, arg: Any) -> Any:
        """Trace a call, if it is one of the code that is looked at and has lines left."""
        code = frame.f_code
        if code.co_filename not in self.files or self.handle < 0:
            return None
        left = self.left.get(code)
        if left is None:
            left = self.left[code] = {line for _, _, line in code.co_lines() if line}
        return self.line if left else None

    def line(self, frame: Any, event: str, arg: Any) -> Any:
        """Take down a line."""
        code, number = frame.f_code, frame.f_lineno
        left = self.left.get(code)
        if event == "line" and left and number in left:
            left.discard(number)
            name = self.files[code.co_filename]
            function = code.co_qualname.replace(".<locals>", "")
            line = f"{name}:{function}:{number - code.co_firstlineno}\n"
            with contextlib.suppress(OSError):  # a tracer that raises is never called again
                _write(self.handle, line.encode())
        return self.line


lines: _Lines | None = None


def start(root: str, folder: str, modules: list[str]) -> None:
    """Begin to write down the lines of some modules below ``root`` into files in ``folder``."""
    global lines  # noqa: PLW0603 - one for each process
    lines = _Lines(folder, {f"{root}/{module}": module for module in modules})
    lines.begin()
    os.register_at_fork(after_in_child=lines.begin)
    threading.settrace(lines.call)
    sys.settrace(lines.call)
