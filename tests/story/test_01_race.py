"""One step, many claims: exactly one holds it, and everybody is told who."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest
from support.project import Project, Result, together

from tclog.clock import SECOND_US, parse_us

RACERS = 32
ROUNDS = 20
PLAIN_ROUNDS = 1
NAMES = [f"agent-{n:02}" for n in range(RACERS)]


def check_round(project: Project, step: str, results: Sequence[Result], fence: int) -> str:
    """Check what the racers were told, and what the log says; return the winner."""
    told = dict(zip(NAMES, results, strict=True))
    assert Counter(result.code for result in results) == {0: 1, 4: RACERS - 1}, results
    (winner,) = [name for name, result in told.items() if result.code == 0]
    claim = told[winner].one()
    assert (claim["type"], claim["id"], claim["state"]) == ("step", step, "claimed")
    assert (claim["agent"], claim["fence"]) == (winner, fence)
    for name, result in told.items():
        if name != winner:
            assert result.out == ""
            error = result.error()
            assert error["code"] == "step-held"
            assert error["holder"] == winner
            assert "fence" not in error
            assert f"step {step} is claimed by {winner} " in error["message"]
    (shown,) = project.json("step", "show", step)
    assert (shown["state"], shown["agent"], shown["fence"]) == ("claimed", winner, fence)
    assert shown["version"] == fence, "nobody but the winner may have changed the step"
    return winner


def prepare(project: Project, nth: int) -> tuple[str, int]:
    """Make the step of a round; return it and the fencing token that its claim must get.

    The token is the claim's version: 1 for a step that nobody has mentioned, 2 for one that was
    added, 3 for one that was held and given back.
    """
    step = f"step-{nth}"
    if nth % 3 == 1:
        project.run("step", "add", step, agent="maker").ok()
    if nth % 3 == 2:
        project.run("claim", step, agent="maker").ok()
        project.run("release", step, agent="maker").ok()
    return step, nth % 3 + 1


@pytest.mark.slow
def test_of_32_claims_at_the_same_instant_one_wins(project: Project) -> None:
    crew = project.crew(NAMES)
    winners = []
    for nth in range(ROUNDS):
        step, fence = prepare(project, nth)
        commands = [[("claim", step, "--json")]] * RACERS
        results = together(crew, commands, project.folder / f"gate-{nth}")
        winners.append(check_round(project, step, [row[0] for row in results], fence))
    assert len(set(winners)) > 1, "the rounds were no races"


@pytest.mark.slow
@pytest.mark.parametrize("nth", range(PLAIN_ROUNDS))
def test_of_32_claims_by_plain_processes_one_wins(project: Project, nth: int) -> None:
    step, fence = prepare(project, nth)
    started = [project.start("claim", step, "--json", agent=name) for name in NAMES]
    results = [project.finish(process) for process in started]
    check_round(project, step, results, fence)


def test_a_loser_is_told_the_winner_and_the_time_in_words(project: Project) -> None:
    project.run("claim", "design", "--lease", "20m", agent="alice").ok()
    (held,) = project.json("step", "show", "design")
    lost = project.run("claim", "design", agent="bob")
    assert lost.code == 4
    assert lost.out == ""
    words = re.search(r"step design is claimed by alice until (\S+) by the store's clock", lost.err)
    assert words, lost
    # What is shown before the store was asked for its stamp is right to the second.
    assert abs(parse_us(words[1]) - parse_us(held["lease_until"])) < 2 * SECOND_US
    assert "hint: tclog claim design --wait" in lost.err


def test_claiming_again_what_one_holds_renews_it_and_keeps_the_token(project: Project) -> None:
    env = {"TCLOG_SESSION": "s1"}
    first = project.run("claim", "design", "--lease", "1m", "--json", agent="alice", env=env).one()
    again = project.run("claim", "design", "--lease", "20m", "--json", agent="alice", env=env).one()
    assert (first["new"], again["renewed"]) == (True, True)
    assert "renewed" not in first
    assert "new" not in again
    assert (again["agent"], again["fence"]) == ("alice", first["fence"])
    assert again["version"] == first["version"] + 1
    assert again["lease_until"] > first["lease_until"]
