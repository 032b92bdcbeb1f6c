"""What the store and the way to it suffer: the proxy's faults, and daemons that are killed."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from support.proxy import Fault, Proxy
from support.stores import REPOSITORY

CEPH = REPOSITORY / "scripts" / "ceph"
DAEMON_S = 180
# Each with its share of all requests. The client gives up after 4 seconds: what is delayed longer
# arrives when nobody waits for it any more.
FAULTS = (
    (0.010, Fault("close")),
    (0.010, Fault("reset")),
    (0.005, Fault("partial")),
    (0.015, Fault("status", 503)),
    (0.008, Fault("status", 500)),
    (0.008, Fault("status", 429)),
    (0.002, Fault("hang", seconds=6)),
    (0.012, Fault("refuse", 503)),
    (0.008, Fault("refuse", 429)),
    (0.010, Fault("refuse", 409)),
    (0.012, Fault("drop")),
    (0.030, Fault("delay", seconds=0.3)),
    (0.002, Fault("delay", seconds=7)),
    (0.020, Fault("duplicate")),
)


class Tally:
    """Counts the proxy's requests and faults, and lets it forget them: a run has very many."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.faults: Counter[str] = Counter()
        self.requests = 0

    def take(self) -> None:
        """Count what has come since the last time."""
        for request in self._proxy.take():
            self.requests += 1
            if request.fault is not None:
                self.faults[request.fault] += 1


class Daemons(threading.Thread):
    """Kills the gateway and the OSD of a cluster of the run's own, and starts them again."""

    def __init__(self, environ: Mapping[str, str], seed: int, every_s: float) -> None:
        super().__init__(daemon=True)
        self.killed: Counter[str] = Counter()
        self.trouble = ""
        self._environ = environ
        self._rng = random.Random(f"{seed} daemons")
        self._every_s = every_s
        self._over = threading.Event()

    def run(self) -> None:
        """Kill now the one, now the other, until ``stop``."""
        which = "rgw"
        try:
            while not self._over.wait(self._every_s * (0.5 + self._rng.random())):
                ceph(f"kill-{which}", self._environ)
                self.killed[which] += 1
                # Shorter, and longer, than a client goes on asking.
                self._over.wait(self._rng.choice((0.2, 2.0, 12.0)))
                ceph(f"start-{which}", self._environ)
                which = "osd" if which == "rgw" else "rgw"
        except (subprocess.SubprocessError, OSError) as error:
            self.trouble = repr(error)

    def stop(self) -> None:
        """Let what was killed come back, and kill no more."""
        self._over.set()
        self.join(2 * DAEMON_S)


def ceph(verb: str, environ: Mapping[str, str]) -> None:
    """Run one verb of ``scripts/ceph``."""
    subprocess.run(
        [CEPH, verb],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=DAEMON_S,
        check=True,
    )


def cluster_environ(folder: Path) -> dict[str, str]:
    """Return the environment that names a cluster of one's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"TCLOG_CEPH_DIR": str(folder)}
