"""Whatever a forger puts into the store, commands end well or with an error of tclog's.

The whole run: ``PYTHONPATH=tests .venv/bin/python -m fuzz.test_forgeries 10000``.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from tclog.chain.drive import run
from tclog.chain.fold import fold, place_of, state_of, verify
from tclog.chain.trust import guard
from tclog.cli.operations import read_operation
from tclog.errors import TclogError
from tclog.event import ChainId, decode, decode_version, slot_key, slot_seq
from tclog.history.blame import blame_memory, blame_step
from tclog.history.diff import read_diff
from tclog.history.history import History
from tclog.history.log import read_log
from tclog.history.rendering import attempt_json, commit_json, words
from tclog.history.replay import read_beats
from tclog.history.report import Wanted, build_report, render_page
from tclog.history.snapshot import END
from tclog.history.state import read_state
from tclog.history.watch import Follower
from tclog.index import Filter, derived
from tclog.log.inbox import read_inbox
from tclog.log.steps import list_steps
from tclog.maintenance.copies.copy import copy_log
from tclog.maintenance.copies.destination import Mounted, Target
from tclog.maintenance.copies.transfer import export
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.fsck.findings import Damage
from tclog.maintenance.pack import pack
from tclog.store.memory import MemoryStore

from .forging import Forger, base, folder_of, ill_bodied, open_log

HANG_S = 10
PARTS, PART = 8, 150


class Command:
    """Runs commands on a store, as three agents and one that looks back."""

    def __init__(self, store: MemoryStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.slept_s = 0.0

    def _sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def act(self, line: dict[str, Any], agent: str) -> None:
        """Carry out one line of a batch, and write its answer."""
        log = open_log(self.store, agent)
        log.client.monotonic_s = self._now_s
        asked = read_operation(1, orjson.dumps(line))
        protocol = asked.protocol(log.client, lambda point: point)
        found = run(guard(log.client, protocol), self.store, self._sleep)
        for one in (
            found if isinstance(found, list | tuple) and not hasattr(found, "as_json") else [found]
        ):
            if hasattr(one, "as_json"):
                orjson.dumps(one.as_json())

    def _now_s(self) -> float:
        self.slept_s += 0.001
        return self.slept_s

    def look(self, question: Callable[[History], Any]) -> None:
        """Bring an index up to date, and ask it."""
        viewer = open_log(self.store, "viewer")
        viewer.client.monotonic_s = self._now_s
        history = History(
            self.store,
            viewer.client,
            self.folder,
            run=lambda protocol: run(guard(viewer.client, protocol), self.store, self._sleep),
        )
        try:
            history.sync()
            # A replay and a watch read the index piece by piece, each in a transaction of its own.
            whole = question not in (_replay, _watch)
            with derived.reading(history.index) if whole else nullcontext():
                orjson.dumps(question(history), default=str)
        finally:
            history.index.close()

    def fold(self) -> None:
        """Read on from each version before a forged one, as a client does that knew it."""
        for key in sorted(set(self.store._objects.items()) - set(base().items())):
            raw, seq = self.store._objects[key[0]].data, slot_seq(key[0])
            with suppress(TclogError):
                if not key[0].startswith("chains/") or seq is None:
                    continue
                chain = ChainId(str(decode(raw, key[0]).get("chain")))
                version = decode_version(raw, chain=chain, seq=seq).judged(aborted=False)
                below = self.store.get(slot_key(chain, seq - 1)) if seq > 1 else None
                before = below and decode_version(below.data, chain=chain, seq=seq - 1)
                before = before and before.judged(aborted=False)
                place = place_of(version, before)
                fold(chain, state_of(chain, before), version.events, place, version.merge)
                verify(chain, before, version)

    def status(self) -> None:
        """Ask what ``tclog status`` asks."""
        client = open_log(self.store, "alice").client
        client.monotonic_s = self._now_s
        for protocol in (list_steps(client), read_inbox(client)):
            run(guard(client, protocol), self.store, self._sleep)

    def export(self) -> None:
        """Write the log as lines."""
        lines: list[bytes] = []
        run(export(lines.append, lambda *_: None, software="forger"), self.store, self._sleep)

    def clone(self) -> None:
        """Copy the log to an empty store."""
        both = Mounted(**{"from": self.store, "to": MemoryStore()})
        run(copy_log(Target("to/"), lambda *_: None, mount="from/"), both, self._sleep)

    def pack(self) -> None:
        """Fold closed hours into packs."""
        client = open_log(self.store, "viewer").client
        client.monotonic_s = self._now_s
        history = History(self.store, client, self.folder)
        try:
            run(guard(client, pack(client, history.index)), self.store, self._sleep)
        finally:
            history.index.close()

    def check(self) -> list[Damage]:
        """Run fsck."""
        found: list[Damage] = []
        run(fsck("demo", found.append), self.store)
        return found


def _events(history: History) -> Any:
    rows = read_log(history.index, Filter(), attempts=True)
    return [
        commit_json(row.commit) if row.commit else attempt_json(row.attempt) for row in rows
    ] + [words((row.commit or row.attempt).event) for row in read_log(history.index, Filter())]


def _report(history: History) -> Any:
    return len(render_page(build_report(history.index, Wanted("demo"))))


def _replay(history: History) -> Any:
    return [beat.as_json() for beat in read_beats(history.index, attempts=True)]


def _watch(history: History) -> Any:
    """Take in what a watch from the beginning shows at once."""
    follower = Follower(history, Filter(), lambda _: None)
    return [commit_json(commit) for commit in follower.look()]


LOOKS: tuple[Callable[[History], Any], ...] = (
    _events,
    _report,
    _replay,
    _watch,
    lambda history: history.run(read_state(history.index, END)),
    lambda history: history.run(read_diff(history.index, "2020-01-01T00:00:00.000000Z-0000", END)),
    lambda history: history.run(blame_memory(history.index, "k", END)),
    lambda history: history.run(blame_step(history.index, "design", END)),
)
KEYS = ("k", "j", "n", "new")
STEPS = ("design", "build", "new", "x")


def acts(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield lines of a batch, any of which may be tried."""
    key, step = rng.choice(KEYS), rng.choice(STEPS)
    yield {"op": "memory.get", "key": key}
    yield {"op": "memory.list"}
    yield {"op": "memory.history", "key": key}
    yield {"op": "memory.set", "key": key, "value": "v", "id_key": "again"}
    yield {"op": "memory.set", "key": key, "value": "v"}
    yield {"op": "memory.append", "key": key, "text": "v"}
    yield {"op": "memory.incr", "key": "n"}
    yield {"op": "memory.delete", "key": key}
    yield {"op": "step.list"}
    yield {"op": "step.show", "id": step}
    yield {"op": "step.claim", "id": step}
    yield {"op": "step.claim", "next": True}
    yield {"op": "step.note", "id": step, "text": "t"}
    yield {"op": "step.renew", "id": step}
    yield {"op": "step.complete", "id": step, "force": True, "reason": "r", "to": "bob"}
    yield {"op": "step.release", "id": step}
    yield {"op": "step.reopen", "id": step}
    yield {"op": "step.add", "id": step, "after": ["design"]}
    yield {"op": "inbox.read"}
    yield {"op": "inbox.read", "all": True}
    yield {"op": "message.ack", "n": 1}
    yield {"op": "message.send", "to": "alice,bob", "text": "x"}
    yield {"op": "message.send", "to": "@all", "text": "x"}
    yield {"op": "artifact.list"}
    yield {"op": "agent.list"}
    yield {"op": "barrier.pass", "name": "solo", "parties": 1, "timeout": 1}


@contextmanager
def within(seconds: int, what: str) -> Iterator[None]:
    """Fail where something hangs."""

    def over(*_: Any) -> None:
        raise AssertionError(f"hangs: {what}")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_one(seed: int, path: Path) -> None:
    """Forge by a seed and run three commands; only errors of tclog's may come out."""
    forger = Forger(seed)
    store = forger.forge()
    rng = random.Random(seed)
    ill = ill_bodied(store)
    command = Command(store, folder_of(path, seed))
    told = f"seed {seed}: fold of {forger.told}"
    try:
        command.fold()
    except Exception as error:
        raise AssertionError(f"{error!r}: {told}") from error
    for _ in range(3):
        what = rng.randrange(40)
        lines = list(acts(rng))
        whole = (command.check, command.status, command.export, command.clone, command.pack)
        if what < len(whole):
            name, work = whole[what].__name__, whole[what]
        elif what < len(whole) + 4:
            nth = rng.randrange(len(LOOKS))
            name, work = f"look {nth}", lambda nth=nth: command.look(LOOKS[nth])
        else:
            line, agent = rng.choice(lines), rng.choice(("alice", "bob", "carol"))
            name = f"{line} as {agent}"
            work = lambda line=line, agent=agent: command.act(line, agent)  # noqa: E731
        told = f"seed {seed}: {name} on {forger.told}"
        with within(HANG_S, told):
            try:
                work()
            except TclogError as error:
                assert error.message, told
            except Exception as error:
                raise AssertionError(f"{error!r}: {told}") from error
    if ill:
        damaged = {damage.where.key for damage in command.check()}
        assert set(ill) <= damaged, f"seed {seed}: fsck does not tell of {ill}: {forger.told}"
    with suppress(FileNotFoundError):
        shutil.rmtree(command.folder)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_forgery_ends_a_command_with_an_error_of_tclogs(part: int, tmp_path: Path) -> None:
    for seed in range(part * PART, (part + 1) * PART):
        try_one(seed, tmp_path)


@pytest.mark.parametrize("seed", [1045, 3563, 5193])
def test_a_forgery_that_once_ended_a_command_otherwise(seed: int, tmp_path: Path) -> None:
    try_one(seed, tmp_path)
    command = Command(Forger(seed).forge(), folder_of(tmp_path, seed))
    for work in (command.check, command.status, command.export, command.clone, command.pack):
        with suppress(TclogError):
            work()


def main(count: int, first: int = 0) -> None:
    """Try forgeries from a seed on; print those that fail."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            try:
                try_one(seed, Path(folder))
            except AssertionError as error:
                failed += 1
                trace = error.__cause__ and error.__cause__.__traceback__
                while trace and trace.tb_next:
                    trace = trace.tb_next
                place = trace and f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
                print(place, str(error)[:500], flush=True)
    print(f"{failed} of {count} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
