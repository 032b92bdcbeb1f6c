"""Whether a step is ready is one rule: whatever shows it or picks a step asks there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from history.looking import Team, state_at
from tclog.chain.drive import run
from tclog.domain import steps
from tclog.history.report.survey import Survey
from tclog.history.report.tables import step_rows
from tclog.log.claims import _ready
from tclog.log.steps import list_rows, list_steps, show_step

Ask = Callable[[Team], bool]
Waiting = tuple[str, ...]


def picked(team: Team) -> bool:
    rows = run(list_rows(team["alice"].client), team.store)
    return "build" in [row.id for row in _ready(rows)]


def listed(team: Team) -> bool:
    found = run(list_steps(team["alice"].client), team.store)
    return next(step.state for step in found if step.id == "build") == steps.READY


def shown(team: Team) -> bool:
    step = run(show_step(team["alice"].client, "build"), team.store)
    return step.state == steps.READY


def in_the_state(team: Team) -> bool:
    return bool(state_at(team.look())["step/build"]["state"] == steps.READY)


def in_a_report(team: Team) -> bool:
    rows = step_rows(team.look().index, Survey([]), [], None)
    return bool(next(row["state"] for row in rows if row["id"] == "build") == steps.READY)


READERS = (picked, listed, shown, in_the_state, in_a_report)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team(tmp_path)
    team["alice"].steps.add("design")
    team["alice"].steps.add("build", after=["design"])
    return team


@pytest.mark.parametrize("is_ready", READERS)
def test_a_step_is_ready_once_all_before_it_are_complete(team: Team, is_ready: Ask):
    assert not is_ready(team)
    team["alice"].steps.claim("design")
    assert not is_ready(team)
    team["alice"].steps.complete("design", outcome="failed")
    assert not is_ready(team)
    team["alice"].steps.reopen("design")
    team["alice"].steps.claim("design")
    team["alice"].steps.complete("design")
    assert is_ready(team)
    team["alice"].steps.claim("build")
    assert not is_ready(team)


def nothing_is_waited_for(state: steps.State, is_complete: Callable[[str], bool]) -> Waiting:
    return ()


def the_last_is_forgotten(state: steps.State, is_complete: Callable[[str], bool]) -> Waiting:
    return tuple(name for name in state.after[:-1] if not is_complete(name))


@pytest.mark.parametrize("wrong", [nothing_is_waited_for, the_last_is_forgotten])
@pytest.mark.parametrize("is_ready", READERS)
def test_each_of_them_asks_the_one_rule(
    team: Team, is_ready: Ask, wrong: object, monkeypatch: pytest.MonkeyPatch
):
    assert not is_ready(team)
    monkeypatch.setattr(steps, "waits_for", wrong)
    assert is_ready(team)
