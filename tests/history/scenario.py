"""A run of six agents, played through ``tclog.open`` by a thread each, for tests and pictures.

Six agents build a small service. They race for a step, disagree about a value, one dies while it
holds a step and another takes that over, they meet at a barrier, hand over files, and ship.
``pace_s`` is the length of a beat: about 0.02 in tests, 1 for a run whose times look like life.

    python -m history.scenario FOLDER [PACE]       with PYTHONPATH=tests
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import tclog

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
STEPS = {
    "design": ("Agree on the API", ()),
    "schema": ("Tables and migrations", ("design",)),
    "api": ("Endpoints for items", ("schema",)),
    "web": ("Screens on the new API", ("design",)),
    "tests": ("End-to-end tests", ("api",)),
    "docs": ("Guide and reference", ("api",)),
    "release": ("Ship 1.2", ("tests", "docs", "web")),
}
# The lease of the agent that dies. A takeover comes a second after its end at the earliest.
SHORT_LEASE_S = 0.5


class Stage:
    """What the agents share besides the log: the beat, points to meet at, and a folder."""

    def __init__(self, url: Path, folder: Path, pace_s: float, project: str) -> None:
        self.url = url
        self.folder = folder
        self.pace_s = pace_s
        self.project = project
        self.kick_off = threading.Event()
        self.race = threading.Barrier(3)
        self.conflict = threading.Barrier(2)
        self.died = threading.Event()
        self.left = threading.Event()
        self.errors: list[BaseException] = []

    def open(self, agent: str) -> tclog.Log:
        """Open the log as an agent."""
        return tclog.open(
            self.url, agent=agent, project=self.project, create=agent == "alice", fsync=False
        )

    def rest(self, beats: float) -> None:
        """Let some beats pass."""
        time.sleep(beats * self.pace_s)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; a run that hangs fails."""
        ends_s = time.monotonic() + 60 + 60 * self.pace_s
        while not condition():
            if time.monotonic() > ends_s or self.errors:
                raise TimeoutError("the run does not go on")
            time.sleep(min(0.2, self.pace_s))

    def file(self, name: str, text: str) -> Path:
        """Write a file to hand over."""
        path = self.folder / name
        path.write_text(text)
        return path

    def read(self, log: tclog.Log) -> None:
        """Read and acknowledge what there is."""
        box = log.inbox()
        if box.messages:
            log.ack(box)


def race(stage: Stage, log: tclog.Log) -> bool:
    """Try to claim the design at the same moment as two others; return whether it is ours."""
    stage.race.wait()
    try:
        log.steps.claim("design")
    except tclog.Refused:
        return False
    return True


def agree(log: tclog.Log) -> None:
    """End the design and hand it over."""
    log.steps.complete(
        "design", note="contract agreed", to="carol", next_action="build the screens"
    )


def alice(stage: Stage, log: tclog.Log) -> None:
    """Plan, design, ship."""
    for step, (title, after) in STEPS.items():
        log.steps.add(step, title=title, after=after)
        stage.rest(0.2)
    log.send("@all", "Plan is in the steps. Take what is ready, renew while you work.")
    stage.kick_off.set()
    won = race(stage, log)
    log.memory.set("api.contract", "POST /v1/items")
    stage.rest(3)
    stage.conflict.wait()
    with suppress(tclog.Refused):
        log.memory.set("api.contract", "POST /v2/items with idempotency key", if_version=1)
    stage.rest(3)
    if won:
        agree(log)
    stage.read(log)
    stage.until(lambda: log.steps.show("release").state == "ready")
    stage.read(log)
    log.steps.claim("release")
    stage.rest(1)
    log.barrier("ship", parties=4, timeout_s=60 + 60 * stage.pace_s)
    log.artifacts.put(stage.file("release-notes.md", "# 1.2\n\nItems, with retries.\n"))
    log.steps.complete("release", note="1.2 is out")
    log.send("@all", "1.2 is out, thank you.")


def bob(stage: Stage, log: tclog.Log) -> None:
    """Race for the design, then build the API."""
    won = race(stage, log)
    stage.conflict.wait()
    with suppress(tclog.Refused):
        log.memory.set("api.contract", "PUT /v1/items", if_version=1)
    stage.rest(3)
    if won:
        agree(log)
    log.wait_for("schema", timeout_s=60 + 60 * stage.pace_s)
    log.steps.claim("api", lease_s=600)
    for nth in range(3):
        stage.rest(3)
        log.steps.renew("api")
        log.memory.incr("metrics.endpoints", 2)
        if nth == 1:
            log.steps.note("api", "list and create work, delete is next")
            log.send("carol", "POST /v2/items answers now, try the form against it", step="api")
    log.artifacts.put(stage.file("openapi.yaml", "openapi: 3.1.0\n"), step="api")
    log.steps.complete("api", note="all five endpoints", to="frank", next_action="test retries")
    stage.read(log)
    stage.rest(3)
    log.barrier("ship", parties=4, timeout_s=60 + 60 * stage.pace_s)


def carol(stage: Stage, log: tclog.Log) -> None:
    """Race for the design, and make the screens."""
    won = race(stage, log)
    stage.rest(6)
    if won:
        agree(log)
    log.wait_for("design", timeout_s=60 + 60 * stage.pace_s)
    log.steps.claim("web", lease_s=600)
    log.memory.set("ui.theme", {"accent": "#0b7285", "dark": True})
    for _ in range(3):
        stage.rest(4)
        log.steps.renew("web")
        stage.read(log)
        log.memory.incr("metrics.screens")
    log.send("bob,frank", "The form shows the server's errors now")
    log.steps.complete("web", outcome="needs_review", note="please look at the empty state")
    stage.rest(1)
    log.barrier("ship", parties=4, timeout_s=60 + 60 * stage.pace_s)


def dave(stage: Stage, log: tclog.Log) -> None:
    """Begin the schema, and die while holding it."""
    log.wait_for("design", timeout_s=60 + 60 * stage.pace_s)
    log.steps.claim("schema", lease_s=SHORT_LEASE_S + stage.pace_s)
    log.memory.append("journal", "dave: tables sketched")
    stage.rest(1)
    log.steps.renew("schema")
    stage.died.set()


def erin(stage: Stage, log: tclog.Log) -> None:
    """Notice that dave is gone, take the schema over, then write the documents."""
    stage.died.wait()
    with suppress(tclog.Refused):
        log.steps.claim("schema")
    log.send("dave", "Are you still on the schema?", step="schema")
    log.steps.claim("schema", wait=True, timeout_s=60 + 60 * stage.pace_s)
    log.memory.append("journal", "erin: took the schema over from dave")
    stage.rest(2)
    log.artifacts.put(stage.file("schema.sql", "create table items(id integer);\n"), step="schema")
    log.steps.complete("schema", note="migration 0007", to="bob", next_action="build the API on it")
    stage.rest(2)
    log.steps.add("lint", title="Tidy up the migrations")
    log.steps.claim("lint")
    stage.rest(1)
    log.steps.complete("lint", outcome="failed", note="the formatter crashes on 0003")
    log.wait_for("api", timeout_s=60 + 60 * stage.pace_s)
    log.steps.claim("docs", lease_s=600)
    stage.rest(2.5)
    log.memory.set("docs.outline", "intro, quick start, reference")
    log.steps.release("docs")
    stage.left.set()
    log.send("@all", "I have to leave; docs are half done and free to take")


def frank(stage: Stage, log: tclog.Log) -> None:
    """Test the API, approve the screens, and finish what others left."""
    log.wait_for("api", timeout_s=60 + 60 * stage.pace_s)
    stage.read(log)
    log.steps.claim("tests", lease_s=600)
    for nth in range(4):
        stage.rest(1.5)
        log.memory.incr("tests.passed", 7 + nth)
        if nth == 1:
            log.steps.renew("tests")
    log.memory.set("tests.flaky", ["test_retry", "test_timeout"])
    log.steps.complete("tests", note="41 pass")
    stage.until(stage.left.is_set)
    log.steps.claim("docs")
    stage.rest(2)
    log.steps.complete("docs", note="guide is up")
    stage.until(lambda: log.steps.show("web").state == "needs_review")
    log.steps.complete("web", note="looks good to me")
    stage.read(log)
    log.barrier("ship", parties=4, timeout_s=60 + 60 * stage.pace_s)


PARTS: dict[str, Callable[[Stage, tclog.Log], None]] = {
    "alice": alice,
    "bob": bob,
    "carol": carol,
    "dave": dave,
    "erin": erin,
    "frank": frank,
}


def play(url: Path, folder: Path, pace_s: float = 0.02, project: str = "demo") -> None:
    """Play the whole run on a store in a folder; ``folder`` is for files to hand over.

    Raises:
        BaseException: what went wrong in an agent's thread.
    """
    stage = Stage(url, folder, pace_s, project)
    logs = {name: stage.open(name) for name in NAMES}

    def act(name: str) -> None:
        try:
            if name != "alice":
                stage.kick_off.wait()
            PARTS[name](stage, logs[name])
        except BaseException as error:
            stage.errors.append(error)
            stage.race.abort()
            stage.conflict.abort()

    threads = [threading.Thread(target=act, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if stage.errors:
        raise stage.errors[0]


if __name__ == "__main__":
    where = Path(sys.argv[1])
    (where / "files").mkdir(parents=True, exist_ok=True)
    play(where / "store", where / "files", float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
