"""Leases end by the store's clock, for holders that died and for agents with wrong clocks."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Machine, Project, Result, Worker, kill_left, side_by_side, until

from tclog.clock import SECOND_US, parse_us
from tclog.event import ChainId, Version, chain_folder, decode_version, slot_seq

LEASE_S = 3
HOUR_S = 3600
# A store that stamps in whole seconds is given one more, and polls are up to 3 s apart.
SOON_S = LEASE_S + 12
SHIFTED = """
import os, time
_time, _time_ns, _shift = time.time, time.time_ns, int(os.environ["SHIFT_S"])
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + _shift * 10**9
"""


def read_versions(project: Project, chain: str) -> list[Version]:
    """Read a chain past tclog, oldest version first."""
    found = ChainId(chain)
    keys = project.objects.keys(chain_folder(found) + "/")
    return [
        decode_version(project.objects.read(key), chain=found, seq=slot_seq(key) or 0)
        for key in reversed(keys)
    ]


def check_takeover(project: Project, step: str, holder: str, taker: str, lease_s: float) -> int:
    """Check by the store's own stamps that a takeover was not early; return its fence."""
    versions = read_versions(project, f"step/{step}")
    taken = next(v for v in versions for event in v.events if event.op == "step.takeover")
    assert taken.by == taker
    last = versions[taken.seq - 2]
    assert last.by == holder
    keys = project.objects.keys(f"chains/step/{step}/")
    held_from = project.objects.modified(keys[-last.seq])
    (event_key,) = [key for key in project.objects.keys("events/") if taken.events[-1].id in key]
    judged_at = project.objects.modified(event_key)
    assert judged_at - held_from >= lease_s, "the lease had not ended"
    assert taken.prev_stored is not None
    assert abs(parse_us(taken.prev_stored) / SECOND_US - held_from) < 0.001
    return taken.seq


@pytest.mark.slow
def test_the_step_of_a_killed_holder_is_had_by_one_when_its_lease_ends(project: Project) -> None:
    pids = project.folder / "pids"
    holder = project.start(
        *("exec", "build", "--lease", f"{LEASE_S}s", "--"),
        *("sh", "-c", f"echo $$ > {pids}; exec sleep 600"),
        agent="holder",
    )
    crew = project.crew([f"taker-{n}" for n in range(8)])
    until(lambda: pids.exists() and pids.read_text())
    (held,) = project.json("step", "show", "build")
    time.sleep(LEASE_S * 0.6)  # at least one renewal
    holder.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    try:
        refused = crew[0].run("claim", "build", "--json")
        assert (refused.code, refused.error()["code"]) == (4, "step-held")
        assert refused.error()["holder"] == "holder"
        assert 0 < refused.error()["lease_left_s"] <= LEASE_S + 2

        rows = side_by_side(*[lambda worker=worker: take(worker, killed) for worker in crew])
    finally:
        kill_left([int(pids.read_text())])
    assert Counter(row[-1].code for row in rows) == {0: 1, 4: 7}
    (won,) = [row[-1].one() for row in rows if row[-1].code == 0]
    assert won["fence"] > held["fence"]
    for row in rows:
        holders = [result.error()["holder"] for result in row if result.code == 4]
        assert set(holders[:-1]) <= {"holder"}
        if row[-1].code == 4:
            assert holders[-1] == won["agent"]
    fence = check_takeover(project, "build", "holder", won["agent"], LEASE_S)
    assert fence == won["fence"]

    # What the old holder still believes does not matter.
    stale = project.run(
        "complete", "build", "--fence", str(held["fence"]), "--json", agent="holder"
    )
    assert (stale.code, stale.error()["code"]) == (4, "stale-fence")
    # A refusal does not show the token of another's claim: it would pass for the holder's.
    assert "fence" not in stale.error()
    assert project.run("complete", "build", agent="holder").code == 4
    assert project.run("renew", "build", agent="holder").code == 4
    assert project.json("step", "show", "build")[0]["agent"] == won["agent"]
    done = project.run("complete", "build", "--fence", str(won["fence"]), agent=won["agent"])
    assert done.code == 0


def take(worker: Worker, killed: float) -> list[Result]:
    """Try again and again to have the step, until somebody has it."""
    told: list[Result] = []
    while time.monotonic() < killed + SOON_S:
        told.append(worker.run("claim", "build", "--lease", "10m", "--json"))
        if told[-1].code == 0 or told[-1].error()["holder"] != "holder":
            return told
        time.sleep(0.2)
    raise AssertionError(f"nobody could have the step {SOON_S} s after its holder was killed")


@pytest.mark.slow
def test_a_claim_without_a_process_ends_by_the_stores_clock(project: Project) -> None:
    # Long enough for a busy machine to ask for the step before the lease has ended.
    project.run("claim", "build", "--lease", "4s", agent="holder").ok()
    refused = project.run("claim", "build", agent="bob")
    assert refused.code == 4
    # A note by the holder renews its lease, one by somebody else does not.
    project.run("note", "build", "half done", agent="holder").ok()
    project.run("note", "build", "still waiting", agent="bob").ok()
    time.sleep(6.2)
    (taken,) = project.json("claim", "build", agent="bob")
    assert (taken["agent"], taken["fence"]) == ("bob", 4)
    assert project.run("complete", "build", "--fence", "1", agent="holder").code == 4


# -- wrong clocks ---------------------------------------------------------------------------------


@pytest.fixture(params=[HOUR_S, -HOUR_S], ids=["ahead", "behind"])
def shift(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the environment of a process whose clock is an hour wrong."""
    folder = tmp_path / "shifted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SHIFTED)
    return {"PYTHONPATH": str(folder), "SHIFT_S": str(request.param)}


def says_clock_is_wrong(result: Result, shift: dict[str, str]) -> bool:
    """Whether a command has told its user about the clock."""
    direction = "ahead of" if int(shift["SHIFT_S"]) > 0 else "behind"
    return f"s {direction} the store's" in result.err and "this machine's clock is" in result.err


@pytest.mark.slow
def test_a_wrong_clock_neither_steals_a_lease_nor_waits_for_a_dead_one(
    project: Project, shift: dict[str, str]
) -> None:
    """Every agent here with a wrong clock is new, on a machine that has never met the store."""
    project.run("claim", "live", "--lease", "10m", agent="alice").ok()
    project.run("claim", "dead", "--lease", "1s", agent="alice").ok()
    project.run("claim", "dead-too", "--lease", "1s", agent="alice").ok()
    time.sleep(3.2)

    other = project.machine()
    refused = other.run("claim", "live", "--json", agent="wrong", env=shift)
    assert refused.code == 4
    assert refused.error()["holder"] == "alice"
    assert 500 < refused.error()["lease_left_s"] <= 602
    assert says_clock_is_wrong(refused, shift)

    fresh = project.machine()
    taken = fresh.run("claim", "dead", "--json", agent="wrong", env=shift)
    assert taken.one()["agent"] == "wrong"
    assert says_clock_is_wrong(taken, shift)

    third = project.machine()
    begun = time.monotonic()
    found = third.run("claim", "--next", "--json", agent="wrong-too", env=shift)
    assert (found.one()["id"], found.one()["agent"]) == ("dead-too", "wrong-too")
    assert time.monotonic() - begun < 60  # the wrong clocks are an hour off
    none = third.run("claim", "--next", "--json", agent="wrong-too", env=shift)
    assert (none.code, none.error()["code"]) == (3, "no-step-ready")
    assert project.json("step", "show", "live")[0]["agent"] == "alice"
    check_stamps(project)


@pytest.mark.slow
def test_a_claim_of_a_wrong_clock_holds_as_long_as_it_says(
    project: Project, shift: dict[str, str]
) -> None:
    other = project.machine()
    claim = other.run(
        "claim", "build", "--lease", f"{LEASE_S}s", "--json", agent="wrong", env=shift
    )
    held = claim.one()
    assert says_clock_is_wrong(claim, shift)
    left_s = parse_us(held["lease_until"]) / SECOND_US - time.time()
    assert -1 < left_s < LEASE_S + 2, "the lease is shown by the wrong clock"
    assert project.run("claim", "build", agent="bob").code == 4
    taken = project.run("claim", "build", "--wait", "--timeout", "30s", "--json", agent="bob")
    assert taken.one()["fence"] == 2
    check_takeover(project, "build", "wrong", "bob", LEASE_S)
    check_stamps(project)


@pytest.mark.slow
def test_a_wrong_clock_moves_nobodys_stamps(project: Project, shift: dict[str, str]) -> None:
    """Everything that a wrong clock writes is stamped with about the true time."""
    project.run("memory", "set", "key", "before", agent="alice").ok()
    other = project.machine()
    told = [
        other.run("memory", "set", "key", "wrong", agent="wrong", env=shift),
        other.run("memory", "incr", "count", agent="wrong", env=shift),
        other.run("send", "alice", "hello", agent="wrong", env=shift),
        other.run("send", "@all", "hello", agent="wrong", env=shift),
        other.run("inbox", "--ack", agent="wrong", env=shift),
        other.run("step", "add", "build", agent="wrong", env=shift),
        other.run("claim", "--next", agent="wrong", env=shift),
        other.run("complete", "build", "--note", "done", agent="wrong", env=shift),
        other.run("barrier", "gate", "--parties", "1", agent="wrong", env=shift),
    ]
    assert {result.code for result in told} == {0}, told
    assert says_clock_is_wrong(told[0], shift)
    for nth, result in enumerate(told):
        if says_clock_is_wrong(result, shift):
            assert "3600 s" in result.err or "3599 s" in result.err or "3601 s" in result.err, nth
    project.run("memory", "set", "key", "after", agent="alice").ok()
    project.run("memory", "set", "own", "after", agent="alice").ok()
    check_stamps(project)


@pytest.mark.slow
def test_a_clock_that_jumps_is_noticed(project: Project, shift: dict[str, str]) -> None:
    """The agent has written before, when its clock was right: what it learnt then is void."""
    words = ("memory", "incr", "count")
    right = project.run(*words, agent="wrong").ok()
    assert not says_clock_is_wrong(right, shift)
    wrong = project.run(*words, agent="wrong", env=shift).ok()
    assert says_clock_is_wrong(wrong, shift)
    project.run(*words, agent="wrong", env=shift).ok()
    again = project.run(*words, agent="wrong").ok()
    assert not says_clock_is_wrong(again, shift)
    assert project.json("memory", "get", "count")[0]["value"] == 4
    check_stamps(project)


def check_stamps(project: Project) -> None:
    """Check that all versions, and the events in them, are stamped within 2 minutes of the truth.

    An event that its writer left behind because of its stamp is no part of any chain.
    """
    chains = {key.rpartition("/")[0] for key in project.objects.keys("chains/")}
    assert chains
    for folder in chains:
        _, kind, name = folder.split("/")
        for version in read_versions(project, f"{kind}/{name}"):
            for at in (version.at, *(event.at for event in version.events)):
                off_s = abs(parse_us(at) / SECOND_US - time.time())
                assert off_s < 120, f"{folder} version {version.seq} is stamped {at}"


@pytest.mark.slow
def test_a_renewal_keeps_a_lease_past_its_first_end(project: Project) -> None:
    holder, other = project.worker("holder"), project.worker("other")
    holder.run("claim", "build", "--lease", "4s").ok()
    # Without a renewal it could be taken over after 5 s, or 6 where stamps are whole seconds.
    first_end = time.monotonic() + 6
    while time.monotonic() < first_end:
        time.sleep(1)
        holder.run("renew", "build").ok()
        assert other.run("claim", "build").code == 4
    (shown,) = project.json("step", "show", "build")
    assert (shown["agent"], shown["fence"]) == ("holder", 1)


def test_machines_agree_on_when_a_lease_ends(project: Project) -> None:
    project.run("claim", "build", "--lease", "10m", agent="holder").ok()
    machines: list[Machine] = [project.machine(), project.machine()]
    ends = [
        machine.run("claim", "build", "--json", agent="bob").error()["lease_until"]
        for machine in machines
    ]
    assert ends[0] == ends[1]
    (key,) = project.objects.keys("chains/step/build/")
    expected = project.objects.modified(key) + 600
    assert abs(parse_us(ends[0]) / SECOND_US - expected) < 0.001
