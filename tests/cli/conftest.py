"""Users of the command line: a folder each, an environment of their own, real processes.

``User.process`` starts the real ``tclog``, forked off a process that has loaded it
(``support.forked``) unless it is to be ``fresh``; ``User.__call__`` runs the same entry point
inside the test's process, which is faster still, with streams that may claim to be a terminal.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.forked import popen
from support.stores import Server, fresh_bucket, open_s3, url_of
from support.zygote import TCLOG

from tclog.chain import seal
from tclog.chain.drive import run
from tclog.cli.app import run_command
from tclog.event import names
from tclog.log import inbox
from tclog.log.project import create_project

BIN = TCLOG.parent


class Done(NamedTuple):
    """What a finished command left."""

    words: tuple[Any, ...]
    code: int
    out: str
    err: str

    def ok(self) -> Done:
        """Return itself, if the command succeeded."""
        assert self.code == 0, self
        return self

    def lines(self) -> list[str]:
        """The lines on stdout of a command that succeeded."""
        return self.ok().out.splitlines()

    def rows(self) -> list[list[str]]:
        """The cells of each line on stdout."""
        return [line.split("\t") for line in self.lines()]

    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout of a command that succeeded."""
        return [json.loads(line) for line in self.lines()]

    def object(self) -> dict[str, Any]:
        """The only JSON object on stdout."""
        (found,) = self.objects()
        return found

    def error(self, code: int) -> dict[str, Any]:
        """The only line on stderr, a JSON error with this exit status; nothing is on stdout."""
        assert self.code == code, self
        assert self.out == "", self
        (line,) = self.err.splitlines()
        found = json.loads(line)
        assert found["type"] == "error", self
        assert found["exit"] == code, self
        assert list(found)[:5] == ["type", "code", "message", "hint", "exit"], self
        assert found["message"], self
        assert found["hint"], self
        return found

    def said(self, code: int) -> str:
        """The error as people see it: one line, and a line with a hint; never a traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self
        lines = [line for line in self.err.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 2, self
        assert lines[0].startswith("error: "), self
        assert lines[1].startswith("hint: "), self
        return "\n".join(lines)


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


class User:
    """One user: a home, a cache, a working folder and an environment."""

    def __init__(self, folder: Path, work: Path | None = None) -> None:
        self.folder = folder
        self.work = work or folder / "work"
        for part in (folder / "home", folder / "tmp", self.work):
            part.mkdir(parents=True, exist_ok=True)
        self.environ: dict[str, str] = {
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "TMPDIR": str(folder / "tmp"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def processes(
        self, *words: Any, env: Mapping[str, str | None] = {}, fresh: bool = False, **options: Any
    ) -> Any:
        """Start a process without waiting for it."""
        environ = {k: v for k, v in {**self.environ, **env}.items() if v is not None}
        options = {"cwd": self.work, "stdin": subprocess.DEVNULL, **options}
        for stream in ("stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        start = subprocess.Popen if fresh else popen
        return start([str(options.pop("program", TCLOG)), *words], env=environ, **options)

    def process(
        self, *words: Any, stdin: bytes | None = None, timeout: float = 60, **options: Any
    ) -> Done:
        """Run a real process to its end."""
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        child = self.processes(*words, **options)
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise
        text = [(raw or b"").decode(errors="surrogateescape") for raw in (out, err)]
        return Done(words, child.returncode, *text)

    def powerless(self, *words: Any, **options: Any) -> Done:
        """Run a process for which file permissions count, which they do not for root."""
        if os.geteuid() != 0:
            return self.process(*words, **options)
        drop = "--bounding-set=-dac_override,-dac_read_search"
        return self.process(drop, TCLOG, *words, program="setpriv", **options)

    def shell(self, script: str, **options: Any) -> Done:
        """Run a script of bash, in which tclog is on the PATH."""
        return self.process("-c", script, program="bash", **options)

    def terminal(
        self, *words: str, env: Mapping[str, str] = {}, columns: int = 200, seconds: float = 60
    ) -> str:
        """Run a process on a terminal of its own, and return what that shows."""
        ours, theirs = pty.openpty()
        environ = {**self.environ, "TERM": "xterm", "COLUMNS": str(columns), **env}
        child = subprocess.Popen(
            [str(TCLOG), *words], stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=self.work, env=environ, close_fds=True,
        )  # fmt: skip
        os.close(theirs)
        shown, limit = b"", time.monotonic() + seconds
        while time.monotonic() < limit:
            ready, _, _ = select.select([ours], [], [], 0.1)
            try:
                piece = os.read(ours, 65536) if ready else b""
            except OSError:
                break
            if ready and not piece:
                break
            shown += piece
        os.close(ours)
        child.wait(5)
        return shown.decode().replace("\r\n", "\n")

    def __call__(
        self,
        *words: str,
        agent: str | None = None,
        stdin: bytes | None = None,
        terminal: bool = False,
        env: Mapping[str, str] = {},
        cwd: Path | None = None,
    ) -> Done:
        """Run a command inside this process."""
        kind = _Terminal if terminal else io.TextIOWrapper
        out, err = (kind(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        environ = {**self.environ, **env}
        if agent is not None:
            environ["TCLOG_AGENT"] = agent
        before = dict(os.environ), Path.cwd(), (sys.stdin, sys.stdout, sys.stderr)
        try:
            os.environ.clear()
            os.environ.update(environ)
            os.chdir(cwd or self.work)
            sys.stdin = io.TextIOWrapper(io.BytesIO(stdin or b""), "utf-8")
            sys.stdout, sys.stderr = out, err
            code = run_command(words)
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            os.chdir(before[1])
            sys.stdin, sys.stdout, sys.stderr = before[2]
        return Done(words, code, *(s.buffer.getvalue().decode() for s in (out, err)))

    @property
    def store(self) -> Path:
        """The folder of the project's objects, where that is the usual one."""
        return self.work / ".tclog" / "store" / "work"


def git(folder: Path, *words: str) -> None:
    """Run git as somebody."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Give a user in an empty folder, who has not said who acts."""
    return User(tmp_path)


@contextlib.contextmanager
def earlier_build() -> Iterator[None]:
    """Let commands make names that look like others, as builds before the rule did."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (names, seal, inbox):
            patch.setattr(module, "why_odd", lambda _: None)
        yield


@pytest.fixture(scope="session")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a working folder as `tclog init` left it."""
    user = User(tmp_path_factory.mktemp("initialized"))
    user.process("init").ok()
    return user.work


@pytest.fixture
def project(user: User, initialized: Path) -> User:
    """Give a user whose folder holds a project of its own, and who acts as alice."""
    shutil.copytree(initialized, user.work, dirs_exist_ok=True)
    user.environ["TCLOG_AGENT"] = "alice"
    # Power cuts are not what these tests are about, and disks are slow.
    user.environ["TCLOG_FSYNC"] = "false"
    return user


def on_bucket(user: User, server: Server, *, keys: bool = True) -> User:
    """Point a user at a fresh project in a bucket, without the probe: moto may fail its race."""
    settings = fresh_bucket(server)
    inside = settings._replace(prefix=f"{settings.prefix}/work")
    run(
        create_project("work", os.urandom(16).hex(), time.time_ns() // 1000),
        open_s3(server, inside),
    )
    (user.work / ".tclog").mkdir(exist_ok=True)
    (user.work / ".tclog" / "config.toml").write_text(
        f'store = "{url_of(settings)}"\nproject = "work"\n\n[s3]\nendpoint = "{server.endpoint}"\n'
    )
    user.environ["TCLOG_AGENT"] = "alice"
    if keys:
        user.environ.update(server.environ)
    return user


@pytest.fixture
def bucket(user: User, moto: Server) -> Iterator[User]:
    """Give a user whose project is in a bucket of moto's server."""
    yield on_bucket(user, moto)
