"""A process that has loaded tclog and becomes, in a fork, the command that it is asked for.

``tests/support/forked.py`` starts it with a socket as its stdin, and orders children. It has used
no store, started no thread and read nothing of the environment when it forks, so a child differs
from a fresh process only in what is in ``sys.modules``. It ends when the socket does.

A child is made by way of a second one that ends at once, so that whoever ordered it inherits it
and can wait for it like for any other child.
"""

import gc
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

ORDER_BYTES_MAX = 64 * 1024
TCLOG = Path(sys.executable).with_name("tclog")
# Not what loads sqlite3: with that a command ends in another way (``tclog.cli.leave``).
LOADED = ("tclog.chain", "tclog.cli", "tclog.domain", "tclog.event", "tclog.log", "tclog.store")
# But for the commands that look back, which all load it.
LOOK_BACK = ("tclog.history", "tclog.index", "tclog.sync")
# Python ignores the last two itself.
KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}
STREAMS = (
    ("stdin", "r", "surrogateescape"),
    ("stdout", "w", "surrogateescape"),
    ("stderr", "w", "backslashreplace"),
)


def main() -> None:
    """Load tclog, then become a child for each order."""
    load(LOADED + LOOK_BACK if "look-back" in sys.argv else LOADED)
    ours = socket.socket(fileno=os.dup(0))
    order, handles = serve(ours)
    become(order, handles)
    act(order["words"])


def load(packages: tuple[str, ...]) -> None:
    """Load what most commands need, and check that this has begun nothing."""
    for package in map(import_module, packages):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    import obstore  # noqa: F401 - a bucket's store loads it when it is opened

    assert ("sqlite3" in sys.modules) == (packages != LOADED)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, all that is shared


def serve(ours: socket.socket) -> tuple[dict, list[int]]:
    """Carry out orders until the socket ends; return, in each child, what it is to become."""
    while True:
        raw, handles, _, _ = socket.recv_fds(ours, ORDER_BYTES_MAX, 3)
        if not raw:
            os._exit(0)
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            parent = os.getpid()
            child = os.fork()
            if child == 0:
                ours.detach()  # ``become`` closes it
                while os.getppid() == parent:
                    os.sched_yield()
                return json.loads(raw), handles
            os.write(tell, str(child).encode())
            os._exit(0)
        os.waitpid(between, 0)
        ours.send(os.read(told, 32))
        for handle in (told, tell, *handles):
            os.close(handle)


def become(order: dict, handles: list[int]) -> None:
    """Take over the streams, folder, environment and session of a process that was ordered."""
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    os.closerange(3, 64)
    if order["session"]:
        os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    # An earlier test may have had some ignored or blocked when this process began.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - KEPT:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN if order["uninterrupted"] else signal.default_int_handler
    )
    for number, (name, mode, errors) in enumerate(STREAMS):
        line_wise = name == "stderr" or os.isatty(number)
        stream = open(  # noqa: SIM115 - for as long as the process lives
            number, mode, 1 if line_wise else -1, "utf-8", errors, "\n", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def act(words: list[str]) -> None:
    """Run the program that was ordered: tclog, or Python with a file or a module."""
    program, *words = words
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if program == str(TCLOG):
        sys.argv, sys.path[0] = [program, *words], str(TCLOG.parent)
        from tclog.cli import main as command

        command()
    elif words[0] == "-m":
        sys.argv, sys.path[:1] = words[1:], [str(Path.cwd()), *given]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[:1] = words, [str(Path(words[0]).parent), *given]
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
