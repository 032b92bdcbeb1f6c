"""What the tests fork is like what they would start: the same process in the same surroundings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import forked
from support.project import alive, until

from .conftest import User

LOOK = """
import json, os, signal, sys, threading
found = {
    "argv": sys.argv, "name": __name__, "path": sys.path[0], "cwd": os.getcwd(),
    "env": dict(os.environ), "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(),
    "group": os.getpgid(0) == os.getpgid(os.getppid()), "threads": threading.active_count(),
    "handles": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3],
    "more": len(os.listdir("/proc/self/fd")), "umask": os.umask(0o22),
    "signals": {n: str(signal.getsignal(n)) for n in sorted(signal.valid_signals())},
    "masked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "streams": [
        [s.encoding, s.errors, s.line_buffering, s.newlines, s.fileno(), s.isatty(), s.mode]
        for s in (sys.stdin, sys.stdout, sys.stderr)
    ],
    "same": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__],
    "read": sys.stdin.read(),
}
print(json.dumps(found))
print("said", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture
def look(user: User) -> Path:
    path = user.folder / "look.py"
    path.write_text(LOOK)
    return path


@pytest.mark.parametrize("session", [False, True])
def test_it_is_in_the_same_surroundings(user: User, look: Path, session: bool):
    found = []
    for fresh in (True, False):
        child = user.processes(
            str(look), "a", "ü \udcff", program=forked.sys.executable, stdin=subprocess.PIPE,
            start_new_session=session, env={"TCLOG_AGENT": "x y"}, fresh=fresh,
        )  # fmt: skip
        assert isinstance(child, forked._Forked) != fresh
        out, err = child.communicate(b"one\r\ntwo \xc3\xa9\n")
        assert (child.returncode, err) == (7, b"said\n")
        found.append(json.loads(out))
    assert found[0] == found[1]
    assert found[0]["parent"] == os.getpid()
    assert found[0]["leads"] == session


def test_it_has_loaded_nothing_that_changes_how_a_command_ends(user: User):
    path = user.folder / "modules.py"
    path.write_text(
        "import sys, threading; print('sqlite3' in sys.modules, 'click' in sys.modules)"
    )
    done = user.process(str(path), program=forked.sys.executable)
    assert done.ok().out == "False True\n"


def start(user: User, code: str) -> Any:
    path = user.folder / "script.py"
    path.write_text(code)
    child = user.processes(str(path), program=forked.sys.executable)
    assert isinstance(child, forked._Forked)
    return child


def test_it_can_be_stopped_and_killed(user: User):
    child = start(user, "import time; print('on', flush=True); time.sleep(600)")
    assert child.stdout.readline() == b"on\n"
    child.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{child.pid}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    child.kill()
    assert child.wait(60) == -signal.SIGKILL
    assert not alive(child.pid)
    child.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_it_ends_by_a_signal_as_any_other(user: User, number: int, status: int):
    child = start(user, "import time; print('on', flush=True); time.sleep(600)")
    child.stdout.readline()
    child.send_signal(number)
    child.communicate()
    assert child.returncode == status


def test_what_it_raises_is_its_own_end(user: User):
    child = start(user, "import atexit; atexit.register(print, 'left'); raise ValueError('no')")
    out, err = child.communicate()
    assert child.returncode == 1
    assert out == b"left\n"
    assert err.splitlines()[-1] == b"ValueError: no"


def test_what_outlives_its_parent_is_not_ours(user: User):
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); 1 / 0"
    child = start(user, code)
    grandchild = int(child.stdout.readline())
    child.wait(60)
    assert alive(grandchild)
    os.kill(grandchild, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{grandchild}").exists())
    child.communicate()


def test_what_an_interpreter_reads_at_its_start_is_started_afresh(user: User):
    for env in ({"PYTHONPATH": "/x"}, {"PYTHONUTF8": "1"}, {"LANG": "C"}, {"LC_ALL": "C.UTF-8"}):
        child = user.processes("--version", env=env)
        assert not isinstance(child, forked._Forked), env
        assert child.communicate()[0].startswith(b"tclog ")
