"""Packs that a process beside the caller's reads give what the caller itself would have read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.logs.generate import generate

from history.test_packs import END_US, HOUR_US, Place, cold, packed_at, trade
from tclog.errors import Damaged
from tclog.event import digest
from tclog.event.packs import PackReader, PackWriter, Row
from tclog.index import Index
from tclog.sync import batches as aside

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="forks where that is safe"),
    # Under xdist there is a second thread, which does nothing that a fork would break.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.fixture(name="store")
def given_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Give a packed log with transactions and attempts, of which a pack gives many batches."""
    monkeypatch.setattr(aside, "BATCH", 50)
    monkeypatch.setattr(aside, "is_worth_it", lambda _: True)
    store = Place({})
    generate(store, events=600, seed=3)
    trade(store, random.Random(1))
    index = Index(tmp_path / "packer")
    assert packed_at(store, index).packs
    index.close()
    yield store


@pytest.fixture(name="children")
def given_children(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the list of the processes that are forked."""
    fork, children = os.fork, []

    def noted() -> int:
        child = fork()
        if child:
            children.append(child)
        return child

    monkeypatch.setattr(os, "fork", noted)
    return children


def open_pack(store: Place) -> PackReader:
    (entry,) = store.list("packs", "", 9, False)
    data = store.get(entry.key).data
    return PackReader(data, digest(data))


def assert_gone(children: list[int]) -> None:
    assert children
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_it_yields_what_the_caller_would_have_read(store: Place, children: list[int]) -> None:
    firsts = {run: run.first for run in open_pack(store).header.chains}
    firsts |= {run: run.last for run in list(firsts)[::3]}
    reader = open_pack(store)
    found = list(aside.read_aside(reader, firsts))
    assert found == list(aside.read_batches(open_pack(store), firsts))
    # It has its own place in the pack, and the caller's is where it was.
    assert found == list(aside.read_batches(reader, firsts))
    assert all(any(batch[field] for batch in found) for field in range(3))
    assert_gone(children)


def told(store: Place, folder: Path) -> Any:
    """Return all that an index says which was filled from nothing."""
    index, requests = cold(store, folder, END_US + HOUR_US)
    versions = [(v.id, v.raw, v.stored) for c in index.chains() for v in index.versions(c)]
    events = [*index.commits()], [*index.attempts()], [*index.followed(0)]
    said = versions, events, index.counts(), requests
    index.close()
    return said


@pytest.fixture(name="alone")
def given_alone(store: Place, tmp_path: Path) -> Any:
    """Give what is said where nobody helps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aside, "is_worth_it", lambda _: False)
        return told(store, tmp_path / "alone")


def test_an_index_is_filled_with_its_help(
    store: Place, alone: Any, children: list[int], tmp_path: Path
) -> None:
    assert told(store, tmp_path / "cold") == alone
    assert_gone(children)


@pytest.mark.parametrize("after", [0, 1, 4])
def test_where_it_dies_the_caller_reads_on(
    store: Place,
    alone: Any,
    children: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    send, sent = aside._send, []

    def dying(out: object, found: object) -> None:
        sent.append(found)
        if len(sent) > after:
            os._exit(9)
        send(out, found)
        out.flush()

    monkeypatch.setattr(aside, "_send", dying)
    assert told(store, tmp_path / "cold") == alone
    assert_gone(children)


def test_what_is_damaged_is_found_by_the_caller(store: Place) -> None:
    writer = PackWriter()
    for nth, (chain, seq, row) in enumerate(open_pack(store).versions()):
        raw = row.raw.replace(b'"by":"', b'"by":"x') if nth == 5 else row.raw
        writer.add_version(chain, seq, Row(raw, row.stored))
    data = writer.finish()
    reader = PackReader(data, digest(data))
    firsts = {run: run.first for run in reader.header.chains}
    with pytest.raises(aside.Failed):
        list(aside.read_aside(reader, firsts))
    with pytest.raises(Damaged, match="sound version"):
        list(aside.read_batches(reader, firsts))


def test_who_stops_early_leaves_no_process(store: Place, children: list[int]) -> None:
    reader = open_pack(store)
    batches = aside.read_aside(reader, {run: run.first for run in reader.header.chains})
    next(batches)
    batches.close()
    assert_gone(children)


ASKED = """
import threading
from types import SimpleNamespace
from tclog.sync import batches as aside
def asked(versions):
    return aside.is_worth_it(SimpleNamespace(header=SimpleNamespace(versions=versions)))
aside.os.sched_getaffinity = lambda _: {0, 1}
print(asked(aside.VERSIONS_MIN), asked(aside.VERSIONS_MIN - 1))
wait = threading.Event()
thread = threading.Thread(target=wait.wait)
thread.start()
print(asked(aside.VERSIONS_MIN))
wait.set()
thread.join()
aside.os.sched_getaffinity = lambda _: {0}
print(asked(aside.VERSIONS_MIN))
"""


def test_it_is_forked_for_large_packs_and_from_a_single_thread_only() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False", "False"]
