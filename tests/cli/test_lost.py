"""What `status` tells an agent of a claim that another one took or ended."""

from __future__ import annotations

import time

import pytest

from .conftest import User

FORCED = ("--reason", "the build is red")


@pytest.mark.parametrize(
    ("words", "how", "reason"),
    [
        (["claim", "s", "--steal", *FORCED], "stolen", "the build is red"),
        (["complete", "s", "--force", *FORCED], "made complete", "the build is red"),
        (["release", "s", "--force", *FORCED], "released", "the build is red"),
    ],
)
def test_status_tells_the_old_holder(
    project: User, words: list[str], how: str, reason: str
) -> None:
    project("claim", "s").ok()
    assert project("status", "--json").object()["lost"] == []
    project(*words, agent="bob").ok()
    (lost,) = project("status", "--json").object()["lost"]
    assert (lost["step"], lost["how"], lost["lost_to"], lost["reason"]) == ("s", how, "bob", reason)
    (line,) = [line for line in project("status").lines() if line.startswith("lost\t")]
    assert line.startswith(f"lost\ts: the claim of alice was {how} by bob at ")
    # Only its old holder is told, and only of the present.
    assert project("status", "--json", agent="bob").object()["lost"] == []
    assert project("status", "--at", "10m", "--json").object()["lost"] == []


def test_status_tells_of_a_lease_that_ended(project: User) -> None:
    project("claim", "s", "--lease", "100ms").ok()
    time.sleep(1.2)
    project("claim", "s", agent="bob").ok()
    project("note", "s", "going on", agent="bob").ok()
    (lost,) = project("status", "--json").object()["lost"]
    assert (lost["how"], lost["lost_to"], lost["reason"]) == ("taken over", "bob", None)
    told = project("renew", "s", "--json").error(4)
    assert (told["code"], told["lost_to"]) == ("not-yours", "bob")
    # It is told no longer when the step is the agent's again.
    project("release", "s", agent="bob").ok()
    project("claim", "s").ok()
    assert project("status", "--json").object()["lost"] == []
