"""Names that nobody knows: refused where the thing has to exist, else noted, with the nearest."""

from __future__ import annotations

import json

import pytest

from .conftest import User

DESIGN = ["claim design", "memory set api.contract v1", "artifact put report.md", "tag monday"]

# What has to exist, the code word, the name that is nearest, and the hint.
MISSING: list[tuple[list[str], str, str | None, str]] = [
    (["note", "dessign", "hi"], "step-missing", "design", "tclog step show design"),
    (["renew", "desing"], "step-missing", "design", "tclog step show design"),
    (["complete", "Design"], "step-missing", "design", "tclog step show design"),
    (["complete", "de-sign"], "step-missing", "design", "tclog step show design"),
    (["release", "xyzzy"], "step-missing", None, "tclog step list"),
    (["reopen", "design2"], "step-missing", None, "tclog step list"),
    (["step", "show", "dsign"], "step-missing", "design", "tclog step show design"),
    (["memory", "get", "api.contrct"], "key-missing", "api.contract",
     "tclog memory get api.contract"),
    (["memory", "get", "xyzzy"], "key-missing", None, "tclog memory list"),
    (["artifact", "get", "Report.md"], "artifact-missing", "report.md",
     "tclog artifact history report.md"),
    (["tag", "mondya", "--delete"], "tag-missing", "monday", "tclog show monday"),
]  # fmt: skip


@pytest.fixture
def started(project: User) -> User:
    """Give a project in which alice has made a thing of each kind, and bob has acted."""
    (project.work / "report.md").write_text("# Report\n")
    for command in DESIGN:
        project(*command.split()).ok()
    project("memory", "set", "bobs", "1", agent="bob").ok()
    return project


@pytest.mark.parametrize(
    ("words", "code", "near", "hint"), MISSING, ids=[" ".join(row[0]) for row in MISSING]
)
def test_what_has_to_exist_is_not_found(
    started: User, words: list[str], code: str, near: str | None, hint: str
) -> None:
    told = started(*words, "--json").error(3)
    assert (told["code"], told.get("nearest"), told["hint"]) == (code, near, hint)
    assert ("; did you mean" in told["message"]) == (near is not None)
    # Nothing was made by it.
    assert [row["id"] for row in started("step", "list", "--json").objects()] == ["design"]


# What need not exist yet: the command does its work, and says so.
NOTED: list[tuple[list[str], int, str | None]] = [
    (["wait-for", "nope", "--timeout", "0s"], 5, "there is no step nope yet"),
    (["wait-for", "dessign", "--timeout", "0s"], 5,
     "there is no step dessign yet; did you mean design?"),
    (["step", "add", "ship", "--after", "tpyo"], 0,
     "ship comes after tpyo, which does not exist yet"),
    (["step", "add", "ship", "--after", "design,desgin"], 0,
     "ship comes after desgin, which does not exist yet; did you mean design?"),
    (["claim", "dessign"], 0, "step dessign is new; did you mean design?"),
    (["claim", "xyzzy"], 0, None),
    (["send", "bob", "hi"], 0, None),
    (["send", "Bob", "hi"], 0, "this machine has never seen an agent Bob; did you mean bob?"),
    (["send", "bbo", "hi"], 0, "this machine has never seen an agent bbo; did you mean bob?"),
    (["send", "everyone", "hi"], 0,
     "this machine has never seen an agent everyone; did you mean @all?"),
    (["send", "all", "hi"], 0, "this machine has never seen an agent all; did you mean @all?"),
    (["send", "zoe", "hi"], 0, "this machine has never seen an agent zoe"),
    (["send", "bob,zoe", "hi"], 0, "this machine has never seen an agent zoe"),
    (["send", "@all", "hi"], 0, None),
    (["send", "alice", "hi"], 0, None),
    (["inbox", "--as", "alcie"], 0, "no message was ever sent to alcie; did you mean alice?"),
    (["inbox", "--as", "alice "], 0, "no message was ever sent to alice ; did you mean alice?"),
    (["inbox", "--as", "zoe"], 0, None),
    (["inbox"], 0, None),
    (["complete", "design", "--to", "Bob"], 0,
     "this machine has never seen an agent Bob; did you mean bob?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "note"), NOTED, ids=[" ".join(words) for words, _, _ in NOTED]
)
def test_what_need_not_exist_is_noted(
    started: User, words: list[str], code: int, note: str | None
) -> None:
    done = started(*words, "--json")
    assert done.code == code
    told = [json.loads(line) for line in done.err.splitlines()]
    notes = [row["message"] for row in told if row["type"] == "note"]
    assert notes == ([] if note is None else [note])


@pytest.mark.parametrize("word", ["2 hours", "22:50", "yesterdya"])
def test_what_is_no_time_is_not_called_a_tag_alone(started: User, word: str) -> None:
    error = started("log", "--since", word, "--json").error(3)
    assert "a time is 2h, yesterday or 20" in error["message"]
    assert "a time" not in started("show", "beef", "--json").error(3)["message"]
    assert "a time" not in started("diff", "beef", "--json").error(3)["message"]


@pytest.mark.parametrize("outcome", ["failed", "blocked", "needs-review"])
def test_a_step_that_is_stuck_says_the_way_on(started: User, outcome: str) -> None:
    started("complete", "design", f"--{outcome}").ok()
    error = started("claim", "design", "--json").error(4)
    assert ("; tclog reopen makes" in error["message"]) == (outcome != "needs-review")


def test_an_inbox_is_missed_by_a_letter_before_its_agent_ever_acted(started: User) -> None:
    started("send", "reviewer", "please look").ok()
    told = "no message was ever sent to reviewr; did you mean reviewer?"
    assert told in started("inbox", "--as", "reviewr").ok().err
    assert "did you mean" not in started("inbox", "--as", "reviewer").ok().err


@pytest.mark.parametrize("words", [["log"], ["watch", "--timeout", "100ms"]], ids=" ".join)
def test_a_pattern_that_no_op_matches_is_noted(started: User, words: list[str]) -> None:
    """A watch for it waited for ever, and said nothing."""
    told = "note: no known op matches memroy.set; did you mean memory.set?\n"
    assert told in started(*words, "--op", "memroy.set").err
    assert "note: no known op matches message\n" in started(*words, "--op", "message").err
    assert "no known op" not in started(*words, "--op", "mem*.set").err


def test_a_wait_does_not_call_pending_what_does_not_exist(started: User) -> None:
    done = started("wait-for", "nope", "design", "--timeout", "0s")
    error = next(line for line in done.err.splitlines() if line.startswith("error"))
    assert (
        error == "error: after 0 s not complete: nope (does not exist), design (claimed by alice)"
    )


@pytest.mark.parametrize("first", ["send bob hi", "claim design2 --as bob"])
def test_an_agent_is_known_by_what_it_did_elsewhere(started: User, first: str) -> None:
    """Of another machine only what it wrote is known here, as far as it was read."""
    elsewhere = {"XDG_CACHE_HOME": str(started.folder / "elsewhere")}
    started(*first.split(), "--as", "zoe", env=elsewhere).ok()
    started("send", "alice", "hello", "--as", "carol", env=elsewhere).ok()
    assert "an agent carol" in started("send", "carol", "hi").ok().err
    started("inbox").ok()
    for _ in range(2):
        assert started("send", "carol", "hi").ok().err == ""


def test_a_transaction_notes_what_it_does_not_make_itself(started: User) -> None:
    lines = [
        {"op": "step.add", "id": "ship", "after": ["build", "desgin"]},
        {"op": "step.add", "id": "build"},
        {"op": "message.send", "to": "Bob", "text": "hi"},
    ]
    done = started("txn", stdin="\n".join(map(json.dumps, lines)).encode()).ok()
    assert [line for line in done.err.splitlines() if line.startswith("note: ")] == [
        "note: ship comes after desgin, which does not exist yet; did you mean design?",
        "note: this machine has never seen an agent Bob; did you mean bob?",
    ]


def test_a_transaction_suggests_what_was_meant(started: User) -> None:
    told = started("txn", "--json", stdin=b'{"op":"step.note","id":"desgin","text":"x"}').error(3)
    assert (told["code"], told["nearest"]) == ("step-missing", "design")
