"""A hundred senders on one inbox of a real server: every message once, for few requests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.stores import Counting

import tclog
from tclog.chain.drive import run
from tclog.log import inbox as inbox_module
from tclog.log.project import read_project

from .conftest import Site

SENDERS = 100
EACH = 8
# A machine with time to spare needs less than six (docs/benchmarks.md), and who only races needs 70
# and more. A hundred threads of one process, beside other tests, look for versions that are not
# there yet, and were seen to need ten.
REQUESTS_MAX = 20


def crowd(site: Site, inbox: str, each: int) -> tuple[float, float]:
    """Let all send; return requests for each message, and messages a second."""
    gate = threading.Barrier(SENDERS)
    stores = [Counting(site.store()) for _ in range(SENDERS)]
    project = run(read_project("default"), stores[0])

    def send(number: int) -> None:
        log = tclog.Log(stores[number], project, agent=f"agent-{number}")
        gate.wait(60)
        for nth in range(each):
            log.send(inbox, f"{number}.{nth}")

    begun = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
    spent_s = time.monotonic() - begun
    requests = sum(sum(store.count().values()) for store in stores)
    return requests / (SENDERS * each), SENDERS * each / spent_s


@pytest.mark.parametrize("site", ["ceph-obstore"], indirect=True)
@pytest.mark.slow
def test_a_hundred_senders_on_one_inbox(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    requests, rate = crowd(site, "carol", EACH)
    messages = site.log("carol").inbox(all=True).messages
    assert [message.n for message in messages] == list(range(1, SENDERS * EACH + 1))
    expected = sorted(f"{number}.{nth}" for number in range(SENDERS) for nth in range(EACH))
    assert sorted(message.text for message in messages) == expected
    for number in range(SENDERS):
        own = [m.text for m in messages if m.sender == f"agent-{number}"]
        assert own == [f"{number}.{nth}" for nth in range(EACH)]
    assert not site.store().list("pending", "", 1000, False)
    # The same by the plain loop, fewer, since each costs so much more.
    shipped = inbox_module.append
    monkeypatch.setattr(
        inbox_module, "append", lambda *args, **known: shipped(*args, **known | {"joinable": False})
    )
    plain_requests, plain_rate = crowd(site, "dan", 1)
    assert requests < REQUESTS_MAX
    print(
        f"\n  {SENDERS} senders: {requests:.1f} requests a message, by the plain loop"
        f" {plain_requests:.1f}; {rate / plain_rate:.1f} times as many messages a second"
    )
    assert requests < plain_requests / 2
