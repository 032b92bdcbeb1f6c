"""One name, several sessions: a step is held by one of them, and by the one that says so."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from support.project import Project, Result, side_by_side

S1, S2 = {"TCLOG_SESSION": "s1"}, {"TCLOG_SESSION": "s2"}


def claude(project: Project, *words: str, env: dict[str, str] | None = None) -> Result:
    return project.run(*words, "--json", agent="claude", env=env)


def test_two_sessions_of_one_name_do_not_both_hold_a_step(project: Project) -> None:
    first = claude(project, "claim", "x", env=S1).one()
    assert (first["agent"], first["session"], first["fence"]) == ("claude", "s1", 1)
    second = claude(project, "claim", "x", env=S2)
    assert (second.code, second.error()["code"]) == (4, "step-held")
    error = second.error()
    assert (error["holder"], error["session"]) == ("claude", "s1")
    assert 0 <= error["age_s"] < 60
    assert "in session s1" in error["message"]
    assert "fence" not in error
    for words in (["complete", "x"], ["renew", "x"], ["release", "x"]):
        told = claude(project, *words, env=S2)
        assert (told.code, told.error()["code"]) == (4, "not-yours"), told
    claude(project, "complete", "x", env=S1).ok()
    told = claude(project, "complete", "x", env=S2)
    assert (told.code, told.error()["code"]) == (4, "step-complete")


def test_of_three_that_ask_for_the_next_step_at_once_each_gets_another(project: Project) -> None:
    for step in ("a", "b", "c"):
        project.run("step", "add", step, agent="maker").ok()
    for envs in ([{}] * 3, [S1] * 3, [S1, S2, {}]):
        started = [
            project.start("claim", "--next", "--json", agent="claude", env=env) for env in envs
        ]
        results = side_by_side(*[lambda p=process: project.finish(p) for process in started])
        assert sorted(result.ok().one()["id"] for result in results) == ["a", "b", "c"]
        assert claude(project, "claim", "--next", env=envs[0]).code == 3
        for result in results:
            step = result.one()
            claude(project, "release", step["id"], "--fence", str(step["fence"])).ok()


def test_of_four_workers_of_one_script_one_claims(project: Project) -> None:
    started = [project.start("claim", "job", "--json", agent="claude") for _ in range(4)]
    results = side_by_side(*[lambda p=process: project.finish(p) for process in started])
    assert Counter(result.code for result in results) == {0: 1, 4: 3}
    told = next(result for result in results if result.code == 4).error()
    assert (told["code"], told["hint"]) == ("step-held", "tclog renew job")
    # By its name it can still go on with its work.
    claude(project, "renew", "job").ok()
    claude(project, "complete", "job").ok()


def test_a_fence_proves_the_claim_and_moves_it_only_when_asked_to(project: Project) -> None:
    fence = str(claude(project, "claim", "x", env=S1).one()["fence"])
    for words in (["renew", "x"], ["note", "x", "half done"]):
        told = claude(project, *words, "--fence", fence, env=S2).ok().one()
        assert (told["session"], told["fence"]) == ("s1", 1)
    # A list does not show it to another session; who asks for the step is told.
    (listed,) = claude(project, "step", "list", env=S2).ok().json()
    assert (listed["session"], listed["fence"]) == ("s1", None)
    assert claude(project, "step", "show", "x", env=S2).one()["fence"] == 1
    assert claude(project, "claim", "x", "--fence", "9", env=S2).code == 4
    moved = claude(project, "claim", "x", "--fence", fence, env=S2).ok().one()
    assert (moved["session"], moved["fence"]) == ("s2", 4)
    stale = claude(project, "complete", "x", "--fence", fence, env=S1)
    assert (stale.code, stale.error()["code"]) == (4, "stale-fence")
    claude(project, "complete", "x", "--fence", "4", env=S1).ok()
    ops = [row["op"] for row in project.json("log", "--chain", "step/x")]
    assert sorted(ops) == sorted(
        ["step.claim", "step.renew", "step.note", "step.move", "step.complete"]
    )


def test_exec_takes_the_claim_of_its_session_for_the_command_alone(project: Project) -> None:
    claude(project, "claim", "x", env=S1).ok()
    words = ("exec", "x", "--json", "--")
    script = 'tclog note "$TCLOG_STEP" "at work" && tclog claim "$TCLOG_STEP"; echo "claimed $?"'
    first = project.start(*words, "sh", "-c", f"{script}; sleep 4", agent="claude", env=S1)
    until = time.monotonic() + 60
    while claude(project, "step", "show", "x").one()["version"] < 3:
        assert time.monotonic() < until
        time.sleep(0.1)
    second = project.run(*words, "true", agent="claude", env=S1)
    assert (second.code, second.error()["code"]) == (4, "step-held")
    assert second.error()["session"].startswith("s1/x-")
    done = project.finish(first)
    assert (done.code, "claimed 4" in done.out) == (0, True), done
    assert claude(project, "step", "show", "x").one()["state"] == "complete"


def test_force_takes_or_gives_back_what_another_session_holds(project: Project) -> None:
    claude(project, "claim", "x", env=S1).ok()
    assert claude(project, "claim", "x", "--steal", env=S2).error()["code"] == "reason-missing"
    stolen = claude(project, "claim", "x", "--steal", "--reason", "s1 is gone", env=S2).ok().one()
    assert (stolen["session"], stolen["fence"]) == ("s2", 2)
    assert claude(project, "release", "x", "--force", env=S1).error()["code"] == "reason-missing"
    claude(project, "release", "x", "--force", "--reason", "not mine", env=S1).ok()
    rows = project.json("log", "--chain", "step/x")
    bodies = {row["op"]: row["body"] for row in rows}
    assert bodies["step.takeover"]["reason"] == "s1 is gone"
    assert bodies["step.release"] == {"force": True, "reason": "not mine"}
    project.run("fsck").ok()


def test_a_step_that_nobody_knows_is_new_or_missing(project: Project) -> None:
    for words in (["complete", "x"], ["renew", "x"], ["release", "x"], ["note", "x", "hi"]):
        told = claude(project, *words)
        assert (told.code, told.error()["code"]) == (3, "step-missing"), told
    waited = project.run("wait-for", "x", "--timeout", "10ms", agent="claude")
    assert waited.code == 5
    assert "note: there is no step x yet" in waited.err
    assert claude(project, "claim", "x").one()["new"] is True
    claude(project, "release", "x").ok()
    assert "new" not in claude(project, "claim", "x").one()


def test_a_step_that_nobody_added_is_still_one_when_it_is_reopened(project: Project) -> None:
    claude(project, "claim", "x").ok()
    claude(project, "complete", "x").ok()
    claude(project, "reopen", "x").ok()
    assert [(s["id"], s["state"]) for s in project.json("step", "list")] == [("x", "ready")]
    assert [s["id"] for s in project.json("state") if s["type"] == "step"] == ["x"]
    assert claude(project, "claim", "--next").one()["id"] == "x"


def test_a_second_session_at_a_barrier_is_told_and_waits_with_the_first(project: Project) -> None:
    words = ("barrier", "go", "--parties", "2", "--timeout", "60s", "--json")
    first = project.start(*words, agent="claude", env=S1)
    while not project.objects.keys("chains/barrier/"):
        time.sleep(0.05)
    second = project.start(*words, agent="claude", env=S2)
    time.sleep(1.0)
    project.run(*words, agent="bob").ok()
    told = [project.finish(process).ok() for process in (first, second)]
    assert [result.one()["generation"] for result in told] == [1, 1]
    assert "claude is already counted at barrier go" in told[1].err
    assert not told[0].err


def test_a_transaction_is_one_session_and_claims_a_step_once(project: Project) -> None:
    twice = '{"op":"step.claim","id":"x"}\n' * 2
    told = project.run("txn", "--json", agent="claude", input=twice, env=S1)
    assert (told.code, told.error()["code"]) == (2, "claimed-twice")
    claude(project, "claim", "x", env=S1).ok()
    one = twice[: len(twice) // 2]
    told = project.run("txn", "--json", agent="claude", input=one, env=S2)
    assert (told.code, told.error()["code"]) == (4, "step-held")
    renewed = project.run("txn", "--json", agent="claude", input=one, env=S1).ok().one()
    assert (renewed["renewed"], renewed["fence"]) == (True, 1)
    lines = project.run("batch", agent="claude", input=twice)
    assert [row["type"] for row in lines.json()] == ["error", "error"]


def test_the_token_of_exec_proves_nothing_in_another_project(
    project: Project, tmp_path: Path
) -> None:
    """A step there may have the same name, the same agent and the same number of its claim."""
    other = tmp_path / "other"
    other.mkdir()
    project.run("-C", str(other), "init", agent="claude").ok()
    claude(project, "-C", str(other), "claim", "x", env=S2).ok()
    script = f'tclog -C {other} complete x; echo "ended $?"; tclog note x done'
    done = project.run("exec", "x", "--", "sh", "-c", script, agent="claude", env=S1).ok()
    assert "ended 4" in done.out
    assert claude(project, "-C", str(other), "step", "show", "x").one()["state"] == "claimed"
