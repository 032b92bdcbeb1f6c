"""A hundred senders on one inbox of a real server: every message once, for few requests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.stores import Counting

import tclog
from tclog.chain.drive import run
from tclog.log.project import read_project

from .conftest import Site

SENDERS = 100
EACH = 8
# Who only races for slots, and does not have its message committed with others', needs 70.
REQUESTS_MAX = 30


def crowd(site: Site, inbox: str, each: int) -> float:
    """Let all send; return requests for each message."""
    gate = threading.Barrier(SENDERS)
    stores = [Counting(site.store()) for _ in range(SENDERS)]
    project = run(read_project("default"), stores[0])

    def send(number: int) -> None:
        log = tclog.Log(stores[number], project, agent=f"agent-{number}")
        gate.wait(60)
        for nth in range(each):
            log.send(inbox, f"{number}.{nth}")

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
    requests = sum(sum(store.count().values()) for store in stores)
    return requests / (SENDERS * each)


@pytest.mark.parametrize("site", ["ceph-obstore"], indirect=True)
@pytest.mark.slow
def test_a_hundred_senders_on_one_inbox(site: Site) -> None:
    requests = crowd(site, "carol", EACH)
    messages = site.log("carol").inbox(everything=True).messages
    assert [message.n for message in messages] == list(range(1, SENDERS * EACH + 1))
    expected = sorted(f"{number}.{nth}" for number in range(SENDERS) for nth in range(EACH))
    assert sorted(message.text for message in messages) == expected
    for number in range(SENDERS):
        own = [m.text for m in messages if m.sender == f"agent-{number}"]
        assert own == [f"{number}.{nth}" for nth in range(EACH)]
    assert not site.store().list("pending", "", 1000, False)
    assert requests < REQUESTS_MAX
