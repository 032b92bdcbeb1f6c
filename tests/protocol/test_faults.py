"""Lost replies and outages at the one request that commits, by the shipped clients on real servers.

Whatever happens to the answer of a create: who won is told so, who lost is refused, and a command
that does not know can be repeated under its key and then applies exactly once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.proxy import Fault, Match, Request, is_create, is_put

import tclog
from tclog.chain import append
from tclog.errors import OutcomeUnknown, Refused, TclogError
from tclog.event import ChainId, chain_folder, decode_version, slot_key, slot_seq
from tclog.store.s3 import limits

from .conftest import SERVERS, Site, make_site

STEP, KEY, CAROL = ChainId("step/design"), ChainId("memory/contract"), ChainId("inbox/carol")


def versions_of(site: Site, chain: ChainId) -> list[Any]:
    """Read a chain as the bucket has it, oldest first; it must be dense."""
    store = site.store()
    rows = store.list(chain_folder(chain), "", 1000, False)
    seqs = [slot_seq(row.key) for row in rows]
    assert seqs == list(range(len(rows), 0, -1))
    found = [store.get(slot_key(chain, seq)) for seq in range(1, len(rows) + 1)]
    return [decode_version(f.data, chain=chain, seq=n) for n, f in enumerate(found, 1) if f]


def events_of(site: Site, agent: str) -> list[str]:
    """Return the keys of an agent's event objects, in order."""
    store = site.store()
    rows = store.list("events", "", 1000, False)
    found = [(row.key, store.get(row.key)) for row in rows]
    return [key for key, data in found if data and f'"agent":"{agent}"'.encode() in data.data]


class Case(NamedTuple):
    """A command, the slot that it wants, and who else may want it.

    ``before`` fills the slots below. ``act`` is what alice and bob both try; ``loser`` is the code
    that the second of them is refused with, None where both get through.
    """

    name: str
    chain: ChainId
    seq: int
    before: Callable[[tclog.Log], Any]
    act: Callable[[tclog.Log], Any]
    loser: str | None


def claimed_and_released(log: tclog.Log) -> None:
    log.steps.claim("design")
    log.steps.release("design")


def set_twice(log: tclog.Log) -> None:
    log.memory.set("contract", "draft")
    log.memory.set("contract", "second draft")


def act_claim(log: tclog.Log) -> tclog.Step:
    return log.steps.claim("design")


def act_create(log: tclog.Log) -> tclog.Memory:
    return log.memory.set("contract", log.agent, if_absent=True)


def act_replace(log: tclog.Log) -> tclog.Memory:
    return log.memory.set("contract", log.agent, if_version=2)


def act_send(log: tclog.Log) -> tclog.Message:
    return log.send("carol", f"from {log.agent}")


CASES = [
    Case("claim", STEP, 1, lambda _: None, act_claim, "step-held"),
    Case("claim-again", STEP, 3, claimed_and_released, act_claim, "step-held"),
    Case("set-if-absent", KEY, 1, lambda _: None, act_create, "version-conflict"),
    Case("set-if-version", KEY, 3, set_twice, act_replace, "version-conflict"),
    Case("send", CAROL, 1, lambda _: None, act_send, None),
    Case("send-again", CAROL, 3, lambda log: [log.send("carol", t) for t in "ab"], act_send, None),
]

FAULTS = {
    "close": Fault("close"),
    "reset": Fault("reset"),
    "cut-short": Fault("partial"),
    "status-500": Fault("status", 500),
    "status-503": Fault("status", 503),
    "status-429": Fault("status", 429),
    "own-success-as-412": Fault("duplicate"),
    "time-out": Fault("hang", seconds=2),
    "refused-409": Fault("refuse", 409),
    "refused-503": Fault("refuse", 503),
    "never-arrived": Fault("drop"),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fault:
    if request.param == "time-out":
        monkeypatch.setattr(limits, "REQUEST_TIMEOUT_S", 0.6)
    return FAULTS[request.param]


def commits(site: Site, case: Case) -> Match:
    """Match the one request that would commit."""
    key = f"{site.folder}/{slot_key(case.chain, case.seq)}"
    return lambda request: is_create(request) and request.key == key


def struck(site: Site, fault: Fault) -> list[Request]:
    return [row for row in site.proxy.requests if row.fault == fault.kind]


# Every case on one server, every second one on the others.
BY_CASE = [
    pytest.param(name, case, id=f"{name}-{case.name}")
    for name in SERVERS
    for case in (CASES if name == "moto-obstore" else CASES[1::2])
]
by_case = pytest.mark.parametrize(("site", "case"), BY_CASE, indirect=["site"])
on_two = pytest.mark.parametrize("site", ["moto-obstore", "ceph-obstore"], indirect=True)


@by_case
def test_the_winner_is_told_so(site: Site, case: Case, fault: Fault) -> None:
    case.before(site.log("bob"))
    alice = site.log("alice", via=True)
    site.proxy.inject(fault, match=commits(site, case))

    result = case.act(alice)

    assert len(struck(site, fault)) == 1
    versions = versions_of(site, case.chain)
    assert len(versions) == case.seq
    assert [event.agent for event in versions[-1].events] == ["alice"]
    if isinstance(result, tclog.Step):
        assert (result.agent, result.state, result.fence) == ("alice", "claimed", case.seq)
    elif isinstance(result, tclog.Memory):
        assert (result.agent, result.value, result.version) == ("alice", "alice", case.seq)
    else:
        assert result.id == versions[-1].events[0].id
    # It was one event all along, and the slot was sent the same bytes each time. Nothing of the log
    # is ever overwritten.
    assert len(events_of(site, "alice")) == 1
    puts = [row for row in site.proxy.requests if is_put(row)]
    assert all(is_create(row) for row in puts if not site.under(row, "pending/"))


@pytest.mark.parametrize("case", CASES[1::2], ids=lambda case: case.name)
def test_the_loser_is_refused(site: Site, case: Case, fault: Fault) -> None:
    bob = site.log("bob")
    case.before(bob)
    alice = site.log("alice", via=True)
    won: list[Any] = []
    mine = commits(site, case)

    def meanwhile(request: Request) -> bool:
        if not mine(request) or won:
            return False
        won.append(case.act(bob))
        return True

    site.proxy.inject(fault, match=meanwhile)
    if case.loser is None:
        case.act(alice)
    else:
        with pytest.raises(Refused) as told:
            case.act(alice)
        assert told.value.code == case.loser
        assert "bob" in told.value.message

    assert len(struck(site, fault)) == 1
    versions = versions_of(site, case.chain)
    assert [event.agent for event in versions[case.seq - 1].events] == ["bob"]
    assert len(versions) == case.seq + (case.loser is None)
    if case.loser is None:
        assert [event.agent for event in versions[case.seq].events] == ["alice"]
        inbox = site.log("carol").inbox()
        assert [m.text for m in inbox.messages][-2:] == ["from bob", "from alice"]
    if isinstance(won[0], tclog.Step):
        assert won[0].fence == case.seq
        shown = site.log("carol").steps.show("design")
        assert (shown.agent, shown.fence) == ("bob", case.seq)
    # By the stamp of a refused claim's own event it is also judged whether the lease had ended.
    assert len(events_of(site, "alice")) == 1


@on_two
@pytest.mark.parametrize("case", CASES[1::2], ids=lambda case: case.name)
def test_a_reply_that_is_lost_again_and_again(site: Site, case: Case) -> None:
    """Several faults in a row, of the create and of what reads it back."""
    case.before(site.log("bob"))
    alice = site.log("alice", via=True)
    mine = commits(site, case)
    for lost in (Fault("refuse", 409), Fault("drop"), Fault("reset")):
        site.proxy.inject(lost, match=mine)

    def reads_back(request: Request) -> bool:
        return request.method == "GET" and any(mine(row) for row in site.proxy.requests)

    for lost in (Fault("status", 503), Fault("close")):
        site.proxy.inject(lost, match=reads_back)
    case.act(alice)
    assert sum(row.fault is not None for row in site.proxy.requests) == 5
    versions = versions_of(site, case.chain)
    assert len(versions) == case.seq
    assert [event.agent for event in versions[-1].events] == ["alice"]


# -- outages: nobody can know ---------------------------------------------------------------------


class Once(NamedTuple):
    """A command that must not apply twice, and how to count how often it did."""

    name: str
    chain: ChainId
    act: Callable[[tclog.Log, str | None], Any]
    busy: Callable[[tclog.Log], Any]
    other: Callable[[tclog.Log, str], Any]

    def applied(self, site: Site) -> int:
        versions = versions_of(site, self.chain)
        return sum(event.agent == "alice" for v in versions for event in v.events)


ONCES = [
    Once(
        "incr",
        ChainId("memory/count"),
        lambda log, key: log.memory.incr("count", id=key),
        lambda log: log.memory.incr("count", 10),
        lambda log, key: log.memory.incr("count", 2, id=key),
    ),
    Once(
        "send",
        CAROL,
        lambda log, key: log.send("carol", "from alice", id=key),
        lambda log: log.send("carol", "from bob"),
        lambda log, key: log.send("carol", "something else", id=key),
    ),
    Once(
        "claim",
        STEP,
        lambda log, key: log.steps.claim("design", id=key),
        lambda log: (log.steps.add("design"), log.steps.note("design", "from bob")),
        lambda log, key: log.steps.claim("design", lease_s=60, id=key),
    ),
]
by_once = pytest.mark.parametrize("once", ONCES, ids=lambda once: once.name)

# What became of the create whose answer was lost: it had committed, it never arrived, or it
# arrives when everything is over.
LOST = {"committed": Fault("close"), "lost": Fault("drop"), "late": Fault("delay", seconds=1.2)}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT_S", 0.6)
    monkeypatch.setattr(limits, "TRIES_MAX", 2)


def cut_off(
    site: Site, log: tclog.Log, lost: Fault, act: Callable[[], Any], nth: int = 1
) -> OutcomeUnknown:
    """Let the nth create of a slot be lost and everything after it fail; then heal."""
    seen: list[Request] = []

    def commit(request: Request) -> bool:
        if is_create(request) and site.under(request, "chains/"):
            seen.append(request)
            return len(seen) == nth
        return False

    site.proxy.inject(lost, match=commit)
    site.proxy.inject(Fault("drop"), times=10**6, match=lambda _: len(seen) >= nth)
    log.client.decide_timeout_s = 0.2
    with pytest.raises(OutcomeUnknown) as told:
        act()
    site.proxy.heal()
    assert told.value.exit == 6
    assert told.value.code == "outcome-unknown"
    assert len(told.value.details["event"]) == 64
    assert f"--id {told.value.details['id_key']}" in told.value.hint
    return told.value


@pytest.mark.usefixtures("impatient")
@on_two
@by_once
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize(
    ("given", "busy"),
    [(None, False), (None, True), ("my-key", True)],
    ids=["no-id-idle", "no-id-busy", "own-id-busy"],
)
def test_a_repetition_applies_once(
    site: Site, once: Once, lost: str, given: str | None, busy: bool
) -> None:
    alice = site.log("alice", via=True)
    told = cut_off(site, alice, LOST[lost], lambda: once.act(alice, given))
    key = told.details["id_key"]
    assert key == given or given is None
    if busy:
        once.busy(site.log("bob"))
    # The same process, then a new one, and once more.
    first = once.act(alice, key)
    assert once.applied(site) == 1
    for log in (site.log("alice"), alice, site.log("alice", via=True)):
        again = once.act(log, key)
        assert again.id == first.id
        if isinstance(first, tclog.Memory | tclog.Step):
            assert again.version == first.version
    if lost == "late":
        limit = time.monotonic() + 5
        while any(r.fault == "delay" and not r.upstream for r in site.proxy.requests):
            assert time.monotonic() < limit
            time.sleep(0.05)
    assert once.applied(site) == 1
    if once.name == "incr":
        assert site.log("bob").memory.get("count").value == (11 if busy else 1)
    elif once.name == "send":
        texts = [message.text for message in site.log("carol").inbox().messages]
        assert sorted(texts) == ["from alice", "from bob"][: 1 + busy]
    else:
        held = site.log("bob").steps.show("design")
        assert (held.agent, held.fence) == ("alice", first.fence)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("site", ["moto-obstore"], indirect=True)
@pytest.mark.parametrize("lost", ["committed", "lost"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_message_to_several_is_completed_once(site: Site, lost: str, nth: int) -> None:
    """The inboxes are at different places, so one place cannot stand for all of them."""
    bob = site.log("bob")
    for name, count in (("dan", 5), ("carol", 2), ("erin", 0)):
        for _ in range(count):
            bob.send(name, "before")
    alice = site.log("alice", via=True)
    told = cut_off(site, alice, LOST[lost], lambda: alice.send("dan,carol,erin", "news"), nth)
    # No further back than the first place at which it may stand.
    assert told.details["id_key"].endswith(f".{(6, 3, 1)[nth - 1]}")
    for _ in range(3):
        site.log("alice").send("dan,carol,erin", "news", id=told.details["id_key"])
    for name in ("dan", "carol", "erin"):
        texts = [message.text for message in site.log(name).inbox().messages]
        assert texts.count("news") == 1, name


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("site", ["moto-obstore"], indirect=True)
@pytest.mark.parametrize("lost", ["committed", "lost"])
def test_a_repetition_that_is_cut_off_too_keeps_its_key(site: Site, lost: str) -> None:
    """Another key would be bound where the message stands already, and find it no more."""
    for _ in range(5):
        site.log("bob").send("dan", "before")
    alice = site.log("alice", via=True)
    first = cut_off(site, alice, LOST[lost], lambda: alice.send("carol,dan", "news"), 1)
    key = first.details["id_key"]
    assert site.log("bob").send("carol", "between")
    nth = 1 if lost == "committed" else 2
    again = site.log("alice", via=True)
    told = cut_off(site, again, LOST[lost], lambda: again.send("carol,dan", "news", id=key), nth)
    assert told.details["id_key"] == key
    site.log("alice").send("carol,dan", "news", id=told.details["id_key"])
    for name in ("dan", "carol"):
        texts = [message.text for message in site.log(name).inbox().messages]
        assert texts.count("news") == 1, name


@pytest.mark.usefixtures("impatient")
@on_two
@by_once
def test_an_outage_before_anything_is_sent_is_no_unknown(site: Site, once: Once) -> None:
    alice = site.log("alice", via=True)
    site.proxy.inject(Fault("drop"), times=10**6)
    with pytest.raises(TclogError) as told:
        once.act(alice, None)
    site.proxy.heal()
    assert told.value.exit == 7
    assert once.applied(site) == 0


@pytest.mark.usefixtures("impatient")
@on_two
@by_once
@pytest.mark.parametrize("lost", ["committed", "lost"])
def test_the_binding_of_a_key_may_be_lost_too(site: Site, once: Once, lost: str) -> None:
    alice = site.log("alice", via=True)
    site.proxy.inject(LOST[lost], match=lambda r: is_create(r) and site.under(r, "once/"))
    first = once.act(alice, "my-key")
    assert once.act(site.log("alice"), "my-key").id == first.id
    assert once.applied(site) == 1


@on_two
@by_once
def test_another_command_under_a_used_key_is_refused(site: Site, once: Once) -> None:
    alice = site.log("alice", via=True)
    once.act(alice, "my-key")
    for log in (alice, site.log("alice")):
        with pytest.raises(Refused) as told:
            once.other(log, "my-key")
        assert told.value.code == "key-reused"
        assert "my-key" in told.value.message
    assert once.applied(site) == 1
    # Another agent's key of that name is another key.
    if once.name != "claim":
        once.act(site.log("bob"), "my-key")
        assert len(versions_of(site, once.chain)) == 2


@pytest.mark.parametrize("where", ["folder", "ceph"])
@by_once
def test_clients_that_repeat_a_key_at_once_apply_it_once(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
    once: Once,
) -> None:
    clients = 8
    if where == "folder":
        tclog.open(tmp_path, agent="alice", create=True)

        def connect(agent: str) -> tclog.Log:
            return tclog.open(tmp_path, agent=agent, fsync=False)

    else:
        connect = make_site(request, where, monkeypatch).log
    gate = threading.Barrier(clients + 1)

    def one(index: int) -> Any:
        log = connect("alice" if index else "bob")
        gate.wait(30)
        if index:
            return once.act(log, "my-key")
        for _ in range(5):
            once.busy(log)
        return None

    with ThreadPoolExecutor(clients + 1) as pool:
        _, *results = list(pool.map(one, range(clients + 1)))
    assert len({result.id for result in results}) == 1
    late = connect("alice")
    if once.name == "incr":
        assert len({(result.version, result.value) for result in results}) == 1
        assert late.memory.get("count").value == 51
    elif once.name == "send":
        texts = [message.text for message in connect("carol").inbox().messages]
        assert sorted(texts) == ["from alice"] + ["from bob"] * 5
    else:
        assert len({result.fence for result in results}) == 1
        assert late.steps.show("design").fence == results[0].fence


def test_an_announcement_that_is_denied_when_sent_again_is_unknown(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one got through: anybody may commit it."""
    monkeypatch.setattr(append, "_is_hot", lambda *_: True)
    bob, alice = site.log("bob", via=True), site.log("alice")
    bob.send("dan", "bob knows the store's clock now")

    def announces(request: Request) -> bool:
        return is_put(request) and site.under(request, "pending/")

    site.proxy.inject(Fault("close"), match=announces)
    site.proxy.inject(Fault("refuse", 403, code="ExpiredToken"), match=announces)
    with pytest.raises(OutcomeUnknown):
        bob.send("carol", "two")
    alice.send("carol", "one")
    assert [m.text for m in site.log("carol").inbox().messages] == ["two", "one"]
