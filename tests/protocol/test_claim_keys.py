"""Idempotency keys: what a key stands for is done once, and a claim that was lost is not had."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tclog
from tclog.errors import Refused

KEY = "k"


class Team:
    """Agents at one folder, each with sessions of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tclog.open(folder, agent="maker", create=True)

    def __call__(self, agent: str, session: str | None = None) -> tclog.Log:
        return tclog.open(self.folder, agent=agent, session=session, fsync=False)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path / "store")


def refused(code: str, act, *args, **named):
    with pytest.raises(Refused) as told:
        act(*args, **named)
    assert told.value.code == code, told.value
    return told.value


# -- a claim that was lost ------------------------------------------------------------------------

LOSSES = {
    "taken over": lambda bob, _: bob.steps.claim("s", steal=True, reason="gone"),
    "ended by force": lambda bob, _: bob.steps.complete("s", force=True, reason="gone"),
    "given back by force": lambda bob, _: bob.steps.release("s", force=True, reason="gone"),
    "given back": lambda _, alice: alice.steps.release("s"),
    "ended": lambda _, alice: alice.steps.complete("s"),
    "moved": lambda _, alice: alice.steps.claim("s", fence=1),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_claim_that_is_repeated_after_its_loss_is_refused(team: Team, loss: str) -> None:
    alice, bob = team("alice", "s1"), team("bob")
    alice.steps.claim("s", id=KEY)
    LOSSES[loss](bob, team("alice", "s2") if loss == "moved" else alice)
    told = refused("claim-lost", alice.steps.claim, "s", id=KEY)
    holder = {"taken over": "bob", "ended by force": "bob", "ended": "alice", "moved": "alice"}
    assert told.details["holder"] == holder.get(loss)
    assert (holder.get(loss) or "given back") in told.message
    # Nor is it so when it can be had again.
    state = bob.steps.show("s").state
    if state == "complete":
        bob.steps.reopen("s")
        refused("claim-lost", alice.steps.claim, "s", id=KEY)


def test_a_claim_that_is_repeated_tells_how_it_stands_now(team: Team) -> None:
    alice = team("alice")
    first = alice.steps.claim("s", id=KEY)
    later = alice.steps.renew("s", lease_s=7200)
    for log in (alice, team("alice")):  # also the next process
        again = log.steps.claim("s", id=KEY)
        assert (again.fence, again.version) == (first.fence, later.version)
        assert again.new
        assert again.lease_until > first.lease_until
    assert alice.steps.show("s").version == later.version


def test_a_claim_of_one_strong_session_is_not_that_of_another_one(team: Team) -> None:
    team("alice", "s1").steps.claim("s", id=KEY)
    told = refused("claim-lost", team("alice", "s2").steps.claim, "s", id=KEY)
    assert told.details["session"] == "s1"


def test_a_renewal_that_is_repeated_after_a_loss_is_refused(team: Team) -> None:
    from tclog.log.claims import renew_step

    alice = team("alice")
    alice.steps.claim("s")
    alice.run(renew_step(alice.client, "s", id=KEY))
    team("bob").steps.claim("s", steal=True, reason="gone")
    with pytest.raises(Refused) as told:
        alice.run(renew_step(alice.client, "s", id=KEY))
    assert told.value.code == "claim-lost"


def test_a_transaction_that_is_repeated_after_its_claim_was_lost_is_refused(team: Team) -> None:
    alice = team("alice")

    def transact():
        txn = alice.transaction()
        txn.memory_incr("n")
        txn.step_claim("s")
        return alice.transact(txn, id=KEY)

    transact()
    assert transact()[1].state == "claimed"
    team("bob").steps.claim("s", steal=True, reason="gone")
    told = refused("claim-lost", transact)
    assert (told.details["operation"], told.details["holder"]) == (1, "bob")
    assert alice.memory.get("n").value == 1


def test_a_transaction_that_ended_its_own_claim_is_found(team: Team) -> None:
    alice = team("alice")
    for _ in range(2):
        txn = alice.transaction()
        txn.step_claim("s")
        txn.step_complete("s")
        assert [one.state for one in alice.transact(txn, id=KEY)] == ["complete"] * 2


# -- what changes nothing -------------------------------------------------------------------------


def test_what_was_there_already_cannot_be_done_later_under_its_key(team: Team) -> None:
    alice = team("alice")
    alice.steps.claim("s")
    alice.steps.complete("s")
    assert alice.steps.complete("s", id=KEY).state == "complete"
    alice.steps.reopen("s")
    alice.steps.claim("s")
    alice.steps.complete("s", id=KEY)
    assert alice.steps.show("s").state == "claimed"


def test_a_step_that_was_open_is_not_opened_later_under_that_key(team: Team) -> None:
    from tclog.log.steps import reopen_step

    alice = team("alice")
    alice.steps.add("s")
    alice.run(reopen_step(alice.client, "s", id=KEY))
    alice.steps.claim("s")
    alice.steps.complete("s")
    alice.run(reopen_step(alice.client, "s", id=KEY))
    assert alice.steps.show("s").state == "complete"


def test_who_was_counted_at_a_barrier_does_not_arrive_later_under_that_key(team: Team) -> None:
    first, second = team("alice", "s1"), team("alice", "s2")
    passed = []

    def pass_(log: tclog.Log, **named):
        passed.append(log.barrier("go", parties=2, timeout_s=30, **named).generation)

    waiting = threading.Thread(target=pass_, args=(first,))
    waiting.start()
    while not list(team.folder.glob("**/chains/barrier/go/*")):
        pass
    also = threading.Thread(target=pass_, args=(second,), kwargs={"id": KEY})
    also.start()
    while not list(team.folder.glob("**/once/alice/*")):
        pass
    while len(list(team.folder.glob("**/chains/barrier/go/*"))) < 2:
        pass
    pass_(team("bob"))
    waiting.join()
    also.join()
    # It has passed generation 1; repeated it says so, and is not counted in the next one.
    pass_(team("alice"), id=KEY)
    assert passed == [1] * 4


def test_other_commands_that_find_nothing_to_do_bind_their_key(team: Team) -> None:
    alice, bob = team("alice"), team("bob")
    bob.send("alice", "hi")
    alice.ack(1)
    alice.ack(1, id=KEY)
    alice.steps.add("s", title="t")
    alice.steps.add("s", title="t", id=KEY)
    keyed = {
        event.op
        for chain in ("read/alice", "step/s")
        for event in _events(alice, chain)
        if event.key == KEY
    }
    assert keyed == {"message.ack", "step.add"}
    assert alice.inbox().messages == ()


def _events(log: tclog.Log, chain: str):
    from tclog.chain.read import read_newest, read_range

    head = log.run(read_newest(log.client, chain))
    versions = log.run(read_range(log.client, chain, 1, head.seq))
    return [event for version in versions for event in version.events]


def test_a_transaction_that_changed_nothing_changes_nothing_later_under_its_key(team: Team) -> None:
    alice = team("alice")
    alice.steps.add("s")

    def transact():
        txn = alice.transaction()
        txn.step_reopen("s")
        txn.memory_get("n")
        return alice.transact(txn, id=KEY)

    transact()
    alice.steps.claim("s")
    alice.steps.complete("s")
    assert transact()[0].state == "ready"  # as it was then
    assert alice.steps.show("s").state == "complete"


def test_an_end_with_other_words_is_refused_under_its_key_as_well(team: Team) -> None:
    alice = team("alice")
    alice.steps.claim("s")
    alice.steps.complete("s", outcome="needs_review", note="one")
    for _ in range(2):
        refused(
            "step-complete", alice.steps.complete, "s", outcome="needs_review", note="two", id=KEY
        )
    assert alice.steps.show("s").handoff == {"from": "alice", "note": "one"}


def test_what_binds_a_key_breaks_no_rule(team: Team) -> None:
    alice = team("alice")
    for _ in range(2):
        alice.steps.add("s", id=f"{KEY}{_}")
    alice.steps.claim("s")
    for outcome in ("needs_review", "complete"):
        for nth in range(2):
            alice.steps.complete("s", outcome=outcome, id=f"{outcome}{nth}")
    txn = alice.transaction()
    txn.step_complete("s")
    alice.transact(txn, id="txn")
    words = ["--project", "default", "fsck", "--as", "alice", "--json"]
    told = subprocess.run(
        [sys.executable, "-m", "tclog", "--store", str(team.folder), *words],
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told
