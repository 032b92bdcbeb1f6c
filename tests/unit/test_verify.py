"""What a client checks of a version that it reads on to: the link, the stamp, the state."""

from __future__ import annotations

from typing import Any

import pytest

from tclog.chain.fold import verify
from tclog.clock import SECOND_US, hlc, parse_hlc
from tclog.errors import Damaged
from tclog.event import ChainId, Version, chain_id, decode_version, digest, encode, slot_key
from tclog.log.log import Log
from tclog.log.project import Project
from tclog.store.memory import MemoryStore

CHAIN = chain_id("memory", "n")


@pytest.fixture(scope="module")
def versions() -> list[Version]:
    """Give the versions 1 to 3 of a counter."""
    store = MemoryStore()
    log = Log(store, Project("p", "0" * 32, ""), agent="alice")
    for _ in range(3):
        log.memory.incr("n")
    return [read(store, CHAIN, seq) for seq in (1, 2, 3)]


def read(store: MemoryStore, chain: ChainId, seq: int) -> Version:
    found = store.get(slot_key(chain, seq))
    assert found is not None
    return decode_version(found.data, chain=chain, seq=seq, stored=found.stored)


def forged(version: Version, **fields: Any) -> Version:
    """Change a version as somebody would who mends its sum."""
    record = {name: value for name, value in version.record.items() if name != "sum"} | fields
    record = {name: value for name, value in record.items() if value is not ...}
    raw = encode(record | {"sum": digest(encode(record))})
    return decode_version(raw, chain=version.chain, seq=version.seq, stored=version.stored)


def test_what_follows_is_accepted(versions: list[Version]) -> None:
    for before, version in zip([None, *versions], versions, strict=False):
        verify(CHAIN, before, version)
        verify(CHAIN, before, forged(version))


@pytest.mark.parametrize("seq", [2, 3])
@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("prev", "0" * 64, "does not follow"),
        ("at", lambda before: before.at, "not later"),
        ("at", lambda before: hlc(parse_hlc(before.at)[0] - 3600 * SECOND_US, 0), "not later"),
        ("stands", 0, "misnames"),
        ("state", {"content": {"type": "json", "value": 7}}, "state"),
        ("state", {}, "state"),
        ("events", [], "state"),
    ],
)
def test_what_does_not_follow_is_damage(
    versions: list[Version], seq: int, field: str, value: Any, told: str
) -> None:
    before, version = versions[seq - 2], versions[seq - 1]
    spoilt = forged(version, **{field: value(before) if callable(value) else value})
    with pytest.raises(Damaged, match=told) as damage:
        verify(CHAIN, before, spoilt)
    assert f"version {seq} of {CHAIN}" in damage.value.message


def test_a_first_version_is_recomputed_too(versions: list[Version]) -> None:
    with pytest.raises(Damaged, match="state"):
        verify(CHAIN, None, forged(versions[0], state={}))


def test_after_a_version_that_changes_nothing_the_last_that_did_is_named(
    versions: list[Version],
) -> None:
    void = forged(versions[1], events=[], state=versions[0].record["state"])
    state = versions[0].record["state"]
    after = {"prev": void.id, "events": [], "state": state}
    verify(CHAIN, void, forged(versions[2], **after, stands=1))
    for wrong in (..., 0, 2):
        with pytest.raises(Damaged, match="misnames"):
            verify(CHAIN, void, forged(versions[2], **after, stands=wrong))


def test_a_state_that_a_later_clients_rules_made_is_taken_as_it_is(
    versions: list[Version],
) -> None:
    event = versions[2].events[0].record | {"op": "memory.later"}
    later = forged(versions[2], events=[event], state={"content": {"type": "text", "value": "?"}})
    verify(CHAIN, versions[1], later)
    with pytest.raises(Damaged):
        verify(CHAIN, versions[0], later)
