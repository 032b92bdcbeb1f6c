"""A minute of chaos on a real object store, less on a folder; and the bugs that it must catch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chaos.agents import Odds
from chaos.history import Try, operations_of
from chaos.planted import BUGS
from chaos.run import Outcome, Plan, run

# Under load an operation takes seconds, so these are far below what is usual.
OPERATIONS_MIN = 60


def _seed() -> int:
    return int.from_bytes(os.urandom(4))


def _told(outcome: Outcome) -> str:
    record = json.dumps(outcome.record)
    return "\n".join([*outcome.broken[:20], f"history: {outcome.history}", record])


def test_killed_and_stopped_agents_on_a_folder(tmp_path: Path):
    outcome = run(Plan("file", _seed(), seconds=20, odds=Odds(0.25, 0.1)), tmp_path)
    assert not outcome.broken, _told(outcome)
    assert sum(outcome.record["operations"].values()) >= OPERATIONS_MIN // 2, _told(outcome)
    assert outcome.record["processes"].get("killed"), _told(outcome)


@pytest.mark.slow
@pytest.mark.usefixtures("ceph")  # only to skip where Ceph is not to be had: it has its own
def test_a_minute_of_faults_on_a_bucket_whose_daemons_are_killed(tmp_path: Path):
    plan = Plan("ceph", _seed(), seconds=60, daemons_every_s=8, odds=Odds(0.2, 0.1))
    outcome = run(plan, tmp_path)
    assert not outcome.broken, _told(outcome)
    record = outcome.record
    assert sum(record["operations"].values()) >= OPERATIONS_MIN, _told(outcome)
    assert record["operations"]["ok"] >= OPERATIONS_MIN // 2, _told(outcome)
    assert set(record["daemons"]) == {"rgw", "osd"}, _told(outcome)
    assert len(record["faults"]) >= 5, _told(outcome)
    assert record["processes"].get("killed"), _told(outcome)


PROMISES = {
    "lost_reply_taken_for_a_failure": ("writes:",),
    "store_that_overwrites": ("chains:", "writes:"),
    "lease_ends_early": ("leases:", "chains:", "claims:"),
    "reads_answered_from_the_cache": ("reads:", "inboxes:", "refusals:", "linear:"),
}


def _members_only(bug: str, folder: Path) -> Outcome:
    quiet = Odds(0.01, 0.01)
    plan = Plan("file", 5, 60, operations=600, commands=0, members=4, odds=quiet, bug=bug)
    return run(plan, folder)


@pytest.mark.slow
@pytest.mark.parametrize("bug", PROMISES)
def test_a_planted_bug_is_caught(bug: str, tmp_path: Path):
    outcome = _members_only(bug, tmp_path)
    caught = [sentence for sentence in outcome.broken if sentence.startswith(PROMISES[bug])]
    assert caught, _told(outcome)


def test_the_fault_alone_is_no_bug(tmp_path: Path):
    outcome = _members_only("lost_replies", tmp_path)
    assert not outcome.broken, _told(outcome)


def test_every_bug_is_looked_for():
    assert PROMISES.keys() | {"lost_replies"} == BUGS.keys()


def test_who_was_killed_was_told_nothing():
    tried = Try(3, "a", "memory.incr", {"key": "k", "by": 4}, 0, 10, 20, None, [], None, "killed")
    (operation,) = operations_of([tried])
    assert operation.outcome == "unknown"
    (operation,) = operations_of([tried._replace(code=6, err={"code": "outcome-unknown"})])
    assert operation.outcome == "unknown"
