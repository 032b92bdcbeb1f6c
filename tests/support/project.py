"""A project as its users have it: real processes, the real command line, one store.

Owns: the folders of a test's machines, the processes that it starts, and a look at the store's
objects that goes past tclog. Invariant: a process gets nothing from the tests' own environment but
what is listed in ``Machine.environ``, and none outlives the test (``Project.close``).

A *machine* is a home, a cache and a working folder that all its agents share. A *worker* is one
process that runs many commands, each through the entry point of the command line, so that a
thousand commands do not cost a thousand starts of an interpreter; several workers can be let go at
the same instant. ``run`` and ``start`` are plain ``tclog`` processes, forks of one that has loaded
tclog (``support.forked``).
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from support.forked import popen
from support.stores import Server, fresh_bucket, raw_client, url_of
from support.zygote import TCLOG

WORKER = Path(__file__).with_name("worker.py")
NAME = "story"
MARK = "tclog.json"
SETTLE_S = 0.05


class Result(NamedTuple):
    """What a finished command left: ``begun`` and ``ended`` are readings of one monotonic clock."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str
    begun: float = 0.0
    ended: float = 0.0

    def json(self) -> list[dict[str, Any]]:
        """The objects on stdout, one for each line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def one(self) -> dict[str, Any]:
        """The only object on stdout of a command that succeeded."""
        assert self.code == 0, self
        (found,) = self.json()
        return found

    def error(self) -> dict[str, Any]:
        """The error object on stderr, the last line there."""
        found = json.loads(self.err.splitlines()[-1])
        assert found["type"] == "error", self
        assert found["exit"] == self.code, self
        return found

    def ok(self) -> Result:
        """Return itself, if the command succeeded."""
        assert self.code == 0, self
        return self


# -- the store, seen past tclog -------------------------------------------------------------------


class Objects(Protocol):
    """The objects of one project, by their keys below it."""

    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys that begin so, sorted."""

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""

    def write(self, key: str, data: bytes) -> None:
        """Replace an object, as only an accident or an attacker would."""

    def modified(self, key: str) -> float:
        """Return when the store says it was written, in seconds since 1970."""

    def delete(self, key: str) -> None:
        """Remove an object."""


class FolderObjects:
    """The objects of a project in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keys(self, prefix: str = "") -> list[str]:
        """See ``Objects``. Temporary files are none."""
        keys = []
        for folder, _, files in os.walk(self.root):
            here = os.path.relpath(folder, self.root)
            if here.split("/")[0] != ".tmp":
                keys += [name if here == "." else f"{here}/{name}" for name in files]
        return sorted(key for key in keys if key.startswith(prefix))

    def read(self, key: str) -> bytes:
        """See ``Objects``."""
        return (self.root / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        """See ``Objects``."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def modified(self, key: str) -> float:
        """See ``Objects``."""
        return (self.root / key).stat().st_mtime

    def delete(self, key: str) -> None:
        """See ``Objects``."""
        (self.root / key).unlink()


class BucketObjects:
    """The objects of a project in a bucket, through boto3."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._client = raw_client(server)
        self._where = {"Bucket": server.bucket}
        self._prefix = f"{prefix}/"

    def keys(self, prefix: str = "") -> list[str]:
        """See ``Objects``."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            **self._where, Prefix=self._prefix + prefix
        )
        rows = [row["Key"] for page in pages for row in page.get("Contents", [])]
        return sorted(key.removeprefix(self._prefix) for key in rows)

    def read(self, key: str) -> bytes:
        """See ``Objects``."""
        return self._client.get_object(**self._where, Key=self._prefix + key)["Body"].read()

    def write(self, key: str, data: bytes) -> None:
        """See ``Objects``."""
        self._client.put_object(**self._where, Key=self._prefix + key, Body=data)

    def modified(self, key: str) -> float:
        """See ``Objects``."""
        head = self._client.head_object(**self._where, Key=self._prefix + key)
        return head["LastModified"].timestamp()

    def delete(self, key: str) -> None:
        """See ``Objects``."""
        self._client.delete_object(**self._where, Key=self._prefix + key)


class Site(NamedTuple):
    """Where a project is kept: the store's URL, what ``init`` is told, and the credentials."""

    url: str
    flags: tuple[str, ...]
    environ: Mapping[str, str]
    objects: Objects


def folder_site(folder: Path) -> Site:
    """Keep a project in a folder."""
    return Site(str(folder), (), {}, FolderObjects(folder / NAME))


def bucket_site(server: Server) -> Site:
    """Keep a project at a fresh place of a server's bucket."""
    settings = fresh_bucket(server)
    objects = BucketObjects(server, f"{settings.prefix}/{NAME}")
    return Site(url_of(settings), ("--endpoint", server.endpoint), server.environ, objects)


# -- machines and their processes -----------------------------------------------------------------


class Machine:
    """A home, a cache and a working folder, shared by the agents of one machine."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.site = site
        self._running: list[subprocess.Popen[bytes]] = []
        for part in ("home", "cache", "work", "tmp"):
            (folder / part).mkdir(parents=True)

    def environ(self, agent: str | None = None, **more: str) -> dict[str, str]:
        """Return the environment of a process of this machine."""
        environ = {
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PATH": f"{TCLOG.parent}:/usr/local/bin:/usr/bin:/bin",
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            **self.site.environ,
            **more,
        }
        if agent is not None:
            environ["TCLOG_AGENT"] = agent
        return environ

    def start(
        self,
        *args: str | bytes,
        agent: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        program: str | Path = TCLOG,
    ) -> subprocess.Popen[bytes]:
        """Start one ``tclog`` process, and return without waiting for it."""
        process = popen(
            [str(program), *args],
            cwd=self.work,
            env=self.environ(agent, **(env or {})),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._running.append(process)
        return process

    def finish(
        self,
        process: subprocess.Popen[bytes],
        timeout: float = 180,
        input: bytes | None = None,  # noqa: A002
    ) -> Result:
        """Wait for a process that was started here; one that does not end fails the test."""
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out = err = b""
            with suppress(subprocess.TimeoutExpired):
                # What it has started may hold its pipes open for longer than itself.
                out, err = process.communicate(timeout=2)
            raise AssertionError(
                f"{process.args} still ran, or its pipes were open, after {timeout} s;"
                f" it had said:\n{out.decode(errors='replace')}\n{err.decode(errors='replace')}"
            ) from None
        self._running.remove(process)
        args = tuple(os.fsdecode(word) for word in process.args[1:])  # type: ignore[index]
        return Result(args, process.returncode, out.decode(), err.decode())

    def run(
        self,
        *args: str | bytes,
        agent: str | None = None,
        input: str | bytes | None = None,  # noqa: A002 - as subprocess calls it
        timeout: float = 180,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run one ``tclog`` process to its end."""
        data = input.encode() if isinstance(input, str) else input
        stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
        return self.finish(self.start(*args, agent=agent, env=env, stdin=stdin), timeout, data)

    def json(self, *args: str, agent: str | None = None, timeout: float = 180) -> Any:
        """Run a command with ``--json`` that must succeed, and return its objects."""
        return self.run(*args, "--json", agent=agent, timeout=timeout).ok().json()

    def worker(self, agent: str, env: Mapping[str, str] | None = None) -> Worker:
        """Start a worker: one process, one agent, many commands."""
        process = self.start(
            str(WORKER),
            agent=agent,
            env=env,
            stdin=subprocess.PIPE,
            program=sys.executable,
        )
        return Worker(process, agent)

    def crew(self, names: Sequence[str]) -> list[Worker]:
        """Start several workers at once."""
        return [self.worker(name) for name in names]

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
        self._running.clear()


class Seed(NamedTuple):
    """What ``tclog init`` has written, for further projects on stores of the same kind.

    Each init lets 192 creates race to probe the store, which a hundred tests need not repeat.
    """

    url: str
    config: str
    mark: bytes


class Project(Machine):
    """A project on its first machine, set up by ``tclog init``, or from what that has written."""

    def __init__(self, base: Path, site: Site, seed: Seed | None = None) -> None:
        super().__init__(base / "machine-1", site)
        self.base = base
        self.objects = site.objects
        self._others: list[Machine] = []
        if seed is None:
            self.run("init", site.url, "--project", NAME, *site.flags).ok()
        else:
            assert seed.config.count(seed.url) == 1
            self._config.parent.mkdir()
            self._config.write_text(seed.config.replace(seed.url, site.url))
            self.objects.write(MARK, seed.mark)

    @property
    def _config(self) -> Path:
        return self.work / ".tclog" / "config.toml"

    def seed(self) -> Seed:
        """Return what other projects can be made from."""
        return Seed(self.site.url, self._config.read_text(), self.objects.read(MARK))

    def machine(self) -> Machine:
        """Set up another machine: another cache and working folder, the same project."""
        other = Machine(self.base / f"machine-{len(self._others) + 2}", self.site)
        shutil.copytree(self.work / ".tclog", other.work / ".tclog")
        self._others.append(other)
        return other

    def close(self) -> None:
        """Kill what still runs on any machine."""
        for other in self._others:
            other.close()
        super().close()


class Worker:
    """A process that runs commands one after the other, in the entry point of the command line."""

    def __init__(self, process: subprocess.Popen[bytes], agent: str) -> None:
        self.process = process
        self.agent = agent
        self._said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._asked: list[tuple[str, ...]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):  # closed at the end of the test
            for line in self.process.stdout:
                self._said.put(json.loads(line))
        self._said.put(None)

    def post(self, commands: Sequence[Sequence[str]], gate: Path | None = None) -> None:
        """Hand over commands to run; with a gate they wait until it opens."""
        assert self.process.stdin is not None
        self._asked = [tuple(command) for command in commands]
        job = {"commands": self._asked, "gate": None if gate is None else str(gate)}
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()

    def ready(self, timeout: float = 180) -> None:
        """Wait until the process stands at the gate."""
        assert self._next(timeout) == {"ready": True}

    def results(self, timeout: float = 300) -> list[Result]:
        """Return what became of the commands, in their order."""
        ends = time.monotonic() + timeout
        return [Result(args, **self._next(ends - time.monotonic())) for args in self._asked]

    def acknowledged(self) -> list[Result]:
        """Return the results of what was finished before the process was killed."""
        self._reader.join(10)
        found = []
        while (said := self._said.get_nowait()) is not None:
            found.append(Result(self._asked[len(found)], **said))
        return found

    def run(self, *args: str, timeout: float = 180) -> Result:
        """Run one command."""
        self.post([args])
        return self.results(timeout)[0]

    def _next(self, timeout: float) -> dict[str, Any]:
        try:
            said = self._said.get(timeout=max(timeout, 0.001))
        except queue.Empty:
            self.process.kill()
            raise AssertionError(f"{self.agent} did not answer in time: {self._asked}") from None
        assert said is not None, f"the worker {self.agent} has died"
        return said


def together(
    workers: Sequence[Worker],
    commands: Sequence[Sequence[Sequence[str]]],
    gate: Path,
    timeout: float = 300,
) -> list[list[Result]]:
    """Let all workers begin their commands at the same instant; return their results.

    The gate is a lock on a file: the workers ask for a share of it while it is held here, so its
    release wakes all of them at once.
    """
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for worker, mine in zip(workers, commands, strict=True):
            worker.post(mine, gate)
        for worker in workers:
            worker.ready()
        time.sleep(SETTLE_S)  # they have said that they will ask, and ask now
    return [worker.results(timeout) for worker in workers]


def side_by_side(*jobs: Any) -> list[Any]:
    """Call functions beside each other, one thread for each; the first error goes on."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def until(condition: Any, timeout: float = 60, pause: float = 0.02) -> Any:
    """Wait until a condition holds, and return what it returned."""
    ends = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < ends, f"{condition} did not come true in {timeout} s"
        time.sleep(pause)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def kill_left(pids: Iterator[int] | Sequence[int]) -> None:
    """Kill processes that a killed process has left behind."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
