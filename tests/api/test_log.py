"""A ``Log`` as an object: it is closed, it shows itself, and gives another thread its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tclog


@pytest.fixture
def log(tmp_path: Path) -> tclog.Log:
    return tclog.open(tmp_path / "store", agent="alice", create=True, fsync=False)


CALLS: dict[str, Callable[[tclog.Log], Any]] = {
    "memory.set": lambda log: log.memory.set("k", "v"),
    "memory.get": lambda log: log.memory.get("k"),
    "steps.claim": lambda log: log.steps.claim("s"),
    "artifacts.list": lambda log: log.artifacts.list(),
    "inbox": lambda log: log.inbox(),
    "agents": lambda log: log.agents(),
    "transact": lambda log: log.transact(log.transaction()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_log_says_so(log: tclog.Log, name: str) -> None:
    with log as entered:
        assert entered is log
        log.memory.set("k", "v")
    for _ in range(2):
        with pytest.raises(tclog.UsageError) as refused:
            CALLS[name](log)
        assert refused.value.code == "log-closed"
    log.close()  # again does nothing
    assert "closed" in repr(log)


def test_a_log_is_closed_after_an_exception_too(log: tclog.Log) -> None:
    with pytest.raises(ZeroDivisionError), log:
        _ = 1 / 0
    with pytest.raises(tclog.UsageError):
        log.inbox()


def test_a_log_shows_which_it_is(log: tclog.Log, tmp_path: Path) -> None:
    store = str(tmp_path / "store" / "default")
    assert repr(log) == f"Log(project='default', store={store!r}, agent='alice')"


def test_a_twin_is_the_same_agent_and_session_and_tells_what_it_notices(log: tclog.Log) -> None:
    twin = log.twin()
    assert (twin.agent, twin.client.session) == (log.agent, log.client.session)
    assert twin.client.heads is not log.client.heads
    twin.client.warn("seen by the twin")
    assert "seen by the twin" in log.warnings


def test_results_show_what_they_say_and_no_more(log: tclog.Log) -> None:
    memory = log.memory.set("k", "v" * 1000)
    assert repr(memory).startswith("Memory(key='k', value='vvvv")
    assert len(repr(memory)) < 400
    log.steps.add("s")
    shown = repr(log.steps.show("s"))
    assert shown.startswith("Step(id='s', state='ready', ")
    assert "lapsed" not in shown
