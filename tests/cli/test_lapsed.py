"""A claim whose lease has ended: `claim --next` gives the step out, so the looks show it."""

from __future__ import annotations

import time

import pytest

from .conftest import User


@pytest.fixture
def lapsed(project: User) -> User:
    """Give a project where two of three claims have lapsed."""
    for step in ("old", "held", "mine"):
        project("step", "add", step).ok()
    project("step", "add", "later", "--after", "held").ok()
    project("claim", "held", "--lease", "10m", agent="bob").ok()
    project("claim", "old", "--lease", "100ms", agent="bob").ok()
    project("claim", "mine", "--lease", "100ms").ok()
    time.sleep(1.3)
    return project


def test_ready_lists_what_claim_next_gives_out_in_its_order(lapsed: User) -> None:
    lapsed("step", "add", "urgent", "--priority", "5").ok()
    lapsed("step", "add", "free").ok()
    listed = [row["id"] for row in lapsed("step", "list", "--ready", "--json").objects()]
    given = []
    while (done := lapsed("claim", "--next", "--json", agent="carol")).code == 0:
        given.append(done.object()["id"])
    assert listed == given == ["urgent", "free", "old", "mine"]
    assert lapsed("step", "list", "--ready").out == ""


LOOKS = [
    (["step", "list"], "old\tlapsed\tbob"),
    (["step", "list", "--ready"], "old\tlapsed\tbob"),
    (["step", "show", "old"], "old\tlapsed\n"),
    (["step-status", "old"], "old: lapsed (agent: bob)"),
    (["status"], "lapsed\told (bob), mine (alice)"),
    (["status"], "holding\tmine (fence 2), lease ended "),
    (["agents"], "old (lapsed since "),
]


@pytest.mark.parametrize(("words", "shown"), LOOKS, ids=[" ".join(row[0]) for row in LOOKS])
def test_a_pipe_shows_it(lapsed: User, words: list[str], shown: str) -> None:
    assert shown in lapsed(*words).ok().out
    assert "lapsed" in lapsed.terminal(*words)


def test_json_tells_it(lapsed: User) -> None:
    rows = {row["id"]: row for row in lapsed("step", "list", "--json").objects()}
    assert {name for name, row in rows.items() if row.get("lapsed")} == {"old", "mine"}
    assert rows["old"]["state"] == "claimed"
    assert lapsed("step", "show", "old", "--json").object()["lapsed"]
    assert "lapsed" not in lapsed("step", "show", "held", "--json").object()
    status = lapsed("status", "--json").object()
    assert (status["ready"], status["lapsed"]) == ([], ["old", "mine"])
    assert status["steps"] == {"claimed": 3, "pending": 1}
    # Claimed again it has not lapsed, nor had it before.
    before = lapsed("log", "--json", "-n", "1").object()["at"]
    assert not lapsed("claim", "old", "--json", agent="carol").object().get("lapsed")
    assert "lapsed" not in lapsed("step", "show", "old", "--json").object()
    assert not lapsed("step", "show", "old", "--at", before, "--json").object().get("lapsed")


def test_the_word_that_a_list_shows_chooses_its_rows(lapsed: User) -> None:
    rows = lapsed("step", "list", "--state", "lapsed", "--json").objects()
    assert [row["id"] for row in rows] == ["old", "mine"]
    claimed = lapsed("step", "list", "--state", "claimed", "--json").objects()
    assert {row["id"] for row in claimed} == {"mine", "old", "held"}
