"""What is measured, made from nothing: environments, projects, servers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.measuring import Results, run, tell

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "bench" / ".cache"
WORK = ROOT / "bench" / "work"
PEER = "tracecraft-ai==0.2.5"
AGENT = "alice"
# One way of a simulated request: about that of S3 from a machine in the same region.
LATENCY_MS = 30
T = TypeVar("T")


class Bench(NamedTuple):
    """Where the parts find everything. ``peer`` and ``etcd`` are None where they are not there.

    Args:
        python: the interpreter of the environment that holds tclog.
        scratch: a folder for projects, removed at the end.
        s3: the ``AWS_*`` variables of a store, or None.
        peer: Tracecraft's command.
        etcd: the address of a server of its own.
        quick: tiny sizes: only to see that everything runs.
        log: a folder with a log for the part ``million``, which is written to; None to make one.
    """

    python: Path
    scratch: Path
    s3: Mapping[str, str] | None
    peer: Path | None
    etcd: str | None
    quick: bool
    log: Path | None
    results: Results

    @property
    def tclog(self) -> Path:
        return self.python.with_name("tclog")

    def size(self, full: T, quick: T) -> T:
        """Choose a size, or sizes."""
        return quick if self.quick else full

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of a measured process: nothing of the user's."""
        return {
            "HOME": str(self.scratch),
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": str(self.scratch / "cache"),
            "TCLOG_AGENT": AGENT,
            "TCLOG_SESSION": "bench",
            **(self.s3 or {}),
            **more,
        }

    def project(self, name: str, store: str, **more: str) -> Project:
        """Make a project of tclog in a folder of its own; ``store`` is ``file`` or ``s3``."""
        work = self.scratch / name
        work.mkdir(parents=True)
        url = f"s3://tclog-bench/{name}-{os.getpid()}" if store == "s3" else str(work / "store")
        words = ["init", url, "--project", "p"]
        if store == "s3":
            words += ["--endpoint", self.environ()["AWS_ENDPOINT_URL"], "--create-bucket"]
        project = Project(self, work, url, self.environ(**more))
        project.run(*words)
        return project

    def generated(self, events: int, *, copy: str) -> Path:
        """Return a folder with a generated log, which may be written to.

        It is generated once. A copy shares nothing: whoever reads an object with two names takes it
        for one that its writer has not seen on the disk yet.
        """
        original = self.scratch / f"generated-{events}"
        if not original.exists():
            self.generate(original, events)
        folder = self.scratch / f"{copy}-{events}"
        shutil.copytree(original, folder)
        return folder

    def generate(self, folder: Path, events: int, *options: object) -> None:
        """Generate a log in a folder."""
        words = ["-m", "support.logs.generate", folder, "--events", events, *options]
        tests = str(ROOT / "tests")
        run([self.python, *map(str, words)], env=self.environ(PYTHONPATH=tests), cwd=self.scratch)

    def work(self, script: str, *words: Any, env: Mapping[str, str] | None = None) -> list[Any]:
        """Run a script inside tclog's environment; return the lines of JSON that it printed."""
        done = subprocess.run(
            [self.python, WORK / f"{script}.py", *map(str, words)],
            env=dict(env or self.environ()), cwd=self.scratch, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]


class Project(NamedTuple):
    """One project of tclog, and the folder in which its commands run."""

    bench: Bench
    folder: Path
    url: str
    env: Mapping[str, str]

    def run(self, *words: str, **more: Any) -> Any:
        """Run a command; returns what it took."""
        return run([self.bench.tclog, *words], env=self.env, cwd=self.folder, **more)

    def json(self, *words: str) -> list[Any]:
        """Run a command; return the objects that it printed."""
        done = subprocess.run(
            [self.bench.tclog, *words, "--json"],
            env=dict(self.env), cwd=self.folder, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]


# -- environments ---------------------------------------------------------------------------------


def install_tclog() -> Path:
    """Install this checkout as a wheel in an environment of its own; return its Python."""
    python = _environment("tclog")
    tell("installing tclog from a wheel")
    _pip(python, "install", "--quiet", str(ROOT))
    # The version says nothing about what is in a checkout, so it is always made anew.
    _pip(python, "install", "--quiet", "--force-reinstall", "--no-deps", str(ROOT))
    return python


def install_peer() -> Path | None:
    """Install Tracecraft in an environment of its own; None where it cannot be had."""
    python = _environment("peer")
    command = python.with_name("tracecraft")
    if not command.exists():
        tell(f"installing {PEER}")
        try:
            _pip(python, "install", "--quiet", PEER)
        except subprocess.CalledProcessError:
            tell(f"without the peer: {PEER} cannot be installed")
            return None
    return command


def _environment(name: str) -> Path:
    python = CACHE / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / name], check=True)
    return python


def _pip(python: Path, *words: str) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([python, "-m", "pip", *words], check=True, env=env, stdout=sys.stderr)


# -- servers --------------------------------------------------------------------------------------


@contextlib.contextmanager
def etcd(scratch: Path) -> Iterator[str | None]:
    """Run one node of etcd for as long as this lasts; None where it is not installed."""
    program = shutil.which("etcd")
    if program is None or shutil.which("etcdctl") is None:
        tell("without etcd: it is not installed")
        yield None
        return
    client, peer = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    with (scratch / "etcd.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "--data-dir", scratch / "etcd", "--name", "one",
             "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"one={peer}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_for(["etcdctl", "--endpoints", client, "endpoint", "health"])
        yield client
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(words: Sequence[str]) -> None:
    for _ in range(100):
        done = subprocess.run(words, env=etcd_environ(), capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.2)
    msg = f"{words} never succeeded"
    raise RuntimeError(msg)


def etcd_environ() -> dict[str, str]:
    """Return the environment of ``etcdctl``."""
    return {"PATH": os.environ.get("PATH", os.defpath), "ETCDCTL_API": "3"}


def s3_environ() -> dict[str, str] | None:
    """Return the variables of the store that the caller has exported, or None."""
    if "AWS_ENDPOINT_URL" not in os.environ:
        return None
    found = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    return {**found, "AWS_EC2_METADATA_DISABLED": "true"}
