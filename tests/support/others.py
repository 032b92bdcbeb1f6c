"""Other users of the machine: processes with their own uid, groups and umask.

Only root may start them. They run an interpreter that everybody may run: the one of the tests may
lie in a home that is closed to others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import click

import tclog

SOURCE = Path(tclog.__file__).parents[1]


@cache
def interpreter() -> str | None:
    """Return an interpreter of this version that user 4711 may run with tclog; None if none is."""
    version = "python{}.{}".format(*sys.version_info)
    for program in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        words = [program, "-c", "import tclog.cli, sqlite3, blake3, orjson, tomllib"]
        try:
            done = subprocess.run(
                words, user=4711, group=4711, extra_groups=[], env=_paths(), cwd="/",
                capture_output=True, check=False,
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return program
    return None


def _paths() -> dict[str, str]:
    packages = Path(click.__file__).parents[1]
    return {"PYTHONPATH": f"{SOURCE}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}


def why_not() -> str:
    """Return why there can be no other users here, or "" where there can."""
    if os.geteuid() != 0:
        return "only root may start processes of other users"
    return "" if interpreter() else "no interpreter here can be run by other users"


class Other:
    """A user with a home, a group, further groups and a umask."""

    def __init__(
        self, home: Path, uid: int, *, group: int | None = None, groups: tuple[int, ...] = (),
        umask: int = 0o022,
    ) -> None:  # fmt: skip
        self.uid, self.umask, self.groups = uid, umask, groups
        self.group = uid if group is None else group
        self.home = home
        home.mkdir(mode=0o700)
        os.chown(home, uid, self.group)

    def __call__(
        self, *words: str, cwd: Path, agent: str | None = None, **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run tclog to its end."""
        environ: dict[str, str | None] = {
            **_paths(),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TCLOG_AGENT": agent or f"user{self.uid}",
            "TCLOG_FSYNC": "false",
            **env,
        }
        return subprocess.run(
            [str(interpreter()), "-m", "tclog", *words],
            env={name: text for name, text in environ.items() if text is not None},
            cwd=cwd, user=self.uid, group=self.group, extra_groups=self.groups, umask=self.umask,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
